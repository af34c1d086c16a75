// muster recv: takes messages out of a queue, or looks at them.
#include "command.hpp"
#include <fmt/format.h>
#include <cerrno>
#include <cstring>
#include <memory>
#include "interrupts.hpp"
#include "output.hpp"
#include "queue_options.hpp"
#include "receiving.hpp"
#include "report.hpp"
#include "text.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

struct Options {
    std::string name, count, timeout, output;
    bool follow = false, all = false, peek = false, stream = false, no_wait = false, create = false;
    bool raw = false, lines = false, hex = false;
    QueueShape shape;
};

enum class Form { automatic, raw, lines, hex, json };

// One message as it is written. `terminal`: what would steer the terminal is escaped.
std::string render(Form form, std::string_view bytes, std::uint32_t priority, bool terminal) {
    switch (form) {
        case Form::raw:
            return std::string(bytes);
        case Form::lines:
            return std::string(bytes) + "\n";
        case Form::hex:
            return fmt::format("# priority {}, {}\n", priority, counted(bytes.size(), "byte")) + hex_dump(bytes);
        case Form::json: {
            Json json{{"priority", priority}, {"size", bytes.size()}};
            if (is_utf8(bytes))
                json["text"] = bytes;
            else
                json["base64"] = base64(bytes);
            return dump(json, false);
        }
        case Form::automatic:
            break;
    }
    return (terminal ? escaped(bytes) : std::string(bytes)) + "\n";
}

[[noreturn]] void output_failed(Sink& sink, int error, Receiver& receiver, const Taken& message) {
    bool saved = false;
    const std::string fate = receiver.put_back(message, saved);
    if (error == EPIPE && saved) fail(kBrokenPipe, "");
    fail(error == EPIPE ? kBrokenPipe : kError, fmt::format("{}: {}; {}", sink.name(), std::strerror(error), fate));
}

int peek(MessageQueue& queue, const Options& options, Form form, Sink& sink, const Global& global) {
    std::vector<Message> messages;
    if (options.all)
        messages = require(queue.peek_all(), Doing::receiving, global);
    else
        messages.push_back(require(queue.peek(), Doing::receiving, global));
    for (const Message& message : messages) {
        const int error = sink.write(render(form, message.text(), message.priority, sink.terminal()));
        if (error == EPIPE) fail(kBrokenPipe, "");
        if (error != 0) fail(kError, fmt::format("{}: {}", sink.name(), std::strerror(error)));
    }
    return kOk;
}

int receive(MessageQueue& queue, const Options& options, const ReceivePolicy& policy, Form form, Sink& sink,
            const Global& global) {
    const bool endless = options.follow || options.all;
    const std::uint64_t wanted = options.count.empty() ? 1 : parse_count("--count", options.count, 1, UINT64_MAX);
    const Interrupts interrupts;
    Receiver receiver(queue);
    for (std::uint64_t received = 0; endless || received < wanted; ++received) {
        const auto taken = receiver.take(options.all ? Deadline::now() : policy.deadline());
        if (!taken) {
            if (options.all && taken.error() == EAGAIN) break;
            Failure failure = explain(taken.error(), Doing::receiving, global);
            if (wanted > 1 && received > 0) failure.text += fmt::format("; {} of {} messages were received", received, wanted);
            throw failure;
        }
        if (const int error = sink.write(render(form, taken->text(), taken->priority, sink.terminal())))
            output_failed(sink, error, receiver, *taken);
    }
    Interrupts::die_if_pending();
    return kOk;
}

Form form_of(const Options& options, const Global& global) {
    if (options.raw + options.lines + options.hex + global.json > 1)
        fail(kUsage, "recv: choose one of --raw, --lines, --hex and --json");
    return options.raw     ? Form::raw
           : options.lines ? Form::lines
           : options.hex   ? Form::hex
           : global.json   ? Form::json
                           : Form::automatic;
}

