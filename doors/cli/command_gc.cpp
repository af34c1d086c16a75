// muster gc: releases what dead processes left behind, whole ephemeral domains included.
#include <fmt/format.h>
#include <memory>
#include "command.hpp"
#include "ephemeral.hpp"
#include "report.hpp"

namespace muster::cli {

void add_gc(Registry& registry) {
    auto dry_run = std::make_shared<bool>(false);
    CLI::App* command = registry.add(
        "gc", "Release what dead processes left behind",
        "  muster gc --dry-run\n"
        "  muster gc\n"
        "What it finds: names of removed objects; removed segments whose last user was killed; what killed processes took\n"
        "from semaphores with undo, sleepers that died, threads that died inside an operation; FIFOs and directories nobody\n"
        "uses. Nothing is lost by it that a living process could want. Looks at one domain, and at all ephemeral domains of\n"
        "this user whose `muster run --ephemeral` was killed.");
    command->add_flag("--dry-run", *dry_run, "Only tell");
    registry.actions.emplace_back(command, [dry_run, &registry] {
        const Domain domain = open_domain(registry.global);
        std::vector<Finding> findings = require(domain.gc(!*dry_run), Doing::inspecting, registry.global);
        for (Finding& finding : collect_ephemeral(!*dry_run)) findings.push_back(std::move(finding));
        print_findings(findings, registry.global.json, "released", *dry_run ? "left behind" : "not released");
        return static_cast<int>(kOk);
    });
}

}  // namespace muster::cli
