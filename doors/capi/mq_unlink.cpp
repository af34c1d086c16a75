// SOURCE mq_unlink(3).
#include "mq.hpp"
#include "notify.hpp"
#include "platform/file.hpp"
#include "process_domain.hpp"

MUSTER_EXPORT int mq_unlink(const char* name) {
    using namespace muster;
    platform::ThreadState& thread = platform::current_thread();
    capi::QueueName path;
    if (const int wrong = capi::queue_name(thread, name, path); wrong != 0) return capi::fail(wrong);
    auto domain = capi::process_domain(false);
    if (!domain) return capi::fail(domain.fault().errno_value == ENOTDIR ? ENOENT : domain.fault().errno_value);
    // A queue that this process has open is not opened once more: closing that descriptor would end a registration.
    struct stat status;
    capi::OpenQueue* open = nullptr;
    if (platform::file_status_at((*domain)->directory(), path.path, &status, AT_SYMLINK_NOFOLLOW) == 0) open = capi::find_queue(status.st_dev, status.st_ino);
    auto removed = open != nullptr ? (*domain)->remove(path.path) : objects::remove_queue(**domain, path.path);
    if (open != nullptr) {
        if (removed) {
            open->queue.object().removed.store_release(1);
            if (open->queue.polled()) objects::remove_idle_fifo(**domain, open->queue.object());
        }
        capi::release(open);
    }
    return removed ? 0 : capi::fail(removed.fault().errno_value);
}