void check(const Options& options, Form form) {
    check_queue_name(options.name);
    if (options.peek && (!options.count.empty() || options.follow))
        fail(kUsage, "recv: --peek shows the next message, --peek --all every message; --count and --follow do not go with it");
    if (options.peek && (!options.timeout.empty() || options.no_wait))
        fail(kUsage, "recv: --peek never waits; leave --timeout and --no-wait away");
    if (!options.count.empty() + options.follow + options.all > 1)
        fail(kUsage, "recv: choose one of --count, --follow and --all");
    if (options.stream && (options.peek || options.follow || options.all || !options.count.empty() || form != Form::automatic))
        fail(kUsage,
             "recv: --stream writes the bytes of one stream; --count, --follow, --all, --peek and the output forms do not go "
             "with it");
    if (options.no_wait && !options.timeout.empty()) fail(kUsage, "recv: --no-wait and --timeout exclude each other");
    if (options.all && (options.no_wait || !options.timeout.empty()))
        fail(kUsage, "recv: --all takes what is there and never waits; leave --timeout and --no-wait away");
    if (!options.count.empty()) parse_count("--count", options.count, 1, UINT64_MAX);
}

int recv(const Options& options, const Global& global) {
    const Form form = form_of(options, global);
    check(options, form);
    ReceivePolicy policy;
    if (!options.timeout.empty()) policy.timeout = parse_duration("--timeout", options.timeout);
    policy.no_wait = options.no_wait;
    const Domain domain = open_domain(global);
    MessageQueue queue = open_queue(domain, options.name, options.create, options.shape, global);
    Sink sink(options.output);  // after the queue: a wrong name must not empty a file, and before the first message is taken
    int code = kOk;
    if (options.stream)
        receive_stream(queue, policy, sink, global);
    else
        code = options.peek ? peek(queue, options, form, sink, global) : receive(queue, options, policy, form, sink, global);
    sink.close();
    return code;
}

}  // namespace

void add_recv(Registry& registry) {
    auto options = std::make_shared<Options>();
    CLI::App* command = registry.add("recv", "Take messages out of a queue, or look at them",
                                     "  muster recv /jobs                            (wait for one message)\n"
                                     "  muster recv /jobs --count 10 --timeout 2s\n"
                                     "  muster recv /jobs --follow --json\n"
                                     "  muster recv /jobs --peek --all --hex         (look, take nothing)\n"
                                     "  muster recv /jobs --raw --output request.bin\n"
                                     "  muster recv /pipe --stream | tar x");
    command->add_option("name", options->name, "The queue")->required()->type_name("/NAME");
    command->add_option("--count", options->count, "Take so many messages (default 1)")->type_name("N");
    command->add_flag("--follow", options->follow, "Take messages until interrupted");
    command->add_flag("--all", options->all, "Take all that are there now, and do not wait");
    command->add_flag("--peek", options->peek, "Show the next message and leave it; with --all, every message");
    command->add_flag("--raw", options->raw, "The messages' bytes and nothing else");
    command->add_flag("--lines", options->lines,
                      "A newline after each message, which is also the default; here nothing is escaped on a terminal");
    command->add_flag("--hex", options->hex, "Priority, size and a dump of each message");
    command->add_flag("--stream", options->stream, "Put together what `send --stream` cut, and check it");
    command->add_option("--timeout", options->timeout, "Wait at most so long for each message: 250ms, 1.5s, 2m")
        ->type_name("DURATION");
    command->add_flag("--no-wait", options->no_wait, "Do not wait when the queue is empty");
    command->add_option("--output", options->output, "Write to this file instead of standard output")->type_name("FILE");
    command->add_flag("--create", options->create, "Make the queue if there is none");
    options->shape.declare(*command);
    registry.actions.emplace_back(command, [options, &registry] { return recv(*options, registry.global); });
}

}  // namespace muster::cli
