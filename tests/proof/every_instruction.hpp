// Goes through an operation of the table: its process is killed after each instruction of the call, and what it left is verified.
#pragma once
#include <gtest/gtest.h>
#include <algorithm>
#include <chrono>
#include <string>
#include "operations.hpp"
#include "support/proof.hpp"

namespace muster::test {

struct Deaths {
    std::size_t instructions = 0;  // of the call
    std::size_t died = 0;
    std::size_t elsewhere = 0;     // these went another way than the one learnt, and died where they came to
    std::size_t deep = 0;          // points left out: many rounds into a loop, one like another
    std::size_t asleep = 0;        // deaths in the kernel, in the sleep of a call that sleeps
    std::size_t first_done = 0, last_undone = 0;
};

// Where to kill. 0: at each instruction, and deep inside loops the more seldom the deeper. Else about `at_most` of them, evenly spread,
// and one deep inside a loop; where they begin is the seed's choice.
inline std::vector<std::size_t> points_of(const Path& path, std::size_t at_most, Random& random) {
    std::vector<std::size_t> plain, deep, chosen;
    for (std::size_t n = 0; n <= path.size(); ++n) (path.deep(n) ? deep : plain).push_back(n);
    if (at_most == 0) {
        chosen = plain;
        for (const std::size_t n : deep)
            if (random.once_in(static_cast<unsigned>(path.steps_to(n) / Path::kFewSteps) * 4)) chosen.push_back(n);
    } else {
        const std::size_t stride = std::max<std::size_t>(1, plain.size() / at_most);
        for (std::size_t i = random.below(static_cast<unsigned>(stride)); i < plain.size(); i += stride) chosen.push_back(plain[i]);
        std::erase_if(deep, [&](std::size_t n) { return path.steps_to(n) > 10 * Path::kFewSteps; });
        if (!deep.empty()) chosen.push_back(deep[random.below(static_cast<unsigned>(deep.size()))]);
    }
    std::sort(chosen.begin(), chosen.end());
    return chosen;
}

inline Deaths die_everywhere(Operation& operation, std::size_t at_most, Random& random) {
    Deaths sum;
    bool sleeps = false;
    const auto help = [&] {
        sleeps = true;
        operation.help();
    };
    Path path;
    if (operation.prepare()) path = Path::learn([&] { operation.run(); }, help, [] { return false; });
    if (path.empty()) {
        ADD_FAILURE() << operation.name() << " cannot be stepped; no ptrace here?";
        return sum;
    }
    const End left_alone = operation.end_of_call();
    operation.verify(left_alone);
    EXPECT_TRUE(operation.has_earlier() || (left_alone == End::failed) == operation.refused()) << "outcome " << *operation.outcome();
    sum.instructions = path.size();
    sum.first_done = path.size();
    const std::vector<std::size_t> points = points_of(path, at_most, random);
    for (std::size_t n = 0; n <= path.size(); ++n) sum.deep += path.deep(n) && !std::binary_search(points.begin(), points.end(), n) ? 1 : 0;
    for (const std::size_t n : points) {
        if (testing::Test::HasFailure()) break;
        SCOPED_TRACE(operation.name() + " killed after instruction " + std::to_string(n) + " of " + std::to_string(path.size()));
        if (!operation.prepare()) {
            ADD_FAILURE() << "the state cannot be made";
            break;
        }
        Tracee victim([&] { operation.run(); });
        if (!victim.ready()) {
            ADD_FAILURE() << "the call cannot be stepped";
            break;
        }
        const bool there = path.lead(victim, n, help);
        victim.kill();
        const Found found = operation.verify(operation.end_of_call());
        ++sum.died;
        if (!there) ++sum.elsewhere;
        if (there && found == Found::done) sum.first_done = std::min(sum.first_done, n);
        if (there && found == Found::undone) sum.last_undone = std::max(sum.last_undone, n);
    }
    for (int death = 0; sleeps && death < short_or_long(1, 20) && !testing::Test::HasFailure(); ++death) {
        SCOPED_TRACE(operation.name() + " killed in its sleep");
        if (!operation.prepare()) break;
        Tracee victim([&] { operation.run(); });
        if (!victim.ready() || !victim.run_till_asleep()) continue;
        victim.kill();
        operation.verify(operation.end_of_call());
        ++sum.asleep;
    }
    return sum;
}

}  // namespace muster::test
