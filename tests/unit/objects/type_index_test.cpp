// The index of types against a plain list: append, insert_by_age, find by each kind of selector, remove_first, for_each and
// clear, over seeded random courses with few and with thousands of types, with as many buckets as lanes have memory; what
// finding costs in words read; and that damaged numbers are found (EBADMSG) or answered within range, never followed out of
// the slots and never for ever.
#include "objects/type_index.hpp"
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <algorithm>
#include <list>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

namespace muster::objects {
namespace {

constexpr std::uint32_t kStride = sizeof(Slot) + sizeof(TypeLane);

struct Index {
    explicit Index(std::uint32_t slots)
        : count(slots), memory(std::make_unique<std::uint64_t[]>(std::size_t{slots} * kStride / 8)), index(types.get(), table()) {}
    SlotTable table() const { return {reinterpret_cast<std::byte*>(memory.get()), count, kStride}; }
    Slot& slot(std::uint32_t number) const { return table()[number]; }
    TypeLane& lane(std::uint32_t number) const {
        return *reinterpret_cast<TypeLane*>(table().first + (std::size_t{number} + 1) * kStride - sizeof(TypeLane));
    }
    void fill(std::uint32_t number, std::uint64_t sequence, std::uint64_t type) const {
        slot(number).sequence.store_relaxed(sequence);
        slot(number).key.store_relaxed(type);
    }

    std::uint32_t count;
    std::unique_ptr<QueueTypes> types = std::make_unique<QueueTypes>();
    std::unique_ptr<std::uint64_t[]> memory;
    TypeIndex index;
};

struct Message {
    std::uint64_t sequence, type;
    std::uint32_t slot;
};

// The same by looking at every message.
struct Model {
    std::vector<Message> messages;  // by age

