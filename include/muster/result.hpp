// muster/result.hpp: a value or the reason why there is none.
//
// Contract  the interface of std::expected, which GCC 12 lacks. Nothing throws
//           except value(), which throws std::system_error for those who want that.
// Threads   plain values.
#pragma once
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

namespace muster {

// What failed, on which object, and what to do about it.
class Error {
public:
    Error(int errno_value, std::string object, std::string hint)
        : errno_value_(errno_value), object_(std::move(object)), hint_(std::move(hint)) {}

    int errno_value() const { return errno_value_; }          // as the C calls report it
    const std::string& object() const { return object_; }     // "/jobs", or a path for files
    const std::string& hint() const { return hint_; }         // which limit or rule, and how to mend it; may be empty
    std::error_code code() const { return {errno_value_, std::generic_category()}; }

    // "/jobs: File exists: choose another name, or open it without exclusive creation"
    std::string message() const {
        std::string text = object_.empty() ? std::string() : object_ + ": ";
        text += code().message();
        if (!hint_.empty()) text += ": " + hint_;
        return text;
    }
    friend bool operator==(const Error& error, int errno_value) { return error.errno_value_ == errno_value; }

private:
    int errno_value_;
    std::string object_;
    std::string hint_;
};

template <class T = std::monostate>
class [[nodiscard]] Result {
public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    bool has_value() const { return state_.index() == 0; }
    explicit operator bool() const { return has_value(); }
    T& operator*() & { return *std::get_if<0>(&state_); }
    const T& operator*() const& { return *std::get_if<0>(&state_); }
    T&& operator*() && { return std::move(*std::get_if<0>(&state_)); }
    T* operator->() { return std::get_if<0>(&state_); }
    const T* operator->() const { return std::get_if<0>(&state_); }
    const Error& error() const { return *std::get_if<1>(&state_); }

    // The value, or std::system_error with the error's code and message.
    T& value() & {
        if (!has_value()) throw std::system_error(error().code(), error().message());
        return **this;
    }
    T&& value() && {
        if (!has_value()) throw std::system_error(error().code(), error().message());
        return std::move(**this);
    }
    template <class U>
    T value_or(U&& other) const& {
        return has_value() ? **this : static_cast<T>(std::forward<U>(other));
    }

private:
    std::variant<T, Error> state_;
};

inline Result<> ok() { return std::monostate{}; }

}  // namespace muster
