// The machine below: what it is, which CPUs we may use, and the kernel's limits on queues.
#pragma once
#include <string>
#include <vector>

namespace muster::bench {

struct Machine {
    std::string cpu, kernel, compiler, flags, libraries;
    std::size_t cpus = 0;
};

Machine describe_machine();

// CPUs that the program was started with, in ascending order; first asked for before anything is pinned.
const std::vector<int>& allowed_cpus();
void pin_to(int cpu);  // throws Failure

// Lifts the kernel's limits on its POSIX queues as far as it lets us.
//
// In an IPC namespace of our own where that is allowed: nobody else notices, and
// nothing is left behind. Otherwise root writes fs.mqueue.* and the destructor puts
// the old values back. RLIMIT_MSGQUEUE goes up to what the hard limit permits.
class KernelLimits {
public:
    KernelLimits();
    ~KernelLimits();
    KernelLimits(const KernelLimits&) = delete;
    KernelLimits& operator=(const KernelLimits&) = delete;
    const std::string& description() const { return description_; }

private:
    struct Saved {
        std::string path, value;
    };
    std::vector<Saved> saved_;
    std::string description_;
};

}  // namespace muster::bench
