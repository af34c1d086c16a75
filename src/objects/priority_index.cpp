#include "objects/priority_index.hpp"

namespace muster::objects {
using platform::Fault;
using platform::Outcome;

Outcome<> PriorityIndex::insert_by_age(std::uint32_t slot, std::uint32_t priority) {
    LaneBlock& block = blocks_[priority >> 6];
    const std::uint32_t last = block.last[priority & 63].load_relaxed();
    if (last == 0) return append(slot, priority);
    if (last > slots_.count) return kIndexBroken;
    const std::uint64_t sequence = slots_[slot].sequence.load_relaxed();
    if (slots_[last - 1].sequence.load_relaxed() < sequence) return append(slot, priority);
    std::uint32_t before = last;  // walk from the oldest: what comes back is old
    for (std::uint32_t steps = 0; steps <= slots_.count; ++steps) {
        const std::uint32_t next = slots_[before - 1].next.load_relaxed();
        if (next == 0 || next > slots_.count) return kIndexBroken;
        if (slots_[next - 1].sequence.load_relaxed() > sequence || next == last) {
            slots_[slot].next.store_relaxed(next);
            slots_[before - 1].next.store_relaxed(slot + 1);
            return platform::done();
        }
        before = next;
    }
    return kIndexBroken;
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
