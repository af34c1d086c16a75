// From trials to tables.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "cases.hpp"
#include "machine.hpp"

namespace muster::bench {

// All rounds of one case on one backend.
struct Cell {
    std::vector<TrialOutcome> rounds;
    std::string problem;  // refused or failed: why; then there is no more to show
    bool failed = false;

    bool took_part() const { return !rounds.empty() || !problem.empty(); }

    std::vector<double> values(const std::string& key) const;
};

// A figure of a cell, condensed.
struct Summary {
    double median = 0;
    double spread = 0;            // half of (max - min), as a part of the median
    std::optional<double> ratio;  // to the kernel in the same round, median
};

struct BackendName {
    std::string key, title;
};

struct Run {
    std::string command, when, limits, note;
    Machine machine;
    unsigned rounds = 0;
    double harness_ns = 0;
    std::vector<BackendName> backends;  // the kernel first, if it takes part
    std::vector<std::string> absent;    // "Boost: headers were not found"
    std::vector<Case> cases;
    std::vector<std::vector<Cell>> cells;  // [case][backend]

    std::optional<Summary> summary(std::size_t which_case, std::size_t backend, const std::string& key) const;
    // The backends that took part in any case of the family: the columns of its table.
    std::vector<std::size_t> columns(const std::string& family) const;
    bool is_muster(std::size_t backend) const { return backends[backend].key.starts_with("muster"); }
};

// "ok", "ok by ratio", "short by 12 %", or nothing without a goal.
std::string mark(const FigureSpec& figure, const Summary& s);
std::string goal_text(const FigureSpec& figure);
std::string number(double value);          // three significant digits
std::string ratio_text(const Summary& s);  // "0.103x", "7.4x"
// Words on CPU time, start-up, idling, kills: whatever the workload reported beside its figures.
std::string remarks(const Run& run, std::size_t which_case, std::size_t backend);

void print_table(const Run& run);
void write_markdown(const Run& run, const std::string& path);  // "-": standard output
void write_json(const Run& run, const std::string& path);

}  // namespace muster::bench
