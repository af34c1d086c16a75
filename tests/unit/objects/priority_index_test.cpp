// The index of priorities against a std::multimap: append, best, remove_first, insert_by_age, for_each and clear, over a
// seeded random course; and that damaged links are found (EBADMSG) and never followed out of the slots.
#include "objects/priority_index.hpp"
#include <gtest/gtest.h>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <vector>

namespace muster::objects {
namespace {

constexpr std::uint32_t kSlots = 300;

struct Index {
    Index() : index(side.get(), blocks.get(), {reinterpret_cast<std::byte*>(slots.get()), kSlots, sizeof(Slot)}) {}
    std::unique_ptr<QueueReceive> side = std::make_unique<QueueReceive>();
    std::unique_ptr<LaneBlock[]> blocks = std::make_unique<LaneBlock[]>(kLaneBlocks);
    std::unique_ptr<Slot[]> slots = std::make_unique<Slot[]>(kSlots);
    PriorityIndex index;
};
using Model = std::multimap<std::uint32_t, std::uint32_t, std::greater<>>;  // priority to slot, oldest first
using Listed = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

Listed listed(const PriorityIndex& index) {
    Listed all;
    EXPECT_TRUE(index.for_each([&](std::uint32_t slot, std::uint32_t priority) {
        all.emplace_back(priority, slot);
        return true;
    }));
    return all;
}

TEST(PriorityIndex, DoesAsAMultimap) {
    for (unsigned seed = 1; seed <= 8; ++seed) {
        Index i;
        Model model;
        std::mt19937 engine(seed);
        auto random = [&] { return static_cast<std::uint32_t>(engine()); };
        std::vector<std::uint32_t> free;
        for (std::uint32_t slot = 0; slot < kSlots; ++slot) free.push_back(slot);
        struct Out {
            std::uint32_t slot, priority;
        };
        std::vector<Out> out;  // taken from the index, to come back
        std::uint64_t sequence = 0;
        const std::uint32_t near[] = {0, 1, 63, 64, 127, 4095, 4096, 32704, 32767};
        for (int step = 0; step < 6000; ++step) {
            const unsigned dice = random() % 100;
            const bool growing = step / 500 % 2 == 0;
            if (dice < (growing ? 50u : 30u) && !free.empty()) {
                const std::uint32_t priority = random() % 2 ? near[random() % std::size(near)] : random() % kPriorities;
                const std::size_t which = random() % free.size();
                const std::uint32_t slot = free[which];
                free.erase(free.begin() + static_cast<std::ptrdiff_t>(which));
                i.slots[slot].sequence.store_relaxed(++sequence);
                ASSERT_TRUE(i.index.append(slot, priority));
                model.emplace(priority, slot);
            } else if (dice < 80 && !model.empty()) {
                // The first of the best, or of any other priority.
                auto at = model.begin();
                if (dice % 3 == 0) {
                    std::advance(at, random() % model.size());
                    at = model.lower_bound(at->first);
                }
                i.index.remove_first(at->first);
                if (random() % 2) out.push_back({at->second, at->first});
                else free.push_back(at->second);
                model.erase(at);
            } else if (dice < 95 && !out.empty()) {
                const std::size_t which = random() % out.size();
                const Out back = out[which];
                out.erase(out.begin() + static_cast<std::ptrdiff_t>(which));
                ASSERT_TRUE(i.index.insert_by_age(back.slot, back.priority));
                auto [at, end] = model.equal_range(back.priority);
                while (at != end && i.slots[at->second].sequence.load_relaxed() < i.slots[back.slot].sequence.load_relaxed()) ++at;
                model.emplace_hint(at, back.priority, back.slot);
            } else if (dice == 99 && random() % 10 == 0) {
                i.index.clear(~0ull, 4096);
                for (auto [priority, slot] : model) free.push_back(slot);
                model.clear();
            }
            auto best = i.index.best();
            ASSERT_TRUE(best);
            ASSERT_EQ(best->slot, model.empty() ? PriorityIndex::kNone : model.begin()->second) << "seed " << seed << " step " << step;
            if (!model.empty()) {
                ASSERT_EQ(best->priority, model.begin()->first);
            }
            if (step % 16 == 0) {
                ASSERT_EQ(listed(i.index), Listed(model.begin(), model.end())) << "seed " << seed << " step " << step;
            }
        }
    }
}

TEST(PriorityIndex, StopsWhenAsked) {
    Index i;
    for (std::uint32_t slot = 0; slot < 5; ++slot) ASSERT_TRUE(i.index.append(slot, slot * 1000));
    unsigned visits = 0;
    ASSERT_TRUE(i.index.for_each([&](std::uint32_t slot, std::uint32_t) {
        ++visits;
        return slot != 3;
    }));
    EXPECT_EQ(visits, 2u);
}

// Blocks whose pages have no memory are not touched: they would take some.
TEST(PriorityIndex, ClearLeavesUnusedPagesAlone) {
    Index i;
    i.blocks[0].occupied.store_relaxed(1);
    i.blocks[kLaneBlocks - 1].occupied.store_relaxed(1);
    i.index.clear(1, 4096);
    EXPECT_EQ(i.blocks[0].occupied.load_relaxed(), 0u);
    EXPECT_EQ(i.blocks[kLaneBlocks - 1].occupied.load_relaxed(), 1u);
}

TEST(PriorityIndex, DamageIsFound) {
    auto broken = [](auto damage) {
        Index i;
        for (std::uint32_t slot = 0; slot < 3; ++slot) {
            i.slots[slot].sequence.store_relaxed(slot + 10);
            EXPECT_TRUE(i.index.append(slot, 5));
        }
        damage(i);
        i.index.remove_first(5);  // only must not crash
        auto best = i.index.best();
        return best ? 0 : best.fault().errno_value;
    };
    EXPECT_EQ(broken([](Index& i) { i.blocks[0].last[5].store_relaxed(kSlots + 1); }), EBADMSG);
    EXPECT_EQ(broken([](Index& i) { i.blocks[0].last[5].store_relaxed(0); }), EBADMSG);
    EXPECT_EQ(broken([](Index& i) { i.blocks[0].occupied.store_relaxed(0); }), EBADMSG);
    EXPECT_EQ(broken([](Index& i) { i.side->summary_words[0].store_relaxed(0); }), EBADMSG);
    EXPECT_EQ(broken([](Index& i) { i.slots[2].next.store_relaxed(0); }), EBADMSG);
    EXPECT_EQ(broken([](Index& i) { i.slots[2].next.store_relaxed(0xffffffff); }), EBADMSG);

    // A circle that misses its last: walks end.
    Index i;
    for (std::uint32_t slot = 0; slot < 3; ++slot) {
        i.slots[slot].sequence.store_relaxed(slot + 10);
        ASSERT_TRUE(i.index.append(slot, 5));
    }
    i.slots[1].next.store_relaxed(1);
    auto walked = i.index.for_each([](std::uint32_t, std::uint32_t) { return true; });
    ASSERT_FALSE(walked);
    EXPECT_EQ(walked.fault().errno_value, EBADMSG);
    i.slots[3].sequence.store_relaxed(11);
    i.slots[2].sequence.store_relaxed(12);
    auto inserted = i.index.insert_by_age(3, 5);
    ASSERT_FALSE(inserted);
    EXPECT_EQ(inserted.fault().errno_value, EBADMSG);
}

}  // namespace
}  // namespace muster::objects
