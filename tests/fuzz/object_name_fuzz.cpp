// Names of objects, keys and kinds, as they are typed: each is understood or refused in words.
#include <cstdint>
#include <cstdlib>
#include "doors/cli/object_name.hpp"

using namespace muster::cli;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    try {
        const ObjectName name = parse_object_name(text);
        if (name.text != text || (name.is_system_v() && name.key.has_value() == name.id.has_value())) std::abort();
    } catch (const Failure&) {
    }
    try {
        (void)parse_key(muster::ObjectKind::semaphore_set, text);
    } catch (const Failure&) {
    }
    try {
        (void)parse_kind("--kind", text);
    } catch (const Failure&) {
    }
    return 0;
}
