// A queue in a nameless tmpfs file, and messages that say which they are and whether they arrived whole.
#pragma once
#include <sys/mman.h>
#include <unistd.h>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <vector>
#include "objects/queue.hpp"
#include "platform/process.hpp"
#include "platform/thread.hpp"

namespace muster::test {

// The front of every test message; the rest follows from it.
struct Body {
    std::uint64_t id;
    std::uint32_t length;
    std::uint32_t priority;
};
inline constexpr std::uint32_t kBodyBytes = sizeof(Body);

inline std::uint64_t body_word(std::uint64_t id, std::uint64_t at) { return (id + 1) * 0x9e3779b97f4a7c15u + at; }

inline void write_body(void* buffer, std::uint64_t id, std::uint32_t length, std::uint32_t priority) {
    const Body body{id, length, priority};
    auto* bytes = static_cast<unsigned char*>(buffer);
    std::memcpy(bytes, &body, sizeof body);
    std::uint32_t at = sizeof body;
    for (; at + 8 <= length; at += 8) {
        const std::uint64_t word = body_word(id, at);
        std::memcpy(bytes + at, &word, 8);
    }
    for (; at < length; ++at) bytes[at] = static_cast<unsigned char>(body_word(id, at));
}

// Null if the message is whole, else what is wrong with it.
inline const char* wrong_body(const void* buffer, std::size_t length, std::uint64_t priority) {
    if (length < sizeof(Body)) return "too short";
    Body body;
    auto* bytes = static_cast<const unsigned char*>(buffer);
    std::memcpy(&body, bytes, sizeof body);
    if (body.length != length) return "not the length it was sent with";
    if (body.priority != priority) return "not the priority it was sent with";
    std::uint32_t at = sizeof body;
    for (; at + 8 <= length; at += 8) {
        const std::uint64_t word = body_word(body.id, at);
        if (std::memcmp(bytes + at, &word, 8) != 0) return "not the bytes it was sent with";
    }
    for (; at < length; ++at)
        if (bytes[at] != static_cast<unsigned char>(body_word(body.id, at))) return "not the bytes it was sent with";
    return nullptr;
}

struct Received {
    int error = 0;  // errno value
    std::uint64_t id = 0;
    std::uint32_t priority = 0;
    std::uint32_t length = 0;
    const char* wrong = nullptr;
};

class TestQueue {
public:
    TestQueue(std::uint64_t messages_max, std::uint64_t message_bytes_max) : fd_(memfd_create("queue", MFD_CLOEXEC)), buffer_(message_bytes_max) {
        auto created = queue_.create(fd_, {messages_max, message_bytes_max, 0600});
        if (!created) throw std::runtime_error("no queue");
        queue_.publish_ready();
    }
    TestQueue(const TestQueue&) = delete;
    ~TestQueue() { close(fd_); }

    int fd() const { return fd_; }
    objects::Queue& queue() { return queue_; }

    // 0 or an errno value.
    int send(std::uint64_t id, std::uint32_t length, std::uint32_t priority, platform::DeadlineNs deadline_ns = platform::kNoWait) {
        write_body(buffer_.data(), id, length, priority);
        auto sent = queue_.send(platform::current_thread(), fd_, buffer_.data(), length, priority, {deadline_ns, -1});
        return sent ? 0 : sent.fault().errno_value;
    }
    Received receive(platform::DeadlineNs deadline_ns = platform::kNoWait) {
        Received result;
        auto received = queue_.receive(platform::current_thread(), fd_, buffer_.data(), buffer_.size(), {deadline_ns, -1});
        if (!received) {
            result.error = received.fault().errno_value;
            return result;
        }
        result.length = static_cast<std::uint32_t>(received->length);
        result.priority = static_cast<std::uint32_t>(received->priority);
        result.wrong = wrong_body(buffer_.data(), received->length, received->priority);
        std::memcpy(&result.id, buffer_.data(), received->length >= 8 ? 8 : 0);
        return result;
    }

private:
    int fd_;
    objects::Queue queue_;
    std::vector<unsigned char> buffer_;
};

inline platform::DeadlineNs in_seconds(double seconds) { return platform::realtime_ns() + static_cast<std::int64_t>(seconds * 1e9); }

}  // namespace muster::test
