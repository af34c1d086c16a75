#include "units.hpp"
#include <fmt/format.h>
#include <array>
#include "failure.hpp"

namespace muster::cli {
namespace {

// "12.375" as 12 and 375000000 billionths; `rest` is what follows the digits.
struct Decimal {
    std::uint64_t whole = 0, billionths = 0;
    bool overflow = false, any_digit = false, too_fine = false;
    std::string_view rest;
};

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

Decimal read_decimal(std::string_view text) {
    Decimal d;
    std::size_t i = 0;
    for (; i < text.size() && is_digit(text[i]); ++i) {
        const auto digit = static_cast<std::uint64_t>(text[i] - '0');
        if (__builtin_mul_overflow(d.whole, 10u, &d.whole) || __builtin_add_overflow(d.whole, digit, &d.whole)) d.overflow = true;
        d.any_digit = true;
    }
    if (d.any_digit && i + 1 < text.size() && text[i] == '.' && is_digit(text[i + 1])) {
        std::uint64_t place = 100'000'000;
        for (++i; i < text.size() && is_digit(text[i]); ++i, place /= 10) {
            if (place == 0 && text[i] != '0') d.too_fine = true;
            d.billionths += place * static_cast<std::uint64_t>(text[i] - '0');
        }
    }
    d.rest = text.substr(i);
    return d;
}

__extension__ using Wide = unsigned __int128;

// d * unit, or nothing when it does not fit or is no whole number of what `unit` counts.
bool scale(const Decimal& d, std::uint64_t unit, std::uint64_t& out) {
    const Wide fraction = static_cast<Wide>(d.billionths) * unit;
    if (d.overflow || d.too_fine || fraction % 1'000'000'000 != 0) return false;
    const Wide total = static_cast<Wide>(d.whole) * unit + fraction / 1'000'000'000;
    if (total > UINT64_MAX) return false;
    out = static_cast<std::uint64_t>(total);
    return true;
}

struct Unit {
    std::string_view name;
    std::uint64_t factor;
};

constexpr std::array<Unit, 14> kSizeUnits{{{"", 1},
                                           {"B", 1},
                                           {"k", 1000},
                                           {"kB", 1000},
                                           {"M", 1'000'000},
                                           {"MB", 1'000'000},
                                           {"G", 1'000'000'000},
                                           {"GB", 1'000'000'000},
                                           {"Ki", 1 << 10},
                                           {"KiB", 1 << 10},
                                           {"Mi", 1 << 20},
                                           {"MiB", 1 << 20},
                                           {"Gi", 1 << 30},
                                           {"GiB", 1 << 30}}};
constexpr std::array<Unit, 9> kTimeUnits{{{"", 1'000'000'000},
                                          {"ns", 1},
                                          {"us", 1000},
                                          {"ms", 1'000'000},
                                          {"s", 1'000'000'000},
                                          {"m", 60'000'000'000},
                                          {"min", 60'000'000'000},
                                          {"h", 3'600'000'000'000},
                                          {"d", 86'400'000'000'000}}};

[[noreturn]] void refuse(std::string_view option, std::string_view text, std::string_view why) {
    fail(kUsage, fmt::format("{}: '{}' {}", option, text, why));
}

}  // namespace

std::uint64_t parse_size(std::string_view option, std::string_view text) {
    const Decimal d = read_decimal(text);
    if (!d.any_digit) refuse(option, text, "is no size; write 8192, 8Ki or 1M");
    if (d.rest == "K" || d.rest == "KB") refuse(option, text, "could mean two things; k is 1000, Ki is 1024");
    for (const Unit& unit : kSizeUnits) {
        if (d.rest != unit.name) continue;
        std::uint64_t bytes = 0;
        if (!scale(d, unit.factor, bytes))
            refuse(option, text,
                   d.overflow || (d.billionths == 0 && !d.too_fine) ? "is too large" : "is no whole number of bytes");
        return bytes;
    }
    refuse(option, text, fmt::format("has an unknown unit '{}'; k, M, G are powers of 1000, Ki, Mi, Gi of 1024", d.rest));
}

std::chrono::nanoseconds parse_duration(std::string_view option, std::string_view text) {
    const Decimal d = read_decimal(text);
    if (!d.any_digit) refuse(option, text, "is no duration; write 250ms, 1.5s or 2m");
    for (const Unit& unit : kTimeUnits) {
        if (d.rest != unit.name) continue;
        std::uint64_t ns = 0;
        if (!scale(d, unit.factor, ns))
            refuse(option, text, d.overflow || (d.billionths == 0 && !d.too_fine) ? "is too long" : "is finer than a nanosecond");
        if (ns > INT64_MAX) refuse(option, text, "is too long");
        return std::chrono::nanoseconds(static_cast<std::int64_t>(ns));
    }
    refuse(option, text, fmt::format("has an unknown unit '{}'; there are ns, us, ms, s, m, h and d", d.rest));
}

std::uint64_t parse_count(std::string_view option, std::string_view text, std::uint64_t min, std::uint64_t max) {
    const Decimal d = read_decimal(text);
    if (!d.any_digit || !d.rest.empty() || d.billionths != 0 || text.find('.') != text.npos)
        refuse(option, text, "is no whole number");
    if (d.overflow || d.whole < min || d.whole > max)
        refuse(option, text,
               max == UINT64_MAX ? fmt::format("is out of range; at least {}", min)
                                 : fmt::format("is out of range; {} to {} are possible", min, max));
    return d.whole;
}

std::uint32_t parse_mode(std::string_view option, std::string_view text) {
    std::uint32_t mode = 0;
    bool good = !text.empty() && text.size() <= 5;
    for (const char c : text) {
        if (c < '0' || c > '7')
            good = false;
        else
            mode = mode * 8 + static_cast<std::uint32_t>(c - '0');
    }
    if (!good || mode > 0777) refuse(option, text, "is no mode; write octal permission bits such as 0640");
    return mode;
}

void check_queue_name(std::string_view name) {
    constexpr std::size_t kBytesMax = 255;
    if (name.empty() || name == "/") fail(kUsage, fmt::format("'{}' is no name of a queue; write one such as /jobs", name));
    if (name.front() != '/') fail(kUsage, fmt::format("{}: a queue's name begins with a slash; did you mean /{}?", name, name));
    if (name.substr(1).find('/') != name.npos)
        fail(kUsage, fmt::format("{}: a queue's name has one slash, the first character, and no other", name));
    if (name == "/." || name == "/..") fail(kUsage, fmt::format("{}: this name is the file system's", name));
    if (name.size() - 1 > kBytesMax)
        fail(kUsage, fmt::format("{}…: the name is {} bytes long after the slash; at most {} are possible", name.substr(0, 24),
                                 name.size() - 1, kBytesMax));
}

std::string counted(std::uint64_t count, std::string_view noun) {
    return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string human_bytes(std::uint64_t bytes) {
    if (bytes < 1024) return fmt::format("{} B", bytes);
    double value = static_cast<double>(bytes);
    constexpr std::array<std::string_view, 4> kNames{"KiB", "MiB", "GiB", "TiB"};
    std::size_t step = 0;
    for (value /= 1024; value >= 1023.95 && step + 1 < kNames.size(); ++step) value /= 1024;
    return fmt::format("{:.1f} {}", value, kNames[step]);
}

std::string human_duration(std::chrono::nanoseconds duration) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration).count();
    if (duration < std::chrono::seconds(1))
        return fmt::format("{} ms", std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
    if (seconds < 60) return fmt::format("{:.1f} s", static_cast<double>(duration.count()) / 1e9);
    if (seconds < 3600) return fmt::format("{} min {:02} s", seconds / 60, seconds % 60);
    return fmt::format("{} h {:02} min", seconds / 3600, seconds / 60 % 60);
}

}  // namespace muster::cli
