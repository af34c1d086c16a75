// Signals and the blocking calls: EINTR without SA_RESTART, restarted with it; handlers that call mq_* or jump away.
#include <csetjmp>

#include "case.hpp"

namespace {

volatile sig_atomic_t handled;
void count_signal(int) {
    handled = handled + 1;
}

void install(int signal, void (*handler)(int), int flags) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigaction(signal, &action, nullptr);
}

enum class Call { send, receive, timed_send, timed_receive };
constexpr Call kCalls[] = {Call::send, Call::receive, Call::timed_send, Call::timed_receive};
constexpr const char* kCallNames[] = {"mq_send", "mq_receive", "mq_timedsend", "mq_timedreceive"};

long perform(Call call, mqd_t queue) {
    char buffer[64];
    const timespec at = in_ms(kLong_ms);
    switch (call) {
        case Call::send:
            return mq_send(queue, "sent", 4, 1);
        case Call::receive:
            return mq_receive(queue, buffer, sizeof buffer, nullptr);
        case Call::timed_send:
            return mq_timedsend(queue, "sent", 4, 1, &at);
        case Call::timed_receive:
            return mq_timedreceive(queue, buffer, sizeof buffer, nullptr, &at);
    }
    return -2;
}

bool sends(Call call) {
    return call == Call::send || call == Call::timed_send;
}

// A queue on which the call has to wait: full for senders, empty for receivers.
mqd_t awaited(Call call) {
    mq_unlink(name());
    const mqd_t queue = OPENS(create('a', 1, 64));
    if (sends(call)) OK(send(queue, "full"));
    return queue;
}

}  // namespace

// Without SA_RESTART all four give EINTR, once the handler has run, and leave nothing behind.
CASE(signal_interrupts) {
    for (const Call call : kCalls) {
        note(kCallNames[static_cast<int>(call)]);
        const mqd_t queue = awaited(call);
        shared().word[0] = 0;
        const pid_t child = start([=] {
            install(SIGUSR1, count_signal, 0);
            shared().word[0] = 1;
            FAILS(EINTR, perform(call, queue));
            GIVES(1, handled);
        });
        await("the child calls", [] { return shared().word[0] == 1; });
        await_sleep(child);
        kill(child, SIGUSR1);
        SHOWS("exit 0", finish(child));
        if (sends(call)) {
            SHOWS("0:full", take(queue));
            SHOWS("1/64/0/0", state(queue));
        } else {
            OK(send(queue, "stays"));
            SHOWS("1/64/1/0", state(queue));
        }
    }
}

// With SA_RESTART all four wait on, the timed ones too, however often it happens, and then do their work.
CASE(signal_restarts) {
    for (const Call call : kCalls) {
        note(kCallNames[static_cast<int>(call)]);
        const mqd_t queue = awaited(call);
        shared().word[0] = shared().word[1] = 0;
        const pid_t child = start([=] {
            struct sigaction action {};
            action.sa_handler = [](int) { shared().word[1]++; };
            action.sa_flags = SA_RESTART;
            sigaction(SIGUSR1, &action, nullptr);
            shared().word[0] = 1;
            GIVES(sends(call) ? 0 : 5, perform(call, queue));
        });
        await("the child calls", [] { return shared().word[0] == 1; });
        for (int i = 1; i <= 20; ++i) {
            await_sleep(child);
            kill(child, SIGUSR1);
            await("the handler ran", [i] { return shared().word[1] == i; });
        }
        await_sleep(child);
        if (sends(call)) {
            SHOWS("0:full", take(queue));
            SHOWS("1:sent", take(queue));
        } else {
            OK(send(queue, "12345"));
        }
        SHOWS("exit 0", finish(child));
        SHOWS("1/64/0/0", state(queue));
    }
}

// While the handler runs the sleeper is no waiter: what is sent meanwhile stays in the queue for anybody.
CASE(signal_handler_is_not_asleep) {
    const mqd_t queue = OPENS(create());
    const pid_t child = start([=] {
        struct sigaction action {};
        action.sa_handler = [](int) {
            shared().word[1] = 1;
            while (shared().word[2] == 0) sched_yield();
        };
        action.sa_flags = SA_RESTART;
        sigaction(SIGUSR1, &action, nullptr);
        shared().word[0] = 1;
        SHOWS("0:second", take(queue));
    });
    await("the child calls", [] { return shared().word[0] == 1; });
    await_sleep(child);
    kill(child, SIGUSR1);
    await("the handler runs", [] { return shared().word[1] == 1; });
    OK(send(queue, "first"));
    SHOWS("4/64/1/0", state(queue));
    SHOWS("0:first", take(queue));
    OK(send(queue, "second"));
    shared().word[2] = 1;
    SHOWS("exit 0", finish(child));
}

