#include "facts.hpp"
#include <fmt/format.h>
#include <algorithm>
#include "any_queue.hpp"
#include "text.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

constexpr std::size_t kSemaphoresShown = 64;  // of a set, one a line

std::string line(std::string_view label, std::string_view value) {
    return fmt::format("  {:<14}{}\n", label, value);
}

std::string bytes_text(std::uint64_t bytes) {
    return bytes < 1024 ? counted(bytes, "byte") : fmt::format("{} bytes ({})", bytes, human_bytes(bytes));
}

std::string by(std::int32_t pid) {
    return pid == 0 ? std::string("nobody yet") : "process " + process_name(pid);
}

std::string when(Time time) {
    return time == Time{} ? "never" : local_time(time);
}

// ", since 2031-02-03 04:05:06 (1.5 s ago)"
std::string since(std::string_view word, Time time) {
    const auto ago = std::chrono::system_clock::now() - time;
    if (time == Time{}) return "";
    return fmt::format(", {} {}{}", word, local_time(time),
                       ago < Time::duration::zero() ? "" : fmt::format(" ({} ago)", human_duration(ago)));
}

// "takes 2 from", "waits for zero of"
std::string wish(const SemaphoreWaiter& waiter) {
    if (waiter.amount == 0) return fmt::format("for semaphore {} to become 0", waiter.number);
    return fmt::format("to {} {} {} semaphore {}", waiter.amount < 0 ? "take" : "add", std::abs(waiter.amount),
                       waiter.amount < 0 ? "from" : "to", waiter.number);
}

std::string owed(const SemaphoreHolder& holder) {
    if (holder.adjustment > 0) return fmt::format("holds {} of semaphore {}", holder.adjustment, holder.number);
    return fmt::format("has added {} to semaphore {}, to be taken back at its end", -holder.adjustment, holder.number);
}

std::string set_text(const Facts& facts) {
    std::string text = line("semaphores", std::to_string(facts.set->semaphores));
    for (std::size_t i = 0; i < facts.values.size() && i < kSemaphoresShown; ++i) {
        const std::int32_t last = i < facts.last_pids.size() ? facts.last_pids[i] : 0;
        text += line(fmt::format("  [{}]", i), fmt::format("{}, last changed by {}", facts.values[i], by(last)));
    }
    if (facts.values.size() > kSemaphoresShown)
        text += line("  …", fmt::format("and {} more", facts.values.size() - kSemaphoresShown));
    for (const SemaphoreHolder& holder : facts.holders)
        text += line("held by", fmt::format("process {}, which {}{}", process_name(holder.pid), owed(holder),
                                            since("last operation", holder.last_operation)));
    if (facts.holders.empty()) text += line("held by", "nobody with undo");
    for (const SemaphoreWaiter& waiter : facts.waiters)
        text += line("waiting",
                     fmt::format("process {}, {}{}", process_name(waiter.pid), wish(waiter), since("since", waiter.since)));
    if (facts.waiters.empty()) text += line("waiting", "nobody");
    return text + line("last used", when(facts.set->last_operation)) + line("last change", when(facts.set->last_change));
}

std::string segment_text(const Facts& facts) {
    const SegmentStatus& segment = *facts.segment;
    std::string text = line("size", bytes_text(segment.size_bytes));
    text += line("attachments", std::to_string(segment.attachments));
    for (const SegmentUser& user : facts.users)
        text += line("  by", fmt::format("process {}{}", process_name(user.pid),
                                         user.attachments > 1 ? fmt::format(", {} times", user.attachments) : ""));
    if (segment.removed_at_last_detach) text += line("state", "removed; goes when the last process detaches it");
    if (segment.locked) text += line("state", "locked (SHM_LOCK)");
    text += line("made by", by(segment.creator_pid));
    text += line("last used by", by(segment.last_pid));
    text += line("last attach", when(segment.last_attach));
    text += line("last detach", when(segment.last_detach));
    return text + line("last change", when(segment.last_change));
}

std::string queue_text(const Facts& facts) {
    const QueueStatus& queue = *facts.queue;
    std::string text = line("messages", fmt::format("{} of {}", queue.messages, queue.messages_max));
    text += line("message size", fmt::format("at most {}", bytes_text(queue.message_size_bytes_max)));
    text += line("waiting",
                 fmt::format("{}, {}", counted(queue.receivers_waiting, "receiver"), counted(queue.senders_waiting, "sender")));
    for (const QueueWaiter& waiter : facts.sleepers)
        text += line("  asleep", fmt::format("process {}, for {}{}", process_name(waiter.pid),
                                             waiter.sends ? "room to send" : "a message", since("since", waiter.since)));
    return text + line("notify", queue.notify_pid == 0 ? "nobody" : "process " + process_name(queue.notify_pid));
}

