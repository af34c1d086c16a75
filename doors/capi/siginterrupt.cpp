// siginterrupt: whether a signal's handler interrupts calls or restarts them, now and after later signal() calls.
#include "export.hpp"
#include "signal_calls.hpp"

using namespace muster;

MUSTER_EXPORT int siginterrupt(int sig, int interrupts) noexcept {
    platform::KernelSigaction action;
    if (capi::change_action(sig, nullptr, &action) != 0) return -1;
    if (interrupts != 0) {
        capi::interrupting_signals.fetch_or(platform::signal_bit(sig), std::memory_order_relaxed);
        action.flags &= ~std::uint64_t{SA_RESTART};
    } else {
        capi::interrupting_signals.fetch_and(~platform::signal_bit(sig), std::memory_order_relaxed);
        action.flags |= SA_RESTART;
    }
    return capi::change_action(sig, &action, nullptr);
}
