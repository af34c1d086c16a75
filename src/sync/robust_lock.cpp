#include "sync/robust_lock.hpp"
#include "platform/crash_point.hpp"
#include "platform/futex.hpp"
#include "platform/mutant.hpp"
#include "platform/process.hpp"

namespace muster::sync {
namespace {

constexpr int kSpins = 60;                          // about a microsecond: a critical section is a tenth of that
constexpr long kRecheckNs = 2'000'000;              // how soon an actor's death is noticed by who waits for its lock
constexpr long kRecheckThreadNs = 10'000'000;       // a thread's death comes by itself; this is for the instants when its notice
                                                    // names what it is giving (queue protocol), and for damaged words

// Whether nobody stands behind an actor's record: it is free, or of a thread that does not exist. No lock names such a one but by
// damage (invariant actor.notice). It is marked as dead, so that it is not taken while a lock names it, and reaped in its time.
bool declared_dead(Actor& actor) {
    std::uint32_t life = actor.life.load_acquire();
    const std::uint32_t thread = life & FUTEX_TID_MASK;
    if (thread != 0 && platform::thread_exists(thread)) return false;
    return actor.life.compare_exchange(life, FUTEX_WAITERS | FUTEX_OWNER_DIED);
}

// Whether the holder that `seen` in the word names is known to be dead, so that nobody will ever let go.
bool holder_is_dead(const memory::ShmU32& word, std::uint32_t seen, const ActorTable& actors, bool ask_the_kernel) {
    if (seen & FUTEX_OWNER_DIED) return true;
    if (seen & kHeldByActor) {
        const std::uint32_t number = seen & kActorNumberMax;
        if (actors.is_dead(number)) return true;
        return ask_the_kernel && word.load_acquire() == seen && declared_dead(actors.first[number]);
    }
    const std::uint32_t holder = seen & FUTEX_TID_MASK;
    if (holder == 0) return true;  // nothing but FUTEX_WAITERS: free, and somebody may sleep
    return ask_the_kernel && !platform::thread_exists(holder);
}

}  // namespace

void wake_lock_waiter(memory::ShmU32& word, int count) {
    platform::futex_wake(word.address(), count);
}

// Free, but known to have sleepers until they have been woken: whoever takes it in between wakes one when it lets go, so that they
// do not depend on our living long enough to do it.
void release_to_sleepers(memory::ShmU32& word, int wakes) {
    // SYNC robust_lock.word (release half).
    word.exchange(FUTEX_WAITERS);
    // SOURCE handle_futex_death() of the kernel: a word that the notice names and nobody holds is a dead one's on its way to wake.
    MUSTER_CRASH_POINT("lock.sleepers_free");
    platform::futex_wake(word.address(), wakes);
    std::uint32_t free_with_waiters = FUTEX_WAITERS;
    word.compare_exchange(free_with_waiters, 0);
}

platform::Outcome<Acquired> acquire_contended(memory::ShmU32& word, std::uint32_t mine, std::uint32_t thread_id,
                                              const ActorTable& actors) {
    std::uint32_t waiters = 0;  // set once we slept: others may still sleep when we let go
    bool ask_the_kernel = false;
    for (int spins = 0;;) {
        std::uint32_t seen = word.load_acquire();
        if (seen == 0 || holder_is_dead(word, seen, actors, ask_the_kernel)) {
            const bool died = seen != 0 && seen != FUTEX_WAITERS;
            if (word.compare_exchange(seen, mine | (seen & FUTEX_WAITERS) | waiters))
                return died && !MUSTER_MUTANT(death_unnoticed) ? Acquired::owner_died : Acquired::clean;
            continue;
        }
        const bool by_actor = (seen & kHeldByActor) != 0;
        const std::uint32_t named = by_actor ? actors.first[seen & kActorNumberMax].life.load_relaxed() : seen;
        const std::uint32_t holder = named & FUTEX_TID_MASK;
        if (holder == thread_id) return platform::Fault{EDEADLK, "a signal handler interrupted a critical section of the same thread"};
        if (spins < kSpins) {
            ++spins;
            platform::pause_cpu();
            continue;
        }
        if (!(seen & FUTEX_WAITERS) && !word.compare_exchange(seen, seen | FUTEX_WAITERS)) continue;
        waiters = FUTEX_WAITERS;
        const long rc = platform::futex_wait_briefly(word.address(), seen | FUTEX_WAITERS, by_actor ? kRecheckNs : kRecheckThreadNs);
        ask_the_kernel = rc == -ETIMEDOUT;
    }
}

}  // namespace muster::sync
