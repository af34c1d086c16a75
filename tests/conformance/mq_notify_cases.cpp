// mq_notify by SIGEV_NONE and SIGEV_SIGNAL: who may register, when it fires, what ends it. (Threads: mq_notify_thread_cases.cpp)
#include <sys/stat.h>

#include "case.hpp"

namespace {

volatile sig_atomic_t fired;
siginfo_t last;

void on_message(int, siginfo_t* info, void*) {
    last = *info;
    fired = fired + 1;
}

sigevent by_signal(int signal, int value = 0) {
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = signal;
    event.sigev_value.sival_int = value;
    struct sigaction action {};
    action.sa_sigaction = on_message;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigaction(signal, &action, nullptr);
    return event;
}

sigevent silent() {
    sigevent event{};
    event.sigev_notify = SIGEV_NONE;
    return event;
}

std::string fired_as() {
    if (fired == 0) return "no signal";
    const std::string text = std::to_string(fired) + " signal(s), code " +
                             (last.si_code == SI_MESGQ ? "SI_MESGQ" : std::to_string(last.si_code)) + ", value " +
                             std::to_string(last.si_value.sival_int) +
                             (last.si_pid == getpid()    ? ", own pid"
                              : last.si_pid == getppid() ? ", parent's pid"
                                                         : ", another pid") +
                             ", uid " + std::to_string(last.si_uid) + ", errno " + std::to_string(last.si_errno) +
                             (last.si_signo == SIGUSR1    ? ", SIGUSR1"
                              : last.si_signo >= SIGRTMIN ? ", a real-time signal"
                                                          : ", another signal");
    fired = 0;
    return text;
}

}  // namespace

// One's own send to an empty queue: the signal has arrived when mq_send returns, with SI_MESGQ, pid, uid and the value.
CASE(notify_signal_self) {
    const mqd_t queue = OPENS(create());
    const std::string uid = std::to_string(getuid());
    sigevent event = by_signal(SIGUSR1, 4711);
    OK(mq_notify(queue, &event));
    SHOWS("no signal", fired_as());
    OK(send(queue, "x", 1));
    HOLDS(fired_as() == "1 signal(s), code SI_MESGQ, value 4711, own pid, uid " + uid + ", errno 0, SIGUSR1");
    SHOWS("4/64/1/0", state(queue));
    event = by_signal(SIGRTMIN + 3, -7);
    SHOWS("1:x", take(queue));
    OK(mq_notify(queue, &event));
    OK(send(queue, "y"));
    HOLDS(fired_as() == "1 signal(s), code SI_MESGQ, value -7, own pid, uid " + uid + ", errno 0, a real-time signal");
}

// A pointer as the value comes through whole.
CASE(notify_signal_pointer_value) {
    const mqd_t queue = OPENS(create());
    sigevent event = by_signal(SIGUSR2);
    event.sigev_value.sival_ptr = &event;
    OK(mq_notify(queue, &event));
    OK(send(queue, "x"));
    HOLDS(fired == 1 && last.si_value.sival_ptr == &event);
}

// Consumed once: further messages, also to an empty queue, are silent until it is registered again.
CASE(notify_once) {
    const mqd_t queue = OPENS(create());
    sigevent event = by_signal(SIGUSR1);
    OK(mq_notify(queue, &event));
    OK(send(queue, "1"));
    OK(fired == 1 ? 0 : -1);
    OK(send(queue, "2"));
    SHOWS("0:1", take(queue));
    SHOWS("0:2", take(queue));
    OK(send(queue, "3"));
    GIVES(1, fired);
    SHOWS("0:3", take(queue));
    OK(mq_notify(queue, &event));
    OK(send(queue, "4"));
    GIVES(2, fired);
}

// Only an arrival at an empty queue counts: none at registration, none while messages wait; it stays registered.
CASE(notify_not_while_messages_wait) {
    const mqd_t queue = OPENS(create());
    OK(send(queue, "1"));
    sigevent event = by_signal(SIGUSR1);
    OK(mq_notify(queue, &event));
    OK(send(queue, "2"));
    OK(send(queue, "3", 9));
    GIVES(0, fired);
    FAILS(EBUSY, mq_notify(queue, &event));
    for (int i = 0; i < 3; ++i) take(queue);
    GIVES(0, fired);
    OK(send(queue, "4"));
    GIVES(1, fired);
    OK(mq_notify(queue, &event));
}

