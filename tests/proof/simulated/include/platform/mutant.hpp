// In place of src/platform/mutant.hpp: the seeded faults of the sources are always compiled in here, and chosen at run time.
#pragma once
#include <cstring>

namespace muster::testing {
inline const char* chosen_mutant = nullptr;
inline bool is_mutant(const char* name) {
    return std::strcmp(chosen_mutant, name) == 0;
}
}  // namespace muster::testing
#define MUSTER_MUTANT(name) \
    (__builtin_expect(::muster::testing::chosen_mutant != nullptr, 0) && ::muster::testing::is_mutant(#name))
