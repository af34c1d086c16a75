// msgget, msgsnd, msgrcv and msgctl of the linked library where something is wrong around them: a damaged queue tells who sleeps
// in it, and IPC_RMID removes it and frees its key, by whoever owns it and whether or not it can still be opened; raw system calls
// that change the user are heeded at once, each thread having its own (EACCES); mlockall fills no queue; the loser of a race for
// a key leaves nothing mapped; a handler interrupts (EINTR) although others' messages come and go all the time.
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>
#include "own_domain.hpp"
#include "support/child.hpp"

namespace {
using muster::test::Child;
using muster::test::eventually;
using muster::test::Shared;

constexpr uid_t kSomebody = 65534;

struct Letter {
    long type;
    char text[64];
};
// 0 or an errno value.
int send(int queue, long type, int flags = IPC_NOWAIT) {
    const Letter letter{type, "a letter"};
    return msgsnd(queue, &letter, 8, flags) == 0 ? 0 : errno;
}
int receive(int queue, long type, int flags = IPC_NOWAIT) {
    Letter letter;
    const ssize_t got = msgrcv(queue, &letter, sizeof letter.text, type, flags);
    return got < 0 ? errno : got == 8 ? 0 : -1;
}
int remove(int queue) { return msgctl(queue, IPC_RMID, nullptr) == 0 ? 0 : errno; }

std::string domain() { return std::getenv("MUSTER_DOMAIN"); }
std::string file_of(int queue) { return domain() + "/sysv/msg-" + std::to_string(queue % 32768); }

// ---- damage ----

void cut_short(int queue) { EXPECT_EQ(truncate((file_of(queue) + ".data").c_str(), 0), 0); }

void cut_short_and_found(int queue) {
    cut_short(queue);
    EXPECT_NE(send(queue, 1), 0);
    EXPECT_NE(send(queue, 1), 0);
}

void contradict_geometry(int queue) {
    const int fd = open(file_of(queue).c_str(), O_RDWR | O_CLOEXEC);
    std::uint64_t messages_max = 0;  // the geometry's first word, behind the object's header
    EXPECT_EQ(pread(fd, &messages_max, sizeof messages_max, 128), 8);
    messages_max += 12345;
    EXPECT_EQ(pwrite(fd, &messages_max, sizeof messages_max, 128), 8);
    close(fd);
}

constexpr void (*kDamages[])(int) = {&cut_short, &cut_short_and_found, &contradict_geometry};

class DamagedMsg : public testing::TestWithParam<int> {
protected:
    // A queue with a message in it, damaged by the process that made it. `remove_it`: that process removes it, too.
    int damaged_in_child(bool remove_it) {
        Shared<std::atomic<int>> made;
        Child maker([&] {
            const int queue = msgget(kKey, IPC_CREAT | IPC_EXCL | 0600);
            made->store(queue);
            if (queue < 0 || send(queue, 1) != 0) _exit(2);
            kDamages[GetParam()](queue);
            _exit(HasFailure() || (remove_it && remove(queue) != 0) ? 1 : 0);
        });
        EXPECT_TRUE(maker.ends() && maker.exited()) << maker.status();
        return made->load();
    }
    // By a process that has never had it open, as none has that is forked here.
    void expect_gone(int queue) {
        EXPECT_EQ(msgget(kKey, 0600), -1);
        EXPECT_EQ(errno, ENOENT);
        EXPECT_EQ(send(queue, 1), EINVAL);
        EXPECT_EQ(remove(queue), EINVAL);
        const int fresh = msgget(kKey, IPC_CREAT | IPC_EXCL | 0600);
        EXPECT_GE(fresh, 0) << strerrorname_np(errno);
        EXPECT_EQ(send(fresh, 3), 0);
        EXPECT_EQ(receive(fresh, 3), 0);
        EXPECT_EQ(remove(fresh), 0);
    }
    static constexpr key_t kKey = 0x7701;
};

TEST_P(DamagedMsg, IsRemovedByWhoHasItOpen) { expect_gone(damaged_in_child(true)); }

TEST_P(DamagedMsg, IsRemovedByAFreshProcess) {
    const int queue = damaged_in_child(false);
    EXPECT_NE(receive(queue, 0), 0);
    EXPECT_EQ(remove(queue), 0);
    expect_gone(queue);
}

TEST_P(DamagedMsg, IsNobodyElsesToRemove) {
    if (geteuid() != 0) GTEST_SKIP() << "only root can become somebody else";
    const int queue = damaged_in_child(false);
    Child other([&] { _exit(setgroups(0, nullptr) == 0 && setresuid(kSomebody, kSomebody, kSomebody) == 0 && remove(queue) == EPERM ? 0 : 1); });
    EXPECT_TRUE(other.ends() && other.exited());
    EXPECT_EQ(remove(queue), 0);
    expect_gone(queue);
}

INSTANTIATE_TEST_SUITE_P(Kinds, DamagedMsg, testing::Range(0, int{std::size(kDamages)}));

TEST(Msg, DamageWakesWhoSleeps) {
    const int queue = msgget(IPC_PRIVATE, 0600);
    ASSERT_EQ(send(queue, 1), 0);
    Child sleeper([&] { _exit(receive(queue, 2, 0)); });
    ASSERT_TRUE(eventually([&] { return sleeper.asleep(); }));
    cut_short_and_found(queue);
    EXPECT_TRUE(sleeper.ends());
    EXPECT_TRUE(sleeper.exited(EINVAL) || sleeper.exited(EIDRM)) << sleeper.status();
    EXPECT_EQ(remove(queue), 0);
}

// ---- users ----

TEST(Msg, AnotherUserIsToldSoAtOnce) {
    if (geteuid() != 0) GTEST_SKIP() << "only root can become somebody else";
    const int queue = msgget(IPC_PRIVATE, 0600);
    for (const bool raw : {true, false}) {
        Child child([&] {
            if (send(queue, 1) != 0 || receive(queue, 1) != 0) _exit(2);
            const long changed = raw ? syscall(SYS_setresuid, kSomebody, kSomebody, kSomebody) : setresuid(kSomebody, kSomebody, kSomebody);
            if (changed != 0 || geteuid() != kSomebody) _exit(3);
            if (send(queue, 1) != EACCES) _exit(4);
            _exit(receive(queue, 1) == EACCES ? 0 : 5);
        });
        EXPECT_TRUE(child.ends() && child.exited()) << "raw " << raw << ", status " << child.status();
    }
    EXPECT_EQ(remove(queue), 0);
}

TEST(Msg, EveryThreadHasItsOwnRights) {
    if (geteuid() != 0) GTEST_SKIP() << "only root can become somebody else";
    const int queue = msgget(IPC_PRIVATE, 0600);
    Child child([&] {
        std::atomic<int> turn{0}, wrong{0};
        if (send(queue, 1) != 0 || receive(queue, 1) != 0) _exit(2);
        std::thread other([&] {
            if (syscall(SYS_setresuid, kSomebody, kSomebody, kSomebody) != 0) wrong = 1000;
            for (int i = 0; i < 500; ++i) {
                while (turn != 1) std::this_thread::yield();
                wrong += send(queue, 1) != EACCES;
                turn = 0;
                wrong += receive(queue, 1) != EACCES;  // while the first thread does as it may
            }
        });
        for (int i = 0; i < 500; ++i) {
            wrong += send(queue, 1) != 0;
            turn = 1;
            wrong += receive(queue, 1) != 0;
            while (turn != 0) std::this_thread::yield();
        }
        other.join();
        _exit(wrong == 0 ? 0 : 1);
    });
    EXPECT_TRUE(child.ends() && child.exited()) << child.status();
    EXPECT_EQ(remove(queue), 0);
}

// ---- memory ----

// What the domain's files take.
std::uint64_t domain_bytes() {
    std::uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(domain())) {
        struct stat status;
        if (lstat(entry.path().c_str(), &status) == 0) bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    return bytes;
}

TEST(Msg, LockedMemoryFillsNoQueue) {
    ASSERT_EQ(remove(msgget(IPC_PRIVATE, 0600)), 0);  // the domain is there
    const std::uint64_t before = domain_bytes();
    Shared<std::atomic<int>> made;
    Child child([&] {
        if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) _exit(77);
        const int typed = msgget(IPC_PRIVATE, 0600);
        made->store(typed);
        if (typed < 0 || send(typed, 1) != 0 || send(typed, 2) != 0 || receive(typed, 2) != 0) _exit(2);
        mq_attr shape{};
        shape.mq_maxmsg = 10;
        shape.mq_msgsize = 8192;
        const mqd_t queue = mq_open("/locked", O_CREAT | O_EXCL | O_RDWR, 0600, &shape);
        if (queue < 0 || mq_send(queue, "a letter", 8, 0) != 0) _exit(3);
        char text[8192];
        if (mq_receive(queue, text, sizeof text, nullptr) != 8) _exit(4);
        _exit(0);
    });
    ASSERT_TRUE(child.ends());
    if (child.exited(77)) GTEST_SKIP() << "this process may not lock its memory";
    EXPECT_TRUE(child.exited()) << child.status();
    EXPECT_LT(domain_bytes() - before, std::uint64_t{1} << 20);
    EXPECT_EQ(receive(made->load(), 1), 0);
    EXPECT_EQ(remove(made->load()), 0);
    EXPECT_EQ(mq_unlink("/locked"), 0);
}

