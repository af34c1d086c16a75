// epoll_ctl: in place of a queue's descriptor goes its watch; what is reported carries the program's data anyway.
#include <sys/epoll.h>
#include "descriptor_calls.hpp"
#include "export.hpp"
#include "watching.hpp"

using namespace muster;

MUSTER_EXPORT int epoll_ctl(int epoll, int operation, int descriptor, epoll_event* event) noexcept {
    const auto control = [&](int target) { return platform::system_call(SYS_epoll_ctl, epoll, operation, target, event); };
    long result = -EPERM;
    if (!capi::is_known_queue(descriptor)) result = control(descriptor);
    // The kernel refuses regular files, which queues are to it.
    if (result == -EPERM) {
        const int watch = capi::watch_of(descriptor);
        if (watch >= 0) result = control(watch);
        else if (watch != -EPERM) result = watch;
        else if (capi::is_known_queue(descriptor) || platform::file_control_alive(descriptor)) result = control(descriptor);
    }
    return static_cast<int>(capi::finish(result));
}
