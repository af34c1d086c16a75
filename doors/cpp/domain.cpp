#include "muster/domain.hpp"
#include <cstring>
#include "implementation.hpp"
#include "muster/message_queue.hpp"
#include "objects/queue.hpp"
#include "platform/file.hpp"
#include "platform/process.hpp"
#include "platform/signals.hpp"

namespace muster {
using cpp::make_error;

namespace {

std::chrono::system_clock::time_point time_at(std::uint64_t ns) {
    return std::chrono::system_clock::time_point(std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::nanoseconds(ns)));
}

Result<Domain> open_path(const char* path) {
    auto opened = objects::Domain::open(path, true);
    if (!opened) return make_error(opened.fault(), path);
    return Domain(std::make_shared<Domain::Implementation>(Domain::Implementation{path, std::move(*opened)}));
}

std::vector<std::string> entries(const objects::Domain& domain, const char* subdirectory) {
    std::vector<std::string> names;
    objects::for_each_entry(domain.directory(), subdirectory, [&](const char* name) {
        names.emplace_back(name);
        return true;
    });
    return names;
}

std::string uuid_name(const memory::ObjectHeader& object) {
    char name[objects::kFifoNameBytes];
    objects::fifo_name(object, name);
    return std::string(name).substr(5);
}

// What engine callbacks append to.
struct Findings {
    std::vector<Finding>* list;
    std::string path;
    bool repaired;
    static void add(void* self, const char* what, std::uint64_t bytes) {
        auto& findings = *static_cast<Findings*>(self);
        findings.list->push_back({findings.path, what, bytes, findings.repaired});
    }
};

}  // namespace

std::string_view to_string(ObjectKind kind) {
    switch (kind) {
        case ObjectKind::message_queue: return "mq";
        case ObjectKind::typed_queue: return "msg";
        case ObjectKind::semaphore_set: return "sem";
        case ObjectKind::segment: return "shm";
        case ObjectKind::posix_shared_memory: return "posix-shm";
        case ObjectKind::posix_semaphore: return "posix-sem";
        case ObjectKind::poll_fifo: return "fifo";
        case ObjectKind::unknown: break;
    }
    return "unknown";
}

Result<Domain> Domain::open_default() {
    char path[objects::Domain::kPathBytesMax];
    objects::Domain::default_path(path);
    return open_path(path);
}

Result<Domain> Domain::open(std::string_view path_or_name) {
    char path[objects::Domain::kPathBytesMax];
    const std::string name(path_or_name);
    if (!objects::Domain::path_of(name.c_str(), path)) return make_error(ENAMETOOLONG, name.substr(0, 40) + "...", "the domain's path is too long");
    return open_path(path);
}

Result<Domain> Domain::create_ephemeral() {
    for (int tries = 0; tries < 100; ++tries) {
        std::uint64_t number = 0;
        if (platform::system_call(SYS_getrandom, &number, sizeof number, 0) != static_cast<long>(sizeof number)) number = static_cast<std::uint64_t>(platform::realtime_ns());
        char path[96];
        std::snprintf(path, sizeof path, "/dev/shm/muster-%u-e-%016llx", platform::effective_user(), static_cast<unsigned long long>(number));
        struct stat status;
        if (platform::file_status_at(AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW) == 0) continue;
        return open_path(path);
    }
    return make_error(EEXIST, "/dev/shm", "no free name for a domain could be found");
}

const std::string& Domain::path() const { return implementation_->path; }

