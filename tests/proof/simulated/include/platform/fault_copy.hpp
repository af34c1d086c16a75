// In place of src/platform/fault_copy.hpp: copies in steps of eight bytes, each an access of the simulated machine if it is
// to the object's memory, so that a message that is seen too early is seen wrong. Nothing faults here.
#pragma once
#include <cstddef>
#include <type_traits>
#include "platform/mapping_damage.hpp"
#include "platform/thread.hpp"

namespace muster::platform {

bool fault_copy(ThreadState& thread, void* to, const void* from, std::size_t bytes);
inline bool fault_readable(ThreadState&, const void*, std::size_t) {
    return true;
}

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

}  // namespace muster::platform
