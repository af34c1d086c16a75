// Who we are: ids, clocks, the CPU we run on.
#pragma once
#include <time.h>
#include <cstddef>
#include <cstdint>
#include "platform/syscall.hpp"
#include "platform/thread.hpp"

extern "C" {
extern const __attribute__((weak)) std::ptrdiff_t __rseq_offset;  // glibc 2.35 and later
extern const __attribute__((weak)) unsigned int __rseq_size;
}

namespace muster::platform {

inline std::uint32_t process_id() { return static_cast<std::uint32_t>(system_call(SYS_getpid)); }
// The same without a system call, for a thread whose state is current.
inline std::uint32_t process_id_of(const ThreadState& thread) {
    static std::uint32_t known_id = 0, known_generation = 0;  // a race writes the same values
    if (__builtin_expect(__atomic_load_n(&known_generation, __ATOMIC_ACQUIRE) != thread.generation, 0)) {
        __atomic_store_n(&known_id, process_id(), __ATOMIC_RELAXED);
        __atomic_store_n(&known_generation, thread.generation, __ATOMIC_RELEASE);
    }
    return __atomic_load_n(&known_id, __ATOMIC_RELAXED);
}
inline std::uint32_t effective_user() { return static_cast<std::uint32_t>(system_call(SYS_geteuid)); }
// SOURCE capabilities(7): CAP_SYS_RESOURCE overrides the limits of System V objects.
bool may_exceed_limits();
inline std::uint32_t real_user() { return static_cast<std::uint32_t>(system_call(SYS_getuid)); }
inline std::uint32_t effective_group() { return static_cast<std::uint32_t>(system_call(SYS_getegid)); }

// Whether `group` is the effective group or one of the supplementary ones.
bool in_group(std::uint32_t group);

// The inode of our pid namespace; 0 where /proc does not tell.
std::uint64_t pid_namespace();

inline std::int64_t realtime_ns() {
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}
inline std::int64_t monotonic_ns() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}
// Cheaper by two thirds than the coarse clock: one word of the vDSO's.
inline std::uint64_t realtime_s() { return static_cast<std::uint64_t>(time(nullptr)); }
inline std::int64_t realtime_coarse_s() {
    timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return now.tv_sec;
}

// The CPU we run on, without a system call: the kernel keeps it in the thread's rseq area.
// 0xffffffff where it does not.
inline std::uint32_t current_cpu() {
#if defined(__x86_64__)
    if (&__rseq_offset == nullptr || __rseq_size == 0) return 0xffffffffu;
    std::uint32_t cpu;
    asm volatile("movl %%fs:4(%1), %0" : "=r"(cpu) : "r"(__rseq_offset));  // rseq.cpu_id
    return cpu;
#else
    return 0xffffffffu;
#endif
}

// For slow paths that look again and again; a signal may end it early.
inline void sleep_ns(long nanoseconds) {
    const timespec pause{0, nanoseconds};
    system_call(SYS_nanosleep, &pause, 0);
}

// Whether a thread of that id runs, or could: a zombie does not. Asks /proc, so for slow paths only.
bool thread_exists(std::uint32_t thread_id);
// Whether it cannot run: stopped, or gone. Reads /proc likewise; true where that does not tell.
bool thread_stopped(std::uint32_t thread_id);

}  // namespace muster::platform
