#include "any_queue.hpp"
#include <fmt/format.h>
#include <algorithm>
#include "units.hpp"

namespace muster::cli {
namespace {

bool matches(const Selector& selector, std::int64_t type) {
    switch (selector.kind()) {
        case Selector::Kind::type:
            return type == selector.value();
        case Selector::Kind::except:
            return type != selector.value();
        case Selector::Kind::up_to:
            return type <= selector.value();
        default:
            return true;
    }
}

std::vector<AnyMessage> relabelled(std::vector<Message> messages) {
    std::vector<AnyMessage> all;
    all.reserve(messages.size());
    for (Message& message : messages) all.push_back({std::move(message.bytes), message.priority});
    return all;
}

std::vector<AnyMessage> selected(std::vector<TypedMessage> messages, const Selector& selector) {
    std::vector<AnyMessage> all;
    for (TypedMessage& message : messages)
        if (matches(selector, message.type)) all.push_back({std::move(message.bytes), message.type});
    if (selector.kind() == Selector::Kind::up_to)
        std::stable_sort(all.begin(), all.end(), [](const AnyMessage& a, const AnyMessage& b) { return a.label < b.label; });
    return all;
}

}  // namespace

std::string words_of(const Selector& selector) {
    switch (selector.kind()) {
        case Selector::Kind::type:
            return fmt::format("of type {}", selector.value());
        case Selector::Kind::except:
            return fmt::format("of any type but {}", selector.value());
        case Selector::Kind::up_to:
            return fmt::format("of a type up to {}", selector.value());
        default:
            return "of any type";
    }
}

AnyQueue::AnyQueue(MessageQueue queue)
    : queue_(std::move(queue)), sent_bytes_max_(std::get<MessageQueue>(queue_).message_size_bytes_max()) {}

AnyQueue::AnyQueue(TypedQueue queue, Selector selector, std::uint64_t bytes_max)
    : queue_(std::move(queue)),
      selector_(selector),
      sent_bytes_max_(std::min<std::uint64_t>(bytes_max, std::get<TypedQueue>(queue_).message_size_bytes_max())) {}

const std::string& AnyQueue::name() const {
    return std::visit([](const auto& queue) -> const std::string& { return queue.name(); }, queue_);
}

std::size_t AnyQueue::message_size_bytes_max() const {
    return std::visit([](const auto& queue) -> std::size_t { return queue.message_size_bytes_max(); }, queue_);
}

Result<> AnyQueue::send(std::span<const std::byte> message, std::int64_t label, Deadline deadline) {
    // A longer one would wait for room for ever.
    if (message.size() > sent_bytes_max_) return Error(EMSGSIZE, name(), "the message is too long");
    if (auto* typed = std::get_if<TypedQueue>(&queue_)) return typed->send(message, label, deadline);
    return std::get<MessageQueue>(queue_).send(message, static_cast<std::uint32_t>(label), deadline);
}

Result<AnyReceived> AnyQueue::receive(std::span<std::byte> buffer, Deadline deadline) {
    if (auto* typed = std::get_if<TypedQueue>(&queue_)) {
        auto got = typed->receive(buffer, selector_, deadline);
        return got ? Result<AnyReceived>(AnyReceived{got->size_bytes, got->type}) : got.error();
    }
    auto got = std::get<MessageQueue>(queue_).receive(buffer, deadline);
    return got ? Result<AnyReceived>(AnyReceived{got->size_bytes, got->priority}) : got.error();
}

Result<AnyMessage> AnyQueue::peek() {
    if (auto* typed = std::get_if<TypedQueue>(&queue_)) {
        auto next = typed->peek(selector_);
        return next ? Result<AnyMessage>(AnyMessage{std::move(next->bytes), next->type}) : next.error();
    }
    auto next = std::get<MessageQueue>(queue_).peek();
    return next ? Result<AnyMessage>(AnyMessage{std::move(next->bytes), next->priority}) : next.error();
}

Result<std::vector<AnyMessage>> AnyQueue::peek_all() {
    if (auto* typed = std::get_if<TypedQueue>(&queue_)) {
        auto all = typed->peek_all();
        return all ? Result<std::vector<AnyMessage>>(selected(std::move(*all), selector_)) : all.error();
    }
    auto all = std::get<MessageQueue>(queue_).peek_all();
    return all ? Result<std::vector<AnyMessage>>(relabelled(std::move(*all))) : all.error();
}

Failure AnyQueue::explain_receiving(const Error& error, const Global& global) const {
    Failure failure = explain(error, Doing::receiving, global);
    if (selector_.kind() == Selector::Kind::any) return failure;
    if (error == EAGAIN) failure.text = fmt::format("{}: no message {}", name(), words_of(selector_));
    if (error == ETIMEDOUT)
        failure.text = fmt::format("{}: timed out; there was still no message {}", name(), words_of(selector_));
    return failure;
}

std::string AnyQueue::arguments() const {
    switch (selector_.kind()) {
        case Selector::Kind::type:
            return fmt::format("{} --type {}", name(), selector_.value());
        case Selector::Kind::except:
            return fmt::format("{} --except {}", name(), selector_.value());
        case Selector::Kind::up_to:
            return fmt::format("{} --up-to {}", name(), selector_.value());
        default:
            return name();
    }
}

ObjectName parse_queue_name(std::string_view text, bool create, const QueueShape& shape) {
    if (text.find(':') == text.npos) check_queue_name(text);
    ObjectName object = parse_object_name(text);
    const bool typed = object.kind == ObjectKind::typed_queue;
    if (!typed && object.kind != ObjectKind::message_queue)
        fail(kUsage, fmt::format("{} is no message queue; those are named /jobs, msg:0x1234 or msg:id=5", text));
    if (!create && shape.given())
        fail(kUsage, "--depth, --message-size, --bytes and --mode say how to make a queue; they need --create");
    if (typed && (!shape.depth.empty() || !shape.message_size.empty()))
        fail(kUsage,
             fmt::format("--depth and --message-size are for POSIX queues such as /jobs; how much {} holds is said by --bytes",
                         text));
    if (!typed && !shape.bytes.empty())
        fail(kUsage, fmt::format("--bytes is for System V queues such as msg:0x1234; {} has --depth and --message-size", text));
    if (typed && create && object.id)
        fail(kUsage, fmt::format("{}: identifiers are given out, not chosen; --create needs a key, such as msg:0x1234", text));
    return object;
}

AnyQueue open_queue(const Domain& domain, const ObjectName& object, bool create, const QueueShape& shape, Selector selector,
                    const Global& global) {
    if (object.kind == ObjectKind::message_queue) {
        if (!create) return AnyQueue(require(MessageQueue::open(domain, object.name), Doing::opening, global));
        return AnyQueue(
            require(MessageQueue::open_or_create(domain, object.name, shape.resolve(domain, global)), Doing::opening, global));
    }
    TypedQueue queue = create      ? make_typed_queue(domain, Key(*object.key), shape.typed(), true, global).queue
                       : object.id ? require(TypedQueue::open(domain, *object.id), Doing::opening, global)
                                   : require(TypedQueue::open(domain, Key(*object.key)), Doing::opening, global);
    // The listing tells it even to those who may not read the queue.
    const auto info = domain.find(ObjectKind::typed_queue, queue.identifier());
    const std::uint64_t bytes_max = info && info->bytes_max > 0 ? info->bytes_max : UINT64_MAX;
    return AnyQueue(std::move(queue), selector, bytes_max);
}

}  // namespace muster::cli
