// In place of src/platform/syscall.hpp: what a simulated process asks of the kernel is asked of the simulated one, which
// answers what concerns futexes, threads and time, and passes the rest on.
#pragma once
#include <sys/syscall.h>

namespace muster::simulated {
long system_call(long number, long a, long b, long c, long d, long e, long f);
}

namespace muster::platform {

// Pointers and integers alike, as the kernel sees them.
template <class T>
inline long word(T value) {
    if constexpr (requires { reinterpret_cast<long>(value); })
        return reinterpret_cast<long>(value);
    else
        return static_cast<long>(value);
}

inline long raw_syscall(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
    return simulated::system_call(number, a, b, c, d, e, f);
}

template <class... Args>
inline long system_call(long number, Args... args) {
    return raw_syscall(number, word(args)...);
}

}  // namespace muster::platform
