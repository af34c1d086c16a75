// munmap: parts of attached segments may go, or fall in two.
#include "mapping_calls.hpp"

MUSTER_EXPORT int munmap(void* address, size_t length) noexcept {
    using namespace muster;
    if (__builtin_expect(capi::attachments().may_touch(capi::address_of(address), length), 0))
        return static_cast<int>(capi::mapping_result(capi::attachments().unmap(capi::address_of(address), length)));
    if (capi::next_mapping_calls.munmap != nullptr) return capi::next_mapping_calls.munmap(address, length);
    return static_cast<int>(capi::mapping_result(platform::system_call(SYS_munmap, address, length)));
}