// A restarted sleeper has lost its place: it stands behind those who came after it.
CASE(signal_restart_loses_place) {
    const mqd_t queue = OPENS(create());
    pid_t child[2];
    for (int i = 0; i < 2; ++i) {
        child[i] = start([=] {
            struct sigaction action {};
            action.sa_handler = [](int) { shared().word[5] = 1; };
            action.sa_flags = SA_RESTART;
            sigaction(SIGUSR1, &action, nullptr);
            shared().word[i] = 1;
            shared().number[i] = std::atol(take(queue).c_str() + 2);
        });
        await("the child calls", [i] { return shared().word[i] == 1; });
        await_sleep(child[i]);
    }
    kill(child[0], SIGUSR1);
    await("the handler ran", [] { return shared().word[5] == 1; });
    await_sleep(child[0]);
    OK(send(queue, "1"));
    OK(send(queue, "2"));
    SHOWS("exit 0", finish(child[0]));
    SHOWS("exit 0", finish(child[1]));
    GIVES(2, shared().number[0].load());
    GIVES(1, shared().number[1].load());
}

// Ignored signals, and ones whose default is to be ignored, do not interrupt. A blocked one waits until after the call.
CASE(signal_ignored_or_blocked) {
    const mqd_t queue = OPENS(create());
    const pid_t child = start([=] {
        signal(SIGUSR1, SIG_IGN);
        install(SIGUSR2, count_signal, 0);
        sigset_t mask;
        sigemptyset(&mask);
        sigaddset(&mask, SIGUSR2);
        sigprocmask(SIG_BLOCK, &mask, nullptr);
        shared().word[0] = 1;
        SHOWS("0:x", take(queue));
        GIVES(0, handled);
        sigprocmask(SIG_UNBLOCK, &mask, nullptr);
        GIVES(1, handled);
    });
    await("the child calls", [] { return shared().word[0] == 1; });
    await_sleep(child);
    for (const int each : {SIGUSR1, SIGUSR2, SIGCHLD, SIGWINCH, SIGURG}) kill(child, each);
    await_sleep(child);
    OK(send(queue, "x"));
    SHOWS("exit 0", finish(child));
}

static mqd_t handler_queue;
static void use_queues(int) {
    const int kept = errno;
    if (send(handler_queue, "from the handler", 7) != 0 || take(handler_queue) != "7:from the handler") handled = -100;
    const mqd_t own = create('h', 2, 16);
    if (send(own, "h") != 0 || take(own) != "0:h" || mq_close(own) != 0 || mq_unlink(name('h')) != 0) handled = -100;
    handled = handled + 1;
    errno = kept;
}

// A handler that interrupts a sleep may use queues itself, the very same one included.
CASE(signal_handler_uses_queue) {
    const mqd_t queue = OPENS(create()), other = OPENS(create('b'));
    const pid_t child = start([=] {
        handler_queue = queue;
        install(SIGUSR1, use_queues, SA_RESTART);
        install(SIGUSR2, use_queues, 0);
        shared().word[0] = 1;
        SHOWS("2:x", take(queue));
        GIVES(1, handled);
        shared().word[0] = 2;
        SHOWS("EINTR", take(queue));
        GIVES(2, handled);
        SHOWS("3:to others", take(other));
    });
    await("the child calls", [] { return shared().word[0] == 1; });
    await_sleep(child);
    kill(child, SIGUSR1);
    await_sleep(child);
    OK(send(queue, "x", 2));
    await("the child calls again", [] { return shared().word[0] == 2; });
    await_sleep(child);
    kill(child, SIGUSR2);
    OK(send(other, "to others", 3));
    SHOWS("exit 0", finish(child));
}

static void use_briefly(int) {
    const int kept = errno;
    char buffer[64];  // no take() here: it allocates
    (void)mq_send(handler_queue, "h", 1, 0);
    (void)mq_receive(handler_queue, buffer, sizeof buffer, nullptr);
    handled = handled + 1;
    errno = kept;
}

