// muster limits: shows and sets the limits of a domain.
#include <fmt/format.h>
#include <array>
#include <memory>
#include "command.hpp"
#include "output.hpp"
#include "report.hpp"
#include "text.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

struct Limit {
    std::string_view name;
    std::uint64_t Limits::*value;
    std::string_view meaning;
};

constexpr std::array<Limit, 15> kLimits{
    {{"msg_default", &Limits::messages_default, "messages a queue holds if nothing else is asked for"},
     {"msgsize_default", &Limits::message_size_bytes_default, "bytes a message may have if nothing else is asked for"},
     {"msg_max", &Limits::messages_max, "messages that may be asked for"},
     {"msgsize_max", &Limits::message_size_bytes_max, "bytes a message that may be asked for"},
     {"queues_max", &Limits::queues_max, "queues in the domain"},
     {"msgmni", &Limits::typed_queues_max, "System V message queues in the domain"},
     {"msgmax", &Limits::typed_message_bytes_max, "bytes a System V message may have"},
     {"msgmnb", &Limits::typed_queue_bytes_default, "bytes a System V queue holds unless its msg_qbytes is changed"},
     {"semmsl", &Limits::semaphores_per_set_max, "semaphores in a set"},
     {"semmns", &Limits::semaphores_max, "semaphores in all sets"},
     {"semopm", &Limits::operations_per_call_max, "operations in one semop"},
     {"semmni", &Limits::semaphore_sets_max, "semaphore sets in the domain"},
     {"shmmni", &Limits::segments_max, "segments of shared memory in the domain"},
     {"shmmax", &Limits::segment_bytes_max, "bytes a segment may have"},
     {"shmall", &Limits::segment_pages_max, "pages of 4096 bytes in all segments"}}};

struct Assignment {
    std::string name;
    std::uint64_t value;
};

Assignment parse(const std::string& text) {
    const std::size_t equals = text.find('=');
    if (equals == text.npos) fail(kUsage, fmt::format("limits: '{}' is no NAME=VALUE", text));
    const std::string name = text.substr(0, equals);
    for (const Limit& limit : kLimits)
        if (limit.name == name) return {name, parse_size(name, std::string_view(text).substr(equals + 1))};
    std::string names;
    for (const Limit& limit : kLimits) names += fmt::format("{}{}", names.empty() ? "" : ", ", limit.name);
    fail(kUsage, fmt::format("limits: there is no limit '{}'; there are {}", name, names));
}

int limits(const std::vector<std::string>& assignments, const Global& global) {
    std::vector<Assignment> parsed;  // all of them before the first is set
    for (const std::string& text : assignments) parsed.push_back(parse(text));
    const Domain domain = open_domain(global);
    for (const Assignment& one : parsed)
        if (const auto set = domain.set_limit(one.name, one.value); !set) {
            Failure failure = explain(set.error(), Doing::inspecting, global);
            if (set.error() == EINVAL)
                failure.text = fmt::format("limits: {}={} is refused: {}", one.name, one.value,
                                           set.error().hint().empty() ? "out of range" : set.error().hint());
            throw failure;
        }
    if (!parsed.empty() && !global.json) return kOk;
    const Limits now = require(domain.limits(), Doing::inspecting, global);
    Json json = Json::object();
    Table table({{"LIMIT"}, {"VALUE", Table::Align::right}, {"WHAT IT LIMITS"}});
    for (const Limit& limit : kLimits) {
        json[std::string(limit.name)] = now.*limit.value;
        table.add({std::string(limit.name), std::to_string(now.*limit.value), std::string(limit.meaning)});
    }
    print(global.json ? dump(json) : table.text());
    return kOk;
}

}  // namespace

void add_limits(Registry& registry) {
    auto assignments = std::make_shared<std::vector<std::string>>();
    CLI::App* command = registry.add("limits", "Show or set the limits of a domain",
                                     "  muster limits\n"
                                     "  muster limits msg_default=100 msgsize_max=64Mi");
    command->add_option("assignment", *assignments, "Set these; without any, all are shown")->type_name("NAME=VALUE");
    registry.actions.emplace_back(command, [assignments, &registry] { return limits(*assignments, registry.global); });
}

}  // namespace muster::cli
