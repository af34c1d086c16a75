// The messages of a queue's receive side, by priority and then by age: a circle of slots for each priority,
// and a bitmap of the priorities that have any. Everything costs the same at any depth.
//
// A cache: rebuilt from the slots whenever the holder of receive.lock died. All members want receive.lock held.
#pragma once
#include "objects/queue_layout.hpp"
#include "platform/outcome.hpp"

namespace muster::objects {

// Where the slots of a queue are, in this process; the numbers are checked copies.
struct SlotTable {
    std::byte* first;
    std::uint32_t count;
    std::uint32_t stride_bytes;
    Slot& operator[](std::uint32_t slot) const { return *reinterpret_cast<Slot*>(first + std::size_t{slot} * stride_bytes); }
};

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

private:
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
            if (at > slots_.count || steps > slots_.count) return platform::Fault{EBADMSG, "the queue's index of priorities is damaged"};
            at = slots_[at - 1].next.load_relaxed();
            if (at == 0 || at > slots_.count) return platform::Fault{EBADMSG, "the queue's index of priorities is damaged"};
            if (!visit(at - 1, priority)) return platform::done();
            if (at == last) break;
        }
    }
    return platform::done();
}

}  // namespace muster::objects
