// The named semaphores that this process has open: one address for each, however often it is opened.
#pragma once
#include <semaphore.h>

namespace muster::capi {

// One reference less, and the mapping with the last. 0 or EINVAL.
int release_semaphore(sem_t* semaphore);

}  // namespace muster::capi
