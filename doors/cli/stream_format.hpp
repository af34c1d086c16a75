// How `muster send --stream` cuts a byte stream into messages. Format 1; docs/cli.md draws it.
//
//   offset  size  field      (all little-endian)
//        0     4  magic      "MSTR"
//        4     2  format     1
//        6     2  flags      1 opening, 2 end, 4 given up
//        8     8  stream     random, the same in all blocks of a stream
//       16     8  sequence   0 for the opening, then 1, 2, …
//       24     4  size_bytes of the payload, which follows the header
//       28     4  crc        CRC-32 (IEEE) of bytes 0..27 and the payload
//
// Block 0 is the opening: its payload is an Opening. Then come data blocks; the last block
// says `end` or `given up` and carries the stream's length in bytes (8 bytes).
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include "identity.hpp"

namespace muster::cli::stream {

inline constexpr std::size_t kHeaderBytes = 32;
inline constexpr std::size_t kMessageSizeMin = 64;  // room for the opening
inline constexpr std::uint64_t kUnknownSize = UINT64_MAX;

enum Flag : std::uint16_t { kData = 0, kOpening = 1, kEnd = 2, kGivenUp = 4 };

// What the opening block says: how long the stream will be if that is known, and who sends it, so that
// a receiver need not wait for the dead.
struct Opening {
    std::uint64_t size_bytes = kUnknownSize;
    ProcessIdentity sender;
};

struct Block {
    std::uint64_t stream = 0;
    std::uint64_t sequence = 0;
    std::uint16_t flags = kData;
    std::span<const std::byte> payload;
};

// Puts the header before a payload that lies at kHeaderBytes already; `message` is header and payload.
void seal(std::span<std::byte> message, std::uint64_t stream, std::uint64_t sequence, std::uint16_t flags);

enum class Decoded {
    good,
    foreign,  // no block of a stream
    newer,    // of a later format
    damaged,  // its length or checksum is wrong
};
Decoded decode(std::span<const std::byte> message, Block& block);

inline constexpr std::size_t kOpeningBytes = 32;
void put_opening(std::span<std::byte, kOpeningBytes> payload, const Opening& opening);
bool get_opening(std::span<const std::byte> payload, Opening& opening);
void put_length(std::span<std::byte, 8> payload, std::uint64_t length_bytes);
bool get_length(std::span<const std::byte> payload, std::uint64_t& length_bytes);

std::uint64_t new_stream_id();
std::string name_of(std::uint64_t stream);  // as messages show it: "5f3a…" in full hexadecimal

// CRC-32 as in zlib and Ethernet; begin with 0.
std::uint32_t crc32(std::uint32_t crc, std::span<const std::byte> bytes);

}  // namespace muster::cli::stream
