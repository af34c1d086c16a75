// The C library's calls that change mappings, behind ours. What touches no attached segment goes there unchanged.
#pragma once
#include <sys/mman.h>
#include <sys/types.h>
#include <cerrno>
#include "export.hpp"
#include "platform/syscall.hpp"
#include "shm_common.hpp"

namespace muster::capi {

struct NextMappingCalls {
    void* (*mmap)(void*, size_t, int, int, int, off_t);
    int (*munmap)(void*, size_t);
    int (*mprotect)(void*, size_t, int);
    void* (*mremap)(void*, size_t, size_t, int, ...);
};
// Null before the library is initialised: the kernel then.
extern constinit NextMappingCalls next_mapping_calls;

inline long mapping_result(long result) {
    if (result >= 0 || result <= -4096) return result;
    errno = static_cast<int>(-result);
    return -1;
}
inline std::uintptr_t address_of(const void* pointer) {
    return reinterpret_cast<std::uintptr_t>(pointer);
}

}  // namespace muster::capi
