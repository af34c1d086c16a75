// SOURCE mq_timedreceive(3).
#include "mq.hpp"

MUSTER_EXPORT ssize_t mq_timedreceive(mqd_t queue, char* __restrict buffer, size_t capacity, unsigned* __restrict priority,
                                      const timespec* __restrict until) {
    return muster::capi::receive_message(queue, buffer, capacity, priority, until);
}
