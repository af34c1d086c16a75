// Seeded faults ("mutants"), each of which a proof must find: what keeps the proofs honest. Compiled out of release builds, as
// the crash points are. tests/proof/mutants_test.cpp names all of them, and who catches each.
//
// MUSTER_MUTANT(name) is true in a process whose environment says MUSTER_MUTANT=name.
#pragma once
#ifdef MUSTER_TESTING
#include <cstdlib>
#include <cstring>
namespace muster::testing {
inline const char* const chosen_mutant = std::getenv("MUSTER_MUTANT");
inline bool is_mutant(const char* name) {
    return chosen_mutant != nullptr && std::strcmp(chosen_mutant, name) == 0;
}
}  // namespace muster::testing
#define MUSTER_MUTANT(name) __builtin_expect(::muster::testing::is_mutant(#name), 0)
#else
#define MUSTER_MUTANT(name) false
#endif