// Not while a receiver sleeps: it gets the message, the registration stays.
CASE(notify_not_when_receiver_sleeps) {
    const mqd_t queue = OPENS(create());
    sigevent event = by_signal(SIGUSR1);
    OK(mq_notify(queue, &event));
    const pid_t child = start([queue] {
        shared().word[0] = 1;
        SHOWS("0:for the sleeper", take(queue));
    });
    await("the receiver calls", [] { return shared().word[0] == 1; });
    await_sleep(child);
    OK(send(queue, "for the sleeper"));
    SHOWS("exit 0", finish(child));
    GIVES(0, fired);
    FAILS(EBUSY, mq_notify(queue, &event));
    OK(send(queue, "for nobody"));
    GIVES(1, fired);
}

// A sleeping sender that comes in when the queue's only message is taken does not fire it, although the queue was empty in
// between.
CASE(notify_not_by_sleeping_sender) {
    const mqd_t queue = OPENS(create('a', 1, 16));
    OK(send(queue, "1"));
    sigevent event = by_signal(SIGUSR1);
    OK(mq_notify(queue, &event));
    const pid_t child = start([queue] {
        shared().word[0] = 1;
        OK(send(queue, "2"));
    });
    await("the sender calls", [] { return shared().word[0] == 1; });
    await_sleep(child);
    SHOWS("0:1", take(queue));
    SHOWS("exit 0", finish(child));
    GIVES(0, fired);
    FAILS(EBUSY, mq_notify(queue, &event));
    SHOWS("0:2", take(queue));
    OK(send(queue, "3"));
    GIVES(1, fired);
}

// EBUSY for whoever registers second: the same process, a second descriptor, a forked child, whatever the form.
CASE(notify_busy) {
    const mqd_t queue = OPENS(create());
    const mqd_t second = OPENS(mq_open(name(), O_RDONLY));
    sigevent event = by_signal(SIGUSR1), none = silent();
    OK(mq_notify(queue, &event));
    FAILS(EBUSY, mq_notify(queue, &event));
    FAILS(EBUSY, mq_notify(second, &event));
    FAILS(EBUSY, mq_notify(queue, &none));
    const pid_t child = start([&] {
        FAILS(EBUSY, mq_notify(queue, &event));
        FAILS(EBUSY, mq_notify(second, &none));
        OK(mq_notify(queue, nullptr));  // not its own: succeeds, changes nothing
        FAILS(EBUSY, mq_notify(queue, &event));
        OK(mq_close(queue));  // nor does closing in the child
    });
    SHOWS("exit 0", finish(child));
    FAILS(EBUSY, mq_notify(queue, &none));
    OK(send(queue, "x"));
    GIVES(1, fired);
}

// SIGEV_NONE registers (EBUSY for others), is used up by an arrival, and says nothing.
CASE(notify_none) {
    const mqd_t queue = OPENS(create());
    sigevent none = silent();
    OK(mq_notify(queue, &none));
    FAILS(EBUSY, mq_notify(queue, &none));
    OK(send(queue, "x"));
    OK(mq_notify(queue, &none));
    FAILS(EBUSY, mq_notify(queue, &none));
}

// NULL deregisters; doing so without a registration succeeds.
CASE(notify_deregister) {
    const mqd_t queue = OPENS(create());
    sigevent event = by_signal(SIGUSR1);
    OK(mq_notify(queue, nullptr));
    OK(mq_notify(queue, &event));
    OK(mq_notify(queue, nullptr));
    OK(send(queue, "x"));
    GIVES(0, fired);
    OK(mq_notify(queue, nullptr));
    OK(mq_notify(queue, &event));
    FAILS(EBUSY, mq_notify(queue, &event));
}

// Closing any descriptor of the queue in the registering process deregisters: the one used, a second open, a dup.
CASE(notify_ends_with_close) {
    const mqd_t queue = OPENS(create());
    sigevent event = by_signal(SIGUSR1), none = silent();
    const auto registered = [&] {  // asked by somebody else
        const pid_t child = start([&] { _exit(mq_notify(queue, &none) == 0 ? 0 : errno); });
        return finish(child) == "exit " + std::to_string(EBUSY);
    };
    mqd_t other = OPENS(mq_open(name(), O_RDWR));
    OK(mq_notify(other, &event));
    HOLDS(registered());
    OK(mq_close(other));
    HOLDS(!registered());
    other = OPENS(mq_open(name(), O_RDONLY));
    OK(mq_notify(queue, &event));
    OK(close(other));
    HOLDS(!registered());
    other = OPENS(dup(queue));
    OK(mq_notify(queue, &event));
    OK(close(other));
    HOLDS(!registered());
    other = OPENS(dup(queue));
    OK(mq_notify(queue, &event));
    GIVES(other, dup2(0, other));
    HOLDS(!registered());
    OK(send(queue, "x"));
    GIVES(0, fired);
}

