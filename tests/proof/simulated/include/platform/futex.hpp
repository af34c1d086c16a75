// Around src/platform/futex.hpp, which is used as it is but for the instruction that a waiting CPU pauses with: here
// that is a scheduling point.
#pragma once
#define pause_cpu pause_real_cpu
#include "src/platform/futex.hpp"
#undef pause_cpu

namespace muster::platform {
void pause_cpu();
}
