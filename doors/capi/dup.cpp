// dup, dup2 and dup3: a queue's copy is the same queue.
#include <unistd.h>
#include "descriptor_calls.hpp"
#include "export.hpp"

using namespace muster::capi;

MUSTER_EXPORT int dup(int original) noexcept { return static_cast<int>(finish(duplicate(original))); }

MUSTER_EXPORT int dup2(int original, int wanted) noexcept {
    return static_cast<int>(finish(duplicate_to(original, wanted, 0, false)));
}

MUSTER_EXPORT int dup3(int original, int wanted, int flags) noexcept {
    return static_cast<int>(finish(duplicate_to(original, wanted, flags, true)));
}

MUSTER_EXPORT int __dup2(int, int) noexcept __attribute__((alias("dup2")));