    const Message* find(const Selector& wanted) const {
        const Message* best = nullptr;
        for (const Message& message : messages)
            if (wanted.matches(message.type) && (best == nullptr || (wanted.kind == Selector::lowest && message.type < best->type))) best = &message;
        return best;
    }
    void insert(const Message& message) {
        messages.insert(
            std::upper_bound(messages.begin(), messages.end(), message, [](const Message& a, const Message& b) { return a.sequence < b.sequence; }),
            message);
    }
    void remove(std::uint32_t slot) {
        std::erase_if(messages, [slot](const Message& message) { return message.slot == slot; });
    }
};

std::vector<std::uint32_t> listed(const TypeIndex& index) {
    std::vector<std::uint32_t> all;
    EXPECT_TRUE(index.for_each([&](std::uint32_t slot) {
        all.push_back(slot);
        return true;
    }));
    return all;
}

struct Course {
    const char* name;
    std::uint32_t slots, types;
    std::uint32_t memory;  // how many lanes have memory at first; more come as slots are used
    int steps;
};

void PrintTo(const Course& course, std::ostream* out) { *out << course.name; }

class TypeIndexCourse : public testing::TestWithParam<Course> {};

TEST_P(TypeIndexCourse, DoesAsAList) {
    const Course& course = GetParam();
    for (unsigned seed = 1; seed <= 4; ++seed) {
        Index i(course.slots);
        Model model;
        std::mt19937_64 random(seed);
        // Slots are used from below, as a queue does, and only lanes of used slots have memory.
        std::set<std::uint32_t> free;
        std::uint32_t fresh = 0, with_memory = course.memory;
        std::vector<Message> out;  // taken from the index, to come back
        std::uint64_t sequence = 0;
        const auto type = [&] {
            const std::uint64_t which = 1 + random() % course.types;
            return random() % 8 == 0 ? INT64_MAX - which : which * (seed % 2 == 0 ? 1 : 4096);
        };
        const auto selector = [&] {
            std::uint64_t wanted = type();
            if (!model.messages.empty() && random() % 2 == 0) wanted = model.messages[random() % model.messages.size()].type;
            if (!model.messages.empty() && random() % 4 == 0) wanted = model.messages.front().type;  // all but the oldest's
            return Selector{static_cast<Selector::Kind>(random() % 4), wanted};
        };
        for (int step = 0; step < course.steps; ++step) {
            SCOPED_TRACE("seed " + std::to_string(seed) + " step " + std::to_string(step));
            const std::uint64_t dice = random() % 100;
            const bool growing = step / (course.steps / 6) % 2 == 0;
            if (dice < (growing ? 60u : 25u)) {
                std::uint32_t slot = fresh;
                if (!free.empty()) {
                    slot = *free.begin();
                    free.erase(slot);
                } else if (fresh == course.slots) {
                    continue;
                } else {
                    with_memory = std::max(with_memory, ++fresh);
                }
                const Message message{++sequence, type(), slot};
                i.fill(slot, message.sequence, message.type);
                ASSERT_TRUE(i.index.append(slot, with_memory));
                model.insert(message);
            } else if (dice < 85) {
                const Selector wanted = selector();
                auto found = i.index.find(wanted);
                ASSERT_TRUE(found);
                const Message* expected = model.find(wanted);
                ASSERT_EQ(found->slot, expected == nullptr ? TypeIndex::kNone : expected->slot);
                if (expected == nullptr) continue;
                const Message taken = *expected;
                i.index.remove_first(found->lane);
                model.remove(taken.slot);
                if (random() % 4 == 0) out.push_back(taken);
                else free.insert(taken.slot);
            } else if (dice < 97 && !out.empty()) {
                const std::size_t which = random() % out.size();
                ASSERT_TRUE(i.index.insert_by_age(out[which].slot, with_memory));
                model.insert(out[which]);
                out.erase(out.begin() + static_cast<std::ptrdiff_t>(which));
            } else if (dice == 99 && random() % 50 == 0) {
                i.index.clear();
                for (const Message& message : model.messages) free.insert(message.slot);
                model.messages.clear();
            }
            for (const Selector::Kind kind : {Selector::any, Selector::equal, Selector::not_equal, Selector::lowest}) {
                const Selector wanted{kind, selector().type};
                auto found = i.index.find(wanted);
                ASSERT_TRUE(found);
                const Message* expected = model.find(wanted);
                ASSERT_EQ(found->slot, expected == nullptr ? TypeIndex::kNone : expected->slot) << "kind " << kind << " of type " << wanted.type;
            }
            if (step % 64 == 0) {
                std::map<std::uint64_t, std::vector<std::uint32_t>> by_type, got;
                for (const Message& message : model.messages) by_type[message.type].push_back(message.slot);
                for (const std::uint32_t slot : listed(i.index)) got[i.slot(slot).key.load_relaxed()].push_back(slot);
                ASSERT_EQ(got, by_type);
                ASSERT_EQ(i.types->count.load_relaxed(), by_type.size());
                ASSERT_LE(i.types->used.load_relaxed(), with_memory);
                ASSERT_LT(i.types->bucket_mask.load_relaxed(), with_memory);
            }
        }
    }
}
constexpr Course kCourses[] = {
    {"one_type", 200, 1, 8, 6000},       {"few_types", 300, 5, 1, 12000},       {"many_types", 2000, 100'000, 1, 12000},
    {"as_many_as_slots", 500, 400, 500, 12000}, {"two_slots", 2, 3, 1, 3000}, {"one_slot", 1, 2, 1, 1000},
};
INSTANTIATE_TEST_SUITE_P(Courses, TypeIndexCourse, testing::ValuesIn(kCourses), [](const auto& info) { return std::string(info.param.name); });

// Buckets double with the types, as far as lanes have memory: chains stay short, and no lane beyond is touched.
TEST(TypeIndex, BucketsGrowWithTheTypes) {
    constexpr std::uint32_t kSlots = 5000;
    Index i(kSlots);
    for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
        i.fill(slot, slot + 1, slot + 1);
        const std::uint32_t with_memory = slot < 64 ? 64 : slot + 1;
        ASSERT_TRUE(i.index.append(slot, with_memory));
        ASSERT_LT(i.types->bucket_mask.load_relaxed(), with_memory);
        if (slot + 1 < kSlots) {
            ASSERT_EQ(i.lane(std::max(with_memory, slot + 1)).bucket.load_relaxed(), 0u) << "a lane without memory was written";
        }
    }
    EXPECT_EQ(i.types->bucket_mask.load_relaxed(), 4095u);
    std::uint32_t longest = 0;
    for (std::uint32_t bucket = 0; bucket < 4096; ++bucket) {
        std::uint32_t length = 0;
        for (std::uint32_t at = i.lane(bucket).bucket.load_relaxed(); at != 0; at = i.lane(at - 1).next.load_relaxed()) ++length;
        longest = std::max(longest, length);
    }
    EXPECT_LE(longest, 12u);
}

// A lane without memory cannot be had: told, and nothing is lost.
TEST(TypeIndex, NoLaneWithoutMemory) {
    Index i(10);
    for (std::uint32_t slot = 0; slot < 5; ++slot) i.fill(slot, slot + 1, slot + 1);
    for (std::uint32_t slot = 0; slot < 4; ++slot) ASSERT_TRUE(i.index.append(slot, 4));
    auto refused = i.index.append(4, 4);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.fault().errno_value, EBADMSG);
    EXPECT_EQ(listed(i.index).size(), 4u);
    i.fill(4, 5, 1);  // a known type needs none
    EXPECT_TRUE(i.index.append(4, 4));
    EXPECT_EQ(listed(i.index).size(), 5u);
}

// How many lanes an operation touches: each slot is a page of its own, and the pages are counted that were touched.
TEST(TypeIndex, CostDoesNotGrowWithTheMessages) {
    constexpr std::uint32_t kPage = 4096;
    const auto touched = [&](std::uint32_t messages, std::uint32_t types) {
        const std::size_t bytes = std::size_t{messages + 1} * kPage;
        const int fd = memfd_create("slots", MFD_CLOEXEC);
        EXPECT_EQ(ftruncate(fd, static_cast<off_t>(bytes)), 0);
        const auto map = [&] { return static_cast<std::byte*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)); };
        auto head = std::make_unique<QueueTypes>();
        std::byte* first = map();
        SlotTable table{first, messages + 1, kPage};
        TypeIndex index(head.get(), table);
        for (std::uint32_t slot = 0; slot <= messages; ++slot) {
            table[slot].sequence.store_relaxed(slot + 1);
            table[slot].key.store_relaxed(1 + slot * 7 % types);
            if (slot != messages && !index.append(slot, messages + 1)) ADD_FAILURE() << slot;
        }
        std::size_t most = 0;
        for (std::uint32_t kind = 0; kind < 5; ++kind) {
            munmap(first, bytes);
            std::byte* again = map();  // no page of it is mapped yet
            EXPECT_EQ(madvise(again, bytes, MADV_RANDOM), 0);
            TypeIndex fresh(head.get(), {again, messages + 1, kPage});
            if (kind == 4) {
                EXPECT_TRUE(fresh.append(messages, messages + 1));
            } else {
                auto found = fresh.find({static_cast<Selector::Kind>(kind), types / 2 + 1});
                EXPECT_TRUE(found && found->slot != TypeIndex::kNone);
                if (found) fresh.remove_first(found->lane);
            }
            // Pages that this mapping has touched: /proc tells how many are mapped.
            std::FILE* pages = std::fopen("/proc/self/smaps", "re");
            char line[256];
            bool mine = false;
            std::size_t kib = 0;
            while (std::fgets(line, sizeof line, pages) != nullptr) {
                unsigned long begin = 0, end = 0;
                if (std::sscanf(line, "%lx-%lx ", &begin, &end) == 2) mine = begin == reinterpret_cast<std::uintptr_t>(again);
                std::size_t value = 0;
                if (mine && std::sscanf(line, "Rss: %zu kB", &value) == 1) kib = value;
            }
            std::fclose(pages);
            most = std::max(most, kib / 4);
            first = again;
        }
        munmap(first, bytes);
        close(fd);
        return most;
    };
    const std::size_t few = touched(64, 16), many = touched(4096, 16), types = touched(4096, 4096);
    std::printf("pages touched: %zu of 64 messages, %zu of 4096, %zu of 4096 types\n", few, many, types);
    // Faults map their neighbours too, sixteen at a time.
    EXPECT_LE(many, 16 * 16u);
    EXPECT_LE(types, 64 * 16u);
}

