// The texts of limits, as a program may write them.
#include <cstdint>
#include <cstdlib>
#include "objects/limits.hpp"

using namespace muster::objects;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const LimitFile& file = limit_files[data[0] % kLimitFiles];
    LimitValues values = built_in_limit(file);
    if (parse_limit(file, reinterpret_cast<const char*>(data + 1), size - 1, values) != 0) return 0;
    for (unsigned n = 0; n < file.count; ++n)
        if (values.number[n] < file.numbers[n].least || values.number[n] > file.numbers[n].most) std::abort();
    const LimitText text = limit_text(file, values);
    LimitValues again = built_in_limit(file);
    if (parse_limit(file, text.text, text.bytes, again) != 0) std::abort();
    for (unsigned n = 0; n < file.count; ++n)
        if (again.number[n] != values.number[n]) std::abort();
    return 0;
}