// "for a message of type 3"
std::string wish(const TypedQueueWaiter& waiter) {
    return waiter.sends ? "for room to send" : "for a message " + words_of(waiter.selector);
}

std::string_view word_of(Selector::Kind kind) {
    switch (kind) {
        case Selector::Kind::type:
            return "type";
        case Selector::Kind::except:
            return "except";
        case Selector::Kind::up_to:
            return "up-to";
        default:
            return "any";
    }
}

// What recv's options of the same names would ask for.
Json waiter_json(const TypedQueueWaiter& waiter) {
    Json json{{"pid", waiter.pid}, {"thread", waiter.thread_id}, {"for", waiter.sends ? "room to send" : "a message"}};
    if (!waiter.sends) json["selector"] = word_of(waiter.selector.kind());
    if (!waiter.sends && waiter.selector.kind() != Selector::Kind::any) json["type"] = waiter.selector.value();
    json["since"] = time_to_json(waiter.since);
    return json;
}

std::string typed_queue_text(const Facts& facts) {
    const TypedQueueStatus& queue = *facts.typed_queue;
    std::string text = line("messages", std::to_string(queue.messages));
    text += line("bytes", fmt::format("{} of {}", queue.bytes, queue.bytes_max));
    text += line("message size", fmt::format("at most {}", bytes_text(queue.message_size_bytes_max)));
    for (const TypedQueueWaiter& waiter : facts.queue_waiters)
        text += line("waiting",
                     fmt::format("process {}, {}{}", process_name(waiter.pid), wish(waiter), since("since", waiter.since)));
    if (facts.queue_waiters.empty()) text += line("waiting", "nobody");
    text += line("last sender", fmt::format("{}{}", by(queue.last_send_pid), since("at", queue.last_send)));
    text += line("last receiver", fmt::format("{}{}", by(queue.last_receive_pid), since("at", queue.last_receive)));
    return text + line("last change", when(queue.last_change));
}

Json pid_json(std::int32_t pid) {
    return pid == 0 ? Json(nullptr) : Json(pid);
}

// The error's own words, for the line "problem".
std::string problem_of(const Error& error) {
    return error.hint().empty() ? error.message() : error.hint();
}

void open_queue_facts(Facts& facts, const Domain& domain, const Global& global) {
    auto queue = MessageQueue::open(domain, facts.object.name);
    if (!queue && !(queue.error() == EBADMSG)) throw explain(queue.error(), Doing::opening, global);
    const auto status = queue ? queue->status() : Result<QueueStatus>(queue.error());
    if (!status) {
        facts.object.problem = problem_of(status.error());
        return;
    }
    facts.queue = *status;
    if (auto sleepers = queue->waiters()) facts.sleepers = std::move(*sleepers);
}

// An object opened by its identifier, with errors that name it as the listing does.
template <class T>
T require_named(Result<T> opened, const ObjectInfo& object, const Global& global) {
    if (opened) return std::move(*opened);
    throw explain(Error(opened.error().errno_value(), object.name, opened.error().hint()), Doing::opening, global);
}

void open_set_facts(Facts& facts, const Domain& domain, const Global& global) {
    auto set = require_named(SemaphoreSet::open(domain, facts.object.id), facts.object, global);
    facts.values = require(set.values(), Doing::inspecting, global);
    for (std::size_t i = 0; i < facts.values.size() && i < kSemaphoresShown; ++i)
        facts.last_pids.push_back(require(set.last_pid(static_cast<std::uint16_t>(i)), Doing::inspecting, global));
    facts.waiters = require(set.waiters(), Doing::inspecting, global);
    facts.holders = require(set.holders(), Doing::inspecting, global);
    facts.set = require(set.status(), Doing::inspecting, global);
}

void open_typed_queue_facts(Facts& facts, const Domain& domain, const Global& global) {
    auto queue = require_named(TypedQueue::open(domain, facts.object.id), facts.object, global);
    facts.queue_waiters = require(queue.waiters(), Doing::inspecting, global);
    facts.typed_queue = require(queue.status(), Doing::inspecting, global);
}

void open_segment_facts(Facts& facts, const Domain& domain, const Global& global) {
    auto segment = require_named(Segment::open(domain, facts.object.id), facts.object, global);
    facts.users = require(segment.users(), Doing::inspecting, global);
    facts.segment = require(segment.status(), Doing::inspecting, global);
}

}  // namespace

