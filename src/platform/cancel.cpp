#include "platform/cancel.hpp"
#include <pthread.h>

namespace muster::platform {

long wait_cancellable(const WaitEntry* entries, unsigned count, DeadlineNs deadline_ns, const CancelCleanup& cleanup,
                      clockid_t clock) {
    // volatile: lives across the setjmp inside pthread_cleanup_push
    volatile long result = 0;
    int type = PTHREAD_CANCEL_DEFERRED;
    pthread_cleanup_push(cleanup.run, cleanup.argument);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    result = count == 1 ? futex_wait(reinterpret_cast<std::uint32_t*>(entries[0].address), static_cast<std::uint32_t>(entries[0].expected), deadline_ns, clock)
                        : futex_wait_any(entries, count, deadline_ns, clock);
    pthread_setcanceltype(type, nullptr);
    pthread_cleanup_pop(0);
    return result;
}

void end_cancellable_sleep() { pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, nullptr); }

void test_cancel() { pthread_testcancel(); }

}  // namespace muster::platform
