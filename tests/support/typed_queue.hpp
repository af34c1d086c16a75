// A typed queue (System V's face of the engine) in two nameless tmpfs files, and messages that say which they are.
#pragma once
#include <string>
#include "support/test_queue.hpp"

namespace muster::test {

struct TypedReceived {
    int error = 0;  // errno value
    std::uint64_t id = 0, type = 0;
    std::size_t length = 0;
    const char* wrong = nullptr;  // what is wrong with a message that came whole
};

class TypedTestQueue {
public:
    TypedTestQueue(std::uint64_t messages_max, std::uint64_t message_bytes_max, std::uint64_t bytes_max)
        : fd_(memfd_create("typed", MFD_CLOEXEC)), slots_fd_(memfd_create("slots", MFD_CLOEXEC)), buffer_(message_bytes_max + kBodyBytes) {
        objects::QueueOptions options{messages_max, message_bytes_max, 0600, objects::QueueFace::types, bytes_max};
        if (!queue_.create(fd_, options, slots_fd_)) throw std::runtime_error("no queue");
        queue_.publish_ready();
    }
    TypedTestQueue(const TypedTestQueue&) = delete;
    ~TypedTestQueue() {
        close(fd_);
        close(slots_fd_);
    }

    int fd() const { return fd_; }
    int slots_fd() const { return slots_fd_; }
    objects::Queue& queue() { return queue_; }
    // The queue's memory as it is.
    objects::QueueHeader& header() const { return reinterpret_cast<objects::QueueHeader&>(queue_.object()); }
    objects::Slot& slot(std::uint32_t number) const {
        return *reinterpret_cast<objects::Slot*>(reinterpret_cast<std::byte*>(&header()) + header().geometry.slots_offset +
                                                 std::size_t{number} * header().geometry.slot_stride);
    }

    // 0 or an errno value, as below.
    int send(std::uint64_t id, std::uint32_t length, std::uint64_t type, platform::DeadlineNs deadline_ns = platform::kNoWait) {
        write_body(buffer_.data(), id, length, static_cast<std::uint32_t>(type));
        return send_from(buffer_.data(), length, type, deadline_ns);
    }
    int send_from(const void* text, std::size_t length, std::uint64_t type, platform::DeadlineNs deadline_ns = platform::kNoWait) {
        return error_of(queue_.send_typed(platform::current_thread(), text, length, type, {deadline_ns, -1}));
    }
    TypedReceived receive(objects::Selector wanted = {}, platform::DeadlineNs deadline_ns = platform::kNoWait) {
        return receive(wanted, deadline_ns, buffer_.size(), false);
    }
    TypedReceived receive(objects::Selector wanted, platform::DeadlineNs deadline_ns, std::size_t capacity, bool truncate) {
        return receive_to(buffer_.data(), wanted, deadline_ns, capacity, truncate);
    }
    TypedReceived receive_to(void* buffer, objects::Selector wanted, platform::DeadlineNs deadline_ns, std::size_t capacity, bool truncate) {
        std::int64_t type = 0;
        auto received = queue_.receive_typed(platform::current_thread(), {{buffer}, capacity, wanted, truncate, &type}, {deadline_ns, -1});
        return judged(received, buffer, type, truncate);
    }
    // The message that `index` others are older than; it stays.
    TypedReceived copy(std::uint64_t index) {
        std::int64_t type = 0;
        auto copied = queue_.copy_typed(platform::current_thread(), {{buffer_.data()}, buffer_.size(), {}, false, &type}, index);
        return judged(copied, buffer_.data(), type, false);
    }
    objects::TypedState state() {
        auto state = queue_.typed_state(platform::current_thread());
        return state ? *state : objects::TypedState{};
    }
    int change(std::uint64_t bytes_max) {
        return error_of(queue_.change(platform::current_thread(), [](void*, memory::ObjectHeader&) { return platform::done(); }, nullptr, bytes_max));
    }
    int remove() {
        return error_of(queue_.remove(platform::current_thread(), [](memory::ObjectHeader& header) { header.removed.store_release(1); }));
    }
    int recover() { return error_of(queue_.recover(platform::current_thread(), -1)); }
    // What check() finds.
    std::string findings() {
        std::string all;
        const auto note = [](void* to, const char* what, std::uint64_t) { *static_cast<std::string*>(to) += std::string(what) + "\n"; };
        if (auto checked = queue_.check(platform::current_thread(), -1, note, &all); !checked)
            all += "check: errno " + std::to_string(checked.fault().errno_value);
        return all;
    }

private:
    template <class T>
    static int error_of(const platform::Outcome<T>& outcome) {
        return outcome ? 0 : outcome.fault().errno_value;
    }
    static TypedReceived judged(platform::Outcome<objects::ReceivedMessage>& received, const void* buffer, std::int64_t type, bool truncate) {
        TypedReceived result;
        result.error = error_of(received);
        if (result.error != 0) return result;
        result.length = received->length;
        result.type = received->priority;
        if (type != static_cast<std::int64_t>(received->priority)) result.wrong = "two types are told";
        else if (!truncate) result.wrong = wrong_body(buffer, received->length, static_cast<std::uint32_t>(received->priority));
        std::memcpy(&result.id, buffer, received->length >= 8 ? 8 : 0);
        return result;
    }

    int fd_, slots_fd_;
    objects::Queue queue_;
    std::vector<unsigned char> buffer_;
};

}  // namespace muster::test
