// Named places where a test may kill the process. Compiled out of release builds.
#pragma once
#ifdef MUSTER_TESTING
namespace muster::testing {
using CrashPointHook = void (*)(const char* name);
inline CrashPointHook crash_point_hook = nullptr;  // null: nothing happens
inline void reach_crash_point(const char* name) {
    if (crash_point_hook) crash_point_hook(name);
}
}  // namespace muster::testing
#define MUSTER_CRASH_POINT(name) ::muster::testing::reach_crash_point(name)
#else
#define MUSTER_CRASH_POINT(name) static_cast<void>(0)
#endif
