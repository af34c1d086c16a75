// What a schedule leaves in a queue: who sleeps beside what, whether everything is in its place, and the words' names.
#include "tests/proof/schedules_queue_scenario.hpp"

namespace muster::test {

using objects::QueueHeader;
using objects::SlotState;
using simulated::machine;

unsigned QueueScenario::messages_there() const {
    unsigned messages = 0;
    for (unsigned i = 0; i < kSlotsShown; ++i) {
        const SlotState state = objects::slot_state(slot(i).state.load_relaxed());
        if (state == SlotState::inbox || state == SlotState::indexed) ++messages;
    }
    return messages;
}

// How many messages may be there now.
std::uint64_t QueueScenario::room() const {
    return shape_.changed != 0 ? header_->shared.bytes_max.load_relaxed() / shape_.body_bytes : shape_.messages_max;
}

// Nothing can run any more: nobody may be asleep beside what it waits for.
std::string QueueScenario::find_stranded() const {
    for (const Operation& op : operations_) {
        if (!op.open() || machine().process(op.process).state != simulated::Process::State::asleep) continue;
        if (std::string stranded = find_stranded(op); !stranded.empty()) return stranded;
    }
    return {};
}

std::string QueueScenario::find_stranded(const Operation& op) const {
    const auto& process = machine().process(op.process);
    const std::string who = "P" + std::to_string(op.process) + " sleeps for ever ";
    if (is_lock(process.sleeps[0].address)) return who + "on a lock";
    if (removed()) return who + "at a removed queue";
    if (op.kind == Operation::Kind::told) return {};  // see QueueModel
    if (op.kind == Operation::Kind::poll_message) return messages_there() != 0 ? who + "polling beside a message" : "";
    if (op.kind == Operation::Kind::poll_room) return messages_there() < room() ? who + "polling beside free space" : "";
    // Who was about to give it something may have died: that is nobody's loss. What has been given is.
    const sync::ActorState told = sync::state_of(memory_at(process.sleeps[0].address));
    if (told != sync::ActorState::asleep && told != sync::ActorState::handover && !given_by_the_dead(op.process))
        return who + "beside what it was given";
    if (op.kind == Operation::Kind::send) return messages_there() < room() ? who + "beside free space" : "";
    for (unsigned i = 0; i < kSlotsShown; ++i) {
        const std::uint32_t word = slot(i).state.load_relaxed();
        const SlotState state = objects::slot_state(word);
        const objects::Selector wanted{static_cast<objects::Selector::Kind>(op.selector_kind), op.selector};
        if (shape_.typed && !wanted.matches(slot(i).key.load_relaxed())) continue;
        if (state == SlotState::inbox || state == SlotState::indexed) return who + "beside a message";
        if (state == SlotState::taken && objects::slot_holder(word) != 0 &&
            (actors_[objects::slot_holder(word) - 1].life.load_relaxed() & FUTEX_OWNER_DIED) != 0)
            return who + "beside a dead receiver's message";
    }
    return {};
}

// Dead before it committed, its notice not yet the sleeper's: whoever takes the lock next tells the sleeper to ask again.
bool QueueScenario::given_by_the_dead(unsigned process) const {
    const std::uint32_t* word = machine().process(process).sleeps[0].address;
    const auto& actor =
        actors_[static_cast<std::size_t>(reinterpret_cast<const std::byte*>(word) - reinterpret_cast<std::byte*>(actors_)) /
                sizeof(sync::Actor)];
    const bool orphaned = ((header_->send_lock.load_relaxed() | header_->receive_lock.load_relaxed()) & FUTEX_OWNER_DIED) != 0;
    const std::uint32_t held = actor.slot.load_relaxed();
    const bool receives = actor.kind.load_relaxed() == static_cast<std::uint32_t>(objects::ActorKind::receiver);
    const bool committed =
        receives ? held != 0 : held == 0 || objects::slot_state(slot(held - 1).state.load_relaxed()) != SlotState::filling;
    return sync::state_of(actor.word.load_relaxed()) == sync::ActorState::given && orphaned && !committed;
}

// Every slot that was ever used is in one place, and every record is of somebody who sleeps.
std::string QueueScenario::audit() const {
    const auto& g = header_->geometry;
    const std::uint32_t used = header_->send.fresh.load_relaxed(), mask = g.ring_entries - 1;
    const auto* inbox = reinterpret_cast<const memory::ShmU32*>(start_ + sizeof(QueueHeader));
    const auto* returned = inbox + g.ring_entries;
    unsigned places[kSlotsShown] = {};
    std::string wrong;
    if (used >= kSlotsShown) return "more slots were used than this proof looks at";
    const auto see = [&](std::uint32_t number, SlotState state, const char* where) {
        if (number >= used || ++places[number] > 1)
            wrong = std::string(where) + " names a slot that is none, or elsewhere: " + std::to_string(number);
        else if (objects::slot_state(slot(number).state.load_relaxed()) != state)
            wrong = std::string(where) + " names a slot in another state: " + std::to_string(number);
    };
    for (std::uint32_t at = header_->sent.returned_head.load_relaxed();
         at != header_->received.returned_tail.load_relaxed() && wrong.empty(); ++at)
        see(returned[at & mask].load_relaxed(), SlotState::free, "the returned ring");
    for (std::uint32_t at = header_->send.spare.load_relaxed(); at != 0 && wrong.empty(); at = slot(at - 1).next.load_relaxed())
        see(at - 1, SlotState::free, "the spare list");
    for (std::uint32_t at = header_->receive.stack.load_relaxed(); at != 0 && wrong.empty();
         at = slot(at - 1).next.load_relaxed())
        see(at - 1, SlotState::free, "the stack");
    for (std::uint64_t at = header_->received.drained.load_relaxed(); at != header_->sent.sent.load_relaxed() && wrong.empty();
         ++at)
        see(inbox[at & mask].load_relaxed(), SlotState::inbox, "the inbox");
    std::uint64_t indexed = 0;
    for (std::uint32_t number = 0; number < used && wrong.empty(); ++number) {
        const std::uint32_t word = slot(number).state.load_relaxed();
        const SlotState state = objects::slot_state(word);
        const std::uint32_t holder = objects::slot_holder(word);
        if (state == SlotState::indexed) ++indexed, ++places[number];
        if ((state == SlotState::filling || state == SlotState::taken) && holder != 0 &&
            actors_[holder - 1].life.load_relaxed() != 0)
            ++places[number];
        if (places[number] != 1) wrong = "slot " + std::to_string(number) + " is lost, in state " + std::to_string(word);
    }
    if (wrong.empty() && indexed != header_->received.indexed.load_relaxed()) wrong = "the count of indexed messages is wrong";
    for (unsigned i = 0; i < kActorsShown && wrong.empty(); ++i) {
        const std::uint32_t life = actors_[i].life.load_relaxed(), process = (life & FUTEX_TID_MASK) - simulated::kFirstThreadId;
        if (life != 0 &&
            (process >= shape_.processes.size() || machine().process(process).state != simulated::Process::State::asleep))
            wrong = "actor " + std::to_string(i) + " is nobody's";
    }
    return wrong;
}

std::string QueueScenario::name_of(const void* address) const {
    const auto at = static_cast<std::uint64_t>(static_cast<const std::byte*>(address) - start_);
    const auto& g = header_->geometry;
    char name[64];
    if (at >= 1ull << 40) return "private memory";
    if (at >= g.slots_offset) {
        static constexpr const char* kFields[] = {"state", "next", "sequence", "", "key", "", "length", "region_pages"};
        const std::uint64_t in = (at - g.slots_offset) % g.slot_stride;
        std::snprintf(name, sizeof name, "slot %llu %s", static_cast<unsigned long long>((at - g.slots_offset) / g.slot_stride),
                      in < 32 ? kFields[in / 4] : "bytes");
    } else if (at >= g.actors_offset) {
        static constexpr const char* kFields[] = {"life",  "word",     "thread_id",     "process_id", "kind",     "slot",
                                                  "next",  "previous", "ticket",        "",           "selector", "",
                                                  "since", "",         "selector_kind", "cpu"};
        std::snprintf(name, sizeof name, "actor %llu %s", static_cast<unsigned long long>((at - g.actors_offset) / 64),
                      kFields[(at - g.actors_offset) % 64 / 4]);
    } else if (at >= sizeof(QueueHeader)) {
        const std::uint64_t ring = (at - sizeof(QueueHeader)) / 4;
        if (at >= g.lanes_offset)
            std::snprintf(name, sizeof name, "lanes +%llu", static_cast<unsigned long long>(at - g.lanes_offset));
        else
            std::snprintf(name, sizeof name, ring < g.ring_entries ? "inbox %llu" : "returned %llu",
                          static_cast<unsigned long long>(ring % g.ring_entries));
    } else {
        struct Field {
            std::size_t offset;
            const char* name;
        };
        static constexpr Field kFields[] = {{offsetof(QueueHeader, send_lock), "send_lock"},
                                            {offsetof(QueueHeader, receive_lock), "receive_lock"},
                                            {offsetof(QueueHeader, shared.flags), "flags"},
                                            {offsetof(QueueHeader, shared.actors_high), "actors_high"},
                                            {offsetof(QueueHeader, shared.tickets), "tickets"},
                                            {offsetof(QueueHeader, shared.tokens), "tokens"},
                                            {offsetof(QueueHeader, object.removed), "removed"},
                                            {offsetof(QueueHeader, send.filling), "filling"},
                                            {offsetof(QueueHeader, send.filling_sent), "filling_sent"},
                                            {offsetof(QueueHeader, send.fresh), "fresh"},
                                            {offsetof(QueueHeader, send.spare), "spare"},
                                            {offsetof(QueueHeader, send.freed_seen), "freed_seen"},
                                            {offsetof(QueueHeader, send.drained_seen), "drained_seen"},
                                            {offsetof(QueueHeader, send.first_receiver), "first_receiver"},
                                            {offsetof(QueueHeader, send.last_receiver), "last_receiver"},
                                            {offsetof(QueueHeader, send.sequence), "sequence"},
                                            {offsetof(QueueHeader, sent.sent), "sent"},
                                            {offsetof(QueueHeader, sent.returned_head), "returned_head"},
                                            {offsetof(QueueHeader, sent.receivers_waiting), "receivers_waiting"},
                                            {offsetof(QueueHeader, receive.taking), "taking"},
                                            {offsetof(QueueHeader, receive.taking_tail), "taking_tail"},
                                            {offsetof(QueueHeader, receive.first_sender), "first_sender"},
                                            {offsetof(QueueHeader, receive.last_sender), "last_sender"},
                                            {offsetof(QueueHeader, receive.senders_waiting), "senders_waiting"},
                                            {offsetof(QueueHeader, received.drained), "drained"},
                                            {offsetof(QueueHeader, received.freed), "freed"},
                                            {offsetof(QueueHeader, received.promoted_sequence), "promoted_sequence"},
                                            {offsetof(QueueHeader, received.returned_tail), "returned_tail"},
                                            {offsetof(QueueHeader, received.indexed), "indexed"}};
        for (const Field& field : kFields)
            if (field.offset == at) return field.name;
        std::snprintf(name, sizeof name, "header +%llu", static_cast<unsigned long long>(at));
    }
    return name;
}

}  // namespace muster::test
