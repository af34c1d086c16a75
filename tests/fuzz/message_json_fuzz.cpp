// Messages as lines of JSON: any line is read or refused in words, and what was written is read back as it was.
#include <cstdint>
#include <cstdlib>
#include "doors/cli/failure.hpp"
#include "doors/cli/message_json.hpp"

using namespace muster::cli;

namespace {

void there_and_back(std::string_view bytes, std::string_view word, std::int64_t label) {
    const std::string line = message_line(bytes, word, label);
    if (line.empty() || line.find('\n') != line.size() - 1) std::abort();
    const ReadMessage read = read_message_line(std::string_view(line).substr(0, line.size() - 1), 1, word);
    if (read.bytes != bytes || read.label != label) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    for (const std::string_view word : {"priority", "type"}) {
        try {
            const ReadMessage read = read_message_line(text, 7, word);
            if (word == "type" ? read.label < 1 : read.label < 0 || read.label > 32767) std::abort();
            there_and_back(read.bytes, word, read.label);
        } catch (const Failure& failure) {
            if (failure.exit_code != kUsage || failure.text.find("line 7") == failure.text.npos) std::abort();
        }
        there_and_back(text, word, static_cast<std::int64_t>(size % 32767 + 1));
    }
    return 0;
}
