// The sending end of a byte stream through a queue.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include "any_queue.hpp"
#include "failure.hpp"

namespace muster::cli {

struct SendPolicy {
    std::int64_t label = 0;                           // priority or type
    std::optional<std::chrono::nanoseconds> timeout;  // for each message
    bool no_wait = false;

    Deadline deadline() const {
        if (no_wait) return Deadline::now();
        return timeout ? Deadline::after(*timeout) : Deadline::never();
    }
};

struct StreamSum {
    std::uint64_t blocks = 0, bytes = 0;
};

// Reads `fd` to its end. If it cannot go on, it tells the receiver so with a last block, as far as there is room for one.
StreamSum send_stream(AnyQueue& queue, int fd, const std::string& input_name, const SendPolicy& policy, const Global& global);

}  // namespace muster::cli
