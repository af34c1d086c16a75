#include "text.hpp"
#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <algorithm>
#include <ctime>
#include <fstream>
#include <map>

namespace muster::cli {
namespace {

// The length of the well-formed UTF-8 sequence at the front of `s`, 0 if there is none.
// SOURCE Unicode 15, table 3-7.
std::size_t sequence_length(std::string_view s) {
    const auto at = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
    const auto tail = [&](std::size_t i) { return (at(i) & 0xc0u) == 0x80u; };
    const unsigned c = at(0);
    if (s.empty()) return 0;
    if (c < 0x80) return 1;
    if (c >= 0xc2 && c <= 0xdf) return tail(1) ? 2 : 0;
    if (c >= 0xe0 && c <= 0xef) {
        if (c == 0xe0 && at(1) < 0xa0) return 0;
        if (c == 0xed && at(1) > 0x9f) return 0;
        return tail(1) && tail(2) ? 3 : 0;
    }
    if (c >= 0xf0 && c <= 0xf4) {
        if (c == 0xf0 && at(1) < 0x90) return 0;
        if (c == 0xf4 && at(1) > 0x8f) return 0;
        return tail(1) && tail(2) && tail(3) ? 4 : 0;
    }
    return 0;
}

// C1 controls and the line separators steer some terminals, and are 2 or 3 bytes of good UTF-8.
bool steers_terminal(std::string_view s) {
    if (s.size() == 2) return s[0] == '\xc2' && static_cast<unsigned char>(s[1]) < 0xa0;
    return s == "\xe2\x80\xa8" || s == "\xe2\x80\xa9";
}

std::size_t display_width(std::string_view s) {
    return static_cast<std::size_t>(
        std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u; }));
}

}  // namespace

bool is_utf8(std::string_view bytes) {
    while (!bytes.empty()) {
        const std::size_t length = sequence_length(bytes);
        if (length == 0) return false;
        bytes.remove_prefix(length);
    }
    return true;
}

std::string escaped(std::string_view bytes) {
    std::string out;
    out.reserve(bytes.size());
    while (!bytes.empty()) {
        const std::size_t length = std::max<std::size_t>(1, sequence_length(bytes));
        const std::string_view one = bytes.substr(0, length);
        const auto c = static_cast<unsigned char>(one[0]);
        bytes.remove_prefix(length);
        if (one == "\n")
            out += "\\n";
        else if (one == "\r")
            out += "\\r";
        else if (one == "\t")
            out += "\\t";
        else if (one == "\\")
            out += "\\\\";
        else if (length == 1 && (c < 0x20 || c >= 0x7f))
            out += fmt::format("\\x{:02x}", c);
        else if (steers_terminal(one)) {
            for (const char byte : one) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
        } else
            out += one;
    }
    return out;
}

std::string base64(std::string_view bytes) {
    constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    out.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
        std::uint32_t group = 0;
        for (std::size_t k = 0; k < 3; ++k) group = group << 8 | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0u);
        for (std::size_t k = 0; k < 4; ++k) out += k <= count ? kDigits[group >> (18 - 6 * k) & 63] : '=';
    }
    return out;
}

namespace {

constexpr std::size_t kPerLine = 16;

std::string hex_line(std::uint64_t offset, std::string_view line) {
    std::string out = fmt::format("{:08x} ", offset);
    for (std::size_t k = 0; k < kPerLine; ++k) {
        if (k % 8 == 0) out += ' ';
        out += k < line.size() ? fmt::format("{:02x} ", static_cast<unsigned char>(line[k])) : "   ";
    }
    out += " |";
    for (const char c : line) out += c >= 0x20 && c < 0x7f ? c : '.';
    return out + "|\n";
}

}  // namespace

std::string hex_dump(std::string_view bytes) {
    std::string out;
    for (std::size_t i = 0; i < bytes.size(); i += kPerLine) out += hex_line(i, bytes.substr(i, kPerLine));
    return out + fmt::format("{:08x}\n", bytes.size());
}

std::string HexDump::add(std::string_view bytes) {
    std::string out;
    for (; !bytes.empty(); bytes.remove_prefix(std::min(kPerLine, bytes.size()))) {
        const std::string_view line = bytes.substr(0, kPerLine);
        if (line.size() == kPerLine && line == before_) {
            if (!starred_) out += "*\n";
            starred_ = true;
        } else {
            out += hex_line(offset_, line);
            before_ = line;
            starred_ = false;
        }
        offset_ += line.size();
    }
    return out;
}

std::string HexDump::end() const {
    return fmt::format("{:08x}\n", offset_);
}

std::string rfc3339(Time time) {
    const auto micros = std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch());
    const auto seconds = std::chrono::floor<std::chrono::seconds>(micros);
    const std::time_t t = seconds.count();
    std::tm tm{};
    if (::gmtime_r(&t, &tm) == nullptr) return "0000-00-00T00:00:00Z";
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                       tm.tm_min, tm.tm_sec, (micros - seconds).count());
}

std::string local_time(Time time) {
    if (time == Time{}) return "-";
    const std::time_t t = std::chrono::floor<std::chrono::seconds>(time.time_since_epoch()).count();
    std::tm tm{};
    if (::localtime_r(&t, &tm) == nullptr) return "-";
    return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
                       tm.tm_sec);
}

std::string user_name(std::uint32_t uid) {
    static std::map<std::uint32_t, std::string> known;
    const auto [entry, fresh] = known.try_emplace(uid);
    if (fresh) {
        const passwd* user = ::getpwuid(uid);
        entry->second = user != nullptr ? user->pw_name : std::to_string(uid);
    }
    return entry->second;
}

std::string group_name(std::uint32_t gid) {
    const ::group* group = ::getgrgid(gid);
    return group != nullptr ? group->gr_name : std::to_string(gid);
}

std::string process_name(std::int32_t pid) {
    if (pid == 0) return "-";
    std::ifstream comm(fmt::format("/proc/{}/comm", pid));
    std::string name;
    if (!std::getline(comm, name)) return fmt::format("{} (gone)", pid);
    return fmt::format("{} ({})", pid, escaped(name));
}

std::string Table::text() const {
    std::vector<std::size_t> widths;
    for (const Column& column : columns_) widths.push_back(display_width(column.head));
    for (const auto& row : rows_)
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
    std::string out;
    const auto line = [&](const auto& cell_at) {
        std::string text;
        for (std::size_t i = 0; i < columns_.size(); ++i) {
            const std::string& cell = cell_at(i);
            const std::string blanks(widths[i] - display_width(cell), ' ');
            if (i > 0) text += "  ";
            text += columns_[i].align == Align::right ? blanks + cell : cell + blanks;
        }
        out += text.substr(0, text.find_last_not_of(' ') + 1) + '\n';
    };
    line([&](std::size_t i) -> const std::string& { return columns_[i].head; });
    for (const auto& row : rows_) line([&](std::size_t i) -> const std::string& { return row[i]; });
    return out;
}

}  // namespace muster::cli
