// semget, semop, semctl without sleeping: results, errnos and their precedence, what the *_ds and counts say after each call.
// EINVAL EEXIST ENOENT EACCES EPERM E2BIG EFBIG ERANGE EAGAIN EFAULT EIDRM; IPC_STAT SET RMID, GETALL SETALL GETVAL SETVAL GETPID, INFO and STAT.
#include "sem_cases.hpp"

int main(int argc, char** argv) {
    return run_conformance(argc, argv);
}

CASE(sem_get_private) {
    const int id = OPENS(semget(IPC_PRIVATE, 3, 0600));
    const int other = OPENS(semget(IPC_PRIVATE, 1, 0600));
    HOLDS(id != other);
    for (int n = 0; n < 3; ++n) OK(semctl(id, n, GETVAL));
    FAILS(EINVAL, semctl(id, 3, GETVAL));
    FAILS(EINVAL, semctl(id, -1, GETVAL));
    OK(semctl(id, 0, GETPID));
    OK(semctl(id, 0, IPC_RMID));
    OK(semctl(other, 0, IPC_RMID));
    FAILS(EINVAL, semctl(id, 0, GETVAL));
    FAILS(EINVAL, semctl(id, 0, IPC_RMID));
}

CASE(sem_get_keys) {
    const key_t key = fresh_key();
    FAILS(ENOENT, semget(key, 1, 0600));
    FAILS(EINVAL, semget(key, 0, 0600 | IPC_CREAT));
    FAILS(EINVAL, semget(key, -1, 0600 | IPC_CREAT));
    FAILS(EINVAL, semget(key, 32001, 0600 | IPC_CREAT));
    FAILS(EINVAL, semget(IPC_PRIVATE, 0, 0600));
    const int id = OPENS(semget(key, 4, 0600 | IPC_CREAT));
    HOLDS(semget(key, 4, 0600) == id);
    HOLDS(semget(key, 0, 0) == id);
    HOLDS(semget(key, 2, 0600 | IPC_CREAT) == id);
    FAILS(EINVAL, semget(key, 5, 0600));
    FAILS(EINVAL, semget(key, 5, 0600 | IPC_CREAT));
    FAILS(EEXIST, semget(key, 5, 0600 | IPC_CREAT | IPC_EXCL));
    FAILS(EEXIST, semget(key, 4, 0600 | IPC_CREAT | IPC_EXCL));
    OK(semctl(id, 0, IPC_RMID));
    FAILS(ENOENT, semget(key, 0, 0));
    const int next = OPENS(semget(key, 1, 0600 | IPC_CREAT | IPC_EXCL));
    HOLDS(next != id);
    OK(semctl(next, 0, IPC_RMID));
}

CASE(sem_stat_and_times) {
    const time_t before = time(nullptr);
    const key_t key = fresh_key();
    const int id = OPENS(semget(key, 2, 0640 | IPC_CREAT));
    semid_ds ds{};
    OK(semctl(id, 0, IPC_STAT, &ds));
    SEES(ds.sem_perm.mode);
    SEES(static_cast<long>(ds.sem_nsems));
    HOLDS(ds.sem_perm.__key == key);
    HOLDS(ds.sem_perm.uid == geteuid() && ds.sem_perm.cuid == geteuid() && ds.sem_perm.gid == getegid() && ds.sem_perm.cgid == getegid());
    OK(ds.sem_otime);
    HOLDS(ds.sem_ctime >= before && ds.sem_ctime <= time(nullptr));
    OK(semctl(id, 0, SETVAL, 1));
    OK(semctl(id, 0, IPC_STAT, &ds));
    OK(ds.sem_otime);
    OK(op(id, 1, 0));
    OK(semctl(id, 0, IPC_STAT, &ds));
    HOLDS(ds.sem_otime >= before && ds.sem_otime <= time(nullptr));
    ds.sem_perm.mode = 01777;
    OK(semctl(id, 0, IPC_SET, &ds));
    OK(semctl(id, 0, IPC_STAT, &ds));
    SEES(ds.sem_perm.mode);
    OK(semctl(id, 0, IPC_RMID));
    FAILS(EINVAL, semctl(id, 0, IPC_STAT, &ds));
}

