// In place of src/memory/atom.hpp: the atomic of the simulated machine (../../machine.hpp). Same interface, as far as
// ShmWord uses it; every access is a scheduling point, and a store may become visible late.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace muster::simulated {

enum class Modify { add, bit_or, bit_and, exchange };

// The address that they return to is where the code is that does it, for traces.
template <class T>
T load(const T* address);
template <class T>
void store(T* address, T value, bool release);
template <class T>
T modify(T* address, Modify how, T operand, bool release);
template <class T>
bool compare_exchange(T* address, T& expected, T desired);

}  // namespace muster::simulated

namespace muster::memory {

template <class T>
class Atom {
public:
    static constexpr bool is_always_lock_free = std::atomic_ref<T>::is_always_lock_free;
    static constexpr std::size_t required_alignment = std::atomic_ref<T>::required_alignment;
    explicit Atom(T& value) : at_(&value) {}
    T load(std::memory_order) const { return simulated::load(at_); }
    void store(T value, std::memory_order order) const { simulated::store(at_, value, order != std::memory_order_relaxed); }
    T fetch_add(T value, std::memory_order order) const {
        return simulated::modify(at_, simulated::Modify::add, value, order != std::memory_order_relaxed);
    }
    T fetch_or(T value, std::memory_order order) const {
        return simulated::modify(at_, simulated::Modify::bit_or, value, order != std::memory_order_relaxed);
    }
    T fetch_and(T value, std::memory_order order) const {
        return simulated::modify(at_, simulated::Modify::bit_and, value, order != std::memory_order_relaxed);
    }
    T exchange(T value, std::memory_order order) const {
        return simulated::modify(at_, simulated::Modify::exchange, value, order != std::memory_order_relaxed);
    }
    bool compare_exchange_strong(T& expected, T desired, std::memory_order, std::memory_order) const {
        return simulated::compare_exchange(at_, expected, desired);
    }

private:
    T* at_;
};

}  // namespace muster::memory
