#include "objects/type_index.hpp"

namespace muster::objects {
using platform::Outcome;

namespace {
constexpr std::uint32_t kChildren = 4;  // of a place in a heap
}  // namespace

struct TypeIndex::ByType {
    static memory::ShmU32& element(TypeLane& lane) { return lane.by_type; }
    static memory::ShmU32& position(TypeLane& lane) { return lane.by_type_at; }
    static std::uint64_t key(const TypeLane& lane) { return lane.type.load_relaxed(); }  // relaxed, here and below: receive.lock orders all of it
};
struct TypeIndex::ByAge {
    static memory::ShmU32& element(TypeLane& lane) { return lane.by_age; }
    static memory::ShmU32& position(TypeLane& lane) { return lane.by_age_at; }
    static std::uint64_t key(const TypeLane& lane) { return lane.head_sequence.load_relaxed(); }
};

// The lane at a place of a heap. A number that is none leads to lane 0, whose contents are as good a lie as any other.
template <class Heap>
std::uint32_t TypeIndex::at(std::uint32_t position) const {
    const std::uint32_t number = Heap::element(lane(position)).load_relaxed();
    return number < slots_.count ? number : 0;
}

template <class Heap>
void TypeIndex::place(std::uint32_t position, std::uint32_t number) {
    Heap::element(lane(position)).store_relaxed(number);
    Heap::position(lane(number)).store_relaxed(position);
}

template <class Heap>
void TypeIndex::rise(std::uint32_t position, std::uint32_t number) {
    const std::uint64_t key = Heap::key(lane(number));
    while (position != 0) {
        const std::uint32_t above = (position - 1) / kChildren;
        const std::uint32_t other = at<Heap>(above);
        if (Heap::key(lane(other)) <= key) break;
        place<Heap>(position, other);
        position = above;
    }
    place<Heap>(position, number);
}

template <class Heap>
void TypeIndex::sink(std::uint32_t position, std::uint32_t number, std::uint32_t count) {
    const std::uint64_t key = Heap::key(lane(number));
    for (;;) {
        const std::uint32_t begin = position * kChildren + 1;
        if (begin >= count) break;
        const std::uint32_t end = begin + kChildren < count ? begin + kChildren : count;
        std::uint32_t least = begin, least_lane = at<Heap>(begin);
        std::uint64_t least_key = Heap::key(lane(least_lane));
        for (std::uint32_t child = begin + 1; child < end; ++child) {
            const std::uint32_t candidate = at<Heap>(child);
            const std::uint64_t candidate_key = Heap::key(lane(candidate));
            if (candidate_key >= least_key) continue;
            least = child;
            least_lane = candidate;
            least_key = candidate_key;
        }
        if (least_key >= key) break;
        place<Heap>(position, least_lane);
        position = least;
    }
    place<Heap>(position, number);
}

// Takes a lane out of a heap of `count`: the last one moves to its place.
template <class Heap>
void TypeIndex::leave(std::uint32_t number, std::uint32_t count) {
    const std::uint32_t position = Heap::position(lane(number)).load_relaxed();
    if (position >= count) return;
    const std::uint32_t moved = at<Heap>(count - 1);
    if (moved == number) return;
    if (position != 0 && Heap::key(lane(moved)) < Heap::key(lane(at<Heap>((position - 1) / kChildren)))) rise<Heap>(position, moved);
    else sink<Heap>(position, moved, count - 1);
}

std::uint32_t TypeIndex::lane_of(std::uint64_t type) const {
    if (types_->count.load_relaxed() == 0) return kNone;
    const std::uint32_t bucket = bucket_of(type);
    std::uint32_t at = lane(bucket).bucket.load_relaxed();
    for (std::uint32_t steps = 0; at != 0 && at <= slots_.count && steps <= slots_.count; ++steps) {
        if (lane(at - 1).type.load_relaxed() == type) return at - 1;
        at = lane(at - 1).next.load_relaxed();
    }
    return kNone;
}

// Twice as many buckets, once there are more types than buckets and lanes enough to hold them.
void TypeIndex::grow_buckets(std::uint32_t with_memory) {
    const std::uint32_t mask = types_->bucket_mask.load_relaxed() * 2 + 1;
    if (mask > mask_max_ || mask >= slots_.count || mask >= with_memory) return;
    for (std::uint32_t bucket = 0; bucket <= mask; ++bucket) lane(bucket).bucket.store_relaxed(0);
    types_->bucket_mask.store_relaxed(mask);
    const std::uint32_t count = types_->count.load_relaxed();
    for (std::uint32_t position = 0; position < count && position < slots_.count; ++position) {
        const std::uint32_t number = at<ByType>(position);
        const std::uint32_t bucket = bucket_of(lane(number).type.load_relaxed());
        lane(number).next.store_relaxed(lane(bucket).bucket.load_relaxed());
        lane(bucket).bucket.store_relaxed(number + 1);
    }
}

// A lane for a type that has none, with its first message.
Outcome<std::uint32_t> TypeIndex::new_lane(std::uint64_t type, std::uint32_t slot, std::uint32_t with_memory) {
    std::uint32_t number = types_->free.load_relaxed();
    if (number != 0) {
        if (number > slots_.count) return kTypesBroken;
        --number;
        types_->free.store_relaxed(lane(number).next.load_relaxed());
    } else {
        number = types_->used.load_relaxed();
        if (number >= slots_.count || number >= with_memory) return kTypesBroken;
        types_->used.store_relaxed(number + 1);
    }
    const std::uint32_t count = types_->count.load_relaxed();
    if (count >= slots_.count) return kTypesBroken;
    if (count == 0) {
        types_->bucket_mask.store_relaxed(0);
        lane(0).bucket.store_relaxed(0);
    } else if (count > types_->bucket_mask.load_relaxed()) {
        grow_buckets(with_memory);
    }
    TypeLane& made = lane(number);
    made.type.store_relaxed(type);
    made.head_sequence.store_relaxed(slots_[slot].sequence.load_relaxed());
    made.first.store_relaxed(slot + 1);
    made.last.store_relaxed(slot + 1);
    slots_[slot].next.store_relaxed(0);
    const std::uint32_t bucket = bucket_of(type);
    made.next.store_relaxed(lane(bucket).bucket.load_relaxed());
    lane(bucket).bucket.store_relaxed(number + 1);
    rise<ByType>(count, number);
    rise<ByAge>(count, number);
    types_->count.store_relaxed(count + 1);
    return number;
}

void TypeIndex::drop_lane(std::uint32_t number) {
    TypeLane& leaving = lane(number);
    const std::uint32_t bucket = bucket_of(leaving.type.load_relaxed());
    memory::ShmU32* link = &lane(bucket).bucket;
    for (std::uint32_t steps = 0; steps <= slots_.count; ++steps) {
        const std::uint32_t here = link->load_relaxed();
        if (here == 0 || here > slots_.count) break;
        if (here == number + 1) {
            link->store_relaxed(leaving.next.load_relaxed());
            break;
        }
        link = &lane(here - 1).next;
    }
    const std::uint32_t count = types_->count.load_relaxed();
    if (count == 0 || count > slots_.count) return;
    leave<ByType>(number, count);
    leave<ByAge>(number, count);
    types_->count.store_relaxed(count - 1);
    leaving.next.store_relaxed(types_->free.load_relaxed());
    types_->free.store_relaxed(number + 1);
}

Outcome<> TypeIndex::append(std::uint32_t slot, std::uint32_t with_memory) {
    const std::uint64_t type = slots_[slot].key.load_relaxed();
    const std::uint32_t known = lane_of(type);
    if (known == kNone) {
        auto made = new_lane(type, slot, with_memory);
        if (!made) return made.fault();
        return platform::done();
    }
    TypeLane& mine = lane(known);
    const std::uint32_t last = mine.last.load_relaxed();
    if (last == 0 || last > slots_.count) return kTypesBroken;
    slots_[slot].next.store_relaxed(0);
    slots_[last - 1].next.store_relaxed(slot + 1);
    mine.last.store_relaxed(slot + 1);
    return platform::done();
}

Outcome<> TypeIndex::insert_by_age(std::uint32_t slot, std::uint32_t with_memory) {
    const std::uint32_t known = lane_of(slots_[slot].key.load_relaxed());
    if (known == kNone) return append(slot, with_memory);
    TypeLane& mine = lane(known);
    const std::uint64_t sequence = slots_[slot].sequence.load_relaxed();
    if (sequence < mine.head_sequence.load_relaxed()) {
        slots_[slot].next.store_relaxed(mine.first.load_relaxed());
        mine.first.store_relaxed(slot + 1);
        mine.head_sequence.store_relaxed(sequence);
        const std::uint32_t position = mine.by_age_at.load_relaxed();
        if (position >= slots_.count) return kTypesBroken;
        rise<ByAge>(position, known);
        return platform::done();
    }
    std::uint32_t before = mine.first.load_relaxed();  // walk from the oldest: what comes back is old
    for (std::uint32_t steps = 0; steps <= slots_.count; ++steps) {
        if (before == 0 || before > slots_.count) return kTypesBroken;
        const std::uint32_t next = slots_[before - 1].next.load_relaxed();
        if (next == 0) return append(slot, with_memory);
        if (next > slots_.count) return kTypesBroken;
        if (slots_[next - 1].sequence.load_relaxed() > sequence) {
            slots_[slot].next.store_relaxed(next);
            slots_[before - 1].next.store_relaxed(slot + 1);
            return platform::done();
        }
        before = next;
    }
    return kTypesBroken;
}

Outcome<TypeIndex::Found> TypeIndex::find(const Selector& selector) const {
    const std::uint32_t count = types_->count.load_relaxed();
    if (count == 0) return Found{kNone, 0};
    if (count > slots_.count) return kTypesBroken;
    std::uint32_t number = kNone;
    switch (selector.kind) {
        case Selector::equal: number = lane_of(selector.type); break;
        case Selector::lowest:
            number = at<ByType>(0);
            if (lane(number).type.load_relaxed() > selector.type) number = kNone;
            break;
        case Selector::not_equal:
            number = at<ByAge>(0);
            if (lane(number).type.load_relaxed() == selector.type) {
                number = kNone;
                for (std::uint32_t child = 1; child <= kChildren && child < count; ++child) {
                    const std::uint32_t candidate = at<ByAge>(child);
                    if (number == kNone || ByAge::key(lane(candidate)) < ByAge::key(lane(number))) number = candidate;
                }
            }
            break;
        default: number = at<ByAge>(0); break;
    }
    if (number == kNone) return Found{kNone, 0};
    const std::uint32_t first = lane(number).first.load_relaxed();
    if (first == 0 || first > slots_.count || !selector.matches(slots_[first - 1].key.load_relaxed())) return kTypesBroken;
    return Found{first - 1, number};
}

void TypeIndex::remove_first(std::uint32_t number) {
    if (number >= slots_.count) return;
    TypeLane& mine = lane(number);
    const std::uint32_t first = mine.first.load_relaxed();
    if (first == 0 || first > slots_.count) return;
    const std::uint32_t next = slots_[first - 1].next.load_relaxed();
    if (next == 0 || next > slots_.count) {
        drop_lane(number);
        return;
    }
    mine.first.store_relaxed(next);
    mine.head_sequence.store_relaxed(slots_[next - 1].sequence.load_relaxed());
    const std::uint32_t position = mine.by_age_at.load_relaxed(), count = types_->count.load_relaxed();
    if (position < count && count <= slots_.count) sink<ByAge>(position, number, count);
}

// Each place holds a lane that says so, and no child comes before its parent.
template <class Heap>
bool TypeIndex::is_heap(std::uint32_t count) const {
    for (std::uint32_t position = 0; position < count; ++position) {
        const std::uint32_t number = Heap::element(lane(position)).load_relaxed();
        if (number >= slots_.count || Heap::position(lane(number)).load_relaxed() != position) return false;
        if (position != 0 && Heap::key(lane(at<Heap>((position - 1) / kChildren))) > Heap::key(lane(number))) return false;
    }
    return true;
}

bool TypeIndex::is_sound() const {
    const std::uint32_t count = types_->count.load_relaxed(), used = types_->used.load_relaxed(), mask = types_->bucket_mask.load_relaxed();
    if (count > slots_.count || used > slots_.count || count > used) return false;
    if (mask > mask_max_ || mask >= slots_.count || (mask & (mask + 1)) != 0) return false;
    if (!is_heap<ByType>(count) || !is_heap<ByAge>(count)) return false;
    for (std::uint32_t position = 0; position < count; ++position) {
        const std::uint32_t number = at<ByType>(position);
        const std::uint32_t first = lane(number).first.load_relaxed(), last = lane(number).last.load_relaxed();
        if (number >= used || lane_of(lane(number).type.load_relaxed()) != number) return false;
        if (first == 0 || first > slots_.count || last == 0 || last > slots_.count) return false;
        std::uint32_t end = first;  // what is appended goes behind `last`, which must be where the lane ends
        for (std::uint32_t steps = 0, next = slots_[first - 1].next.load_relaxed(); next != 0; next = slots_[end - 1].next.load_relaxed()) {
            if (next > slots_.count || ++steps > slots_.count) return false;
            end = next;
        }
        if (end != last) return false;
        if (slots_[first - 1].sequence.load_relaxed() != lane(number).head_sequence.load_relaxed()) return false;
    }
    // What is not in the heaps is in the list of free lanes.
    std::uint32_t free_ones = 0;
    for (std::uint32_t at = types_->free.load_relaxed(); at != 0; at = lane(at - 1).next.load_relaxed())
        if (at > used || ++free_ones > used) return false;
    return count + free_ones == used;
}

void TypeIndex::clear() {
    types_->count.store_relaxed(0);
    types_->used.store_relaxed(0);
    types_->free.store_relaxed(0);
    types_->bucket_mask.store_relaxed(0);
}

}  // namespace muster::objects
