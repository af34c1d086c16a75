// muster_bench: see usage() in options.cpp, and README.md beside this file.
#include <sys/stat.h>
#include <unistd.h>
#include <fmt/format.h>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "clock.hpp"
#include "instructions.hpp"
#include "options.hpp"
#include "report.hpp"

namespace muster::bench {
namespace {

volatile std::sig_atomic_t g_interrupted = 0;

struct Peers {
    std::vector<std::unique_ptr<Backend>> present;
    std::vector<std::string> absent;
};

Peers find_peers(const Options& options) {
    Peers peers;
    const auto add = [&](const char* key, const char* title, auto&& make, const char* why_not) {
        if (!options.wants_backend(key)) return;
        try {
            if (auto backend = make())
                peers.present.push_back(std::move(backend));
            else
                peers.absent.push_back(fmt::format("{}: {}", title, why_not));
        } catch (const Refused& e) {
            peers.absent.push_back(fmt::format("{}: {}", title, e.what()));
        }
    };
    const std::string library = options.muster_posix.empty() ? MUSTER_POSIX_PATH : options.muster_posix;
    add("kernel", "kernel", make_kernel_backend, "");
    add("boost", "Boost", make_boost_backend, "its headers were not found when this was built");
    add("glibc", "glibc sem_t", make_glibc_backend, "");
    add(
        "muster-c", "Muster C", [&] { return library.empty() ? nullptr : make_muster_c_backend(library); },
        "give --muster-posix FILE");
    add("muster-cpp", "Muster C++", make_muster_cpp_backend, "this was built without the library");
    return peers;
}

// A domain for this run alone. It is the library that makes the directory; we take it away.
class OwnDomain {
public:
    OwnDomain() : path_("/dev/shm/muster-bench-" + std::to_string(getpid())), owner_(getpid()) {
        setenv("MUSTER_DOMAIN", path_.c_str(), 1);
    }
    ~OwnDomain() {
        std::error_code ignored;
        if (getpid() == owner_) std::filesystem::remove_all(path_, ignored);
    }
    OwnDomain(const OwnDomain&) = delete;
    OwnDomain& operator=(const OwnDomain&) = delete;

private:
    std::string path_;
    pid_t owner_;
};

double measure_harness() {
    const auto queue = make_copy_only_queue();
    Buffers buffers(64);
    std::vector<double> rounds;
    for (int i = 0; i < 7; ++i) {
        const std::uint64_t start = now_ns();
        queue->pairs(buffers, 200'000);
        rounds.push_back(static_cast<double>(now_ns() - start) / 200'000);
    }
    return median(std::move(rounds));
}

void note_outcome(Cell& cell, TrialOutcome outcome) {
    if (outcome.kind == TrialOutcome::Kind::refused)
        cell.problem = "refused: " + outcome.why;
    else if (outcome.kind == TrialOutcome::Kind::failed)
        cell.problem = outcome.why, cell.failed = true;
    cell.rounds.push_back(std::move(outcome));
}

// Round by round, so that whatever disturbs the machine disturbs all alike.
void measure(Run& run, const Options& options, Peers& peers) {
    const bool watched = isatty(STDERR_FILENO);
    for (unsigned round = 0; round < run.rounds && g_interrupted == 0; ++round)
        for (std::size_t c = 0; c < run.cases.size(); ++c) {
            const Case& what = run.cases[c];
            if (round >= what.rounds_max) continue;
            for (std::size_t b = 0; b < peers.present.size() && g_interrupted == 0; ++b) {
                Cell& cell = run.cells[c][b];
                if (!cell.problem.empty() || !peers.present[b]->offers(what.kind)) continue;
                if (watched)
                    fmt::print(stderr, "\r\033[Kround {} of {}: {} {}", round + 1, run.rounds, what.id, run.backends[b].title);
                if (run.machine.cpus < what.cpus_needed)
                    cell.problem = "needs two CPUs";
                else
                    note_outcome(cell, run_trial(*peers.present[b], what, {options.seconds, options.kills}));
            }
        }
    if (watched) fmt::print(stderr, "\r\033[K");
}

void list(const Options& options, const Peers& peers) {
    for (const Case& c : all_cases())
        if (options.wants_case(c.id, c.workload, c.family())) fmt::print("{:<12} {} ({})\n", c.id, c.title, c.conditions);
    for (const auto& backend : peers.present) fmt::print("backend      {}\n", backend->key());
    for (const std::string& absent : peers.absent) fmt::print("absent       {}\n", absent);
}

bool anything_failed(const Run& run) {
    for (const auto& row : run.cells)
        for (std::size_t b = 0; b < row.size(); ++b)
            if (run.is_muster(b) && row[b].failed) return true;
    return false;
}

int run_all(const Options& options) {
    const OwnDomain domain;
    Peers peers = find_peers(options);
    if (options.list) {
        list(options, peers);
        return 0;
    }
    if (!options.instructions.empty()) {
        const bool copy_only = options.backends == std::vector<std::string>{"copy-only"};
        if (!copy_only && peers.present.size() != 1) throw Failure("--instructions wants one --backend");
        run_instructions(copy_only ? nullptr : peers.present.front().get(), options.instructions, options.operations);
        return 0;
    }
    if (peers.present.empty()) throw Failure("no backend is there: see --list");
    calibrate_ticks();
    const KernelLimits limits;
    Run run;
    run.command = options.command;
    run.machine = describe_machine();
    run.limits = limits.description();
    run.note = options.note;
    run.rounds = options.rounds;
    run.absent = peers.absent;
    run.harness_ns = measure_harness();
    for (Case& c : all_cases())
        if (options.wants_case(c.id, c.workload, c.family())) run.cases.push_back(std::move(c));
    if (run.cases.empty()) throw Failure("no such case: see --list");
    for (const auto& backend : peers.present) run.backends.push_back({backend->key(), backend->title()});
    run.cells.assign(run.cases.size(), std::vector<Cell>(run.backends.size()));
    char when[64];
    const std::time_t now = std::time(nullptr);
    tm parts{};
    strftime(when, sizeof when, "%Y-%m-%d", gmtime_r(&now, &parts));
    run.when = when;

    measure(run, options, peers);
    if (g_interrupted != 0) return 130;
    if (options.json != "-" && options.markdown != "-") print_table(run);
    if (!options.json.empty()) write_json(run, options.json);
    if (!options.markdown.empty()) write_markdown(run, options.markdown);
    return anything_failed(run) ? 1 : 0;
}

}  // namespace
}  // namespace muster::bench

int main(int argc, char** argv) {
    using namespace muster::bench;
    // Interrupted, we still put the limits back and remove the domain.
    struct sigaction interrupted {};
    interrupted.sa_handler = [](int) { g_interrupted = 1; };
    sigaction(SIGINT, &interrupted, nullptr);
    sigaction(SIGTERM, &interrupted, nullptr);
    try {
        const Options options = parse_options(argc, argv);
        if (options.help) {
            fmt::print("{}", usage());
            return 0;
        }
        return run_all(options);
    } catch (const std::exception& e) {
        fmt::print(stderr, "muster_bench: {}\n", e.what());
        return 2;
    }
}
