// SEM_UNDO: the process's, applied at its end however it comes, clamped, cleared by SETVAL and SETALL, not inherited, kept over exec.
#include <pthread.h>
#include <sys/resource.h>

#include <thread>

#include "sem_cases.hpp"

CASE(sem_undo_exit) {
    const int id = make(2);
    OK(semctl(id, 0, SETVAL, 5));
    const pid_t child = start([=] {
        OK(op(id, 0, -2, SEM_UNDO));
        OK(op(id, 1, 3, SEM_UNDO));
        OK(op(id, 0, -1));
        SHOWS("2 3", state_of(id, 2));
    });
    SHOWS("exit 0", finish(child));
    SHOWS("4 0", state_of(id, 2));
    HOLDS(semctl(id, 0, GETPID) == child);
    OK(semctl(id, 0, IPC_RMID));
}

CASE(sem_undo_kill_lets_sleeper_through) {
    const int id = make(1);
    OK(semctl(id, 0, SETVAL, 1));
    for (const int sig : {SIGKILL, SIGTERM, SIGSEGV}) {
        shared().word[5] = 0;
        const pid_t holder = start([=] {
            rlimit none{0, 0};
            setrlimit(RLIMIT_CORE, &none);
            OK(op(id, 0, -1, SEM_UNDO));
            shared().word[5] = 1;
            for (;;) pause();
        });
        await("the holder holds", [] { return shared().word[5] == 1; });
        const pid_t a = sleeper(0, id, {{0, -1, SEM_UNDO}}), b = sleeper(1, id, {{0, -1, SEM_UNDO}});
        SHOWS("2/0", waiters(id, 0));
        kill(holder, sig);
        SHOWS("ok", result_of(0));
        SHOWS("exit 0", finish(a));
        SHOWS("ok", result_of(1));
        SHOWS("exit 0", finish(b));
        (void)finish(holder);
        GIVES(1, semctl(id, 0, GETVAL));
    }
    OK(semctl(id, 0, IPC_RMID));
}

// A chain of holders that are all killed: each death lets the next through, and the sum is right at the end.
CASE(sem_undo_kill_chain) {
    const int id = make(1);
    OK(semctl(id, 0, SETVAL, 1));
    pid_t children[6];
    for (int i = 0; i < 6; ++i) {
        children[i] = start([=] {
            shared().word[i] = 1;
            if (op(id, 0, -1, SEM_UNDO) != 0) return;
            shared().word[i] = 2;
            for (;;) pause();
        });
        if (i == 0) await("the first holds", [] { return shared().word[0] == 2; });
        else {
            await("it is about to call", [i] { return shared().word[i] >= 1; });
            await_sleep(children[i]);
        }
    }
    SHOWS("5/0", waiters(id, 0));
    for (int i = 0; i < 6; ++i) {
        await("it holds", [i] { return shared().word[i] == 2; });
        kill(children[i], SIGKILL);
        SHOWS("signal KILL", finish(children[i]));
    }
    GIVES(1, semctl(id, 0, GETVAL));
    OK(semctl(id, 0, IPC_RMID));
}

CASE(sem_undo_clamped) {
    const int id = make(2);
    const pid_t child = start([=] {
        OK(op(id, 0, 3, SEM_UNDO));
        OK(op(id, 0, -2));
        OK(semctl(id, 1, SETVAL, 10));
        OK(op(id, 1, -10, SEM_UNDO));
    });
    SHOWS("exit 0", finish(child));
    SHOWS("0 10", state_of(id, 2));
    const pid_t high = start([=] {
        OK(op(id, 1, -10, SEM_UNDO));
        OK(op(id, 1, 32767));
    });
    SHOWS("exit 0", finish(high));
    GIVES(32767, semctl(id, 1, GETVAL));
    OK(semctl(id, 0, IPC_RMID));
}

CASE(sem_undo_cleared) {
    const int id = make(2);
    const pid_t child = start([=] {
        OK(op(id, 0, 5, SEM_UNDO));
        OK(op(id, 1, 5, SEM_UNDO));
        OK(semctl(id, 0, SETVAL, 7));
    });
    SHOWS("exit 0", finish(child));
    SHOWS("7 0", state_of(id, 2));
    const pid_t other = start([=] {
        OK(op(id, 0, -5, SEM_UNDO));
        unsigned short values[2] = {1, 2};
        OK(semctl(id, 0, SETALL, values));
        OK(op(id, 1, 1, SEM_UNDO));
    });
    SHOWS("exit 0", finish(other));
    SHOWS("1 2", state_of(id, 2));
    OK(semctl(id, 0, IPC_RMID));
}

CASE(sem_undo_range) {
    const int id = make(1);
    const pid_t child = start([=] {
        OK(op(id, 0, 32767, SEM_UNDO));
        OK(op(id, 0, -32767));
        OK(op(id, 0, 1, SEM_UNDO));
        FAILS(ERANGE, op(id, 0, 1, SEM_UNDO));
        OK(op(id, 0, 1));
        OK(op(id, 0, -2, SEM_UNDO));
        FAILS(EAGAIN, ops(id, {{0, 1, SEM_UNDO}, {0, -3, SEM_UNDO | IPC_NOWAIT}}));
        OK(semctl(id, 0, GETVAL));
    });
    SHOWS("exit 0", finish(child));
    OK(semctl(id, 0, GETVAL));
    OK(semctl(id, 0, IPC_RMID));
}

