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

MessageQueue open_queue(const Domain& domain, const std::string& name, bool create, const QueueShape& shape,
                        const Global& global) {
    if (!create) {
        if (shape.given()) fail(kUsage, "--depth, --message-size and --mode say how to make a queue; they need --create");
        return require(MessageQueue::open(domain, name), Doing::opening, global);
    }
    return require(MessageQueue::open_or_create(domain, name, shape.resolve(domain, global)), Doing::opening, global);
}

}  // namespace muster::cli