CASE(sem_values) {
    const int id = make(3);
    OK(semctl(id, 1, SETVAL, 32767));
    GIVES(32767, semctl(id, 1, GETVAL));
    FAILS(ERANGE, semctl(id, 1, SETVAL, 32768));
    FAILS(ERANGE, semctl(id, 1, SETVAL, -1));
    FAILS(ERANGE, semctl(id, 9, SETVAL, -1));
    FAILS(EINVAL, semctl(id, 3, SETVAL, 1));
    FAILS(EINVAL, semctl(id, -1, SETVAL, 1));
    HOLDS(semctl(id, 1, GETPID) == getpid());
    OK(semctl(id, 0, GETPID));
    unsigned short values[3] = {7, 8, 9};
    OK(semctl(id, 77, SETALL, values));
    HOLDS(semctl(id, 0, GETPID) == getpid());
    unsigned short got[4] = {0, 0, 0, 4242};
    OK(semctl(id, -5, GETALL, got));
    SHOWS("7 8 9 4242", text("%d %d %d %d", got[0], got[1], got[2], got[3]));
    values[2] = 32768;
    FAILS(ERANGE, semctl(id, 0, SETALL, values));
    SHOWS("7 8 9", state_of(id, 3));
    FAILS(EFAULT, semctl(id, 0, SETALL, nullptr));
    FAILS(EFAULT, semctl(id, 0, GETALL, nullptr));
    FAILS(EFAULT, semctl(id, 0, IPC_STAT, nullptr));
    FAILS(EFAULT, semctl(id, 0, IPC_SET, nullptr));
    FAILS(EINVAL, semctl(id, 0, 4711));
    FAILS(EINVAL, semctl(-1, 0, GETVAL));
    FAILS(EINVAL, semctl(-1, 0, IPC_SET, nullptr));
    OK(semctl(id, 0, IPC_RMID));
}

CASE(sem_op_simple) {
    const int id = make(2);
    OK(op(id, 0, 3));
    GIVES(3, semctl(id, 0, GETVAL));
    HOLDS(semctl(id, 0, GETPID) == getpid());
    FAILS(EAGAIN, op(id, 0, -4, IPC_NOWAIT));
    OK(op(id, 0, -3, IPC_NOWAIT));
    FAILS(EAGAIN, op(id, 0, -1, IPC_NOWAIT));
    OK(op(id, 0, 0));
    OK(op(id, 0, 1));
    FAILS(EAGAIN, op(id, 0, 0, IPC_NOWAIT));
    OK(op(id, 1, 32767));
    FAILS(ERANGE, op(id, 1, 1));
    FAILS(ERANGE, op(id, 1, 32767));
    OK(op(id, 1, -32767));
    FAILS(EAGAIN, op(id, 1, -32768, IPC_NOWAIT));
    for (int i = 0; i < 100; ++i) (void)op(id, 0, 1), (void)op(id, 0, -1);
    SHOWS("1 0", state_of(id, 2));
    OK(semctl(id, 0, IPC_RMID));
}

// A wait-for-zero that succeeds counts as the last operation.
CASE(sem_op_zero_sets_pid) {
    const int id = make(1);
    OK(op(id, 0, 0));
    HOLDS(semctl(id, 0, GETPID) == getpid());
    const pid_t child = start([=] { (void)op(id, 0, 0); });
    SHOWS("exit 0", finish(child));
    HOLDS(semctl(id, 0, GETPID) == child);
    OK(semctl(id, 0, IPC_RMID));
}

CASE(sem_op_vectors) {
    const int id = make(4);
    OK(ops(id, {{0, 1, 0}, {1, 2, 0}, {2, 3, 0}}));
    SHOWS("1 2 3 0", state_of(id, 4));
    // All or nothing, whatever fails, and in the order given.
    FAILS(EAGAIN, ops(id, {{0, -1, 0}, {1, -3, IPC_NOWAIT}}));
    SHOWS("1 2 3 0", state_of(id, 4));
    FAILS(ERANGE, ops(id, {{0, -1, 0}, {1, 32767, 0}}));
    FAILS(EAGAIN, ops(id, {{0, -2, IPC_NOWAIT}, {1, 32767, 0}}));
    FAILS(ERANGE, ops(id, {{1, 32767, 0}, {0, -2, IPC_NOWAIT}}));
    SHOWS("1 2 3 0", state_of(id, 4));
    // The same semaphore several times: each sees the one before.
    OK(ops(id, {{3, 0, 0}, {3, 5, 0}, {3, -5, 0}, {3, 0, 0}, {3, 1, 0}}));
    SHOWS("1 2 3 1", state_of(id, 4));
    FAILS(EAGAIN, ops(id, {{3, -1, 0}, {3, -1, IPC_NOWAIT}}));
    FAILS(EAGAIN, ops(id, {{3, 1, 0}, {3, 0, IPC_NOWAIT}}));
    FAILS(ERANGE, ops(id, {{3, 32766, 0}, {3, 1, 0}}));
    OK(ops(id, {{3, 32766, 0}, {3, -32767, 0}, {3, 0, 0}}));
    // Only the operation that would have to wait is asked for IPC_NOWAIT.
    FAILS(EAGAIN, ops(id, {{0, -1, 0}, {0, -1, IPC_NOWAIT}, {1, -9, 0}}));
    SHOWS("1 2 3 0", state_of(id, 4));
    OK(semctl(id, 0, IPC_RMID));
}

