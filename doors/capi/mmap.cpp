// mmap: a mapping put over an attached segment detaches what it covers.
#include "mapping_calls.hpp"

using namespace muster;

MUSTER_EXPORT void* mmap(void* address, size_t length, int protection, int flags, int descriptor, off_t offset) noexcept {
    if (__builtin_expect((flags & MAP_FIXED) != 0 && capi::attachments().may_touch(capi::address_of(address), length), 0))
        return reinterpret_cast<void*>(capi::mapping_result(
            capi::attachments().map_over(capi::address_of(address), length, protection, flags, descriptor, offset)));
    if (capi::next_mapping_calls.mmap != nullptr)
        return capi::next_mapping_calls.mmap(address, length, protection, flags, descriptor, offset);
    return reinterpret_cast<void*>(
        capi::mapping_result(platform::system_call(SYS_mmap, address, length, protection, flags, descriptor, offset)));
}

MUSTER_EXPORT void* mmap64(void* address, size_t length, int protection, int flags, int descriptor, off64_t offset) noexcept
    __attribute__((alias("mmap")));
