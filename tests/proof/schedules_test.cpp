// The lock, ring and wake protocols under every order of events that a seed can think of: the sources of src/ run on a simulated
// machine (simulated/machine.hpp) whose scheduler, memory and kernel are ours, so that a schedule costs microseconds, happens
// again from its seed, and may contain deaths at any access, signals, cancellations, stops and stores that become visible late.
//
// Proved in each schedule: what the processes are told can be explained by an object that does one thing after the other; every
// message that was sent is received once, whole and in order; nobody sleeps beside what it waits for; no wake is made good by a
// time-out, but after a death where docs/protocols say so; a lock has one holder, and the death of a holder is told.
//
//   MUSTER_SCHEDULE=name:seed  repeats one schedule, with a trace: each access, whose, and where in the sources
//   MUSTER_SCHEDULES=N         so many of each scenario
#include <gtest/gtest.h>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include "support/proof.hpp"
#include "tests/proof/schedules_queue.hpp"

namespace muster::test {

std::vector<std::string> scenario_names() {
    std::vector<std::string> names = lock_scenario_names();
    for (const QueueShape& shape : queue_shapes()) names.emplace_back(shape.name);
    for (std::string& name : semaphore_scenario_names()) names.push_back(std::move(name));
    return names;
}

std::unique_ptr<Scenario> make_scenario(const std::string& name) {
    for (const QueueShape& shape : queue_shapes())
        if (name == shape.name) return make_queue_scenario(shape);
    if (auto lock = make_lock_scenario(name)) return lock;
    return make_semaphore_scenario(name);
}

namespace {

using simulated::Counters;
using simulated::machine;

// How to see a failing schedule again.
std::string told(const Finding& finding) {
    return finding.what + "\nrepeat it with MUSTER_SCHEDULE=" + finding.schedule;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class Seeded : public testing::TestWithParam<std::string> {};

TEST_P(Seeded, SchedulesAreExplainedAndNobodyIsStranded) {
    auto scenario = make_scenario(GetParam());
    ASSERT_NE(scenario, nullptr);
    Driver driver(*scenario);
    if (const char* only = std::getenv("MUSTER_SCHEDULE")) {
        if (std::string(only).starts_with(GetParam() + ":")) std::printf("%s", driver.repeat(only).c_str());
        return;
    }
    machine().counters = {};
    const char* wanted = std::getenv("MUSTER_SCHEDULES");
    const std::uint64_t count =
        wanted != nullptr ? std::strtoull(wanted, nullptr, 0) : short_or_long<std::uint64_t>(4'000, 300'000);
    const auto start = std::chrono::steady_clock::now();
    const bool good = driver.run(proof_seed() * 1'000'000'000, count);
    const Counters& c = machine().counters;
    figure(("schedules, " + GetParam()).c_str(),
           "%llu schedules, %llu points, %llu switches, %llu late stores, %llu sleeps, %llu deaths, %llu signals, %llu "
           "cancellations, %llu stops; "
           "%llu ended with rightful sleepers; after a death, got on by a recheck only: %llu on a lock let go, %llu on a dead "
           "holder's, %llu in a call; %.1f s",
           static_cast<unsigned long long>(driver.schedules()), static_cast<unsigned long long>(c.points),
           static_cast<unsigned long long>(c.switches), static_cast<unsigned long long>(c.late_stores),
           static_cast<unsigned long long>(c.sleeps), static_cast<unsigned long long>(c.kills),
           static_cast<unsigned long long>(c.interrupts), static_cast<unsigned long long>(c.cancels),
           static_cast<unsigned long long>(c.stops), static_cast<unsigned long long>(driver.sleeping_ends()),
           static_cast<unsigned long long>(driver.owed().count), static_cast<unsigned long long>(driver.held().count),
           static_cast<unsigned long long>(driver.watched().count), seconds_since(start));
    for (const auto* rescues : {&driver.owed(), &driver.held(), &driver.watched()})
        if (rescues->count != 0) std::printf("a recheck was needed in MUSTER_SCHEDULE=%s\n", rescues->first.c_str());
    EXPECT_TRUE(good) << told(driver.finding());
}
INSTANTIATE_TEST_SUITE_P(Schedules, Seeded, testing::ValuesIn(scenario_names()), [](const auto& info) { return info.param; });

// Two processes, and every way in which the CPU can go from one to the other with few preemptions, stores visible at once and as
// late as can be; and with one of them killed at every point.
struct Enumerated {
    const char* scenario;
    unsigned preemptions;
    bool kill;
};
void PrintTo(const Enumerated& each, std::ostream* out) {
    *out << each.scenario;
}

class All : public testing::TestWithParam<Enumerated> {};

TEST_P(All, SchedulesOfTwoWithFewPreemptions) {
    const Enumerated& wanted = GetParam();
    auto scenario = make_scenario(wanted.scenario);
    ASSERT_NE(scenario, nullptr);
    Driver driver(*scenario);
    if (const char* only = std::getenv("MUSTER_SCHEDULE")) {
        const std::string here =
            std::string(wanted.scenario) + (std::string(only).find(":weak:") != std::string::npos ? ":weak:" : ":strong:");
        if (std::string(only).starts_with(here) && (std::string(only).find("/k") != std::string::npos) == wanted.kill)
            std::printf("%s", driver.repeat(only).c_str());
        return;
    }
    const auto start = std::chrono::steady_clock::now();
    const std::uint64_t most = short_or_long<std::uint64_t>(10'000, 1ull << 40);
    const bool good = driver.run_all(wanted.preemptions, wanted.kill, false, most) &&
                      driver.run_all(wanted.preemptions, wanted.kill, true, most);
    figure((std::string("schedules, all of ") + wanted.scenario).c_str(),
           "%u preemptions at most%s: %llu schedules, %llu left out; %.1f s", wanted.preemptions,
           wanted.kill ? ", the last of them a death" : "", static_cast<unsigned long long>(driver.enumerated()),
           static_cast<unsigned long long>(driver.left_out()), seconds_since(start));
    EXPECT_TRUE(good) << told(driver.finding());
}
INSTANTIATE_TEST_SUITE_P(Schedules, All,
                         testing::Values(Enumerated{"lock_pair", 2, false}, Enumerated{"lock_pair", 2, true},
                                         Enumerated{"pair", 2, false}, Enumerated{"pair", 2, true},
                                         Enumerated{"pair_waits", 2, false}, Enumerated{"pair_waits", 2, true},
                                         Enumerated{"pair_removal", 2, false}, Enumerated{"pair_removal", 2, true},
                                         Enumerated{"pair_long", 2, false}, Enumerated{"pair_long", 2, true},
                                         Enumerated{"pair_polls", 2, false}, Enumerated{"pair_polls", 2, true},
                                         Enumerated{"pair_notifies", 2, false}, Enumerated{"pair_notifies", 2, true},
                                         Enumerated{"sem_pair", 2, false}, Enumerated{"sem_pair", 2, true}),
                         [](const auto& info) { return std::string(info.param.scenario) + (info.param.kill ? "_killed" : ""); });

}  // namespace
}  // namespace muster::test
