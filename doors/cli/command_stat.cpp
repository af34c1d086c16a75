// muster stat: everything about single objects.
#include <fmt/format.h>
#include <algorithm>
#include <memory>
#include <optional>
#include "command.hpp"
#include "muster/message_queue.hpp"
#include "output.hpp"
#include "report.hpp"
#include "text.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

struct Facts {
    ObjectInfo object;
    std::optional<QueueStatus> queue;  // absent: the object could not be opened, object.problem says why
};

std::string line(std::string_view label, std::string_view value) {
    return fmt::format("  {:<14}{}\n", label, value);
}

std::string bytes_text(std::uint64_t bytes) {
    return bytes < 1024 ? counted(bytes, "byte") : fmt::format("{} bytes ({})", bytes, human_bytes(bytes));
}

std::string text_of(const Facts& facts) {
    const ObjectInfo& object = facts.object;
    std::string text = escaped(object.name) + "\n";
    text += line("kind", to_string(object.kind));
    if (!object.problem.empty()) text += line("problem", escaped(object.problem));
    text += line("owner", fmt::format("{}:{}", user_name(object.owner_uid), group_name(object.owner_gid)));
    text += line("mode", octal(object.mode));
    if (facts.queue) {
        const QueueStatus& queue = *facts.queue;
        text += line("messages", fmt::format("{} of {}", queue.messages, queue.messages_max));
        text += line("message size", fmt::format("at most {}", bytes_text(queue.message_size_bytes_max)));
        text += line("waiting", fmt::format("{}, {}", counted(queue.receivers_waiting, "receiver"),
                                            counted(queue.senders_waiting, "sender")));
        text += line("notify", queue.notify_pid == 0 ? "nobody" : "process " + process_name(queue.notify_pid));
    }
    text += line("memory", bytes_text(object.bytes_allocated));
    text += line("created", local_time(object.created));
    if (facts.queue) {
        const auto by = [](std::int32_t pid) { return pid == 0 ? std::string("nobody yet") : "process " + process_name(pid); };
        text += line("last sender", by(facts.queue->last_send_pid));
        text += line("last receiver", by(facts.queue->last_receive_pid));
    }
    return text + line("file", escaped(object.path));
}

Json json_of(const Facts& facts) {
    Json json = to_json(facts.object);
    if (facts.queue) {
        json["last_send_pid"] = facts.queue->last_send_pid == 0 ? Json(nullptr) : Json(facts.queue->last_send_pid);
        json["last_receive_pid"] = facts.queue->last_receive_pid == 0 ? Json(nullptr) : Json(facts.queue->last_receive_pid);
        json["notify_pid"] = facts.queue->notify_pid == 0 ? Json(nullptr) : Json(facts.queue->notify_pid);
    }
    return json;
}

Facts gather(const Domain& domain, const std::vector<ObjectInfo>& objects, const std::string& name, const Global& global) {
    const auto found = std::find_if(objects.begin(), objects.end(),
                                    [&](const ObjectInfo& o) { return o.name == name && o.kind != ObjectKind::poll_fifo; });
    if (found == objects.end()) throw explain(Error(ENOENT, name, ""), Doing::opening, global);
    Facts facts{*found, {}};
    if (facts.object.kind != ObjectKind::message_queue || !facts.object.problem.empty()) return facts;
    auto queue = MessageQueue::open(domain, name);
    if (!queue && !(queue.error() == EBADMSG)) throw explain(queue.error(), Doing::opening, global);
    const auto status = queue ? queue->status() : Result<QueueStatus>(queue.error());
    if (status) {
        facts.queue = *status;
    } else {
        facts.object.problem = status.error().hint().empty() ? status.error().message() : status.error().hint();
    }
    return facts;
}

int stat(const std::vector<std::string>& names, const Global& global) {
    for (const std::string& name : names) check_queue_name(name);
    const Domain domain = open_domain(global);
    const std::vector<ObjectInfo> objects = require(domain.list(), Doing::inspecting, global);
    int code = kOk;
    Json list = Json::array();
    std::string text;
    for (const std::string& name : names) {
        try {
            const Facts facts = gather(domain, objects, name, global);
            if (global.json)
                list.push_back(json_of(facts));
            else
                text += (text.empty() ? "" : "\n") + text_of(facts);
            if (!facts.object.problem.empty()) code = kDamaged;
        } catch (const Failure& failure) {  // the others are shown all the same
            complain(failure.text);
            code = failure.exit_code;
        }
    }
    print(global.json ? dump(list) : text);
    return code;
}

}  // namespace

void add_stat(Registry& registry) {
    auto names = std::make_shared<std::vector<std::string>>();
    CLI::App* command = registry.add("stat", "Tell everything about objects",
                                     "  muster stat /jobs\n"
                                     "  muster stat /jobs /results --json");
    command->add_option("name", *names, "The objects")->required()->type_name("/NAME");
    registry.actions.emplace_back(command, [names, &registry] { return stat(*names, registry.global); });
}

}  // namespace muster::cli