Result<std::vector<ObjectInfo>> Domain::list() const {
    platform::install_fault_handlers();
    const objects::Domain& core = implementation_->domain;
    std::vector<ObjectInfo> all;
    for (const std::string& name : entries(core, "mq")) {
        ObjectInfo info;
        info.kind = ObjectKind::message_queue;
        info.name = "/" + name;
        info.path = implementation_->path + "/mq/" + name;
        struct stat status {};
        if (platform::file_status_at(core.directory(), ("mq/" + name).c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) continue;  // removed meanwhile
        info.owner_uid = status.st_uid;
        info.owner_gid = status.st_gid;
        info.mode = status.st_mode & 0777;
        info.bytes_allocated = static_cast<std::uint64_t>(status.st_blocks) * 512;
        auto file = core.open_object(("mq/" + name).c_str());
        objects::Queue queue;
        if (!file) {
            info.kind = file.fault().errno_value == EACCES ? ObjectKind::message_queue : ObjectKind::unknown;
            info.problem = file.fault().rule != nullptr ? file.fault().rule : std::strerror(file.fault().errno_value);
        } else if (auto opened = queue.open(file->fd()); !opened) {
            info.kind = ObjectKind::unknown;
            info.problem = opened.fault().rule != nullptr ? opened.fault().rule : std::strerror(opened.fault().errno_value);
        } else {
            const objects::QueueState state = queue.state();
            const objects::Permission permission = queue.permission();
            info.owner_uid = permission.owner_uid;
            info.owner_gid = permission.owner_gid;
            info.mode = permission.mode;
            info.messages = state.messages;
            info.messages_max = state.messages_max;
            info.message_size_bytes_max = state.message_bytes_max;
            info.receivers_waiting = state.receivers_waiting;
            info.senders_waiting = state.senders_waiting;
            info.created = time_at(state.created_ns);
        }
        all.push_back(std::move(info));
    }
    for (const std::string& name : entries(core, "poll")) {
        ObjectInfo info;
        info.kind = ObjectKind::poll_fifo;
        info.name = "poll/" + name;
        info.path = implementation_->path + "/poll/" + name;
        struct stat status {};
        if (platform::file_status_at(core.directory(), info.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) continue;
        info.owner_uid = status.st_uid;
        info.owner_gid = status.st_gid;
        info.mode = status.st_mode & 0777;
        info.created = time_at(static_cast<std::uint64_t>(status.st_ctim.tv_sec) * 1'000'000'000ull);
        all.push_back(std::move(info));
    }
    return all;
}

Result<std::vector<Finding>> Domain::gc(bool remove) const {
    platform::install_fault_handlers();
    platform::ThreadState& thread = platform::current_thread();
    const objects::Domain& core = implementation_->domain;
    std::vector<Finding> found;
    std::vector<std::string> live;
    for (const std::string& name : entries(core, "mq")) {
        auto file = core.open_object(("mq/" + name).c_str());
        objects::Queue queue;
        if (!file || !queue.open(file->fd())) continue;  // fsck's business
        live.push_back(uuid_name(queue.object()));
        if (!queue.has_dead()) continue;
        Finding finding{implementation_->path + "/mq/" + name, "threads died in the middle of an operation; what they held can be released", 0, false};
        if (remove) finding.repaired = static_cast<bool>(queue.recover(thread, file->fd()));
        found.push_back(std::move(finding));
    }
    for (const std::string& name : entries(core, "poll")) {
        bool needed = false;
        for (const std::string& uuid : live) needed = needed || uuid == name;
        if (needed) continue;
        // Whoever polls an unlinked queue still has its FIFO open.
        const std::string path = "poll/" + name;
        platform::File probe(platform::open_at(core.directory(), path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
        if (probe.fd() != -ENXIO) continue;
        Finding finding{implementation_->path + "/" + path, "the FIFO of a queue that is gone, and nobody has it open", 0, false};
        if (remove) finding.repaired = static_cast<bool>(core.remove(path.c_str()));
        found.push_back(std::move(finding));
    }
    return found;
}

Result<std::vector<Finding>> Domain::fsck(bool repair) const {
    platform::install_fault_handlers();
    platform::ThreadState& thread = platform::current_thread();
    const objects::Domain& core = implementation_->domain;
    std::vector<Finding> found;
    for (const std::string& name : entries(core, "mq")) {
        const std::string path = implementation_->path + "/mq/" + name;
        struct stat status {};
        if (platform::file_status_at(core.directory(), ("mq/" + name).c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) continue;
        const auto bytes = static_cast<std::uint64_t>(status.st_blocks) * 512;
        auto file = core.open_object(("mq/" + name).c_str());
        if (!file) {
            found.push_back({path, file.fault().errno_value == EACCES ? "this user may not look into it" : "not a file that can be opened; no queue", bytes, false});
            continue;
        }
        objects::Queue queue;
        if (auto opened = queue.open(file->fd(), true); !opened) {
            found.push_back({path, opened.fault().rule != nullptr ? opened.fault().rule : std::strerror(opened.fault().errno_value), bytes, false});
            continue;
        }
        Findings findings{&found, path, false};
        const std::size_t before = found.size();
        const bool marked = queue.marked_damaged();
        if (marked) found.push_back({path, "an operation found the queue damaged; since then every call says so", bytes, false});
        if (auto checked = queue.check(thread, file->fd(), &Findings::add, &findings); !checked && !marked)
            found.push_back({path, checked.fault().rule != nullptr ? checked.fault().rule : "it cannot be checked", bytes, false});
        if (repair && found.size() != before) {
            Findings dropped{&found, path, true};
            if (queue.repair(thread, file->fd(), &Findings::add, &dropped))
                for (std::size_t at = before; at < found.size(); ++at) found[at].repaired = true;
        }
    }
    return found;
}

Result<Limits> Domain::limits() const {
    const objects::DomainLimits limits = implementation_->domain.limits();
    return Limits{limits.msg_default, limits.msgsize_default, limits.msg_max, limits.msgsize_max, limits.queues_max};
}

Result<> Domain::set_limit(std::string_view name, std::uint64_t value) const {
    if (auto set = objects::Domain::set_limit(implementation_->domain, std::string(name).c_str(), value); !set)
        return make_error(set.fault(), std::string(name));
    return ok();
}

Result<> Domain::remove() const {
    const objects::Domain& core = implementation_->domain;
    int first_problem = 0;
    const auto note = [&](int rc) {
        if (rc < 0 && rc != -ENOENT && first_problem == 0) first_problem = -rc;
    };
    for (const std::string& name : entries(core, ".")) {
        struct stat status {};
        if (platform::file_status_at(core.directory(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) continue;
        if (!S_ISDIR(status.st_mode)) {
            note(platform::remove_name(core.directory(), name.c_str()));
            continue;
        }
        for (const std::string& inner : entries(core, name.c_str())) note(platform::remove_name(core.directory(), (name + "/" + inner).c_str()));
        note(platform::remove_name(core.directory(), name.c_str(), AT_REMOVEDIR));
    }
    note(platform::remove_name(AT_FDCWD, implementation_->path.c_str(), AT_REMOVEDIR));
    if (first_problem != 0) return make_error(first_problem, implementation_->path, "part of the domain could not be removed");
    return ok();
}

}  // namespace muster
