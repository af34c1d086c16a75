// --depth, --message-size, --bytes, --mode: how a queue is made, wherever a command may make one.
#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include "failure.hpp"
#include "muster/message_queue.hpp"
#include "muster/typed_queue.hpp"

namespace muster::cli {

struct TypedQueueShape {
    std::uint32_t mode = 0600;
    std::uint64_t bytes_max = 0;  // 0: the domain's default
};

struct QueueShape {
    std::string depth, message_size, bytes, mode;  // as typed; empty: the domain's default

    void declare(CLI::App& command);        // what POSIX queues have
    void declare_bytes(CLI::App& command);  // what System V queues have beside the mode
    bool given() const { return !depth.empty() || !message_size.empty() || !bytes.empty() || !mode.empty(); }

    // Values outside the domain's limits are refused here, naming the option and the limit. An explicit mode is meant
    // literally: it clears the process's umask, as mkdir -m does.
    QueueOptions resolve(const Domain& domain, const Global& global) const;
    TypedQueueShape typed() const;
};

// A new System V queue; with `exist_ok` the one that is there, as it is.
struct MadeTypedQueue {
    TypedQueue queue;
    bool made;
};
MadeTypedQueue make_typed_queue(const Domain& domain, Key key, const TypedQueueShape& shape, bool exist_ok, const Global& global);

}  // namespace muster::cli
