// open and its kin: some files of /proc show the domain (proc_view.hpp). Everything else is the next call's affair.
#include <fcntl.h>
#include <cstdarg>
#include "export.hpp"
#include "next_calls.hpp"
#include "platform/file.hpp"
#include "proc_view.hpp"

using namespace muster;
using namespace muster::capi;

namespace {

using OpenCall = int (*)(const char*, int, ...);
using OpenatCall = int (*)(int, const char*, int, ...);

// The mode is read only where it is given.
#define MUSTER_MODE_OF(flags, mode)                                   \
    mode_t mode = 0;                                                  \
    if (((flags)&O_CREAT) != 0 || ((flags)&O_TMPFILE) == O_TMPFILE) { \
        va_list list;                                                 \
        va_start(list, flags);                                        \
        mode = va_arg(list, mode_t);                                  \
        va_end(list);                                                 \
    }

int from_kernel(int directory, const char* path, int flags, mode_t mode) {
    const auto opened = static_cast<int>(platform::system_call(SYS_openat, directory, path, flags, mode));
    if (opened >= 0) return opened;
    errno = -opened;
    return -1;
}

inline int judged(int opened, const char* path, int flags, int errno_before) {
    if (__builtin_expect(!was_looked_up(opened >= 0) || !may_be_view(path), 1)) return opened;
    return view_instead(opened, path, flags, errno_before);
}

inline int open_by(OpenCall next, const char* path, int flags, mode_t mode) {
    const int before = errno;
    return judged(next != nullptr ? next(path, flags, mode) : from_kernel(AT_FDCWD, path, flags, mode), path, flags, before);
}

inline int openat_by(OpenatCall next, int directory, const char* path, int flags, mode_t mode) {
    const int before = errno;
    return judged(next != nullptr ? next(directory, path, flags, mode) : from_kernel(directory, path, flags, mode), path, flags,
                  before);
}

}  // namespace

MUSTER_EXPORT int open(const char* path, int flags, ...) {
    MUSTER_MODE_OF(flags, mode)
    return open_by(next_calls.open, path, flags, mode);
}
MUSTER_EXPORT int open64(const char* path, int flags, ...) {
    MUSTER_MODE_OF(flags, mode)
    return open_by(next_calls.open64, path, flags, mode);
}
MUSTER_EXPORT int openat(int directory, const char* path, int flags, ...) {
    MUSTER_MODE_OF(flags, mode)
    return openat_by(next_calls.openat, directory, path, flags, mode);
}
MUSTER_EXPORT int openat64(int directory, const char* path, int flags, ...) {
    MUSTER_MODE_OF(flags, mode)
    return openat_by(next_calls.openat64, directory, path, flags, mode);
}

MUSTER_EXPORT int creat(const char* path, mode_t mode) {
    return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
MUSTER_EXPORT int creat64(const char* path, mode_t mode) {
    return open64(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

// What fortified programs call without a mode; with flags that need one the C library ends the program.
MUSTER_EXPORT int __open_2(const char* path, int flags) {
    if (next_calls.open_2 == nullptr) return open_by(nullptr, path, flags, 0);
    const int before = errno;
    return judged(next_calls.open_2(path, flags), path, flags, before);
}
MUSTER_EXPORT int __openat_2(int directory, const char* path, int flags) {
    if (next_calls.openat_2 == nullptr) return openat_by(nullptr, directory, path, flags, 0);
    const int before = errno;
    return judged(next_calls.openat_2(directory, path, flags), path, flags, before);
}

MUSTER_EXPORT int __open64_2(const char*, int) __attribute__((alias("__open_2")));
MUSTER_EXPORT int __openat64_2(int, const char*, int) __attribute__((alias("__openat_2")));
MUSTER_EXPORT int __open(const char*, int, ...) __attribute__((alias("open"), nonnull(1)));
MUSTER_EXPORT int __open64(const char*, int, ...) __attribute__((alias("open64"), nonnull(1)));
