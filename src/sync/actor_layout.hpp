// Shared-memory layout of an actor: the record of one thread that is inside an
// operation which outlasts a single critical section. Sleepers are actors, and so
// are those who copy a large message outside the locks.
//
//   offset size field            written by                         read by
//      0    4  life             its thread; the kernel at its death; a reaper
//      4    4  word             its thread; who hands something over (futex)
//      8    4  thread_id        its thread                          tools
//     12    4  process_id       its thread                          tools
//     16    4  kind             its thread                          reapers
//     20    4  slot             its thread; who hands over (1 + index, 0 none)
//     24    4  next             who holds the list's lock (1 + index, 0 none)
//     28    4  previous         who holds the list's lock
//     32    8  ticket           its thread: order of arrival
//     40    8  selector         its thread: what a receiver asks for
//     48    8  since_ns         its thread: asleep since
//     56    4  selector_kind    its thread
//     60    4  cpu              its thread: where it went to sleep
//
// life is a robust futex word: 0 the record is free; thread id with FUTEX_WAITERS
// while taken; FUTEX_OWNER_DIED once the kernel has seen the thread die. FUTEX_WAITERS
// is always set so that the kernel wakes one watcher.
//
// INVARIANT actor.notice: from the compare-and-swap that takes the record to the
// store that frees it, the thread's death notice names `life`. It covers every lock
// the thread takes meanwhile: such a lock holds the actor's number, not a thread id.
#pragma once
#include <cstddef>
#include "memory/shm_word.hpp"

namespace muster::sync {

struct Actor {
    memory::ShmU32 life;
    memory::ShmU32 word;
    memory::ShmU32 thread_id;
    memory::ShmU32 process_id;
    memory::ShmU32 kind;
    memory::ShmU32 slot;
    memory::ShmU32 next;
    memory::ShmU32 previous;
    memory::ShmU64 ticket;
    memory::ShmU64 selector;
    memory::ShmU64 since_ns;
    memory::ShmU32 selector_kind;
    memory::ShmU32 cpu;
};
static_assert(memory::ShmLayout<Actor>);
static_assert(sizeof(Actor) == 64 && offsetof(Actor, ticket) == 32 && offsetof(Actor, cpu) == 60);

// An actor's futex word: what it is up to, and which use of the record this is. The number changes
// with every use, so that a wait restarted by the kernel never mistakes a successor's sleep for its own.
enum class ActorState : std::uint32_t {
    idle = 0,
    waiting = 1,     // registered, still awake
    asleep = 2,      // in futex_wait or about to be
    handover = 3,    // somebody is giving it something: look again under the lock
    done = 4,        // it has been given what it waited for, and knows
    retry = 5,       // deregistered by somebody else; ask again, the ticket keeps its place
    removed = 6,     // the object is gone
    given = 7,       // it has been given what it waited for: the word is the giver's thread id, see below
};
inline constexpr std::uint32_t kActorStateBits = 3;
inline constexpr std::uint32_t kActorStateMask = (1u << kActorStateBits) - 1;
// Set in every word but `given`, so that none is ever taken for a thread id (PID_MAX_LIMIT is 1 << 22).
inline constexpr std::uint32_t kActorWord = 1u << 29;
inline constexpr std::uint32_t kActorUses = 1u << (29 - kActorStateBits);
// `given` is FUTEX_WAITERS | thread id of the giver, whose death notice names the word meanwhile: should the giver die
// between its commit and its wake, the kernel wakes the sleeper and the word becomes FUTEX_WAITERS | FUTEX_OWNER_DIED.
inline constexpr std::uint32_t kGivenBit = 0x8000'0000u;  // FUTEX_WAITERS

inline ActorState state_of(std::uint32_t word) {
    return (word & kGivenBit) != 0 ? ActorState::given : static_cast<ActorState>(word & kActorStateMask);
}
inline std::uint32_t with_state(std::uint32_t word, ActorState state) {
    return (word & ~kActorStateMask) | static_cast<std::uint32_t>(state);
}

}  // namespace muster::sync
