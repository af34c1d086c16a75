#include "semaphore_values.hpp"
#include <algorithm>
#include "failure.hpp"
#include "units.hpp"

namespace muster::cli {

std::vector<std::uint16_t> parse_values(std::string_view values, std::string_view count) {
    constexpr std::uint64_t kSemaphoresMax = 32000;  // what a domain allows unless told otherwise
    std::vector<std::uint16_t> parsed;
    for (std::size_t at = 0; at <= values.size();) {
        const std::size_t comma = std::min(values.find(',', at), values.size());
        parsed.push_back(static_cast<std::uint16_t>(parse_count("--values", values.substr(at, comma - at), 0, 32767)));
        at = comma + 1;
    }
    if (count.empty()) return parsed;
    const std::uint64_t wanted = parse_count("--count", count, 1, kSemaphoresMax);
    if (parsed.size() != 1) fail(kUsage, "--count: repeats one value; give --values a single one");
    return std::vector<std::uint16_t>(wanted, parsed.front());
}

}  // namespace muster::cli
