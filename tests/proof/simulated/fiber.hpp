// Stacks to run on, and the step from one to another: some nanoseconds, where swapcontext() would ask the kernel for the signal
// mask.
#pragma once
#include <cstddef>

namespace muster::simulated {

inline constexpr std::size_t kStackBytes = 256 << 10;

// What switch_stacks() goes to, to begin with `entry` on an empty stack. `entry` never returns.
void* fresh_stack(std::byte* stack, void (*entry)());
// Goes on with `to`, a value that an earlier call put into its *save, or fresh_stack() gave.
void switch_stacks(void** save, void* to);

}  // namespace muster::simulated
