// A message is sent to a process that sleeps in its receive, and the process is killed as the message arrives: through the same C
// calls on the kernel's queues (the C library's calls) and on Muster's (the library's). Each message has an end: its receiver noted
// it, or it is in the queue, or it is lost. Proved: Muster loses none. What the kernel loses is reported, not demanded.
//
// On one processor, and the receiver running only when nobody else wants to, the kill comes before it has run: the moment that
// matters, every time. The last case says that `muster demo crash`, which shows this to users, tells the same.
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <mqueue.h>
#include <sched.h>
#include <sys/msg.h>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <type_traits>
#include "support/child.hpp"
#include "support/proof.hpp"

#ifdef MUSTER_POSIX_LIBRARY

namespace {

using namespace muster::test;

// The calls of one maker of queues.
struct Maker {
    const char* name;
    decltype(&::mq_open) mq_open;
    decltype(&::mq_close) mq_close;
    decltype(&::mq_unlink) mq_unlink;
    decltype(&::mq_timedsend) mq_timedsend;
    decltype(&::mq_receive) mq_receive;
    decltype(&::mq_timedreceive) mq_timedreceive;
    decltype(&::msgget) msgget;
    decltype(&::msgsnd) msgsnd;
    decltype(&::msgrcv) msgrcv;
    decltype(&::msgctl) msgctl;
};

Maker calls_of(const char* name, void* handle) {
    Maker maker{};
    maker.name = name;
    const auto load = [&](auto& pointer, const char* call) {
        pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(dlsym(handle, call));
        if (pointer == nullptr) std::abort();
    };
    load(maker.mq_open, "mq_open");
    load(maker.mq_close, "mq_close");
    load(maker.mq_unlink, "mq_unlink");
    load(maker.mq_timedsend, "mq_timedsend");
    load(maker.mq_receive, "mq_receive");
    load(maker.mq_timedreceive, "mq_timedreceive");
    load(maker.msgget, "msgget");
    load(maker.msgsnd, "msgsnd");
    load(maker.msgrcv, "msgrcv");
    load(maker.msgctl, "msgctl");
    return maker;
}

// A queue for numbers; none: why there is none here.
struct Numbers {
    std::function<bool(int)> send;
    std::function<bool(bool wait, int&)> receive;
    std::function<void()> remove;
    std::string none;
};

constexpr timespec kPast{};

Numbers posix_queue(const Maker& maker) {
    const std::string name = "/losses-" + std::to_string(getpid());
    mq_attr wanted{};
    wanted.mq_maxmsg = 1;
    wanted.mq_msgsize = sizeof(int);
    const mqd_t queue = maker.mq_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600, &wanted);
    if (queue == static_cast<mqd_t>(-1)) return {{}, {}, {}, std::strerror(errno)};
    Numbers numbers;
    numbers.send = [=](int number) {
        return maker.mq_timedsend(queue, reinterpret_cast<const char*>(&number), sizeof number, 0, &kPast) == 0;
    };
    numbers.receive = [=](bool wait, int& number) {
        auto* bytes = reinterpret_cast<char*>(&number);
        return (wait ? maker.mq_receive(queue, bytes, sizeof number, nullptr)
                     : maker.mq_timedreceive(queue, bytes, sizeof number, nullptr, &kPast)) == sizeof number;
    };
    numbers.remove = [=] {
        maker.mq_close(queue);
        maker.mq_unlink(name.c_str());
    };
    return numbers;
}

Numbers system_v_queue(const Maker& maker) {
    struct Text {
        long type;
        int number;
    };
    const int id = maker.msgget(IPC_PRIVATE, IPC_CREAT | 0600);
    if (id == -1) return {{}, {}, {}, std::strerror(errno)};
    Numbers numbers;
    numbers.send = [=](int number) {
        const Text text{1, number};
        return maker.msgsnd(id, &text, sizeof number, IPC_NOWAIT) == 0;
    };
    numbers.receive = [=](bool wait, int& number) {
        Text text{};
        const bool got = maker.msgrcv(id, &text, sizeof number, 0, wait ? 0 : IPC_NOWAIT) == sizeof number;
        number = text.number;
        return got;
    };
    numbers.remove = [=] { maker.msgctl(id, IPC_RMID, nullptr); };
    return numbers;
}

struct Ends {
    unsigned received = 0, kept = 0, lost = 0;
};

class Losses : public testing::Test {
protected:
    void SetUp() override {
        static const OwnDomain made;
        sched_getaffinity(0, sizeof before_, &before_);
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(static_cast<unsigned>(sched_getcpu()), &one);
        sched_setaffinity(0, sizeof one, &one);
    }
    void TearDown() override { sched_setaffinity(0, sizeof before_, &before_); }

    static Maker ours() {
        void* handle = dlopen(MUSTER_POSIX_LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) std::abort();
        return calls_of("Muster", handle);
    }
    // librt's and libc's, whatever this program is linked against.
    static Maker kernels() { return calls_of("the kernel", RTLD_DEFAULT); }

