// Sleeping in semop: who is let through and in which order, counts of sleepers, removal, time-outs, signals, deaths.
// EIDRM EINTR EAGAIN EFAULT; GETNCNT GETZCNT GETPID.
#include <thread>
#include <vector>

#include "sem_cases.hpp"

namespace {
void on_signal(int) { ++shared().word[50]; }
void catch_signal(int sig, int flags) {
    struct sigaction act{};
    act.sa_handler = &on_signal;
    act.sa_flags = flags;
    sigaction(sig, &act, nullptr);
}
}  // namespace

CASE(sem_wait_post) {
    const int id = make(1);
    const pid_t child = sleeper(0, id, {{0, -1, 0}});
    SHOWS("1/0", waiters(id, 0));
    OK(op(id, 0, 1));
    OK(semctl(id, 0, GETVAL));  // handed over, at once
    SHOWS("0/0", waiters(id, 0));
    SHOWS("ok", result_of(0));
    SHOWS("exit 0", finish(child));
    HOLDS(semctl(id, 0, GETPID) == child);
    OK(semctl(id, 0, IPC_RMID));
}

// Two ask for one each, a third for two: those who can go, oldest first, past those who cannot.
CASE(sem_wait_order) {
    const int id = make(1);
    const pid_t a = sleeper(0, id, {{0, -2, 0}}), b = sleeper(1, id, {{0, -1, 0}}), c = sleeper(2, id, {{0, -1, 0}});
    SHOWS("3/0", waiters(id, 0));
    OK(op(id, 0, 1));
    SHOWS("ok", result_of(1));
    SHOWS("2/0", waiters(id, 0));
    OK(op(id, 0, 1));
    SHOWS("ok", result_of(2));
    OK(op(id, 0, 1));
    SHOWS("1/0", waiters(id, 0));
    OK(op(id, 0, 1));
    SHOWS("ok", result_of(0));
    for (const pid_t each : {a, b, c}) SHOWS("exit 0", finish(each));
    OK(semctl(id, 0, GETVAL));
    OK(semctl(id, 0, IPC_RMID));
}

CASE(sem_wait_zero) {
    const int id = make(2);
    OK(op(id, 0, 2));
    const pid_t a = sleeper(0, id, {{0, 0, 0}}), b = sleeper(1, id, {{0, 0, 0}}), c = sleeper(2, id, {{0, 0, 0}, {1, 1, 0}});
    SHOWS("0/3", waiters(id, 0));
    OK(op(id, 0, -1));
    SHOWS("0/3", waiters(id, 0));
    OK(op(id, 0, -1));
    for (int slot = 0; slot < 3; ++slot) SHOWS("ok", result_of(slot));
    for (const pid_t each : {a, b, c}) SHOWS("exit 0", finish(each));
    SHOWS("0 1", state_of(id, 2));
    OK(semctl(id, 0, IPC_RMID));
}

// A vector sleeps as a whole; counted where it is blocked; a partial success takes nothing.
CASE(sem_wait_vector) {
    const int id = make(3);
    const pid_t a = sleeper(0, id, {{0, -1, 0}, {1, -1, 0}, {2, 0, 0}});
    SHOWS("1/0", waiters(id, 0));
    SHOWS("0/0", waiters(id, 1));
    OK(op(id, 0, 1));
    SHOWS("0/0", waiters(id, 0));
    SHOWS("1/0", waiters(id, 1));
    SHOWS("1 0 0", state_of(id, 3));
    OK(op(id, 2, 1));
    OK(op(id, 1, 1));
    SHOWS("0/1", waiters(id, 2));
    SHOWS("1 1 1", state_of(id, 3));
    OK(op(id, 0, -1));
    SHOWS("1/0", waiters(id, 0));
    OK(op(id, 2, -1));
    OK(op(id, 0, 1));
    SHOWS("ok", result_of(0));
    SHOWS("exit 0", finish(a));
    SHOWS("0 0 0", state_of(id, 3));
    OK(semctl(id, 0, IPC_RMID));
}

