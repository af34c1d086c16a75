// What the mq_* calls share.
#pragma once
#include <mqueue.h>
#include <cerrno>
#include "descriptor_table.hpp"
#include "export.hpp"

namespace muster::capi {

// A call's end: errno is touched only when something failed.
inline int fail(int errno_value) {
    errno = errno_value;
    return -1;
}

// The name in the domain, "mq/jobs" for "/jobs". 0 or an errno value, in the kernel's order.
struct QueueName {
    char path[3 + 256];
};
int queue_name(platform::ThreadState& thread, const char* name, QueueName& result);

// The deadline of the timed calls. 0 or an errno value: EFAULT, EINVAL.
int load_deadline(platform::ThreadState& thread, const timespec* until, platform::DeadlineNs& deadline_ns);

int open_queue(const char* name, int flags, mode_t mode, const mq_attr* attributes);
int send_message(mqd_t queue, const char* message, size_t length, unsigned priority, const timespec* until);
ssize_t receive_message(mqd_t queue, char* buffer, size_t capacity, unsigned* priority, const timespec* until);

}  // namespace muster::capi

// The system call behind mq_getattr and mq_setattr: 0 or -1 with errno.
extern "C" __attribute__((visibility("hidden"))) long muster_mq_getsetattr(int queue, const mq_attr* next, mq_attr* old);
