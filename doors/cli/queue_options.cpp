#include "queue_options.hpp"
#include <fmt/format.h>
#include <sys/stat.h>
#include "units.hpp"

namespace muster::cli {

void QueueShape::declare(CLI::App& command) {
    command.add_option("--depth", depth, "How many messages it holds (default 10)")->type_name("N");
    command.add_option("--message-size", message_size, "The longest message: 8192, 64Ki, 1M (default 8192)")->type_name("SIZE");
    command.add_option("--mode", mode, "Permission bits, octal (default 0600)")->type_name("OCTAL");
}

void QueueShape::declare_bytes(CLI::App& command) {
    command.add_option("--bytes", bytes, "How many bytes, and messages, a System V queue holds (default 16Ki)")
        ->type_name("SIZE");
}

QueueOptions QueueShape::resolve(const Domain& domain, const Global& global) const {
    const Limits limits = require(domain.limits(), Doing::inspecting, global);
    QueueOptions options;
    options.messages_max = limits.messages_default;
    options.message_size_bytes_max = limits.message_size_bytes_default;
    if (!depth.empty()) {
        options.messages_max = parse_count("--depth", depth, 1, UINT64_MAX);
        if (options.messages_max > limits.messages_max)
            fail(kUsage,
                 fmt::format("--depth: {} is above this domain's limit of {}; {} raises it", options.messages_max,
                             limits.messages_max, global.command(fmt::format("limits msg_max={}", options.messages_max))));
    }
    if (!message_size.empty()) {
        options.message_size_bytes_max = parse_size("--message-size", message_size);
        if (options.message_size_bytes_max == 0) fail(kUsage, "--message-size: at least 1 byte");
        if (options.message_size_bytes_max > limits.message_size_bytes_max)
            fail(kUsage, fmt::format("--message-size: {} is above this domain's limit of {}; {} raises it",
                                     options.message_size_bytes_max, limits.message_size_bytes_max,
                                     global.command(fmt::format("limits msgsize_max={}", options.message_size_bytes_max))));
    }
    if (!mode.empty()) {
        options.mode = parse_mode("--mode", mode);
        ::umask(0);
    }
    return options;
}

TypedQueueShape QueueShape::typed() const {
    TypedQueueShape shape;
    if (!mode.empty()) shape.mode = parse_mode("--mode", mode);
    if (!bytes.empty()) {
        shape.bytes_max = parse_size("--bytes", bytes);
        if (shape.bytes_max == 0) fail(kUsage, "--bytes: at least 1 byte");
    }
    return shape;
}

namespace {

// Removes the queue again if it may not be as it is wanted.
void set_bytes_max(TypedQueue& queue, std::uint64_t bytes_max, const Domain& domain, const Global& global) {
    const auto set = queue.set_bytes_max(bytes_max);
    if (set) return;
    (void)queue.remove();
    if (!(set.error() == EPERM)) throw explain(set.error(), Doing::making, global);
    fail(kForbidden, fmt::format("--bytes: {} is above this domain's limit of {}, and you lack CAP_SYS_RESOURCE; {} raises it",
                                 bytes_max, require(domain.limits(), Doing::inspecting, global).typed_queue_bytes_default,
                                 global.command(fmt::format("limits msgmnb={}", bytes_max))));
}

}  // namespace

MadeTypedQueue make_typed_queue(const Domain& domain, Key key, const TypedQueueShape& shape, bool exist_ok,
                                const Global& global) {
    for (;;) {  // somebody may make or remove it between our two tries
        auto made = TypedQueue::create(domain, key, {shape.mode});
        if (made && shape.bytes_max != 0) set_bytes_max(*made, shape.bytes_max, domain, global);
        if (made) return {std::move(*made), true};
        if (!exist_ok || !(made.error() == EEXIST)) throw explain(made.error(), Doing::making, global);
        auto there = TypedQueue::open(domain, key);
        if (there) return {std::move(*there), false};
        if (!(there.error() == ENOENT)) throw explain(there.error(), Doing::opening, global);
    }
}

}  // namespace muster::cli
