// SOURCE msgop(2), and the kernel's order of errors.
#include "platform/cancel.hpp"
#include "sysv_msg.hpp"

namespace muster::capi {
namespace {

// What is said before the queue: lengths, the type, the text. 0 or an errno value.
int judge_message(platform::ThreadState& thread, const char* text, std::size_t size, std::int64_t type, std::uint64_t size_max) {
    if (size > size_max || type < 1) return EINVAL;
    return platform::fault_readable(thread, text, size) ? 0 : EFAULT;
}

[[gnu::always_inline]] inline int send_to(platform::ThreadState& thread, OpenMessages& open, const char* text, std::size_t size, std::int64_t type,
                                          int flags) {
    if (__builtin_expect(size > open.object.message_bytes_max() || type < 1, 0)) return fail_msg(EINVAL);
    if (__builtin_expect(!open.has_rights(objects::kMayWrite), 0)) return fail_msg(platform::fault_readable(thread, text, size) ? EACCES : EFAULT);
    objects::Patience patience;
    if ((flags & IPC_NOWAIT) != 0) patience.deadline_ns = platform::kNoWait;
    auto sent = open.object.send_typed(thread, text, size, static_cast<std::uint64_t>(type), patience);
    return __builtin_expect(!sent, 0) ? fail_msg(msg_errno(sent.fault())) : 0;
}

__attribute__((noinline, cold)) int send_to_found(platform::ThreadState& thread, int id, const char* text, std::size_t size, std::int64_t type,
                                                  int flags) {
    auto held = hold_messages(id);
    if (held) return send_to(thread, **held, text, size, type, flags);
    const int wrong = id < 0 ? EINVAL : judge_message(thread, text, size, type, message_max());
    return fail_msg(wrong != 0 ? wrong : msg_errno(held.fault()));
}

}  // namespace

int send_sysv(int id, const void* message, std::size_t size, int flags) {
    platform::test_cancel();
    platform::ThreadState& thread = platform::current_thread();
    const auto* text = static_cast<const char*>(message) + sizeof(std::int64_t);
    std::int64_t type = 0;
    if (__builtin_expect(!platform::fault_load(thread, type, static_cast<const std::int64_t*>(message)), 0)) return fail_msg(EFAULT);
    if (const MessageTable::Hold held = hold_live_messages(id)) return send_to(thread, *held, text, size, type, flags);
    return send_to_found(thread, id, text, size, type, flags);
}

}  // namespace muster::capi

MUSTER_EXPORT int msgsnd(int id, const void* message, size_t size, int flags) {
    return muster::capi::send_sysv(id, message, size, flags);
}
