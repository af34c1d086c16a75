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

bool PriorityIndex::has_memory(std::uint32_t block, std::uint64_t reserved_pages, std::uint64_t lanes_offset) {
    const std::uint64_t begin = (lanes_offset + block * sizeof(LaneBlock)) >> 12;
    const std::uint64_t end = (lanes_offset + (block + 1) * sizeof(LaneBlock) - 1) >> 12;
    const std::uint64_t base = lanes_offset >> 12;
    return (reserved_pages >> (begin - base) & 1) != 0 && (reserved_pages >> (end - base) & 1) != 0;
}

bool PriorityIndex::is_sound(std::uint64_t reserved_pages, std::uint64_t lanes_offset) const {
    for (std::uint32_t block = 0; block < kLaneBlocks; ++block) {
        const bool listed = (side_->summary_words[block >> 6].load_relaxed() >> (block & 63) & 1) != 0;
        if (!has_memory(block, reserved_pages, lanes_offset)) {
            if (listed) return false;
            continue;
        }
        std::uint64_t occupied = 0;
        for (std::uint32_t lane = 0; lane < 64; ++lane)
            if (blocks_[block].last[lane].load_relaxed() != 0) occupied |= 1ull << lane;
        if (blocks_[block].occupied.load_relaxed() != occupied || listed != (occupied != 0)) return false;
    }
    std::uint32_t summary = 0;
    for (std::uint32_t word = 0; word < 8; ++word)
        if (side_->summary_words[word].load_relaxed() != 0) summary |= 1u << word;
    return side_->summary.load_relaxed() == summary;
}

void PriorityIndex::clear(std::uint64_t reserved_pages, std::uint64_t lanes_offset) {
    for (std::uint32_t block = 0; block < kLaneBlocks; ++block) {
        if (!has_memory(block, reserved_pages, lanes_offset)) continue;  // never used
        blocks_[block].occupied.store_relaxed(0);
        for (memory::ShmU32& last : blocks_[block].last) last.store_relaxed(0);
    }
    for (memory::ShmU64& word : side_->summary_words) word.store_relaxed(0);
    side_->summary.store_relaxed(0);
}

}  // namespace muster::objects
