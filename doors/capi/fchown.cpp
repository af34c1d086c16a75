// fchown: on a queue's descriptor, whose queue it is from now on.
//
// The file's owner is the truth, the kernel decides who may change it; the header follows. A POSIX queue has no creator
// with rights of his own, as System V objects have: both fields change. Several at once: each ends having seen
// the header fit the file.
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>
#include "descriptor_calls.hpp"
#include "export.hpp"
#include "notify.hpp"
#include "platform/file.hpp"
#include "process_domain.hpp"

using namespace muster;

namespace {

using FchownCall = int (*)(int, uid_t, gid_t);
constinit FchownCall next_fchown = nullptr;
__attribute__((constructor(101))) void find_next() { next_fchown = reinterpret_cast<FchownCall>(dlsym(RTLD_NEXT, "fchown")); }

// The queue behind a descriptor; one that came over a socket or an exec is known by its file system.
capi::QueueHold queue_behind(int descriptor) {
    if (capi::is_known_queue(descriptor)) return capi::hold_checked(descriptor);
    struct stat status;
    const std::uint64_t device = capi::domain_device();
    if (device == 0 || platform::file_status(descriptor, &status) < 0 || status.st_dev != device || !S_ISREG(status.st_mode)) return {};
    return capi::adopt(descriptor);
}

long change_owner(int descriptor, objects::Queue& queue, uid_t owner, gid_t group) {
    // The FIFO first: its owner may be the one who gives it away. If it is another's, who has polled first, it stays.
    if (auto domain = capi::process_domain(false)) {
        const platform::File fifo(capi::open_fifo(**domain, queue, false));
        if (fifo.fd() >= 0) platform::system_call(SYS_fchown, fifo.fd(), owner, group);
    }
    if (const long refused = platform::system_call(SYS_fchown, descriptor, owner, group); refused < 0) return refused;
    struct stat before, after;
    if (const int rc = platform::file_status(descriptor, &after); rc < 0) return rc;
    memory::ObjectHeader& object = queue.object();
    do {
        before = after;
        object.owner_uid.store_release(before.st_uid);
        object.owner_gid.store_release(before.st_gid);
        object.creator_uid.store_release(before.st_uid);
        object.creator_gid.store_release(before.st_gid);
        if (const int rc = platform::file_status(descriptor, &after); rc < 0) return rc;
    } while (after.st_uid != before.st_uid || after.st_gid != before.st_gid);
    return 0;
}

}  // namespace

MUSTER_EXPORT int fchown(int descriptor, uid_t owner, gid_t group) noexcept {
    if (const capi::QueueHold queue = queue_behind(descriptor)) return static_cast<int>(capi::finish(change_owner(descriptor, queue->queue, owner, group)));
    if (next_fchown != nullptr) return next_fchown(descriptor, owner, group);
    return static_cast<int>(capi::finish(platform::system_call(SYS_fchown, descriptor, owner, group)));
}
