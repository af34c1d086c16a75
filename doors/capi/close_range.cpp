// close_range and closefrom: all but the library's own descriptors.
#include <sys/resource.h>
#include <unistd.h>
#include "descriptor_calls.hpp"
#include "export.hpp"

using namespace muster;

MUSTER_EXPORT int close_range(unsigned first, unsigned last, int flags) noexcept {
    return static_cast<int>(capi::finish(capi::close_descriptors(first, last, static_cast<unsigned>(flags))));
}

MUSTER_EXPORT void closefrom(int lowest) noexcept {
    const unsigned first = lowest < 0 ? 0 : static_cast<unsigned>(lowest);
    if (capi::close_descriptors(first, ~0u, 0) != -ENOSYS) return;
    rlimit limit{};  // before Linux 5.9, one by one
    platform::system_call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &limit);
    for (unsigned descriptor = first; descriptor < limit.rlim_cur && descriptor <= 1u << 20; ++descriptor)
        if (!capi::is_reserved(static_cast<int>(descriptor))) platform::system_call(SYS_close, descriptor);
}