// How many pieces of this process's memory are files of the domain.
int mappings() {
    std::ifstream maps("/proc/self/maps");
    int count = 0;
    for (std::string line; std::getline(maps, line);) count += line.find(domain() + "/") != std::string::npos;
    return count;
}

// Who loses the race for a key has made a queue of his own by then, and again if the winner's is removed before he gets to it.
TEST(Msg, WhoLosesAKeyKeepsNothingMapped) {
    constexpr key_t kKey = 0x7702;
    ASSERT_EQ(remove(msgget(IPC_PRIVATE, 0600)), 0);  // the domain is there
    Shared<std::atomic<int>[2]> left;
    std::vector<Child> racers;
    for (int which = 0; which < 2; ++which)
        racers.emplace_back([&, which] {
            const int before = mappings();
            for (int round = 0; round < 500; ++round) {
                const int queue = msgget(kKey, IPC_CREAT | 0600);
                if (queue < 0) _exit(2);
                (void)remove(queue);
                while (receive(queue, 1) != EINVAL) {}  // a removed one is given up by who finds it so
            }
            (*left)[which] = mappings() - before;
            _exit(0);
        });
    for (Child& racer : racers) EXPECT_TRUE(racer.ends() && racer.exited()) << racer.status();
    for (const auto& mine : *left) EXPECT_LE(mine.load(), 1);
}

