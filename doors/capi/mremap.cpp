// mremap: attached segments move, shrink and multiply.
#include <cstdarg>
#include "mapping_calls.hpp"

MUSTER_EXPORT void* mremap(void* address, size_t old_length, size_t new_length, int flags, ...) noexcept {
    using namespace muster;
    void* wanted = nullptr;
    if ((flags & MREMAP_FIXED) != 0) {
        va_list rest;
        va_start(rest, flags);
        wanted = va_arg(rest, void*);
        va_end(rest);
    }
    objects::Attachments& table = capi::attachments();
    const std::uintptr_t from = capi::address_of(address);
    if (__builtin_expect(table.may_touch(from, old_length > 0 ? old_length : 1) ||
                             ((flags & MREMAP_FIXED) != 0 && table.may_touch(capi::address_of(wanted), new_length)),
                         0))
        return reinterpret_cast<void*>(
            capi::mapping_result(table.remap(from, old_length, new_length, flags, capi::address_of(wanted))));
    if (capi::next_mapping_calls.mremap != nullptr)
        return capi::next_mapping_calls.mremap(address, old_length, new_length, flags, wanted);
    return reinterpret_cast<void*>(
        capi::mapping_result(platform::system_call(SYS_mremap, address, old_length, new_length, flags, wanted)));
}
