// Death during recovery. Somebody dies in the middle of an operation, at a place where he holds a lock or has announced a change; the
// one who comes next repairs what he left, and dies too, after each instruction of his call; a third must find all in order, as the
// table of operations says it.
//
// Places of the first death: the short form takes a few, the long one 40 for each pair of operations, and from each of them goes
// through the second call with a stride that begins elsewhere each time; from one of them through every instruction of it.
// MUSTER_PROOF_PLACE=N tries the first death after its instruction N alone.
#include <cstdlib>
#include "every_instruction.hpp"

namespace muster::test {
namespace {

std::vector<std::string> operations_after_a_death() {
    std::vector<std::string> names;
    for (const std::string& name : operation_names())
        if (make_operation(name)->has_earlier()) names.push_back(name);
    return names;
}

class RecoveryDeaths : public testing::TestWithParam<std::string> {};

TEST_P(RecoveryDeaths, AreRecoveredFrom) {
    const auto start = std::chrono::steady_clock::now();
    const auto operation = make_operation(GetParam());
    ASSERT_TRUE(operation->begin());
    const Path& earlier = operation->earlier_path();
    std::vector<std::size_t> held;  // where the first may die
    for (std::size_t n = 0; n < earlier.size(); ++n)
        if (earlier.held(n) && !earlier.deep(n)) held.push_back(n);
    ASSERT_FALSE(held.empty());
    if (const char* place = std::getenv("MUSTER_PROOF_PLACE"); place != nullptr) held = {std::strtoul(place, nullptr, 10)};

    Random random(proof_seed());
    const std::size_t places = std::min<std::size_t>(held.size(), short_or_long(earlier.size() > 2000 ? 1 : 2, 40));
    std::size_t pairs = 0, second_deaths = 0, left_out = 0, wholly = 0;
    for (std::size_t i = 0; i < places && !HasFailure(); ++i) {
        const std::size_t n = held[i * held.size() / places + random.below(static_cast<unsigned>(held.size() / places))];
        SCOPED_TRACE("the first killed after instruction " + std::to_string(n) + " of " + std::to_string(earlier.size()));
        operation->let_earlier_die_after(n);
        const bool all = long_form() && i == places / 2;
        const Deaths sum = die_everywhere(*operation, all ? 0 : short_or_long<std::size_t>(4, 10), random);
        if (HasFailure()) std::printf("to repeat: MUSTER_PROOF_PLACE=%zu\n", n);
        ++pairs;
        wholly += all ? 1 : 0;
        second_deaths += sum.died;
        left_out += sum.left_out;
    }
    if (!operation->stuck()) operation->finish();
    if (HasFailure()) std::printf("to repeat: MUSTER_PROOF_SEED=%llu\n", static_cast<unsigned long long>(proof_seed()));
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    const std::chrono::duration<double, std::milli> longest = operation->longest_wait();
    figure("death during recovery",
           "%s: first deaths at %zu of %zu places where something was held, %zu deaths of the one who repairs (from %zu places at each of its "
           "instructions), %zu left out in loops, longest wait of the third %.1f ms, %.1f s",
           GetParam().c_str(), pairs, held.size(), second_deaths, wholly, left_out, longest.count(), taken.count());
}

INSTANTIATE_TEST_SUITE_P(Operations, RecoveryDeaths, testing::ValuesIn(operations_after_a_death()),
                         [](const auto& info) { return as_test_name(info.param); });

}  // namespace
}  // namespace muster::test
