// What the signal calls of the C library have in common.
//
// Its calls reach its own sigaction without the symbol, so each call that installs a handler or changes
// the mask is taken over by itself.
#pragma once
#include <signal.h>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include "platform/signals.hpp"
#include "platform/thread.hpp"

namespace muster::capi {

// The C library keeps two signals to itself, and answers as if they did not exist.
inline constexpr bool is_library_signal(int sig) {
    return sig == 32 || sig == 33;
}
inline constexpr bool is_program_signal(int sig) {
    return sig >= 1 && sig <= platform::kSignalMax && !is_library_signal(sig);
}
inline constexpr std::uint64_t kLibrarySignals = platform::signal_bit(32) | platform::signal_bit(33);

// Signals for which siginterrupt() asked that signal() does not restart calls.
extern constinit std::atomic<std::uint64_t> interrupting_signals;

// Sets errno and gives -1 on failure.
inline int finish_call(long result) {
    if (result == 0) return 0;
    errno = static_cast<int>(-result);
    return -1;
}

inline int change_action(int sig, const platform::KernelSigaction* act, platform::KernelSigaction* old) {
    if (!is_program_signal(sig)) return finish_call(-EINVAL);
    return finish_call(platform::program_sigaction(sig, act, old));
}

// Installs `handler` as the signal() family does; what was there, or SIG_ERR and errno.
inline sighandler_t change_handler(int sig, sighandler_t handler, std::uint64_t flags, std::uint64_t mask) {
    if (handler == SIG_ERR) {
        errno = EINVAL;
        return SIG_ERR;
    }
    const platform::KernelSigaction act{reinterpret_cast<std::uintptr_t>(handler), flags, 0, mask};
    platform::KernelSigaction old;
    if (change_action(sig, &act, &old) != 0) return SIG_ERR;
    return reinterpret_cast<sighandler_t>(old.handler);
}

// Changes the calling thread's mask; 0 or a negated errno.
inline long change_mask(int how, const std::uint64_t* set, std::uint64_t* old) {
    // Blocking SIGSEGV or SIGBUS decides how bad pointers are met: to be asked again.
    platform::this_thread_state.fault_mask_known = 0;
    if (set == nullptr) return platform::change_signal_mask(how, nullptr, old);
    const std::uint64_t allowed = *set & ~kLibrarySignals;
    return platform::change_signal_mask(how, &allowed, old);
}

// The same with the C library's larger sets, of which the kernel knows the first word.
inline long change_mask(int how, const sigset_t* set, sigset_t* old) {
    std::uint64_t given = set != nullptr ? set->__val[0] : 0;
    std::uint64_t before = 0;
    const long result = change_mask(how, set != nullptr ? &given : nullptr, &before);
    if (result == 0 && old != nullptr) {
        *old = {};
        old->__val[0] = before;
    }
    return result;
}

}  // namespace muster::capi
