#include <cstring>
#include "mq.hpp"
#include "platform/fault_copy.hpp"

namespace muster::capi {

int queue_name(platform::ThreadState& thread, const char* name, QueueName& result) {
    std::memcpy(result.path, "mq/", 3);
    char* rest = result.path + 3;
    char slash = 0;
    if (!platform::fault_copy(thread, &slash, name, 1)) return EFAULT;
    if (slash != '/') return EINVAL;
    const std::ptrdiff_t length = platform::fault_load_string(thread, rest, name + 1, 256);
    if (length < 0) return EFAULT;
    if (length > 255) return ENAMETOOLONG;
    if (length == 0) return ENOENT;
    if (std::memchr(rest, '/', static_cast<std::size_t>(length)) != nullptr || std::strcmp(rest, ".") == 0 || std::strcmp(rest, "..") == 0) return EACCES;
    return 0;
}

int load_deadline(platform::ThreadState& thread, const timespec* until, platform::DeadlineNs& deadline_ns) {
    deadline_ns = platform::kForever;
    if (until == nullptr) return 0;
    timespec copy;
    if (!platform::fault_load(thread, copy, until)) return EFAULT;
    if (copy.tv_sec < 0 || copy.tv_nsec < 0 || copy.tv_nsec > 999'999'999) return EINVAL;
    constexpr std::int64_t kMost = INT64_MAX / 1'000'000'000 - 1;
    deadline_ns = copy.tv_sec > kMost ? platform::kForever : copy.tv_sec * 1'000'000'000 + copy.tv_nsec;
    if (deadline_ns <= 0) deadline_ns = 1;  // the epoch itself is long past, not "do not wait"
    return 0;
}

}  // namespace muster::capi
