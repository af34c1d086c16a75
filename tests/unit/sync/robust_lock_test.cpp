// The lock that outlives its holders: mutual exclusion between processes; a holder killed, seen by who sleeps and by who comes
// later (owner_died, once); EDEADLK for a thread that holds it already; locks held by actors, taken over when the actor's life
// says FUTEX_OWNER_DIED or its number is none; words that say nothing sensible.
#include "sync/robust_lock.hpp"
#include <gtest/gtest.h>
#include <atomic>
#include <thread>
#include <vector>
#include "platform/futex.hpp"
#include "support/child.hpp"

namespace muster::sync {
namespace {
using test::Child;
using test::eventually;
using test::Shared;

constexpr ActorTable kNoActors{nullptr, 0};

platform::ThreadState& self() { return platform::current_thread(); }

struct Guarded {
    memory::ShmU32 word;
    Actor actor;
    std::uint64_t first, second;  // equal but inside the lock
    std::atomic<unsigned> ready, wrong, outcome;
};

TEST(RobustLock, OneAtATime) {
    constexpr unsigned kProcesses = 4, kRounds = 250'000;
    Shared<Guarded> shared;
    std::vector<Child> children;
    for (unsigned i = 0; i < kProcesses; ++i)
        children.emplace_back([&] {
            shared->ready.fetch_add(1);
            while (shared->ready.load() < kProcesses) sched_yield();
            for (unsigned round = 0; round < kRounds; ++round) {
                auto lock = ThreadLock::acquire(self(), shared->word, kNoActors);
                if (!lock || lock->owner_died() || shared->first != shared->second) {
                    shared->wrong.fetch_add(1);
                    continue;
                }
                *static_cast<volatile std::uint64_t*>(&shared->first) = shared->first + 1;
                if (round % 5000 == 0) sched_yield();  // the others get to sleep on it
                *static_cast<volatile std::uint64_t*>(&shared->second) = shared->second + 1;
            }
        });
    for (Child& child : children) EXPECT_TRUE(child.ends() && child.exited());
    EXPECT_EQ(shared->wrong.load(), 0u);
    EXPECT_EQ(shared->first, std::uint64_t{kProcesses} * kRounds);
    EXPECT_EQ(shared->second, shared->first);
    EXPECT_EQ(shared->word.load_relaxed(), 0u);
}

// As above, but one of them is killed again and again, wherever it is.
TEST(RobustLock, KilledAnywhere) {
    Shared<Guarded> shared;
    auto work = [&] {
        shared->ready.fetch_add(1);
        for (;;) {
            auto lock = ThreadLock::acquire(self(), shared->word, kNoActors);
            if (!lock) _exit(1);
            if (lock->owner_died()) shared->second = shared->first;  // its repair
            if (shared->first != shared->second) shared->wrong.fetch_add(1);
            *static_cast<volatile std::uint64_t*>(&shared->first) = shared->first + 1;
            *static_cast<volatile std::uint64_t*>(&shared->second) = shared->second + 1;
        }
    };
    Child steady(work), other(work);
    for (unsigned round = 0; round < 200; ++round) {
        const unsigned before = shared->ready.load();
        Child victim(work);
        ASSERT_TRUE(eventually([&] { return shared->ready.load() > before; }));
        for (unsigned delay = round % 50 * 100; delay > 0; --delay) platform::pause_cpu();
        victim.kill(SIGKILL);
        ASSERT_TRUE(victim.ends() && victim.killed());
        const std::uint64_t now = *static_cast<volatile std::uint64_t*>(&shared->second);
        ASSERT_TRUE(eventually([&] { return *static_cast<volatile std::uint64_t*>(&shared->second) != now; })) << "round " << round;
    }
    EXPECT_EQ(shared->wrong.load(), 0u);
    EXPECT_FALSE(steady.ended());
    EXPECT_FALSE(other.ended());
}

TEST(RobustLock, NextOneHearsOfADeath) {
    Shared<Guarded> shared;
    Child holder([&] {
        auto lock = ThreadLock::acquire(self(), shared->word, kNoActors);
        shared->ready.store(1);
        for (;;) pause();
    });
    ASSERT_TRUE(eventually([&] { return shared->ready.load() == 1; }));
    EXPECT_EQ(shared->word.load_relaxed() & FUTEX_TID_MASK, static_cast<std::uint32_t>(holder.pid()));
    holder.kill(SIGKILL);
    ASSERT_TRUE(holder.ends());
    EXPECT_NE(shared->word.load_acquire() & FUTEX_OWNER_DIED, 0u);
    for (const bool died : {true, false}) {
        auto lock = ThreadLock::acquire(self(), shared->word, kNoActors);
        ASSERT_TRUE(lock);
        EXPECT_EQ(lock->owner_died(), died);
    }
    EXPECT_EQ(shared->word.load_relaxed(), 0u);
}

TEST(RobustLock, SleeperHearsOfADeath) {
    Shared<Guarded> shared;
    Child holder([&] {
        auto lock = ThreadLock::acquire(self(), shared->word, kNoActors);
        shared->ready.store(1);
        for (;;) pause();
    });
    ASSERT_TRUE(eventually([&] { return shared->ready.load() == 1; }));
    Child sleeper([&] {
        auto lock = ThreadLock::acquire(self(), shared->word, kNoActors);
        shared->outcome.store(!lock ? 1 : lock->owner_died() ? 2 : 3);
    });
    ASSERT_TRUE(eventually([&] { return (shared->word.load_acquire() & FUTEX_WAITERS) != 0; }));
    EXPECT_EQ(shared->outcome.load(), 0u);
    holder.kill(SIGKILL);
    ASSERT_TRUE(sleeper.ends() && sleeper.exited());
    EXPECT_EQ(shared->outcome.load(), 2u);
    EXPECT_EQ(shared->word.load_relaxed(), 0u);
}

TEST(RobustLock, ReentryIsADeadlock) {
    Shared<Guarded> shared;
    platform::ThreadState& thread = self();
    {
        auto lock = ThreadLock::acquire(thread, shared->word, kNoActors);
        ASSERT_TRUE(lock);
        EXPECT_EQ(thread.section_depth, 1u);
        auto again = ThreadLock::acquire(thread, shared->word, kNoActors);
        ASSERT_FALSE(again);
        EXPECT_EQ(again.fault().errno_value, EDEADLK);
        EXPECT_EQ(thread.section_depth, 1u);
        EXPECT_EQ(shared->word.load_relaxed(), thread.thread_id);
    }
    EXPECT_EQ(thread.section_depth, 0u);
    EXPECT_EQ(shared->word.load_relaxed(), 0u);
    // The same by actor.
    shared->word.store_release(kHeldByActor | 0);
    shared->actor.life.store_release(thread.thread_id | FUTEX_WAITERS);
    shared->actor.thread_id.store_release(thread.thread_id);
    auto by_actor = ThreadLock::acquire(thread, shared->word, {&shared->actor, 1});
    ASSERT_FALSE(by_actor);
    EXPECT_EQ(by_actor.fault().errno_value, EDEADLK);
}

TEST(RobustLock, DeadActorsLockIsTakenOver) {
    Shared<Guarded> shared;
    const ActorTable actors{&shared->actor, 1};
    Child holder([&] {
        platform::ThreadState& thread = self();
        shared->actor.thread_id.store_relaxed(thread.thread_id);
        shared->actor.life.store_release(thread.thread_id | FUTEX_WAITERS);
        platform::set_death_notice(thread, shared->actor.life.address());
        shared->ready.store(acquire_word(shared->word, kHeldByActor | 0, thread.thread_id, actors) ? 1 : 2);
        for (;;) pause();
    });
    ASSERT_TRUE(eventually([&] { return shared->ready.load() != 0; }));
    ASSERT_EQ(shared->ready.load(), 1u);
    Child sleeper([&] {
        auto lock = ThreadLock::acquire(self(), shared->word, actors);
        shared->outcome.store(!lock ? 1 : lock->owner_died() ? 2 : 3);
    });
    ASSERT_TRUE(eventually([&] { return (shared->word.load_acquire() & FUTEX_WAITERS) != 0; }));
    EXPECT_EQ(shared->outcome.load(), 0u);
    holder.kill(SIGKILL);
    ASSERT_TRUE(holder.ends());
    EXPECT_TRUE(actors.is_dead(0));
    ASSERT_TRUE(sleeper.ends() && sleeper.exited());
    EXPECT_EQ(shared->outcome.load(), 2u);
    EXPECT_EQ(shared->word.load_relaxed(), 0u);
}

// A lock that names an actor which nobody is, by damage: its record is free, or of a thread that there is not.
TEST(RobustLock, NobodysActorsLockIsTakenOver) {
    for (const std::uint32_t life : {0u, FUTEX_WAITERS, FUTEX_WAITERS | ((1u << 22) - 1)}) {
        Shared<Guarded> shared;
        const ActorTable actors{&shared->actor, 1};
        shared->actor.life.store_release(life);
        shared->word.store_release(kHeldByActor | 0);
        Child taker([&] {
            auto lock = ThreadLock::acquire(self(), shared->word, actors);
            shared->outcome.store(!lock ? 1 : lock->owner_died() ? 2 : 3);
        });
        ASSERT_TRUE(taker.ends() && taker.exited()) << life;
        EXPECT_EQ(shared->outcome.load(), 2u) << life;
        EXPECT_TRUE(actors.is_dead(0)) << "it may be taken by somebody before it is reaped";
    }
}

// Whatever stands in the word, it can be taken; what was not free, was a death.
TEST(RobustLock, NonsenseIsTakenOver) {
    Shared<Guarded> shared;
    const ActorTable actors{&shared->actor, 1};
    struct Case {
        std::uint32_t word;
        bool died;
    };
    for (const Case& each : {Case{0, false}, Case{FUTEX_WAITERS, false}, Case{FUTEX_OWNER_DIED, true}, Case{FUTEX_OWNER_DIED | FUTEX_WAITERS, true},
                             Case{kHeldByActor | 1, true}, Case{kHeldByActor | kActorNumberMax, true}, Case{1u << 22 | 1, true}}) {
        shared->word.store_release(each.word);
        auto lock = ThreadLock::acquire(self(), shared->word, actors);
        ASSERT_TRUE(lock) << each.word;
        EXPECT_EQ(lock->owner_died(), each.died) << each.word;
        EXPECT_EQ(shared->word.load_relaxed() & FUTEX_TID_MASK, self().thread_id) << each.word;
    }
    EXPECT_EQ(shared->word.load_relaxed(), 0u);
}

}  // namespace
}  // namespace muster::sync
