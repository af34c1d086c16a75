// SOURCE sem_unlink(3).
#include <semaphore.h>
#include "shm_common.hpp"
#include "shm_names.hpp"

MUSTER_EXPORT int sem_unlink(const char* name) noexcept {
    const int wrong = muster::capi::unlink_object(name, muster::capi::NamedKind::semaphore);
    return wrong == 0 ? 0 : muster::capi::shm_fail(wrong);
}
