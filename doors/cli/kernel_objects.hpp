// The kernel's own System V and POSIX objects, for `muster ls --kernel`: this command is not preloaded, so it sees them.
#pragma once
#include <string>
#include <vector>
#include "muster/domain.hpp"

namespace muster::cli {

// What could not be looked at, and why.
struct KernelNote {
    ObjectKind kind;
    std::string text;
};

// What /proc/sysvipc, /dev/mqueue and /dev/shm tell.
std::vector<ObjectInfo> kernel_objects(std::vector<KernelNote>& notes);

}  // namespace muster::cli
