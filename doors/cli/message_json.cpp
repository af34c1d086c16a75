#include "message_json.hpp"
#include <fmt/format.h>
#include <array>
#include "failure.hpp"
#include "report.hpp"
#include "text.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

// False: no base64, or bits behind the last byte.
bool decode_base64(std::string_view text, std::string& bytes) {
    constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (text.size() % 4 != 0) return false;
    bytes.clear();
    bytes.reserve(text.size() / 4 * 3);
    for (std::size_t i = 0; i < text.size(); i += 4) {
        const bool last = i + 4 == text.size();
        const std::size_t filling = !last || text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
        std::uint32_t group = 0;
        for (std::size_t k = 0; k < 4 - filling; ++k) {
            const std::size_t digit = kDigits.find(text[i + k]);
            if (digit == kDigits.npos) return false;
            group |= static_cast<std::uint32_t>(digit) << (18 - 6 * k);
        }
        for (std::size_t k = 0; k < 3 - filling; ++k) bytes += static_cast<char>(group >> (16 - 8 * k) & 0xff);
        if (filling != 0 && (group & ((1u << (8 * filling)) - 1)) != 0) return false;
    }
    return true;
}

}  // namespace

std::string message_line(std::string_view bytes, std::string_view label_word, std::int64_t label) {
    Json json{{label_word, label}, {"size", bytes.size()}};
    if (is_utf8(bytes))
        json["text"] = bytes;
    else
        json["base64"] = base64(bytes);
    return dump(json, false);
}

ReadMessage read_message_line(std::string_view line, std::uint64_t line_number, std::string_view label_word) {
    const auto refuse = [&](std::string_view why) { fail(kUsage, fmt::format("send: line {} is no message as `recv --json` prints it: {}", line_number, why)); };
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_discarded() || !json.is_object()) refuse("no JSON object");
    const std::string_view other = label_word == "type" ? "priority" : "type";
    if (!json.contains(label_word))
        refuse(json.contains(other) ? fmt::format("it has a {}, and messages of this queue have a {}", other, label_word) : fmt::format("it has no {}", label_word));
    const Json& label = json[std::string(label_word)];
    if (!label.is_number_integer()) refuse(fmt::format("its {} is no integer", label_word));
    ReadMessage message;
    // Only what is above 2^63 - 1 is stored unsigned and would wrap.
    if (label.is_number_unsigned() && label.get<std::uint64_t>() > INT64_MAX) refuse(fmt::format("its {} is too large", label_word));
    message.label = label.get<std::int64_t>();
    const bool good = label_word == "type" ? message.label >= 1 : message.label >= 0 && message.label <= 32767;
    if (!good) refuse(label_word == "type" ? "a type is 1 or more" : "a priority is 0 to 32767");
    const bool text = json.contains("text") && json["text"].is_string(), coded = json.contains("base64") && json["base64"].is_string();
    if (text == coded) refuse("it has neither `text` nor `base64`, or both");
    if (text)
        message.bytes = json["text"].get<std::string>();
    else if (!decode_base64(json["base64"].get<std::string>(), message.bytes))
        refuse("its base64 is none");
    if (json.contains("size") && json["size"] != message.bytes.size())
        refuse(fmt::format("it has {}, and says that it has {}", counted(message.bytes.size(), "byte"), json["size"].dump()));
    return message;
}

}  // namespace muster::cli
