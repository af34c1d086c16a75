// Outcome<T>: a value or a Fault. The error currency below the doors.
//
// A Fault is two words and allocates nothing, since the C door lives in other
// people's processes. Doors turn it into errno, or into muster::Error with the
// object's name put to it.
#pragma once
#include <cerrno>
#include <new>
#include <type_traits>
#include <utility>

namespace muster::platform {

// An errno value, and the rule or limit that was broken in words for people (static text, may be null).
struct Fault {
    int errno_value;
    const char* rule = nullptr;
    friend bool operator==(const Fault& a, const Fault& b) { return a.errno_value == b.errno_value; }
};

struct Nothing {};

template <class T = Nothing>
class [[nodiscard]] Outcome {
    static_assert(std::is_move_constructible_v<T>);

public:
    Outcome(T value) : has_value_(true) { new (&value_) T(std::move(value)); }
    Outcome(Fault fault) : has_value_(false), fault_(fault) {}
    Outcome(Outcome&& o) noexcept(std::is_nothrow_move_constructible_v<T>) : has_value_(o.has_value_) {
        if (has_value_) new (&value_) T(std::move(o.value_));
        else fault_ = o.fault_;
    }
    Outcome& operator=(Outcome&& o) noexcept(std::is_nothrow_move_constructible_v<T>) {
        if (this != &o) {
            this->~Outcome();
            new (this) Outcome(std::move(o));
        }
        return *this;
    }
    ~Outcome() {
        if (has_value_) value_.~T();
    }
    explicit operator bool() const { return has_value_; }
    T& operator*() { return value_; }
    T* operator->() { return &value_; }
    Fault fault() const { return fault_; }

private:
    bool has_value_;
    union {
        T value_;
        Fault fault_;
    };
};

inline Outcome<> done() { return Nothing{}; }

}  // namespace muster::platform
