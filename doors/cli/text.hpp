// Text for people and for JSON: UTF-8, escapes, base64, times, owners, tables.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace muster::cli {

bool is_utf8(std::string_view bytes);

// Printable on any terminal: control characters and bytes that are no UTF-8 become \n, \t, \x1b…
std::string escaped(std::string_view bytes);

std::string base64(std::string_view bytes);

// As `hexdump -C` shows it, without leaving out equal lines.
std::string hex_dump(std::string_view bytes);

// The same piece by piece, beginning at any offset; equal lines become a single "*".
class HexDump {
public:
    explicit HexDump(std::uint64_t offset) : offset_(offset) {}
    std::string add(std::string_view bytes);  // whole lines of 16 bytes, except in the last piece
    std::string end() const;                  // the offset after the last byte

private:
    std::uint64_t offset_;
    std::string before_;
    bool starred_ = false;
};

using Time = std::chrono::system_clock::time_point;
std::string rfc3339(Time time);     // "2031-02-03T04:05:06.789012Z"
std::string local_time(Time time);  // "2031-02-03 04:05:06"; "-" for the epoch, which means never

std::string user_name(std::uint32_t uid);  // "root", or the number
std::string group_name(std::uint32_t gid);

// "4711 (stress-ng)", "4711 (gone)" when there is no such process now, "-" for 0.
std::string process_name(std::int32_t pid);

// Rows under a head line, columns two blanks apart, as wide as they need to be.
class Table {
public:
    enum class Align { left, right };
    struct Column {
        std::string head;
        Align align = Align::left;
    };
    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
    void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
    std::string text() const;

private:
    std::vector<Column> columns_;
    std::vector<std::vector<std::string>> rows_;
};

}  // namespace muster::cli
