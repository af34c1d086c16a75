// Arithmetic that is one step for the signal handlers of this very thread, and for nobody else: for processes of one thread,
// where a locked instruction would cost several times as much and a load and a store let a handler in between.
#pragma once
#include <atomic>
#include <cstdint>

namespace muster::platform {

// True when the word was `expected` and is now `desired`; else `expected` holds what it was.
inline bool local_compare_exchange(std::atomic<std::uint32_t>& word, std::uint32_t& expected, std::uint32_t desired) {
#if defined(__x86_64__)
    bool exchanged;
    auto& raw = reinterpret_cast<std::uint32_t&>(word);
    asm volatile("cmpxchgl %3, %1" : "+a"(expected), "+m"(raw), "=@ccz"(exchanged) : "r"(desired) : "memory");
    return exchanged;
#else
    return word.compare_exchange_strong(expected, desired, std::memory_order_relaxed);
#endif
}

// One less; true when that is none.
inline bool local_decrement(std::atomic<std::uint32_t>& word) {
#if defined(__x86_64__)
    bool none;
    auto& raw = reinterpret_cast<std::uint32_t&>(word);
    asm volatile("decl %0" : "+m"(raw), "=@ccz"(none) : : "memory");
    return none;
#else
    return word.fetch_sub(1, std::memory_order_relaxed) == 1;
#endif
}

}  // namespace muster::platform
