// The program's signal handlers, run through ours.
//
// Why: a handler must not run while this thread is inside a critical section (it could wait for a lock that its own
// thread holds, or siglongjmp away with it), a sleeping call must leave its object before a handler runs, and a fault
// in the copy routine or in a damaged mapping is ours to resolve, whoever handles SIGSEGV.
//
// How: what the program installs is installed in the kernel as one of many entry points of ours, each of which stands
// for one handler and set of flags for ever. So the kernel's table stays the only truth: replacing a handler is
// the one atomic step that it always was, the C library's internal sigaction calls do no harm, and a vfork child
// that sets handlers does not change its parent's.
//
// All functions are async-signal-safe and return 0 or a negated errno.
#pragma once
#include <signal.h>
#include <atomic>
#include <cstdint>

namespace muster::platform {

// SOURCE rt_sigaction(2): the kernel's structure, not the C library's.
struct KernelSigaction {
    std::uintptr_t handler;
    std::uint64_t flags;
    std::uintptr_t restorer;
    std::uint64_t mask;
};

inline constexpr int kSignalMax = 64;
inline constexpr std::uint64_t signal_bit(int sig) {
    return std::uint64_t{1} << (sig - 1);
}

// Makes fault_copy() and registered mappings safe against SIGSEGV and SIGBUS. Idempotent and cheap when repeated;
// those two call it themselves. What the program has installed stays in effect behind it.
void install_fault_handlers();

extern constinit std::atomic<bool> fault_handlers_ready;
inline bool fault_handlers_installed() {
    return fault_handlers_ready.load(std::memory_order_acquire);
}

// What sigaction(2) is for the program: `old` reports what it had installed, with its own flags.
long program_sigaction(int sig, const KernelSigaction* act, KernelSigaction* old);

// rt_sigprocmask for the calling thread.
long change_signal_mask(int how, const std::uint64_t* set, std::uint64_t* old);

}  // namespace muster::platform
