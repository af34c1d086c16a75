// The short steps that both sides and recovery share. Inline: a send and a receive are some twenty nanoseconds each.
#pragma once
#include "objects/queue.hpp"
#include "platform/crash_point.hpp"
#include "platform/file.hpp"
#include "platform/mutant.hpp"
#include "platform/process.hpp"

namespace muster::objects {
using platform::Fault;
using platform::Outcome;

// Longer messages are copied outside the locks: others need not wait for the copy.
inline constexpr std::size_t kCopyUnderLockMax = 64 << 10;

__attribute__((always_inline)) inline bool Queue::full() {
    QueueSend& s = header_->send;
    const std::uint64_t sent = header_->sent.sent.load_relaxed();  // relaxed: ours while we hold the lock
    if (__builtin_expect(sent - s.freed_seen.load_relaxed() < messages_max_, 1)) return false;
    // SYNC queue.freed (acquire half). Carries: promoted_sequence, so that what we send next is younger than all promoted.
    const std::uint64_t freed = header_->received.freed.load_acquire();
    s.freed_seen.store_relaxed(freed);
    const std::uint64_t promoted = header_->received.promoted_sequence.load_relaxed();
    if (promoted > s.sequence.load_relaxed()) s.sequence.store_relaxed(promoted);
    return sent - freed >= messages_max_;
}

// SOURCE msgsnd(2): neither the bytes nor the number of messages may exceed msg_qbytes. Both counts only err on the safe side.
__attribute__((always_inline)) inline bool Queue::has_room_typed(std::size_t length) {
    QueueSend& s = header_->send;
    const std::uint64_t sent = header_->sent.sent.load_relaxed(), sent_bytes = header_->sent.sent_bytes.load_relaxed();
    const std::uint64_t limit = header_->shared.bytes_max.load_relaxed();
    const auto fits = [&](std::uint64_t freed, std::uint64_t freed_bytes) {
        const std::uint64_t messages = sent - freed, bytes = sent_bytes - freed_bytes;
        return messages < messages_max_ && messages < limit && bytes <= limit && length <= limit - bytes;
    };
    if (__builtin_expect(fits(s.freed_seen.load_relaxed(), s.freed_bytes_seen.load_relaxed()), 1)) return true;
    const std::uint64_t freed = header_->received.freed.load_acquire(), freed_bytes = header_->received.freed_bytes.load_acquire();
    s.freed_seen.store_relaxed(freed);
    s.freed_bytes_seen.store_relaxed(freed_bytes);
    return fits(freed, freed_bytes);
}

template <bool kTyped>
__attribute__((always_inline)) inline bool Queue::has_room_as(std::size_t length) {
    if constexpr (kTyped) return has_room_typed(length);
    else return !full();
}

inline bool Queue::has_room(std::size_t length) {
    return typed_ ? has_room_typed(length) : !full();
}

// "Full" may be true only of a moment at which a receiver had chosen its message, and a higher one came behind it: an answer
// that fits into no order of the calls. So who finds the queue full under send.lock, which keeps others from adding anything,
// waits for a receiver that is at work; false if that takes long, or it is dead.
inline bool Queue::receivers_have_settled() const {
    constexpr int kSpins = 60;
    const std::uint32_t seen = header_->receive_lock.load_acquire() & ~FUTEX_WAITERS;
    for (int spins = 0; seen != 0; ++spins) {
        if (spins == kSpins || (seen & FUTEX_OWNER_DIED) != 0) return false;
        platform::pause_cpu();
        const std::uint32_t now = header_->receive_lock.load_acquire() & ~FUTEX_WAITERS;
        if (now != seen) return (now & FUTEX_OWNER_DIED) == 0;
    }
    return true;
}

// The intent to fill and publish a slot, and the counts that tell later whether it was published.
__attribute__((always_inline)) inline void Queue::begin_filling(std::uint32_t number, bool typed) {
    QueueSend& s = header_->send;
    s.filling_sent.store_relaxed(header_->sent.sent.load_relaxed());
    if (typed) s.filling_bytes.store_relaxed(header_->sent.sent_bytes.load_relaxed());
    if (!MUSTER_MUTANT(fill_without_intent)) s.filling.store_release(number + 1);
}

__attribute__((always_inline)) inline bool Queue::inbox_has_room() {
    QueueSend& s = header_->send;
    const std::uint64_t sent = header_->sent.sent.load_relaxed();
    // One entry stays free for what recovery puts back.
    if (__builtin_expect(sent - s.drained_seen.load_relaxed() < ring_mask_, 1)) return true;
    s.drained_seen.store_relaxed(header_->received.drained.load_acquire());
    return sent - s.drained_seen.load_relaxed() < ring_mask_;
}

// Priorities far from the lowest need memory for their lanes: the sender sees to it, since it can say no.
__attribute__((always_inline)) inline Outcome<> Queue::prepare_lane(int fd, std::uint64_t priority) {
    const std::uint64_t block = lanes_offset_ + (priority >> 6) * sizeof(LaneBlock);
    const std::uint64_t base = lanes_offset_ >> 12;
    const std::uint64_t pages = 1ull << ((block >> 12) - base) | 1ull << (((block + sizeof(LaneBlock) - 1) >> 12) - base);
    const std::uint64_t reserved = header_->shared.lanes_reserved.load_relaxed();
    if (__builtin_expect((pages & ~reserved) == 0, 1)) return platform::done();
    const std::uint64_t first = block & ~4095ull;
    if (const int rc = platform::reserve_bytes(fd, first, ((block + sizeof(LaneBlock) + 4095) & ~4095ull) - first); rc < 0)
        return Fault{-rc, "the file system of the domain is full"};
    header_->shared.lanes_reserved.store_release(reserved | pages);
    return platform::done();
}

// COMMIT and publication of the slot that the intent names.
__attribute__((always_inline)) inline void Queue::commit_to_inbox(std::uint32_t number, bool old, bool typed) {
    QueueSendPublished& p = header_->sent;
    const std::uint64_t sent = p.sent.load_relaxed();
    // COMMIT: the message is in the queue from this store on, though nobody can see it before the ring says so:
    // should we die in between, whoever takes the lock next finishes what the intent tells.
    slot(number).state.store_release(slot_word(SlotState::inbox, old ? 1 : 0));
    MUSTER_CRASH_POINT("queue.send.committed");
    inbox_[sent & ring_mask_].store_relaxed(number);
    // From the intent, not added to: recovery does it again.
    if (typed) p.sent_bytes.store_relaxed(header_->send.filling_bytes.load_relaxed() + slot(number).length.load_relaxed());
    // SYNC queue.sent (release half). Carries: the slot and the ring's entry. Pairs with drain().
    p.sent.store_release(sent + 1);
    MUSTER_CRASH_POINT("queue.send.published");
    header_->send.filling.store_release(0);
}

__attribute__((always_inline)) inline void Queue::publish_freed() {
    QueueReceivePublished& p = header_->received;
    // SYNC queue.freed (release half). Carries: promoted_sequence. Pairs with full().
    p.freed.store_release(p.drained.load_relaxed() - p.indexed.load_relaxed());
}

// Enters a message into the index of this queue's face. `old`: it has been out of the queue and returns to its place.
__attribute__((always_inline)) inline Outcome<> Queue::index_append(std::uint32_t number, bool old) {
    const std::uint64_t key = slot(number).key.load_relaxed();
    if (!is_key(key)) return Fault{EBADMSG, "a message has a priority or type that is none"};
    if (typed_) {
        const std::uint32_t with_memory = header_->send.slots_reserved.load_acquire();
        return old ? types_.insert_by_age(number, with_memory) : types_.append(number, with_memory);
    }
    const auto priority = static_cast<std::uint32_t>(key);
    return old ? index_.insert_by_age(number, priority) : index_.append(number, priority);
}

// Gives a slot back to the senders. The intent keeps it from being lost or given twice if we die.
__attribute__((always_inline)) inline void Queue::push_returned(std::uint32_t number, bool typed) {
    QueueReceive& r = header_->receive;
    QueueReceivePublished& p = header_->received;
    const std::uint32_t tail = p.returned_tail.load_relaxed();
    if (r.taking.load_relaxed() != number + 1) {
        r.taking_tail.store_relaxed(tail);
        if (typed) r.taking_bytes.store_relaxed(p.freed_bytes.load_relaxed());
        if (!MUSTER_MUTANT(return_without_intent)) r.taking.store_release(number + 1);
    }
    slot(number).state.store_release(slot_word(SlotState::free));
    MUSTER_CRASH_POINT("queue.return.freed");
    if (tail - header_->sent.returned_head.load_acquire() <= ring_mask_) {
        returned_[tail & ring_mask_].store_relaxed(number);
        // SYNC queue.returned (release half). Carries: the slot's free state. Pairs with pop_free().
        p.returned_tail.store_release(tail + 1);
    } else {
        slot(number).next.store_release(r.stack.load_relaxed());
        r.stack.store_release(number + 1);
    }
    MUSTER_CRASH_POINT("queue.return.pushed");
    r.taking.store_release(0);
}

// Before falling asleep: gives the peer a chance to do what is waited for, if that is cheaper than a sleep and a wake.
//   on another CPU  it is at work: look for a while, a wake would cost several times that
//   on this CPU     it can only run if we step aside: yield once, which costs half of a sleep and a wake, and lets it do
//                   all it can instead of one message a switch. Where that turns out in vain, or others ran for
//                   long instead of the peer, it is tried ever more seldom.
// True if `changed` became true.
template <class Changed>
bool Queue::look_for_peer(std::uint32_t peer_cpu, Changed changed) {
    constexpr int kSpins = 2000;
    constexpr std::int64_t kTooLongNs = 200'000;
    constexpr std::uint32_t kMostInVain = 10;
    if (peer_cpu == ~0u) return false;
    if (peer_cpu != platform::current_cpu()) {
        for (int spins = 0; spins < kSpins; ++spins) {
            platform::pause_cpu();
            if (changed()) return true;
        }
        return false;
    }
    const std::uint32_t skip = yields_skipped_.load(std::memory_order_relaxed);  // relaxed, all of it: a rule of thumb
    if (skip != 0) {
        yields_skipped_.store(skip - 1, std::memory_order_relaxed);
        return false;
    }
    const std::int64_t before = platform::monotonic_ns();
    platform::system_call(SYS_sched_yield);
    const bool came = changed();
    if (came && platform::monotonic_ns() - before < kTooLongNs) {
        yields_in_vain_.store(0, std::memory_order_relaxed);
        return true;
    }
    const std::uint32_t in_vain = yields_in_vain_.load(std::memory_order_relaxed);
    if (in_vain < kMostInVain) yields_in_vain_.store(in_vain + 1, std::memory_order_relaxed);
    yields_skipped_.store((1u << in_vain) - 1, std::memory_order_relaxed);
    return came;
}

}  // namespace muster::objects
