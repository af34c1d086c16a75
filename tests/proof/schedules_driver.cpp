#include "tests/proof/schedules_driver.hpp"
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace muster::test {
using simulated::Machine;
using simulated::machine;
using simulated::Plan;

void Image::take() {
    for (Part& part : parts_) part.was.assign(part.start, part.start + part.bytes);
}
void Image::restore() const {
    for (const Part& part : parts_) std::memcpy(part.start, part.was.data(), part.bytes);
}

Driver::Driver(Scenario& scenario) : scenario_(scenario) {
    length_ = length_of_quiet_run(0);
}

Plan Driver::given_plan(unsigned first, bool weak) {
    Plan plan;
    plan.kind = Plan::Kind::given;
    plan.weak = weak;
    plan.visible_in_256 = 0;  // as late as can be
    plan.pauses_yield = true;
    plan.first = first;
    return plan;
}

// How many points there are when nobody disturbs.
unsigned Driver::length_of_quiet_run(unsigned first) {
    const Plan plan = given_plan(first, false);
    machine().rescued = nullptr;
    const auto bodies = scenario_.begin(0);
    machine().run(plan, bodies);
    const auto length = static_cast<unsigned>(machine().now());
    return length < 20 ? 20 : length;
}

// Everything about a schedule follows from its seed.
Plan Driver::plan_of(std::uint64_t seed) const {
    Random random(seed * 0x2545f4914f6cdd1dull + 77);
    Plan plan;
    plan.seed = seed;
    plan.length = length_ + length_ / 4;
    plan.kind = random.once_in(3) ? Plan::Kind::random : Plan::Kind::priorities;
    plan.preemptions = random.below(5);
    plan.mean_run = 2u << random.below(6);
    plan.weak = !random.once_in(4);
    plan.visible_in_256 = random.once_in(3) ? 0 : 16u << random.below(4);
    plan.pauses_yield = random.once_in(2);
    static constexpr Plan::Cpus kCpus[] = {Plan::Cpus::one,       Plan::Cpus::one,       Plan::Cpus::unknown,
                                           Plan::Cpus::unknown,   Plan::Cpus::wandering, Plan::Cpus::wandering,
                                           Plan::Cpus::wandering, Plan::Cpus::several};
    plan.cpus = kCpus[random.below(8)];
    const Dangers& dangers = scenario_.dangers();
    plan.kills = random.below(dangers.kills + 1);
    plan.interrupts = random.below(dangers.interrupts + 1);
    plan.cancels = random.below(dangers.cancels + 1);
    plan.stops = random.below(dangers.stops + 1);
    return plan;
}

bool Driver::one(const Plan& plan, const std::string& schedule) {
    Machine& m = machine();
    std::string unpromised;
    m.rescued = [&](unsigned process, const std::uint32_t* word, bool changed) {
        bool undisturbed = true;
        for (unsigned i = 0; i < simulated::kProcessesMax; ++i) undisturbed = undisturbed && !m.process(i).killed;
        const bool lock = scenario_.is_lock(word);
        m.note("rescued by a time-out: P" + std::to_string(process));
        if (undisturbed || (changed && !lock)) {
            unpromised = "a wake was lost: P" + std::to_string(process) + " went on only after a time-out, asleep on " +
                         scenario_.name_of(word);
            return;
        }
        Rescues& rescues = lock ? (changed ? owed_ : held_) : watched_;
        if (rescues.count++ == 0) rescues.first = schedule;
    };
    m.name_of = [&](const void* address) { return scenario_.name_of(address); };
    const auto bodies = scenario_.begin(plan.seed);
    ++schedules_;
    const auto ending = m.run(plan, bodies);
    if (ending == Machine::Ending::quiet) ++quiet_;
    std::string wrong = ending == Machine::Ending::endless ? "it comes to no end" : m.failure();
    if (wrong.empty()) wrong = unpromised;
    if (wrong.empty()) wrong = scenario_.judge(ending);
    if (wrong.empty()) wrong = m.failure();
    m.rescued = nullptr;
    if (wrong.empty()) return true;
    finding_ = {schedule, wrong};
    return false;
}

bool Driver::run(std::uint64_t first_seed, std::uint64_t count) {
    for (std::uint64_t seed = first_seed; seed < first_seed + count; ++seed)
        if (!one(plan_of(seed), scenario_.name() + ":" + std::to_string(seed))) return false;
    return true;
}

bool Driver::run_all(unsigned preemptions, bool kill, bool weak, std::uint64_t most) {
    const auto processes = static_cast<unsigned>(scenario_.begin(0).size());
    std::uint64_t turn = 0;
    for (unsigned first = 0; first < processes; ++first) {
        // Who is preempted late may find more to do than in a quiet run. A step past the end is no preemption, so that those with
        // fewer are among them.
        const unsigned length = length_of_quiet_run(first) * 3 / 2;
        std::uint64_t all = kill ? processes : 1;
        for (unsigned i = 0; i < preemptions; ++i) all = all * (length - i) / (i + 1);
        const std::uint64_t stride = all * processes / most + 1;
        std::vector<std::uint64_t> at(preemptions, 0);
        // at[0] < at[1] < …
        for (std::uint64_t i = 0; i < preemptions; ++i) at[i] = i + 1;
        for (bool more = true; more;) {
            for (unsigned victim = 0; victim < (kill ? processes : 1); ++victim) {
                if (turn++ % stride != 0) {
                    ++left_out_;
                    continue;
                }
                Plan plan = given_plan(first, weak);
                std::string name = scenario_.name() + (weak ? ":weak:" : ":strong:") + std::to_string(first);
                for (std::size_t i = 0; i < preemptions; ++i) {
                    const bool dies = kill && i + 1 == preemptions;
                    plan.switches.push_back({at[i], dies ? 256 + victim : 0});
                    name += (dies ? "/k" + std::to_string(victim) + "@" : "/") + std::to_string(at[i]);
                }
                ++enumerated_;
                if (!one(plan, name)) return false;
            }
            more = false;
            for (std::size_t i = preemptions; i-- > 0 && !more;) {
                if (at[i] >= length - (preemptions - 1 - i)) continue;
                ++at[i];
                for (std::size_t k = i + 1; k < preemptions; ++k) at[k] = at[k - 1] + 1;
                more = true;
            }
        }
    }
    return true;
}

// "name:seed", or "name:weak:first/step/k1@step".
std::string Driver::repeat(const std::string& schedule) {
    machine().tracing = true;
    const std::string how = schedule.substr(scenario_.name().size() + 1);
    bool good;
    if (how.starts_with("weak:") || how.starts_with("strong:")) {
        std::stringstream text(how.substr(how.find(':') + 1));
        std::string part;
        std::getline(text, part, '/');
        Plan plan = given_plan(static_cast<unsigned>(std::stoul(part)), how[0] == 'w');
        while (std::getline(text, part, '/')) {
            unsigned to = 0;
            if (part[0] == 'k') {
                to = 256 + static_cast<unsigned>(std::stoul(part.substr(1)));
                part = part.substr(part.find('@') + 1);
            }
            plan.switches.push_back({std::stoull(part), to});
        }
        good = one(plan, schedule);
    } else {
        good = one(plan_of(std::stoull(how)), schedule);
    }
    machine().tracing = false;
    return machine().trace() + (good ? "nothing is wrong\n" : finding_.what + "\n");
}

}  // namespace muster::test
