#include "report.hpp"

#include <unistd.h>
#include <fmt/format.h>
#include <algorithm>
#include <cmath>

namespace muster::bench {

std::vector<double> Cell::values(const std::string& key) const {
    std::vector<double> found;
    for (const TrialOutcome& round : rounds)
        for (const auto& [k, value] : round.figures)
            if (k == key) found.push_back(value);
    return found;
}

std::vector<std::size_t> Run::columns(const std::string& family) const {
    std::vector<std::size_t> found;
    for (std::size_t b = 0; b < backends.size(); ++b)
        for (std::size_t c = 0; c < cases.size(); ++c)
            if (cases[c].family() == family && cells[c][b].took_part()) {
                found.push_back(b);
                break;
            }
    return found;
}

std::optional<Summary> Run::summary(std::size_t which_case, std::size_t backend, const std::string& key) const {
    const Cell& cell = cells[which_case][backend];
    const std::vector<double> values = cell.values(key);
    if (!cell.problem.empty() || values.empty()) return std::nullopt;
    Summary s;
    s.median = bench::median(values);
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    s.spread = s.median > 0 ? (*high - *low) / 2 / s.median : 0;
    const std::vector<double> base = backends[0].key == "kernel" ? cells[which_case][0].values(key) : std::vector<double>{};
    std::vector<double> ratios;
    for (std::size_t r = 0; r < std::min(values.size(), base.size()); ++r)
        if (base[r] > 0) ratios.push_back(values[r] / base[r]);
    if (!ratios.empty() && cells[which_case][0].problem.empty()) s.ratio = bench::median(ratios);
    return s;
}

std::string number(double value) {
    const int digits = value >= 99.95 || value == 0 ? 0 : value >= 9.995 ? 1 : value >= 0.9995 ? 2 : 3;
    return fmt::format("{:.{}f}", value, digits);
}

std::string ratio_text(const Summary& s) {
    return s.ratio ? number(*s.ratio) + "x" : "";
}

std::string goal_text(const FigureSpec& figure) {
    if (figure.goal == 0) return "";
    std::string text = fmt::format("{} {:g} {}", figure.better == Better::lower ? "<=" : ">", figure.goal, figure.unit);
    if (figure.ratio_goal != 0) text += fmt::format(" ({:g}x)", figure.ratio_goal);
    return text;
}

std::string mark(const FigureSpec& figure, const Summary& s) {
    if (figure.goal == 0) return "";
    const double missing = figure.better == Better::lower ? s.median / figure.goal - 1 : figure.goal / s.median - 1;
    if (missing <= 0) return "ok";
    if (figure.ratio_goal != 0 && s.ratio && *s.ratio <= figure.ratio_goal) return "ok by ratio";
    // How much faster it must become; from twice on a factor says more.
    return missing < 1 ? fmt::format("short by {:.0f} %", std::ceil(missing * 100))
                       : fmt::format("short {:.1f}-fold", missing + 1);
}

namespace {

std::string time_text(double ns) {
    return ns < 1000 ? number(ns) + " ns" : ns < 1e6 ? number(ns / 1000) + " µs" : number(ns / 1e6) + " ms";
}

}  // namespace

std::string remarks(const Run& run, std::size_t which_case, std::size_t backend) {
    std::vector<std::string> words;
    const auto find = [&](const char* key) { return run.summary(which_case, backend, key); };
    if (const auto s = find("cpu_ns"))
        words.push_back("CPU " + time_text(s->median) + (run.cases[which_case].workload == "W6" ? "/pair" : "/msg"));
    if (const auto s = find("idle_sleeping"))
        words.push_back(
            fmt::format("idle {}, CPU {:.2f} %", s->median == 1 ? "asleep" : "AWAKE", find("idle_cpu_permille")->median / 10));
    if (const auto s = find("p99_us")) words.push_back("p99 " + time_text(s->median * 1000));
    if (const auto s = find("stalled"))
        words.push_back(fmt::format("{:.0f} of {:.0f} kills stalled somebody", s->median, find("kills_inside")->median));
    if (const auto s = find("start_up_us")) words.push_back("start-up " + time_text(s->median * 1000));
    return fmt::format("{}", fmt::join(words, ", "));
}

namespace {

struct Paint {
    const char *bold = "", *dim = "", *good = "", *bad = "", *off = "";
};

Paint paint_for_terminal() {
    if (!isatty(STDOUT_FILENO) || getenv("NO_COLOR") != nullptr) return {};
    return {"\033[1m", "\033[2m", "\033[32m", "\033[33m", "\033[0m"};
}

void print_figure(const Run& run, std::size_t c, const FigureSpec& figure, bool first, const Paint& paint) {
    const Case& what = run.cases[c];
    const std::string title = *figure.title != 0 ? fmt::format("{}: {}", what.title, figure.title) : what.title;
    fmt::print("{}{:<3} {}{}", paint.bold, what.workload, title, paint.off);
    if (figure.goal != 0) fmt::print("   goal {}", goal_text(figure));
    fmt::print("\n");
    if (first) fmt::print("    {}{}{}\n", paint.dim, what.conditions, paint.off);
    for (std::size_t b = 0; b < run.backends.size(); ++b) {
        if (!run.cells[c][b].took_part()) continue;
        const auto s = run.summary(c, b, figure.key);
        fmt::print("    {:<11}", run.backends[b].title);
        if (!s) {
            const std::string& problem = run.cells[c][b].problem;
            fmt::print("{:>9}  {}\n", "-", problem.empty() ? "none" : first ? problem : "");
            continue;
        }
        fmt::print("{:>9} {:<5}{:>8}  {:>6}", number(s->median), figure.unit, ratio_text(*s),
                   fmt::format("±{:.0f} %", s->spread * 100));
        const std::string verdict = run.is_muster(b) ? mark(figure, *s) : "", remark = first ? remarks(run, c, b) : "";
        if (!verdict.empty() || !remark.empty())
            fmt::print("  {}{:<14}{}", verdict.starts_with("ok") ? paint.good : paint.bad, verdict, paint.off);
        if (!remark.empty()) fmt::print("  {}{}{}", paint.dim, remark, paint.off);
        fmt::print("\n");
    }
    fmt::print("\n");
}

}  // namespace

void print_table(const Run& run) {
    const Paint paint = paint_for_terminal();
    fmt::print("{}\n{} x {}, {}\n{}, {}, {}\n", run.command, run.machine.cpus, run.machine.cpu, run.machine.kernel,
               run.machine.compiler, run.machine.flags, run.machine.libraries);
    fmt::print("kernel queues: {}\n", run.limits);
    fmt::print("{} rounds interleaved; medians, ratio to the kernel in the same round, ± half the range.\n", run.rounds);
    fmt::print("Stamping, checking, two calls and two copies of 64 B cost {} ns without any queue.\n", number(run.harness_ns));
    for (const std::string& a : run.absent) fmt::print("absent: {}\n", a);
    fmt::print("\n");
    for (std::size_t c = 0; c < run.cases.size(); ++c)
        for (std::size_t f = 0; f < run.cases[c].figures.size(); ++f)
            print_figure(run, c, run.cases[c].figures[f], f == 0, paint);
}

}  // namespace muster::bench
