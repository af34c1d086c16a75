// SOURCE shmdt(2).
#include "shm_common.hpp"

MUSTER_EXPORT int shmdt(const void* address) noexcept {
    using namespace muster;
    auto detached = capi::attachments().detach(reinterpret_cast<std::uintptr_t>(address));
    return detached ? 0 : capi::shm_fail(capi::shm_errno(detached.fault()));
}
