// muster/key.hpp: by what System V objects are found: a number that programs agree on.
//
// Threads   plain values.
#pragma once
#include <cstdint>

namespace muster {

// A key of ftok(3), or any other number but 0, which means "private": an object without a key, found by its identifier alone.
// Keys of message queues, semaphore sets and segments do not meet. A type of its own, so that no key is taken for an identifier.
class Key {
public:
    explicit constexpr Key(std::int32_t value) : value_(value) {}
    static constexpr Key none() { return Key(0); }  // IPC_PRIVATE
    constexpr std::int32_t value() const { return value_; }
    constexpr bool is_none() const { return value_ == 0; }
    friend constexpr bool operator==(Key a, Key b) { return a.value_ == b.value_; }

private:
    std::int32_t value_;
};

}  // namespace muster
