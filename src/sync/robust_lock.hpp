// A lock whose holder may die at any instruction.
//
// Two ways to hold it:
//   by thread  the word is the thread's id and the thread's death notice names the word: the kernel
//              marks it FUTEX_OWNER_DIED and wakes one waiter, within a tenth of a millisecond.
//   by actor   the word is kHeldByActor | the actor's number, and the death notice names the actor's
//              life word instead (one notice a thread is all the kernel offers). An actor may hold
//              several locks; who waits for one of them looks at the actor's life.
//
// A lock taken from the dead is `owner_died`: the caller repairs what the lock guards before use,
// and its repair must be idempotent, since it may die too.
//
//   word                              means
//   0                                 free
//   thread id                         held by that thread
//   kHeldByActor | n                  held by actor n
//   FUTEX_OWNER_DIED                  its holder died
//   any of them | FUTEX_WAITERS       somebody may sleep on it: wake one at unlock
#pragma once
#include <linux/futex.h>
#include "memory/shm_word.hpp"
#include "platform/outcome.hpp"
#include "platform/thread.hpp"
#include "sync/actor_layout.hpp"

namespace muster::sync {

inline constexpr std::uint32_t kHeldByActor = 1u << 29;  // above every thread id: PID_MAX_LIMIT is 1 << 22
inline constexpr std::uint32_t kActorNumberMax = (1u << 22) - 1;

enum class Acquired { clean, owner_died };

// The actors of the object that a lock belongs to.
struct ActorTable {
    Actor* first;
    std::uint32_t count;
    bool is_dead(std::uint32_t number) const {
        return number >= count || (first[number].life.load_acquire() & FUTEX_OWNER_DIED) != 0;
    }
};

// Slow half: the word was not free. Errors: EDEADLK this thread holds it already (a signal handler that
// interrupted a critical section got here, which the C door's handlers never let happen).
platform::Outcome<Acquired> acquire_contended(memory::ShmU32& word, std::uint32_t mine, std::uint32_t thread_id,
                                              const ActorTable& actors);

inline platform::Outcome<Acquired> acquire_word(memory::ShmU32& word, std::uint32_t mine, std::uint32_t thread_id,
                                                const ActorTable& actors) {
    std::uint32_t expected = 0;
    // SYNC robust_lock.word (acquire half): carries everything the last holder wrote. Pairs with release_word().
    if (__builtin_expect(word.compare_exchange(expected, mine), 1)) return Acquired::clean;
    return acquire_contended(word, mine, thread_id, actors);
}

void wake_lock_waiter(memory::ShmU32& word, int count = 1);

inline void release_word(memory::ShmU32& word) {
    // SYNC robust_lock.word (release half). A death between this store and the wake is seen by the kernel:
    // it wakes a waiter of a free word that the death notice still names. Not if somebody has taken the lock meanwhile: then the
    // waiters find out by themselves (acquire_contended).
    if (__builtin_expect((word.exchange(0) & FUTEX_WAITERS) != 0, 0)) wake_lock_waiter(word);
}

// The same where somebody sleeps on the word who has been put there asleep, finds nothing out by itself and does not take the lock.
void release_to_sleepers(memory::ShmU32& word, int wakes);

// Holds a lock by thread. The program's signal handlers wait until it is let go.
class ThreadLock {
public:
    static platform::Outcome<ThreadLock> acquire(platform::ThreadState& thread, memory::ShmU32& word, const ActorTable& actors) {
        platform::enter_section(thread);
        robust_list* before = platform::set_death_notice(thread, word.address());
        auto acquired = acquire_word(word, thread.thread_id, thread.thread_id, actors);
        if (__builtin_expect(!acquired, 0)) {
            platform::restore_death_notice(thread, before);
            platform::leave_section(thread);
            return acquired.fault();
        }
        return ThreadLock(thread, word, before, *acquired == Acquired::owner_died);
    }
    ThreadLock(ThreadLock&& o) noexcept : thread_(o.thread_), word_(o.word_), before_(o.before_), owner_died_(o.owner_died_) {
        o.word_ = nullptr;
    }
    ThreadLock& operator=(ThreadLock&&) = delete;
    ~ThreadLock() {
        if (word_ == nullptr) return;
        if (__builtin_expect(!released_, 1)) {
            if (__builtin_expect(wakes_ == 1, 1)) release_word(*word_);
            else release_to_sleepers(*word_, wakes_);
        }
        platform::restore_death_notice(thread_, before_);
        platform::leave_section(thread_);
    }
    bool owner_died() const { return owner_died_; }
    // How many sleepers are to be woken when the lock is let go, if not all of them came for it.
    void wake_at_release(int count) { wakes_ = count; }
    // Lets go of the lock but stays in the section; what the death notice names is put back at the end.
    void release_early() {
        release_word(*word_);
        released_ = true;
    }

private:
    ThreadLock(platform::ThreadState& thread, memory::ShmU32& word, robust_list* before, bool owner_died)
        : thread_(thread), word_(&word), before_(before), owner_died_(owner_died) {}
    platform::ThreadState& thread_;
    memory::ShmU32* word_;
    robust_list* before_;
    bool owner_died_;
    bool released_ = false;
    int wakes_ = 1;
};

}  // namespace muster::sync
