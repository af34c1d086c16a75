#include "system_v.hpp"
#include <pthread.h>
#include <mutex>
#include <vector>
#include "platform/signals.hpp"

namespace muster::cpp {
namespace {

struct Known {
    dev_t device;
    ino_t inode;
    SystemV* state;
};

// Never destroyed: objects may detach and release while the program ends.
struct Table {
    std::mutex lock;
    std::vector<Known> all;
};
Table& table() {
    static Table& kept = *new Table;
    return kept;
}

// Held over the fork, so that the child finds the table whole.
void before_fork() {
    table().lock.lock();
    for (const Known& known : table().all) known.state->attachments.before_fork();
}
void in_parent() {
    for (const Known& known : table().all) known.state->attachments.after_fork_in_parent();
    table().lock.unlock();
}
void in_child() {
    for (const Known& known : table().all) known.state->attachments.after_fork_in_child();
    table().lock.unlock();
}

// A segment that was removed goes with the process, not only when somebody asks for it next.
struct Departure {
    ~Departure() {
        for (const Known& known : table().all) known.state->attachments.leave();
    }
};

}  // namespace

SystemV& system_v(const Domain& domain) {
    static const int watching_forks = pthread_atfork(&before_fork, &in_parent, &in_child);
    static const Departure departure;
    (void)watching_forks;
    struct stat status {};
    platform::file_status(domain.implementation()->domain.directory(), &status);
    const std::lock_guard hold(table().lock);
    for (const Known& known : table().all)
        if (known.inode == status.st_ino && known.device == status.st_dev) return *known.state;
    auto* made = new SystemV(domain.implementation());
    table().all.push_back({status.st_dev, status.st_ino, made});
    // Adjustments belong to the process, whatever program it executes: those of the program before this one, too.
    if (made->lives.open(false)) made->lives.resume(this_thread());
    return *made;
}

platform::ThreadState& this_thread() {
    platform::install_fault_handlers();
    return platform::current_thread();
}

std::string object_name(objects::SysvKind kind, Key key, std::int32_t id) {
    constexpr const char* kWords[] = {"msg", "sem", "shm"};
    char text[40];
    const char* word = kWords[static_cast<unsigned>(kind) % 3];
    if (key.is_none())
        std::snprintf(text, sizeof text, "%s:id=%d", word, id);
    else
        std::snprintf(text, sizeof text, "%s:0x%x", word, static_cast<unsigned>(key.value()));
    return text;
}

Error explain(const platform::Fault& fault, const std::string& name, const char* kind) {
    const std::string what = kind;
    switch (fault.errno_value) {
        case ENOENT:
            return Error(ENOENT, name, "there is no such " + what + " in the domain; create it first");
        case EEXIST:
            return Error(EEXIST, name, "there is a " + what + " of that key already; open it, or choose another key");
        case EIDRM:
            return Error(EIDRM, name, "the " + what + " was removed");
        case EACCES:
            return Error(EACCES, name, "the " + what + "'s mode does not allow that to this user; its owner can change it");
        case EPERM:
            return Error(EPERM, name, "only the " + what + "'s owner, its creator and root may do that");
        case EMFILE:
            return Error(EMFILE, name, "this process has too many descriptors open (ulimit -n)");
        case EFBIG:
            return Error(EFBIG, name, "the " + what + "'s file would exceed this process's limit (ulimit -f)");
        case ENOSPC:
            return Error(ENOSPC, name,
                         fault.rule != nullptr ? fault.rule : "the domain's file system is full, or its limit is reached");
        default:
            return make_error(fault, name);
    }
}

}  // namespace muster::cpp