    static void kill_receivers(const Numbers& queue, unsigned rounds, Ends& ends) {
        Shared<std::atomic<int>> received;
        for (int round = 1; round <= static_cast<int>(rounds); ++round) {
            *received = 0;
            Child receiver([&] {
                const sched_param none{};
                sched_setscheduler(0, SCHED_IDLE, &none);  // runs when nobody else wants to: not before it is killed
                int number = 0;
                if (queue.receive(true, number)) *received = number;
                for (;;) pause();
            });
            ASSERT_TRUE(eventually([&] { return receiver.asleep(); })) << "round " << round;
            const bool sent = queue.send(round);
            receiver.kill(SIGKILL);
            ASSERT_TRUE(receiver.ends()) << "round " << round;
            ASSERT_TRUE(sent) << "round " << round;
            int left = 0;
            const bool in_queue = queue.receive(false, left);
            if (in_queue) {
                ASSERT_EQ(left, round) << "another message came";
            }
            ASSERT_FALSE(in_queue && *received == round) << "round " << round << ": received, and there again";
            ++(*received == round ? ends.received : in_queue ? ends.kept : ends.lost);
        }
    }
    // Of both kinds of queue; how many were lost.
    static unsigned compare(const char* kind, Numbers (*make)(const Maker&), const Maker& maker) {
        const unsigned rounds = short_or_long(300u, 1000u);
        const Numbers queue = make(maker);
        if (!queue.none.empty()) {
            figure("losses", "%s, %s: none here (%s)", maker.name, kind, queue.none.c_str());
            return 0;
        }
        const auto begun = std::chrono::steady_clock::now();
        Ends ends;
        kill_receivers(queue, rounds, ends);
        queue.remove();
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun;
        figure("losses", "%s, %s: %u receivers killed, %u messages received, %u in the queue, %u lost; %.1f s", maker.name, kind, rounds,
               ends.received, ends.kept, ends.lost, seconds.count());
        return ends.lost;
    }

private:
    struct OwnDomain {
        OwnDomain() {
            if (mkdtemp(path) == nullptr) std::abort();
            setenv("MUSTER_DOMAIN", path, 1);
        }
        ~OwnDomain() {
            std::error_code ignored;
            std::filesystem::remove_all(path, ignored);
        }
        char path[32] = "/dev/shm/muster-losses-XXXXXX";
    };
    cpu_set_t before_{};
};

TEST_F(Losses, PosixQueues) {
    compare("POSIX queue", posix_queue, kernels());
    EXPECT_EQ(compare("POSIX queue", posix_queue, ours()), 0u);
}

TEST_F(Losses, SystemVQueues) {
    compare("System V queue", system_v_queue, kernels());
    EXPECT_EQ(compare("System V queue", system_v_queue, ours()), 0u);
}

#ifdef MUSTER_COMMAND
// The number after `"field":` in the text from `at` on; -1 if the object that begins there has no such field.
long field(const std::string& text, std::size_t at, const char* name) {
    const std::size_t end = text.find('}', at);
    const std::size_t found = text.find("\"" + std::string(name) + "\":", at);
    return found == std::string::npos || found > end ? -1 : std::strtol(text.c_str() + found + std::strlen(name) + 3, nullptr, 10);
}

TEST_F(Losses, AsTheDemoTells) {
    constexpr long kRounds = 60;
    const std::string line = MUSTER_COMMAND " demo crash --json --rounds " + std::to_string(kRounds);
    FILE* output = popen(line.c_str(), "r");
    ASSERT_NE(output, nullptr);
    std::string text;
    std::array<char, 4096> part{};
    while (const std::size_t got = fread(part.data(), 1, part.size(), output)) text.append(part.data(), got);
    EXPECT_EQ(pclose(output), 0) << text;
    for (const char* maker : {"kernel", "Muster"})
        for (const char* kind : {"POSIX queue", "System V queue"}) {
            const std::string name = std::string(maker) + ", " + kind;
            const std::size_t at = text.find(name);
            ASSERT_NE(at, std::string::npos) << name << " in " << text;
            // The object's fields may stand in any order: from its brace on.
            const std::size_t begin = text.rfind('{', at);
            if (text.substr(begin, text.find('}', begin) - begin).find("\"missing\"") != std::string::npos) {
                EXPECT_STREQ(maker, "kernel") << text;
                continue;
            }
            const long lost = field(text, begin, "lost");
            EXPECT_EQ(field(text, begin, "rounds"), kRounds) << name;
            EXPECT_EQ(field(text, begin, "received") + field(text, begin, "kept") + lost, kRounds) << name;
            if (*maker == 'M') {
                EXPECT_EQ(lost, 0) << text;
            }
            figure("losses", "muster demo crash, %s: %ld of %ld lost", name.c_str(), lost, kRounds);
        }
}
#endif

}  // namespace

#else
TEST(Losses, PosixQueues) { GTEST_SKIP() << "needs the shared library"; }
#endif
