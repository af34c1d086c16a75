#include "report.hpp"
#include <fmt/format.h>
#include <algorithm>
#include "output.hpp"
#include "text.hpp"
#include "units.hpp"

namespace muster::cli {

std::string dump(const Json& json, bool indent) {
    return json.dump(indent ? 2 : -1, ' ', false, nlohmann::detail::error_handler_t::replace) + "\n";
}

Json time_to_json(std::chrono::system_clock::time_point time) {
    if (time == std::chrono::system_clock::time_point{}) return nullptr;
    return rfc3339(time);
}

std::string octal(std::uint32_t mode) {
    return fmt::format("{:04o}", mode);
}

Json to_json(const ObjectInfo& object) {
    Json json{{"name", object.name},           {"kind", to_string(object.kind)},
              {"mode", octal(object.mode)},    {"owner", user_name(object.owner_uid)},
              {"owner_uid", object.owner_uid}, {"group", group_name(object.owner_gid)},
              {"owner_gid", object.owner_gid}};
    if (object.kind == ObjectKind::typed_queue || object.kind == ObjectKind::semaphore_set ||
        object.kind == ObjectKind::segment) {
        json["key"] = object.key;
        json["id"] = object.id;
    }
    if (object.kind == ObjectKind::message_queue || object.kind == ObjectKind::typed_queue) {
        json["messages"] = object.messages;
        json["messages_max"] = object.messages_max;
        if (object.message_size_bytes_max != 0) json["message_size_bytes_max"] = object.message_size_bytes_max;
        json["receivers_waiting"] = object.receivers_waiting;
        json["senders_waiting"] = object.senders_waiting;
    }
    if (object.kind == ObjectKind::typed_queue) {
        json["bytes"] = object.size_bytes;
        json["bytes_max"] = object.bytes_max;
    }
    if (object.kind == ObjectKind::semaphore_set) {
        json["semaphores"] = object.semaphores;
        json["waiting"] = object.waiting;
    }
    if (object.kind == ObjectKind::semaphore_set || object.kind == ObjectKind::posix_semaphore) json["values"] = object.values;
    if (object.kind == ObjectKind::segment || object.kind == ObjectKind::posix_shared_memory)
        json["size_bytes"] = object.size_bytes;
    if (object.kind == ObjectKind::segment) {
        json["attachments"] = object.attachments;
        json["removed_at_last_detach"] = object.removed_at_last_detach;
        json["locked"] = object.locked;
    }
    json["bytes_allocated"] = object.bytes_allocated;
    json["created"] = time_to_json(object.created);
    json["path"] = object.path;
    json["problem"] = object.problem.empty() ? Json(nullptr) : Json(object.problem);
    return json;
}

Json to_json(const Finding& finding) {
    Json json{{"path", finding.path}, {"what", finding.what}, {"bytes_at_stake", finding.bytes_at_stake}, {"repaired", finding.repaired}};
    json["object"] = finding.object.empty() ? Json(nullptr) : Json(finding.object);
    json["messages_at_stake"] = finding.messages_at_stake;
    json["repairable"] = finding.repairable;
    json["remedy"] = finding.remedy.empty() ? Json(nullptr) : Json(finding.remedy);
    json["harmless"] = finding.harmless;
    return json;
}

std::size_t print_findings(const std::vector<Finding>& findings, bool json, std::string_view done, std::string_view open) {
    const auto left =
        static_cast<std::size_t>(std::count_if(findings.begin(), findings.end(), [](const Finding& f) { return !f.repaired; }));
    if (json) {
        Json list = Json::array();
        for (const Finding& finding : findings) list.push_back(to_json(finding));
        print(dump(list));
        return left;
    }
    std::string text;
    for (const Finding& finding : findings) {
        text += fmt::format("{}: {}: {}", finding.repaired ? done : open, escaped(finding.path), escaped(finding.what));
        text += finding.bytes_at_stake > 0 ? fmt::format(" ({})\n", human_bytes(finding.bytes_at_stake)) : "\n";
    }
    print(text);
    return left;
}

}  // namespace muster::cli
