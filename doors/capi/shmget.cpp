// SOURCE shmget(2).
#include "shm_common.hpp"

MUSTER_EXPORT int shmget(key_t key, size_t size, int flags) noexcept {
    using namespace muster;
    auto domain = capi::process_domain(key == IPC_PRIVATE || (flags & IPC_CREAT) != 0);
    if (!domain) return capi::shm_fail(domain.fault().errno_value);
    auto id = objects::get_segment(**domain, capi::segment_registry(**domain), static_cast<std::uint32_t>(key), size, flags);
    if (!id) return capi::shm_fail(capi::shm_errno(id.fault()));
    return *id;
}
