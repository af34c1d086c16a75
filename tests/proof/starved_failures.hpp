// How the kernel may refuse each system call.
#pragma once
#include <string>
#include <vector>
#include "starved.hpp"

namespace muster::test {

struct Refusal {
    int error;
    bool stays;  // the same for all that follow: a limit reached, a sandbox
    bool after;  // carried out all the same
};

std::string name_of(const SystemCall& call);
// In what ways this one may fail; none for those that always succeed.
std::vector<Refusal> refusals_of(const SystemCall& call);

}  // namespace muster::test
