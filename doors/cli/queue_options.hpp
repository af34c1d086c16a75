// --depth, --message-size, --mode: how a queue is made, wherever a command may make one.
#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include "failure.hpp"
#include "muster/message_queue.hpp"

namespace muster::cli {

struct QueueShape {
    std::string depth, message_size, mode;  // as typed; empty: the domain's default

    void declare(CLI::App& command);
    bool given() const { return !depth.empty() || !message_size.empty() || !mode.empty(); }

    // Values outside the domain's limits are refused here, naming the option and the limit. An explicit mode is meant
    // literally: it clears the process's umask, as mkdir -m does.
    QueueOptions resolve(const Domain& domain, const Global& global) const;
};

// Opens a queue for send or recv; with `create` it is made if there is none.
MessageQueue open_queue(const Domain& domain, const std::string& name, bool create, const QueueShape& shape,
                        const Global& global);

}  // namespace muster::cli
