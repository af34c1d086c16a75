// ShmWord<T>: the only way this code base reads or writes a shared integer.
#pragma once
#include <concepts>
#include <cstdint>
#include <type_traits>
#include "memory/atom.hpp"

namespace muster::memory {

// Named orders, so that a reader never has to look up an argument. Plain storage
// inside, so that a struct of these stays dumpable and free of hidden padding.
template <std::unsigned_integral T>
class ShmWord {
    static_assert(Atom<T>::is_always_lock_free, "a lock would be private to one process");

public:
    T load_acquire() const { return ref().load(std::memory_order_acquire); }
    T load_relaxed() const { return ref().load(std::memory_order_relaxed); }
    void store_release(T v) { ref().store(v, std::memory_order_release); }
    void store_relaxed(T v) { ref().store(v, std::memory_order_relaxed); }
    T add_release(T v) { return ref().fetch_add(v, std::memory_order_release); }
    T or_release(T v) { return ref().fetch_or(v, std::memory_order_release); }
    T and_release(T v) { return ref().fetch_and(v, std::memory_order_release); }
    T exchange(T v) { return ref().exchange(v, std::memory_order_acq_rel); }

    // True when the word was `expected` and is now `desired`; else `expected` holds what it was.
    bool compare_exchange(T& expected, T desired) {
        return ref().compare_exchange_strong(expected, desired, std::memory_order_acq_rel, std::memory_order_acquire);
    }
    T* address() { return &raw_; }
    const T* address() const { return &raw_; }

private:
    Atom<T> ref() const { return Atom<T>(const_cast<T&>(raw_)); }
    alignas(Atom<T>::required_alignment) T raw_;
};

using ShmU32 = ShmWord<std::uint32_t>;
using ShmU64 = ShmWord<std::uint64_t>;

// What a type must be before two processes may share it.
template <class T>
concept ShmLayout = std::is_standard_layout_v<T> && std::is_trivially_copyable_v<T> &&
                    std::has_unique_object_representations_v<T>;  // no padding

}  // namespace muster::memory
