// Cancelling threads that wait in the four blocking calls, or are about to.
#include <pthread.h>

#include "case.hpp"

static void* cancelled_receive(void* queue) {
    shared().word[0] = thread_id();
    take(*static_cast<mqd_t*>(queue));
    return nullptr;
}
static void* cancelled_send(void* queue) {
    shared().word[0] = thread_id();
    (void)send(*static_cast<mqd_t*>(queue), "ghost", 9);
    return nullptr;
}
static void* cancelled_timed_receive(void* queue) {
    char buffer[64];
    const timespec at = in_ms(kLong_ms);
    shared().word[0] = thread_id();
    (void)mq_timedreceive(*static_cast<mqd_t*>(queue), buffer, sizeof buffer, nullptr, &at);
    return nullptr;
}
static void* cancelled_timed_send(void* queue) {
    const timespec at = in_ms(kLong_ms);
    shared().word[0] = thread_id();
    (void)mq_timedsend(*static_cast<mqd_t*>(queue), "ghost", 5, 9, &at);
    return nullptr;
}

static void cancel_in_sleep(mqd_t queue, void* (*body)(void*)) {
    pthread_t thread;
    shared().word[0] = 0;
    pthread_create(&thread, nullptr, body, &queue);
    await("the thread calls", [] { return shared().word[0] != 0; });
    await_sleep(getpid(), shared().word[0]);
    OK(pthread_cancel(thread));
    void* result = nullptr;
    OK(pthread_join(thread, &result));
    HOLDS(result == PTHREAD_CANCELED);
}

// All four blocking calls are cancellation points; a cancelled sleeper leaves nothing behind.
CASE(cancellation) {
    const mqd_t queue = OPENS(create('a', 1, 64));
    for (int round = 0; round < 5; ++round) {
        cancel_in_sleep(queue, cancelled_receive);
        cancel_in_sleep(queue, cancelled_timed_receive);
        OK(send(queue, "kept", 1));
        SHOWS("1/64/1/0", state(queue));
        cancel_in_sleep(queue, cancelled_send);
        cancel_in_sleep(queue, cancelled_timed_send);
        SHOWS("1:kept", take(queue));
        SHOWS("1/64/0/0", state(queue));
    }
}

static void* cancelled_before(void* queue) {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
    shared().word[0] = 1;
    await("the cancellation is pending", [] { return shared().word[1] == 1; });
    (void)send(*static_cast<mqd_t*>(queue), "with it disabled");
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, nullptr);
    take(*static_cast<mqd_t*>(queue));
    give_up("a pending cancellation was not acted upon");
}

// With a cancellation pending the call acts on it before it does anything; with cancelling disabled it does its work.
CASE(cancellation_pending) {
    mqd_t queue = OPENS(create());
    pthread_t thread;
    pthread_create(&thread, nullptr, cancelled_before, &queue);
    await("the thread is ready", [] { return shared().word[0] == 1; });
    OK(pthread_cancel(thread));
    shared().word[1] = 1;
    void* result = nullptr;
    OK(pthread_join(thread, &result));
    HOLDS(result == PTHREAD_CANCELED);
    SHOWS("0:with it disabled", take(queue));
}
