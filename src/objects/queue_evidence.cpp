#include "objects/queue_evidence.hpp"
#include "platform/file.hpp"

namespace muster::objects {
using platform::Fault;
using platform::Outcome;

QueueEvidence::~QueueEvidence() {
    if (marks_ != nullptr) platform::unmap(marks_, marks_bytes_);
}

bool QueueEvidence::mark(std::uint32_t number, std::uint8_t where) {
    if (number >= view_.slots.count) return false;
    if (number >= used_) used_ = number + 1;
    const bool alone = marks_[number] == 0;
    marks_[number] |= where;
    return alone;
}

Outcome<> QueueEvidence::gather(Findings& findings) {
    marks_bytes_ = (std::uint64_t{view_.slots.count} + 4095) & ~4095ull;
    const long memory = platform::map_private_zeroes(marks_bytes_);
    if (memory < 0 && memory > -4096) return Fault{ENOMEM, "no memory to check the queue"};
    marks_ = reinterpret_cast<std::uint8_t*>(memory);
    const std::uint32_t fresh = view_.header->send.fresh.load_relaxed(), reserved = view_.header->send.slots_reserved.load_relaxed();
    if (fresh > view_.slots.count || reserved > view_.slots.count || reserved < fresh) {
        findings.say({}, "it says that %u slots are in use and %u have memory, of %u", fresh, reserved, view_.slots.count);
        agree_ = false;
    }
    used_ = fresh <= view_.slots.count ? fresh : 0;
    if (reserved > used_ && reserved <= view_.slots.count) used_ = reserved;
    if (view_.slots_present > used_ && view_.slots_present <= view_.slots.count) used_ = view_.slots_present;
    follow_list(view_.header->send.spare.load_relaxed(), "spare", findings);
    follow_list(view_.header->receive.stack.load_relaxed(), "returned", findings);
    follow_rings(findings);
    follow_index(findings);
    look_for_strays(findings);
    return platform::done();
}

void QueueEvidence::follow_list(std::uint32_t at, const char* name, Findings& findings) {
    // A slot that was met before ends it, so a circle does too.
    while (at != 0) {
        if (!mark(at - 1, kFree)) {
            agree_ = false;
            if (at > view_.slots.count) return findings.say({}, "the list of %s slots leads to slot %u, which is none", name, at - 1);
            return findings.say({}, "slot %u stands twice among the free ones", at - 1);
        }
        at = slot(at - 1).next.load_relaxed();
    }
}

void QueueEvidence::follow_rings(Findings& findings) {
    const QueueReceivePublished& p = view_.header->received;
    std::uint32_t head = view_.header->sent.returned_head.load_relaxed();
    const std::uint32_t tail = p.returned_tail.load_relaxed();
    const auto enter = [&](std::uint32_t number, std::uint8_t where, const char* name) {
        if (mark(number, where)) return;
        agree_ = false;
        if (number >= view_.slots.count) findings.say({}, "the %s names slot %u, which is none", name, number);
        else findings.say({}, "slot %u stands twice: in the %s and elsewhere", number, name);
    };
    if (tail - head > view_.ring_mask + 1) {
        agree_ = false;
        findings.say({}, "the ring of free slots claims %u entries of %u", tail - head, view_.ring_mask + 1);
    } else {
        for (; head != tail; ++head) enter(view_.returned[head & view_.ring_mask].load_relaxed(), kFree, "ring of free slots");
    }
    const std::uint64_t sent = view_.header->sent.sent.load_relaxed(), drained = p.drained.load_relaxed();
    if (sent - drained > std::uint64_t{view_.ring_mask} + 1) {
        agree_ = false;
        findings.say({}, "%s", "the inbox claims more entries than it has");
    } else {
        for (std::uint64_t at = drained; at != sent; ++at) enter(view_.inbox[at & view_.ring_mask].load_relaxed(), kInbox, "inbox");
    }
}

void QueueEvidence::follow_index(Findings& findings) {
    std::uint64_t last_sequence = 0, last_key = ~0ull;
    bool ended_early = false;
    const auto look = [&](std::uint32_t number, std::uint64_t key) {
        ++indexed_;
        if (!mark(number, kIndexed)) {
            agree_ = false;
            ended_early = true;
            findings.say({}, "slot %u stands twice: in the index and elsewhere", number);
            return false;
        }
        const std::uint64_t sequence = slot(number).sequence.load_relaxed();
        if (slot(number).key.load_relaxed() != key) {
            ++wrong_keys_;
            wrong_key_slot_ = number;
            right_key_ = key;
            findings.say({slot(number).length.load_relaxed(), 1}, "the message in slot %u says %s %llu and stands among those of %llu", number,
                         view_.types != nullptr ? "type" : "priority", static_cast<unsigned long long>(slot(number).key.load_relaxed()),
                         static_cast<unsigned long long>(key));
        }
        if (key == last_key && sequence <= last_sequence) {
            agree_ = false;
            findings.say({}, "the message in slot %u is out of order", number);
        }
        last_key = key;
        last_sequence = sequence;
        return true;
    };
    auto walked = view_.types != nullptr ? view_.types->for_each_of_type(look) : view_.index->for_each(look);
    const bool sound = walked && !ended_early && (view_.types != nullptr ? view_.types->is_sound() : view_.index->is_sound(view_.lanes_reserved, view_.lanes_offset));
    if (!walked) findings.say({}, "%s", walked.fault().rule);
    else if (!ended_early && !sound) findings.say({}, "%s", view_.types != nullptr ? "the queue's index of types is damaged" : "the queue's index of priorities is damaged");
    agree_ = agree_ && sound && wrong_keys_ <= 1;
    if (indexed_ != view_.header->received.indexed.load_relaxed()) findings.say({}, "%s", "the index holds another number of messages than it says");
}

// Slots in use that stand nowhere.
void QueueEvidence::look_for_strays(Findings& findings) {
    const std::uint32_t fresh = view_.header->send.fresh.load_relaxed();
    std::uint32_t free_ones = 0, beyond = 0;
    for (std::uint32_t number = 0; number < used_; ++number) {
        const std::uint32_t word = slot(number).state.load_relaxed();
        if (number >= fresh && (marks_[number] != 0 || word != 0)) ++beyond;
        if (marks_[number] != 0 || number >= fresh || is_held(number, word)) continue;
        agree_ = false;
        if (slot_state(word) == SlotState::free) ++free_ones;
    }
    if (free_ones != 0) findings.say({std::uint64_t{free_ones} * view_.slots.stride_bytes}, "%u slots are free but in no list of free ones", free_ones);
    if (beyond != 0) {
        findings.say({}, "%u slots are in use that lie beyond those in use", beyond);
        agree_ = false;
    }
}

bool QueueEvidence::is_held(std::uint32_t number, std::uint32_t word) const {
    const SlotState state = slot_state(word);
    const std::uint32_t holder = slot_holder(word);
    if ((state != SlotState::filling && state != SlotState::taken) || view_.actors == nullptr) return false;
    if (holder == 0 || holder > view_.actors_count) return false;
    const sync::Actor& actor = view_.actors[holder - 1];
    return actor.life.load_acquire() != 0 && actor.slot.load_acquire() == number + 1;
}

bool QueueEvidence::could_be_message(std::uint32_t number) const {
    return view_.is_length(slot(number).length.load_relaxed()) && view_.is_key(key_of(number)) && slot(number).sequence.load_relaxed() != 0;
}

std::uint64_t QueueEvidence::key_of(std::uint32_t number) const {
    if (agree_ && wrong_keys_ == 1 && wrong_key_slot_ == number) return right_key_;
    return slot(number).key.load_relaxed();
}

QueueEvidence::Verdict QueueEvidence::by_own_word(std::uint32_t number) const {
    const std::uint32_t word = slot(number).state.load_relaxed();
    if (is_held(number, word)) return Verdict::held;
    switch (slot_state(word)) {
        case SlotState::free:
        case SlotState::filling: return Verdict::free;
        case SlotState::inbox:
        case SlotState::indexed:
        case SlotState::taken: return could_be_message(number) ? Verdict::message : Verdict::broken;
    }
    return Verdict::broken;
}

QueueEvidence::Verdict QueueEvidence::judge(std::uint32_t number, Findings* tell) const {
    const Slot& here = slot(number);
    const std::uint32_t word = here.state.load_relaxed(), length = here.length.load_relaxed();
    const SlotState state = slot_state(word);
    const std::uint8_t where = marks_[number];
    const std::uint64_t stake = view_.is_length(length) ? length : view_.inline_bytes;
    Verdict verdict = by_own_word(number);
    if (agree_ && (where & (kInbox | kIndexed)) != 0) verdict = could_be_message(number) ? Verdict::message : Verdict::broken;
    else if (agree_ && where == kFree) verdict = Verdict::free;
    if (tell == nullptr) return verdict;
    const bool in = (where & (kInbox | kIndexed)) != 0;
    const bool says_message = state == SlotState::inbox || state == SlotState::indexed;
    if (verdict == Verdict::broken) {
        tell->say({stake, 1}, "the message in slot %u has an impossible length, priority, type or state: it is lost", number);
    } else if (verdict == Verdict::message && state == SlotState::taken) {
        tell->say({length, 1}, "the message in slot %u is in the hands of nobody", number);
    } else if (verdict == Verdict::message && !says_message) {
        tell->say({length, 1}, "slot %u holds a message and says that it does not (state %u)", number, word);
    } else if (verdict == Verdict::message && !in) {
        tell->say({length, 1}, "the message in slot %u is in neither the inbox nor the index", number);
    } else if (verdict == Verdict::message && state != ((where & kIndexed) != 0 ? SlotState::indexed : SlotState::inbox)) {
        tell->say({}, "the message in slot %u does not say where it is (state %u)", number, word);
    } else if (verdict == Verdict::free && state == SlotState::filling) {
        tell->say({}, "slot %u is being filled by nobody", number);
    } else if (verdict == Verdict::free && word != 0) {
        tell->say({}, "slot %u is free and says that it holds a message (state %u)", number, word);
    } else if (verdict == Verdict::free && in) {
        tell->say({}, "slot %u is listed as a message but holds none", number);
    }
    return verdict;
}

}  // namespace muster::objects
