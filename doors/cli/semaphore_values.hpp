// "4,0,1": values of semaphores as people write them.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace muster::cli {

// Each 0 to 32767; fails with exit code 2. With `count`, which may be empty, one value is repeated so often.
std::vector<std::uint16_t> parse_values(std::string_view values, std::string_view count);

}  // namespace muster::cli
