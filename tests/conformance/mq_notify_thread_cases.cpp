// mq_notify by SIGEV_THREAD: a function on a thread of its own, with the attributes asked for.
#include <pthread.h>

#include "case.hpp"

namespace {

std::atomic<int> calls{0}, value_seen{0}, detached{-1};
std::atomic<size_t> stack_bytes{0};
std::atomic<long> mask_blocked{-1};
std::atomic<pid_t> caller{0};

void on_thread(sigval value) {
    pthread_attr_t now;
    pthread_getattr_np(pthread_self(), &now);
    size_t bytes = 0;
    int kind = -1;
    pthread_attr_getstacksize(&now, &bytes);
    pthread_attr_getdetachstate(&now, &kind);
    pthread_attr_destroy(&now);
    stack_bytes = bytes;
    detached = kind == PTHREAD_CREATE_DETACHED;
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    mask_blocked = sigismember(&mask, SIGUSR1);
    caller = thread_id();
    value_seen = value.sival_int;
    ++calls;
}

sigevent by_thread(int value, pthread_attr_t* with = nullptr) {
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD;
    event.sigev_notify_function = on_thread;
    event.sigev_notify_attributes = with;
    event.sigev_value.sival_int = value;
    return event;
}

}  // namespace

// The function runs once, on another thread, with the value; then registering again is possible.
CASE(notify_thread) {
    const mqd_t queue = OPENS(create());
    for (int round = 1; round <= 20; ++round) {
        sigevent event = by_thread(round);
        if (mq_notify(queue, &event) != 0) give_up("mq_notify: " + error_name(errno));
        if (mq_notify(queue, &event) != -1 || errno != EBUSY) give_up("a second registration must be EBUSY");
        if (send(queue, "x") != 0 || send(queue, "y") != 0) give_up("send");
        await("the function ran", [round] { return calls == round; });
        if (value_seen != round || caller == thread_id()) give_up("wrong value or thread");
        if (take(queue) != "0:x" || take(queue) != "0:y") give_up("receive");
    }
    GIVES(20, calls.load());
    GIVES(1, detached.load());
}

// The stack size asked for is the thread's. The attributes may be destroyed after the call.
CASE(notify_thread_attributes) {
    const mqd_t queue = OPENS(create());
    pthread_attr_t with;
    OK(pthread_attr_init(&with));
    OK(pthread_attr_setstacksize(&with, 1 << 20));
    OK(pthread_attr_setguardsize(&with, 8192));
    sigevent event = by_thread(5, &with);
    OK(mq_notify(queue, &event));
    pthread_attr_destroy(&with);
    OK(send(queue, "x"));
    await("the function ran", [] { return calls == 1; });
    HOLDS(stack_bytes >= 1u << 20 && stack_bytes < 2u << 20);
    GIVES(1, detached.load());
}

// A message from another process; deregistered it does not run; closing deregisters.
CASE(notify_thread_ends) {
    const mqd_t queue = OPENS(create());
    sigevent event = by_thread(1);
    OK(mq_notify(queue, &event));
    SHOWS("exit 0", finish(start([queue] {
              sigevent none{};  // SIGEV_THREAD here would make the C library share the parent's socket
              none.sigev_notify = SIGEV_NONE;
              FAILS(EBUSY, mq_notify(queue, &none));
              OK(send(queue, "x"));
          })));
    await("the function ran", [] { return calls == 1; });
    SHOWS("0:x", take(queue));
    OK(mq_notify(queue, &event));
    OK(mq_notify(queue, nullptr));
    OK(send(queue, "y"));
    SHOWS("0:y", take(queue));
    const mqd_t other = OPENS(mq_open(name(), O_RDWR));
    OK(mq_notify(other, &event));
    OK(mq_close(other));
    OK(send(queue, "z"));
    SHOWS("0:z", take(queue));
    // one that does fire, so that a wrongly fired one before it would have been counted
    OK(mq_notify(queue, &event));
    OK(send(queue, "last"));
    await("the function ran", [] { return calls >= 2; });
    GIVES(2, calls.load());
}

// A child forked after the registration neither owns it nor ends it by leaving; the function runs in the parent.
// (SIGEV_THREAD in that child is not tried: the C library would use the socket inherited from the parent there.)
CASE(notify_thread_in_child) {
    const mqd_t queue = OPENS(create());
    sigevent event = by_thread(1);
    OK(mq_notify(queue, &event));
    SHOWS("exit 0", finish(start([queue] {
              OK(mq_notify(queue, nullptr));
              sigevent none{};
              none.sigev_notify = SIGEV_NONE;
              FAILS(EBUSY, mq_notify(queue, &none));
              OK(mq_close(queue));
          })));
    const pid_t child = start([queue] {
        OK(send(queue, "x"));
        OK(calls.load());
    });
    SHOWS("exit 0", finish(child));
    await("the function ran", [] { return calls == 1; });
    GIVES(1, value_seen.load());
}

// EBADF after the argument checks.
CASE(notify_thread_bad_descriptor) {
    sigevent event = by_thread(1);
    FAILS(EBADF, mq_notify(-1, &event));
    FAILS(EBADF, mq_notify(0, &event));
    OK(calls.load());
}

// The function runs with the program's signals unblocked.
CASE(notify_thread_signal_mask) {
    const mqd_t queue = OPENS(create());
    sigevent event = by_thread(1);
    OK(mq_notify(queue, &event));
    OK(send(queue, "x"));
    await("the function ran", [] { return calls == 1; });
    OK(static_cast<int>(mask_blocked.load()));
}
