// write and its kin: nothing can be written to a queue's descriptor but messages by mq_send; without this the bytes
// would go over the queue itself. SOURCE the kernel's queues: EINVAL, or EBADF if the descriptor is for reading alone.
// What write puts into a limit of the domain is looked at before (proc_view.hpp).
#include <sys/uio.h>
#include <unistd.h>
#include "descriptor_calls.hpp"
#include "export.hpp"
#include "next_calls.hpp"
#include "proc_view.hpp"

using namespace muster::capi;

namespace {

// A negated errno for a queue, else 0.
inline long refusal(int descriptor) {
    if (__builtin_expect(!is_known_queue(descriptor), 1)) return 0;
    const QueueHold queue = hold_checked(descriptor);
    if (!queue) return 0;
    return (queue.access() & kAccessWrite) != 0 ? -EINVAL : -EBADF;
}

}  // namespace

MUSTER_EXPORT ssize_t write(int descriptor, const void* bytes, size_t length) {
    if (const long refused = refusal(descriptor); refused != 0) return finish(refused);
    if (__builtin_expect(limits_are_written.load(std::memory_order_relaxed), 0))
        if (const long done = write_limit(descriptor, bytes, length); done != kNoLimit) return finish(done);
    if (next_calls.write != nullptr) return next_calls.write(descriptor, bytes, length);
    return finish(muster::platform::system_call(SYS_write, descriptor, bytes, length));
}

MUSTER_EXPORT ssize_t pwrite(int descriptor, const void* bytes, size_t length, off_t offset) {
    if (const long refused = refusal(descriptor); refused != 0) return finish(refused);
    if (next_calls.pwrite != nullptr) return next_calls.pwrite(descriptor, bytes, length, offset);
    return finish(muster::platform::system_call(SYS_pwrite64, descriptor, bytes, length, offset));
}

MUSTER_EXPORT ssize_t writev(int descriptor, const iovec* pieces, int count) {
    if (const long refused = refusal(descriptor); refused != 0) return finish(refused);
    if (next_calls.writev != nullptr) return next_calls.writev(descriptor, pieces, count);
    return finish(muster::platform::system_call(SYS_writev, descriptor, pieces, count));
}

MUSTER_EXPORT ssize_t pwritev(int descriptor, const iovec* pieces, int count, off_t offset) {
    if (const long refused = refusal(descriptor); refused != 0) return finish(refused);
    if (next_calls.pwritev != nullptr) return next_calls.pwritev(descriptor, pieces, count, offset);
    return finish(muster::platform::system_call(SYS_pwritev, descriptor, pieces, count, offset, 0));
}

MUSTER_EXPORT ssize_t __write(int, const void*, size_t) __attribute__((alias("write")));
MUSTER_EXPORT ssize_t pwrite64(int, const void*, size_t, off64_t) __attribute__((alias("pwrite")));
MUSTER_EXPORT ssize_t __pwrite64(int, const void*, size_t, off64_t) __attribute__((alias("pwrite")));
MUSTER_EXPORT ssize_t pwritev64(int, const iovec*, int, off64_t) __attribute__((alias("pwritev")));
