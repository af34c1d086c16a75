// The System V calls sigset, sighold, sigrelse and sigignore. SOURCE sigset(3).
#include "export.hpp"
#include "signal_calls.hpp"

using namespace muster;

MUSTER_EXPORT sighandler_t sigset(int sig, sighandler_t disposition) noexcept {
    if (!capi::is_program_signal(sig)) {
        errno = EINVAL;
        return SIG_ERR;
    }
    const std::uint64_t itself = platform::signal_bit(sig);
    const bool is_to_hold = disposition == SIG_HOLD;
    sighandler_t before = SIG_DFL;
    if (!is_to_hold) {
        before = capi::change_handler(sig, disposition, 0, 0);
        if (before == SIG_ERR) return SIG_ERR;
    }
    std::uint64_t blocked = 0;
    if (capi::finish_call(capi::change_mask(is_to_hold ? SIG_BLOCK : SIG_UNBLOCK, &itself, &blocked)) != 0) return SIG_ERR;
    if ((blocked & itself) != 0) return SIG_HOLD;
    if (!is_to_hold) return before;
    platform::KernelSigaction action;
    if (capi::change_action(sig, nullptr, &action) != 0) return SIG_ERR;
    return reinterpret_cast<sighandler_t>(action.handler);
}

namespace {
int change_one(int how, int sig) {
    if (!capi::is_program_signal(sig)) return capi::finish_call(-EINVAL);
    const std::uint64_t itself = platform::signal_bit(sig);
    return capi::finish_call(capi::change_mask(how, &itself, nullptr));
}
}  // namespace

MUSTER_EXPORT int sighold(int sig) noexcept {
    return change_one(SIG_BLOCK, sig);
}
MUSTER_EXPORT int sigrelse(int sig) noexcept {
    return change_one(SIG_UNBLOCK, sig);
}
MUSTER_EXPORT int sigignore(int sig) noexcept {
    return capi::change_handler(sig, SIG_IGN, 0, 0) == SIG_ERR ? -1 : 0;
}