// A signal from another process carries the sender's pid and uid; a blocked one stays pending; sigwaitinfo takes it.
CASE(notify_from_another) {
    const mqd_t queue = OPENS(create());
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &mask, nullptr);
    sigevent event = by_signal(SIGRTMIN, 77);
    OK(mq_notify(queue, &event));
    const pid_t child = start([queue] { OK(send(queue, "x")); });
    SHOWS("exit 0", finish(child));
    sigset_t pending;
    OK(sigpending(&pending));
    HOLDS(sigismember(&pending, SIGRTMIN) == 1);
    siginfo_t info{};
    HOLDS(sigwaitinfo(&mask, &info) == SIGRTMIN);
    HOLDS(info.si_code == SI_MESGQ && info.si_pid == child && info.si_uid == getuid() && info.si_value.sival_int == 77);
}

// A sender of another uid notifies as well, without the right to send signals; si_uid is the sender's.
CASE(notify_from_another_user) {
    if (geteuid() != 0) skip("needs root to become another user");
    umask(0);
    const mqd_t queue = OPENS(create('a', 4, 64, O_RDWR, 0666));
    sigevent event = by_signal(SIGUSR1, 5);
    const std::string own = "1 signal(s), code SI_MESGQ, value 5, ";
    OK(mq_notify(queue, &event));
    const pid_t child = start([queue] {
        become_nobody();
        OK(send(queue, "x"));
    });
    SHOWS("exit 0", finish(child));
    await("the signal arrives", [] { return fired == 1; });
    HOLDS(last.si_code == SI_MESGQ && last.si_pid == child && last.si_uid == 65534 && last.si_value.sival_int == 5);
    SHOWS("0:x", take(queue));
    // and the other way round: root notifies nobody
    const pid_t registrant = start([queue] {
        become_nobody();
        fired = 0;  // inherited from the first half
        sigevent mine = by_signal(SIGUSR1, 6);
        OK(mq_notify(queue, &mine));
        shared().word[0] = 1;
        await("the signal arrives", [] { return fired == 1; });
        GIVES(SI_MESGQ, last.si_code);
        GIVES(0, static_cast<long>(last.si_uid));
        HOLDS(last.si_pid == getppid());
    });
    await("the child registered", [] { return shared().word[0] == 1; });
    FAILS(EBUSY, mq_notify(queue, &event));
    OK(send(queue, "y"));
    SHOWS("exit 0", finish(registrant));
}

// EINVAL for a form or a signal that is none, before EBADF and EBUSY. Signal 0 registers and sends nothing.
CASE(notify_invalid) {
    const mqd_t queue = OPENS(create());
    sigevent event{};
    for (const int form : {3, 4, -1, 4711}) {
        event = sigevent{};
        event.sigev_notify = form;
        event.sigev_signo = SIGUSR1;
        FAILS(EINVAL, mq_notify(queue, &event));
        FAILS(EINVAL, mq_notify(-1, &event));
    }
    for (const int signal : {-1, 65, 1000, -2147483647}) {
        event = sigevent{};
        event.sigev_notify = SIGEV_SIGNAL;
        event.sigev_signo = signal;
        FAILS(EINVAL, mq_notify(queue, &event));
        FAILS(EINVAL, mq_notify(-1, &event));
    }
    for (const int signal : {32, 33, 64, SIGKILL}) {  // the C library's own two included
        event.sigev_signo = signal;
        OK(mq_notify(queue, &event));
        OK(mq_notify(queue, nullptr));
    }
    event.sigev_signo = 0;
    OK(mq_notify(queue, &event));
    FAILS(EBUSY, mq_notify(queue, &event));
    OK(send(queue, "x"));
    OK(mq_notify(queue, &event));
    event.sigev_notify = 4711;
    FAILS(EINVAL, mq_notify(queue, &event));  // before EBUSY
    event.sigev_notify = SIGEV_NONE;
    event.sigev_signo = 4711;
    FAILS(EBUSY, mq_notify(queue, &event));  // the signal does not matter to SIGEV_NONE
}
