#include "objects/priority_index.hpp"
#include <bit>

namespace muster::objects {
using platform::Fault;
using platform::Outcome;

namespace {
constexpr Fault kBroken{EBADMSG, "the queue's index of priorities is damaged"};

std::uint32_t top_bit(std::uint64_t bits) { return 63u - static_cast<std::uint32_t>(std::countl_zero(bits)); }
}  // namespace

Outcome<> PriorityIndex::append(std::uint32_t slot, std::uint32_t priority) {
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
    if (last > slots_.count) return kBroken;
    added.next.store_relaxed(slots_[last - 1].next.load_relaxed());
    slots_[last - 1].next.store_relaxed(slot + 1);
    lane.store_relaxed(slot + 1);
    return platform::done();
}

Outcome<> PriorityIndex::insert_by_age(std::uint32_t slot, std::uint32_t priority) {
    LaneBlock& block = blocks_[priority >> 6];
    const std::uint32_t last = block.last[priority & 63].load_relaxed();
    if (last == 0) return append(slot, priority);
    if (last > slots_.count) return kBroken;
    const std::uint64_t sequence = slots_[slot].sequence.load_relaxed();
    if (slots_[last - 1].sequence.load_relaxed() < sequence) return append(slot, priority);
    std::uint32_t before = last;  // walk from the oldest: what comes back is old
    for (std::uint32_t steps = 0; steps <= slots_.count; ++steps) {
        const std::uint32_t next = slots_[before - 1].next.load_relaxed();
        if (next == 0 || next > slots_.count) return kBroken;
        if (slots_[next - 1].sequence.load_relaxed() > sequence || next == last) {
            slots_[slot].next.store_relaxed(next);
            slots_[before - 1].next.store_relaxed(slot + 1);
            return platform::done();
        }
        before = next;
    }
    return kBroken;
}

Outcome<PriorityIndex::Best> PriorityIndex::best() const {
    const std::uint32_t summary = side_->summary.load_relaxed() & 0xff;
    if (summary == 0) return Best{kNone, 0};
    const std::uint32_t part = top_bit(summary);
    const std::uint64_t words = side_->summary_words[part].load_relaxed();
    if (words == 0) return kBroken;
    const std::uint32_t word = part * 64 + top_bit(words);
    const std::uint64_t occupied = blocks_[word].occupied.load_relaxed();
    if (occupied == 0) return kBroken;
    const std::uint32_t bit = top_bit(occupied);
    const std::uint32_t last = blocks_[word].last[bit].load_relaxed();
    if (last == 0 || last > slots_.count) return kBroken;
    const std::uint32_t first = slots_[last - 1].next.load_relaxed();
    if (first == 0 || first > slots_.count) return kBroken;
    return Best{first - 1, word * 64 + bit};
}

void PriorityIndex::remove_first(std::uint32_t priority) {
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

void PriorityIndex::clear(std::uint64_t reserved_pages, std::uint64_t lanes_offset) {
    for (std::uint32_t block = 0; block < kLaneBlocks; ++block) {
        const std::uint64_t begin = (lanes_offset + block * sizeof(LaneBlock)) >> 12;
        const std::uint64_t end = (lanes_offset + (block + 1) * sizeof(LaneBlock) - 1) >> 12;
        const std::uint64_t base = lanes_offset >> 12;
        if (!(reserved_pages >> (begin - base) & 1) || !(reserved_pages >> (end - base) & 1)) continue;  // never used
        blocks_[block].occupied.store_relaxed(0);
        for (memory::ShmU32& last : blocks_[block].last) last.store_relaxed(0);
    }
    for (memory::ShmU64& word : side_->summary_words) word.store_relaxed(0);
    side_->summary.store_relaxed(0);
}

}  // namespace muster::objects
