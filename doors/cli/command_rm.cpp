// muster rm: takes objects away.
#include <fmt/format.h>
#include <algorithm>
#include <memory>
#include "command.hpp"
#include "object_name.hpp"
#include "output.hpp"
#include "report.hpp"
#include "text.hpp"

namespace muster::cli {
namespace {

struct Options {
    std::vector<std::string> names, kinds;
    bool force = false, all = false;
};

// Every object of the kinds that were named; message queues if none was.
std::vector<ObjectName> all_objects(const Domain& domain, const Options& options, const Global& global) {
    std::vector<ObjectKind> kinds;
    for (const std::string& word : options.kinds) kinds.push_back(parse_kind("--kind", word));
    const bool queues_alone = kinds.empty();
    if (queues_alone) kinds = {ObjectKind::message_queue};
    const auto wanted = [&](ObjectKind kind) { return std::find(kinds.begin(), kinds.end(), kind) != kinds.end(); };
    std::vector<ObjectName> names;
    const std::vector<ObjectInfo> objects = require(domain.list(), Doing::inspecting, global);
    for (const ObjectInfo& object : objects) {
        // A damaged queue may not tell what it is, but it lies where queues lie.
        const bool unknown_queue = object.kind == ObjectKind::unknown && object.path == domain.path() + "/mq" + object.name;
        const ObjectKind kind = unknown_queue ? ObjectKind::message_queue : object.kind;
        if (kind == ObjectKind::unknown && std::any_of(kinds.begin(), kinds.end(), [&](ObjectKind each) {
                return object.name.rfind(fmt::format("sysv/{}-", to_string(each)), 0) == 0;
            })) {
            names.push_back(parse_object_name(object.name));
        } else if (wanted(kind)) {
            ObjectName name{kind, object.name, "", {}, {}};
            if (object.id >= 0)
                name.id = object.id;
            else
                name.name = object.name.substr(object.name.find('/'));
            names.push_back(std::move(name));
        } else if (queues_alone && kind != ObjectKind::poll_fifo) {
            complain(fmt::format("{}: {} is no message queue and stays", escaped(object.name), to_string(object.kind)));
        }
    }
    std::sort(names.begin(), names.end(), [](const ObjectName& a, const ObjectName& b) { return a.text < b.text; });
    return names;
}

Result<> remove(const Domain& domain, const ObjectName& object, const Global& global) {
    if (!object.is_system_v()) return domain.remove(object.kind, object.name);
    auto removed = domain.remove(object.kind, identifier_of(domain, object, Doing::removing, global));
    if (removed) return removed;
    return Error(removed.error().errno_value(), object.text, removed.error().hint());  // as the user named it
}

int rm(const Options& options, const Global& global) {
    if (!options.kinds.empty() && !options.all) fail(kUsage, "rm: --kind goes with --all");
    if (options.all == !options.names.empty())
        fail(kUsage, options.all ? "rm: --all removes every queue, or every object of a --kind; leave the names away"
                                 : "rm: which object? or --all");
    std::vector<ObjectName> objects;
    for (const std::string& name : options.names) objects.push_back(parse_object_name(name));
    for (const std::string& word : options.kinds) parse_kind("--kind", word);
    const Domain domain = open_domain(global);
    if (options.all) objects = all_objects(domain, options, global);
    int code = kOk;
    Json removed = Json::array();
    for (const ObjectName& object : objects) {
        try {
            require(remove(domain, object, global), Doing::removing, global);
            removed.push_back(object.text);
        } catch (const Failure& failure) {  // the others are removed all the same
            if ((options.force || options.all) && failure.exit_code == kMissing) continue;
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
    CLI::App* command = registry.add("rm", "Remove objects",
                                     "  muster rm /jobs sem:0x1234 shm:id=5\n"
                                     "  muster rm --force /may-not-exist\n"
                                     "  muster --domain test rm --all\n"
                                     "  muster rm --all --kind shm --kind posix-shm\n"
                                     "Programs that have queues and memory open keep them; a semaphore set ends for everybody. What damage has left\n"
                                     "no object is named as `ls` does: muster rm sysv/msg-0.");
    command->add_option("name", options->names, "The objects: /jobs, sem:0x1234, shm:id=5 …")->type_name("OBJECT");
    command->add_flag("--force", options->force, "Be content if there is none");
    command->add_flag("--all", options->all, "Every queue of the domain, or every object of the kinds named");
    command->add_option("--kind", options->kinds, "With --all: mq, msg, sem, shm, posix-shm, posix-sem")
        ->type_name("KIND")
        ->allow_extra_args(false);
    registry.actions.emplace_back(command, [options, &registry] { return rm(*options, registry.global); });
}

}  // namespace muster::cli
