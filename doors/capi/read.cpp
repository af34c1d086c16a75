// read and pread: a queue's descriptor gives the line of text that the kernel's give, never the queue's memory.
#include <unistd.h>
#include "descriptor_calls.hpp"
#include "export.hpp"
#include "next_calls.hpp"
#include "queue_text.hpp"

using namespace muster::capi;

MUSTER_EXPORT ssize_t read(int descriptor, void* buffer, size_t bytes) {
    if (__builtin_expect(is_known_queue(descriptor), 0))
        if (const QueueHold queue = hold_checked(descriptor)) return finish(read_queue_text(descriptor, queue, buffer, bytes));
    if (next_calls.read != nullptr) return next_calls.read(descriptor, buffer, bytes);
    return finish(muster::platform::system_call(SYS_read, descriptor, buffer, bytes));
}

MUSTER_EXPORT ssize_t pread(int descriptor, void* buffer, size_t bytes, off_t offset) {
    if (__builtin_expect(is_known_queue(descriptor), 0) && offset >= 0)
        if (const QueueHold queue = hold_checked(descriptor))
            return finish(read_queue_text(descriptor, queue, buffer, bytes, static_cast<std::uint64_t>(offset)));
    if (next_calls.pread != nullptr) return next_calls.pread(descriptor, buffer, bytes, offset);
    return finish(muster::platform::system_call(SYS_pread64, descriptor, buffer, bytes, offset));
}

MUSTER_EXPORT ssize_t __read_chk(int descriptor, void* buffer, size_t bytes, size_t room) {
    if (bytes > room) __chk_fail();
    return read(descriptor, buffer, bytes);
}

MUSTER_EXPORT ssize_t __pread_chk(int descriptor, void* buffer, size_t bytes, off_t offset, size_t room) {
    if (bytes > room) __chk_fail();
    return pread(descriptor, buffer, bytes, offset);
}

MUSTER_EXPORT ssize_t __read(int, void*, size_t) __attribute__((alias("read")));
MUSTER_EXPORT ssize_t pread64(int, void*, size_t, off64_t) __attribute__((alias("pread")));
MUSTER_EXPORT ssize_t __pread64(int, void*, size_t, off64_t) __attribute__((alias("pread")));
MUSTER_EXPORT ssize_t __pread64_chk(int, void*, size_t, off64_t, size_t) __attribute__((alias("__pread_chk")));
