// One measurement: one case, one backend, one round, in a process of its own.
//
// A trial that crashes or hangs costs its cell in the table, not the run: the parent
// waits with a deadline, kills the trial's process group and removes its queues.
#pragma once
#include <sys/types.h>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "backend.hpp"

namespace muster::bench {

struct Budget {
    double seconds = 0.1;  // length of the timed part
    unsigned kills = 100;  // for the trials that kill
};

// Memory that all processes of a trial share.
struct SharedState {
    static constexpr std::size_t kFigures = 24;
    struct Figure {
        char key[32];
        double value;
    };
    std::atomic<std::uint32_t> ready{0};      // how many helpers have got through their set-up
    std::atomic<std::uint32_t> go{0};         // set: helpers may begin
    std::atomic<std::uint32_t> stop{0};       // set: helpers shall end
    std::atomic<std::uint64_t> heartbeat{0};  // nonzero: must keep changing, or the trial counts as hung
    std::atomic<std::uint32_t> sent[OrderCheck::kWriters] = {};
    std::atomic<std::uint32_t> outcome{0};  // 0 nothing yet, 1 figures are there, 2 refused, 3 failed
    char why[200] = {};
    std::uint32_t figures_count = 0;
    Figure figures[kFigures] = {};

    // How far a process that will be killed has come.
    struct Victim {
        std::atomic<std::uint32_t> inside{0};  // within a call of the queue
        std::atomic<std::uint32_t> send_begun{0}, send_done{0};
        std::atomic<std::uint32_t> receive_begun{0}, receive_done{0};
        std::atomic<std::uint32_t> fault{0};
    } victim;
};

struct Case;

// What a workload gets.
struct Trial {
    Backend& backend;
    const Case& what;
    Budget budget;
    SharedState& shared;
    std::string name;  // prefix of its queues: "<name>-0" … "<name>-9"

    Shape shape(int number) const;
    void figure(const char* key, double value);
};

struct TrialOutcome {
    enum class Kind { measured, refused, failed } kind = Kind::failed;
    std::string why;
    std::vector<std::pair<std::string, double>> figures;
};

TrialOutcome run_trial(Backend& backend, const Case& what, const Budget& budget);

// A helper process of the trial; it dies with the trial.
class Helper {
public:
    Helper(SharedState& shared, const std::function<void()>& body);
    ~Helper();  // kills it if it was not joined
    Helper(const Helper&) = delete;
    Helper& operator=(const Helper&) = delete;
    pid_t pid() const { return pid_; }
    void join();           // throws Failure unless it ended well
    void kill_now();       // SIGKILL, without waiting
    bool reap(bool wait);  // true once it is gone

private:
    SharedState& shared_;
    pid_t pid_;
};

// Waits, asleep, until `word` reaches `value`; throws Failure after five seconds.
void await(const std::atomic<std::uint32_t>& word, std::uint32_t value, const char* for_what);

// Creates and opens the queue, and passes `depth` messages through it, every byte checked:
// allocation and page touching happen here, and are reported as start_up_us.
struct OpenedQueue {
    std::unique_ptr<Queue> queue;
    double start_up_us = 0;
};
OpenedQueue create_touched(Trial& trial, int number);

double median(std::vector<double> values);
double quantile(std::vector<double> values, double q);

}  // namespace muster::bench
