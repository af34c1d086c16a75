// SOURCE shm_unlink(3).
#include "shm_common.hpp"
#include "shm_names.hpp"

MUSTER_EXPORT int shm_unlink(const char* name) {
    const int wrong = muster::capi::unlink_object(name, muster::capi::NamedKind::shared_memory);
    return wrong == 0 ? 0 : muster::capi::shm_fail(wrong);
}
