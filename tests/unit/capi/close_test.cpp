// close, close_range and closefrom: queues are queues no more, the library's own descriptors survive so that it goes on
// working, a vfork child leaves no trace in its parent's tables; EBADF, EINVAL as from the kernel.
#include <linux/close_range.h>
#include <sys/wait.h>
#include <set>
#include <vector>
#include "two_sides.hpp"

namespace {
using namespace muster::capi_tests;

std::set<int> open_descriptors() {
    std::set<int> result;
    for (int fd = 0; fd < 66000; ++fd)
        if (Side::raw(SYS_fcntl, fd, F_GETFD) >= 0) result.insert(fd);
    return result;
}

TEST(CloseQueue, Errors) {
    expect_same([](const Side& side, Transcript& t) {
        const int queue = side.create("/close");
        STEP(side.close(queue));
        STEP(side.close(queue));
        STEP(side.close(-1));
        STEP(side.send(queue, "x", 1));
        const int again = side.open("/close", O_RDWR);
        STEP(side.close_range(5, 4, 0));
        STEP(side.close_range(static_cast<unsigned>(again), ~0u, 64));
        STEP(side.send(again, "x", 1));
        STEP(side.close_range(static_cast<unsigned>(again), static_cast<unsigned>(again), CLOSE_RANGE_CLOEXEC));
        STEP(side.send(again, "x", 1));
        STEP(side.close_range(static_cast<unsigned>(again), static_cast<unsigned>(again), 0));
        STEP(side.send(again, "x", 1));
        STEP(side.close_range(600, 700, 0));
        side.unlink("/close");
    });
}

// All queues that are polled and watched, and all else, from 3 up: only ours stays.
template <class CloseAll>
void closing_all(CloseAll close_all) {
    const Side side{false};
    close(side.create("/close"));  // now the domain is open
    const std::set<int> inherited = open_descriptors();
    std::vector<int> queues;
    const int epoll = epoll_create1(0);
    for (int i = 0; i < 300; ++i) queues.push_back(side.open("/close", O_RDWR));
    epoll_event event{EPOLLOUT, {}};
    for (int queue : queues) ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, queue, &event));
    const std::set<int> before = open_descriptors();
    EXPECT_EQ(inherited.size() + 1 + 300 + 300 + 1, before.size()) << "epoll, queues, watches, the FIFO";
    close_all();
    const std::set<int> after = open_descriptors();
    for (int fd : after) EXPECT_TRUE(fd < 3 || fd > 1000) << fd;
    EXPECT_LE(after.size(), 3u + 1u) << "the domain alone is left";
    const int again = side.open("/close", O_RDWR);
    EXPECT_EQ(3, again);
    EXPECT_EQ(0, mq_send(again, "x", 1, 0));
    pollfd entry{again, POLLIN | POLLOUT, 0};
    EXPECT_EQ(1, poll(&entry, 1, 0));
    EXPECT_EQ(POLLIN | POLLOUT, entry.revents);
    // While a queue is open its FIFO must stay, or the next message would be written elsewhere.
    EXPECT_EQ(0, close_range(4, ~0u, 0));
    entry.revents = 0;
    EXPECT_EQ(1, poll(&entry, 1, 0));
    EXPECT_EQ(POLLIN | POLLOUT, entry.revents);
    close(again);
    side.unlink("/close");
}

TEST(CloseQueue, CloseRangeSparesOurs) {
    closing_all([] { EXPECT_EQ(0, close_range(3, ~0u, 0)); });
}
TEST(CloseQueue, ClosefromSparesOurs) {
    closing_all([] { closefrom(3); });
}
TEST(CloseQueue, CloseOneByOneSparesOurs) {
    closing_all([] {
        for (int fd = 3; fd < 66000; ++fd) close(fd);
    });
}

TEST(CloseQueue, WhatIsUnsharedIsClosed) {
    const Side side{false};
    const pid_t child = fork();
    if (child == 0) {
        const int queue = side.create("/close");
        const int rc = close_range(3, ~0u, CLOSE_RANGE_UNSHARE);
        _exit(rc == 0 && mq_send(queue, "x", 1, 0) == -1 && errno == EBADF && mq_unlink("/close") == 0 ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(0, status);
}

// What a vfork child closes and duplicates is its own; the parent's queues, watches and registrations stay.
TEST(CloseQueue, VforkChild) {
    const Side side{false};
    const int queue = side.create("/close", O_RDWR | O_NONBLOCK);
    const int epoll = epoll_create1(0);
    epoll_event event{EPOLLIN, {}};
    ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, queue, &event));
    int ends[2];
    ASSERT_EQ(0, pipe(ends));
    sigevent registration{};
    registration.sigev_notify = SIGEV_NONE;
    ASSERT_EQ(0, mq_notify(queue, &registration));
    const pid_t child = vfork();
    if (child == 0) {
        dup2(queue, ends[0]);
        close(queue);
        close_range(3, ~0u, 0);
        _exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(0, status);
    EXPECT_EQ(3, write(ends[1], "abc", 3));
    char text[64] = {};
    EXPECT_EQ(3, read(ends[0], text, sizeof text));
    EXPECT_EQ(60, pread(queue, text, 60, 0));
    EXPECT_NE(nullptr, std::strstr(text, std::to_string(getpid()).c_str())) << text;
    EXPECT_EQ(0, mq_send(queue, "x", 1, 0));
    EXPECT_EQ(1, epoll_wait(epoll, &event, 1, 0));
    EXPECT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_DEL, queue, nullptr));
    for (int fd : {queue, epoll, ends[0], ends[1]}) close(fd);
    side.unlink("/close");
}

}  // namespace
