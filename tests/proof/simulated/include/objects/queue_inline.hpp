// Around src/objects/queue_inline.hpp: a message is long when a few words are, so that copies outside the locks are short enough
// for schedules to be spread over them.
#pragma once
#define kCopyUnderLockMax kRealCopyUnderLockMax
#include "src/objects/queue_inline.hpp"
#undef kCopyUnderLockMax

namespace muster::objects {
inline constexpr std::size_t kCopyUnderLockMax = 64;
}