CASE(sem_op_errors) {
    const int id = make(2);
    sembuf many[501];
    for (sembuf& each : many) each = {0, 1, 0};
    OK(semop(id, many, 500));
    GIVES(500, semctl(id, 0, GETVAL));
    FAILS(E2BIG, semop(id, many, 501));
    FAILS(E2BIG, semop(-1, nullptr, 501));
    FAILS(EINVAL, semop(id, many, 0));
    FAILS(EINVAL, semop(-1, many, 1));
    FAILS(EFAULT, semop(id, hidden(static_cast<sembuf*>(nullptr)), 1));
    FAILS(EFAULT, semop(-1, hidden(static_cast<sembuf*>(nullptr)), 1));
    FAILS(EFAULT, semop(id, reinterpret_cast<sembuf*>(hidden(reinterpret_cast<char*>(-4096))), 3));
    FAILS(EFBIG, op(id, 2, 1));
    FAILS(EFBIG, ops(id, {{0, -1, 0}, {2, 1, 0}}));
    FAILS(EFBIG, ops(id, {{0, -501, IPC_NOWAIT}, {2, 1, 0}}));
    FAILS(EFBIG, op(id, 65535, 1, SEM_UNDO));
    sembuf one{0, 1, 0};
    const timespec bad{0, 1'000'000'000}, negative{-1, 0}, good{0, 0};
    FAILS(EINVAL, semtimedop(id, &one, 1, &bad));
    FAILS(EINVAL, semtimedop(id, &one, 1, &negative));
    FAILS(EFAULT, semtimedop(id, &one, 1, hidden(reinterpret_cast<const timespec*>(8))));
    FAILS(EFAULT, semtimedop(id, &one, 0, hidden(reinterpret_cast<const timespec*>(8))));
    FAILS(EINVAL, semtimedop(id, &one, 0, &bad));
    FAILS(E2BIG, semtimedop(id, many, 501, &bad));
    FAILS(EFAULT, semtimedop(id, hidden(static_cast<sembuf*>(nullptr)), 1, &bad));
    OK(semtimedop(id, &one, 1, &good));
    one.sem_op = -502;
    FAILS(EAGAIN, semtimedop(id, &one, 1, &good));
    OK(semctl(id, 0, IPC_RMID));
    FAILS(EINVAL, op(id, 0, 1));
    FAILS(EINVAL, op(id, 9, 1));
    FAILS(EINVAL, op(id, 0, 1, SEM_UNDO));
}

CASE(sem_large_set) {
    const int id = OPENS(semget(IPC_PRIVATE, 32000, 0600));
    static unsigned short values[32000];
    for (int n = 0; n < 32000; ++n) values[n] = static_cast<unsigned short>(n);
    OK(semctl(id, 0, SETALL, values));
    OK(op(id, 31999, -31999));
    OK(op(id, 31998, 1, SEM_UNDO));
    OK(semctl(id, 31999, GETVAL));
    std::memset(values, 0, sizeof values);
    OK(semctl(id, 0, GETALL, values));
    long wrong = 0;
    for (int n = 0; n < 31998; ++n) wrong += values[n] != n;
    OK(wrong);
    OK(semctl(id, 0, IPC_RMID));
}

CASE(sem_info) {
    seminfo info{};
    HOLDS(semctl(0, 0, IPC_INFO, &info) >= 0);
    SHOWS("32000 1024000000 32000 500 32767", text("%d %d %d %d %d", info.semmni, info.semmns, info.semmsl, info.semopm, info.semvmx));
    SHOWS("1024000000 1024000000 500 20 32767", text("%d %d %d %d %d", info.semmnu, info.semmap, info.semume, info.semusz, info.semaem));
    const int id = make(5);
    const int highest = semctl(0, 0, SEM_INFO, &info);
    HOLDS(highest >= id % 32768);
    HOLDS(info.semusz >= 1 && info.semaem >= 5);
    semid_ds ds{};
    HOLDS(semctl(id % 32768, 0, SEM_STAT, &ds) == id);
    SEES(static_cast<long>(ds.sem_nsems));
    HOLDS(semctl(id % 32768, 0, 20 /* SEM_STAT_ANY */, &ds) == id);
    FAILS(EFAULT, semctl(0, 0, IPC_INFO, nullptr));
    FAILS(EINVAL, semctl(-1, 0, IPC_INFO, &info));
    OK(semctl(id, 0, IPC_RMID));
    FAILS(EINVAL, semctl(id % 32768, 0, SEM_STAT, &ds));
}

// Another user: each right by itself, owner and creator, EACCES against EINVAL and EFBIG.
CASE(sem_two_users) {
    if (geteuid() != 0) skip("needs root");
    const int secret = make(2), readable = OPENS(semget(IPC_PRIVATE, 2, 0604)), writable = OPENS(semget(IPC_PRIVATE, 2, 0602));
    const key_t key = fresh_key();
    const int keyed = OPENS(semget(key, 2, 0604 | IPC_CREAT));
    const int given = make(1);
    semid_ds ds{};
    OK(semctl(given, 0, IPC_STAT, &ds));
    ds.sem_perm.uid = 65534;
    OK(semctl(given, 0, IPC_SET, &ds));
    const pid_t child = start([=] {
        become_nobody();
        semid_ds its{};
        unsigned short values[2] = {1, 1};
        FAILS(EACCES, semctl(secret, 0, GETVAL));
        FAILS(EACCES, semctl(secret, 9, GETVAL));
        FAILS(EINVAL, semctl(secret, 9, SETVAL, 1));
        FAILS(EACCES, semctl(secret, 0, SETVAL, 1));
        FAILS(ERANGE, semctl(secret, 0, SETVAL, -1));
        FAILS(EACCES, op(secret, 0, 1));
        FAILS(EACCES, op(secret, 0, 0));
        FAILS(EFBIG, op(secret, 2, 1));
        FAILS(EACCES, semctl(secret, 0, IPC_STAT, &its));
        FAILS(EPERM, semctl(secret, 0, IPC_SET, &its));
        FAILS(EPERM, semctl(secret, 0, IPC_RMID));
        FAILS(EACCES, semctl(secret, 0, SETALL, values));
        OK(semctl(readable, 0, GETVAL));
        OK(op(readable, 0, 0));
        FAILS(EACCES, op(readable, 0, 1));
        FAILS(EACCES, ops(readable, {{0, 0, 0}, {1, 1, 0}}));
        FAILS(EACCES, semctl(readable, 0, SETVAL, 1));
        OK(semctl(readable, 0, IPC_STAT, &its));
        FAILS(EPERM, semctl(readable, 0, IPC_RMID));
        OK(op(writable, 0, 1));
        FAILS(EACCES, op(writable, 1, 0));
        FAILS(EACCES, semctl(writable, 0, GETVAL));
        OK(semctl(writable, 1, SETVAL, 5));
        FAILS(EACCES, semget(key, 2, 0602));
        HOLDS(semget(key, 2, 0604) == -1 && errno == EACCES);
        HOLDS(semget(key, 2, 0004) == keyed);
        HOLDS(semget(key, 2, 0) == keyed);
        FAILS(EINVAL, semget(key, 3, 0602));
        FAILS(EEXIST, semget(key, 3, 0602 | IPC_CREAT | IPC_EXCL));
        OK(op(given, 0, 1));
        OK(semctl(given, 0, IPC_STAT, &its));
        SEES(its.sem_perm.mode);
        its.sem_perm.mode = 0;
        OK(semctl(given, 0, IPC_SET, &its));
        FAILS(EACCES, op(given, 0, 1));
        OK(semctl(given, 0, IPC_RMID));
    });
    SHOWS("exit 0", finish(child));
    GIVES(1, semctl(writable, 0, GETVAL));
    FAILS(EINVAL, semctl(given, 0, GETVAL));
    for (const int id : {secret, readable, writable, keyed}) OK(semctl(id, 0, IPC_RMID));
}

// Rights follow changes of the effective user at once, and changes of the set's mode by another process.
CASE(sem_rights_follow) {
    if (geteuid() != 0) skip("needs root");
    const int id = make(1);
    const pid_t child = start([=] {
        OK(op(id, 0, 1));
        OK(seteuid(65534));
        FAILS(EACCES, op(id, 0, 1));
        OK(seteuid(0));
        OK(op(id, 0, 1));
        OK(setegid(65534));
        OK(seteuid(65534));
        shared().word[0] = 1;
        await("the mode is changed", [] { return shared().word[0] == 2; });
        OK(op(id, 0, 1));
        shared().word[0] = 3;
        await("the mode is changed back", [] { return shared().word[0] == 4; });
        FAILS(EACCES, op(id, 0, 1));
    });
    await("the child changed its user", [] { return shared().word[0] == 1; });
    semid_ds ds{};
    OK(semctl(id, 0, IPC_STAT, &ds));
    ds.sem_perm.mode = 0606;
    OK(semctl(id, 0, IPC_SET, &ds));
    shared().word[0] = 2;
    await("the child operated", [] { return shared().word[0] == 3; });
    ds.sem_perm.mode = 0600;
    OK(semctl(id, 0, IPC_SET, &ds));
    shared().word[0] = 4;
    SHOWS("exit 0", finish(child));
    GIVES(3, semctl(id, 0, GETVAL));
    OK(semctl(id, 0, IPC_RMID));
}