// ---- signals ----

// Others' messages that come for ever must not keep a receiver from hearing its handler.
TEST(Msg, AHandlerIsHeardBesideOthersTraffic) {
    const int queue = msgget(IPC_PRIVATE, 0600);
    Shared<std::atomic<long>> exchanged;
    const auto play = [&](long mine, long others) {
        for (;; ++*exchanged)
            if (send(queue, mine, 0) != 0 || receive(queue, others, 0) != 0) _exit(1);
    };
    Child first([&] { play(1, 2); }), second([&] { play(2, 1); });
    ASSERT_TRUE(eventually([&] { return exchanged->load() > 1000; }));
    Shared<std::atomic<int>> calling;
    Child waiter([&] {
        struct sigaction action {};
        action.sa_handler = [](int) {};
        sigaction(SIGUSR1, &action, nullptr);
        calling->store(1);
        _exit(receive(queue, 99, 0) == EINTR ? 0 : 1);
    });
    ASSERT_TRUE(eventually([&] { return calling->load() == 1; }));
    const long before = exchanged->load();
    ASSERT_TRUE(eventually([&] { return exchanged->load() > before + 1000; }));
    // The first may come just before the call.
    EXPECT_TRUE(eventually([&] {
        if (!waiter.ended()) waiter.kill(SIGUSR1);
        return waiter.ended();
    })) << "it is deaf";
    EXPECT_TRUE(waiter.exited());
    EXPECT_FALSE(first.ended() || second.ended());
    EXPECT_EQ(remove(queue), 0);
    EXPECT_TRUE(first.ends() && second.ends());
}

}  // namespace