// A sleeping vector whose blocking operation becomes one with IPC_NOWAIT fails then; one that would overflow as well.
CASE(sem_wait_late_failure) {
    const int id = make(2);
    const pid_t a = sleeper(0, id, {{0, -1, 0}, {1, -1, IPC_NOWAIT}});
    OK(op(id, 0, 1));
    SHOWS("EAGAIN", result_of(0));
    SHOWS("exit 0", finish(a));
    SHOWS("1 0", state_of(id, 2));
    OK(semctl(id, 1, SETVAL, 32767));
    const pid_t b = sleeper(1, id, {{0, -2, 0}, {1, 1, 0}});
    OK(op(id, 0, 1));
    SHOWS("ERANGE", result_of(1));
    SHOWS("exit 0", finish(b));
    SHOWS("2 32767", state_of(id, 2));
    OK(semctl(id, 0, IPC_RMID));
}

// One post lets a chain through: each who goes makes it possible for the next.
CASE(sem_wait_chain) {
    const int id = make(4);
    const pid_t a = sleeper(0, id, {{2, -1, 0}, {3, 1, 0}}), b = sleeper(1, id, {{1, -1, 0}, {2, 1, 0}}), c = sleeper(2, id, {{0, -1, 0}, {1, 1, 0}});
    OK(op(id, 0, 1));
    for (int slot = 0; slot < 3; ++slot) SHOWS("ok", result_of(slot));
    SHOWS("0 0 0 1", state_of(id, 4));
    for (const pid_t each : {a, b, c}) SHOWS("exit 0", finish(each));
    OK(semctl(id, 0, IPC_RMID));
}

CASE(sem_wait_setval_setall) {
    const int id = make(2);
    const pid_t a = sleeper(0, id, {{0, -3, 0}});
    OK(semctl(id, 0, SETVAL, 2));
    SHOWS("1/0", waiters(id, 0));
    OK(semctl(id, 0, SETVAL, 4));
    SHOWS("ok", result_of(0));
    SHOWS("exit 0", finish(a));
    GIVES(1, semctl(id, 0, GETVAL));
    const pid_t b = sleeper(1, id, {{0, 0, 0}, {1, -1, 0}});
    unsigned short values[2] = {0, 1};
    OK(semctl(id, 0, SETALL, values));
    SHOWS("ok", result_of(1));
    SHOWS("exit 0", finish(b));
    SHOWS("0 0", state_of(id, 2));
    OK(semctl(id, 0, IPC_RMID));
}

CASE(sem_wait_removal) {
    const int id = make(2);
    const pid_t a = sleeper(0, id, {{0, -1, 0}}), b = sleeper(1, id, {{0, -1, 0}, {1, -1, 0}}), c = sleeper(2, id, {{1, -1, SEM_UNDO}});
    OK(semctl(id, 0, IPC_RMID));
    for (int slot = 0; slot < 3; ++slot) SHOWS("EIDRM", result_of(slot));
    for (const pid_t each : {a, b, c}) SHOWS("exit 0", finish(each));
    FAILS(EINVAL, op(id, 0, 1));
}

