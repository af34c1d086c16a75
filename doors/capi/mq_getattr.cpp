// SOURCE mq_getattr(3), mq_getsetattr(2).
#include <fcntl.h>
#include "mq.hpp"
#include "platform/fault_copy.hpp"
#include "platform/file.hpp"

extern "C" long muster_mq_getsetattr(int queue, const mq_attr* next, mq_attr* old) {
    using namespace muster;
    platform::ThreadState& thread = platform::current_thread();
    mq_attr wanted{};
    if (next != nullptr) {
        if (!platform::fault_load(thread, wanted, next)) return capi::fail(EFAULT);
        if ((wanted.mq_flags & ~O_NONBLOCK) != 0) return capi::fail(EINVAL);
    }
    capi::QueueHold held = capi::hold(queue);
    if (!held) return capi::fail(EBADF);
    const int flags = platform::file_control(queue, F_GETFL);
    mq_attr was{};
    was.mq_flags = flags & O_NONBLOCK;
    was.mq_maxmsg = static_cast<long>(held->queue.messages_max());
    was.mq_msgsize = static_cast<long>(held->queue.message_bytes_max());
    was.mq_curmsgs = static_cast<long>(held->queue.count_settled(thread, queue));
    if (next != nullptr) {
        platform::file_control(queue, F_SETFL, (flags & ~O_NONBLOCK) | static_cast<int>(wanted.mq_flags));
        held->queue.note_nonblock_change();
    }
    if (old != nullptr && !platform::fault_store(thread, old, was)) return capi::fail(EFAULT);
    return 0;
}

MUSTER_EXPORT int mq_getattr(mqd_t queue, mq_attr* attributes) {
    return static_cast<int>(muster_mq_getsetattr(queue, nullptr, attributes));
}
