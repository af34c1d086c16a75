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
    const int fd = objects::open_fifo(domain, queue, create);
    return fd >= 0 ? move_high(fd) : fd;
}

void remove_orphaned_fifo(objects::Queue& queue) {
    if (queue.object().removed.load_acquire() == 0) return;
    if (auto domain = process_domain(false)) objects::remove_idle_fifo(**domain, queue.object());
}

}  // namespace muster::capi
