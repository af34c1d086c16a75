// A message queue of either class, as send and recv see it. With each message goes a number, here its label: the priority of a
// POSIX queue's message, the type of a System V queue's.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>
#include "failure.hpp"
#include "muster/message_queue.hpp"
#include "muster/typed_queue.hpp"
#include "object_name.hpp"
#include "queue_options.hpp"

namespace muster::cli {

// "of type 7", "of any type but 7", "of a type up to 7", "of any type".
std::string words_of(const Selector& selector);

// What receive() found: its size in the buffer, and its label.
struct AnyReceived {
    std::size_t size_bytes;
    std::int64_t label;
};

struct AnyMessage {
    std::vector<std::byte> bytes;
    std::int64_t label;
    std::string_view text() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
};

class AnyQueue {
public:
    explicit AnyQueue(MessageQueue queue);
    // `selector`: what receive() and peek() take. `bytes_max`: how many the queue holds in all.
    AnyQueue(TypedQueue queue, Selector selector, std::uint64_t bytes_max);

    const std::string& name() const;
    std::string_view label_word() const { return is_typed() ? "type" : "priority"; }
    // A buffer for every message that may be in it.
    std::size_t message_size_bytes_max() const;
    // The longest message for which there can ever be room.
    std::size_t sent_bytes_max() const { return sent_bytes_max_; }

    // Errors as of MessageQueue; EMSGSIZE longer than sent_bytes_max().
    Result<> send(std::span<const std::byte> message, std::int64_t label, Deadline deadline);
    Result<AnyReceived> receive(std::span<std::byte> buffer, Deadline deadline);
    Result<AnyMessage> peek();
    // All that receive() would take one after the other, in that order.
    Result<std::vector<AnyMessage>> peek_all();

    // What "empty" means where only some types are asked for.
    Failure explain_receiving(const Error& error, const Global& global) const;
    // "msg:0x1234 --type 7": what the user must type behind `recv` to receive the same.
    std::string arguments() const;
    // Where a message comes that is sent back.
    std::string_view place_of_returned() const { return is_typed() ? "behind all others" : "behind others of its priority"; }

private:
    bool is_typed() const { return std::holds_alternative<TypedQueue>(queue_); }

    std::variant<MessageQueue, TypedQueue> queue_;
    Selector selector_ = Selector::any();
    std::size_t sent_bytes_max_;
};

// The queue that send or recv is given; with `create` it is made if there is none. `selector` is for msg: alone.
AnyQueue open_queue(const Domain& domain, const ObjectName& object, bool create, const QueueShape& shape, Selector selector,
                    const Global& global);

// "/jobs", "msg:0x1234", "msg:id=5". Fails with exit code 2 for objects of other kinds, and where `shape` does not fit the kind.
ObjectName parse_queue_name(std::string_view text, bool create, const QueueShape& shape);

}  // namespace muster::cli
