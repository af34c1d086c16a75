// read, pread, readv, preadv, write, pwrite, writev on a queue's descriptor, the same as on the kernel's: the line of
// text with its columns, its end, the open description's offset; EBADF for the wrong direction, EINVAL for writing, for
// negative offsets and bad counts, EFAULT for bad buffers. Other descriptors are untouched by it, stale numbers included.
#include <climits>
#include <cstdio>
#include "two_sides.hpp"

extern "C" ssize_t __read_chk(int, void*, size_t, size_t);  // what a fortified program calls

namespace {
using namespace muster::capi_tests;

TEST(ReadQueue, TextAndOffset) {
    expect_same([](const Side& side, Transcript& t) {
        const int queue = side.create("/read");
        ASSERT_GE(queue, 0);
        char text[200] = {};
        STEP(side.read(queue, text, sizeof text));
        t.note(text);
        STEP(side.read(queue, text, sizeof text));
        STEP(lseek(queue, 0, SEEK_CUR));
        STEP(lseek(queue, 5, SEEK_SET));
        std::memset(text, 0, sizeof text);
        STEP(side.read(queue, text, 10));
        t.note(text);
        STEP(lseek(queue, 1000, SEEK_SET));
        STEP(side.read(queue, text, 10));
        STEP(side.send(queue, "hello", 5, 3));
        STEP(side.send(queue, "hello", 4, 7));
        std::memset(text, 0, sizeof text);
        STEP(side.pread(queue, text, sizeof text, 0));
        t.note(text);
        STEP(side.pread(queue, text, sizeof text, 59));
        STEP(side.pread(queue, text, sizeof text, 60));
        STEP(side.pread(queue, text, sizeof text, -1));
        STEP(side.pread(queue, text, 0, 0));
        STEP(side.pread(queue, reinterpret_cast<void*>(8), 10, 0));
        STEP(side.read(queue, text, 0));
        STEP(side.close(queue));
        STEP(side.read(queue, text, 1));
        side.unlink("/read");
    });
}

TEST(ReadQueue, Registration) {
    expect_same([](const Side& side, Transcript& t) {
        const int queue = side.create("/read");
        char text[200] = {};
        sigevent event{};
        for (int kind : {SIGEV_NONE, SIGEV_SIGNAL}) {
            event.sigev_notify = kind;
            event.sigev_signo = SIGUSR2;
            STEP(side.notify(queue, &event));
            STEP(side.pread(queue, text, sizeof text, 0));
            t.note(text);
            STEP(side.notify(queue, nullptr));
            STEP(side.pread(queue, text, sizeof text, 0));
            t.note(text);
        }
        side.close(queue);
        side.unlink("/read");
    });
}

TEST(ReadQueue, Vectors) {
    expect_same([](const Side& side, Transcript& t) {
        const int queue = side.create("/read");
        char text[200] = {};
        iovec pieces[3] = {{text, 3}, {text + 3, 0}, {text + 3, 190}};
        STEP(side.preadv(queue, pieces, 3, 0));
        t.note(text);
        STEP(side.readv(queue, pieces, 1));
        STEP(lseek(queue, 0, SEEK_CUR));
        STEP(side.readv(queue, pieces, 3));
        STEP(side.readv(queue, pieces, 3));
        STEP(side.preadv(queue, pieces, 2, -1));
        STEP(side.preadv(queue, pieces, 0, 0));
        STEP(side.readv(queue, pieces, -1));
        STEP(side.readv(queue, pieces, IOV_MAX + 1));
        STEP(side.writev(queue, pieces, 1));
        side.close(queue);
        side.unlink("/read");
    });
}

TEST(ReadQueue, Direction) {
    expect_same([](const Side& side, Transcript& t) {
        const int queue = side.create("/read"), reader = side.open("/read", O_RDONLY), writer = side.open("/read", O_WRONLY);
        char text[200] = {};
        iovec piece{text, 10};
        STEP(side.write(queue, text, 10));
        STEP(side.write(queue, text, 0));
        STEP(side.write(reader, text, 10));
        STEP(side.write(writer, text, 10));
        STEP(side.pwrite(writer, text, 10, 0));
        STEP(side.pwrite(reader, text, 10, 0));
        STEP(side.writev(reader, &piece, 1));
        STEP(side.read(writer, text, 10));
        STEP(side.pread(writer, text, 10, 0));
        STEP(side.readv(writer, &piece, 1));
        STEP(side.preadv(writer, &piece, 1, 0));
        STEP(side.read(reader, text, 10));
        STEP(side.send(queue, "still whole", 11));
        STEP(side.receive(queue, text, 64));
        for (int fd : {queue, reader, writer}) side.close(fd);
        side.unlink("/read");
    });
}

// A number that was a queue's and was closed where we cannot see it belongs to what is there now.
TEST(ReadQueue, StaleNumber) {
    const Side side{false};
    const int queue = side.create("/read");
    ASSERT_EQ(0, Side::raw(SYS_close, queue));
    int ends[2];
    ASSERT_EQ(0, pipe(ends));
    ASSERT_TRUE(ends[0] == queue || ends[1] == queue);
    char text[8] = {};
    EXPECT_EQ(3, write(ends[1], "abc", 3));
    EXPECT_EQ(3, read(ends[0], text, sizeof text));
    EXPECT_STREQ("abc", text);
    EXPECT_EQ(O_RDONLY, fcntl(ends[0], F_GETFL));
    pollfd entry{ends[0], POLLIN, 0};
    EXPECT_EQ(0, poll(&entry, 1, 0));
    close(ends[0]);
    close(ends[1]);
    side.unlink("/read");
}

TEST(ReadQueueDeathTest, CheckedCallStops) {
    char text[64];
    const Side side{false};
    const int queue = side.create("/read");
    EXPECT_EQ(60, __read_chk(queue, text, 64, 64));
    EXPECT_DEATH(__read_chk(queue, text, 65, 64), "buffer overflow");
    side.close(queue);
    side.unlink("/read");
}

}  // namespace
