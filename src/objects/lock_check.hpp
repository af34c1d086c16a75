// Whether a lock word and an actor's record tell the truth about a living thread. For checks: a damaged word that happens to
// name a living thread would be waited for as long as that lives.
#pragma once
#include "memory/shm_word.hpp"
#include "sync/actor_layout.hpp"

namespace muster::objects {

enum class Vouched {
    yes,       // it runs and has the object mapped, or the kernel does not let us see
    stranger,  // it runs and has nothing to do with the object
    no,        // there is no such thread
};
// What /proc says of a thread and the object whose file has that inode.
Vouched vouch_for(std::uint32_t thread_id, std::uint64_t inode);

// How many mappings of the file the process has; -1 if the kernel does not let us see.
std::int64_t count_mappings(std::uint32_t process_id, std::uint64_t inode);

enum class LockState {
    usable,  // free, or held by somebody who lets go of it, or whose death the lock finds out itself
    busy,    // held by a living thread that has not let go of it for seconds
    damaged, // names nobody who could hold it
};
struct LockVerdict {
    LockState state;
    std::uint32_t word, holder;  // thread id, 0 unknown
};
LockVerdict judge_lock(const memory::ShmU32& word, const sync::Actor* actors, std::uint32_t actors_count, std::uint64_t inode);
// A damaged word becomes that of a lock whose holder died: whoever takes it next repairs what it guards. False: it changed meanwhile.
bool declare_orphaned(memory::ShmU32& word, std::uint32_t seen);

// How many records of threads were ever used, and how many have memory, from the records themselves, where the two contradict each other.
void settle_record_counts(const sync::Actor* actors, std::uint32_t actors_count, memory::ShmU32& high, memory::ShmU32& reserved);

}  // namespace muster::objects
