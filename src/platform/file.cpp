#include "platform/file.hpp"
#include <cerrno>
#include "platform/futex.hpp"

namespace muster::platform {

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
