#include "clock.hpp"

#include <cerrno>
#include <algorithm>

namespace muster::bench {
namespace {
double g_ticks_per_ns = 1.0;
}

void calibrate_ticks() {
    // The best of three: an interruption between the two clocks only makes one of them wrong.
    double rates[3];
    for (double& rate : rates) {
        const std::uint64_t ns = now_ns(), t = ticks();
        while (now_ns() - ns < 10'000'000) {
        }
        rate = static_cast<double>(ticks() - t) / static_cast<double>(now_ns() - ns);
    }
    std::sort(rates, rates + 3);
    g_ticks_per_ns = rates[1];
}

double ticks_per_ns() {
    return g_ticks_per_ns;
}

std::uint64_t cpu_ns(pid_t process) {
    clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
    timespec t{};
    if (process != 0 && clock_getcpuclockid(process, &clock) != 0) return 0;
    if (clock_gettime(clock, &t) != 0) return 0;
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(t.tv_nsec);
}

void sleep_us(unsigned us) {
    timespec left{static_cast<time_t>(us / 1'000'000), static_cast<long>(us % 1'000'000) * 1000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

}  // namespace muster::bench
