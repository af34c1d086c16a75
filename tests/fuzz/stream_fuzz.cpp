// The blocks of `muster send --stream`: what is read back is what was sealed, and anything else is told from it.
#include <cstdint>
#include <cstdlib>
#include <vector>
#include "doors/cli/stream_format.hpp"

using namespace muster::cli::stream;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::vector<std::byte> message(size);
    for (std::size_t at = 0; at < size; ++at) message[at] = static_cast<std::byte>(data[at]);
    Block block;
    if (decode(message, block) == Decoded::good) {
        Opening opening;
        std::uint64_t length = 0;
        (void)get_opening(block.payload, opening);
        (void)get_length(block.payload, length);
    }
    if (size < kHeaderBytes) return 0;
    seal(message, 7, 3, kOpening);
    if (decode(message, block) != Decoded::good || block.stream != 7 || block.sequence != 3 || block.payload.size() != size - kHeaderBytes) std::abort();
    Opening opening;
    (void)get_opening(block.payload, opening);
    return 0;
}
