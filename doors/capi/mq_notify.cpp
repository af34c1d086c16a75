// SOURCE mq_notify(3), and the kernel's order of checks.
#include "mq.hpp"
#include "notify.hpp"
#include "platform/fault_copy.hpp"

MUSTER_EXPORT int mq_notify(mqd_t queue, const sigevent* event) {
    using namespace muster;
    platform::ThreadState& thread = platform::current_thread();
    sigevent wanted{};
    if (event != nullptr) {
        if (!platform::fault_load(thread, wanted, event)) return capi::fail(EFAULT);
        if (wanted.sigev_notify != SIGEV_NONE && wanted.sigev_notify != SIGEV_SIGNAL && wanted.sigev_notify != SIGEV_THREAD)
            return capi::fail(EINVAL);
        if (wanted.sigev_notify == SIGEV_SIGNAL && (wanted.sigev_signo < 0 || wanted.sigev_signo > 64)) return capi::fail(EINVAL);
    }
    capi::QueueHold held = capi::hold(queue);
    if (!held) return capi::fail(EBADF);
    if (event == nullptr) {
        capi::end_notification(*held);
        return 0;
    }
    if (auto begun = capi::begin_notification(thread, queue, *held, wanted); !begun) return capi::fail(begun.fault().errno_value);
    return 0;
}
