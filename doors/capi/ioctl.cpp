// ioctl: FIONBIO changes a queue's O_NONBLOCK as fcntl does. Everything else is passed on.
#include <dlfcn.h>
#include <sys/ioctl.h>
#include <cerrno>
#include <cstdarg>
#include "descriptor_table.hpp"
#include "export.hpp"
#include "platform/syscall.hpp"

namespace {
using IoctlCall = int (*)(int, unsigned long, ...);
constinit IoctlCall next_ioctl = nullptr;
__attribute__((constructor(101))) void find_next() { next_ioctl = reinterpret_cast<IoctlCall>(dlsym(RTLD_NEXT, "ioctl")); }
}  // namespace

MUSTER_EXPORT int ioctl(int descriptor, unsigned long request, ...) noexcept {
    va_list rest;
    va_start(rest, request);
    void* argument = va_arg(rest, void*);
    va_end(rest);
    int result;
    if (next_ioctl != nullptr) {
        result = next_ioctl(descriptor, request, argument);
    } else {
        const long raw = muster::platform::system_call(SYS_ioctl, descriptor, request, argument);
        if (raw < 0) errno = static_cast<int>(-raw);
        result = raw < 0 ? -1 : static_cast<int>(raw);
    }
    if (request == FIONBIO && result == 0)
        if (const muster::capi::QueueHold queue = muster::capi::hold_known(descriptor)) queue->queue.note_nonblock_change();
    return result;
}
