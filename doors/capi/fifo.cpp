// The FIFOs that stand for polled queues: domain/poll/<uuid of the queue>.
#include <fcntl.h>
#include <sys/resource.h>
#include "notify.hpp"
#include "platform/file.hpp"
#include "process_domain.hpp"

namespace muster::capi {

namespace {
// Programs count on the lowest free numbers.
int move_high(int fd) {
    rlimit limit;
    if (platform::system_call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &limit) != 0) return fd;
    const long most = limit.rlim_cur > 65536 ? 65536 : static_cast<long>(limit.rlim_cur);
    const int moved = most > 64 ? platform::file_control(fd, F_DUPFD_CLOEXEC, most / 2) : -1;
    if (moved < 0) return fd;
    platform::close_file(fd);
    return moved;
}
}  // namespace

int open_fifo(const objects::Domain& domain, objects::Queue& queue, bool create) {
    char name[objects::kFifoNameBytes];
    objects::fifo_name(queue.object(), name);
    for (int tries = 0; tries < 3; ++tries) {
        const int fd = platform::open_at(domain.directory(), name, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0) {
            struct stat status;
            if (platform::file_status(fd, &status) < 0 || !S_ISFIFO(status.st_mode)) {
                platform::close_file(fd);
                return -EBADMSG;
            }
            platform::file_control(fd, F_SETPIPE_SZ, 8192);
            return move_high(fd);
        }
        if (fd != -ENOENT || !create) return fd;
        if (auto made = domain.ensure_directory("poll"); !made) return -made.fault().errno_value;
        // Whoever may use the queue may use its FIFO; the umask has no say.
        const unsigned mode = objects::fence_mode(queue.permission().mode);
        const int rc = platform::make_fifo(domain.directory(), name, mode);
        if (rc < 0 && rc != -EEXIST) return rc;
        if (rc == 0) platform::system_call(SYS_fchmodat, domain.directory(), static_cast<const char*>(name), mode);
    }
    return -ENOENT;
}

void remove_orphaned_fifo(objects::Queue& queue) {
    if (queue.object().removed.load_acquire() == 0) return;
    if (auto domain = process_domain(false)) objects::remove_idle_fifo(**domain, queue.object());
}

}  // namespace muster::capi
