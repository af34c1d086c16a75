// SOURCE mq_timedsend(3).
#include "mq.hpp"

MUSTER_EXPORT int mq_timedsend(mqd_t queue, const char* message, size_t length, unsigned priority, const timespec* until) {
    return muster::capi::send_message(queue, message, length, priority, until);
}
