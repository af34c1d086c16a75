// Goes through an operation of the table: its process is killed after each instruction of the call, and what it left is verified.
#pragma once
#include <gtest/gtest.h>
#include <algorithm>
#include <chrono>
#include <string>
#include "operations.hpp"
#include "shared_view.hpp"
#include "support/proof.hpp"

namespace muster::test {

struct Deaths {
    std::size_t instructions = 0;  // of the call
    std::size_t died = 0;
    std::size_t elsewhere = 0;     // these went another way than the one learnt, and died where they came to
    std::size_t fresh = 0;         // places before which something that others see has changed
    std::size_t left_out = 0;      // points many rounds into a loop
    std::size_t asleep = 0;        // deaths in the kernel, in the sleep of a call that sleeps
    std::size_t first_done = 0, last_undone = 0;
};

// Where to kill. 0: at each instruction; deep inside loops at each one before which something that others see has changed, since between
// two such places one death is like another (shared_view.hpp). Else about `at_most` of them, evenly spread,
// and one deep inside a loop; where they begin is the seed's choice.
inline std::vector<std::size_t> points_of(const Path& path, std::size_t at_most, Random& random) {
    std::vector<std::size_t> plain, deep, chosen;
    for (std::size_t n = 0; n <= path.size(); ++n) (path.deep(n) ? deep : plain).push_back(n);
    if (at_most == 0) {
        chosen = plain;
        std::copy_if(deep.begin(), deep.end(), std::back_inserter(chosen), [&](std::size_t n) { return path.fresh(n); });
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
    if (!operation.prepare()) {
        ADD_FAILURE() << operation.name() << ": the state cannot be made";
        return sum;
    }
    {
        SharedView view(domain_path());
        const auto changed = [&](pid_t pid, bool after_system_call) { return at_most != 0 || view.changed(pid, after_system_call); };
        path = Path::learn([&] { operation.run(); }, help, [] { return false; }, changed);
    }
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
    for (std::size_t n = 0; n <= path.size(); ++n) sum.left_out += path.deep(n) && !std::binary_search(points.begin(), points.end(), n) ? 1 : 0;
    for (std::size_t n = 0; n <= path.size(); ++n) sum.fresh += path.fresh(n) ? 1 : 0;
    std::size_t undone_before = 0;  // behind a point at which the call was not done
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
        // The commit is something that others see, or what is left out was left out wrongly.
        const bool turned = there && found == Found::done && undone_before == n;
        if (turned && operation.one_commits() && !path.fresh(n)) ADD_FAILURE() << "the call was done with nothing to be seen";
        undone_before = there && found == Found::undone ? n + 1 : 0;
        if (there && found == Found::done) sum.first_done = std::min(sum.first_done, n);
        if (there && found == Found::undone) sum.last_undone = std::max(sum.last_undone, n);
    }
    for (int death = 0; sleeps && death < short_or_long(1, 20) && !testing::Test::HasFailure(); ++death) {
        SCOPED_TRACE(operation.name() + " killed in its sleep");
        if (!operation.prepare()) break;
        Tracee victim([&] { operation.run(); });
        sum.asleep += victim.ready() && victim.run_till_asleep() ? 1 : 0;  // or it was slow once, and only looked asleep
        victim.kill();
        operation.verify(operation.end_of_call());
    }
    return sum;
}

}  // namespace muster::test
