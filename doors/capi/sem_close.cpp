// SOURCE sem_close(3).
#include "sem_open.hpp"
#include "shm_common.hpp"

MUSTER_EXPORT int sem_close(sem_t* semaphore) noexcept {
    const int wrong = muster::capi::release_semaphore(semaphore);
    return wrong == 0 ? 0 : muster::capi::shm_fail(wrong);
}
