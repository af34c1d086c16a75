// Salvage of queues: out of any file, of either layout, with or without the geometry said, come only messages that the file has room for, in
// the order of their sending, as many as are reported; and each comes through a line of JSON as it is.
#include <fstream>
#include "doors/cli/failure.hpp"
#include "doors/cli/message_json.hpp"
#include "fuzz_image.hpp"
#include "muster/message_queue.hpp"
#include "muster/typed_queue.hpp"

using namespace muster;

namespace {

struct Wreck {
    std::string path;
    bool typed;
    std::vector<std::unique_ptr<fuzz::Image>> files;
};

// Short messages in their slots, and long ones in regions; the second file of a typed queue.
std::vector<Wreck> make_wrecks() {
    const Domain domain = fuzz::open_domain();
    auto brief = MessageQueue::create(domain, "/brief", {8, 300, 0600}).value();
    auto long_ones = MessageQueue::create(domain, "/long", {4, 200'000, 0600}).value();
    auto typed = TypedQueue::create(domain, Key(7)).value();
    for (unsigned n = 0; n < 6; ++n) {
        brief.try_send("some message", n * 70).value();
        typed.try_send(n % 2 == 0 ? "some message" : "another\xff", n + 1).value();
        if (n < 3) long_ones.try_send(std::string(n == 1 ? 5000 : 150'000, 'l'), n).value();
    }
    brief.try_receive().value(), typed.try_receive().value(), long_ones.try_receive().value();
    std::vector<Wreck> wrecks;
    const std::string sysv = fuzz::domain_path() + "/sysv/msg-" + std::to_string(typed.identifier() % 32768);
    for (const auto& [path, is_typed] : {std::pair{fuzz::domain_path() + "/mq/brief", false}, {fuzz::domain_path() + "/mq/long", false}, {sysv, true}}) {
        Wreck wreck{path, is_typed, {}};
        wreck.files.push_back(std::make_unique<fuzz::Image>(path));
        if (is_typed) wreck.files.push_back(std::make_unique<fuzz::Image>(path + ".data"));
        wrecks.push_back(std::move(wreck));
    }
    return wrecks;
}

void back_from_json(const SalvagedMessage& message, bool typed) {
    const std::string_view bytes(reinterpret_cast<const char*>(message.bytes.data()), message.bytes.size()), word = typed ? "type" : "priority";
    const auto label = static_cast<std::int64_t>(message.label);
    try {
        const cli::ReadMessage read = cli::read_message_line(cli::message_line(bytes, word, label), 1, word);
        if (read.bytes != bytes || read.label != label) std::abort();
    } catch (const cli::Failure&) {
        std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::vector<Wreck> wrecks = make_wrecks();
    fuzz::Bytes input(data, size);
    const auto what = input.take<std::uint8_t>(), how = input.take<std::uint8_t>();
    const Wreck& wreck = wrecks[what % 3];
    SalvageOptions options;
    if (how % 4 == 1) options.messages_max = input.take<std::uint16_t>(), options.message_size_bytes_max = input.take<std::uint16_t>();
    if (how % 16 == 2) options.messages_max = input.take<std::uint32_t>(), options.message_size_bytes_max = input.take<std::uint32_t>();
    if (how % 16 == 3) options.messages_max = input.take<std::uint64_t>(), options.message_size_bytes_max = input.take<std::uint64_t>();
    if (how % 8 < 5) options.kind = wreck.typed ? ObjectKind::typed_queue : ObjectKind::message_queue;
    // One of the files, or both.
    for (std::size_t n = 0; n < wreck.files.size(); ++n) {
        const std::size_t half = input.left() / 2;
        fuzz::Bytes part(input.data() + (n == 0 ? 0 : half), wreck.files.size() == 1 ? input.left() : half);
        if (wreck.files.size() == 1 || how / 16 % 3 != n) wreck.files[n]->lay_over(part);
        else wreck.files[n]->restore();
    }
    std::uint64_t messages = 0, bytes = 0, last = 0;
    const std::uint64_t stop = what / 3 % 16 == 0 ? 2 : ~0ull;
    SalvageSink sink;
    sink.message = [&](const SalvagedMessage& message) {
        if (message.sequence < last) std::abort();
        last = message.sequence;
        ++messages, bytes += message.bytes.size();
        back_from_json(message, wreck.typed);
        return messages < stop;
    };
    const auto report = Domain::salvage(wreck.path, options, sink);
    const bool a_queue = report && (report->kind == ObjectKind::message_queue || report->kind == ObjectKind::typed_queue);
    if (a_queue && (report->messages != messages || report->bytes != bytes)) std::abort();
    if (!report && messages >= stop && !(report.error() == ECANCELED)) std::abort();
    if (report && messages >= stop) std::abort();
    return 0;
}
