// muster send: messages from arguments, standard input or a file.
#include "command.hpp"
#include <fmt/format.h>
#include <unistd.h>
#include <limits>
#include <memory>
#include <span>
#include "any_queue.hpp"
#include "arguments.hpp"
#include "message_json.hpp"
#include "output.hpp"
#include "queue_options.hpp"
#include "report.hpp"
#include "send_stream.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

struct Options {
    std::string name;
    std::vector<std::string> messages;
    std::string priority, type, file, timeout;
    bool lines = false, stream = false, from_json = false, from_stdin = false, no_wait = false, create = false;
    QueueShape shape;
};

// Sends one message after the other and counts them, so that an error can say how far it came.
class Sender {
public:
    Sender(AnyQueue& queue, const SendPolicy& policy, const Global& global) : queue_(queue), policy_(policy), global_(global) {}

    void send(std::string_view message, std::uint64_t line = 0) { send(message, policy_.label, line); }
    void send(std::string_view message, std::int64_t label, std::uint64_t line) {
        const Deadline deadline = policy_.deadline();
        for (;;) {
            const auto sent = queue_.send(std::as_bytes(std::span(message)), label, deadline);
            if (sent) break;
            if (sent.error() == EINTR) continue;
            stop(sent.error(), message.size(), line);
        }
        ++messages_;
        bytes_ += message.size();
    }

    std::uint64_t messages() const { return messages_; }
    std::uint64_t bytes() const { return bytes_; }

private:
    [[noreturn]] void stop(const Error& error, std::size_t size_bytes, std::uint64_t line) const {
        Failure failure = explain(error, Doing::sending, global_);
        if (error == EMSGSIZE)
            failure.text =
                fmt::format("{}: a message of {} is too long; at most {} go into one. --stream cuts long input into messages",
                            queue_.name(), counted(size_bytes, "byte"), queue_.sent_bytes_max());
        if (line > 0) failure.text += fmt::format(" (line {})", line);
        if (messages_ > 0) failure.text += fmt::format("; {} before it {} sent", messages_, messages_ == 1 ? "was" : "were");
        throw failure;
    }

    AnyQueue& queue_;
    const SendPolicy& policy_;
    const Global& global_;
    std::uint64_t messages_ = 0, bytes_ = 0;
};

std::string input_name(const Options& options) {
    return options.file.empty() || options.file == "-" ? "standard input" : options.file;
}

void send_whole(Sender& sender, int fd, const Options& options, const AnyQueue& queue) {
    std::string message(std::min<std::size_t>(queue.sent_bytes_max() + 1, 65536), '\0');
    std::size_t filled = 0;
    for (bool ended = false; !ended;) {
        if (filled == message.size()) message.resize(std::min(queue.sent_bytes_max() + 1, filled * 2));
        filled += read_some(fd, std::as_writable_bytes(std::span(message)).subspan(filled), ended, input_name(options));
        if (filled > queue.sent_bytes_max())
            fail(kError, fmt::format("{}: more than {}, the longest message {} takes; --stream sends input of any length, "
                                     "--lines a message a line",
                                     input_name(options), counted(queue.sent_bytes_max(), "byte"), queue.name()));
    }
    sender.send(std::string_view(message).substr(0, filled));
}

// Calls `take(line, number)` for each line. Before the whole of one longer than `most_bytes` is read, which may be as long as the
// input, what there is of it is taken.
template <class Take>
void for_each_line(int fd, const Options& options, std::uint64_t most_bytes, Take take) {
    std::string pending;
    std::vector<std::byte> chunk(65536);
    std::uint64_t line = 0;
    for (bool ended = false; !ended;) {
        const std::size_t got = read_some(fd, chunk, ended, input_name(options));
        std::string_view fresh(reinterpret_cast<const char*>(chunk.data()), got);
        for (std::size_t end; (end = fresh.find('\n')) != fresh.npos; fresh.remove_prefix(end + 1)) {
            pending += fresh.substr(0, end);
            take(pending, ++line);
            pending.clear();
        }
        pending += fresh;
        if (pending.size() > most_bytes) take(pending, ++line);
    }
    if (!pending.empty()) take(pending, ++line);
}

void send_lines(Sender& sender, int fd, const Options& options, const AnyQueue& queue) {
    for_each_line(fd, options, queue.sent_bytes_max(), [&](std::string_view line, std::uint64_t number) { sender.send(line, number); });
}

void send_from_json(Sender& sender, int fd, const Options& options, const AnyQueue& queue) {
    // Every byte may be written as six: a control character in a JSON string.
    const std::uint64_t most = 6 * std::uint64_t{queue.sent_bytes_max()} + 65536;
    for_each_line(fd, options, most, [&](std::string_view line, std::uint64_t number) {
        if (line.find_first_not_of(" \t\r") == line.npos) return;
        if (line.size() > most) fail(kUsage, fmt::format("send: line {} is longer than any message of {} can be", number, queue.name()));
        const ReadMessage message = read_message_line(line, number, queue.label_word());
        sender.send(message.bytes, message.label, number);
    });
}

