// The messages of a queue's receive side, by priority and then by age: a circle of slots for each priority,
// and a bitmap of the priorities that have any. Everything costs the same at any depth.
//
// A cache: rebuilt from the slots whenever the holder of receive.lock died. All members want receive.lock held.
#pragma once
#include <bit>
#include "objects/queue_layout.hpp"
#include "objects/slot_table.hpp"
#include "platform/outcome.hpp"

namespace muster::objects {

inline constexpr platform::Fault kIndexBroken{EBADMSG, "the queue's index of priorities is damaged"};

class PriorityIndex {
public:
    PriorityIndex() = default;
    PriorityIndex(QueueReceive* side, LaneBlock* blocks, SlotTable slots) : side_(side), blocks_(blocks), slots_(slots) {}

    static constexpr std::uint32_t kNone = 0xffffffff;

    // Adds a message behind those of its priority; `priority` has been checked.
    platform::Outcome<> append(std::uint32_t slot, std::uint32_t priority);
    // Adds a message that has been out of the queue, at the place its sequence gives it.
    platform::Outcome<> insert_by_age(std::uint32_t slot, std::uint32_t priority);
    struct Best {
        std::uint32_t slot;  // kNone: there is no message
        std::uint32_t priority;
    };
    // The oldest message of the highest priority. Errors: EBADMSG.
    platform::Outcome<Best> best() const;
    // Takes out the oldest message of a priority.
    void remove_first(std::uint32_t priority);
    // Calls visit(slot, priority) in the order of delivery until it returns false. Errors: EBADMSG.
    template <class Visit>
    platform::Outcome<> for_each(Visit visit) const;
    // Forgets all; `reserved_pages` says which pages of blocks have memory at all.
    void clear(std::uint64_t reserved_pages, std::uint64_t lanes_offset);
    // Whether the bitmaps say the same as the lanes, as far as those have memory: for fsck.
    bool is_sound(std::uint64_t reserved_pages, std::uint64_t lanes_offset) const;

private:
    static bool has_memory(std::uint32_t block, std::uint64_t reserved_pages, std::uint64_t lanes_offset);

    QueueReceive* side_ = nullptr;
    LaneBlock* blocks_ = nullptr;
    SlotTable slots_{};
};

template <class Visit>
platform::Outcome<> PriorityIndex::for_each(Visit visit) const {
    for (std::uint32_t priority = kPriorities; priority-- > 0;) {
        const std::uint32_t word = priority >> 6;
        if ((side_->summary_words[word >> 6].load_relaxed() >> (word & 63) & 1) == 0) {
            priority &= ~63u;  // the loop's decrement leaves the empty block
            continue;
        }
        const std::uint32_t last = blocks_[word].last[priority & 63].load_relaxed();
        std::uint32_t at = last;
        for (std::uint32_t steps = 0; at != 0; ++steps) {
            if (at > slots_.count || steps > slots_.count) return kIndexBroken;
            at = slots_[at - 1].next.load_relaxed();
            if (at == 0 || at > slots_.count) return kIndexBroken;
            if (!visit(at - 1, priority)) return platform::done();
            if (at == last) break;
        }
    }
    return platform::done();
}


inline std::uint32_t top_bit(std::uint64_t bits) { return 63u - static_cast<std::uint32_t>(std::countl_zero(bits)); }

inline platform::Outcome<> PriorityIndex::append(std::uint32_t slot, std::uint32_t priority) {
    LaneBlock& block = blocks_[priority >> 6];
    memory::ShmU32& lane = block.last[priority & 63];
    Slot& added = slots_[slot];
    const std::uint32_t last = lane.load_relaxed();  // relaxed, here and below: receive.lock orders all of it
    if (last == 0) {
        added.next.store_relaxed(slot + 1);
        lane.store_relaxed(slot + 1);
        const std::uint32_t word = priority >> 6;
        block.occupied.store_relaxed(block.occupied.load_relaxed() | 1ull << (priority & 63));
        memory::ShmU64& summary = side_->summary_words[word >> 6];
        summary.store_relaxed(summary.load_relaxed() | 1ull << (word & 63));
        side_->summary.store_relaxed(side_->summary.load_relaxed() | 1u << (word >> 6));
        return platform::done();
    }
    if (last > slots_.count) return kIndexBroken;
    added.next.store_relaxed(slots_[last - 1].next.load_relaxed());
    slots_[last - 1].next.store_relaxed(slot + 1);
    lane.store_relaxed(slot + 1);
    return platform::done();
}

inline platform::Outcome<PriorityIndex::Best> PriorityIndex::best() const {
    const std::uint32_t summary = side_->summary.load_relaxed() & 0xff;
    if (summary == 0) return Best{kNone, 0};
    const std::uint32_t part = top_bit(summary);
    const std::uint64_t words = side_->summary_words[part].load_relaxed();
    if (words == 0) return kIndexBroken;
    const std::uint32_t word = part * 64 + top_bit(words);
    const std::uint64_t occupied = blocks_[word].occupied.load_relaxed();
    if (occupied == 0) return kIndexBroken;
    const std::uint32_t bit = top_bit(occupied);
    const std::uint32_t last = blocks_[word].last[bit].load_relaxed();
    if (last == 0 || last > slots_.count) return kIndexBroken;
    const std::uint32_t first = slots_[last - 1].next.load_relaxed();
    if (first == 0 || first > slots_.count) return kIndexBroken;
    return Best{first - 1, word * 64 + bit};
}

inline void PriorityIndex::remove_first(std::uint32_t priority) {
    LaneBlock& block = blocks_[priority >> 6];
    memory::ShmU32& lane = block.last[priority & 63];
    const std::uint32_t last = lane.load_relaxed();
    if (last == 0 || last > slots_.count) return;
    const std::uint32_t first = slots_[last - 1].next.load_relaxed();
    if (first == 0 || first > slots_.count) return;
    if (first != last) {
        slots_[last - 1].next.store_relaxed(slots_[first - 1].next.load_relaxed());
        return;
    }
    lane.store_relaxed(0);
    const std::uint32_t word = priority >> 6;
    const std::uint64_t occupied = block.occupied.load_relaxed() & ~(1ull << (priority & 63));
    block.occupied.store_relaxed(occupied);
    if (occupied != 0) return;
    memory::ShmU64& summary = side_->summary_words[word >> 6];
    const std::uint64_t words = summary.load_relaxed() & ~(1ull << (word & 63));
    summary.store_relaxed(words);
    if (words == 0) side_->summary.store_relaxed(side_->summary.load_relaxed() & ~(1u << (word >> 6)));
}

}  // namespace muster::objects
