// Signals and cancellation in msgsnd and msgrcv: EINTR whatever the handler's flags, nothing left behind, no message lost.
#include <pthread.h>

#include <csetjmp>

#include "msg_cases.hpp"

namespace {

void count_signal(int) { ++shared().word[50]; }

void install(int signal, void (*handler)(int), int flags) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigaction(signal, &action, nullptr);
}

// On a full queue of type 1: receives type 9, or sends. Waits.
long perform(bool receives, int id) {
    char buffer[64];
    const struct {
        long type;
        char text[1];
    } message{2, {'s'}};
    return receives ? msgrcv(id, buffer, sizeof buffer - sizeof(long), 9, 0) : msgsnd(id, &message, 1, 0);
}

}  // namespace

// Never restarted, whatever the handler's flags; an ignored signal does not interrupt.
CASE(msg_signal_interrupts) {
    for (const bool receives : {true, false}) {
        for (const int flags : {0, SA_RESTART}) {
            note(std::string(receives ? "msgrcv" : "msgsnd") + (flags ? ", SA_RESTART" : ""));
            const int id = make_full();
            shared().word[0] = shared().word[50] = 0;
            const pid_t child = start([=] {
                install(SIGUSR1, &count_signal, flags);
                signal(SIGUSR2, SIG_IGN);
                shared().word[0] = 1;
                FAILS(EINTR, perform(receives, id));
                GIVES(1, shared().word[50].load());
            });
            await("the child is about to call", [] { return shared().word[0] == 1; });
            await_sleep(child);
            kill(child, SIGUSR2);
            await_sleep(child);
            kill(child, SIGUSR1);
            SHOWS("exit 0", finish(child));
            SHOWS("1/1/1", counts(id));
            SHOWS("1:f", pick(id));
            SHOWS("0/0/1", counts(id));  // the sender did not come after all
            OK(put(id, 9, "n"));
            SHOWS("9:n", pick(id));  // nor the receiver
            OK(remove_queue(id));
        }
    }
}

// A call that need not wait is not interrupted: the signal is delivered before or after it.
CASE(msg_signal_beside_calls) {
    const int id = make();
    const pid_t child = start([id] {
        install(SIGUSR1, &count_signal, 0);
        shared().word[0] = 1;
        long failed = 0;
        for (int n = 0; n < 3000 || shared().word[50] < 20; ++n) {
            failed += put(id, 1, "m") != 0;
            failed += pick(id, 1, 0) != "1:m";
        }
        OK(failed);
        shared().word[0] = 2;
    });
    await("the child has its handler", [] { return shared().word[0] >= 1; });
    for (int sent = 1; shared().word[0] == 1; ++sent) {
        kill(child, SIGUSR1);
        await("it is delivered", [sent] { return shared().word[50] >= sent || shared().word[0] == 2; });
    }
    SHOWS("exit 0", finish(child));
    SHOWS("0/0/16384", counts(id));
    OK(remove_queue(id));
}

static int handler_queue;
static void send_in_handler(int) { (void)put(handler_queue, 9, "own"); }
static void receive_in_handler(int) { shared().number[0] = pick(handler_queue, 1) == "1:f"; }

// A handler that does to the very queue what its thread waits for: the thread has EINTR all the same.
CASE(msg_signal_handler_acts) {
    const int id = make();
    const pid_t receiver = start([id] {
        handler_queue = id;
        install(SIGUSR1, &send_in_handler, SA_RESTART);
        shared().word[0] = 1;
        SHOWS("EINTR", pick(id, 0, 0));
        SHOWS("9:own", pick(id, 0, 0));
    });
    await("the child is about to call", [] { return shared().word[0] == 1; });
    await_sleep(receiver);
    kill(receiver, SIGUSR1);
    SHOWS("exit 0", finish(receiver));
    OK(remove_queue(id));
    const int full = make_full();
    const pid_t sender = start([full] {
        handler_queue = full;
        install(SIGUSR1, &receive_in_handler, SA_RESTART);
        shared().word[0] = 2;
        FAILS(EINTR, put(full, 2, "s", 0));
        GIVES(1, shared().number[0].load());
        SHOWS("0/0/1", counts(full));
        OK(put(full, 2, "s", 0));
    });
    await("the child is about to call", [] { return shared().word[0] == 2; });
    await_sleep(sender);
    kill(sender, SIGUSR1);
    SHOWS("exit 0", finish(sender));
    SHOWS("2:s", drain(full));
    OK(remove_queue(full));
}

