#include "platform/file.hpp"
#include <sys/resource.h>
#include <cerrno>
#include "platform/futex.hpp"

namespace muster::platform {

namespace {
bool beyond_limit(std::uint64_t end) {
    rlimit limit;
    return system_call(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, &limit) == 0 && limit.rlim_cur < end;
}
}  // namespace

int truncate_file(int fd, std::uint64_t bytes) {
    return beyond_limit(bytes) ? -EFBIG : static_cast<int>(steady_call(SYS_ftruncate, fd, bytes));
}

long write_at(int fd, const void* buffer, std::size_t bytes, std::uint64_t offset) {
    return beyond_limit(offset + bytes) ? -EFBIG : steady_call(SYS_pwrite64, fd, buffer, bytes, offset);
}

// A signal undoes what a call had taken: where they come thick and fast, only smaller pieces are ever finished.
int reserve_bytes(int fd, std::uint64_t offset, std::uint64_t bytes) {
    constexpr std::uint64_t kLargest = 8 << 20, kSmallest = 64 << 10;
    for (std::uint64_t piece = bytes; bytes != 0;) {
        const std::uint64_t now = piece < bytes ? piece : bytes;
        const int rc = static_cast<int>(system_call(SYS_fallocate, fd, 0, offset, now));
        if (rc == -EINTR) {
            const std::uint64_t half = now / 2 & ~4095ull;
            piece = half > kLargest ? kLargest : half < kSmallest ? kSmallest : half;
            continue;
        }
        if (rc < 0) return rc;
        offset += now;
        bytes -= now;
    }
    return 0;
}

// MCL_FUTURE fills a mapping as it is made, unless nothing in it may be touched.
long map_shared_sparse(int fd, std::uint64_t bytes, void* over) {
    const int flags = MAP_SHARED | (over != nullptr ? MAP_FIXED : 0);
    constexpr std::uint64_t kSmall = 1 << 20;
    const long start = system_call(SYS_mmap, over, bytes, bytes < kSmall ? PROT_READ | PROT_WRITE : PROT_NONE, flags, fd, 0);
    if (start < 0 && start > -4096) return start == -EAGAIN ? -ENOMEM : start;  // more than may be locked
    if (bytes < kSmall) return start;
    system_call(SYS_munlock, start, bytes);
    const long allowed = system_call(SYS_mprotect, start, bytes, PROT_READ | PROT_WRITE);
    if (allowed == 0) return start;
    system_call(SYS_munmap, start, bytes);
    return allowed;
}

// Before Linux 5.14 nothing populates a shared mapping without the risk of SIGBUS; but the kernel's own arithmetic on a
// futex, adding 0, takes a page as any write does and answers EFAULT where there is none to be had.
int populate_mapping(std::byte* start, std::uint64_t bytes) {
    const int populated = populate_bytes(start, bytes);
    if (populated != -EINVAL) return populated;
    constexpr std::uint64_t kPage = 4096;
    for (std::uint64_t at = 0; at < bytes; at += kPage)
        if (const int touched = futex_add_nothing(reinterpret_cast<std::uint32_t*>(start + at)); touched < 0) return touched;
    return 0;
}

}  // namespace muster::platform
