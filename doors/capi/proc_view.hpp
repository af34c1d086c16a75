// Files of /proc that show the domain instead of the kernel: /proc/sysvipc/{msg,sem,shm}, and the limits of /proc/sys/kernel and
// /proc/sys/fs/mqueue. Opened for reading they are a text made at that moment, in memory; opened for writing a limit is the
// domain's own file of it (objects/limits.hpp).
//
// The next open comes first: the kernel has then looked at the path, so that it can be compared here without a fault, and what it
// refuses for reasons of its own stays refused. Only a path that is ours costs more than that comparison.
#pragma once
#include <sys/types.h>
#include <atomic>
#include <cerrno>

namespace muster::capi {

// What the next open gave, or in its place a descriptor of the view. -1: errno tells. `errno_before` is put back where a failure
// of the kernel's becomes a success.
int view_instead(int opened, const char* path, int flags, int errno_before);

// Whether the kernel has read the whole path, and found the file or had something against it that need not count for us.
inline bool was_looked_up(bool opened) {
    return opened || errno == ENOENT || errno == EACCES || errno == EPERM || errno == EROFS;
}

inline bool may_be_view(const char* path) {
    return path[0] == '/' && path[1] == 'p' && path[2] == 'r' && path[3] == 'o' && path[4] == 'c' && path[5] == '/' &&
           path[6] == 's' && path[7] == 'y' && path[8] == 's';
}

// Whether open_view() has an answer for the path, opened with these flags.
bool is_view(const char* path, int flags);
// A descriptor or a negated errno. is_view() has said yes.
int open_view(const char* path, int flags);

// Set once this process has opened a limit for writing: from then on its write() looks whether a descriptor is a limit's.
extern std::atomic<bool> limits_are_written;
// Writes a text to a limit's file as the kernel would to its own: EINVAL for what is no number. kNoLimit: the descriptor is
// another.
inline constexpr long kNoLimit = -100'000;
long write_limit(int descriptor, const void* bytes, size_t length);

}  // namespace muster::capi
