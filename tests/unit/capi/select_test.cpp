// select and pselect with queues among other descriptors, the same as on the kernel's: the bits of each set, their number, bits
// beyond the given count untouched, EBADF, EINVAL, EFAULT, the time left.
#include <sys/select.h>
#include <vector>
#include "two_sides.hpp"

namespace {
using namespace muster::capi_tests;

TEST(SelectQueue, Sets) {
    expect_same([](const Side& side, Transcript& t) {
        const int queue = side.create("/select"), copy = side.dup2(queue, 200), other = side.open("/select", O_RDONLY);
        int ends[2];
        ASSERT_EQ(0, pipe(ends));
        const int all[] = {queue, copy, other, ends[0], ends[1], 900};
        const auto look = [&](unsigned asked) {
            fd_set sets[3];
            for (int s = 0; s < 3; ++s) {
                FD_ZERO(&sets[s]);
                for (int i = 0; i < 5; ++i)
                    if ((asked >> ((i + s) % 5) & 1) != 0 || s == 2) FD_SET(all[i], &sets[s]);
                FD_SET(900, &sets[s]);  // beyond the count
            }
            timeval now{0, 0};
            STEP(side.select(201, &sets[0], &sets[1], &sets[2], &now));
            for (int s = 0; s < 3; ++s)
                for (int fd : all) t.note(std::to_string(s) + " " + std::to_string(FD_ISSET(fd, &sets[s])));
            t.note(std::to_string(now.tv_sec + now.tv_usec));
        };
        for (int messages = 0; messages <= 4; ++messages) {
            for (unsigned asked = 0; asked < 32; ++asked) look(asked);
            if (messages < 4) side.send(queue, "x", 1);
        }
        for (int fd : {queue, copy, other, ends[0], ends[1]}) side.close(fd);
        side.unlink("/select");
    });
}

// More queues than a short call needs room for, with numbers beyond FD_SETSIZE among them.
TEST(SelectQueue, ManyQueues) {
    expect_same([](const Side& side, Transcript& t) {
        constexpr int kCount = 3000;
        unsigned long in[kCount / 64 + 1] = {}, out[kCount / 64 + 1] = {};
        std::vector<int> queues{side.create("/select")};
        for (int i = 0; i < 40; ++i) queues.push_back(i % 4 == 0 ? side.dup2(queues[0], 2900 + i) : side.open("/select", O_RDWR));
        const auto look = [&] {
            for (int fd : queues) in[fd / 64] |= 1ul << (fd % 64);
            out[queues.back() / 64] |= 1ul << (queues.back() % 64);
            timeval now{0, 0};
            STEP(side.select(kCount, reinterpret_cast<fd_set*>(in), reinterpret_cast<fd_set*>(out), nullptr, &now));
            for (int fd : queues) t.note(std::to_string(in[fd / 64] >> (fd % 64) & 1));
            t.note(std::to_string(out[queues.back() / 64] >> (queues.back() % 64) & 1));
        };
        look();
        STEP(side.send(queues[0], "x", 1));
        look();
        for (int i = 0; i < 3; ++i) STEP(side.send(queues[0], "x", 1));
        look();
        for (int fd : queues) side.close(fd);
        side.unlink("/select");
    });
}

TEST(SelectQueue, BadArguments) {
    expect_same([](const Side& side, Transcript& t) {
        const int queue = side.create("/select");
        fd_set in;
        FD_ZERO(&in);
        FD_SET(queue, &in);
        timeval now{0, 0};
        STEP(side.select(-1, &in, nullptr, nullptr, &now));
        STEP(side.select(queue + 1, reinterpret_cast<fd_set*>(8), nullptr, nullptr, &now));
        STEP(side.select(queue + 1, &in, reinterpret_cast<fd_set*>(8), nullptr, &now));
        FD_SET(100, &in);
        STEP(side.select(101, &in, nullptr, nullptr, &now));
        STEP(side.close(queue));
        FD_ZERO(&in);
        FD_SET(queue, &in);
        STEP(side.select(queue + 1, &in, nullptr, nullptr, &now));
        STEP(side.select(0, nullptr, nullptr, nullptr, &now));
        side.unlink("/select");
    });
}

TEST(SelectQueue, TimeLeft) {
    const Side side{false};
    const int queue = side.create("/select");
    fd_set in, out;
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_SET(queue, &in);
    timeval left{0, 40'000};
    EXPECT_EQ(0, select(queue + 1, &in, nullptr, nullptr, &left));
    EXPECT_EQ(0, left.tv_sec + left.tv_usec);
    EXPECT_FALSE(FD_ISSET(queue, &in));
    FD_SET(queue, &out);
    left = {10, 0};
    EXPECT_EQ(1, select(queue + 1, nullptr, &out, nullptr, &left));
    EXPECT_GE(left.tv_sec, 8);
    const timespec wait{0, 1'000'000};
    FD_SET(queue, &in);
    EXPECT_EQ(1, pselect(queue + 1, &in, &out, nullptr, &wait, nullptr));
    EXPECT_FALSE(FD_ISSET(queue, &in));
    EXPECT_TRUE(FD_ISSET(queue, &out));
    close(queue);
    side.unlink("/select");
}

}  // namespace
