// The cases of tests/proof/every_instruction_*_test.cpp: one for each operation of a kind of object.
#pragma once
#include "every_instruction.hpp"

namespace muster::test {

class EveryInstruction : public testing::TestWithParam<std::string> {
protected:
    void die_at_each() {
        const auto start = std::chrono::steady_clock::now();
        const auto operation = make_operation(GetParam());
        ASSERT_TRUE(operation != nullptr && operation->begin()) << GetParam();
        Random random(proof_seed());
        // (recovery_deaths_test.cpp goes on with those that come after a death.)
        const Deaths sum = die_everywhere(*operation, short_or_long<std::size_t>(operation->has_earlier() ? 4 : 14, 0), random);
        if (!operation->stuck()) operation->finish();
        const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
        const std::chrono::duration<double, std::milli> longest = operation->longest_wait();
        std::printf("done from %zu, undone to %zu; others may see a difference at %zu places\n", sum.first_done, sum.last_undone, sum.fresh);
        if (HasFailure()) std::printf("to repeat: MUSTER_PROOF_SEED=%llu\n", static_cast<unsigned long long>(proof_seed()));
        EXPECT_LE(sum.elsewhere, operation->varies() ? sum.died - sum.died / 10 : sum.died / 10 + 3) << "the path varies too much for the proof";
        if (operation->one_commits() && sum.first_done < sum.instructions) {
            EXPECT_LT(sum.last_undone, sum.first_done);
        }
        figure("every instruction", "%s: %zu instructions, %zu deaths (%zu on another way) and %zu asleep, %zu left out in loops, longest wait %.1f ms, %.1f s",
               GetParam().c_str(), sum.instructions, sum.died, sum.elsewhere, sum.asleep, sum.left_out, longest.count(), taken.count());
    }
};

}  // namespace muster::test

#define MUSTER_EVERY_INSTRUCTION_OF(Kind, kind)                                                                                             \
    namespace muster::test {                                                                                                                \
    using EveryInstructionOf##Kind = EveryInstruction;                                                                                      \
    TEST_P(EveryInstructionOf##Kind, MayBeTheLast) { die_at_each(); }                                                                       \
    INSTANTIATE_TEST_SUITE_P(Operations, EveryInstructionOf##Kind, testing::ValuesIn(operation_names(kind)),                                \
                             [](const auto& info) { return as_test_name(info.param); });                                                    \
    }
