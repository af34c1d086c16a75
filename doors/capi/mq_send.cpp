// SOURCE mq_send(3).
#include "mq.hpp"
#include "platform/cancel.hpp"

namespace muster::capi {

int send_message(mqd_t queue, const char* message, size_t length, unsigned priority, const timespec* until) {
    platform::test_cancel();
    platform::ThreadState& thread = platform::current_thread();
    objects::Patience patience{platform::kForever, queue, nullptr};
    if (__builtin_expect(until != nullptr, 0))
        if (const int wrong = load_deadline(thread, until, patience.deadline_ns); wrong != 0) return fail(wrong);
    if (__builtin_expect(priority >= objects::kPriorities, 0)) return fail(EINVAL);
    QueueHold held = hold(queue);
    if (__builtin_expect(!held || (held.access() & kAccessWrite) == 0, 0)) return fail(EBADF);
    patience.known_blocking = &held->known_blocking;
    auto sent = held->queue.send(thread, queue, message, length, priority, patience);
    if (__builtin_expect(!sent, 0)) return fail(sent.fault().errno_value);
    return 0;
}

}  // namespace muster::capi

MUSTER_EXPORT int mq_send(mqd_t queue, const char* message, size_t length, unsigned priority) {
    return muster::capi::send_message(queue, message, length, priority, nullptr);
}
