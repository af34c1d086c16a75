// sigaction: the program's handlers run through Muster's entry points (src/platform/signals.hpp).
#include <cstring>
#include "export.hpp"
#include "signal_calls.hpp"

using namespace muster;

MUSTER_EXPORT int sigaction(int sig, const struct sigaction* act, struct sigaction* old) noexcept {
    platform::KernelSigaction to_set{};
    platform::KernelSigaction before{};
    if (act != nullptr) {
        to_set.handler = reinterpret_cast<std::uintptr_t>(act->sa_sigaction);
        // The C library's field is a signed int: its top bit, SA_RESETHAND, must not fill the upper half.
        to_set.flags = static_cast<std::uint32_t>(act->sa_flags);
        to_set.mask = act->sa_mask.__val[0];
    }
    if (capi::change_action(sig, act != nullptr ? &to_set : nullptr, &before) != 0) return -1;
    if (old != nullptr) {
        std::memset(&old->sa_mask, 0, sizeof old->sa_mask);
        old->sa_sigaction = reinterpret_cast<decltype(old->sa_sigaction)>(before.handler);
        old->sa_flags = static_cast<int>(before.flags);
        old->sa_mask.__val[0] = before.mask;
        old->sa_restorer = reinterpret_cast<decltype(old->sa_restorer)>(before.restorer);
    }
    return 0;
}

MUSTER_EXPORT int __sigaction(int, const struct sigaction*, struct sigaction*) noexcept __attribute__((alias("sigaction")));
