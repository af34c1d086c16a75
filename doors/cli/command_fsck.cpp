// muster fsck: checks objects, mends what can be mended.
#include <fmt/format.h>
#include <algorithm>
#include <memory>
#include "command.hpp"
#include "report.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

struct Options {
    std::string name;
    bool repair = false;
};

// The file behind a name, so that findings about it can be told from others.
std::string path_of(const Domain& domain, const std::string& name, const Global& global) {
    for (const ObjectInfo& object : require(domain.list(), Doing::inspecting, global))
        if (object.name == name && object.kind != ObjectKind::poll_fifo) return object.path;
    throw explain(Error(ENOENT, name, ""), Doing::opening, global);
}

int fsck(const Options& options, const Global& global) {
    if (!options.name.empty()) {
        check_queue_name(options.name);
        if (options.repair) fail(kUsage, "fsck: --repair mends the whole domain; leave the name away");
    }
    const Domain domain = open_domain(global);
    const std::string path = options.name.empty() ? "" : path_of(domain, options.name, global);
    std::vector<Finding> findings = require(domain.fsck(options.repair), Doing::inspecting, global);
    if (!path.empty()) std::erase_if(findings, [&](const Finding& finding) { return finding.path != path; });
    return print_findings(findings, global.json, "repaired", "damaged") == 0 ? kOk : kDamaged;
}

}  // namespace

void add_fsck(Registry& registry) {
    auto options = std::make_shared<Options>();
    CLI::App* command = registry.add("fsck", "Check objects, and mend them",
                                     "  muster fsck\n"
                                     "  muster fsck /jobs\n"
                                     "  muster fsck --repair\n"
                                     "Ends with 0 if all is well or was mended, with 8 if damage is left.");
    command->add_option("name", options->name, "Only this object")->type_name("/NAME");
    command->add_flag("--repair", options->repair, "Mend what can be mended");
    registry.actions.emplace_back(command, [options, &registry] { return fsck(*options, registry.global); });
}

}  // namespace muster::cli
