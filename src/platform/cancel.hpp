// Sleeping as a thread-cancellation point.
//
// SOURCE pthreads(7): mq_receive, msgrcv, semop and their kin are cancellation points. A raw futex call is
// none, so the thread is cancellable at any instant just around it. No frame of ours may need an unwinder's
// personality there: the C door brings its own copy of that code, and two of them in one process abort.
#pragma once
#include <cstdint>
#include "platform/futex.hpp"

namespace muster::platform {

// What to do if the thread is cancelled while asleep. Runs with the thread's cancellation already under way.
struct CancelCleanup {
    void (*run)(void*);
    void* argument;
};

// futex_wait on the first entry, futex_wait_any on all of them when there are several.
long wait_cancellable(const WaitEntry* entries, unsigned count, DeadlineNs deadline_ns, const CancelCleanup& cleanup,
                      clockid_t clock = CLOCK_REALTIME);

// For a signal handler that interrupts such a sleep and is about to end it: a cancellation that comes from here on waits for the next
// cancellation point. It would else take with it what the call is given, or break into the middle of leaving.
void end_cancellable_sleep();

// Acts on a cancellation that is pending, as every cancellation point does even if it need not wait.
void test_cancel();

}  // namespace muster::platform
