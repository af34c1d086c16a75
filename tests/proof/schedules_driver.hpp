// Schedules of a scenario: a seed, or a place in an enumeration, says how one goes; a failing one is told with how to repeat it.
#pragma once
#include <memory>
#include <string>
#include <vector>
#include "tests/proof/simulated/machine.hpp"

namespace muster::test {

// Memory as it was at one moment, to be had again before each schedule.
class Image {
public:
    void add(void* start, std::size_t bytes) { parts_.push_back({static_cast<std::byte*>(start), bytes, {}}); }
    void take();
    void restore() const;

private:
    struct Part {
        std::byte* start;
        std::size_t bytes;
        std::vector<std::byte> was;
    };
    std::vector<Part> parts_;
};

// What may happen in a schedule, at most.
struct Dangers {
    unsigned kills = 0, interrupts = 0, cancels = 0, stops = 0;
};

class Scenario {
public:
    Scenario(std::string name, Dangers dangers) : name_(std::move(name)), dangers_(dangers) {}
    virtual ~Scenario() = default;
    const std::string& name() const { return name_; }
    const Dangers& dangers() const { return dangers_; }

    // Everything as at the start; the processes of the schedule that `seed` stands for. Details of what they do may vary with it.
    virtual std::vector<std::function<void()>> begin(std::uint64_t seed) = 0;
    // After it: "" or what is wrong.
    virtual std::string judge(simulated::Machine::Ending ending) = 0;
    virtual std::string name_of(const void* address) const = 0;
    virtual bool is_lock(const void* address) const = 0;

protected:
    std::string name_;
    Dangers dangers_;
};

struct Finding {
    std::string schedule;  // for MUSTER_SCHEDULE
    std::string what;
};

class Driver {
public:
    explicit Driver(Scenario& scenario);
    // Runs so many seeded schedules, or until one fails.
    bool run(std::uint64_t first_seed, std::uint64_t count);
    // All schedules with so many preemptions or fewer, each process first once; with `kill` a death, of either, takes the place
    // of the last one. Of so many that there are more than `most`, evenly spread ones.
    bool run_all(unsigned preemptions, bool kill, bool weak, std::uint64_t most);
    // One, with its trace.
    std::string repeat(const std::string& schedule);

    const Finding& finding() const { return finding_; }
    std::uint64_t schedules() const { return schedules_; }
    std::uint64_t enumerated() const { return enumerated_; }
    std::uint64_t left_out() const { return left_out_; }
    // Sleeps that only a time-out ended, in schedules with deaths: how many, and the first schedule that had one.
    struct Rescues {
        std::uint64_t count = 0;
        std::string first;
    };
    const Rescues& owed() const { return owed_; }        // on a lock that had been let go: the wake went to somebody who died
    const Rescues& held() const { return held_; }        // on a lock whose holder was found out to be dead
    const Rescues& watched() const { return watched_; }  // in a call: somebody was found out to be dead
    std::uint64_t sleeping_ends() const { return quiet_; }

private:
    simulated::Plan plan_of(std::uint64_t seed) const;
    bool one(const simulated::Plan& plan, const std::string& schedule);
    unsigned length_of_quiet_run(unsigned first);
    static simulated::Plan given_plan(unsigned first, bool weak);

    Scenario& scenario_;
    unsigned length_ = 100;
    Finding finding_;
    std::uint64_t schedules_ = 0, quiet_ = 0, enumerated_ = 0, left_out_ = 0;
    Rescues owed_, held_, watched_;
};

// A scenario by its name.
std::unique_ptr<Scenario> make_scenario(const std::string& name);
std::vector<std::string> scenario_names();

}  // namespace muster::test
