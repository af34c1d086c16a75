// epoll_ctl: in place of a queue's descriptor goes its watch; what is reported carries the program's data anyway.
#include <sys/epoll.h>
#include "descriptor_calls.hpp"
#include "export.hpp"
#include "watching.hpp"

using namespace muster;

MUSTER_EXPORT int epoll_ctl(int epoll, int operation, int descriptor, epoll_event* event) noexcept {
    const auto control = [&](int target) { return platform::system_call(SYS_epoll_ctl, epoll, operation, target, event); };
    const bool known = capi::is_known_queue(descriptor);
    // The kernel refuses regular files, which queues are to it: only then an unknown descriptor is worth a look.
    long result = known ? -EPERM : control(descriptor);
    if (result == -EPERM) {
        const int watch = capi::watch_of(descriptor);
        if (watch >= 0) result = control(watch);
        else if (watch != -EPERM) result = watch;
        else if (known) result = control(descriptor);  // it was a queue once
    }
    return static_cast<int>(capi::finish(result));
}
