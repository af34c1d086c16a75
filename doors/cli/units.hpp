// Numbers as people write them. Strict: what is not wholly understood is refused, with
// exit code 2 and a sentence naming the option. Independent of the locale.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace muster::cli {

// "8192", "8Ki", "1.5M", "64kB": k, M, G are powers of 1000, Ki, Mi, Gi of 1024.
std::uint64_t parse_size(std::string_view option, std::string_view text);

// "250ms", "1.5s", "2m", "1h"; a bare number is seconds.
std::chrono::nanoseconds parse_duration(std::string_view option, std::string_view text);

// A decimal integer between `min` and `max`.
std::uint64_t parse_count(std::string_view option, std::string_view text, std::uint64_t min, std::uint64_t max);

// Octal permission bits, "640" or "0640".
std::uint32_t parse_mode(std::string_view option, std::string_view text);

// A queue's name as the library wants it; says what is wrong with others.
void check_queue_name(std::string_view name);

std::string counted(std::uint64_t count, std::string_view noun);  // "1 byte", "2 bytes"
std::string human_bytes(std::uint64_t bytes);                     // "84.0 KiB"
std::string human_duration(std::chrono::nanoseconds duration);    // "1.5 s", "2 min 03 s"

}  // namespace muster::cli
