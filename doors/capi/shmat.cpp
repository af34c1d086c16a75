// SOURCE shmat(2).
#include "shm_common.hpp"

MUSTER_EXPORT void* shmat(int id, const void* address, int flags) noexcept {
    using namespace muster;
    auto attached = capi::attachments().attach(id, reinterpret_cast<std::uintptr_t>(address), flags);
    if (attached) return *attached;
    capi::shm_fail(capi::shm_errno(attached.fault()));
    return reinterpret_cast<void*>(-1);
}