// A forked child has none of its parent's, and the parent keeps its own.
CASE(sem_undo_fork) {
    const int id = make(1);
    OK(semctl(id, 0, SETVAL, 10));
    const pid_t parent = start([=] {
        OK(op(id, 0, -3, SEM_UNDO));
        const pid_t child = start([=] { OK(op(id, 0, -1, SEM_UNDO)); });
        SHOWS("exit 0", finish(child));
        GIVES(7, semctl(id, 0, GETVAL));
    });
    SHOWS("exit 0", finish(parent));
    GIVES(10, semctl(id, 0, GETVAL));
    OK(semctl(id, 0, IPC_RMID));
}

// The process's, not the thread's: also the one whose first operation was made by a thread that is gone.
CASE(sem_undo_threads) {
    const int id = make(1);
    OK(semctl(id, 0, SETVAL, 2));
    const pid_t child = start([=] {
        std::thread([=] { OK(op(id, 0, -1, SEM_UNDO)); }).join();
        GIVES(1, semctl(id, 0, GETVAL));
        std::thread([=] { OK(op(id, 0, -1, SEM_UNDO)); }).join();
        OK(semctl(id, 0, GETVAL));
        shared().word[0] = 1;
        for (;;) pause();
    });
    await("it holds", [] { return shared().word[0] == 1; });
    const pid_t waiter = sleeper(1, id, {{0, -2, 0}});
    OK(semctl(id, 0, GETVAL));
    kill(child, SIGKILL);
    SHOWS("signal KILL", finish(child));
    SHOWS("ok", result_of(1));
    SHOWS("exit 0", finish(waiter));
    OK(semctl(id, 0, IPC_RMID));
}

HELPER(sem_undo_after_exec) {
    const int id = helper_argument();
    OK(semctl(id, 0, GETVAL));
    OK(op(id, 0, 1, SEM_UNDO));
    OK(op(id, 0, -1, SEM_UNDO));
    shared().word[0] = 1;
    for (;;) pause();
}
HELPER(sem_undo_exec_only) {
    shared().word[0] = 1;
    for (;;) pause();
}

CASE(sem_undo_exec) {
    const int id = make(1);
    for (const char* helper : {"sem_undo_after_exec", "sem_undo_exec_only"}) {
        OK(semctl(id, 0, SETVAL, 1));
        shared().word[0] = 0;
        shared().word[2] = 0;
        const pid_t child = start([=] {
            OK(op(id, 0, -1, SEM_UNDO));
            shared().word[2] = 1;
            await("somebody waits", [] { return shared().word[2] == 2; });
            reexec(helper, id);
        });
        await("the child holds", [] { return shared().word[2] == 1; });
        if (helper[9] == 'e' && helper[13] == '_') {
            // Somebody sleeps already when the program is replaced.
            const pid_t waiter = sleeper(1, id, {{0, -1, 0}});
            shared().word[2] = 2;
            await("the new program runs", [] { return shared().word[0] == 1; });
            SHOWS("1/0", waiters(id, 0));
            kill(child, SIGKILL);
            SHOWS("ok", result_of(1));
            SHOWS("signal KILL", finish(child));
            SHOWS("exit 0", finish(waiter));
        } else {
            shared().word[2] = 2;
            await("the new program runs", [] { return shared().word[0] == 1; });
            OK(semctl(id, 0, GETVAL));
            kill(child, SIGKILL);
            SHOWS("signal KILL", finish(child));
            GIVES(1, semctl(id, 0, GETVAL));
        }
    }
    OK(semctl(id, 0, IPC_RMID));
}

// Removed while processes have adjustments: nothing to undo, and nobody is harmed.
CASE(sem_undo_removed) {
    const int id = make(1);
    const pid_t child = start([=] {
        OK(op(id, 0, 1, SEM_UNDO));
        OK(semctl(id, 0, IPC_RMID));
        FAILS(EINVAL, op(id, 0, -1, SEM_UNDO));
    });
    SHOWS("exit 0", finish(child));
}

// The sleeper's own adjustment counts from the moment that it is let through.
CASE(sem_undo_of_sleeper) {
    const int id = make(1);
    const pid_t child = sleeper(0, id, {{0, -1, SEM_UNDO}});
    OK(op(id, 0, 1));
    SHOWS("ok", result_of(0));
    SHOWS("exit 0", finish(child));
    GIVES(1, semctl(id, 0, GETVAL));
    OK(semctl(id, 0, IPC_RMID));
}

// Hundreds of processes killed at arbitrary instants while they hold or wait: the sum is right.
CASE(sem_undo_many_kills) {
    const int id = make(1);
    OK(semctl(id, 0, SETVAL, 3));
    unsigned seed = 12345;
    for (int round = 0; round < 60; ++round) {
        pid_t children[5];
        for (pid_t& each : children)
            each = start([=] {
                for (;;) {
                    (void)op(id, 0, -1, SEM_UNDO);
                    (void)op(id, 0, 1, SEM_UNDO);
                }
            });
        seed = seed * 1103515245u + 12345u;
        const timespec pause{0, static_cast<long>(seed % 3'000'000)};
        nanosleep(&pause, nullptr);
        for (const pid_t each : children) kill(each, SIGKILL);
        for (const pid_t each : children) (void)finish(each);
    }
    GIVES(3, semctl(id, 0, GETVAL));
    SHOWS("0/0", waiters(id, 0));
    OK(semctl(id, 0, IPC_RMID));
}
