// What the dead left. See docs/protocols/queue.md, "Death": every window, the state it leaves, the repair.
// Everything here may be cut short by our own death and is then done again from the start.
#include <algorithm>
#include "objects/queue.hpp"
#include "objects/queue_acting.hpp"
#include "objects/queue_inline.hpp"
#include "platform/crash_point.hpp"
#include "platform/file.hpp"
#include "platform/mutant.hpp"
#include "platform/process.hpp"

namespace muster::objects {
using platform::Fault;
using platform::Outcome;
using sync::Actor;
using sync::ActorState;
using sync::state_of;
using sync::with_state;

namespace {
// A sleeper whose giver died before it committed, while its death notice may still have been the lock's: nobody else wakes it.
void tell_to_ask_again(Actor& waiter, std::uint32_t word) {
    platform::futex_wake(waiter.word.address(), 1);  // first: should we die in between, it waits for the lock, and repairs itself
    MUSTER_CRASH_POINT("queue.recover.told");
    waiter.word.compare_exchange(word, sync::kActorWord | static_cast<std::uint32_t>(ActorState::retry));
}

bool registered(ActorState state) {
    return state == ActorState::waiting || state == ActorState::asleep || state == ActorState::handover;
}
}  // namespace

// Links an actor into a waiting list by its ticket.
void Queue::link_waiter(std::uint32_t number, std::uint64_t ticket, memory::ShmU32& first, memory::ShmU32& last) {
    Actor& mine = actor(number);
    mine.ticket.store_relaxed(ticket);
    mine.cpu.store_relaxed(platform::current_cpu());
    mine.since_ns.store_relaxed(static_cast<std::uint64_t>(platform::realtime_coarse_s()) * 1'000'000'000ull);
    std::uint32_t before = last.load_relaxed();  // nearly always the right place
    for (std::uint32_t steps = 0; before != 0 && before <= actors_.count && steps < actors_.count; ++steps) {
        if (actor(before - 1).ticket.load_relaxed() <= ticket) break;
        before = actor(before - 1).previous.load_relaxed();
    }
    if (before > actors_.count) before = 0;
    const std::uint32_t after = before != 0 ? actor(before - 1).next.load_relaxed() : first.load_relaxed();
    mine.previous.store_relaxed(before);
    mine.next.store_relaxed(after);
    (before != 0 ? actor(before - 1).next : first).store_release(number + 1);
    (after != 0 && after <= actors_.count ? actor(after - 1).previous : last).store_release(number + 1);
}

void Queue::unlink_waiter(std::uint32_t number, memory::ShmU32& first, memory::ShmU32& last, memory::ShmU32& waiting) {
    Actor& leaving = actor(number);
    const std::uint32_t next = leaving.next.load_relaxed(), previous = leaving.previous.load_relaxed();
    if (next <= actors_.count && previous <= actors_.count) {
        (previous != 0 ? actor(previous - 1).next : first).store_relaxed(next);
        (next != 0 ? actor(next - 1).previous : last).store_relaxed(previous);
    }
    leaving.next.store_relaxed(0);
    leaving.previous.store_relaxed(0);
    const std::uint32_t count = waiting.load_relaxed();
    waiting.store_release(count == 0 ? 0 : count - 1);
}

// Makes a waiting list anew from the actors' own records; how many are in it.
std::uint32_t Queue::relink(ActorKind kind, memory::ShmU32& first, memory::ShmU32& last) {
    first.store_release(0);
    last.store_release(0);
    std::uint32_t linked = 0;
    const std::uint32_t high = header_->shared.actors_high.load_acquire();
    for (std::uint32_t number = 0; number < high && number < actors_.count; ++number) {
        Actor& candidate = actor(number);
        const std::uint32_t life = candidate.life.load_acquire();
        if (life == 0 || (life & FUTEX_OWNER_DIED) != 0 || candidate.kind.load_acquire() != static_cast<std::uint32_t>(kind)) continue;
        if (!registered(state_of(candidate.word.load_acquire()))) continue;
        link_waiter(number, candidate.ticket.load_relaxed(), first, last);
        ++linked;
    }
    return linked;
}

void Queue::recover_send() {
    QueueSend& s = header_->send;
    const std::uint32_t filling = s.filling.load_acquire();
    bool taken_back = false;
    if (filling != 0 && filling <= slots_.count) {
        const std::uint32_t number = filling - 1;
        const std::uint32_t word = slot(number).state.load_acquire();
        switch (slot_state(word)) {
            case SlotState::inbox:
                // Committed. Published too, unless the count stands where it stood.
                if (header_->sent.sent.load_relaxed() == s.filling_sent.load_relaxed() && !MUSTER_MUTANT(recover_without_publishing)) commit_to_inbox(number, slot_holder(word) != 0, typed_);
                break;
            case SlotState::filling: {
                if (slot_holder(word) != 0) break;  // an actor's: its own death or return settles it
                const std::uint32_t head = header_->sent.returned_head.load_relaxed();
                const bool still_there = s.spare.load_relaxed() == filling || s.fresh.load_relaxed() == number ||
                                         (head != header_->received.returned_tail.load_acquire() && returned_[head & ring_mask_].load_relaxed() == number);
                if (still_there) slot(number).state.store_release(slot_word(SlotState::free));
                else push_spare(number);
                break;
            }
            case SlotState::taken: {
                // Handed over; the waiter may not have been told.
                const std::uint32_t holder = slot_holder(word);
                if (holder == 0 || holder > actors_.count) break;
                Actor& waiter = actor(holder - 1);
                const std::uint32_t state = waiter.word.load_acquire();
                if (state_of(state) == ActorState::handover) {
                    waiter.slot.store_release(filling);
                    waiter.word.store_release(with_state(state, ActorState::done));
                } else if (state_of(state) == ActorState::given) {
                    waiter.slot.store_release(filling);
                } else if (state_of(state) == ActorState::retry) {
                    taken_back = true;  // from a sleeper that was not there
                }
                break;
            }
            default: break;
        }
    }
    MUSTER_CRASH_POINT("queue.recover_send.intent_settled");
    // Those who were being given something that never came sleep again, or find out that they do.
    const std::uint32_t high = header_->shared.actors_high.load_acquire();
    for (std::uint32_t number = 0; number < high && number < actors_.count; ++number) {
        Actor& waiter = actor(number);
        if (waiter.kind.load_acquire() != static_cast<std::uint32_t>(ActorKind::receiver)) continue;
        std::uint32_t word = waiter.word.load_acquire();
        if (state_of(word) == ActorState::handover) waiter.word.compare_exchange(word, with_state(word, ActorState::asleep));
        if (state_of(word) == ActorState::given && waiter.slot.load_acquire() == 0 && !MUSTER_MUTANT(recover_without_waking)) tell_to_ask_again(waiter, word);
    }
    header_->sent.receivers_waiting.store_release(relink(ActorKind::receiver, s.first_receiver, s.last_receiver));
    MUSTER_CRASH_POINT("queue.recover_send.relinked");
    // To the next one who asks for it, or into the inbox, where there is always room for one.
    if (taken_back && (s.first_receiver.load_relaxed() == 0 || !hand_over(filling - 1))) commit_to_inbox(filling - 1, true, typed_);
    s.filling.store_release(0);
    // The dead may have been changing the rights.
    if (typed_) header_->shared.permission_changes.add_release(1);
    if (s.trimming.load_relaxed() != 0) {
        // Its holder had both locks and every slot was free. The receive side's half, unless that was repaired first.
        if (s.trimming.load_relaxed() == 1) header_->receive.stack.store_release(0);
        reset_free_slots();
        s.trimming.store_release(0);
    }
    if ((header_->shared.flags.load_relaxed() & kQueuePolled) != 0) header_->shared.tokens.store_release(~0u);  // to be counted
}

void Queue::recover_receive() {
    QueueReceive& r = header_->receive;
    QueueReceivePublished& p = header_->received;
    // An inbox entry whose message was taken over, or taken out, before the count of them moved on.
    const std::uint64_t drained = p.drained.load_relaxed();
    const std::uint32_t taking = r.taking.load_acquire();
    if (header_->sent.sent.load_acquire() != drained) {
        const std::uint32_t number = inbox_[drained & ring_mask_].load_relaxed();
        if (number < slots_.count) {
            const SlotState state = slot_state(slot(number).state.load_acquire());
            if (state == SlotState::indexed || (state == SlotState::free && taking == number + 1)) p.drained.store_release(drained + 1);
        }
    }
    MUSTER_CRASH_POINT("queue.recover_receive.inbox_settled");
    if (taking != 0 && taking <= slots_.count && slot_state(slot(taking - 1).state.load_acquire()) == SlotState::free) {
        if (typed_) p.freed_bytes.store_release(r.taking_bytes.load_relaxed());
        const bool pushed = p.returned_tail.load_relaxed() != r.taking_tail.load_relaxed() || r.stack.load_relaxed() == taking;
        if (!pushed && !MUSTER_MUTANT(recover_without_returning)) push_returned(taking - 1);
    }
    r.taking.store_release(0);
    if (header_->send.trimming.load_acquire() == 1) {
        r.stack.store_release(0);
        header_->send.trimming.store_release(2);
    }
    MUSTER_CRASH_POINT("queue.recover_receive.intent_settled");
    const std::uint32_t high = header_->shared.actors_high.load_acquire();
    for (std::uint32_t number = 0; number < high && number < actors_.count; ++number) {
        Actor& waiter = actor(number);
        if (waiter.kind.load_acquire() != static_cast<std::uint32_t>(ActorKind::sender)) continue;
        std::uint32_t word = waiter.word.load_acquire();
        if (state_of(word) != ActorState::handover && state_of(word) != ActorState::given) continue;
        const std::uint32_t held = waiter.slot.load_acquire();
        const bool in = held == 0 || held > slots_.count || slot(held - 1).state.load_acquire() != slot_word(SlotState::filling, number + 1);
        if (in) waiter.slot.store_release(0);
        if (state_of(word) == ActorState::given) {
            if (!in) tell_to_ask_again(waiter, word);  // else it is awake, or the kernel has woken it, and looks at its slot
            continue;
        }
        waiter.word.compare_exchange(word, with_state(word, in ? ActorState::done : ActorState::asleep));
    }
    r.senders_waiting.store_release(relink(ActorKind::sender, r.first_sender, r.last_sender));
    MUSTER_CRASH_POINT("queue.recover_receive.relinked");
    if (MUSTER_MUTANT(recover_without_index)) return;
    if (auto rebuilt = rebuild_index(); !rebuilt) (void)damaged(rebuilt.fault().rule);
    MUSTER_CRASH_POINT("queue.recover_receive.rebuilt");
    publish_freed();
    if ((header_->shared.flags.load_relaxed() & kQueuePolled) != 0) header_->shared.tokens.store_release(~0u);  // to be counted
}

// The index from nothing but the slots.
Outcome<> Queue::rebuild_index() {
    QueueReceivePublished& p = header_->received;
    if (typed_) types_.clear();
    else index_.clear(header_->shared.lanes_reserved.load_acquire(), lanes_offset_);
    std::uint32_t used = header_->send.fresh.load_acquire();
    if (used > slots_.count) used = slots_.count;
    struct Found {
        std::uint64_t sequence;
        std::uint32_t number;
    };
    std::uint64_t count = 0;
    for (std::uint32_t number = 0; number < used; ++number)
        count += slot_state(slot(number).state.load_acquire()) == SlotState::indexed ? 1 : 0;
    p.indexed.store_relaxed(0);
    if (count == 0) return platform::done();
    const std::uint64_t bytes = (count * sizeof(Found) + 4095) & ~4095ull;
    const long memory = platform::map_private_zeroes(bytes);
    if (memory < 0 && memory > -4096) return rebuild_index_by_places(used);
    auto* found = reinterpret_cast<Found*>(memory);
    std::uint64_t got = 0;
    Outcome<> result = platform::done();
    for (std::uint32_t number = 0; number < used && got < count; ++number)
        if (slot_state(slot(number).state.load_acquire()) == SlotState::indexed) found[got++] = {slot(number).sequence.load_relaxed(), number};
    std::sort(found, found + got, [](const Found& a, const Found& b) { return a.sequence < b.sequence; });
    bool good = true;
    for (std::uint64_t i = 0; i < got && good; ++i) good = static_cast<bool>(index_append(found[i].number, false));
    platform::unmap(found, bytes);
    p.indexed.store_relaxed(got);
    if (!good) return Fault{EBADMSG, "a message has a priority or type that is none"};
    return platform::done();
}

// Without memory to put them in order, each message seeks its own place: slower, but a process that is short of memory must not
// find the queue damaged.
Outcome<> Queue::rebuild_index_by_places(std::uint32_t used) {
    std::uint64_t got = 0;
    for (std::uint32_t number = 0; number < used; ++number) {
        if (slot_state(slot(number).state.load_acquire()) != SlotState::indexed) continue;
        if (!index_append(number, true)) return Fault{EBADMSG, "a message has a priority or type that is none"};
        header_->received.indexed.store_relaxed(++got);
    }
    return platform::done();
}

bool Queue::dead_actors() const {
    const std::uint32_t high = header_->shared.actors_high.load_acquire();
    for (std::uint32_t number = 0; number < high && number < actors_.count; ++number)
        if (actor(number).life.load_acquire() & FUTEX_OWNER_DIED) return true;
    return false;
}

// Whether whoever holds the lock is known to be dead: what it did may not be visible yet.
bool Queue::dead_holder(const memory::ShmU32& lock) const {
    const std::uint32_t word = lock.load_acquire();
    return (word & FUTEX_OWNER_DIED) != 0 || ((word & sync::kHeldByActor) != 0 && actors_.is_dead(word & sync::kActorNumberMax));
}

// A message out of the hands of the dead, or of one who cannot take it: to the next receiver or back to its old place.
void Queue::put_back(int fd, std::uint32_t number) {
    (void)fd;
    QueueSend& s = header_->send;
    begin_filling(number, typed_);
    if (s.first_receiver.load_relaxed() != 0 && hand_over(number)) return;
    if (!inbox_has_room()) (void)drain();
    begin_filling(number, typed_);
    if ((header_->shared.flags.load_relaxed() & kQueuePolled) != 0 && messages_now() == 0) set_tokens(1);  // before the commit
    commit_to_inbox(number, true, typed_);
    if ((header_->shared.flags.load_relaxed() & kQueuePolled) != 0) set_tokens(tokens_for(messages_now()));
}

void Queue::return_taken(int fd, std::uint32_t actor_number) {
    const std::uint32_t held = actor(actor_number).slot.load_acquire();
    if (held != 0 && held <= slots_.count && slot(held - 1).state.load_acquire() == slot_word(SlotState::taken, actor_number + 1))
        put_back(fd, held - 1);
    actor(actor_number).slot.store_release(0);
}

// One dead actor: what it held goes where it belongs, its record is free again. Both locks held.
void Queue::reap(int fd, std::uint32_t number) {
    Actor& dead = actor(number);
    const std::uint32_t kind = dead.kind.load_acquire();
    const std::uint32_t held = dead.slot.load_acquire();
    if (kind == static_cast<std::uint32_t>(ActorKind::receiver)) {
        if (is_linked(number, header_->send.first_receiver)) unlink_receiver(number);
        MUSTER_CRASH_POINT("queue.reap.unlinked");
        if (!MUSTER_MUTANT(reap_without_returning)) return_taken(fd, number);
    } else if (kind == static_cast<std::uint32_t>(ActorKind::sender)) {
        if (is_linked(number, header_->receive.first_sender)) unlink_sender(number);
        MUSTER_CRASH_POINT("queue.reap.unlinked");
        if (held != 0 && held <= slots_.count && slot(held - 1).state.load_acquire() == slot_word(SlotState::filling, number + 1)) push_returned(held - 1);
    }
    MUSTER_CRASH_POINT("queue.reap.emptied");
    dead.slot.store_release(0);
    dead.kind.store_release(0);
    dead.word.store_release(sync::kActorWord);
    dead.life.store_release(0);
}

unsigned Queue::reap_dead(int fd) {
    unsigned reaped = 0;
    const std::uint32_t high = header_->shared.actors_high.load_acquire();
    for (std::uint32_t number = 0; number < high && number < actors_.count; ++number)
        if (actor(number).life.load_acquire() & FUTEX_OWNER_DIED) {
            reap(fd, number);
            ++reaped;
        }
    return reaped;
}

bool Queue::is_linked(std::uint32_t number, const memory::ShmU32& first) const {
    std::uint32_t at = first.load_relaxed();
    for (std::uint32_t steps = 0; at != 0 && at <= actors_.count && steps < actors_.count; ++steps) {
        if (at == number + 1) return true;
        at = actor(at - 1).next.load_relaxed();
    }
    return false;
}

std::uint64_t Queue::count_settled(platform::ThreadState& thread, int fd) {
    // The counters of one moment at which nobody was at work. Else more closely: a holder may be dead, its counters half-way, or have
    // chosen its message and not made room; and an actor may be dead, a message in its hands that comes back.
    const std::uint64_t freed = header_->received.freed.load_acquire(), sent = header_->sent.sent.load_acquire();
    const std::uint32_t locks = header_->send_lock.load_acquire() | header_->receive_lock.load_acquire();
    if (__builtin_expect(locks == 0 && !dead_actors(), 1) && header_->received.freed.load_acquire() == freed &&
        header_->sent.sent.load_acquire() == sent && sent - freed <= messages_max_)
        return sent - freed;
    Acting me(*this, thread);
    if (!me.begin(fd, ActorKind::keeper) || !me.lock_both()) return count();
    reap_dead(fd);
    const std::uint64_t messages = count();
    me.unlock_both();
    return messages;
}

Outcome<unsigned> Queue::recover(platform::ThreadState& thread, int fd) {
    Acting me(*this, thread);
    const bool dead = dead_actors();
    if (auto begun = me.begin(fd, ActorKind::keeper); !begun) return begun.fault();  // reaps on its way
    if (auto locked = me.lock_both(); !locked) return locked.fault();
    const unsigned reaped = reap_dead(fd);
    me.unlock_both();
    return reaped + (dead && reaped == 0 ? 1u : 0u);
}

}  // namespace muster::objects
