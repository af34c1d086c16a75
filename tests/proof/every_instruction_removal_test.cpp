// msgsnd and msgrcv of the built library in a process of one thread, interrupted after each of their instructions by a handler
// that removes the queue (msgctl IPC_RMID) and so takes it out of the process's table and its memory away. Proved each time:
// nothing crashes, the call says what it would have said, EIDRM or EINVAL; the removal is done once; the next call says EINVAL,
// and a new queue works.
//
// How: see support/stepping.hpp. The short form is a sample, the long one goes through all of them.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>
#include "support/child.hpp"
#include "support/proof.hpp"

#if defined(__x86_64__) && defined(MUSTER_POSIX_LIBRARY)
#include "support/stepping.hpp"

namespace {

using namespace muster::test;

// The library's calls, not the C library's.
struct Library {
    decltype(&msgget) get;
    decltype(&msgsnd) send;
    decltype(&msgrcv) receive;
    decltype(&msgctl) control;
    int (*set_handler)(int, const struct sigaction*, struct sigaction*);
};
const Library& library() {
    static const Library loaded = [] {
        static char domain[] = "/dev/shm/muster-stepped-msg-removal-XXXXXX";
        if (mkdtemp(domain) == nullptr) std::abort();
        setenv("MUSTER_DOMAIN", domain, 1);
        void* handle = dlopen(MUSTER_POSIX_LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) std::abort();
        const auto symbol = [&](auto& pointer, const char* name) {
            pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(dlsym(handle, name));
        };
        Library found{};
        symbol(found.get, "msgget");
        symbol(found.send, "msgsnd");
        symbol(found.receive, "msgrcv");
        symbol(found.control, "msgctl");
        symbol(found.set_handler, "sigaction");
        return found;
    }();
    return loaded;
}

struct State {
    const char* name;
    bool sends;  // the stepped call
    long type;   // its message's, or what it asks for
    std::vector<long> queued;
};
const State kStates[] = {
    {"send_to_empty", true, 1, {}},
    {"send_to_full", true, 1, {1, 2, 3, 1}},
    {"receive_from_empty", false, 0, {}},
    {"receive_the_only_one", false, 0, {3}},
    {"receive_by_type", false, 2, {1, 2, 1, 2}},
};
void PrintTo(const State& state, std::ostream* out) { *out << state.name; }

constexpr std::size_t kBudget = 256, kLength = 64;  // four messages
struct Letter {
    long type;
    char text[kBudget];
};

int queue = -1;

// 0 or an errno value.
int send(long type) {
    static const Letter letter{};
    Letter mine = letter;
    mine.type = type;
    return library().send(queue, &mine, kLength, IPC_NOWAIT) == 0 ? 0 : errno;
}
int receive(long type) {
    Letter letter;
    return library().receive(queue, &letter, sizeof letter.text, type, IPC_NOWAIT) >= 0 ? 0 : errno;
}
bool make() {
    queue = library().get(IPC_PRIVATE, IPC_CREAT | 0600);
    msqid_ds state{};
    if (queue < 0 || library().control(queue, IPC_STAT, &state) != 0) return false;
    state.msg_qbytes = kBudget;
    return library().control(queue, IPC_SET, &state) == 0 && send(1) == 0 && receive(0) == 0;
}

class EveryInstructionMsgRemoval : public testing::TestWithParam<State> {
protected:
    static void TearDownTestSuite() { std::filesystem::remove_all(getenv("MUSTER_DOMAIN")); }
    static bool prepare() {
        if (!make()) return false;
        for (const long type : {1, 2, 3, 1})  // the way that is gone is that of a queue in use
            if (send(type) != 0) return false;
        for (const long type : {2, 3, 0, 0})
            if (receive(type) != 0) return false;
        for (const long type : GetParam().queued)
            if (send(type) != 0) return false;
        return true;
    }
    __attribute__((noinline)) static void victim_body() {
        static int removed = -1;
        struct sigaction action {};
        action.sa_handler = [](int) {
            const int saved = errno;
            removed = library().control(queue, IPC_RMID, nullptr);
            errno = saved;
        };
        library().set_handler(SIGUSR1, &action, nullptr);
        static Letter letter;
        letter.type = GetParam().type;
        muster_steps_begin();
        const long result = GetParam().sends ? library().send(queue, &letter, kLength, IPC_NOWAIT)
                                             : library().receive(queue, &letter, sizeof letter.text, GetParam().type, IPC_NOWAIT);
        const int error = result < 0 ? errno : 0;
        muster_steps_end();
        if (error != 0 && error != EIDRM && error != EINVAL && error != EAGAIN && error != ENOMSG) _exit(10);
        if (removed != 0) _exit(11);
        if (send(1) != EINVAL || receive(0) != EINVAL) _exit(12);
        if (!make() || library().control(queue, IPC_RMID, nullptr) != 0) _exit(13);
        _exit(0);
    }
};

TEST_P(EveryInstructionMsgRemoval, MayBeInterrupted) {
    stay_on_one_cpu();
    std::size_t length = 0, interrupted = 0;
    {
        ASSERT_TRUE(prepare());
        Tracee tracee([] { victim_body(); });
        ASSERT_TRUE(tracee.ready()) << "no ptrace here?";
        for (; tracee.stopped() && !tracee.at_end(); ++length) tracee.step([] {});
        ASSERT_TRUE(tracee.at_end());
        tracee.kill();
    }
    const std::size_t stride = short_or_long<std::size_t>(std::max<std::size_t>(3, length / 40 | 1), 1);
    for (std::size_t n = 0;; n += stride) {
        SCOPED_TRACE(std::string(GetParam().name) + " interrupted after instruction " + std::to_string(n));
        ASSERT_TRUE(prepare());
        Tracee tracee([] { victim_body(); });
        ASSERT_TRUE(tracee.ready()) << "no ptrace here?";
        for (std::size_t at = 0; at < n && tracee.stopped() && !tracee.at_end(); ++at) tracee.step([] {});
        ASSERT_TRUE(tracee.stopped());
        const bool over = tracee.at_end();
        ASSERT_EQ(tracee.end_after(SIGUSR1), 0);
        EXPECT_EQ(send(1), EINVAL);  // and our own table learns of it
        if (over) break;
        ++interrupted;
    }
    figure("every instruction", "%s, its queue removed by a handler: %zu instructions, interrupted after %zu", GetParam().name, length, interrupted);
    EXPECT_GT(interrupted, 20u);
}

INSTANTIATE_TEST_SUITE_P(States, EveryInstructionMsgRemoval, testing::ValuesIn(kStates),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace

#else
TEST(EveryInstructionMsgRemoval, MayBeInterrupted) { GTEST_SKIP() << "single-stepping is written for x86-64 and the shared library"; }
#endif
