// SOURCE msgop(2), and the kernel's order of errors.
#include "platform/cancel.hpp"
#include "sysv_msg.hpp"

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif
#ifndef MSG_EXCEPT
#define MSG_EXCEPT 020000
#endif

namespace muster::capi {
namespace {

objects::Selector selector_of(long type, int flags) {
    using objects::Selector;
    if (type == 0) return {Selector::any, 0};
    if (type < 0) return {Selector::lowest, type == INT64_MIN ? static_cast<std::uint64_t>(INT64_MAX) : static_cast<std::uint64_t>(-type)};
    return {(flags & MSG_EXCEPT) != 0 ? Selector::not_equal : Selector::equal, static_cast<std::uint64_t>(type)};
}

ssize_t finish_receiving(platform::Outcome<objects::ReceivedMessage> received) {
    if (__builtin_expect(static_cast<bool>(received), 1)) return static_cast<ssize_t>(received->length);
    return fail_msg(received.fault().errno_value == EAGAIN ? ENOMSG : msg_errno(received.fault()));
}

[[gnu::always_inline]] inline ssize_t receive_from(platform::ThreadState& thread, OpenMessages& open, void* message, std::size_t size, long type,
                                                   int flags) {
    if (__builtin_expect(!open.has_rights(objects::kMayRead), 0)) return fail_msg(EACCES);
    const objects::TypedBuffer to{{static_cast<char*>(message) + sizeof(std::int64_t)}, size, selector_of(type, flags), (flags & MSG_NOERROR) != 0,
                                  static_cast<std::int64_t*>(message)};
    if (__builtin_expect((flags & MSG_COPY) != 0, 0))
        return finish_receiving(type < 0 ? platform::Fault{EAGAIN, nullptr} : open.object.copy_typed(thread, to, static_cast<std::uint64_t>(type)));
    objects::Patience patience;
    if ((flags & IPC_NOWAIT) != 0) patience.deadline_ns = platform::kNoWait;
    return finish_receiving(open.object.receive_typed(thread, to, patience));
}

__attribute__((noinline, cold)) ssize_t receive_from_found(platform::ThreadState& thread, int id, void* message, std::size_t size, long type,
                                                           int flags) {
    auto held = hold_messages(id);
    if (!held) return fail_msg(msg_errno(held.fault()));
    return receive_from(thread, **held, message, size, type, flags);
}

}  // namespace

ssize_t receive_sysv(int id, void* message, std::size_t size, long type, int flags) {
    platform::test_cancel();
    platform::ThreadState& thread = platform::current_thread();
    if (__builtin_expect(id < 0 || static_cast<ssize_t>(size) < 0, 0)) return fail_msg(EINVAL);
    if (__builtin_expect((flags & MSG_COPY) != 0, 0)) {
        if ((flags & MSG_EXCEPT) != 0 || (flags & IPC_NOWAIT) == 0) return fail_msg(EINVAL);
        const std::uint64_t longest = message_max();  // the kernel makes room for the copy from what is there
        if (!platform::fault_readable(thread, message, size < longest ? size : longest)) return fail_msg(EFAULT);
    }
    if (const MessageTable::Hold held = hold_live_messages(id)) return receive_from(thread, *held, message, size, type, flags);
    return receive_from_found(thread, id, message, size, type, flags);
}

}  // namespace muster::capi

MUSTER_EXPORT ssize_t msgrcv(int id, void* message, size_t size, long type, int flags) {
    return muster::capi::receive_sysv(id, message, size, type, flags);
}
