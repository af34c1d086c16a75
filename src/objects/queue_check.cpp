// Looking into a queue: peeking, checking it against its invariants, and rebuilding it from its slots.
#include <cstdio>
#include "objects/queue.hpp"
#include "objects/queue_acting.hpp"
#include "objects/queue_inline.hpp"
#include "platform/file.hpp"

namespace muster::objects {
using platform::Fault;
using platform::Outcome;

Outcome<> Queue::peek(platform::ThreadState& thread, int fd, bool all, Visit visit, void* visitor) {
    Acting me(*this, thread);
    if (auto begun = me.begin(fd, ActorKind::keeper); !begun) return begun;
    if (auto locked = me.lock_both(); !locked) return locked;
    Outcome<> result = drain();
    bool any = false;
    if (result) {
        const auto show = [&](std::uint32_t number, std::uint64_t key) {
            const std::uint32_t length = slot(number).length.load_relaxed();
            if (!is_length(length)) {
                result = damaged("a message in the queue's index is damaged");
                return false;
            }
            any = true;
            return visit(visitor, payload(number, length), length, key) && all;
        };
        auto walked = platform::done();
        if (typed_) {
            auto oldest_first = sorted_by_age();
            if (!oldest_first) result = oldest_first.fault();
            for (std::uint64_t i = 0; oldest_first && i < oldest_first->count; ++i)
                if (!show(oldest_first->numbers[i], slot(oldest_first->numbers[i]).key.load_relaxed())) break;
            if (oldest_first && oldest_first->numbers != nullptr) platform::unmap(oldest_first->numbers, oldest_first->bytes);
        } else {
            walked = index_.for_each(show);
        }
        if (!walked) result = damaged(walked.fault().rule);
    }
    me.unlock_both();
    if (!result) return result;
    if (auto good = usable(); !good) return good;
    return any ? platform::done() : Outcome<>(Fault{EAGAIN, "the queue is empty"});
}

Outcome<> Queue::look_at_sleepers(platform::ThreadState& thread, int fd, VisitSleeper visit, void* context) {
    Acting me(*this, thread);
    if (auto begun = me.begin(fd, ActorKind::keeper); !begun) return begun;
    if (auto locked = me.lock_both(); !locked) return locked;
    if (dead_actors()) reap_dead(fd);
    const std::uint32_t high = header_->shared.actors_high.load_acquire();
    for (std::uint32_t number = 0; number < high && number < actors_.count; ++number) {
        const sync::Actor& sleeper = actor(number);
        const sync::ActorState state = sync::state_of(sleeper.word.load_acquire());
        if (sleeper.life.load_acquire() == 0 || (state != sync::ActorState::waiting && state != sync::ActorState::asleep)) continue;
        const bool sends = sleeper.kind.load_acquire() == static_cast<std::uint32_t>(ActorKind::sender);
        const auto kind = static_cast<Selector::Kind>(typed_ && !sends ? sleeper.selector_kind.load_relaxed() & kSelectorKindMask : 0);
        visit(context, {sleeper.process_id.load_relaxed(), sleeper.thread_id.load_relaxed(), sends, {kind, sleeper.selector.load_relaxed()},
                        sleeper.ticket.load_relaxed(), sleeper.since_ns.load_relaxed()});
    }
    me.unlock_both();
    return platform::done();
}

namespace {

// Counts findings and words them.
struct Report {
    Queue::Found found;
    void* context;
    unsigned count = 0;

