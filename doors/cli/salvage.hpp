// muster fsck --salvage: what can be read of damaged objects, into files.
#pragma once
#include <string>
#include "failure.hpp"
#include "muster/domain.hpp"

namespace muster::cli {

struct SalvageRequest {
    std::string out;       // a directory, a new file, "-" standard output
    std::string geometry;  // "maxmsg,msgsize"
    std::string name;      // an object's name, a path to a file, or empty: every damaged object of the domain
};

// Exit code: kOk if all there was could be had, else kDamaged.
int salvage(const SalvageRequest& request, const Global& global);

}  // namespace muster::cli
