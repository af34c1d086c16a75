// The C++ class over the semaphore engine: sets born with their values, operations on several at once, deadlines, holds that end with
// their process, who waits and who holds, and the same set reached by the C calls. EEXIST, ENOENT, EINVAL, ERANGE, EAGAIN, ETIMEDOUT,
// EIDRM, E2BIG, EPERM.
#include "muster/semaphore_set.hpp"
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {
using namespace muster;
using namespace std::chrono_literals;

class SemaphoreSetTest : public testing::Test {
protected:
    SemaphoreSetTest() : domain(Domain::create_ephemeral().value()) {}
    ~SemaphoreSetTest() override { EXPECT_TRUE(domain.remove()); }
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

// Values are there from the first moment; key, identifier and name lead to the same set. EEXIST, ENOENT, EINVAL, ERANGE.
TEST_F(SemaphoreSetTest, IsBornWithItsValues) {
    auto set = SemaphoreSet::create(domain, Key(0x1234), {3, 0, 7}, {.mode = 0640}).value();
    EXPECT_EQ(set.size(), 3u);
    EXPECT_EQ(set.values().value(), (std::vector<std::uint16_t>{3, 0, 7}));
    EXPECT_EQ(set.name(), "sem:0x1234");
    EXPECT_EQ(set.status()->mode, 0640u);
    EXPECT_EQ(set.last_pid(0).value(), 0);
    EXPECT_EQ(SemaphoreSet::open(domain, Key(0x1234))->identifier(), set.identifier());
    EXPECT_EQ(SemaphoreSet::open(domain, set.identifier())->value(2).value(), 7u);
    EXPECT_EQ(SemaphoreSet::create(domain, Key(0x1234), {1}).error().errno_value(), EEXIST);
    EXPECT_EQ(SemaphoreSet::open_or_create(domain, Key(0x1234), {1}).value().size(), 3u);
    EXPECT_EQ(SemaphoreSet::open_or_create(domain, Key(0x1234), {1, 1, 1, 1}).error().errno_value(), EINVAL);
    EXPECT_EQ(SemaphoreSet::open_or_create(domain, Key(0x99), {5}).value().value().value(), 5u);
    EXPECT_EQ(SemaphoreSet::open(domain, Key(0x77)).error().errno_value(), ENOENT);
    EXPECT_EQ(SemaphoreSet::open(domain, 999).error().errno_value(), ENOENT);
    EXPECT_EQ(SemaphoreSet::open(domain, Key::none()).error().errno_value(), EINVAL);
    EXPECT_EQ(SemaphoreSet::create(domain, Key::none(), {}).error().errno_value(), EINVAL);
    EXPECT_EQ(SemaphoreSet::create(domain, Key::none(), {32768}).error().errno_value(), ERANGE);
    auto own = SemaphoreSet::create(domain, Key::none(), {1}).value();
    EXPECT_EQ(own.name(), "sem:id=" + std::to_string(own.identifier()));
    const Error error = SemaphoreSet::open(domain, Key(0x77)).error();
    EXPECT_EQ(error.object(), "sem:0x77");
    EXPECT_FALSE(error.hint().empty());
}

// wait, post, wait_zero and vectors; what cannot be done at once leaves all values alone. EAGAIN, ETIMEDOUT, ERANGE, EINVAL, E2BIG.
TEST_F(SemaphoreSetTest, OperatesOnAllOrNone) {
    auto set = SemaphoreSet::create(domain, Key::none(), {2, 0}).value();
    ASSERT_TRUE(set.wait(0, 2));
    EXPECT_EQ(set.try_wait(0).error().errno_value(), EAGAIN);
    EXPECT_EQ(set.wait(0, 1, Deadline::after(2ms)).error().errno_value(), ETIMEDOUT);
    EXPECT_EQ(set.wait(0, 1, Deadline::at(std::chrono::system_clock::now() - 1s)).error().errno_value(), ETIMEDOUT);
    ASSERT_TRUE(set.post(0, 5));
    EXPECT_EQ(set.try_operate({{0, -3}, {1, -1}}).error().errno_value(), EAGAIN);
    EXPECT_EQ(set.value(0).value(), 5u);
    ASSERT_TRUE(set.operate({{0, -3}, {1, 4}}));
    EXPECT_EQ(set.values().value(), (std::vector<std::uint16_t>{2, 4}));
    EXPECT_EQ(set.try_wait_zero(0).error().errno_value(), EAGAIN);
    ASSERT_TRUE(set.set(0, 0));
    EXPECT_TRUE(set.wait_zero(0));
    EXPECT_EQ(set.last_pid(0).value(), getpid());
    EXPECT_EQ(set.set(0, 32768).error().errno_value(), ERANGE);
    const std::uint16_t one[] = {1}, two[] = {8, 9};
    EXPECT_EQ(set.set_all(one).error().errno_value(), EINVAL);
    ASSERT_TRUE(set.set_all(two));
    EXPECT_EQ(set.post(0, 32767).error().errno_value(), ERANGE);
    EXPECT_EQ(set.post(2).error().errno_value(), EINVAL);
    EXPECT_EQ(set.wait(0, 0).error().errno_value(), EINVAL);
    EXPECT_EQ(set.operate(std::span<const SemaphoreOperation>()).error().errno_value(), EINVAL);
    const std::vector<SemaphoreOperation> many(501, SemaphoreOperation{0, 1, false});
    EXPECT_EQ(set.operate(many).error().errno_value(), E2BIG);
    EXPECT_EQ(set.values().value(), (std::vector<std::uint16_t>{8, 9}));
}

// A Hold gives back when it is released, when it goes out of scope, when it is assigned to, and when its process is killed; a forked
// child's copy does nothing.
TEST_F(SemaphoreSetTest, HoldsEndWithTheirScopeAndTheirProcess) {
    auto set = SemaphoreSet::create(domain, Key::none(), {1}).value();
    {
        auto hold = set.hold().value();
        EXPECT_TRUE(hold);
        EXPECT_EQ(set.try_hold().error().errno_value(), EAGAIN);
        ASSERT_EQ(set.holders()->size(), 1u);
        EXPECT_EQ(set.holders()->front().pid, getpid());
        EXPECT_EQ(set.holders()->front().adjustment, 1);
        const pid_t child = in_child([&] { return hold.release() && set.value().value() == 0 ? 0 : 1; });
        EXPECT_EQ(status_of(child), 0);
        auto moved = std::move(hold);
        EXPECT_EQ(set.value().value(), 0u);
    }
    EXPECT_EQ(set.value().value(), 1u);
    EXPECT_TRUE(set.holders()->empty());
    auto hold = set.hold().value();
    ASSERT_TRUE(hold.release());
    EXPECT_TRUE(hold.release());
    EXPECT_EQ(set.value().value(), 1u);

    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t holder = in_child([&] {
        auto mine = set.hold();
        (void)!write(ready[1], "x", 1);
        pause();
        return mine ? 0 : 1;
    });
    char byte;
    ASSERT_EQ(read(ready[0], &byte, 1), 1);
    EXPECT_EQ(set.holders()->front().pid, holder);
    kill(holder, SIGKILL);
    EXPECT_TRUE(set.wait(0, 1, Deadline::after(10s)));  // not before it is dead, and not long after
    status_of(holder);
    EXPECT_EQ(set.last_pid().value(), getpid());
    close(ready[0]);
    close(ready[1]);
}

// Who waits is told with what for, oldest first, and since when; a post lets it go; removal ends it with EIDRM, and everything after.
TEST_F(SemaphoreSetTest, TellsWhoWaitsAndEndsWithItsRemoval) {
    auto set = SemaphoreSet::create(domain, Key(0x55), {0, 1}).value();
    const pid_t zero = in_child([&] { return set.wait_zero(1).error() == EIDRM ? 0 : 1; });
    while (set.waiting_for_zero(1).value() != 1) std::this_thread::yield();
    std::thread taker([&] { EXPECT_TRUE(set.wait(0, 2)); });
    while (set.waiting(0).value() != 1) std::this_thread::yield();
    const auto waiters = set.waiters().value();
    ASSERT_EQ(waiters.size(), 2u);
    EXPECT_EQ(waiters[0].pid, zero);
    EXPECT_EQ(waiters[0].amount, 0);
    EXPECT_EQ(waiters[0].number, 1);
    EXPECT_EQ(waiters[1].pid, getpid());
    EXPECT_EQ(waiters[1].amount, -2);
    EXPECT_LT(std::chrono::system_clock::now() - waiters[1].since, 1h);
    ASSERT_TRUE(set.post(0, 2));
    taker.join();
    auto other = SemaphoreSet::open(domain, Key(0x55)).value();
    ASSERT_TRUE(set.remove());
    EXPECT_EQ(status_of(zero), 0);
    EXPECT_EQ(other.post().error().errno_value(), EIDRM);
    EXPECT_EQ(other.remove().error().errno_value(), EIDRM);
    EXPECT_EQ(SemaphoreSet::open(domain, Key(0x55)).error().errno_value(), ENOENT);
    EXPECT_TRUE(SemaphoreSet::create(domain, Key(0x55), {1}));
}

// Many threads of several processes count the same thing.
TEST_F(SemaphoreSetTest, CountsUnderContention) {
    auto set = SemaphoreSet::create(domain, Key::none(), {1, 0}).value();
    std::vector<pid_t> children;
    for (int i = 0; i < 3; ++i)
        children.push_back(in_child([&] {
            for (int turn = 0; turn < 300; ++turn) {
                auto lock = set.hold(0);
                if (!lock || !set.post(1)) return 1;
            }
            return 0;
        }));
    for (const pid_t child : children) EXPECT_EQ(status_of(child), 0);
    EXPECT_EQ(set.values().value(), (std::vector<std::uint16_t>{1, 900}));
}

// What is made here is what semget() finds, in the same process as well.
TEST_F(SemaphoreSetTest, IsTheSetThatTheCCallsSee) {
#if defined(MUSTER_POSIX_LIBRARY) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which cannot be loaded late
    auto set = SemaphoreSet::create(domain, Key(0x4d5), {4, 6}).value();
    const pid_t child = in_child([&] {
        setenv("MUSTER_DOMAIN", domain.path().c_str(), 1);
        void* library = dlopen(MUSTER_POSIX_LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr) return 1;
        const auto get = reinterpret_cast<int (*)(key_t, int, int)>(dlsym(library, "semget"));
        const auto control = reinterpret_cast<int (*)(int, int, int, ...)>(dlsym(library, "semctl"));
        const auto operate = reinterpret_cast<int (*)(int, sembuf*, std::size_t)>(dlsym(library, "semop"));
        const int id = get(0x4d5, 2, 0);
        if (id != set.identifier() || control(id, 1, GETVAL) != 6) return 2;
        sembuf take{1, -2, SEM_UNDO};
        if (operate(id, &take, 1) != 0 || set.value(1).value() != 4) return 3;
        auto hold = set.hold(1, 3);  // both copies of the library hold something, under one process's name
        if (!hold || control(id, 1, GETVAL) != 1 || set.holders()->size() != 1 || set.holders()->front().adjustment != 5) return 4;
        kill(getpid(), SIGKILL);
        return 5;
    });
    EXPECT_TRUE(WIFSIGNALED(status_of(child)));
    EXPECT_EQ(set.value(1).value(), 6u);
#endif
}

}  // namespace