    template <class... Args>
    void say(std::uint64_t bytes, const char* format, Args... values) {
        char text[160];
        std::snprintf(text, sizeof text, format, values...);
        ++count;
        if (count <= 100) found(context, text, bytes);
    }
};

}  // namespace

Outcome<> Queue::check(platform::ThreadState& thread, int fd, Found found, void* context) {
    Report report{found, context};
    if (dead_actors()) report.say(0, "%s", "a thread died in the middle of an operation; its hold is released when the queue is next used");
    Acting me(*this, thread);
    if (auto begun = me.begin(fd, ActorKind::keeper); !begun) return begun;
    if (auto locked = me.lock_both(); !locked) return locked;
    const QueueSend& s = header_->send;
    const QueueReceive& r = header_->receive;
    const QueueReceivePublished& p = header_->received;

    const std::uint32_t fresh = s.fresh.load_relaxed();
    const std::uint64_t seen_bytes = (std::uint64_t{slots_.count} + 4095) & ~4095ull;
    const long memory = platform::map_private_zeroes(seen_bytes);
    if (memory < 0 && memory > -4096) {
        me.unlock_both();
        return Fault{ENOMEM, "no memory to check the queue"};
    }
    auto* seen = reinterpret_cast<std::uint8_t*>(memory);  // how often a slot stands in a list, ring or lane
    if (fresh > slots_.count) report.say(0, "the count of slots in use, %u, is above the number of slots, %u", fresh, slots_.count);
    const std::uint32_t used = fresh > slots_.count ? slots_.count : fresh;

    const auto list = [&](std::uint32_t at, const char* name) {
        for (std::uint32_t steps = 0; at != 0; ++steps) {
            if (at > slots_.count || steps > slots_.count) {
                report.say(0, "the list of %s slots is broken", name);
                return;
            }
            if (seen[at - 1]++ != 0) {
                report.say(0, "slot %u stands twice among the free ones", at - 1);
                return;
            }
            at = slot(at - 1).next.load_relaxed();
        }
    };
    list(s.spare.load_relaxed(), "spare");
    list(r.stack.load_relaxed(), "returned");
    std::uint32_t head = header_->sent.returned_head.load_relaxed();
    const std::uint32_t tail = p.returned_tail.load_relaxed();
    if (tail - head > ring_mask_ + 1) report.say(0, "the ring of free slots claims %u entries of %u", tail - head, ring_mask_ + 1);
    else
        for (; head != tail; ++head) {
            const std::uint32_t number = returned_[head & ring_mask_].load_relaxed();
            if (number >= slots_.count) report.say(0, "the ring of free slots names slot %u, which is none", number);
            else if (seen[number]++ != 0) report.say(0, "slot %u stands twice among the free ones", number);
        }

    std::uint64_t indexed = 0, last_sequence = 0, last_key = ~0ull, message_bytes = 0;
    const auto look = [&](std::uint32_t number, std::uint64_t key) {
        ++indexed;
        if (number >= slots_.count) return false;
        if (seen[number]++ != 0) report.say(slot(number).length.load_relaxed(), "slot %u stands twice among the messages", number);
        if (slot_state(slot(number).state.load_relaxed()) != SlotState::indexed) report.say(0, "slot %u is listed as a message but holds none", number);
        if (key == last_key && slot(number).sequence.load_relaxed() <= last_sequence)
            report.say(0, "the message in slot %u is out of order", number);
        last_key = key;
        last_sequence = slot(number).sequence.load_relaxed();
        return indexed <= slots_.count;
    };
    auto walked = typed_ ? types_.for_each([&](std::uint32_t number) { return look(number, slot(number).key.load_relaxed()); }) : index_.for_each(look);
    if (!walked) report.say(0, "%s", walked.fault().rule);
    const std::uint64_t sent = header_->sent.sent.load_relaxed(), drained = p.drained.load_relaxed();
    if (sent - drained > std::uint64_t{ring_mask_} + 1) report.say(0, "%s", "the inbox claims more entries than it has");
    else
        for (std::uint64_t at = drained; at != sent; ++at) {
            const std::uint32_t number = inbox_[at & ring_mask_].load_relaxed();
            if (number >= slots_.count) report.say(0, "the inbox names slot %u, which is none", number);
            else if (seen[number]++ != 0) report.say(slot(number).length.load_relaxed(), "slot %u stands twice among the messages", number);
        }

    std::uint64_t messages = 0;
    for (std::uint32_t number = 0; number < used; ++number) {
        const std::uint32_t word = slot(number).state.load_relaxed();
        const std::uint32_t length = slot(number).length.load_relaxed();
        const std::uint32_t holder = slot_holder(word);
        switch (slot_state(word)) {
            case SlotState::free:
                if (seen[number] == 0) report.say(slots_.stride_bytes, "slot %u is free but in no list of free ones", number);
                break;
            case SlotState::filling:
            case SlotState::taken:
                if (holder == 0 || holder > actors_.count || actor(holder - 1).life.load_acquire() == 0)
                    report.say(length, "slot %u is in the hands of nobody", number);
                break;
            case SlotState::inbox:
            case SlotState::indexed:
                ++messages;
                message_bytes += length;
                if (seen[number] == 0) report.say(length, "the message in slot %u is in neither the inbox nor the index", number);
                if (length > message_bytes_max_ || !is_key(slot(number).key.load_relaxed()))
                    report.say(length, "the message in slot %u has an impossible length, priority or type", number);
                break;
            default: report.say(length, "slot %u has state %u, which is none", number, word); break;
        }
    }
    if (indexed != p.indexed.load_relaxed()) report.say(0, "%s", "the index holds another number of messages than it says");
    if (messages != sent - p.freed.load_relaxed()) report.say(0, "the count says %llu messages, there are %llu",
                                                              static_cast<unsigned long long>(sent - p.freed.load_relaxed()), static_cast<unsigned long long>(messages));
    if (const std::uint64_t counted = header_->sent.sent_bytes.load_relaxed() - p.freed_bytes.load_relaxed(); typed_ && message_bytes != counted)
        report.say(0, "the count says %llu bytes, there are %llu", static_cast<unsigned long long>(counted), static_cast<unsigned long long>(message_bytes));
    platform::unmap(seen, seen_bytes);
    me.unlock_both();
    return platform::done();
}

Outcome<> Queue::repair(platform::ThreadState& thread, int fd, Found found, void* context) {
    Report report{found, context};
    header_->shared.flags.and_release(~kQueueDamaged);
    mapping_damaged_.store(0);
    Acting me(*this, thread);
    if (auto begun = me.begin(fd, ActorKind::keeper); !begun) return begun;
    if (auto locked = me.lock_both(); !locked) return locked;
    QueueSend& s = header_->send;
    QueueReceive& r = header_->receive;
    QueueReceivePublished& p = header_->received;
    reap_dead(fd);
    if (s.fresh.load_relaxed() > slots_.count) s.fresh.store_relaxed(slots_.count);
    // A slot in use has its memory; the index of types asks how many have.
    if (s.slots_reserved.load_relaxed() < s.fresh.load_relaxed()) s.slots_reserved.store_relaxed(s.fresh.load_relaxed());
    // Every slot is a message, free, or in somebody's hands; from that all else follows.
    s.spare.store_relaxed(0);
    r.stack.store_relaxed(0);
    r.taking.store_relaxed(0);
    header_->sent.returned_head.store_relaxed(p.returned_tail.load_relaxed());
    const std::uint32_t used = s.fresh.load_relaxed();
    std::uint64_t message_bytes = 0;
    for (std::uint32_t number = 0; number < used; ++number) {
        Slot& here = slot(number);
        const std::uint32_t word = here.state.load_relaxed();
        const std::uint32_t holder = slot_holder(word), length = here.length.load_relaxed();
        const bool held = holder != 0 && holder <= actors_.count && actor(holder - 1).life.load_acquire() != 0;
        const bool sound = is_length(length) && is_key(here.key.load_relaxed());
        switch (slot_state(word)) {
            case SlotState::filling:
                if (!held) here.state.store_release(slot_word(SlotState::free));
                break;
            case SlotState::taken:
                if (held) break;
                [[fallthrough]];
            case SlotState::inbox:
            case SlotState::indexed:
                if (sound) {
                    here.state.store_release(slot_word(SlotState::indexed));
                    message_bytes += length;
                } else {
                    report.say(length, "slot %u held a message of impossible length, priority or type; it was dropped", number);
                    here.state.store_release(slot_word(SlotState::free));
                }
                break;
            case SlotState::free: break;
            default:
                report.say(length, "slot %u had state %u, which is none; it was dropped", number, word);
                here.state.store_release(slot_word(SlotState::free));
                break;
        }
        if (slot_state(here.state.load_relaxed()) == SlotState::free) push_returned(number);
    }
    p.drained.store_release(header_->sent.sent.load_relaxed());
    auto rebuilt = rebuild_index();
    publish_freed();
    s.freed_seen.store_relaxed(p.freed.load_relaxed());
    s.drained_seen.store_relaxed(p.drained.load_relaxed());
    recover_send();
    if (typed_) {
        p.freed_bytes.store_release(header_->sent.sent_bytes.load_relaxed() - message_bytes);
        s.freed_bytes_seen.store_relaxed(p.freed_bytes.load_relaxed());
    }
    wake_all();  // messages may have gone, or come back
    me.unlock_both();
    return rebuilt;
}

}  // namespace muster::objects
