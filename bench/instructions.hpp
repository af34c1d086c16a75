// Runs a fixed number of operations and looks at no clock, so that counts of
// instructions are the same each time.
#pragma once
#include <cstdint>
#include <string>

#include "backend.hpp"

namespace muster::bench {

// W1: pairs. W3: bursts of ten sends and ten receives. W5: fill and drain 10 with random priorities.
// The same of a System V queue: W1-sysv, W3-sysv. W5-one-10 and its like, ":lowest" or ":except" behind it. W6-single, -undo,
// -four. Without a backend: W1 on a queue that only copies, which tells the harness's own part.
void run_instructions(Backend* backend, const std::string& workload, std::uint64_t operations);

}  // namespace muster::bench
