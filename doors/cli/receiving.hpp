// Taking messages out of a queue without losing one on the way to the output.
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include "any_queue.hpp"
#include "failure.hpp"

namespace muster::cli {

struct ReceivePolicy {
    std::optional<std::chrono::nanoseconds> timeout;  // for each message
    bool no_wait = false;

    Deadline deadline() const {
        if (no_wait) return Deadline::now();
        return timeout ? Deadline::after(*timeout) : Deadline::never();
    }
};

// A message in the receiver's one buffer, good until the next.
struct Taken {
    std::span<const std::byte> bytes;
    std::int64_t label;  // its priority or type
    std::string_view text() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
};

// Needs an Interrupts object to be alive: a signal ends the process before or after a message, never in between.
class Receiver {
public:
    explicit Receiver(AnyQueue& queue)
        : queue_(queue), buffer_(std::make_unique_for_overwrite<std::byte[]>(queue.message_size_bytes_max())) {}

    // Never EINTR: signals with handlers of ours end the process, others are waited out.
    Result<Taken> take(Deadline deadline);

    // Sends a message that could not be passed on back to where it came from. It comes behind others of its priority, or of a
    // System V queue behind all others. Returns a sentence that says what became of it.
    std::string put_back(const Taken& message, bool& saved);

private:
    AnyQueue& queue_;
    std::unique_ptr<std::byte[]> buffer_;
};

// Where received bytes go: standard output or a file, unbuffered, so that one message at most is in danger.
class Sink {
public:
    explicit Sink(const std::string& path);  // empty or "-": standard output
    ~Sink();
    Sink(const Sink&) = delete;
    Sink& operator=(const Sink&) = delete;
    int write(std::string_view bytes);  // 0 or an errno value
    bool terminal() const;
    const std::string& name() const { return name_; }
    void close();  // fails when the file system reports a late error

private:
    int fd_;
    std::string name_;
};

// Receives one stream and writes its bytes; returns how many.
std::uint64_t receive_stream(AnyQueue& queue, const ReceivePolicy& policy, Sink& sink, const Global& global);

}  // namespace muster::cli
