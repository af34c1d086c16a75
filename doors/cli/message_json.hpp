// A message as a line of JSON: what `recv --json` and `fsck --salvage` print and `send --from-json` reads. Priority or type,
// length and bytes come through unchanged: bytes that are no UTF-8 go as base64.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace muster::cli {

// One line with its newline. `label_word` is "priority" or "type".
std::string message_line(std::string_view bytes, std::string_view label_word, std::int64_t label);

struct ReadMessage {
    std::string bytes;
    std::int64_t label;
};
// Fails with a sentence that names the line. What is not exactly such a message is refused; members that it does not know are passed over.
ReadMessage read_message_line(std::string_view line, std::uint64_t line_number, std::string_view label_word);

}  // namespace muster::cli
