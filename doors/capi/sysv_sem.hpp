// What semget, semop, semtimedop and semctl share: the sets that this process has open.
//
// A table by index leads to the open set in two loads and without a lock; a set that was removed stays in the address space as zeroes,
// which no operation takes for a semaphore, so that a thread that comes late does no harm.
#pragma once
#include <sys/sem.h>
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

// A set held for the length of a call.
class SetHold {
public:
    SetHold() = default;
    explicit SetHold(OpenSet* set) : set_(set) {}
    SetHold(SetHold&& o) noexcept : set_(o.set_) { o.set_ = nullptr; }
    SetHold& operator=(SetHold&&) = delete;
    ~SetHold();
    explicit operator bool() const { return set_ != nullptr; }
    OpenSet* operator->() const { return set_; }

private:
    OpenSet* set_ = nullptr;
};

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
    OpenSet* open = open_sets[static_cast<std::uint32_t>(id) % objects::kSysvIndexes].load(std::memory_order_acquire);
    if (open == nullptr || open->id.load(std::memory_order_relaxed) != id) return false;
    if (!platform::fault_copy(thread, &op, given, sizeof op)) return false;
    if (op.has_undo() || op.number >= open->set.size()) return false;
    if (!has_rights(*open, op.amount != 0 ? objects::kMayWrite : objects::kMayRead)) return false;
    return open->set.operate_quickly(op.number, op.amount, platform::process_id_of(thread), platform::realtime_s());
}

int operate_semaphores(int id, const sembuf* ops, size_t count, const timespec* timeout);
int control_semaphores(int id, int number, int command, std::uintptr_t argument);

}  // namespace muster::capi
