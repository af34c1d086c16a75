// Sleeping and waking on shared words.
//
// Shared preconditions: words are naturally aligned and live in shared mappings,
// so every futex here is process-shared (no FUTEX_PRIVATE_FLAG).
#pragma once
#include <linux/futex.h>
#include <climits>
#include <ctime>
#include <cstdint>
#include "platform/syscall.hpp"

namespace muster::platform {

// An absolute instant in nanoseconds, of CLOCK_REALTIME unless said otherwise; kForever and kNoWait are no instants.
using DeadlineNs = std::int64_t;
inline constexpr DeadlineNs kForever = -1;
inline constexpr DeadlineNs kNoWait = 0;

// Wakes up to `count` sleepers; how many were there.
inline long futex_wake(std::uint32_t* word, int count) {
    return system_call(SYS_futex, word, FUTEX_WAKE, count, 0, 0, 0);
}

// How many sleep on the word (at most one is looked for), without waking anybody: a requeue to where they are.
inline long futex_count_sleepers(std::uint32_t* word) {
    return system_call(SYS_futex, word, FUTEX_REQUEUE, 0, 1, word, 0);
}

// Adds 0 to the word, which the kernel does as a write: -EFAULT where none is possible. May wake one who sleeps there.
inline int futex_add_nothing(std::uint32_t* word) {
    return static_cast<int>(system_call(SYS_futex, word, FUTEX_WAKE_OP, 0, 0, word, FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0)));
}

// Sleeps while the word holds `expected`. 0 woken, -EAGAIN it holds something else, -EINTR, -ETIMEDOUT.
// SOURCE futex(2): FUTEX_WAIT_BITSET takes absolute time-outs and follows changes of the real-time clock.
inline long futex_wait(std::uint32_t* word, std::uint32_t expected, DeadlineNs deadline_ns, clockid_t clock = CLOCK_REALTIME) {
    if (deadline_ns == kForever) return system_call(SYS_futex, word, FUTEX_WAIT, expected, 0, 0, 0);
    timespec until{deadline_ns / 1'000'000'000, deadline_ns % 1'000'000'000};
    const int operation = FUTEX_WAIT_BITSET | (clock == CLOCK_REALTIME ? FUTEX_CLOCK_REALTIME : 0);
    return system_call(SYS_futex, word, operation, expected, &until, 0, FUTEX_BITSET_MATCH_ANY);
}

// The same for at most `pause_ns` from now.
inline long futex_wait_briefly(std::uint32_t* word, std::uint32_t expected, long pause_ns) {
    timespec pause{pause_ns / 1'000'000'000, pause_ns % 1'000'000'000};
    return system_call(SYS_futex, word, FUTEX_WAIT, expected, &pause, 0, 0);
}

// Moves one sleeper from a word that holds `expected` to another word, asleep as it is; how many there were.
inline long futex_requeue_one(std::uint32_t* word, std::uint32_t expected, std::uint32_t* to) {
    return system_call(SYS_futex, word, FUTEX_CMP_REQUEUE, 0, 1, to, expected);
}

// One of the words that a futex_wait_any sleeps on.
struct WaitEntry {
    std::uint64_t expected;
    std::uint64_t address;
    std::uint32_t flags;
    std::uint32_t reserved;
};
inline constexpr unsigned kWaitEntriesMax = 128;
inline constexpr long kFutexWaitv = 449;      // one number on every architecture
inline constexpr std::uint32_t kFutex32 = 2;  // FUTEX2_SIZE_U32, shared

// Sleeps while every word holds what is expected. >= 0 the index woken; -ENOSYS before Linux 5.16.
inline long futex_wait_any(const WaitEntry* entries, unsigned count, DeadlineNs deadline_ns, clockid_t clock = CLOCK_REALTIME) {
    timespec until{deadline_ns / 1'000'000'000, deadline_ns % 1'000'000'000};
    return system_call(kFutexWaitv, entries, count, 0, deadline_ns == kForever ? nullptr : &until, clock);
}

inline void pause_cpu() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    asm volatile("yield");
#endif
}

}  // namespace muster::platform
