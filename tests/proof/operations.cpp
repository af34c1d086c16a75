// The table of operations: the library under test and its domain, what all operations do alike, the death of an earlier one.
#include "operations.hpp"
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include "muster/domain.hpp"

namespace muster::test {
namespace {

std::string& domain_directory() {
    static std::string path;
    return path;
}

// A child of ours takes the domain away once we are dead, however we die.
void remove_domain_after_us() {
    const pid_t us = getpid();
    if (fork() != 0) return;
    sigset_t all, end;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, nullptr);
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    int sig = 0;
    if (getppid() == us) sigwait(&end, &sig);
    std::error_code ignored;
    std::filesystem::remove_all(domain_directory(), ignored);
    _exit(0);
}

Library load() {
    char directory[] = "/dev/shm/muster-proof-XXXXXX";
    if (mkdtemp(directory) == nullptr) std::abort();
    domain_directory() = directory;
    remove_domain_after_us();
    setenv("MUSTER_DOMAIN", directory, 1);
    void* handle = dlopen(MUSTER_POSIX_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
        std::fprintf(stderr, "%s\n", dlerror());
        std::exit(1);
    }
    Library found{};
    const auto symbol = [&](auto& pointer, const char* name) {
        pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(dlsym(handle, name));
        if (pointer != nullptr) return;
        std::fprintf(stderr, "no %s in the library\n", name);
        std::exit(1);
    };
#define CALL(name) symbol(found.name, #name)
    CALL(mq_open), CALL(mq_close), CALL(mq_unlink), CALL(mq_send), CALL(mq_receive), CALL(mq_timedsend), CALL(mq_timedreceive);
    CALL(mq_getattr), CALL(mq_setattr), CALL(mq_notify);
    CALL(msgget), CALL(msgsnd), CALL(msgrcv), CALL(msgctl);
    CALL(semget), CALL(semop), CALL(semtimedop), CALL(semctl);
    CALL(shmget), CALL(shmat), CALL(shmdt), CALL(shmctl);
    CALL(shm_open), CALL(shm_unlink), CALL(sem_open), CALL(sem_close), CALL(sem_unlink);
#undef CALL
    symbol(found.set_handler, "sigaction");
    return found;
}

const OperationTable& table() {
    static const OperationTable whole = [] {
        OperationTable made;
        add_mq_operations(made);
        add_mq_name_operations(made);
        add_msg_operations(made);
        add_sem_operations(made);
        add_shm_operations(made);
        add_posix_operations(made);
        add_sysv_name_operations(made);
        return made;
    }();
    return whole;
}

// A survivor that sleeps for ever inside the library would leave no trace of why; so the test ends itself.
const char* verifying = "";
void too_long(int) {
    const char text[] = "a survivor is stuck in verification of ";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    (void)!write(STDERR_FILENO, verifying, std::strlen(verifying));
    (void)!write(STDERR_FILENO, "\n", 1);
    _exit(1);
}

}  // namespace

const Library& library() {
    static const Library loaded = load();
    return loaded;
}
const std::string& domain_path() {
    (void)library();
    return domain_directory();
}

std::vector<std::string> operation_names(const std::string& kind) {
    std::vector<std::string> names;
    for (const OperationTable::Row& row : table().rows())
        if (kind.empty() || row.kind == kind) names.push_back(row.name);
    return names;
}
std::string as_test_name(const std::string& name) {
    std::string text = name;
    for (char& each : text)
        if (std::isalnum(static_cast<unsigned char>(each)) == 0) each = '_';
    return text;
}
std::unique_ptr<Operation> make_operation(const std::string& name) {
    for (const OperationTable::Row& row : table().rows())
        if (row.name == name) return OperationTable::make(row);
    return nullptr;
}

bool Operation::begin() {
    (void)library();
    stay_on_one_cpu();
    if (!make()) return false;
    // What the library keeps for itself (hints, directories) is there after a first time.
    if (!prepare_state()) return false;
    look(End::failed);
    files_before_ = files();
    return !testing::Test::HasFailure() && (!has_earlier_ || learn_earlier());
}

void Operation::finish() { drop(); }

