// The C++ class over shared memory segments: made whole, attached where and how one likes, counted exactly over scopes, forks and
// kills, removed at the last detach. EEXIST, ENOENT, EINVAL, EIDRM.
#include "muster/segment.hpp"
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace {
using namespace muster;

class SegmentTest : public testing::Test {
protected:
    SegmentTest() : domain(Domain::create_ephemeral().value()) {}
    ~SegmentTest() override { EXPECT_TRUE(domain.remove()); }
    Domain domain;
};

template <class Body>
pid_t in_child(Body body) {
    const pid_t child = fork();
    if (child == 0) _exit(body());
    return child;
}
int status_of(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

// Zeroes of the size asked for; key, identifier and name lead to it. EEXIST, ENOENT, EINVAL.
TEST_F(SegmentTest, IsMadeWholeAndFound) {
    auto segment = Segment::create(domain, Key(0x51), 10'000, {.mode = 0640}).value();
    EXPECT_EQ(segment.size_bytes(), 10'000u);
    EXPECT_EQ(segment.name(), "shm:0x51");
    EXPECT_EQ(Segment::open(domain, Key(0x51))->identifier(), segment.identifier());
    EXPECT_EQ(Segment::open(domain, segment.identifier())->size_bytes(), 10'000u);
    EXPECT_EQ(Segment::create(domain, Key(0x51), 1).error().errno_value(), EEXIST);
    EXPECT_EQ(Segment::open_or_create(domain, Key(0x51), 10'001).error().errno_value(), EINVAL);
    EXPECT_EQ(Segment::open_or_create(domain, Key(0x52), 5).value().size_bytes(), 5u);
    EXPECT_EQ(Segment::open(domain, Key(0x53)).error().errno_value(), ENOENT);
    EXPECT_EQ(Segment::open(domain, 12345).error().errno_value(), ENOENT);
    EXPECT_EQ(Segment::open(domain, Key::none()).error().errno_value(), EINVAL);
    EXPECT_EQ(Segment::create(domain, Key::none(), 0).error().errno_value(), EINVAL);
    const SegmentStatus status = segment.status().value();
    EXPECT_EQ(status.mode, 0640u);
    EXPECT_EQ(status.creator_pid, getpid());
    EXPECT_EQ(status.last_attach, std::chrono::system_clock::time_point{});
    auto attached = segment.attach(Access::read_only).value();
    EXPECT_TRUE(std::all_of(attached.bytes().begin(), attached.bytes().end(), [](std::byte b) { return b == std::byte{0}; }));
    EXPECT_NE(segment.status()->last_attach, std::chrono::system_clock::time_point{});
}

// Two attachments are the same bytes; read-only ones are not for writing; an address of choice is taken or refused. EINVAL.
TEST_F(SegmentTest, AttachesWhereAndHowOneLikes) {
    auto segment = Segment::create(domain, Key::none(), 8192).value();
    auto writer = segment.attach().value();
    auto reader = segment.attach(Access::read_only).value();
    std::memcpy(writer.data(), "hello", 6);
    EXPECT_STREQ(reinterpret_cast<const char*>(reader.bytes().data()), "hello");
    EXPECT_EQ(writer.writable_bytes().size(), 8192u);
    EXPECT_TRUE(reader.writable_bytes().empty());
    EXPECT_FALSE(reader.writable());
    ASSERT_NE(writer.at<std::atomic<int>>(64), nullptr);
    *writer.at<std::atomic<int>>(64) = 5;
    EXPECT_EQ(*reader.at<std::atomic<int>>(64), 5);
    EXPECT_EQ(writer.at<std::uint64_t>(8185), nullptr);
    EXPECT_EQ(writer.at<std::uint64_t>(4), nullptr);
    EXPECT_EQ(segment.attach(Access::read_write, writer.data()).error().errno_value(), EINVAL);
    EXPECT_EQ(segment.attach(Access::read_write, writer.data() + 1).error().errno_value(), EINVAL);
    void* place = writer.data();
    ASSERT_TRUE(writer.detach());
    EXPECT_TRUE(writer.detach());
    EXPECT_EQ(writer.data(), nullptr);
    auto again = segment.attach(Access::read_write, place).value();
    EXPECT_EQ(again.data(), place);
    EXPECT_EQ(segment.status()->attachments, 2u);
}

// The count is exact: scopes, moves, forks, exits, kills.
TEST_F(SegmentTest, CountsWhoLives) {
    auto segment = Segment::create(domain, Key::none(), 4096).value();
    const auto count = [&] { return segment.status().value().attachments; };
    EXPECT_EQ(count(), 0u);
    auto first = segment.attach().value();
    {
        auto second = segment.attach().value();
        auto third = std::move(second);
        EXPECT_EQ(count(), 2u);
    }
    EXPECT_EQ(count(), 1u);
    EXPECT_EQ(status_of(in_child([&] { return count() == 2 && first.detach() && count() == 1 ? 0 : 1; })), 0);
    EXPECT_EQ(count(), 1u);
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t child = in_child([&] {
        auto more = segment.attach();
        (void)!write(ready[1], "x", 1);
        pause();
        return more ? 0 : 1;
    });
    char byte;
    ASSERT_EQ(read(ready[0], &byte, 1), 1);
    EXPECT_EQ(count(), 3u);
    const auto users = segment.users().value();
    ASSERT_EQ(users.size(), 2u);
    EXPECT_TRUE(std::any_of(users.begin(), users.end(), [&](const SegmentUser& user) { return user.pid == child && user.attachments == 2; }));
    kill(child, SIGKILL);
    status_of(child);
    EXPECT_EQ(count(), 1u);
    EXPECT_EQ(segment.users()->size(), 1u);
    close(ready[0]);
    close(ready[1]);
}

// A removed segment loses its key at once and goes with its last user, who may still be joined by identifier; also when that user
// is killed. EIDRM, ENOENT.
TEST_F(SegmentTest, GoesWithItsLastUser) {
    auto segment = Segment::create(domain, Key(0x61), 4096).value();
    auto attached = segment.attach().value();
    ASSERT_TRUE(segment.remove());
    EXPECT_EQ(Segment::open(domain, Key(0x61)).error().errno_value(), ENOENT);
    EXPECT_TRUE(segment.status()->removed_at_last_detach);
    {
        auto late = Segment::open(domain, segment.identifier()).value();
        auto more = late.attach().value();
        EXPECT_EQ(late.status()->attachments, 2u);
    }
    ASSERT_TRUE(attached.detach());
    EXPECT_EQ(segment.attach().error().errno_value(), EIDRM);
    EXPECT_EQ(segment.status().error().errno_value(), EIDRM);
    EXPECT_EQ(segment.remove().error().errno_value(), EIDRM);
    EXPECT_EQ(Segment::open(domain, segment.identifier()).error().errno_value(), ENOENT);

    auto other = Segment::create(domain, Key::none(), 4096).value();
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t child = in_child([&] {
        auto mine = other.attach();
        (void)!write(ready[1], "x", 1);
        pause();
        return mine ? 0 : 1;
    });
    char byte;
    ASSERT_EQ(read(ready[0], &byte, 1), 1);
    ASSERT_TRUE(other.remove());
    kill(child, SIGKILL);
    status_of(child);
    EXPECT_EQ(other.attach().error().errno_value(), EIDRM);
    close(ready[0]);
    close(ready[1]);
}

// What is made here is what shmget() finds, and both count in one process.
TEST_F(SegmentTest, IsTheSegmentThatTheCCallsSee) {
#if defined(MUSTER_POSIX_LIBRARY) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which cannot be loaded late
    auto segment = Segment::create(domain, Key(0x71), 4096).value();
    const pid_t child = in_child([&] {
        setenv("MUSTER_DOMAIN", domain.path().c_str(), 1);
        void* library = dlopen(MUSTER_POSIX_LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr) return 1;
        const auto get = reinterpret_cast<int (*)(key_t, std::size_t, int)>(dlsym(library, "shmget"));
        const auto attach = reinterpret_cast<void* (*)(int, const void*, int)>(dlsym(library, "shmat"));
        const auto control = reinterpret_cast<int (*)(int, int, shmid_ds*)>(dlsym(library, "shmctl"));
        const int id = get(0x71, 4096, 0);
        if (id != segment.identifier()) return 2;
        auto* bytes = static_cast<char*>(attach(id, nullptr, 0));
        auto mine = segment.attach();
        if (!mine) return 3;
        std::strcpy(bytes, "shared");
        shmid_ds shown{};
        if (control(id, IPC_STAT, &shown) != 0 || shown.shm_nattch != 2 || segment.status()->attachments != 2) return 4;
        return std::strcmp(reinterpret_cast<char*>(mine->data()), "shared") == 0 ? 0 : 5;
    });
    EXPECT_EQ(status_of(child), 0);
    EXPECT_EQ(segment.status()->attachments, 0u);
#endif
}

}  // namespace
