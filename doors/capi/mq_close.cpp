// SOURCE mq_close(3). As in the C library this is close(2): any descriptor will do.
#include <mqueue.h>
#include <unistd.h>
#include "export.hpp"

MUSTER_EXPORT int mq_close(mqd_t queue) { return close(queue); }
