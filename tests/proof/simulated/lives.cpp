#include "machine.hpp"
#include "objects/semaphore_set_lives.hpp"
#include "platform/futex.hpp"

namespace muster::simulated {
Life lives[kLives];
}

namespace muster::objects {
using simulated::kFirstThreadId;
using simulated::lives;
using simulated::machine;

ProcessIdentity own_identity(platform::ThreadState& thread) {
    return {thread.thread_id, 1};
}

Vital ask_for(const ProcessIdentity& process) {
    if (!machine().thread_exists(process.pid)) return Vital::gone;
    return machine().process(process.pid - kFirstThreadId).killed ? Vital::dying : Vital::alive;
}

bool is_runnable(std::uint32_t thread_id) {
    return machine().thread_exists(thread_id) &&
           machine().process(thread_id - kFirstThreadId).state == simulated::Process::State::ready;
}

// As ProcessLives::claim() and arm_slot() do it.
platform::Outcome<std::uint32_t> ProcessLives::arm(platform::ThreadState& thread) {
    const std::uint32_t slot = thread.thread_id - kFirstThreadId;
    if (is_armed(thread)) return slot;
    simulated::Life& life = lives[slot];
    life.pid.store_release(thread.thread_id);
    life.word.store_release(FUTEX_WAITERS | FUTEX_OWNER_DIED);
    life.start.store_release(1);
    life.told.store_release(0);
    life.word.store_release(thread.thread_id | FUTEX_WAITERS);
    machine().watch_robustly(life.word.address());
    platform::futex_wake(life.word.address(), INT32_MAX);
    return slot;
}

bool ProcessLives::is_armed(const platform::ThreadState& thread) const {
    return (lives[thread.thread_id - kFirstThreadId].word.load_relaxed() & FUTEX_TID_MASK) == thread.thread_id;
}

bool ProcessLives::vouches(std::uint32_t slot, const ProcessIdentity& process) const {
    const memory::ShmU32* life = word(slot);
    return life != nullptr && (life->load_acquire() & FUTEX_TID_MASK) != 0 && lives[slot].pid.load_acquire() == process.pid &&
           lives[slot].start.load_acquire() == process.start;
}

ProcessIdentity ProcessLives::identity_of(std::uint32_t slot) const {
    if (slot >= simulated::kLives) return {0, 0};
    return {lives[slot].pid.load_acquire(), lives[slot].start.load_acquire()};
}

void ProcessLives::tell(std::uint32_t slot) const {
    memory::ShmU32* life = word(slot);
    if (life == nullptr) return;
    std::uint32_t told = 0;
    if (lives[slot].told.compare_exchange(told, 1)) platform::futex_wake(life->address(), INT32_MAX);
}

}  // namespace muster::objects
