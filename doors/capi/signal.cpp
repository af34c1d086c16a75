// signal and its namesakes. SOURCE signal(2): BSD semantics (the handler stays, calls are restarted) for signal,
// bsd_signal and ssignal; System V semantics (one-shot, nothing blocked, calls interrupted) for sysv_signal.
#include "export.hpp"
#include "signal_calls.hpp"

using namespace muster;

constinit std::atomic<std::uint64_t> capi::interrupting_signals = 0;

MUSTER_EXPORT sighandler_t signal(int sig, sighandler_t handler) noexcept {
    if (!capi::is_program_signal(sig)) {
        errno = EINVAL;
        return SIG_ERR;
    }
    const std::uint64_t itself = platform::signal_bit(sig);
    const bool interrupts = (capi::interrupting_signals.load(std::memory_order_relaxed) & itself) != 0;
    return capi::change_handler(sig, handler, interrupts ? 0 : SA_RESTART, itself);
}

MUSTER_EXPORT sighandler_t sysv_signal(int sig, sighandler_t handler) noexcept {
    return capi::change_handler(sig, handler,
                                static_cast<std::uint32_t>(SA_RESETHAND) | SA_NODEFER | 0x20000000 /* SA_INTERRUPT */, 0);
}

MUSTER_EXPORT sighandler_t bsd_signal(int, sighandler_t) noexcept __attribute__((alias("signal")));
MUSTER_EXPORT sighandler_t ssignal(int, sighandler_t) noexcept __attribute__((alias("signal")));
MUSTER_EXPORT sighandler_t __sysv_signal(int, sighandler_t) noexcept __attribute__((alias("sysv_signal")));
