// Around src/platform/process.hpp: time and CPUs are the simulated machine's. What process.cpp asks /proc is answered by
// the simulated kernel (../../platform.cpp).
#pragma once
#define realtime_ns real_realtime_ns
#define monotonic_ns real_monotonic_ns
#define realtime_s real_realtime_s
#define realtime_coarse_s real_realtime_coarse_s
#define current_cpu real_current_cpu
#include "src/platform/process.hpp"
#undef realtime_ns
#undef monotonic_ns
#undef realtime_s
#undef realtime_coarse_s
#undef current_cpu

namespace muster::platform {
std::int64_t realtime_ns();
std::int64_t monotonic_ns();
inline std::uint64_t realtime_s() {
    return static_cast<std::uint64_t>(realtime_ns()) / 1'000'000'000u;
}
inline std::int64_t realtime_coarse_s() {
    return realtime_ns() / 1'000'000'000;
}
std::uint32_t current_cpu();
}  // namespace muster::platform
