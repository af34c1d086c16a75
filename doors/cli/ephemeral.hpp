// Domains that live as long as one `muster run --ephemeral`.
//
// A file named "ephemeral" in the domain's directory says who removes it at the end: three lines,
// "pid N", "start N" (clock ticks after boot), "pidns N" (inode of the pid namespace). When that process is dead,
// killed before it could do so, `muster gc` does it.
#pragma once
#include <string>
#include <vector>
#include "muster/domain.hpp"

namespace muster::cli {

void record_owner(const Domain& domain);

// Removes an ephemeral domain; the record goes last, so that a removal cut short is taken up again by gc.
Result<> remove_ephemeral(const Domain& domain);

// This user's ephemeral domains whose owners are dead, or that cannot be judged.
std::vector<Finding> collect_ephemeral(bool remove);

}  // namespace muster::cli