// A handler that uses the same queue while the interrupted thread is anywhere inside its own calls: no deadlock, no loss.
CASE(signal_storm) {
    const mqd_t queue = OPENS(create('a', 10, 64, O_RDWR | O_NONBLOCK)), theirs = OPENS(create('b', 10, 64, O_RDWR | O_NONBLOCK));
    const pid_t child = start([=] {
        handler_queue = queue;
        install(SIGUSR1, use_briefly, SA_RESTART);
        shared().word[0] = 1;
        long wrong = 0;
        while (shared().word[1] == 0) {
            wrong += send(theirs, "own", 3) != 0;
            wrong += take(theirs) != "3:own";
            (void)send(queue, "shared", 3);
            take(queue);
        }
        install(SIGUSR1, SIG_IGN, 0);
        OK(wrong);
        HOLDS(handled > 0);
    });
    await("the child runs", [] { return shared().word[0] == 1; });
    for (int i = 0; i < 3000; ++i) {
        kill(child, SIGUSR1);
        if (i % 8 == 0) sched_yield();
    }
    shared().word[1] = 1;
    SHOWS("exit 0", finish(child));
    OK(send(queue, "works", 9));
    while (count(queue) > 1) take(queue);
    SHOWS("10/64/0/nonblock", state(theirs));
}

static sigjmp_buf out;
static void jump(int) {
    siglongjmp(out, 1);
}

// Jumping out of a sleeping call leaves nothing behind: the queue serves the jumper and others, no message is swallowed.
CASE(signal_jump_out) {
    for (const Call call : kCalls) {
        note(kCallNames[static_cast<int>(call)]);
        const mqd_t queue = awaited(call);
        const pid_t child = start([=] {
            for (static int round = 1; round <= 20; ++round) {
                install(SIGUSR1, jump, 0);
                if (sigsetjmp(out, 1) == 0) {
                    shared().word[0] = round;
                    (void)perform(call, queue);
                    give_up("the call returned");
                }
            }
            if (sends(call)) take(queue);
            OK(send(queue, "after", 5));
            SHOWS("1/64/1/0", state(queue));
            SHOWS("5:after", take(queue));
        });
        for (int round = 1; round <= 20; ++round) {
            await("the child calls", [round] { return shared().word[0] == round; });
            await_sleep(child);
            kill(child, SIGUSR1);
        }
        SHOWS("exit 0", finish(child));
        shared().word[0] = 0;
        OK(send(queue, "open to others"));
        SHOWS("0:open to others", take(queue));
    }
}

// A signal to one sleeping thread interrupts that thread alone.
CASE(signal_one_thread) {
    const mqd_t queue = OPENS(create());
    install(SIGUSR1, count_signal, 0);
    std::string got[2];
    std::thread threads[2];
    for (int i = 0; i < 2; ++i) {
        threads[i] = start_thread([&, i] {
            shared().word[i] = thread_id();
            got[i] = take(queue);
        });
        await("the thread calls", [i] { return shared().word[i] != 0; });
        await_sleep(getpid(), shared().word[i]);
    }
    pthread_kill(threads[0].native_handle(), SIGUSR1);
    threads[0].join();
    OK(send(queue, "for the other"));
    threads[1].join();
    SHOWS("EINTR", got[0]);
    SHOWS("0:for the other", got[1]);
}

// SIGSTOP and SIGCONT alone are invisible to all four calls.
CASE(signal_stop_and_continue) {
    for (const Call call : kCalls) {
        note(kCallNames[static_cast<int>(call)]);
        const mqd_t queue = awaited(call);
        shared().word[0] = 0;
        const pid_t child = start([=] {
            shared().word[0] = 1;
            GIVES(sends(call) ? 0 : 3, perform(call, queue));
        });
        await("the child calls", [] { return shared().word[0] == 1; });
        for (int i = 0; i < 3; ++i) {
            await_sleep(child);
            int status = 0;
            kill(child, SIGSTOP);
            if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status)) give_up("not stopped");
            kill(child, SIGCONT);
        }
        await_sleep(child);
        if (sends(call))
            SHOWS("0:full", take(queue));
        else
            OK(send(queue, "abc"));
        SHOWS("exit 0", finish(child));
    }
}

// A stopped sleeping sender is passed over as well: the next one comes in, its own message later.
CASE(signal_stopped_sender) {
    const mqd_t queue = OPENS(create('a', 1, 64));
    OK(send(queue, "full"));
    pid_t child[2];
    for (int i = 0; i < 2; ++i) {
        child[i] = start([=] {
            shared().word[i] = 1;
            OK(send(queue, i == 0 ? "stopped" : "next"));
        });
        await("the child calls", [i] { return shared().word[i] == 1; });
        await_sleep(child[i]);
    }
    int status = 0;
    kill(child[0], SIGSTOP);
    GIVES(1, waitpid(child[0], &status, WUNTRACED) == child[0] && WIFSTOPPED(status));
    SHOWS("0:full", take(queue));
    SHOWS("exit 0", finish(child[1]));
    SHOWS("0:next", take(queue));
    SHOWS("1/64/0/0", state(queue));
    kill(child[0], SIGCONT);
    SHOWS("exit 0", finish(child[0]));
    SHOWS("0:stopped", take(queue));
}
