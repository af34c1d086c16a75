// The parts of the command that need no queue.
//
// Proves: sizes and durations are read exactly and strictly; text is escaped, measured and encoded right; the stream header is drawn as
// docs/cli.md says, with zlib's CRC-32, and every flipped bit is noticed; messages survive the command-line parser's conventions.
#include <gtest/gtest.h>
#include <array>
#include <vector>
#include "doors/cli/arguments.hpp"
#include "doors/cli/failure.hpp"
#include "doors/cli/stream_format.hpp"
#include "doors/cli/text.hpp"
#include "doors/cli/units.hpp"

namespace muster::cli {
namespace {
using namespace std::chrono_literals;

template <class F>
int failure_code(F parse) {
    try {
        parse();
        return kOk;
    } catch (const Failure& failure) {
        return failure.exit_code;
    }
}

TEST(Units, SizesAreExact) {
    EXPECT_EQ(parse_size("x", "0"), 0u);
    EXPECT_EQ(parse_size("x", "64k"), 64'000u);
    EXPECT_EQ(parse_size("x", "64Ki"), 65'536u);
    EXPECT_EQ(parse_size("x", "1.5MiB"), 1'572'864u);
    EXPECT_EQ(parse_size("x", "18446744073709551615"), UINT64_MAX);
    for (const char* bad : {"", "k", "1K", "1 k", "+1", "-1", "0x10", "1e3", "1.", ".5k", "0.1", "18446744073709551616", "99999999999G", "1kk"})
        EXPECT_EQ(failure_code([&] { parse_size("x", bad); }), kUsage) << bad;
}

TEST(Units, DurationsAreExact) {
    EXPECT_EQ(parse_duration("x", "5"), 5s);
    EXPECT_EQ(parse_duration("x", "0.25"), 250ms);
    EXPECT_EQ(parse_duration("x", "1.5m"), 90s);
    EXPECT_EQ(parse_duration("x", "100us"), 100us);
    EXPECT_EQ(parse_duration("x", "2h"), 2h);
    for (const char* bad : {"", "s", "1x", "-1s", "1.5.2s", "1 s", "0.5ns", "999999999h"})
        EXPECT_EQ(failure_code([&] { parse_duration("x", bad); }), kUsage) << bad;
}

TEST(Units, ModesAreOctal) {
    EXPECT_EQ(parse_mode("x", "0640"), 0640u);
    EXPECT_EQ(parse_mode("x", "600"), 0600u);
    for (const char* bad : {"", "8", "1000", "rw", "0o600"}) EXPECT_EQ(failure_code([&] { parse_mode("x", bad); }), kUsage) << bad;
}

TEST(Units, QueueNames) {
    EXPECT_EQ(failure_code([] { check_queue_name("/jobs"); }), kOk);
    EXPECT_EQ(failure_code([] { check_queue_name("/" + std::string(255, 'x')); }), kOk);
    for (const std::string& bad : {std::string(), std::string("/"), std::string("jobs"), std::string("/a/b"), std::string("/.."), "/" + std::string(256, 'x')})
        EXPECT_EQ(failure_code([&] { check_queue_name(bad); }), kUsage) << bad;
}

TEST(Text, Utf8) {
    for (const char* good : {"", "abc", "é", "€", "\xf0\x9f\x99\x82", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"}) EXPECT_TRUE(is_utf8(good)) << good;
    for (const char* bad : {"\xff", "\x80", "\xc3", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "a\xe2\x82"})
        EXPECT_FALSE(is_utf8(bad)) << bad;
}

TEST(Text, EscapesWhatSteersTerminals) {
    EXPECT_EQ(escaped("a\n\t\r\\\x1b\x7f\xff é"), "a\\n\\t\\r\\\\\\x1b\\x7f\\xff é");
    EXPECT_EQ(escaped("\xc2\x9b"), "\\xc2\\x9b");  // a control sequence introducer in one character
}

TEST(Text, Base64) {
    EXPECT_EQ(base64(""), "");
    EXPECT_EQ(base64("f"), "Zg==");
    EXPECT_EQ(base64("fo"), "Zm8=");
    EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
    EXPECT_EQ(base64("\xff\xfe\xfd"), "//79");
}

TEST(Text, Rfc3339) { EXPECT_EQ(rfc3339(Time(1234567890'000042us)), "2009-02-13T23:31:30.000042Z"); }

TEST(Text, TableStandsInLine) {
    Table table({{"NAME"}, {"N", Table::Align::right}, {"X"}});
    table.add({"/é", "7", ""});
    table.add({"/long", "1000", "x"});
    EXPECT_EQ(table.text(), "NAME      N  X\n/é        7\n/long  1000  x\n");
}

TEST(Stream, CrcIsZlibs) {
    const std::string_view text = "123456789";
    EXPECT_EQ(stream::crc32(0, std::as_bytes(std::span(text))), 0xcbf43926u);
    const std::string_view longer = "The quick brown fox jumps over the lazy dog";
    EXPECT_EQ(stream::crc32(0, std::as_bytes(std::span(longer))), 0x414fa339u);
}

TEST(Stream, HeaderIsAsDrawn) {
    std::array<std::byte, 34> message{};
    message[32] = std::byte{'h'};
    message[33] = std::byte{'i'};
    stream::seal(message, 0x0807060504030201, 0x0f, stream::kEnd);
    const std::string_view bytes(reinterpret_cast<const char*>(message.data()), 28);
    EXPECT_EQ(bytes, std::string_view("MSTR\x01\0\x02\0\x01\x02\x03\x04\x05\x06\x07\x08\x0f\0\0\0\0\0\0\0\x02\0\0\0", 28));
    stream::Block block;
    ASSERT_EQ(stream::decode(message, block), stream::Decoded::good);
    EXPECT_EQ(block.stream, 0x0807060504030201u);
    EXPECT_EQ(block.sequence, 0x0fu);
    EXPECT_EQ(block.payload.size(), 2u);
}

TEST(Stream, EveryFlippedBitIsNoticed) {
    std::array<std::byte, 40> message{};
    stream::seal(message, 42, 7, stream::kData);
    for (std::size_t bit = 0; bit < message.size() * 8; ++bit) {
        auto flipped = message;
        flipped[bit / 8] ^= std::byte{1} << (bit % 8);
        stream::Block block;
        EXPECT_NE(stream::decode(flipped, block), stream::Decoded::good) << bit;
    }
    stream::Block block;
    EXPECT_EQ(stream::decode(std::span(message).first(39), block), stream::Decoded::damaged);
    EXPECT_EQ(stream::decode(std::span(message).first(31), block), stream::Decoded::foreign);
}

TEST(Arguments, MessagesSurvive) {
    Arguments line{"--domain", "send", "send", "/q", "{}", "--priority", "5", "", "--domain", "d", "--", "-x", "--", "\x01" "7"};
    protect_messages(line);
    ASSERT_EQ(line.size(), 13u);
    EXPECT_EQ(line[9], "d");
    std::vector<std::string> back;
    for (const std::string& argument : line) back.push_back(plain(argument));
    EXPECT_EQ(back, (Arguments{"--domain", "send", "send", "/q", "{}", "--priority", "5", "", "--domain", "d", "-x", "--", "\x01" "7"}));
}

TEST(Arguments, ProgramIsCutOff) {
    Arguments line{"--json", "run", "--ephemeral", "--domain", "run", "sh", "--json", "--", "x"};
    EXPECT_EQ(split_program(line), (Arguments{"sh", "--json", "--", "x"}));
    EXPECT_EQ(line, (Arguments{"--json", "run", "--ephemeral", "--domain", "run"}));
    Arguments dashes{"run", "--", "--odd", "-h"};
    EXPECT_EQ(split_program(dashes), (Arguments{"--odd", "-h"}));
    Arguments other{"send", "run", "x"};
    EXPECT_TRUE(split_program(other).empty());
}

}  // namespace
}  // namespace muster::cli
