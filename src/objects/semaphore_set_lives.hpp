// The lives of processes that left adjustments behind (SEM_UNDO): how their end is learnt, however it comes.
//
// Each such process has a slot in the domain's file "lives". The slot's word holds the id of one of its threads, whose robust
// list names the word; the kernel marks the word and wakes one sleeper when that thread ends. The list node lies on a private
// page of ours that follows the shared page with the word, so no pointer of ours is in memory that a peer can write.
//
// A marked word means "look": the process may be dead, or have lost only that thread, or have executed another program. is_gone() asks
// the kernel. See docs/protocols/semaphore_set.md, "Lives".
#pragma once
#include <atomic>
#include "memory/mapping.hpp"
#include "objects/domain.hpp"
#include "objects/semaphore_set_layout.hpp"
#include "platform/thread.hpp"

namespace muster::objects {

// A process, for good: numbers are used again, start times not.
struct ProcessIdentity {
    std::uint32_t pid;
    std::uint64_t start;  // 0 where /proc does not tell
};
// The calling process. Reads /proc once a process.
ProcessIdentity own_identity(platform::ThreadState& thread);

enum class Vital { alive, dying, gone };
// What the kernel says: gone also for a zombie, and for one whose every thread is past its last instruction of user space.
// dying: it is not said yet, ask again within a millisecond.
Vital ask_for(const ProcessIdentity& process);

// Whether the thread is about to run, as far as /proc tells: not asleep, stopped or dead.
bool is_runnable(std::uint32_t thread_id);

class ProcessLives {
public:
    ProcessLives() = default;
    ProcessLives(const ProcessLives&) = delete;

    // `domain` must outlive this.
    void attach(const Domain& domain) { domain_.store(&domain, std::memory_order_release); }
    // Opens the domain's file, making it if `create`. Errors: ENOENT, ENOSPC, EACCES, EBADMSG.
    platform::Outcome<> open(bool create);
    bool is_open() const { return header_.load(std::memory_order_acquire) != nullptr; }

    // Sees to it that the calling process has a slot whose word its threads' end marks; the slot, or an error: ENOSPC, ENOMEM.
    platform::Outcome<std::uint32_t> arm(platform::ThreadState& thread);
    // Whether arm() would have nothing to do.
    bool is_armed(const platform::ThreadState& thread) const {
        if (armed_generation_.load(std::memory_order_acquire) != thread.generation) return false;
        return (own_word_.load(std::memory_order_relaxed)->load_relaxed() & FUTEX_TID_MASK) != 0;
    }
    // For the start of a program: if the process had a slot before exec, its word is armed again.
    void resume(platform::ThreadState& thread);

    // The slot's word, null for a number that is none, or without memory.
    memory::ShmU32* word(std::uint32_t slot) const;
    // Whether the word still vouches for the process: a live thread of it would mark the word. False: ask_for() it.
    bool vouches(std::uint32_t slot, const ProcessIdentity& process) const;
    // How many slots are those of processes that ended; with `free_them` they are free afterwards.
    std::uint32_t dead_slots(bool free_them) const;
    // Whose slot it is; pid 0: nobody's, or the file is not there.
    ProcessIdentity identity_of(std::uint32_t slot) const {
        if (!is_open() || slot >= kLifeSlots) return {0, 0};
        return {slot_at(slot).pid.load_acquire(), slot_at(slot).start.load_acquire()};
    }
    // Whoever found a marked word tells all others that sleep on it, once.
    void tell(std::uint32_t slot) const;

private:
    LifeSlot& slot_at(std::uint32_t number) const {
        return reinterpret_cast<LifeSlot*>(reinterpret_cast<std::byte*>(header_.load(std::memory_order_acquire)) + kLifeSlotsOffset)[number];
    }
    platform::Outcome<> reserve(int fd, std::uint32_t number) const;
    platform::Outcome<std::uint32_t> claim(int fd, const ProcessIdentity& self);
    platform::Outcome<> arm_slot(platform::ThreadState& thread, int fd, std::uint32_t number);
    std::int64_t find_own(const ProcessIdentity& self) const;

    std::atomic<const Domain*> domain_{nullptr};
    std::atomic<LivesHeader*> header_{nullptr};
    std::atomic<std::uint32_t> damage_{0};
    alignas(memory::Mapping) unsigned char kept_[sizeof(memory::Mapping)];  // never unmapped
    std::atomic<std::uint32_t> armed_generation_{0};
    std::atomic<memory::ShmU32*> own_word_{nullptr};
    std::atomic<std::uint32_t> own_slot_{0};
    std::atomic<std::byte*> pages_{nullptr};  // the shared page and the private page after it
    std::atomic<std::uint32_t> busy_{0};      // generation of the process a thread of which is at work in open() or arm()
};

}  // namespace muster::objects