static void remove_in_handler(int) { (void)remove_queue(handler_queue); }

// A handler that removes the queue its thread waits at.
CASE(msg_signal_handler_removes) {
    for (const bool receives : {true, false}) {
        const int id = make_full();
        shared().word[0] = 0;
        const pid_t child = start([=] {
            handler_queue = id;
            install(SIGTERM, &remove_in_handler, 0);
            shared().word[0] = 1;
            FAILS(EINTR, perform(receives, id));
            FAILS(EINVAL, perform(receives, id));
        });
        await("the child is about to call", [] { return shared().word[0] == 1; });
        await_sleep(child);
        kill(child, SIGTERM);
        SHOWS("exit 0", finish(child));
        FAILS(EINVAL, remove_queue(id));
    }
}

static sigjmp_buf way_out;
static void jump_away(int) { siglongjmp(way_out, 1); }

// A handler that does not come back: the call is over, and has left nothing.
CASE(msg_signal_handler_jumps) {
    for (const bool receives : {true, false}) {
        const int id = make_full();
        shared().word[0] = 0;
        const pid_t child = start([=] {
            install(SIGUSR1, &jump_away, 0);
            if (sigsetjmp(way_out, 1) == 0) {
                shared().word[0] = 1;
                (void)perform(receives, id);
                give_up("the call returned");
            }
            SHOWS("1:f", pick(id));
            OK(put(id, 9, "n"));
            SHOWS("9:n", pick(id, 9, 0));
        });
        await("the child is about to call", [] { return shared().word[0] == 1; });
        await_sleep(child);
        kill(child, SIGUSR1);
        SHOWS("exit 0", finish(child));
        SHOWS("0/0/1", counts(id));
        OK(remove_queue(id));
    }
}

