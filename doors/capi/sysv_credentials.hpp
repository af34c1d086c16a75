// When this process's user or groups last changed, so that rights need not be asked of the kernel at every call.
#pragma once
#include <atomic>
#include <cstdint>

namespace muster::capi {

// Counts the calls that may have changed the effective user, group or the supplementary groups.
extern constinit std::atomic<std::uint32_t> credential_changes;

}  // namespace muster::capi