Facts gather_facts(const Domain& domain, ObjectInfo object, const Global& global) {
    Facts facts;
    facts.object = std::move(object);
    if (!facts.object.problem.empty()) return facts;
    if (facts.object.kind == ObjectKind::message_queue) open_queue_facts(facts, domain, global);
    if (facts.object.kind == ObjectKind::typed_queue) open_typed_queue_facts(facts, domain, global);
    if (facts.object.kind == ObjectKind::semaphore_set) open_set_facts(facts, domain, global);
    if (facts.object.kind == ObjectKind::segment) open_segment_facts(facts, domain, global);
    return facts;
}

std::string text_of(const Facts& facts) {
    const ObjectInfo& object = facts.object;
    std::string text = escaped(object.name) + "\n";
    text += line("kind", to_string(object.kind));
    if (object.id >= 0) {
        text += line("key", object.key == 0 ? "none" : fmt::format("{:#x}", static_cast<std::uint32_t>(object.key)));
        text += line("identifier", std::to_string(object.id));
    }
    if (!object.problem.empty()) text += line("problem", escaped(object.problem));
    text += line("owner", fmt::format("{}:{}", user_name(object.owner_uid), group_name(object.owner_gid)));
    text += line("mode", octal(object.mode));
    if (facts.queue) text += queue_text(facts);
    if (facts.typed_queue) text += typed_queue_text(facts);
    if (facts.set) text += set_text(facts);
    if (facts.segment) text += segment_text(facts);
    if (object.kind == ObjectKind::posix_shared_memory) text += line("size", bytes_text(object.size_bytes));
    if (object.kind == ObjectKind::posix_semaphore && !object.values.empty())
        text += line("value", std::to_string(object.values.front()));
    text += line("memory", bytes_text(object.bytes_allocated));
    text += line("created", local_time(object.created));
    if (facts.queue) {
        text += line("last sender", by(facts.queue->last_send_pid));
        text += line("last receiver", by(facts.queue->last_receive_pid));
    }
    return text + line("file", escaped(object.path));
}

Json json_of(const Facts& facts) {
    Json json = to_json(facts.object);
    if (facts.queue) {
        json["last_send_pid"] = pid_json(facts.queue->last_send_pid);
        json["last_receive_pid"] = pid_json(facts.queue->last_receive_pid);
        json["notify_pid"] = pid_json(facts.queue->notify_pid);
        json["waiters"] = Json::array();
        for (const QueueWaiter& waiter : facts.sleepers)
            json["waiters"].push_back({{"pid", waiter.pid},
                                       {"thread", waiter.thread_id},
                                       {"for", waiter.sends ? "room to send" : "a message"},
                                       {"since", time_to_json(waiter.since)}});
    }
    if (facts.typed_queue) {
        json["message_size_bytes_max"] = facts.typed_queue->message_size_bytes_max;
        json["last_send_pid"] = pid_json(facts.typed_queue->last_send_pid);
        json["last_receive_pid"] = pid_json(facts.typed_queue->last_receive_pid);
        json["last_send"] = time_to_json(facts.typed_queue->last_send);
        json["last_receive"] = time_to_json(facts.typed_queue->last_receive);
        json["last_change"] = time_to_json(facts.typed_queue->last_change);
        json["waiters"] = Json::array();
        for (const TypedQueueWaiter& waiter : facts.queue_waiters) json["waiters"].push_back(waiter_json(waiter));
    }
    if (facts.set) {
        json["values"] = facts.values;
        json["last_pids"] = Json::array();
        for (const std::int32_t pid : facts.last_pids) json["last_pids"].push_back(pid_json(pid));
        json["holders"] = Json::array();
        for (const SemaphoreHolder& holder : facts.holders)
            json["holders"].push_back({{"pid", holder.pid},
                                       {"semaphore", holder.number},
                                       {"held", holder.adjustment},
                                       {"last_operation", time_to_json(holder.last_operation)}});
        json["waiters"] = Json::array();
        for (const SemaphoreWaiter& waiter : facts.waiters)
            json["waiters"].push_back({{"pid", waiter.pid},
                                       {"thread", waiter.thread_id},
                                       {"semaphore", waiter.number},
                                       {"amount", waiter.amount},
                                       {"since", time_to_json(waiter.since)}});
        json["last_operation"] = time_to_json(facts.set->last_operation);
        json["last_change"] = time_to_json(facts.set->last_change);
    }
    if (facts.segment) {
        json["users"] = Json::array();
        for (const SegmentUser& user : facts.users)
            json["users"].push_back({{"pid", user.pid}, {"attachments", user.attachments}});
        json["creator_pid"] = pid_json(facts.segment->creator_pid);
        json["last_pid"] = pid_json(facts.segment->last_pid);
        json["last_attach"] = time_to_json(facts.segment->last_attach);
        json["last_detach"] = time_to_json(facts.segment->last_detach);
        json["last_change"] = time_to_json(facts.segment->last_change);
    }
    return json;
}

}  // namespace muster::cli
