// pthread_sigmask: the calling thread's mask; the error is the result.
#include "export.hpp"
#include "signal_calls.hpp"

MUSTER_EXPORT int pthread_sigmask(int how, const sigset_t* set, sigset_t* old) noexcept {
    return static_cast<int>(-muster::capi::change_mask(how, set, old));
}
