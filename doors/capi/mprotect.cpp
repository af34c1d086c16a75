// mprotect: part of an attached segment with a protection of its own counts as an attachment.
#include "mapping_calls.hpp"

MUSTER_EXPORT int mprotect(void* address, size_t length, int protection) noexcept {
    using namespace muster;
    if (__builtin_expect(capi::attachments().may_touch(capi::address_of(address), length), 0))
        return static_cast<int>(capi::mapping_result(capi::attachments().protect(capi::address_of(address), length, protection)));
    if (capi::next_mapping_calls.mprotect != nullptr) return capi::next_mapping_calls.mprotect(address, length, protection);
    return static_cast<int>(capi::mapping_result(platform::system_call(SYS_mprotect, address, length, protection)));
}
