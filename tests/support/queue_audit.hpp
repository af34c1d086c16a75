// Everything that must be true of a queue's memory while nobody is inside it, checked from the file alone.
#pragma once
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>
#include "objects/queue_layout.hpp"

namespace muster::test {

struct Audit {
    std::vector<std::string> complaints;
    std::uint64_t messages = 0;
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
    // Reads rather than maps: looking must not give holes memory.
    explicit Auditor(int fd) {
        objects::QueueHeader header;
        if (pread(fd, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) return;
        bytes_ = header.geometry.regions_offset;
        image_ = std::make_unique<std::uint64_t[]>(bytes_ / 8 + 1);
        for (std::size_t at = 0; at < bytes_;) {
            const ssize_t got = pread(fd, reinterpret_cast<char*>(image_.get()) + at, bytes_ - at, static_cast<off_t>(at));
            if (got <= 0) break;
            at += static_cast<std::size_t>(got);
        }
    }

    Audit run() {
        if (!image_) {
            complain("the file is shorter than a header");
            return audit_;
        }
        locks();
        free_lists();
        inbox();
        index();
        actors();
        slots();
        counts();
        return audit_;
    }

private:
    using Actor = sync::Actor;

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
            if (s.state.load_relaxed() != objects::slot_word(objects::SlotState::indexed)) complain("slot %u in the index is %#x", at - 1, s.state.load_relaxed());
            if (s.key.load_relaxed() != priority) complain("slot %u is in the wrong lane", at - 1);
            if (s.sequence.load_relaxed() <= before) complain("priority %u is out of order at slot %u", priority, at - 1);
            before = s.sequence.load_relaxed();
            ++steps;
        } while (at != last);
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
            if (!registered(a.word.load_relaxed())) complain("%s: actor %u is in state %u", what, at - 1, a.word.load_relaxed() & sync::kActorStateMask);
            if (a.life.load_relaxed() == 0) complain("%s: actor %u is nobody", what, at - 1);
            if (a.ticket.load_relaxed() <= ticket) complain("%s: out of order at actor %u", what, at - 1);
            ticket = a.ticket.load_relaxed();
            before = at;
            at = a.next.load_relaxed();
        }
        if (before != last) complain("%s: the last is %u, the list ends at %u", what, last, before);
        return steps;
    }

    void actors() {
        audit_.receivers = list(h().send.first_receiver.load_relaxed(), h().send.last_receiver.load_relaxed(), 1, "sleeping receivers");
        audit_.senders = list(h().receive.first_sender.load_relaxed(), h().receive.last_sender.load_relaxed(), 2, "sleeping senders");
        if (audit_.receivers != h().sent.receivers_waiting.load_relaxed()) complain("receivers_waiting is %u", h().sent.receivers_waiting.load_relaxed());
        if (audit_.senders != h().receive.senders_waiting.load_relaxed()) complain("senders_waiting is %u", h().receive.senders_waiting.load_relaxed());
        for (std::uint32_t number = 0; number < g().actors; ++number) {
            const Actor& a = actor(number);
            if (a.life.load_relaxed() & FUTEX_OWNER_DIED) complain("actor %u is dead and still there", number);
            if (a.life.load_relaxed() == 0 && (a.slot.load_relaxed() != 0 || a.kind.load_relaxed() != 0)) complain("actor %u is free and holds something", number);
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
            complain("sent - freed is %llu, there are %llu", static_cast<unsigned long long>(count), static_cast<unsigned long long>(audit_.messages));
        if (audit_.receivers != 0 && audit_.messages != 0) complain("receivers sleep beside messages");
        if (audit_.senders != 0 && audit_.messages < g().messages_max) complain("senders sleep beside space");
    }

    std::unique_ptr<std::uint64_t[]> image_;
    std::size_t bytes_ = 0;
    std::vector<std::uint8_t> place_;
    Audit audit_;
};

inline Audit audit_queue(int fd) { return Auditor(fd).run(); }

inline std::uint64_t memory_bytes(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * 512 : 0;
}

}  // namespace muster::test
