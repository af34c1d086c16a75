// mq_notify: what ends a registration besides a message: exit, kill, exec. And the usual pattern of a handler that renews it.
#include <utility>

#include "case.hpp"

static sigevent silent() {
    sigevent event{};
    event.sigev_notify = SIGEV_NONE;
    return event;
}

// The registrant's end deregisters, by exit and by kill -9, though others hold the queue still.
CASE(notify_ends_with_process) {
    const mqd_t queue = OPENS(create());
    for (const bool killed : {false, true}) {
        shared().word[0] = 0;
        const pid_t child = start([=] {
            sigevent none = silent();
            OK(mq_notify(queue, &none));
            shared().word[0] = 1;
            if (killed)
                while (true) pause();
        });
        await("the child registered", [] { return shared().word[0] == 1; });
        if (killed) {
            sigevent none = silent();
            FAILS(EBUSY, mq_notify(queue, &none));
            kill(child, SIGKILL);
        }
        SHOWS(killed ? "signal KILL" : "exit 0", finish(child));
        sigevent none = silent();
        OK(mq_notify(queue, &none));
        OK(mq_notify(queue, nullptr));
    }
}

// A zombie is dead: its registration is gone before it is reaped.
CASE(notify_ends_with_zombie) {
    const mqd_t queue = OPENS(create());
    const pid_t child = start([=] {
        sigevent none = silent();
        OK(mq_notify(queue, &none));
    });
    siginfo_t info{};
    OK(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT));
    sigevent none = silent();
    OK(mq_notify(queue, &none));
    SHOWS("exit 0", finish(child));
}

HELPER(pauses) {
    shared().word[0] = 2;
    while (shared().word[1] == 0) usleep(100);
}

// A registrant that executes the helper, with the queue kept open or not; the helper runs when this returns.
static pid_t registrant_over_exec(mqd_t queue, bool kept) {
    shared().word[0] = shared().word[1] = 0;
    const pid_t child = start([=] {
        if (kept) fcntl(queue, F_SETFD, 0);
        sigevent event{};
        event.sigev_notify = SIGEV_SIGNAL;
        event.sigev_signo = SIGUSR1;  // would kill the new image
        OK(mq_notify(queue, &event));
        shared().word[0] = 1;
        reexec("pauses", 0);
    });
    await("the new image runs", [] { return shared().word[0] == 2; });
    return child;
}

// exec closes the queue and so deregisters.
CASE(notify_over_exec) {
    const mqd_t queue = OPENS(create());
    const pid_t child = registrant_over_exec(queue, false);
    sigevent none = silent();
    OK(mq_notify(queue, &none));
    OK(send(queue, "x"));
    SHOWS("0:x", take(queue));
    shared().word[1] = 1;
    SHOWS("exit 0", finish(child));
    OK(mq_notify(queue, &none));
    OK(mq_notify(queue, nullptr));
}

// If the descriptor is kept over exec the registration stays on Linux and is used up by an arrival, but no signal is sent: the
// new image knows nothing of it. Muster ends it there and then (a deviation); it sends no signal either.
CASE(notify_kept_over_exec) {
    const mqd_t queue = OPENS(create());
    const pid_t child = registrant_over_exec(queue, true);
    sigevent none = silent();
    DEVIATES(EBUSY, 0, mq_notify(queue, &none) == 0 ? 0 : std::exchange(errno, kUntouched));
    OK(send(queue, "x"));
    SHOWS("0:x", take(queue));
    shared().word[1] = 1;
    SHOWS("exit 0", finish(child));
    OK(mq_notify(queue, &none));
    OK(mq_notify(queue, nullptr));
}

// The handler may register again and receive: the usual pattern, over many messages, loses none.
static mqd_t handlers_queue;
static volatile sig_atomic_t handled;
static void drain(int) {
    const int kept = errno;
    char buffer[64];
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR2;
    mq_notify(handlers_queue, &event);
    while (mq_receive(handlers_queue, buffer, sizeof buffer, nullptr) >= 0) handled = handled + 1;
    errno = kept;
}
CASE(notify_again_in_handler) {
    handlers_queue = OPENS(create('a', 4, 64, O_RDWR | O_NONBLOCK));
    const mqd_t sending = OPENS(mq_open(name(), O_WRONLY));
    signal(SIGUSR2, drain);
    const pid_t child = start([sending] {
        await("the parent is ready", [] { return shared().word[0] == 1; });
        for (int i = 0; i < 2000; ++i)
            if (send(sending, "x") != 0) give_up("send: " + error_name(errno));
    });
    drain(0);
    shared().word[0] = 1;
    SHOWS("exit 0", finish(child));
    await("all are handled", [] { return handled == 2000; });
    note("all handled");
}
