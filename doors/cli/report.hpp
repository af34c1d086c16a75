// Objects and findings as JSON, shared by the commands that show them.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include "muster/domain.hpp"
#include "muster/message_queue.hpp"

namespace muster::cli {

using Json = nlohmann::ordered_json;

// One line, or indented; names that are no UTF-8 get replacement characters rather than an exception.
std::string dump(const Json& json, bool indent = true);

Json time_to_json(std::chrono::system_clock::time_point time);  // null for never
std::string octal(std::uint32_t mode);                          // "0600"

Json to_json(const ObjectInfo& object);
Json to_json(const Finding& finding);

// Findings as lines or as JSON; returns how many are not repaired. `done`, `open`: the words for the two cases.
std::size_t print_findings(const std::vector<Finding>& findings, bool json, std::string_view done, std::string_view open);

}  // namespace muster::cli
