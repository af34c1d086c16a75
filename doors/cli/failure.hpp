// What a command ends with: an exit code, and a sentence for standard error.
//
// Commands throw Failure and main() prints it, so that every error has one shape:
// "muster: OBJECT: what is wrong; what to do about it".
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include "muster/result.hpp"

namespace muster::cli {

// The exit codes that docs/cli.md promises. `run` ends with the program's own.
enum ExitCode : int {
    kOk = 0,
    kError = 1,
    kUsage = 2,
    kWouldBlock = 3,
    kTimedOut = 4,
    kMissing = 5,
    kExists = 6,
    kForbidden = 7,
    kDamaged = 8,
    kCannotRun = 126,
    kNoProgram = 127,
    kBrokenPipe = 141,  // as a program that SIGPIPE killed looks to the shell
};

struct Failure {
    int exit_code;
    std::string text;  // empty: end without a word
};

[[noreturn]] void fail(int exit_code, std::string text);

int exit_code_of(int errno_value);

// What was being done, since the same errno means different things to a sender and a receiver.
enum class Doing { opening_domain, making, opening, sending, receiving, operating, removing, inspecting };

struct Global {
    std::string domain;  // --domain; empty: the default
    bool json = false;

    // "muster ls", or "muster --domain D ls" when that is what the user must type.
    std::string command(std::string_view rest) const;
};

Failure explain(const Error& error, Doing doing, const Global& global);

// The value, or the Failure that explains why there is none.
template <class T>
T require(Result<T> result, Doing doing, const Global& global) {
    if (!result) throw explain(result.error(), doing, global);
    return std::move(*result);
}

}  // namespace muster::cli
