#include "progress.hpp"
#include <fmt/format.h>
#include <unistd.h>
#include "output.hpp"
#include "units.hpp"

namespace muster::cli {
using namespace std::chrono_literals;

Progress::Progress(std::string_view verb, std::uint64_t total_bytes)
    : verb_(verb), total_bytes_(total_bytes), terminal_(::isatty(STDERR_FILENO) == 1), begin_(Clock::now()), next_(begin_ + 1s) {}

Progress::~Progress() {
    if (shown_) write_all(STDERR_FILENO, "\r\x1b[K");
}

void Progress::show(std::string_view text) {
    write_all(STDERR_FILENO, fmt::format("\r{}\x1b[K", text));
    shown_ = true;
}

void Progress::update(std::uint64_t bytes) {
    bytes_ = bytes;
    if (!terminal_) return;
    const auto now = Clock::now();
    if (now < next_) return;
    next_ = now + 200ms;
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    const double rate = static_cast<double>(bytes) / seconds;
    std::string text = fmt::format("{} {}, {}/s", verb_, human_bytes(bytes), human_bytes(static_cast<std::uint64_t>(rate)));
    if (total_bytes_ > bytes && rate > 0) {
        const double left = static_cast<double>(total_bytes_ - bytes) / rate;
        const auto ns = std::chrono::nanoseconds(static_cast<std::int64_t>(left < 1e9 ? left * 1e9 : 1e18));
        text += fmt::format(", {:.0f} % of {}, {} left", 100.0 * static_cast<double>(bytes) / static_cast<double>(total_bytes_),
                            human_bytes(total_bytes_), human_duration(ns));
    }
    show(text);
}

void Progress::finish() {
    if (!shown_) return;
    const auto taken = Clock::now() - begin_;
    const double rate = static_cast<double>(bytes_) / std::chrono::duration<double>(taken).count();
    show(fmt::format("{} {} in {}, {}/s", verb_, human_bytes(bytes_), human_duration(taken),
                     human_bytes(static_cast<std::uint64_t>(rate))));
    write_all(STDERR_FILENO, "\n");
    shown_ = false;
}

}  // namespace muster::cli
