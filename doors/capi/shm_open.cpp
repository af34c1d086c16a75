// SOURCE shm_open(3): an ordinary file, in the domain.
#include <fcntl.h>
#include "shm_common.hpp"
#include "shm_names.hpp"

MUSTER_EXPORT int shm_open(const char* name, int flags, mode_t mode) {
    using namespace muster;
    capi::ObjectName path;
    if (const int wrong = capi::object_name(platform::current_thread(), name, capi::NamedKind::shared_memory, path); wrong != 0)
        return capi::shm_fail(wrong);
    const bool create = (flags & O_CREAT) != 0;
    auto domain = capi::process_domain(create);
    if (!domain) return capi::shm_fail(domain.fault().errno_value);
    if (create)
        if (auto made = (*domain)->ensure_directory("shm"); !made) return capi::shm_fail(made.fault().errno_value);
    const int fd = platform::open_at((*domain)->directory(), path.path, flags | O_NOFOLLOW | O_CLOEXEC, mode);
    return fd >= 0 ? fd : capi::shm_fail(fd == -EISDIR ? EINVAL : -fd);
}