CASE(sem_wait_timeout) {
    const int id = make(1);
    sembuf one{0, -1, 0};
    const timespec soon{0, 20'000'000};
    timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    FAILS(EAGAIN, semtimedop(id, &one, 1, &soon));
    clock_gettime(CLOCK_MONOTONIC, &after);
    HOLDS((after.tv_sec - before.tv_sec) * 1'000'000'000L + after.tv_nsec - before.tv_nsec >= 20'000'000);
    SHOWS("0/0", waiters(id, 0));
    const timespec endless{INT64_MAX / 2, 0};
    const pid_t child = start([=] {
        sembuf mine{0, -1, 0};
        shared().word[0] = 1;
        OK(semtimedop(id, &mine, 1, &endless));
    });
    await_sleep(child);
    OK(op(id, 0, 1));
    SHOWS("exit 0", finish(child));
    OK(semctl(id, 0, IPC_RMID));
}

// Never restarted, whatever the handler's flags; ignored signals do not interrupt.
CASE(sem_wait_signal) {
    const int id = make(1);
    for (const int flags : {0, SA_RESTART}) {
        for (const bool timed : {false, true}) {
            shared().word[0] = 0;
            shared().word[50] = 0;
            const pid_t child = start([=] {
                catch_signal(SIGUSR1, flags);
                signal(SIGUSR2, SIG_IGN);
                sembuf one{0, -1, 0};
                const timespec long_time{60, 0};
                shared().word[0] = 1;
                FAILS(EINTR, timed ? semtimedop(id, &one, 1, &long_time) : semop(id, &one, 1));
                GIVES(1, shared().word[50].load());
            });
            await("the child is about to call", [] { return shared().word[0] == 1; });
            await_sleep(child);
            kill(child, SIGUSR2);
            await_sleep(child);
            SHOWS("1/0", waiters(id, 0));
            kill(child, SIGUSR1);
            SHOWS("exit 0", finish(child));
            SHOWS("0/0", waiters(id, 0));
        }
    }
    OK(semctl(id, 0, IPC_RMID));
}

// A handler that operates on the very semaphore that its thread waits for.
static int handler_set;
static void post_in_handler(int) { (void)op(handler_set, 0, 1); }
CASE(sem_wait_handler_posts) {
    const int id = make(1);
    const pid_t child = start([=] {
        handler_set = id;
        signal(SIGUSR1, &post_in_handler);
        shared().word[0] = 1;
        FAILS(EINTR, op(id, 0, -1));
        GIVES(1, semctl(id, 0, GETVAL));
        OK(op(id, 0, -1));
    });
    await("the child is about to call", [] { return shared().word[0] == 1; });
    await_sleep(child);
    kill(child, SIGUSR1);
    SHOWS("exit 0", finish(child));
    OK(semctl(id, 0, GETVAL));
    OK(semctl(id, 0, IPC_RMID));
}

// The killed are forgotten: not counted, and no post is lost in them.
CASE(sem_wait_killed) {
    const int id = make(1);
    const pid_t a = sleeper(0, id, {{0, -1, 0}}), b = sleeper(1, id, {{0, -1, 0}}), c = sleeper(2, id, {{0, -1, SEM_UNDO}});
    kill(a, SIGKILL);
    SHOWS("signal KILL", finish(a));
    SHOWS("2/0", waiters(id, 0));
    OK(op(id, 0, 1));
    SHOWS("ok", result_of(1));
    SHOWS("exit 0", finish(b));
    kill(c, SIGKILL);
    SHOWS("signal KILL", finish(c));
    SHOWS("0/0", waiters(id, 0));
    OK(op(id, 0, 1));
    GIVES(1, semctl(id, 0, GETVAL));
    OK(semctl(id, 0, IPC_RMID));
}

// Threads of one process and several processes, one semaphore as a lock: nobody is lost, the sum is right.
CASE(sem_contended) {
    const int id = make(3);
    OK(semctl(id, 0, SETVAL, 1));
    std::vector<pid_t> children;
    for (int p = 0; p < 4; ++p)
        children.push_back(start([=] {
            std::vector<std::thread> threads;
            for (int t = 0; t < 2; ++t)
                threads.emplace_back([=] {
                    for (int i = 0; i < 400; ++i) {
                        const int undo = i % 3 == 0 ? SEM_UNDO : 0;
                        if (i % 5 == 0) (void)ops(id, {{0, -1, 0}, {1, 1, 0}});
                        else (void)op(id, 0, -1, undo);
                        const long seen = shared().number[0];
                        if (i % 50 == 0) sched_yield();
                        shared().number[0] = seen + 1;
                        if (i % 5 == 0) (void)ops(id, {{1, -1, 0}, {0, 1, 0}});
                        else (void)op(id, 0, 1, undo);
                    }
                });
            for (std::thread& each : threads) each.join();
        }));
    for (const pid_t each : children) SHOWS("exit 0", finish(each));
    GIVES(4 * 2 * 400, shared().number[0].load());
    SHOWS("1 0 0", state_of(id, 3));
    SHOWS("0/0", waiters(id, 0));
    OK(semctl(id, 0, IPC_RMID));
}

// A producer and consumers with posts of several at once: every unit is taken once.
CASE(sem_many_posts) {
    const int id = make(2);
    std::vector<pid_t> children;
    for (int p = 0; p < 5; ++p)
        children.push_back(start([=] {
            for (int i = 0; i < 300; ++i) {
                if (op(id, 0, -1) != 0) break;
                ++shared().word[3];
            }
        }));
    long posted = 0;
    while (posted < 5 * 300) {
        const int batch = posted + 7 <= 5 * 300 ? 7 : static_cast<int>(5 * 300 - posted);
        if (op(id, 0, batch) != 0) break;
        posted += batch;
    }
    for (const pid_t each : children) SHOWS("exit 0", finish(each));
    GIVES(1500, shared().word[3].load());
    OK(semctl(id, 0, GETVAL));
    OK(semctl(id, 0, IPC_RMID));
}
