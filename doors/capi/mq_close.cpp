// SOURCE mq_close(3). As in the C library this is close(2): any descriptor will do.
#include "mq.hpp"
#include "platform/file.hpp"

MUSTER_EXPORT int mq_close(mqd_t queue) {
    muster::capi::forget(queue);
    const int rc = muster::platform::close_file(queue);
    return rc < 0 ? muster::capi::fail(-rc) : 0;
}