// Every word of the index and its lanes set to what is none: each call ends, within range.
TEST(TypeIndex, DamageIsFoundOrAnsweredWithinRange) {
    constexpr std::uint32_t kSlots = 40;
    constexpr std::uint64_t kValues[] = {0, 1, 2, 5, kSlots - 1, kSlots, kSlots + 1, 0x7fffffff, 0x80000000, 0xffffffff};
    for (unsigned round = 0; round < 20'000; ++round) {
        std::mt19937_64 random(round);
        // The slots lie at the end of what is mapped: whoever leaves them is killed.
        Index i(kSlots);
        for (std::uint32_t slot = 0; slot < 30; ++slot) {
            i.fill(slot, slot + 1, 1 + slot % 11);
            ASSERT_TRUE(i.index.append(slot, kSlots));
        }
        std::string writes;
        for (std::uint64_t times = 1 + random() % 4; times != 0; --times) {
            const std::uint64_t value = random() % 4 == 0 ? random() : kValues[random() % std::size(kValues)];
            std::uint32_t* word = nullptr;
            if (random() % 4 == 0) word = reinterpret_cast<std::uint32_t*>(i.types.get()) + random() % 4;
            else word = reinterpret_cast<std::uint32_t*>(i.memory.get()) + random() % (kSlots * kStride / 4);
            *word = static_cast<std::uint32_t>(value);
            writes += " " + std::to_string(value);
        }
        SCOPED_TRACE("round " + std::to_string(round) + writes);
        std::uint32_t visited = 0;
        (void)i.index.for_each([&](std::uint32_t slot) {
            EXPECT_LT(slot, kSlots);
            return ++visited < 100'000;
        });
        for (std::uint32_t call = 0; call < 40; ++call) {
            const std::uint32_t with_memory = random() % 2 == 0 ? kSlots : static_cast<std::uint32_t>(kValues[random() % std::size(kValues)]);
            switch (random() % 4) {
                case 0: (void)i.index.append(static_cast<std::uint32_t>(random() % kSlots), with_memory); break;
                case 1: (void)i.index.insert_by_age(static_cast<std::uint32_t>(random() % kSlots), with_memory); break;
                default: {
                    const Selector wanted{static_cast<Selector::Kind>(random() % 4), 1 + random() % 12};
                    auto found = i.index.find(wanted);
                    if (!found) {
                        EXPECT_EQ(found.fault().errno_value, EBADMSG);
                        break;
                    }
                    if (found->slot == TypeIndex::kNone) break;
                    ASSERT_LT(found->slot, kSlots);
                    ASSERT_LT(found->lane, kSlots);
                    EXPECT_TRUE(wanted.matches(i.slot(found->slot).key.load_relaxed()));
                    i.index.remove_first(found->lane);
                    break;
                }
            }
        }
        i.index.remove_first(kSlots);
        i.index.remove_first(TypeIndex::kNone);
        i.index.clear();
        ASSERT_TRUE(i.index.append(0, kSlots));
        EXPECT_EQ(listed(i.index), std::vector<std::uint32_t>{0});
        if (HasFailure()) return;
    }
}

TEST(TypeIndex, StopsWhenAsked) {
    Index i(10);
    for (std::uint32_t slot = 0; slot < 6; ++slot) {
        i.fill(slot, slot + 1, 1 + slot % 2);
        ASSERT_TRUE(i.index.append(slot, 10));
    }
    unsigned visits = 0;
    ASSERT_TRUE(i.index.for_each([&](std::uint32_t) { return ++visits != 4; }));
    EXPECT_EQ(visits, 4u);
}

}  // namespace
}  // namespace muster::objects
