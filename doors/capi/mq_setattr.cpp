// SOURCE mq_setattr(3): only O_NONBLOCK can be changed.
#include "mq.hpp"

MUSTER_EXPORT int mq_setattr(mqd_t queue, const mq_attr* __restrict next, mq_attr* __restrict old) {
    return static_cast<int>(muster_mq_getsetattr(queue, next, old));
}
