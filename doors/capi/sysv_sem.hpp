// What semget, semop, semtimedop and semctl share: the sets that this process has open.
//
// A table by index leads to the open set in two loads and without a lock; a set that was removed stays in the address space as zeroes,
// which no operation takes for a semaphore, so that a thread that comes late does no harm.
#pragma once
#include <sys/sem.h>
#include <sys/single_threaded.h>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include "export.hpp"
#include "objects/semaphore_set.hpp"
#include "objects/sysv_registry.hpp"
#include "platform/fault_copy.hpp"
#include "sysv_sem_credentials.hpp"

namespace muster::capi {

inline int fail_sem(int errno_value) {
    errno = errno_value;
    return -1;
}

struct OpenSet {
    objects::SemaphoreSet set;
    std::atomic<int> id{-1};
    std::atomic<std::uint32_t> references{0};  // the table's and those of calls under way
    std::atomic<std::uint64_t> rights{0};      // credential_changes << 32 | permission_changes << 4 | what is allowed | 1
    OpenSet* next_free = nullptr;
};

extern std::atomic<OpenSet*> open_sets[objects::kSysvIndexes];
extern objects::ProcessLives process_lives;

void give_up(OpenSet* set);
inline void release_set(OpenSet* set) {
    if (__libc_single_threaded) {  // no other thread: plain arithmetic is enough, handlers balance what they do
        const std::uint32_t count = set->references.load(std::memory_order_relaxed);
        set->references.store(count - 1, std::memory_order_relaxed);
        if (__builtin_expect(count == 1, 0)) give_up(set);
    } else if (__builtin_expect(set->references.fetch_sub(1, std::memory_order_acq_rel) == 1, 0)) {
        give_up(set);
    }
}

// A set held for the length of a call.
class SetHold {
public:
    SetHold() = default;
    explicit SetHold(OpenSet* set) : set_(set) {}
    SetHold(SetHold&& o) noexcept : set_(o.set_) { o.set_ = nullptr; }
    SetHold& operator=(SetHold&&) = delete;
    ~SetHold() {
        if (set_ != nullptr) release_set(set_);
    }
    explicit operator bool() const { return set_ != nullptr; }
    OpenSet* operator->() const { return set_; }

private:
    OpenSet* set_ = nullptr;
};

// The set of that identifier if this process has it open; it may have been removed.
inline SetHold hold_known_set(int id) {
    std::atomic<OpenSet*>& place = open_sets[objects::sysv_index(id)];
    for (;;) {
        OpenSet* open = place.load(std::memory_order_acquire);
        if (open == nullptr || open->id.load(std::memory_order_acquire) != id) return {};
        std::uint32_t count = open->references.load(std::memory_order_relaxed);
        if (__libc_single_threaded && count != 0) {
            open->references.store(count + 1, std::memory_order_relaxed);
            return SetHold(open);
        }
        if (count == 0 || !open->references.compare_exchange_weak(count, count + 1, std::memory_order_acquire)) continue;
        if (place.load(std::memory_order_acquire) == open && open->id.load(std::memory_order_acquire) == id) return SetHold(open);
        release_set(open);
    }
}

// The set of that identifier. Errors: EINVAL there is none (any more), EACCES its file cannot be opened, ENOMEM, EMFILE.
platform::Outcome<SetHold> hold_set(int id);
// The registry of the process's domain. Errors: ENOENT.
platform::Outcome<objects::SysvRegistry*> sysv_sem_registry(bool create);
// A place for a set that is being made; enter_set() or discard_set() follows.
OpenSet* new_set();
void enter_set(OpenSet* set, int id);
void discard_set(OpenSet* set);
// After a removal.
void forget_set(int id);

bool ask_rights(OpenSet& set, std::uint32_t wanted);
// Whether the effective user may do it: objects::kMayRead, kMayWrite.
inline bool has_rights(OpenSet& set, std::uint32_t wanted) {
    const std::uint64_t current = static_cast<std::uint64_t>(credential_changes.load(std::memory_order_relaxed)) << 32 |
                                  (set.set.permission_changes() & 0xfffffffu) << 4;
    if (__builtin_expect(((set.rights.load(std::memory_order_relaxed) ^ current) & ~std::uint64_t{15}) == 0, 1))
        return (wanted & ~set.rights.load(std::memory_order_relaxed) & 6) == 0;
    return ask_rights(set, wanted);
}

// The call that needs no lock and no wait: a lone operation without undo on a semaphore that concerns nobody else. False: take the long way.
inline bool operate_quickly(int id, const sembuf* given) {
    platform::ThreadState& thread = platform::current_thread();
    objects::SemaphoreOp op;
    static_assert(sizeof op == sizeof *given);
    if (!platform::fault_copy(thread, &op, given, sizeof op) || op.has_undo()) return false;
    OpenSet* open = open_sets[static_cast<std::uint32_t>(id) % objects::kSysvIndexes].load(std::memory_order_acquire);
    if (open == nullptr || open->id.load(std::memory_order_relaxed) != id) return false;
    if (op.number >= open->set.size()) return false;
    if (!has_rights(*open, op.amount != 0 ? objects::kMayWrite : objects::kMayRead)) return false;
    return open->set.operate_quickly(op.number, op.amount, platform::process_id_of(thread), platform::realtime_s());
}

int operate_semaphores(int id, const sembuf* ops, size_t count, const timespec* timeout);
int control_semaphores(int id, int number, int command, std::uintptr_t argument);

}  // namespace muster::capi
