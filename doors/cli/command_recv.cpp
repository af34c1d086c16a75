// muster recv: takes messages out of a queue, or looks at them.
#include "command.hpp"
#include <fmt/format.h>
#include <cerrno>
#include <cstring>
#include <memory>
#include "any_queue.hpp"
#include "interrupts.hpp"
#include "message_json.hpp"
#include "output.hpp"
#include "queue_options.hpp"
#include "receiving.hpp"
#include "report.hpp"
#include "text.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

struct Options {
    std::string name, count, timeout, output, type, up_to, except;
    bool follow = false, all = false, peek = false, stream = false, no_wait = false, create = false;
    bool raw = false, lines = false, hex = false;
    QueueShape shape;
};

enum class Form { automatic, raw, lines, hex, json };

// One message as it is written. `terminal`: what would steer the terminal is escaped.
std::string render(Form form, std::string_view bytes, std::string_view label_word, std::int64_t label, bool terminal) {
    switch (form) {
        case Form::raw:
            return std::string(bytes);
        case Form::lines:
            return std::string(bytes) + "\n";
        case Form::hex:
            return fmt::format("# {} {}, {}\n", label_word, label, counted(bytes.size(), "byte")) + hex_dump(bytes);
        case Form::json:
            return message_line(bytes, label_word, label);
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

int peek(AnyQueue& queue, const Options& options, Form form, Sink& sink, const Global& global) {
    std::vector<AnyMessage> messages;
    if (options.all) {
        messages = require(queue.peek_all(), Doing::receiving, global);
    } else {
        auto next = queue.peek();
        if (!next) throw queue.explain_receiving(next.error(), global);
        messages.push_back(std::move(*next));
    }
    for (const AnyMessage& message : messages) {
        const int error = sink.write(render(form, message.text(), queue.label_word(), message.label, sink.terminal()));
        if (error == EPIPE) fail(kBrokenPipe, "");
        if (error != 0) fail(kError, fmt::format("{}: {}", sink.name(), std::strerror(error)));
    }
    return kOk;
}

int receive(AnyQueue& queue, const Options& options, const ReceivePolicy& policy, Form form, Sink& sink, const Global& global) {
    const bool endless = options.follow || options.all;
    const std::uint64_t wanted = options.count.empty() ? 1 : parse_count("--count", options.count, 1, UINT64_MAX);
    const Interrupts interrupts;
    Receiver receiver(queue);
    for (std::uint64_t received = 0; endless || received < wanted; ++received) {
        const auto taken = receiver.take(options.all ? Deadline::now() : policy.deadline());
        if (!taken) {
            if (options.all && taken.error() == EAGAIN) break;
            Failure failure = queue.explain_receiving(taken.error(), global);
            if (wanted > 1 && received > 0) failure.text += fmt::format("; {} of {} messages were received", received, wanted);
            throw failure;
        }
        if (const int error = sink.write(render(form, taken->text(), queue.label_word(), taken->label, sink.terminal())))
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

// Which messages of a System V queue are meant.
Selector selector_of(const Options& options, const ObjectName& object) {
    if (options.type.empty() && options.up_to.empty() && options.except.empty()) return Selector::any();
    if (object.kind != ObjectKind::typed_queue)
        fail(kUsage,
             fmt::format("recv: --type, --up-to and --except are for System V queues such as msg:0x1234; messages of {} have "
                         "priorities, and the highest comes first",
                         object.text));
    if (!options.type.empty() + !options.up_to.empty() + !options.except.empty() > 1)
        fail(kUsage, "recv: choose one of --type, --up-to and --except");
    const auto number = [](std::string_view option, const std::string& text) {
        return static_cast<std::int64_t>(parse_count(option, text, 1, INT64_MAX));
    };
    return !options.type.empty()    ? Selector::type(number("--type", options.type))
           : !options.up_to.empty() ? Selector::up_to(number("--up-to", options.up_to))
                                    : Selector::except(number("--except", options.except));
}

void check(const Options& options, Form form) {
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
    const ObjectName object = parse_queue_name(options.name, options.create, options.shape);
    const Selector selector = selector_of(options, object);
    check(options, form);
    ReceivePolicy policy;
    if (!options.timeout.empty()) policy.timeout = parse_duration("--timeout", options.timeout);
    policy.no_wait = options.no_wait;
    const Domain domain = open_domain(global);
    AnyQueue queue = open_queue(domain, object, options.create, options.shape, selector, global);
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
                                     "  muster recv /pipe --stream | tar x\n"
                                     "  muster recv msg:0x1234 --type 7              (the oldest of that type)");
    command->add_option("queue", options->name, "The queue: /jobs, msg:0x1234, msg:id=5")->required()->type_name("QUEUE");
    command->add_option("--type", options->type, "Of a System V queue: messages of this type alone")->type_name("N");
    command->add_option("--up-to", options->up_to, "Of a System V queue: the lowest type first, none above N")->type_name("N");
    command->add_option("--except", options->except, "Of a System V queue: messages of every other type")->type_name("N");
    command->add_option("--count", options->count, "Take so many messages (default 1)")->type_name("N");
    command->add_flag("--follow", options->follow, "Take messages until interrupted");
    command->add_flag("--all", options->all, "Take all that are there now, and do not wait");
    command->add_flag("--peek", options->peek, "Show the next message and leave it; with --all, every message");
    command->add_flag("--raw", options->raw, "The messages' bytes and nothing else");
    command->add_flag("--lines", options->lines,
                      "A newline after each message, which is also the default; here nothing is escaped on a terminal");
    command->add_flag("--hex", options->hex, "Priority or type, size and a dump of each message");
    command->add_flag("--stream", options->stream, "Put together what `send --stream` cut, and check it");
    command->add_option("--timeout", options->timeout, "Wait at most so long for each message: 250ms, 1.5s, 2m")
        ->type_name("DURATION");
    command->add_flag("--no-wait", options->no_wait, "Do not wait when the queue is empty");
    command->add_option("--output", options->output, "Write to this file instead of standard output")->type_name("FILE");
    command->add_flag("--create", options->create, "Make the queue if there is none");
    options->shape.declare(*command);
    options->shape.declare_bytes(*command);
    registry.actions.emplace_back(command, [options, &registry] { return recv(*options, registry.global); });
}

}  // namespace muster::cli
