#include "shm_names.hpp"
#include <cerrno>
#include <cstring>
#include "platform/fault_copy.hpp"
#include "process_domain.hpp"

namespace muster::capi {

int object_name(platform::ThreadState& thread, const char* name, NamedKind kind, ObjectName& result) {
    std::memcpy(result.path, kind == NamedKind::semaphore ? "sem/" : "shm/", 4);
    char* rest = result.path + 4;
    char first = '/';
    while (platform::fault_load(thread, first, name) && first == '/') ++name;
    const std::ptrdiff_t length = platform::fault_load_string(thread, rest, name, 256);
    if (length < 0) return EFAULT;
    if (length == 0 || std::memchr(rest, '/', static_cast<std::size_t>(length)) != nullptr) return EINVAL;
    char next = 0;
    const bool ends = length < 256 || (platform::fault_load(thread, next, name + 256) && next == 0);
    // The C library's semaphores have names four characters longer, and so has what is too long for one.
    const std::ptrdiff_t most = kind == NamedKind::semaphore ? 251 : 255;
    if (!ends || (kind == NamedKind::semaphore && length > 255)) return EINVAL;
    if (length > most) return ENAMETOOLONG;
    if (kind == NamedKind::semaphore && (std::strcmp(rest, ".") == 0 || std::strcmp(rest, "..") == 0)) return EINVAL;
    return 0;
}

int unlink_object(const char* name, NamedKind kind) {
    ObjectName path;
    const int wrong = object_name(platform::current_thread(), name, kind, path);
    if (wrong != 0) return wrong == EINVAL ? ENOENT : wrong;
    auto domain = process_domain(false);
    if (!domain) return domain.fault().errno_value == ENOTDIR ? ENOENT : domain.fault().errno_value;
    auto removed = (*domain)->remove(path.path);
    return removed ? 0 : removed.fault().errno_value;
}

}  // namespace muster::capi
