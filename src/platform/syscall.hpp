// Raw system calls: no errno, no cancellation point, no interposable symbol.
//
// The C door exports names such as syscall() and may live beside libraries that
// wrap getuid() or stat() (libfakeroot does): calling libc here could call
// ourselves, or be told faked answers. A failure is the negated errno.
#pragma once
#include <sys/syscall.h>

namespace muster::platform {

#if defined(__x86_64__)
inline long raw_syscall(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
    long result;
    register long r10 asm("r10") = d;
    register long r8 asm("r8") = e;
    register long r9 asm("r9") = f;
    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
inline long raw_syscall(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
    register long x8 asm("x8") = number;
    register long x0 asm("x0") = a;
    register long x1 asm("x1") = b;
    register long x2 asm("x2") = c;
    register long x3 asm("x3") = d;
    register long x4 asm("x4") = e;
    register long x5 asm("x5") = f;
    asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}
#else
#error "muster knows the system call convention of x86-64 and aarch64"
#endif

// Pointers and integers alike, as the kernel sees them.
template <class T>
inline long word(T value) {
    if constexpr (requires { reinterpret_cast<long>(value); }) return reinterpret_cast<long>(value);
    else return static_cast<long>(value);
}

template <class... Args>
inline long system_call(long number, Args... args) {
    return raw_syscall(number, word(args)...);
}

}  // namespace muster::platform
