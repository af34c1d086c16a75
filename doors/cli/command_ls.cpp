// muster ls: what is in a domain.
#include <fmt/format.h>
#include <algorithm>
#include <memory>
#include "command.hpp"
#include "output.hpp"
#include "report.hpp"
#include "text.hpp"

namespace muster::cli {
namespace {

struct Options {
    bool details = false, all = false;
};

bool is_queue(const ObjectInfo& object) {
    return object.kind == ObjectKind::message_queue || object.kind == ObjectKind::typed_queue;
}

std::vector<std::string> row_of(const ObjectInfo& object, bool details, bool problems) {
    const bool queue = is_queue(object) && object.problem.empty();
    const auto number = [&](std::uint64_t value) { return queue ? std::to_string(value) : std::string("-"); };
    std::vector<std::string> row{escaped(object.name), std::string(to_string(object.kind)), octal(object.mode),
                                 user_name(object.owner_uid)};
    if (details) row.push_back(group_name(object.owner_gid));
    row.insert(row.end(), {number(object.messages), number(object.messages_max), number(object.message_size_bytes_max),
                           std::to_string(object.bytes_allocated),
                           queue ? fmt::format("{}/{}", object.receivers_waiting, object.senders_waiting) : "-",
                           local_time(object.created)});
    if (details) row.insert(row.end(), {escaped(object.path)});
    if (problems) row.push_back(escaped(object.problem));
    return row;
}

std::string table_of(const std::vector<ObjectInfo>& objects, bool details) {
    using enum Table::Align;
    const bool problems =
        std::any_of(objects.begin(), objects.end(), [](const ObjectInfo& object) { return !object.problem.empty(); });
    std::vector<Table::Column> columns{{"NAME"}, {"KIND"}, {"MODE"}, {"OWNER"}};
    if (details) columns.push_back({"GROUP"});
    for (const char* head : {"MESSAGES", "CAPACITY", "SIZE", "BYTES", "R/S WAITING"}) columns.push_back({head, right});
    columns.push_back({"CREATED"});
    if (details) columns.insert(columns.end(), {{"FILE"}});
    if (problems) columns.push_back({"PROBLEM"});
    Table table(std::move(columns));
    for (const ObjectInfo& object : objects) table.add(row_of(object, details, problems));
    return table.text();
}

int ls(const Options& options, const Global& global) {
    const Domain domain = open_domain(global);
    std::vector<ObjectInfo> objects = require(domain.list(), Doing::inspecting, global);
    if (!options.all)  // the descriptors behind poll() are no objects of the user's; broken ones are worth a look
        std::erase_if(objects,
                      [](const ObjectInfo& object) { return object.kind == ObjectKind::poll_fifo && object.problem.empty(); });
    std::sort(objects.begin(), objects.end(),
              [](const ObjectInfo& a, const ObjectInfo& b) { return std::tie(a.kind, a.name) < std::tie(b.kind, b.name); });
    if (global.json) {
        Json list = Json::array();
        for (const ObjectInfo& object : objects) list.push_back(to_json(object));
        print(dump(list));
    } else if (objects.empty()) {
        complain(fmt::format("nothing in {} yet; {} makes a queue", domain.path(), global.command("mk mq /NAME")));
    } else {
        print(table_of(objects, options.details));
    }
    return kOk;
}

}  // namespace

void add_ls(Registry& registry) {
    auto options = std::make_shared<Options>();
    CLI::App* command = registry.add("ls", "List the objects of a domain",
                                     "  muster ls\n"
                                     "  muster --domain test ls --long\n"
                                     "  muster ls --json\n"
                                     "BYTES is the memory in use; R/S WAITING counts the receivers and senders that wait.");
    command->add_flag("--long", options->details, "More columns: group, file");
    command->add_flag("--all", options->all, "Also the FIFOs behind polled queues");
    registry.actions.emplace_back(command, [options, &registry] { return ls(*options, registry.global); });
}

}  // namespace muster::cli
