// SOURCE shm_open(3): an ordinary file, in the domain.
#include <fcntl.h>
#include <sys/stat.h>
#include "platform/file.hpp"
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
    // Not waiting: somebody may have put a FIFO there.
    const int fd = platform::open_at((*domain)->directory(), path.path, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, mode);
    if (fd < 0) return capi::shm_fail(fd == -EISDIR || fd == -ENXIO ? EINVAL : platform::forbidden(fd));
    struct stat status;
    if (platform::file_status(fd, &status) == 0 && !S_ISREG(status.st_mode)) {
        platform::close_file(fd);
        return capi::shm_fail(EINVAL);
    }
    if ((flags & O_NONBLOCK) == 0) platform::file_control(fd, F_SETFL, flags & ~(O_CREAT | O_EXCL | O_TRUNC));
    return fd;
}
