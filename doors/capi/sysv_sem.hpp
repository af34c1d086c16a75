// What semget, semop, semtimedop and semctl share: the sets that this process has open.
//
// A set that was removed stays in the address space as zeroes, which no operation takes for a semaphore, so that a thread
// that comes late does no harm.
#pragma once
#include <sys/sem.h>
#include <cerrno>
#include <cstdint>
#include "export.hpp"
#include "objects/semaphore_set.hpp"
#include "platform/fault_copy.hpp"
#include "sysv_table.hpp"

namespace muster::capi {

inline int fail_sem(int errno_value) {
    errno = errno_value;
    return -1;
}

struct MappedSet : objects::SemaphoreSet {
    platform::Outcome<> open(const objects::SysvFile& file, const objects::SysvRegistry&) { return objects::SemaphoreSet::open(file.file.fd()); }
};
inline void blank_set(MappedSet& set) { set.blank(); }
using SetTable = SysvTable<MappedSet, objects::SysvKind::sem, &blank_set>;
using OpenSet = SetTable::Open;
using SetHold = SetTable::Hold;
extern constinit SetTable set_table;
extern objects::ProcessLives process_lives;

// The registry, with what remembers this process's undo made ready. Errors: as process_registry().
platform::Outcome<objects::SysvRegistry*> semaphore_registry(bool create);
// The domain's limit of operations in one call. No system call unless the domain has limits of its own for semaphores.
std::uint32_t operations_max();
// The set of that identifier. Errors: EINVAL there is none (any more), EACCES its file cannot be opened, ENOMEM, EMFILE.
platform::Outcome<SetHold> hold_set(int id);

// The call that needs no lock and no wait: a lone operation without undo on a semaphore that concerns nobody else. False: take the long way.
inline bool operate_quickly(platform::ThreadState& thread, int id, objects::SemaphoreOp op) {
    if (op.has_undo()) return false;
    OpenSet* open = set_table.glance(id);
    if (open == nullptr || open->id.load(std::memory_order_relaxed) != id) return false;
    if (op.number >= open->object.size()) return false;
    if (!open->has_rights(op.amount != 0 ? objects::kMayWrite : objects::kMayRead)) return false;
    return open->object.operate_quickly(op.number, op.amount, platform::process_id_of(thread), platform::realtime_s());
}

int operate_semaphore(int id, const sembuf* given);  // a lone one, without a time-out
int operate_semaphores(int id, const sembuf* ops, size_t count, const timespec* timeout);
int control_semaphores(int id, int number, int command, std::uintptr_t argument);

}  // namespace muster::capi