bool Operation::prepare_state() {
    for (Board::Victim& victim : board_->victims) {
        victim.outcome = -1;
        victim.received = -1;
    }
    board_->told = 0;
    return set_state();
}

bool Operation::prepare() {
    if (!prepare_state()) return false;
    if (!has_earlier_) return true;
    Tracee earlier([&] { victim_body(1); });
    if (!earlier.ready()) {
        std::printf("the one who dies earlier does not come to the call\n");
        return false;
    }
    (void)earlier_path_.lead(earlier, earlier_at_, [] {});  // wherever it is then, it is inside
    earlier.kill();
    return true;
}

bool Operation::learn_earlier() {
    has_earlier_ = false;
    const bool ready = prepare_state();
    has_earlier_ = true;
    if (!ready) return false;
    earlier_path_ = Path::learn([&] { victim_body(1); }, [] {}, [&] { return held(); });
    std::vector<std::size_t> under_lock;
    for (std::size_t n = 0; n < earlier_path_.size(); ++n)
        if (earlier_path_.held(n) && !earlier_path_.deep(n)) under_lock.push_back(n);
    if (under_lock.empty()) {
        ADD_FAILURE() << name_ << ": the earlier call holds nothing on its way of " << earlier_path_.size() << " instructions";
        return false;
    }
    earlier_at_ = under_lock[under_lock.size() / 2];
    verify(End::died);
    return !testing::Test::HasFailure();
}

// One copy of it, so that its instructions have the same addresses each time.
void Operation::victim_body(int victim) {
    before_call(victim);
    muster_steps_begin();
    board_->victims[victim].outcome = call(victim);
    muster_steps_end();
}

std::optional<int> Operation::outcome() const {
    const int value = board_->victims[0].outcome;
    return value < 0 ? std::nullopt : std::optional(value);
}

Found Operation::verify(End end) {
    verifying = name_.c_str();
    std::signal(SIGALRM, too_long);
    alarm(static_cast<unsigned>(3 * kPatience.count()));
    const Found found = look(end);
    if (!stuck_) sweep();
    alarm(0);
    EXPECT_FALSE(end == End::succeeded && found == Found::undone) << name_ << ": the call had returned success";
    EXPECT_FALSE(end == End::failed && found == Found::done) << name_ << ": the call had returned an error";
    return found;
}

Found Operation::give_up(const std::string& what) {
    ADD_FAILURE() << name_ << ": " << what;
    stuck_ = true;
    return Found::either;
}

// Nothing is left that nobody can reach, nothing is wrong.
void Operation::sweep() {
    auto domain = Domain::open(domain_path());
    if (!domain) {
        ADD_FAILURE() << "the domain cannot be opened";
        return;
    }
    if (auto released = domain->gc(true)) {
        for (const Finding& finding : *released) EXPECT_TRUE(finding.repaired) << finding.path << ": " << finding.what;
    } else {
        ADD_FAILURE() << "gc fails";
    }
    if (auto findings = domain->fsck(false)) {
        for (const Finding& finding : *findings) ADD_FAILURE() << "fsck: " << finding.path << ": " << finding.what;
    } else {
        ADD_FAILURE() << "fsck fails";
    }
    const auto now = files();
    std::vector<std::string> more, fewer;
    std::set_difference(now.begin(), now.end(), files_before_.begin(), files_before_.end(), std::back_inserter(more));
    std::set_difference(files_before_.begin(), files_before_.end(), now.begin(), now.end(), std::back_inserter(fewer));
    for (const std::string& each : more) ADD_FAILURE() << name_ << ": left over: " << each;
    for (const std::string& each : fewer) ADD_FAILURE() << name_ << ": gone: " << each;
}

// All of the domain but what the library keeps beside the objects of System V (sysv/.msg and its like).
std::vector<std::string> Operation::files() const {
    std::vector<std::string> found;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(domain_directory(), ignored)) {
        std::string path = entry.path().string().substr(domain_directory().size() + 1);
        if (path.rfind("sysv/.", 0) == 0) continue;
        if (path.rfind("sysv/", 0) == 0) std::erase_if(path, [](unsigned char c) { return std::isdigit(c) != 0; });  // any index is as good
        found.push_back(path);
    }
    std::sort(found.begin(), found.end());
    return found;
}

}  // namespace muster::test
