// Everything that must be true of a queue's memory while nobody is inside it, checked from the file alone.
#pragma once
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <vector>
#include "objects/queue_layout.hpp"
#include "objects/type_index.hpp"

namespace muster::test {

struct Audit {
    std::vector<std::string> complaints;
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;  // of the messages
    std::uint32_t slots = 0;
    std::uint32_t free_slots = 0;
    std::uint32_t receivers = 0;
    std::uint32_t senders = 0;
    std::string text() const {
        std::string all;
        for (const std::string& complaint : complaints) all += complaint + "\n";
        return all;
    }
};

class Auditor {
public:
    // Reads rather than maps: looking must not give holes memory. A typed queue has its slots in a second file.
    explicit Auditor(int fd, int slots_fd = -1) {
        objects::QueueHeader header;
        if (pread(fd, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) return;
        bytes_ = header.geometry.regions_offset;
        image_ = std::make_unique<std::uint64_t[]>(bytes_ / 8 + 1);
        const std::size_t slots_at = header.geometry.face != 0 ? header.geometry.slots_offset : bytes_;
        read(fd, 0, slots_at);
        if (slots_at < bytes_) read(slots_fd, slots_at, bytes_ - slots_at);
    }

    Audit run() {
        if (!image_) {
            complain("the file is shorter than a header");
            return audit_;
        }
        locks();
        free_lists();
        inbox();
        if (typed()) types();
        else index();
        actors();
        slots();
        counts();
        return audit_;
    }

private:
    using Actor = sync::Actor;

    void read(int fd, std::size_t begin, std::size_t bytes) {
        for (std::size_t at = 0; at < bytes;) {
            const ssize_t got = pread(fd, reinterpret_cast<char*>(image_.get()) + begin + at, bytes - at, static_cast<off_t>(at));
            if (got <= 0) break;
            at += static_cast<std::size_t>(got);
        }
    }
    bool typed() const { return g().face != 0; }

    template <class... Args>
    void complain(const char* format, Args... args) {
        char text[200];
        if constexpr (sizeof...(Args) == 0) std::snprintf(text, sizeof text, "%s", format);
        else std::snprintf(text, sizeof text, format, args...);
        if (audit_.complaints.size() < 30) audit_.complaints.push_back(text);
    }
    std::byte* start() const { return reinterpret_cast<std::byte*>(image_.get()); }
    objects::QueueHeader& h() const { return *reinterpret_cast<objects::QueueHeader*>(start()); }
    const objects::QueueGeometry& g() const { return h().geometry; }
    objects::Slot& slot(std::uint32_t n) const {
        return *reinterpret_cast<objects::Slot*>(start() + g().slots_offset + std::size_t{n} * g().slot_stride);
    }
    Actor& actor(std::uint32_t n) const { return reinterpret_cast<Actor*>(start() + g().actors_offset)[n]; }
    memory::ShmU32* ring(int which) const {
        return reinterpret_cast<memory::ShmU32*>(start() + sizeof(objects::QueueHeader)) + (which == 0 ? 0 : g().ring_entries);
    }

    void locks() {
        audit_.slots = g().slots;
        place_.assign(g().slots, 0);
        if (h().send_lock.load_relaxed() != 0) complain("send.lock is %#x", h().send_lock.load_relaxed());
        if (h().receive_lock.load_relaxed() != 0) complain("receive.lock is %#x", h().receive_lock.load_relaxed());
        if (h().send.filling.load_relaxed() != 0) complain("an intent to send slot %u stands", h().send.filling.load_relaxed() - 1);
        if (h().receive.taking.load_relaxed() != 0) complain("an intent to return slot %u stands", h().receive.taking.load_relaxed() - 1);
        if (h().send.trimming.load_relaxed() != 0) complain("a trim is under way: %u", h().send.trimming.load_relaxed());
        if (h().shared.flags.load_relaxed() & objects::kQueueDamaged) complain("the queue is marked damaged");
    }

    void put(std::uint32_t number, const char* where) {
        if (number >= g().slots) {
            complain("slot %u in %s is none", number, where);
            return;
        }
        if (place_[number]++ != 0) complain("slot %u is in two places, the second is %s", number, where);
    }

    void chain(std::uint32_t first, const char* where) {
        std::uint32_t steps = 0;
        for (std::uint32_t at = first; at != 0 && at <= g().slots && steps <= g().slots; ++steps) {
            free_slot(at - 1, where);
            at = slot(at - 1).next.load_relaxed();
        }
        if (steps > g().slots) complain("the list %s is a circle", where);
    }
    void free_slot(std::uint32_t number, const char* where) {
        put(number, where);
        ++audit_.free_slots;
        if (number < g().slots && slot(number).state.load_relaxed() != 0)
            complain("slot %u in %s is not free: %#x", number, where, slot(number).state.load_relaxed());
    }

    void free_lists() {
        chain(h().send.spare.load_relaxed(), "the spare list");
        chain(h().receive.stack.load_relaxed(), "the stack");
        const std::uint32_t head = h().sent.returned_head.load_relaxed(), tail = h().received.returned_tail.load_relaxed();
        if (tail - head > g().ring_entries) complain("the returned ring holds %u", tail - head);
        else
            for (std::uint32_t at = head; at != tail; ++at) free_slot(ring(1)[at & (g().ring_entries - 1)].load_relaxed(), "the returned ring");
        const std::uint32_t fresh = h().send.fresh.load_relaxed();
        if (fresh > g().slots) complain("fresh is %u", fresh);
        for (std::uint32_t number = fresh; number < g().slots; ++number) free_slot(number, "the fresh ones");
    }

    void inbox() {
        const std::uint64_t sent = h().sent.sent.load_relaxed(), drained = h().received.drained.load_relaxed();
        if (sent - drained > g().ring_entries) {
            complain("the inbox holds %llu", static_cast<unsigned long long>(sent - drained));
            return;
        }
        for (std::uint64_t at = drained; at != sent; ++at) {
            const std::uint32_t number = ring(0)[at & (g().ring_entries - 1)].load_relaxed();
            put(number, "the inbox");
            if (number < g().slots && objects::slot_state(slot(number).state.load_relaxed()) != objects::SlotState::inbox)
                complain("slot %u in the inbox is %#x", number, slot(number).state.load_relaxed());
            ++audit_.messages;
        }
    }

    void index() {
        auto* blocks = reinterpret_cast<objects::LaneBlock*>(start() + g().lanes_offset);
        std::uint64_t found = 0;
        for (std::uint32_t block = 0; block < objects::kLaneBlocks; ++block) {
            const std::uint64_t occupied = blocks[block].occupied.load_relaxed();
            const bool summary = (h().receive.summary_words[block >> 6].load_relaxed() >> (block & 63) & 1) != 0;
            if (summary != (occupied != 0)) complain("lane block %u: summary says %d", block, summary);
            for (std::uint32_t lane = 0; lane < 64; ++lane) {
                const std::uint32_t last = blocks[block].last[lane].load_relaxed();
                if ((occupied >> lane & 1) != (last != 0 ? 1u : 0u)) complain("lane %u: last is %u", block * 64 + lane, last);
                if (last == 0) continue;
                found += circle(last, block * 64 + lane);
            }
        }
        for (std::uint32_t word = 0; word < 8; ++word)
            if (((h().receive.summary.load_relaxed() >> word & 1) != 0) != (h().receive.summary_words[word].load_relaxed() != 0))
                complain("summary word %u is not summed up", word);
        if (found != h().received.indexed.load_relaxed())
            complain("the index holds %llu messages, its count says %llu", static_cast<unsigned long long>(found),
                     static_cast<unsigned long long>(h().received.indexed.load_relaxed()));
        audit_.messages += found;
    }

    std::uint64_t circle(std::uint32_t last, std::uint32_t priority) {
        std::uint64_t steps = 0, before = 0;
        std::uint32_t at = last;
        do {
            if (at == 0 || at > g().slots || steps > g().slots) {
                complain("the circle of priority %u is broken", priority);
                return steps;
            }
            at = slot(at - 1).next.load_relaxed();
            if (at == 0 || at > g().slots) continue;
            put(at - 1, "the index");
            const objects::Slot& s = slot(at - 1);
            if (s.state.load_relaxed() != objects::slot_word(objects::SlotState::indexed))
                complain("slot %u in the index is %#x", at - 1, s.state.load_relaxed());
            if (s.key.load_relaxed() != priority) complain("slot %u is in the wrong lane", at - 1);
            if (s.sequence.load_relaxed() <= before) complain("priority %u is out of order at slot %u", priority, at - 1);
            before = s.sequence.load_relaxed();
            ++steps;
        } while (at != last);
        return steps;
    }

    objects::TypeLane& lane(std::uint32_t n) const {
        return *reinterpret_cast<objects::TypeLane*>(start() + g().slots_offset + (std::size_t{n} + 1) * g().slot_stride - sizeof(objects::TypeLane));
    }
    // Two heaps, a hash and a list for each type.
    void types() {
        const objects::QueueTypes& t = h().receive.types;
        const std::uint32_t count = t.count.load_relaxed(), mask = t.bucket_mask.load_relaxed();
        if (count > g().slots || (count != 0 && mask >= g().slots) || t.used.load_relaxed() > g().slots)
            return complain("%u types, %u buckets", count, mask + 1);
        std::uint64_t found = 0;
        for (std::uint32_t at = 0; at < count; ++at) {
            const std::uint32_t by_type = lane(at).by_type.load_relaxed(), by_age = lane(at).by_age.load_relaxed();
            if (by_type >= t.used.load_relaxed() || by_age >= t.used.load_relaxed()) return complain("place %u of a heap names no lane", at);
            if (lane(by_type).by_type_at.load_relaxed() != at || lane(by_age).by_age_at.load_relaxed() != at)
                complain("lane at place %u does not know it", at);
            const std::uint32_t above = at == 0 ? 0 : (at - 1) / 4;
            if (at != 0 && lane(lane(above).by_type.load_relaxed()).type.load_relaxed() >= lane(by_type).type.load_relaxed())
                complain("the heap by type is none at place %u", at);
            if (at != 0 && lane(lane(above).by_age.load_relaxed()).head_sequence.load_relaxed() >= lane(by_age).head_sequence.load_relaxed())
                complain("the heap by age is none at place %u", at);
            found += messages_of(lane(by_type));
        }
        std::uint64_t hashed = 0;
        for (std::uint32_t bucket = 0; count != 0 && bucket <= mask; ++bucket)
            for (std::uint32_t at = lane(bucket).bucket.load_relaxed(), steps = 0; at != 0 && steps <= count; ++steps, ++hashed) {
                if (at > t.used.load_relaxed()) return complain("bucket %u names no lane", bucket);
                at = lane(at - 1).next.load_relaxed();
            }
        if (hashed != count) complain("the hash holds %llu of %u types", static_cast<unsigned long long>(hashed), count);
        std::uint32_t unused = 0;
        for (std::uint32_t at = t.free.load_relaxed(); at != 0 && at <= g().slots && unused <= g().slots; ++unused)
            at = lane(at - 1).next.load_relaxed();
        if (count + unused != t.used.load_relaxed())
            complain("%u types and %u free lanes are not the %u used ones", count, unused, t.used.load_relaxed());
        if (found != h().received.indexed.load_relaxed())
            complain("the index holds %llu messages, its count says otherwise", static_cast<unsigned long long>(found));
        audit_.messages += found;
    }
    std::uint64_t messages_of(const objects::TypeLane& mine) {
        std::uint64_t steps = 0, before = 0;
        const auto type = static_cast<unsigned long long>(mine.type.load_relaxed());
        for (std::uint32_t at = mine.first.load_relaxed(); at != 0; ++steps) {
            if (at > g().slots || steps > g().slots) {
                complain("the list of type %llu is broken", type);
                break;
            }
            put(at - 1, "the index");
            const objects::Slot& s = slot(at - 1);
            if (s.state.load_relaxed() != objects::slot_word(objects::SlotState::indexed))
                complain("slot %u in the index is %#x", at - 1, s.state.load_relaxed());
            if (s.key.load_relaxed() != type || s.sequence.load_relaxed() <= before)
                complain("slot %u is in the wrong place of type %llu", at - 1, type);
            if (steps == 0 && s.sequence.load_relaxed() != mine.head_sequence.load_relaxed())
                complain("type %llu is older or younger than it says", type);
            before = s.sequence.load_relaxed();
            if (s.next.load_relaxed() == 0 && mine.last.load_relaxed() != at) complain("the last of type %llu is not the last", type);
            at = s.next.load_relaxed();
        }
        if (steps == 0) complain("type %llu has no message", type);
        return steps;
    }

    static bool registered(std::uint32_t word) {
        const auto state = sync::state_of(word);
        return state == sync::ActorState::waiting || state == sync::ActorState::asleep;
    }

    std::uint32_t list(std::uint32_t first, std::uint32_t last, std::uint32_t kind, const char* what) {
        std::uint32_t steps = 0, before = 0;
        std::uint64_t ticket = 0;
        for (std::uint32_t at = first; at != 0 && steps <= g().actors; ++steps) {
            if (at > g().actors) {
                complain("%s: no actor %u", what, at - 1);
                break;
            }
            const Actor& a = actor(at - 1);
            if (a.previous.load_relaxed() != before) complain("%s: actor %u points back to %u", what, at - 1, a.previous.load_relaxed());
            if (a.kind.load_relaxed() != kind) complain("%s: actor %u is of kind %u", what, at - 1, a.kind.load_relaxed());
            if (!registered(a.word.load_relaxed()))
                complain("%s: actor %u is in state %u", what, at - 1, a.word.load_relaxed() & sync::kActorStateMask);
            if (a.life.load_relaxed() == 0) complain("%s: actor %u is nobody", what, at - 1);
            if (a.ticket.load_relaxed() <= ticket) complain("%s: out of order at actor %u", what, at - 1);
            ticket = a.ticket.load_relaxed();
            linked_.insert(at - 1);
            before = at;
            at = a.next.load_relaxed();
        }
        if (before != last) complain("%s: the last is %u, the list ends at %u", what, last, before);
        return steps;
    }

    void actors() {
        audit_.receivers = list(h().send.first_receiver.load_relaxed(), h().send.last_receiver.load_relaxed(), 1, "sleeping receivers");
        audit_.senders = list(h().receive.first_sender.load_relaxed(), h().receive.last_sender.load_relaxed(), 2, "sleeping senders");
        if (audit_.receivers != h().sent.receivers_waiting.load_relaxed())
            complain("receivers_waiting is %u", h().sent.receivers_waiting.load_relaxed());
        if (audit_.senders != h().receive.senders_waiting.load_relaxed())
            complain("senders_waiting is %u", h().receive.senders_waiting.load_relaxed());
        for (std::uint32_t number = 0; number < g().actors; ++number) {
            const Actor& a = actor(number);
            if (a.life.load_relaxed() & FUTEX_OWNER_DIED) complain("actor %u is dead and still there", number);
            if (a.life.load_relaxed() != 0 && registered(a.word.load_relaxed()) && linked_.count(number) == 0)
                complain("actor %u sleeps, and nobody knows", number);
            if (a.life.load_relaxed() == 0 && (a.slot.load_relaxed() != 0 || a.kind.load_relaxed() != 0))
                complain("actor %u is free and holds something", number);
            if (a.slot.load_relaxed() != 0) put(a.slot.load_relaxed() - 1, "an actor's hands");
        }
    }

    void slots() {
        for (std::uint32_t number = 0; number < g().slots; ++number)
            if (place_[number] == 0) complain("slot %u is nowhere: state %#x", number, slot(number).state.load_relaxed());
    }

    void counts() {
        const std::uint64_t count = h().sent.sent.load_relaxed() - h().received.freed.load_relaxed();
        if (count != audit_.messages)
            complain("sent - freed is %llu, there are %llu", static_cast<unsigned long long>(count),
                     static_cast<unsigned long long>(audit_.messages));
        if (typed()) return budget();
        if (audit_.receivers != 0 && audit_.messages != 0) complain("receivers sleep beside messages");
        if (audit_.senders != 0 && audit_.messages < g().messages_max) complain("senders sleep beside space");
    }

    // Bytes, and sleepers who would not sleep if somebody had looked.
    void budget() {
        const auto is_message = [&](std::uint32_t number) {
            const auto state = objects::slot_state(slot(number).state.load_relaxed());
            return state == objects::SlotState::inbox || state == objects::SlotState::indexed;
        };
        for (std::uint32_t number = 0; number < g().slots; ++number)
            if (is_message(number)) audit_.bytes += slot(number).length.load_relaxed();
        const std::uint64_t counted = h().sent.sent_bytes.load_relaxed() - h().received.freed_bytes.load_relaxed(),
                            limit = h().shared.bytes_max.load_relaxed();
        if (counted != audit_.bytes)
            complain("the count says %llu bytes, there are %llu", static_cast<unsigned long long>(counted),
                     static_cast<unsigned long long>(audit_.bytes));
        for (std::uint32_t at = h().send.first_receiver.load_relaxed(), steps = 0; at != 0 && at <= g().actors && steps < g().actors;
             at = actor(at - 1).next.load_relaxed(), ++steps) {
            const Actor& a = actor(at - 1);
            const objects::Selector wanted{static_cast<objects::Selector::Kind>(a.selector_kind.load_relaxed() & objects::kSelectorKindMask),
                                           a.selector.load_relaxed()};
            for (std::uint32_t number = 0; number < g().slots; ++number)
                if (is_message(number) && wanted.matches(slot(number).key.load_relaxed()))
                    complain("receiver %u sleeps beside the message in slot %u", at - 1, number);
        }
        for (std::uint32_t at = h().receive.first_sender.load_relaxed(), steps = 0; at != 0 && at <= g().actors && steps < g().actors;
             at = actor(at - 1).next.load_relaxed(), ++steps) {
            const std::uint32_t held = actor(at - 1).slot.load_relaxed();
            if (held == 0 || held > g().slots) {
                complain("sender %u sleeps without a message", at - 1);
                continue;
            }
            const std::uint64_t length = slot(held - 1).length.load_relaxed();
            if (audit_.messages < g().messages_max && audit_.messages < limit && audit_.bytes <= limit && length <= limit - audit_.bytes)
                complain("sender %u sleeps beside space", at - 1);
        }
    }

    std::unique_ptr<std::uint64_t[]> image_;
    std::size_t bytes_ = 0;
    std::vector<std::uint8_t> place_;
    std::set<std::uint32_t> linked_;
    Audit audit_;
};

inline Audit audit_queue(int fd, int slots_fd = -1) { return Auditor(fd, slots_fd).run(); }

inline std::uint64_t memory_bytes(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * 512 : 0;
}

}  // namespace muster::test
