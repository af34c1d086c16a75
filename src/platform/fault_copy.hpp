// Copying from and to memory that may not be there.
//
// Programs pass bad pointers and expect EFAULT, as the kernel gives; a peer may cut a mapped file short. The copy
// routine is an address range of its own: the SIGSEGV and SIGBUS handler (signals.hpp) that finds the fault there
// resumes where the routine returns false. So a good pointer costs nothing. A thread that has one of the two signals
// blocked would be killed by the fault instead: its copies go through the kernel (process_vm_readv on ourselves).
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include "platform/mapping_damage.hpp"
#include "platform/thread.hpp"

// The routine itself: 1 copied, 0 a fault at either side. Only for threads that get SIGSEGV and SIGBUS.
extern "C" __attribute__((visibility("hidden"))) int muster_fault_copy(void* to, const void* from, std::size_t bytes);

namespace muster::platform {

// Slow half of fault_copy(): it is not known whether a fault would get through.
bool fault_copy_checking_mask(ThreadState& thread, void* to, const void* from, std::size_t bytes);

// Copies `bytes` from `from` to `to`, which must not overlap; false if any byte of either is inaccessible. What
// was written before the fault stays. If a registered mapping was to blame, its `damaged` word is set.
inline bool fault_copy(ThreadState& thread, void* to, const void* from, std::size_t bytes) {
    if (__builtin_expect(thread.fault_mask_known != 1, 0)) return fault_copy_checking_mask(thread, to, from, bytes);
    return muster_fault_copy(to, from, bytes) != 0;
}

// Whether all of it can be read, for a bad pointer that is to be told before anything else.
bool fault_readable(ThreadState& thread, const void* from, std::size_t bytes);

// A structure by the caller's pointer.
template <class T>
bool fault_load(ThreadState& thread, T& to, const T* from) {
    static_assert(std::is_trivially_copyable_v<T>);
    return fault_copy(thread, &to, from, sizeof(T));
}
template <class T>
bool fault_store(ThreadState& thread, T* to, const T& from) {
    static_assert(std::is_trivially_copyable_v<T>);
    return fault_copy(thread, to, &from, sizeof(T));
}

// A string with its terminating zero, or its first `capacity_bytes` if there is no zero among them.
// The length without the zero (`capacity_bytes`: unterminated), or -1 on a fault before the zero.
std::ptrdiff_t fault_load_string(ThreadState& thread, char* to, const char* from, std::size_t capacity_bytes);

// For the signal handler: where to resume if `instruction` is the routine's, else 0.
std::uintptr_t fault_copy_fixup(std::uintptr_t instruction);

}  // namespace muster::platform
