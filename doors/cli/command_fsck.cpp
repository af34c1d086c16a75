// muster fsck: checks objects, mends what can be mended.
#include <fmt/format.h>
#include <memory>
#include "command.hpp"
#include "object_name.hpp"
#include "report.hpp"

namespace muster::cli {
namespace {

struct Options {
    std::string name;
    bool repair = false;
};

int fsck(const Options& options, const Global& global) {
    const ObjectName object = options.name.empty() ? ObjectName{} : parse_object_name(options.name);
    const Domain domain = open_domain(global);
    const std::string path = options.name.empty() ? "" : find_object(domain, object, global).path;
    const std::vector<Finding> findings = require(domain.fsck(options.repair, path), Doing::inspecting, global);
    return print_findings(findings, global.json, "repaired", "damaged") == 0 ? kOk : kDamaged;
}

}  // namespace

void add_fsck(Registry& registry) {
    auto options = std::make_shared<Options>();
    CLI::App* command =
        registry.add("fsck", "Check objects, and mend them",
                     "  muster fsck\n"
                     "  muster fsck sem:0x1234\n"
                     "  muster fsck --repair /jobs\n"
                     "Message queues are mended from their messages; of other kinds header and sizes are checked, and what is\n"
                     "damaged can only be removed. Ends with 0 if all is well or was mended, with 8 if damage is left.");
    command->add_option("name", options->name, "Only this object: /jobs, sem:0x1234, shm:id=5 …")->type_name("OBJECT");
    command->add_flag("--repair", options->repair, "Mend what can be mended");
    registry.actions.emplace_back(command, [options, &registry] { return fsck(*options, registry.global); });
}

}  // namespace muster::cli
