// A line on standard error that tells how far a long transfer is; nothing if that is no terminal
// or the transfer takes less than a second.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace muster::cli {

class Progress {
public:
    // `total_bytes` 0: unknown.
    Progress(std::string_view verb, std::uint64_t total_bytes);
    ~Progress();  // wipes the line, so that an error message begins at the margin
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    void expect(std::uint64_t total_bytes) { total_bytes_ = total_bytes; }
    void update(std::uint64_t bytes);
    void finish();  // leaves a last line with the sum

private:
    using Clock = std::chrono::steady_clock;
    void show(std::string_view text);
    std::string verb_;
    std::uint64_t total_bytes_;
    std::uint64_t bytes_ = 0;
    bool terminal_;
    bool shown_ = false;
    Clock::time_point begin_, next_;
};

}  // namespace muster::cli
