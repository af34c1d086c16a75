// The messages of a typed queue's receive side: by type, by lowest type and by age, each at a cost that does not depend
// on how many there are (the logarithm of the number of distinct types at most).
//
// A *lane* holds the messages of one type, oldest first, linked through Slot::next. Lanes are found by a hash of their type,
// and stand in two heaps: by type, whose top is the lowest type, and by the age of their oldest message, whose top holds the
// oldest message of all. "All but type t" is the top of that heap, or, if that is t's lane, the best of the top's children.
//
// A cache: rebuilt from the slots whenever the holder of receive.lock died. All members want receive.lock held. Every
// number read here is checked before it is used; what cannot be is told by the outcome.
#pragma once
#include "objects/queue_layout.hpp"
#include "objects/slot_table.hpp"
#include "platform/outcome.hpp"

namespace muster::objects {

inline constexpr platform::Fault kTypesBroken{EBADMSG, "the queue's index of types is damaged"};

// What a receiver asks for. SOURCE msgrcv(2).
struct Selector {
    enum Kind : std::uint32_t {
        any = 0,        // the oldest message
        equal = 1,      // the oldest of `type`
        not_equal = 2,  // the oldest of any other type
        lowest = 3,     // the oldest of the lowest type that is not above `type`
    };
    Kind kind = any;
    std::uint64_t type = 0;

    bool matches(std::uint64_t message_type) const {
        switch (kind) {
            case equal: return message_type == type;
            case not_equal: return message_type != type;
            case lowest: return message_type <= type;
            default: return true;
        }
    }
};

// In an actor's record: the kind, and above it the longest message it takes.
inline constexpr std::uint32_t kSelectorKindBits = 3;
inline constexpr std::uint32_t kSelectorKindMask = (1u << kSelectorKindBits) - 1;
inline constexpr std::uint32_t kAnyCapacity = 0xffffffff >> kSelectorKindBits;

class TypeIndex {
public:
    TypeIndex() = default;
    TypeIndex(QueueTypes* types, SlotTable slots) : types_(types), slots_(slots) {}

    static constexpr std::uint32_t kNone = 0xffffffff;
    struct Found {
        std::uint32_t slot;  // kNone: no message matches
        std::uint32_t lane;
    };

    // Adds a message behind those of its type; `with_memory` lanes may be used. Errors: EBADMSG.
    platform::Outcome<> append(std::uint32_t slot, std::uint32_t with_memory);
    // Adds a message that has been out of the queue, at the place its sequence gives it.
    platform::Outcome<> insert_by_age(std::uint32_t slot, std::uint32_t with_memory);
    platform::Outcome<Found> find(const Selector& selector) const;
    // Whether a message that is younger than all of these and matches, of type `type`, is not the one to take: one of these is.
    bool comes_before(const Selector& selector, std::uint64_t type) const {
        if (types_->count.load_relaxed() == 0) return false;
        switch (selector.kind) {
            case Selector::equal: return lane_of(type) != kNone;
            case Selector::lowest: {
                const std::uint32_t top = lane(0).by_type.load_relaxed();
                return top >= slots_.count || lane(top).type.load_relaxed() <= type;
            }
            case Selector::not_equal: {
                auto found = find(selector);
                return !found || found->slot != kNone;
            }
            default: return true;
        }
    }
    // Takes out the oldest message of a lane, which find() named.
    void remove_first(std::uint32_t lane);
    // Calls visit(slot) for every message, type by type, until it returns false. Errors: EBADMSG.
    template <class Visit>
    platform::Outcome<> for_each(Visit visit) const {
        return for_each_of_type([&](std::uint32_t slot, std::uint64_t) { return visit(slot); });
    }
    // The same with visit(slot, type), the type of the lane in which the message stands.
    template <class Visit>
    platform::Outcome<> for_each_of_type(Visit visit) const;
    // Whether the heaps, the hash and the lanes say the same: for fsck.
    bool is_sound() const;
    void clear();

private:
    // A heap's two words in each lane, and what it is ordered by.
    struct ByType;
    struct ByAge;

    TypeLane& lane(std::uint32_t number) const {
        return *reinterpret_cast<TypeLane*>(slots_.first + (std::size_t{number} + 1) * slots_.stride_bytes - sizeof(TypeLane));
    }
    std::uint32_t bucket_of(std::uint64_t type) const {
        const std::uint32_t bucket = static_cast<std::uint32_t>((type * 0x9e37'79b9'7f4a'7c15ull) >> 40) & types_->bucket_mask.load_relaxed();
        return bucket < slots_.count ? bucket : 0;  // whatever the mask says
    }
    std::uint32_t lane_of(std::uint64_t type) const;
    platform::Outcome<std::uint32_t> new_lane(std::uint64_t type, std::uint32_t slot, std::uint32_t with_memory);
    void drop_lane(std::uint32_t number);
    void grow_buckets(std::uint32_t with_memory);
    template <class Heap>
    std::uint32_t at(std::uint32_t position) const;
    template <class Heap>
    void place(std::uint32_t position, std::uint32_t number);
    template <class Heap>
    void rise(std::uint32_t position, std::uint32_t number);
    template <class Heap>
    void sink(std::uint32_t position, std::uint32_t number, std::uint32_t count);
    template <class Heap>
    void leave(std::uint32_t number, std::uint32_t count);
    template <class Heap>
    bool is_heap(std::uint32_t count) const;

    QueueTypes* types_ = nullptr;
    SlotTable slots_{};
    static constexpr std::uint32_t mask_max_ = (1u << 24) - 1;
};

template <class Visit>
platform::Outcome<> TypeIndex::for_each_of_type(Visit visit) const {
    const std::uint32_t count = types_->count.load_relaxed();
    if (count > slots_.count) return kTypesBroken;
    for (std::uint32_t position = 0; position < count; ++position) {
        const std::uint32_t number = lane(position).by_type.load_relaxed();
        if (number >= slots_.count) return kTypesBroken;
        std::uint32_t steps = 0;
        for (std::uint32_t at = lane(number).first.load_relaxed(); at != 0; at = slots_[at - 1].next.load_relaxed()) {
            if (at > slots_.count || steps++ > slots_.count) return kTypesBroken;
            if (!visit(at - 1, lane(number).type.load_relaxed())) return platform::done();
        }
    }
    return platform::done();
}

}  // namespace muster::objects
