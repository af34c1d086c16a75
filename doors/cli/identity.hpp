// Which process, for good: a bare pid is soon somebody else's.
#pragma once
#include <cstdint>

namespace muster::cli {

struct ProcessIdentity {
    std::uint32_t pid = 0;
    std::uint64_t start_time = 0;     // clock ticks after boot, as /proc/PID/stat tells
    std::uint64_t pid_namespace = 0;  // inode of /proc/PID/ns/pid; 0: could not be told
};

enum class Life { alive, dead, unknown };

ProcessIdentity this_process();

// Unknown when the process lives in another pid namespace or /proc is not to be had. A zombie is dead.
Life life_of(const ProcessIdentity& process);

}  // namespace muster::cli
