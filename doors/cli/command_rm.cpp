// muster rm: takes names away.
#include <fmt/format.h>
#include <algorithm>
#include <memory>
#include "command.hpp"
#include "muster/message_queue.hpp"
#include "output.hpp"
#include "report.hpp"
#include "text.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

struct Options {
    std::vector<std::string> names;
    bool force = false, all = false;
};

std::vector<std::string> all_queues(const Domain& domain, const Global& global) {
    std::vector<std::string> names;
    for (const ObjectInfo& object : require(domain.list(), Doing::inspecting, global)) {
        // A damaged queue may not tell what it is, but it lies where queues lie.
        const bool unknown_queue = object.kind == ObjectKind::unknown && object.path == domain.path() + "/mq" + object.name;
        if (object.kind == ObjectKind::message_queue || unknown_queue)
            names.push_back(object.name);
        else if (object.kind != ObjectKind::poll_fifo)
            complain(fmt::format("{}: {} is no message queue and stays", escaped(object.name), to_string(object.kind)));
    }
    std::sort(names.begin(), names.end());
    return names;
}

int rm(const Options& options, const Global& global) {
    if (options.all == !options.names.empty())
        fail(kUsage, options.all ? "rm: --all removes every queue; leave the names away" : "rm: which queue? or --all");
    for (const std::string& name : options.names) check_queue_name(name);
    const Domain domain = open_domain(global);
    int code = kOk;
    Json removed = Json::array();
    for (const std::string& name : options.all ? all_queues(domain, global) : options.names) {
        const auto done = MessageQueue::remove(domain, name);
        if (done) {
            removed.push_back(name);
        } else if (!((options.force || options.all) && done.error() == ENOENT)) {
            const Failure failure = explain(done.error(), Doing::removing, global);
            complain(failure.text);
            code = failure.exit_code;
        }
    }
    if (global.json) print(dump({{"removed", removed}}));
    return code;
}

}  // namespace

void add_rm(Registry& registry) {
    auto options = std::make_shared<Options>();
    CLI::App* command = registry.add("rm", "Remove objects; programs that have them open keep them",
                                     "  muster rm /jobs\n"
                                     "  muster rm --force /may-not-exist\n"
                                     "  muster --domain test rm --all");
    command->add_option("name", options->names, "The objects")->type_name("/NAME");
    command->add_flag("--force", options->force, "Be content if there is none");
    command->add_flag("--all", options->all, "Every queue of the domain");
    registry.actions.emplace_back(command, [options, &registry] { return rm(*options, registry.global); });
}

}  // namespace muster::cli
