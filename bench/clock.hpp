// Time: a counter cheap enough to read once per message, and CPU time of any process.
#pragma once
#include <sys/types.h>
#include <cstdint>
#include <ctime>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace muster::bench {

inline std::uint64_t now_ns() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(t.tv_nsec);
}

// The time stamp counter where there is one (8 ns against 25 ns for the clock).
inline std::uint64_t ticks() {
#if defined(__x86_64__)
    return __rdtsc();
#else
    return now_ns();
#endif
}

void calibrate_ticks();  // once, before anything is forked
double ticks_per_ns();
inline double ns_of_ticks(std::uint64_t t) {
    return static_cast<double>(t) / ticks_per_ns();
}
inline std::uint64_t ticks_of_ns(double ns) {
    return static_cast<std::uint64_t>(ns * ticks_per_ns());
}

// CPU time that a process (all its threads) has used; 0 means the calling one.
std::uint64_t cpu_ns(pid_t process);

// Sleeps without spinning.
void sleep_us(unsigned us);

}  // namespace muster::bench
