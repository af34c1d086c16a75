// poll and ppoll with queues among other descriptors, the same as on the kernel's: events, their number, POLLNVAL, arrays of
// any length, EFAULT, EINVAL, EINTR, time-outs; a queue that came over a socket and was never used; cancellation.
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <csignal>
#include <vector>
#include "two_sides.hpp"

namespace {
using namespace muster::capi_tests;

TEST(PollQueue, AmongOthers) {
    for (size_t padding : {0u, 1u, 61u, 62u, 200u, 3000u}) {
        SCOPED_TRACE(padding);
        expect_same([&](const Side& side, Transcript& t) {
            const int queue = side.create("/poll");
            int ends[2];
            ASSERT_EQ(0, pipe(ends));
            std::vector<pollfd> entries(padding, pollfd{-1, POLLIN, 99});
            constexpr short kAll = POLLIN | POLLOUT | POLLPRI | POLLRDNORM | POLLWRNORM | POLLRDBAND | POLLWRBAND | POLLRDHUP;
            entries.push_back({queue, kAll, 77});
            entries.push_back({ends[0], kAll, 77});
            entries.push_back({ends[1], POLLOUT, 77});
            entries.push_back({999, POLLIN, 77});
            const auto look = [&] {
                STEP(side.poll(entries.data(), entries.size(), 0));
                long of_padding = 0;
                for (size_t i = 0; i < padding; ++i) of_padding += entries[i].revents;
                t.note(std::to_string(of_padding));
                for (size_t i = padding; i < entries.size(); ++i) t.note(std::to_string(i - padding) + ": " + std::to_string(entries[i].revents));
            };
            look();
            STEP(side.send(queue, "x", 1));
            look();
            for (int i = 0; i < 3; ++i) STEP(side.send(queue, "x", 1));
            look();
            STEP(write(ends[1], "x", 1));
            look();
            STEP(side.close(queue));
            look();
            close(ends[0]);
            close(ends[1]);
            side.unlink("/poll");
        });
    }
}

TEST(PollQueue, BadArguments) {
    expect_same([](const Side& side, Transcript& t) {
        const int queue = side.create("/poll");
        STEP(side.poll(nullptr, 1, 0));
        STEP(side.poll(reinterpret_cast<pollfd*>(8), 70, 0));
        STEP(side.poll(nullptr, 0, 0));
        STEP(side.poll(nullptr, 1 << 30, 0));
        STEP(side.poll(nullptr, 1 << 19, 0));
        side.close(queue);
        side.unlink("/poll");
    });
}

TEST(PollQueue, TimeoutAndSignal) {
    const Side side{false};
    const int queue = side.create("/poll");
    pollfd entry{queue, POLLIN, 0};
    timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    EXPECT_EQ(0, poll(&entry, 1, 30));
    const timespec wait{0, 30'000'000};
    EXPECT_EQ(0, ppoll(&entry, 1, &wait, nullptr));
    clock_gettime(CLOCK_MONOTONIC, &after);
    EXPECT_GE((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1'000'000, 59);
    // The mask of ppoll is in effect while it waits, and not after.
    static volatile int seen = 0;
    signal(SIGUSR1, [](int) { seen = 1; });
    sigset_t only, none, now;
    sigemptyset(&none);
    sigemptyset(&only);
    sigaddset(&only, SIGUSR1);
    sigprocmask(SIG_BLOCK, &only, nullptr);
    raise(SIGUSR1);
    EXPECT_EQ(0, seen);
    EXPECT_EQ(-1, ppoll(&entry, 1, nullptr, &none));
    EXPECT_EQ(EINTR, errno);
    EXPECT_EQ(1, seen);
    sigprocmask(SIG_UNBLOCK, &only, &now);
    EXPECT_EQ(1, sigismember(&now, SIGUSR1));
    close(queue);
    side.unlink("/poll");
}

void pass(int socket, int fd) {
    char byte = 'd';
    iovec data{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
    ASSERT_EQ(1, sendmsg(socket, &message, 0));
}

int passed(int socket) {
    char byte = 0;
    iovec data{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (recvmsg(socket, &message, 0) != 1 || CMSG_FIRSTHDR(&message) == nullptr) return -1;
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

// The first thing that a process does with a queue it was given is to wait for it.
class ReceivedQueue : public testing::TestWithParam<const char*> {};

TEST_P(ReceivedQueue, FirstUse) {
    const std::string first = GetParam();
    const Side side{false};
    int sockets[2];
    ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
    const int queue = side.create("/poll");
    pass(sockets[0], queue);
    const int fd = passed(sockets[1]);
    ASSERT_GE(fd, 0);
    const auto ready = [&]() -> int {
        if (first == "poll") {
            pollfd entry{fd, POLLIN, 0};
            return poll(&entry, 1, 0);
        }
        if (first == "select") {
            fd_set in;
            FD_ZERO(&in);
            FD_SET(fd, &in);
            timeval now{0, 0};
            return select(fd + 1, &in, nullptr, nullptr, &now);
        }
        const int epoll = epoll_create1(0);
        epoll_event event{EPOLLIN, {}};
        EXPECT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
        const int count = epoll_wait(epoll, &event, 1, 0);
        close(epoll);
        return count;
    };
    EXPECT_EQ(0, ready());
    EXPECT_EQ(0, mq_send(queue, "x", 1, 0));
    EXPECT_EQ(1, ready());
    for (int open : {fd, queue, sockets[0], sockets[1]}) close(open);
    side.unlink("/poll");
}
INSTANTIATE_TEST_SUITE_P(Calls, ReceivedQueue, testing::Values("poll", "select", "epoll"), [](const auto& info) { return std::string(info.param); });

// A number seen to be something plain, closed, and then a queue's.
TEST(PollQueue, NumberUsedAgain) {
    const Side side{false};
    int sockets[2];
    ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
    const int queue = side.create("/poll");
    for (int round = 0; round < 2; ++round) {
        const int counter = eventfd(0, 0);
        pollfd entry{counter, POLLIN, 0};
        EXPECT_EQ(0, poll(&entry, 1, 0));
        close(counter);
        pass(sockets[0], queue);
        const int fd = round == 0 ? passed(sockets[1]) : side.open("/poll", O_RDWR);
        EXPECT_EQ(counter, fd);
        entry.revents = 0;
        EXPECT_EQ(0, poll(&entry, 1, 0));
        EXPECT_EQ(0, mq_send(queue, "x", 1, 0));
        EXPECT_EQ(1, poll(&entry, 1, 0));
        char text[64];
        EXPECT_EQ(1, mq_receive(fd, text, 64, nullptr));
        close(fd);
    }
    for (int open : {queue, sockets[0], sockets[1]}) close(open);
    side.unlink("/poll");
}

// A thread cancelled while it waits for queues leaves them usable, and no memory mapped.
TEST(PollQueue, Cancellation) {
    const Side side{false};
    static int queue;
    queue = side.create("/poll");
    using Body = void* (*)(void*);
    const Body bodies[] = {
        [](void*) -> void* {
            pollfd entry{queue, POLLIN, 0};
            poll(&entry, 1, -1);
            return nullptr;
        },
        [](void*) -> void* {
            std::vector<pollfd> entries(500, pollfd{queue, POLLIN, 0});
            pthread_cleanup_push([](void* given) { std::vector<pollfd>().swap(*static_cast<std::vector<pollfd>*>(given)); }, &entries);
            ppoll(entries.data(), entries.size(), nullptr, nullptr);
            pthread_cleanup_pop(0);
            return nullptr;
        },
        [](void*) -> void* {
            fd_set in;
            FD_ZERO(&in);
            FD_SET(queue, &in);
            select(queue + 1, &in, nullptr, nullptr, nullptr);
            return nullptr;
        },
    };
    for (Body body : bodies) {
        for (int early = 0; early < 2; ++early) {
            pthread_t thread;
            ASSERT_EQ(0, pthread_create(&thread, nullptr, body, nullptr));
            if (early == 0) usleep(20'000);
            pthread_cancel(thread);
            void* result = nullptr;
            pthread_join(thread, &result);
            EXPECT_EQ(PTHREAD_CANCELED, result);
        }
    }
    EXPECT_EQ(0, mq_send(queue, "x", 1, 0));
    pollfd entry{queue, POLLIN, 0};
    EXPECT_EQ(1, poll(&entry, 1, 0));
    close(queue);
    side.unlink("/poll");
}

}  // namespace