ObjectName check(const Options& options) {
    ObjectName object = parse_queue_name(options.name, options.create, options.shape);
    if (object.kind == ObjectKind::typed_queue && !options.priority.empty())
        fail(kUsage, fmt::format("send: --priority is for POSIX queues such as /jobs; messages of {} have a type: --type N",
                                 object.text));
    if (object.kind == ObjectKind::message_queue && !options.type.empty())
        fail(kUsage,
             fmt::format("send: --type is for System V queues such as msg:0x1234; messages of {} have a priority: --priority N",
                         object.text));
    const bool input = options.lines || options.stream || options.from_json || options.from_stdin || !options.file.empty();
    if (!options.messages.empty() && input)
        fail(kUsage, "send: messages on the command line exclude --file, --stdin, --lines, --stream and --from-json");
    if (options.lines + options.stream + options.from_json > 1) fail(kUsage, "send: --lines, --stream and --from-json exclude each other");
    if (options.from_json && !(options.priority.empty() && options.type.empty()))
        fail(kUsage, "send: with --from-json each message says its own priority or type");
    if (options.from_stdin && !options.file.empty()) fail(kUsage, "send: --stdin and --file exclude each other");
    if (options.no_wait && !options.timeout.empty()) fail(kUsage, "send: --no-wait and --timeout exclude each other");
    return object;
}

// Priority 0 or type 1, unless said.
std::int64_t label_of(const Options& options, const ObjectName& object) {
    if (object.kind == ObjectKind::typed_queue)
        return options.type.empty() ? 1 : static_cast<std::int64_t>(parse_count("--type", options.type, 1, INT64_MAX));
    if (options.priority.empty()) return 0;
    return static_cast<std::int64_t>(parse_count("--priority", options.priority, 0, MessageQueue::kPriorityMax));
}

// The arguments as they were typed; see protect_messages().
Options decoded(Options options) {
    for (std::string* text : {&options.name, &options.priority, &options.type, &options.file, &options.timeout,
                              &options.shape.depth, &options.shape.message_size, &options.shape.bytes, &options.shape.mode})
        *text = plain(*text);
    for (std::string& message : options.messages) message = plain(message);
    return options;
}

int send(const Options& options, const Global& global) {
    const ObjectName object = check(options);
    SendPolicy policy;
    policy.label = label_of(options, object);
    if (!options.timeout.empty()) policy.timeout = parse_duration("--timeout", options.timeout);
    policy.no_wait = options.no_wait;
    // Opened first: a file that is not there must not leave a fresh queue behind.
    const Descriptor input = options.messages.empty() ? open_input(options.file.empty() ? "-" : options.file) : Descriptor();
    const Domain domain = open_domain(global);
    AnyQueue queue = open_queue(domain, object, options.create, options.shape, Selector::any(), global);

    std::uint64_t messages = 0, bytes = 0;
    if (options.stream) {
        const StreamSum sum = send_stream(queue, input.get(), input_name(options), policy, global);
        messages = sum.blocks, bytes = sum.bytes;
    } else {
        Sender sender(queue, policy, global);
        if (!options.messages.empty()) {
            for (const std::string& message : options.messages) sender.send(message);
        } else {
            if (input.get() == STDIN_FILENO && ::isatty(STDIN_FILENO) == 1)
                complain("reading from the terminal; Ctrl-D ends the input");
            if (options.lines)
                send_lines(sender, input.get(), options, queue);
            else if (options.from_json)
                send_from_json(sender, input.get(), options, queue);
            else
                send_whole(sender, input.get(), options, queue);
        }
        messages = sender.messages(), bytes = sender.bytes();
    }
    if (global.json) print(dump({{"queue", options.name}, {"messages", messages}, {"bytes", bytes}}, false));
    return kOk;
}

}  // namespace

void add_send(Registry& registry) {
    auto options = std::make_shared<Options>();
    CLI::App* command = registry.add(
        "send", "Put messages into a queue",
        "  muster send /jobs 'first message' 'second message'\n"
        "  muster send /jobs --priority 5 < request.bin        (standard input is one message)\n"
        "  muster send /jobs --lines --file list.txt           (a message a line)\n"
        "  tar c . | muster send /pipe --stream --create       (any length; `muster recv --stream` is the other end)\n"
        "  muster recv /old --all --json | muster send /new --from-json   (priorities and all)\n"
        "  muster send /jobs --timeout 2s -- --not-an-option\n"
        "  muster send msg:0x1234 --type 7 'for those who wait for 7'");
    command->add_option("queue", options->name, "The queue: /jobs, msg:0x1234, msg:id=5")->required()->type_name("QUEUE");
    command->add_option("message", options->messages, "One message an argument; with none, standard input is one message")
        ->type_name("MESSAGE");
    command->add_option("--priority", options->priority, "0 to 32767; larger is received first (default 0)")->type_name("N");
    command->add_option("--type", options->type, "Of a System V queue's message: 1 or more (default 1)")->type_name("N");
    command->add_option("--file", options->file, "Read this file instead of standard input")->type_name("FILE");
    command->add_flag("--lines", options->lines, "Each line of the input is a message");
    command->add_flag("--stream", options->stream, "Cut the input into numbered, checked messages for `recv --stream`");
    command->add_flag("--from-json", options->from_json, "Each line of the input is a message as `recv --json` and `fsck --salvage` print it");
    command->add_flag("--stdin", options->from_stdin, "Read standard input, which is what happens without messages anyway");
    command->add_option("--timeout", options->timeout, "Wait at most so long for space for each message: 250ms, 1.5s, 2m")
        ->type_name("DURATION");
    command->add_flag("--no-wait", options->no_wait, "Do not wait when the queue is full");
    command->add_flag("--create", options->create, "Make the queue if there is none");
    options->shape.declare(*command);
    options->shape.declare_bytes(*command);
    registry.actions.emplace_back(command, [options, &registry] { return send(decoded(*options), registry.global); });
}

}  // namespace muster::cli
