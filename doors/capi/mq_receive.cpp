// SOURCE mq_receive(3).
#include "mq.hpp"
#include "platform/cancel.hpp"
#include "platform/fault_copy.hpp"

namespace muster::capi {

ssize_t receive_message(mqd_t queue, char* buffer, size_t capacity, unsigned* priority, const timespec* until) {
    platform::test_cancel();
    platform::ThreadState& thread = platform::current_thread();
    objects::Patience patience{platform::kForever, queue, nullptr};
    if (__builtin_expect(until != nullptr, 0))
        if (const int wrong = load_deadline(thread, until, patience.deadline_ns); wrong != 0) return fail(wrong);
    QueueHold held = hold(queue);
    if (__builtin_expect(!held || (held.access() & kAccessRead) == 0, 0)) return fail(EBADF);
    patience.known_blocking = &held->known_blocking;
    auto received = held->queue.receive(thread, queue, buffer, capacity, patience);
    if (__builtin_expect(!received, 0)) return fail(received.fault().errno_value);
    if (priority != nullptr) {
        const auto value = static_cast<unsigned>(received->priority);
        if (!platform::fault_store(thread, priority, value)) return fail(EFAULT);  // as the kernel: the message is in the buffer
    }
    return static_cast<ssize_t>(received->length);
}

}  // namespace muster::capi

MUSTER_EXPORT ssize_t mq_receive(mqd_t queue, char* buffer, size_t capacity, unsigned* priority) {
    return muster::capi::receive_message(queue, buffer, capacity, priority, nullptr);
}
