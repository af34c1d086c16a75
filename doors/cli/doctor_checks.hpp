// What on this machine keeps Muster from working well, and what to type against it.
#pragma once
#include <optional>
#include <string>
#include <vector>
#include "muster/domain.hpp"

namespace muster::cli {

struct Advice {
    std::string check;  // one word, for scripts: "space"
    std::string what;   // what was found
    std::string why;    // why it matters
    std::string fix;    // a command
};

// The domain that was asked for; absent: it could not be opened, `why_not` says why.
struct Patient {
    std::optional<Domain> domain;
    std::string why_not;
    std::string root;  // before /etc, /proc and /run: another system's files
};

// How many checks were made, and what they found.
struct Diagnosis {
    unsigned checks = 0;
    std::vector<Advice> found;
};
Diagnosis examine(const Patient& patient);

}  // namespace muster::cli
