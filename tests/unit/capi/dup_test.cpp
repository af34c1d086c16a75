// dup, dup2, dup3 and fcntl on queues, the same as on the kernel's: copies are queues with the same access and share
// O_NONBLOCK, a replaced queue is one no more, F_GETFL and F_SETFL tell and keep the access mode; EBADF, EINVAL as there.
#include <sys/mman.h>
#include <set>
#include "two_sides.hpp"

namespace {
using namespace muster::capi_tests;

TEST(DupQueue, CopiesAreQueues) {
    expect_same([](const Side& side, Transcript& t) {
        const int queue = side.create("/dup", O_RDWR | O_NONBLOCK), reader = side.open("/dup", O_RDONLY | O_NONBLOCK);
        const int copy = static_cast<int>(STEP(side.dup(queue) > 2 ? 0 : -1)) == 0 ? side.dup(reader) : -1;
        char text[64];
        STEP(side.send(copy, "x", 1));
        STEP(side.receive(copy, text, 64));
        STEP(side.dup2(queue, 300));
        STEP(side.send(300, "x", 1));
        STEP(side.receive(copy, text, 64));
        STEP(side.dup2(reader, 300));
        STEP(side.send(300, "x", 1));
        STEP(side.dup2(300, 300));
        STEP(side.dup3(300, 300, 0));
        STEP(side.dup3(queue, 300, O_CLOEXEC | O_APPEND));
        STEP(side.send(300, "x", 1));  // still the reader
        STEP(side.dup3(queue, 300, O_CLOEXEC));
        STEP(side.fcntl(300, F_GETFD));
        STEP(side.send(300, "x", 1));
        STEP(side.dup2(999, 300));
        STEP(side.send(300, "x", 1));  // still a queue
        STEP(side.dup2(999, 999));
        STEP(side.dup2(queue, -1));
        STEP(side.dup2(queue, 1 << 28));
        STEP(side.dup(999));
        STEP(side.fcntl(reader, F_DUPFD, 400));
        STEP(side.fcntl(reader, F_DUPFD_CLOEXEC, 400));
        STEP(side.send(401, "x", 1));
        STEP(side.receive(401, text, 64));
        STEP(side.fcntl(999, F_DUPFD, 0));
        STEP(side.fcntl(reader, F_DUPFD, -1));
        const int other = memfd_create("other", 0);
        STEP(side.dup2(other, 300));
        STEP(side.send(300, "x", 1));
        STEP(side.write(300, "plain", 5));
        STEP(side.dup2(queue, other) == other ? 0 : -1);
        STEP(side.send(other, "x", 1));
        STEP(side.close(queue));
        STEP(side.send(queue, "x", 1));
        STEP(side.send(other, "x", 1));
        STEP(side.close_range(300, 500, 0));
        STEP(side.send(401, "x", 1));
        side.close_range(3, 200, 0);
        side.unlink("/dup");
    });
}

TEST(DupQueue, StatusFlags) {
    expect_same([](const Side& side, Transcript& t) {
        const int queue = side.create("/dup");
        const int modes[] = {O_RDONLY, O_WRONLY, O_RDWR};
        for (int mode : modes) {
            const int fd = side.open("/dup", mode);
            STEP(side.fcntl(fd, F_GETFL));
            STEP(side.fcntl(fd, F_SETFL, O_NONBLOCK));
            STEP(side.fcntl(fd, F_GETFL));
            STEP(side.fcntl(fd, F_SETFL, O_ASYNC));
            STEP(side.fcntl(fd, F_GETFL));
            STEP(side.fcntl(fd, F_SETFL, O_DIRECT));
            STEP(side.fcntl(fd, F_SETFL, O_NONBLOCK | O_RDWR));
            STEP(side.fcntl(fd, F_GETFL));
            STEP(side.fcntl(side.dup(fd), F_GETFL));
            char text[64];
            STEP(side.send(fd, "x", 1));
            STEP(side.receive(fd, text, 64) < 0 && errno == EAGAIN ? 1 : side.receive(fd, text, 64));
        }
        STEP(side.fcntl(queue, F_GETFD));
        STEP(side.fcntl(queue, F_SETFD, 0));
        STEP(side.fcntl(queue, F_GETFD));
        STEP(side.fcntl(999, F_GETFL));
        STEP(side.fcntl(999, F_SETFL, 0));
        side.close_range(3, 200, 0);
        side.unlink("/dup");
    });
}

// The library's own descriptors cannot be closed, nor replaced: the program does not know them.
TEST(DupQueue, ReservedNumbers) {
    const Side side{false};
    close(side.create("/dup"));  // now the domain is open
    std::set<int> inherited;
    for (int fd = 3; fd < 65536; ++fd)
        if (Side::raw(SYS_fcntl, fd, F_GETFD) >= 0) inherited.insert(fd);
    const int queue = side.create("/dup");
    const int epoll = epoll_create1(0);
    epoll_event event{EPOLLIN, {}};
    ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, queue, &event));
    int hidden = 0;
    for (int fd = epoll + 1; fd < 65536; ++fd) {
        if (inherited.count(fd) != 0 || Side::raw(SYS_fcntl, fd, F_GETFD) < 0) continue;
        ++hidden;
        EXPECT_EQ(-1, close(fd));
        EXPECT_EQ(EBADF, errno);
        EXPECT_EQ(-1, dup2(queue, fd));
        EXPECT_EQ(EBADF, errno);
    }
    EXPECT_EQ(2, hidden);  // the queue's FIFO and its watch
    close(queue);
    close(epoll);
    side.unlink("/dup");
}

}  // namespace