// Stopped and continued it goes on waiting, without EINTR. What it has by then, or where it stands in line, is not looked at.
CASE(msg_signal_stopped) {
    for (const bool receives : {true, false}) {
        const int id = make_full();
        const pid_t child = asleep([=] { GIVES(receives ? 1 : 0, perform(receives, id)); });
        kill(child, SIGSTOP);
        int status = 0;
        HOLDS(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
        kill(child, SIGCONT);
        await_sleep(child);
        SHOWS("1:f", pick(id));
        if (receives) OK(put(id, 9, "n"));
        SHOWS("exit 0", finish(child));
        SHOWS(receives ? "" : "2:s", drain(id));
        OK(remove_queue(id));
    }
}

// A message that comes while the receiver is stopped is there for it when it goes on.
CASE(msg_signal_sent_to_stopped) {
    const int id = make();
    const pid_t child = asleep([=] { SHOWS("1:late", pick(id, 1, 0)); });
    kill(child, SIGSTOP);
    int status = 0;
    HOLDS(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    OK(put(id, 1, "late"));
    kill(child, SIGCONT);
    SHOWS("exit 0", finish(child));
    SHOWS("0/0/16384", counts(id));
    OK(remove_queue(id));
}

// Signals among messages: every call either fails with EINTR or has its message; none is lost or doubled.
CASE(msg_signal_storm) {
    const int id = make();
    OK(set_bytes(id, 8));
    constexpr int kMany = 2000;
    const auto persist = [](const std::function<bool()>& call) {
        while (!call())
            if (errno != EINTR) give_up("not EINTR but " + error_name(errno));
    };
    const pid_t receiver = start([=] {
        install(SIGUSR1, &count_signal, SA_RESTART);
        ++shared().word[0];
        long wrong = 0;
        for (int n = 0; n < kMany; ++n) {
            std::string got;
            persist([&] { return (got = pick(id, 0, 0)) != "EINTR"; });
            wrong += got != "1:" + std::to_string(n);
        }
        OK(wrong);
        ++shared().word[1];
    });
    const pid_t sender = start([=] {
        install(SIGUSR1, &count_signal, 0);
        ++shared().word[0];
        for (int n = 0; n < kMany; ++n) persist([&] { return put(id, 1, std::to_string(n), 0) == 0; });
        ++shared().word[1];
    });
    await("both have their handlers", [] { return shared().word[0] == 2; });
    for (int n = 0; shared().word[1] < 2; ++n) {
        kill(n % 2 ? receiver : sender, SIGUSR1);
        const timespec nap{0, 20'000};
        nanosleep(&nap, nullptr);
    }
    SHOWS("exit 0", finish(receiver));
    SHOWS("exit 0", finish(sender));
    SHOWS("0/0/8", counts(id));
    OK(remove_queue(id));
}

static void* wait_receiving(void* id) {
    shared().word[0] = thread_id();
    (void)perform(true, *static_cast<int*>(id));
    return nullptr;
}
static void* wait_sending(void* id) {
    shared().word[0] = thread_id();
    (void)perform(false, *static_cast<int*>(id));
    return nullptr;
}

// Both are cancellation points; a cancelled sleeper leaves nothing behind.
CASE(msg_cancel_asleep) {
    int id = make_full();
    for (int round = 0; round < 5; ++round) {
        for (auto* body : {&wait_receiving, &wait_sending}) {
            pthread_t thread;
            shared().word[0] = 0;
            pthread_create(&thread, nullptr, body, &id);
            await("the thread calls", [] { return shared().word[0] != 0; });
            await_sleep(getpid(), shared().word[0]);
            OK(pthread_cancel(thread));
            void* result = nullptr;
            OK(pthread_join(thread, &result));
            HOLDS(result == PTHREAD_CANCELED);
        }
        SHOWS("1/1/1", counts(id));
        SHOWS("1:f", pick(id));
        SHOWS("0/0/1", counts(id));
        OK(put(id, 9, "n"));
        SHOWS("1/1/1", counts(id));
        SHOWS("9:n", pick(id));
        OK(put(id, 1, "f"));
    }
    OK(remove_queue(id));
}

static void* cancelled_before(void* argument) {
    const int id = *static_cast<int*>(argument);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
    shared().word[0] = 1;
    await("the cancellation is pending", [] { return shared().word[1] == 1; });
    if (put(id, 1, "a") != 0 || put(id, 1, "b") != 0 || pick(id) != "1:a") give_up("with it disabled: " + error_name(errno));
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, nullptr);
    if (shared().word[2] == 0) (void)put(id, 1, "c");
    else (void)pick(id);
    give_up("a pending cancellation was not acted upon");
}

// With a cancellation pending the call acts on it before it does anything; with cancelling disabled it does its work.
CASE(msg_cancel_pending) {
    for (const int receives : {0, 1}) {
        int id = make();
        shared().word[0] = shared().word[1] = 0;
        shared().word[2] = receives;
        pthread_t thread;
        pthread_create(&thread, nullptr, cancelled_before, &id);
        await("the thread is ready", [] { return shared().word[0] == 1; });
        OK(pthread_cancel(thread));
        shared().word[1] = 1;
        void* result = nullptr;
        OK(pthread_join(thread, &result));
        HOLDS(result == PTHREAD_CANCELED);
        SHOWS("1:b", drain(id));
        OK(remove_queue(id));
    }
}

static void* wait_undisturbed(void* id) {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
    shared().word[0] = thread_id();
    return pick(*static_cast<int*>(id), 9, 0) == "9:n" ? id : nullptr;
}

// Cancelling disabled, a sleeper sleeps on.
CASE(msg_cancel_disabled) {
    int id = make();
    pthread_t thread;
    pthread_create(&thread, nullptr, wait_undisturbed, &id);
    await("the thread calls", [] { return shared().word[0] != 0; });
    await_sleep(getpid(), shared().word[0]);
    OK(pthread_cancel(thread));
    await_sleep(getpid(), shared().word[0]);
    OK(put(id, 9, "n"));
    void* result = nullptr;
    OK(pthread_join(thread, &result));
    HOLDS(result == &id);
    OK(remove_queue(id));
}
