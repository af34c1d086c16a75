// The same run as Markdown and as JSON.
#include <fmt/format.h>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "report.hpp"

namespace muster::bench {
namespace {

void write_file(const std::string& path, const std::string& text) {
    if (path == "-") {
        std::cout << text << std::flush;
        return;
    }
    std::ofstream file(path);
    file << text << std::flush;
    if (!file) throw Failure("cannot write " + path);
}

using Columns = std::vector<std::size_t>;

std::string markdown_row(const Run& run, std::size_t c, const FigureSpec& figure, const Columns& columns) {
    const Case& what = run.cases[c];
    std::string row = fmt::format("| {} {}{}{} |", what.workload, what.title, *figure.title != 0 ? ": " : "", figure.title);
    std::string verdicts;
    for (const std::size_t b : columns) {
        const auto s = run.summary(c, b, figure.key);
        if (!run.cells[c][b].took_part()) {
            row += " |";
            continue;
        }
        if (!s) {
            const std::string& problem = run.cells[c][b].problem;
            row += fmt::format(" {} |", problem.empty() ? "none" : &figure == &what.figures.front() ? problem : "-");
            continue;
        }
        const std::string ratio = b == 0 || !s->ratio ? "" : ratio_text(*s) + ", ";
        row += fmt::format(" {} {} ({}±{:.0f} %) |", number(s->median), figure.unit, ratio, s->spread * 100);
        if (const std::string verdict = mark(figure, *s); run.is_muster(b) && !verdict.empty())
            verdicts += (verdicts.empty() ? "" : "; ") + run.backends[b].title + " " + verdict;
    }
    return row + fmt::format(" {} | {} |\n", goal_text(figure), verdicts);
}

std::string heading(const Run& run, const char* first, const Columns& columns, const char* rest, const char* rest_rule) {
    std::string text = first, rule = "|";
    for (const char* c = first + 1; *c != 0; ++c)
        if (*c == '|') rule += " --- |";
    for (const std::size_t b : columns) text += " " + run.backends[b].title + " |", rule += " --- |";
    return text + rest + "\n" + rule + rest_rule + "\n";
}

// The figures of a family against their goals, and what was seen beside them.
std::string figures_table(const Run& run, const std::string& family) {
    const Columns columns = run.columns(family);
    std::string text = heading(run, "| workload |", columns, " goal | Muster |", " --- | --- |");
    for (std::size_t c = 0; c < run.cases.size(); ++c)
        if (run.cases[c].family() == family)
            for (const FigureSpec& figure : run.cases[c].figures) text += markdown_row(run, c, figure, columns);
    return text;
}
std::string remarks_table(const Run& run, const std::string& family) {
    const Columns columns = run.columns(family);
    std::string text = heading(run, "| workload | conditions |", columns, "", "");
    for (std::size_t c = 0; c < run.cases.size(); ++c) {
        if (run.cases[c].family() != family) continue;
        text += fmt::format("| {} | {} |", run.cases[c].id, run.cases[c].conditions);
        for (const std::size_t b : columns) text += " " + remarks(run, c, b) + " |";
        text += "\n";
    }
    return text;
}

}  // namespace

void write_markdown(const Run& run, const std::string& path) {
    std::string text = "# Benchmarks\n\nThe last run on record, made by\n\n```\n" + run.command + "\n```\n\n";
    text += fmt::format("on {}: {} x {}, {}; {}, `{}`; {}. Kernel queues: {}.\n\n", run.when, run.machine.cpus, run.machine.cpu,
                        run.machine.kernel, run.machine.compiler, run.machine.flags, run.machine.libraries, run.limits);
    text += fmt::format(
        "{} rounds; in each of them every backend takes its turn. A cell is the median, and in brackets the ratio to the kernel "
        "in the\n"
        "same round (median) and half the range between the extremes. Every message is stamped and checked; that, two calls and "
        "two\n"
        "copies of 64 B cost {} ns without any queue, and are contained in every figure. What is done once (creating, opening,\n"
        "touching pages) is outside and reported further down.\n\n",
        run.rounds, number(run.harness_ns));
    for (const std::string& a : run.absent) text += "Absent: " + a + "\n\n";
    const bool posix = !run.columns("posix").empty(), sysv = !run.columns("sysv").empty();
    if (posix) text += "## POSIX queues\n\n" + figures_table(run, "posix") + "\n";
    if (sysv) text += "## System V\n\n" + figures_table(run, "sysv") + "\n";
    text +=
        "## CPU time, idling, start-up\n\nCPU time is that of all processes together. *Idle* is a receiver that has waited 20 "
        "ms, over the next 100 ms.\n\n";
    if (posix) text += remarks_table(run, "posix") + "\n";
    if (sysv) text += remarks_table(run, "sysv") + "\n";
    if (!run.note.empty()) text += run.note + "\n";
    write_file(path, text);
}

void write_json(const Run& run, const std::string& path) {
    nlohmann::ordered_json j;
    j["command"] = run.command;
    j["when"] = run.when;
    j["machine"] = {{"cpu", run.machine.cpu},           {"cpus", run.machine.cpus},   {"kernel", run.machine.kernel},
                    {"compiler", run.machine.compiler}, {"flags", run.machine.flags}, {"libraries", run.machine.libraries},
                    {"kernel_queue_limits", run.limits}};
    j["rounds"] = run.rounds;
    j["harness_ns_per_pair"] = run.harness_ns;
    j["absent"] = run.absent;
    for (std::size_t c = 0; c < run.cases.size(); ++c) {
        const Case& what = run.cases[c];
        nlohmann::ordered_json entry = {{"id", what.id},       {"workload", what.workload},
                                        {"title", what.title}, {"conditions", what.conditions},
                                        {"depth", what.depth}, {"message_bytes", what.message_bytes}};
        for (std::size_t b = 0; b < run.backends.size(); ++b) {
            const Cell& cell = run.cells[c][b];
            if (!cell.took_part()) continue;
            nlohmann::ordered_json one;
            if (!cell.problem.empty()) one["problem"] = cell.problem, one["failed"] = cell.failed;
            for (const FigureSpec& figure : what.figures) {
                const auto s = run.summary(c, b, figure.key);
                if (!s) continue;
                auto& f = one["figures"][figure.key];
                f = {{"median", s->median}, {"unit", figure.unit}, {"spread", s->spread}};
                if (s->ratio) f["ratio_to_kernel"] = *s->ratio;
                if (figure.goal != 0) f["goal"] = goal_text(figure);
                if (figure.goal != 0 && run.is_muster(b)) f["verdict"] = mark(figure, *s);
            }
            for (const TrialOutcome& round : cell.rounds) {
                nlohmann::ordered_json values = nlohmann::ordered_json::object();
                for (const auto& [key, value] : round.figures) values[key] = value;
                one["rounds"].push_back(std::move(values));
            }
            entry["backends"][run.backends[b].key] = std::move(one);
        }
        j["cases"].push_back(std::move(entry));
    }
    write_file(path, j.dump(2) + "\n");
}

}  // namespace muster::bench
