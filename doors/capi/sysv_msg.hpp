// What msgget, msgsnd, msgrcv and msgctl share: the queues that this process has open.
#pragma once
#include <sys/ipc.h>
#include <sys/msg.h>
#include <cerrno>
#include <cstdint>
#include "export.hpp"
#include "objects/queue.hpp"
#include "platform/fault_copy.hpp"
#include "sysv_table.hpp"

namespace muster::capi {

inline int fail_msg(int errno_value) {
    errno = errno_value;
    return -1;
}
// The errno of a System V call, which knows no damaged objects, only such as are gone; and no full file systems.
inline int msg_errno(platform::Fault fault) {
    return fault.errno_value == EBADMSG ? EIDRM : fault.errno_value == ENOSPC ? ENOMEM : fault.errno_value;
}

// Somebody may poll the queue (muster::TypedQueue::fd()): his FIFO is opened when there is something to tell, and no longer.
void tell_pollers_of(objects::Queue& queue);
struct TypedQueue : objects::Queue {
    platform::Outcome<> open(const objects::SysvFile& file, const objects::SysvRegistry& registry) {
        tell_pollers_of(*this);
        return objects::open_typed(*this, file, registry, true);  // a damaged one too: every call but its removal says so
    }
};
void unmap_queue(TypedQueue& queue);
using MessageTable = SysvTable<TypedQueue, objects::SysvKind::msg, &unmap_queue>;
using OpenMessages = MessageTable::Open;
extern constinit MessageTable message_table;

// An identifier's queue if it is in the table and lives: the usual case, without an Outcome to carry around.
[[gnu::always_inline]] inline MessageTable::Hold hold_live_messages(int id) {
    if (__builtin_expect(id < 0, 0)) return {};
    MessageTable::Hold held = message_table.hold_known(id);
    if (__builtin_expect(held && held->is_live(), 1)) return held;
    return {};
}
// An identifier's queue: from the table, else looked up. Errors: EINVAL, EACCES, ENOMEM, EMFILE.
inline platform::Outcome<MessageTable::Hold> hold_messages(int id) {
    if (MessageTable::Hold held = hold_live_messages(id)) return platform::Outcome<MessageTable::Hold>(std::move(held));
    return message_table.hold(id);
}

// The longest message of queues made now: the domain's msgmax, as far as we go.
std::uint64_t message_max();

// SOURCE msgop(2), msgctl(2): what the calls do, for the C library's names and for syscall().
int send_sysv(int id, const void* message, std::size_t size, int flags);
ssize_t receive_sysv(int id, void* message, std::size_t size, long type, int flags);
int control_messages(int id, int command, std::uintptr_t argument);

}  // namespace muster::capi
