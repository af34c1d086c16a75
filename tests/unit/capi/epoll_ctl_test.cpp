// epoll on queues, the same as on the kernel's: EEXIST, ENOENT, EBADF, EINVAL, EPERM, EFAULT; the program's data; several
// descriptors of a queue apart; removal by close, in a child as well; level and edge across a fork; numbers used again.
#include <sys/wait.h>
#include <algorithm>
#include <vector>
#include "two_sides.hpp"

namespace {
using namespace muster::capi_tests;

std::string events(int epoll, int timeout_ms = 0) {
    epoll_event got[8];
    const int count = epoll_wait(epoll, got, 8, timeout_ms);
    std::vector<std::string> lines;
    for (int i = 0; i < count; ++i) lines.push_back(std::to_string(got[i].data.u64) + ":" + std::to_string(got[i].events));
    std::sort(lines.begin(), lines.end());
    std::string text = std::to_string(count);
    for (const std::string& line : lines) text += " " + line;
    return text;
}

TEST(EpollQueue, Errors) {
    expect_same([](const Side& side, Transcript& t) {
        const int queue = side.create("/epoll"), other = side.open("/epoll", O_RDONLY), epoll = epoll_create1(0);
        const int file = open("/proc/self/exe", O_RDONLY);
        epoll_event event{EPOLLIN | EPOLLOUT, {.u64 = 0x1234'5678'9abc'def0}};
        STEP(side.epoll_ctl(epoll, EPOLL_CTL_MOD, queue, &event));
        STEP(side.epoll_ctl(epoll, EPOLL_CTL_DEL, queue, &event));
        STEP(side.epoll_ctl(epoll, EPOLL_CTL_ADD, queue, nullptr));
        STEP(side.epoll_ctl(epoll, EPOLL_CTL_ADD, queue, &event));
        STEP(side.epoll_ctl(epoll, EPOLL_CTL_ADD, queue, &event));
        STEP(side.epoll_ctl(epoll, EPOLL_CTL_DEL, other, nullptr));
        STEP(side.epoll_ctl(epoll, 9, queue, &event));
        STEP(side.epoll_ctl(queue, EPOLL_CTL_ADD, other, &event));
        STEP(side.epoll_ctl(queue, EPOLL_CTL_ADD, queue, &event));
        STEP(side.epoll_ctl(999, EPOLL_CTL_ADD, queue, &event));
        STEP(side.epoll_ctl(epoll, EPOLL_CTL_ADD, 999, &event));
        STEP(side.epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event));
        STEP(side.epoll_ctl(epoll, EPOLL_CTL_DEL, file, nullptr));
        t.note(events(epoll));
        event.events = EPOLLIN;
        event.data.u64 = 7;
        STEP(side.epoll_ctl(epoll, EPOLL_CTL_MOD, queue, &event));
        t.note(events(epoll));
        STEP(side.send(queue, "x", 1));
        t.note(events(epoll));
        STEP(side.epoll_ctl(epoll, EPOLL_CTL_DEL, queue, nullptr));
        t.note(events(epoll));
        STEP(side.epoll_ctl(epoll, EPOLL_CTL_DEL, queue, nullptr));
        STEP(side.epoll_ctl(epoll, EPOLL_CTL_ADD, queue, &event));
        t.note(events(epoll));
        STEP(side.close(queue));
        STEP(side.epoll_ctl(epoll, EPOLL_CTL_DEL, queue, nullptr));
        t.note(events(epoll));
        for (int fd : {other, epoll, file}) side.close(fd);
        side.unlink("/epoll");
    });
}

TEST(EpollQueue, EachDescriptorApart) {
    expect_same([](const Side& side, Transcript& t) {
        const int queue = side.create("/epoll"), other = side.open("/epoll", O_WRONLY), copy = side.dup(other);
        const int first = epoll_create1(0), second = epoll_create1(0);
        epoll_event event{EPOLLIN, {}};
        for (int epoll : {first, second})
            for (int fd : {queue, other, copy}) {
                event.data.u64 = static_cast<unsigned>(fd == queue ? 1 : fd == other ? 2 : 3);
                STEP(side.epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
            }
        STEP(side.send(queue, "x", 1));
        t.note(events(first));
        STEP(side.epoll_ctl(first, EPOLL_CTL_DEL, other, nullptr));
        t.note(events(first) + " " + events(second));
        STEP(side.close(queue));
        t.note(events(first) + " " + events(second));
        // The number goes to something else, which can be watched by itself.
        int ends[2];
        ASSERT_EQ(0, pipe(ends));
        ASSERT_EQ(queue, ends[0]);
        event.data.u64 = 4;
        STEP(side.epoll_ctl(first, EPOLL_CTL_ADD, ends[0], &event));
        STEP(write(ends[1], "x", 1));
        t.note(events(first));
        STEP(side.close(ends[0]));
        // And to another queue.
        const int again = side.create("/epoll2");
        STEP(again == queue ? 0 : -1);
        event.data.u64 = 5;
        STEP(side.epoll_ctl(first, EPOLL_CTL_ADD, again, &event));
        t.note(events(first));
        STEP(side.send(again, "x", 1));
        t.note(events(first));
        for (int fd : {other, copy, again, first, second, ends[1]}) side.close(fd);
        side.unlink("/epoll");
        side.unlink("/epoll2");
    });
}

TEST(EpollQueue, AcrossFork) {
    expect_same([](const Side& side, Transcript& t) {
        const int queue = side.create("/epoll"), epoll = epoll_create1(0);
        epoll_event event{EPOLLIN | EPOLLET, {.u64 = 1}};
        STEP(side.epoll_ctl(epoll, EPOLL_CTL_ADD, queue, &event));
        int ends[2], answers[2];
        ASSERT_EQ(0, pipe(ends));
        ASSERT_EQ(0, pipe(answers));
        const pid_t child = fork();
        if (child == 0) {
            char byte;
            if (read(ends[0], &byte, 1) != 1 || side.send(queue, "x", 1) != 0) _exit(1);
            if (write(answers[1], "x", 1) != 1 || read(ends[0], &byte, 1) != 1) _exit(1);
            epoll_event again{EPOLLIN, {.u64 = 2}};
            if (side.epoll_ctl(epoll, EPOLL_CTL_MOD, queue, &again) != 0 || side.send(queue, "y", 1) != 0) _exit(2);
            if (write(answers[1], "x", 1) != 1 || read(ends[0], &byte, 1) != 1) _exit(1);
            _exit(side.epoll_ctl(epoll, EPOLL_CTL_DEL, queue, nullptr) != 0 ? 3 : 0);
        }
        char byte;
        STEP(write(ends[1], "x", 1));
        STEP(read(answers[0], &byte, 1));
        t.note(events(epoll, 1000) + " " + events(epoll));
        STEP(side.close(queue));  // the child's copy keeps it watched
        STEP(write(ends[1], "x", 1));
        STEP(read(answers[0], &byte, 1));
        t.note(events(epoll, 1000) + " " + events(epoll));
        STEP(write(ends[1], "x", 1));
        int status = -1;
        waitpid(child, &status, 0);
        t.note(std::to_string(status));
        t.note(events(epoll));
        for (int fd : {epoll, ends[0], ends[1], answers[0], answers[1]}) side.close(fd);
        side.unlink("/epoll");
    });
}

// A queue's watch does not outlive its number, even when the number was freed where we could not see it.
TEST(EpollQueue, StaleNumber) {
    const Side side{false};
    const int queue = side.create("/epoll"), epoll = epoll_create1(0);
    epoll_event event{EPOLLOUT, {.u64 = 1}};
    ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, queue, &event));
    ASSERT_EQ(0, Side::raw(SYS_close, queue));
    const int again = side.create("/epoll2");
    ASSERT_EQ(queue, again);
    event.data.u64 = 2;
    EXPECT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, again, &event));
    EXPECT_EQ("1 2:4", events(epoll));
    ASSERT_EQ(0, Side::raw(SYS_close, again));
    int ends[2];
    ASSERT_EQ(0, pipe(ends));
    ASSERT_EQ(again, ends[0]);
    event = {EPOLLIN, {.u64 = 3}};
    EXPECT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event));
    EXPECT_EQ(1, write(ends[1], "x", 1));
    EXPECT_EQ("1 3:1", events(epoll));
    for (int fd : {epoll, ends[0], ends[1]}) close(fd);
    side.unlink("/epoll");
    side.unlink("/epoll2");
}

}  // namespace
