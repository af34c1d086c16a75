// fchmod: on a queue's descriptor, who may open the queue from now on.
//
// The kernel decides by the file whether the caller may; the mode itself is the header's, and the file's bits are its
// fence. Several at once: each ends having seen the fence fit the mode, so the last fence fits the last mode.
#include <dlfcn.h>
#include <sys/stat.h>
#include "descriptor_calls.hpp"
#include "export.hpp"
#include "notify.hpp"
#include "platform/file.hpp"
#include "process_domain.hpp"

using namespace muster;

namespace {

using FchmodCall = int (*)(int, mode_t);
constinit FchmodCall next_fchmod = nullptr;
__attribute__((constructor(101))) void find_next() { next_fchmod = reinterpret_cast<FchmodCall>(dlsym(RTLD_NEXT, "fchmod")); }

// The queue behind a descriptor; one that came over a socket or an exec is known by its file system.
capi::QueueHold queue_behind(int descriptor) {
    if (capi::is_known_queue(descriptor)) return capi::hold_checked(descriptor);
    struct stat status;
    const std::uint64_t device = capi::domain_device();
    if (device == 0 || platform::file_status(descriptor, &status) < 0 || status.st_dev != device || !S_ISREG(status.st_mode)) return {};
    return capi::adopt(descriptor);
}

long change_mode(int descriptor, objects::Queue& queue, std::uint32_t mode) {
    if (const int refused = platform::change_mode(descriptor, objects::fence_mode(mode)); refused < 0) return refused;
    memory::ShmU32& kept = queue.object().mode;
    kept.store_release(mode);
    std::uint32_t now = mode;
    do {
        now = kept.load_acquire();
        if (const int rc = platform::change_mode(descriptor, objects::fence_mode(now)); rc < 0) return rc;
    } while (kept.load_acquire() != now);
    // Whoever may use the queue may use its FIFO. It may belong to somebody else, who has polled first: then it stays.
    if (auto domain = capi::process_domain(false)) {
        const platform::File fifo(capi::open_fifo(**domain, queue, false));
        if (fifo.fd() >= 0) platform::change_mode(fifo.fd(), objects::fence_mode(now));
    }
    return 0;
}

}  // namespace

MUSTER_EXPORT int fchmod(int descriptor, mode_t mode) noexcept {
    if (const capi::QueueHold queue = queue_behind(descriptor)) return static_cast<int>(capi::finish(change_mode(descriptor, queue->queue, mode & 07777)));
    if (next_fchmod != nullptr) return next_fchmod(descriptor, mode);
    return static_cast<int>(capi::finish(platform::system_call(SYS_fchmod, descriptor, mode)));
}
