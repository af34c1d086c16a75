// sigprocmask: the calling thread's mask, as in pthread_sigmask, with errno.
#include "export.hpp"
#include "signal_calls.hpp"

MUSTER_EXPORT int sigprocmask(int how, const sigset_t* set, sigset_t* old) noexcept {
    return muster::capi::finish_call(muster::capi::change_mask(how, set, old));
}
