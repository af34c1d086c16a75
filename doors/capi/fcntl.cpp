// fcntl: copies of queues are queues, and their status flags are those of a queue.
#include <fcntl.h>
#include <cstdarg>
#include "descriptor_calls.hpp"
#include "export.hpp"
#include "next_calls.hpp"

using namespace muster::capi;

MUSTER_EXPORT int fcntl(int descriptor, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void* argument = va_arg(rest, void*);  // as the C library does, whether there is one or not
    va_end(rest);
    switch (command) {
        case F_DUPFD:
        case F_DUPFD_CLOEXEC:
        case F_GETFL:
        case F_SETFL:
            // An int, whose upper half the caller need not have set.
            return static_cast<int>(finish(control_descriptor(descriptor, command, static_cast<int>(reinterpret_cast<long>(argument)))));
        default:
            if (next_calls.fcntl != nullptr) return next_calls.fcntl(descriptor, command, argument);
            return static_cast<int>(finish(muster::platform::system_call(SYS_fcntl, descriptor, command, argument)));
    }
}

MUSTER_EXPORT int fcntl64(int, int, ...) __attribute__((alias("fcntl")));
MUSTER_EXPORT int __fcntl(int, int, ...) __attribute__((alias("fcntl")));
