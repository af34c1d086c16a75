// What the semaphore cases share.
#pragma once
#include <sys/ipc.h>
#include <sys/sem.h>

#include <cstdarg>
#include <initializer_list>
#include <string>

#include "case.hpp"

namespace sem_cases {

// A key of this process's own; it does not enter a transcript.
inline key_t fresh_key() {
    static int count = 0;
    return static_cast<key_t>(0x5e000000u | (static_cast<unsigned>(getpid()) & 0xffffu) << 8 | static_cast<unsigned>(++count & 0xff));
}

inline int make(int semaphores) {
    const int id = semget(IPC_PRIVATE, semaphores, 0600);
    if (id < 0) give_up("semget: " + error_name(errno));
    return id;
}

inline int op(int id, int number, int amount, int flags = 0) {
    sembuf one{static_cast<unsigned short>(number), static_cast<short>(amount), static_cast<short>(flags)};
    return semop(id, &one, 1);
}
inline int ops(int id, std::initializer_list<sembuf> list) {
    sembuf copy[64];
    std::size_t count = 0;
    for (const sembuf& each : list) copy[count++] = each;
    return semop(id, copy, count);
}

__attribute__((format(printf, 1, 2))) inline std::string text(const char* format, ...) {
    char buffer[256];
    va_list list;
    va_start(list, format);
    std::vsnprintf(buffer, sizeof buffer, format, list);
    va_end(list);
    return buffer;
}

// The values of the first semaphores, "1 0 3".
inline std::string state_of(int id, int count) {
    std::string result;
    for (int n = 0; n < count; ++n) result += (n ? " " : "") + std::to_string(semctl(id, n, GETVAL));
    return result;
}

// Sleepers of one semaphore: "increase/zero".
inline std::string waiters(int id, int number) {
    return std::to_string(semctl(id, number, GETNCNT)) + "/" + std::to_string(semctl(id, number, GETZCNT));
}

// A process that makes one call; word[slot] is 1 before it, then 2, and number[slot] the errno value (0 success), word[40] counts arrivals.
inline pid_t operator_process(int slot, int id, std::initializer_list<sembuf> list) {
    struct Kept {
        sembuf ops[16];
    } all{};
    std::size_t count = 0;
    for (const sembuf& each : list) all.ops[count++] = each;
    shared().word[slot] = 0;
    const pid_t child = start([=] {
        Kept mine = all;
        shared().word[slot] = 1;
        const int rc = semop(id, mine.ops, count);
        shared().number[slot] = rc == 0 ? 0 : errno;
        shared().number[slot + 20] = ++shared().word[40];
        shared().word[slot] = 2;
    });
    await("the process is about to call", [slot] { return shared().word[slot] >= 1; });
    return child;
}
// The same, asleep when this returns.
inline pid_t sleeper(int slot, int id, std::initializer_list<sembuf> list) {
    const pid_t child = operator_process(slot, id, list);
    await_sleep(child);
    return child;
}
inline std::string result_of(int slot) {
    await("the process returned", [slot] { return shared().word[slot] == 2; });
    return shared().number[slot] == 0 ? "ok" : error_name(static_cast<int>(shared().number[slot]));
}

}  // namespace sem_cases
using namespace sem_cases;
