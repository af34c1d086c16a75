// SOURCE semop(2).
#include "sysv_sem.hpp"

MUSTER_EXPORT int semtimedop(int id, sembuf* ops, size_t count, const timespec* timeout) {
    if (timeout == nullptr && count == 1) return muster::capi::operate_semaphore(id, ops);
    return muster::capi::operate_semaphores(id, ops, count, timeout);
}
