// The receive side: take over the inbox, pick the best message, give the slot back. See docs/protocols/queue.md, "Receiving".
#include "objects/queue.hpp"
#include "objects/queue_acting.hpp"
#include "objects/queue_inline.hpp"
#include "platform/crash_point.hpp"
#include "platform/fault_copy.hpp"
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

// Takes what the inbox holds over into the index.
Outcome<> Queue::drain() {
    QueueReceivePublished& p = header_->received;
    // SYNC queue.sent (acquire half). Carries: the slots and the ring's entries. Pairs with commit_to_inbox().
    const std::uint64_t sent = header_->sent.sent.load_acquire();
    std::uint64_t drained = p.drained.load_relaxed();
    if (sent - drained > std::uint64_t{ring_mask_} + 1) return damaged("the queue's inbox is damaged");
    for (; drained != sent; ++drained) {
        const std::uint32_t number = inbox_[drained & ring_mask_].load_relaxed();
        if (number >= slots_.count) return damaged("the queue's inbox names a slot that is none");
        Slot& message = slot(number);
        const std::uint32_t word = message.state.load_acquire();
        if (slot_state(word) == SlotState::inbox) {  // else it was taken over before its taker died
            message.state.store_release(slot_word(SlotState::indexed));
            MUSTER_CRASH_POINT("queue.drain.marked");
            if (auto put = index_append(number, slot_holder(word) != 0); !put) return damaged(put.fault().rule);
            p.indexed.store_relaxed(p.indexed.load_relaxed() + 1);
            MUSTER_CRASH_POINT("queue.drain.indexed");
        }
        p.drained.store_release(drained + 1);
    }
    return platform::done();
}

// Moves free slots from the stack to the ring as far as there is room.
void Queue::refill_returned() {
    QueueReceive& r = header_->receive;
    for (std::uint32_t moved = 0; moved <= ring_mask_; ++moved) {
        const std::uint32_t top = r.stack.load_relaxed();
        if (top == 0) return;
        if (top > slots_.count || slot_state(slot(top - 1).state.load_relaxed()) != SlotState::free) {
            (void)damaged("the queue's stack of free slots is damaged");
            return;
        }
        if (header_->received.returned_tail.load_relaxed() - header_->sent.returned_head.load_acquire() > ring_mask_) return;
        const std::uint32_t next = slot(top - 1).next.load_relaxed();
        r.taking_tail.store_relaxed(header_->received.returned_tail.load_relaxed());
        r.taking_bytes.store_relaxed(header_->received.freed_bytes.load_relaxed());
        r.taking.store_release(top);
        r.stack.store_release(next);
        MUSTER_CRASH_POINT("queue.refill.popped");
        push_returned(top - 1);
    }
}

void Queue::unlink_sender(std::uint32_t number) {
    unlink_waiter(number, header_->receive.first_sender, header_->receive.last_sender, header_->receive.senders_waiting);
}

// The slot in which a sleeping sender's message lies ready to be put in; kNone if there is none or its record is unsound.
std::uint32_t Queue::ready_to_promote(std::uint32_t candidate) const {
    const Actor& waiter = actor(candidate);
    const std::uint32_t held = waiter.slot.load_acquire();
    const bool ready = (waiter.life.load_acquire() & FUTEX_OWNER_DIED) == 0 && held != 0 && held <= slots_.count &&
                       slot(held - 1).state.load_acquire() == slot_word(SlotState::filling, candidate + 1) &&
                       is_key(slot(held - 1).key.load_relaxed());
    return ready ? held - 1 : Choice::kNone;
}

// COMMIT of a sleeping sender's message, straight into the index. The inbox has been drained.
void Queue::put_in(std::uint32_t candidate, std::uint32_t number) {
    QueueReceivePublished& p = header_->received;
    Slot& message = slot(number);
    const std::uint64_t sent = header_->send.sequence.load_relaxed(), promoted = p.promoted_sequence.load_relaxed();
    // Younger than all: nobody else can send while the queue is full.
    const std::uint64_t sequence = (sent > promoted ? sent : promoted) + 1;
    p.promoted_sequence.store_release(sequence);
    message.sequence.store_relaxed(sequence);
    // COMMIT: the sleeping sender's message is in the queue from this store on.
    message.state.store_release(slot_word(SlotState::indexed));
    MUSTER_CRASH_POINT("queue.promote.committed");
    if (!index_append(number, false)) (void)damaged("a message has a priority that is none");
    p.indexed.store_relaxed(p.indexed.load_relaxed() + 1);
    actor(candidate).slot.store_release(0);
}

// Puts the message of the longest-waiting sender into the index, as the one that is about to be taken leaves. It
// comes first: were we to die after taking, the sender would sleep beside free space. By an actor: woken before the
// commit, as in hand_over().
void Queue::promote_senders() {
    QueueReceive& r = header_->receive;
    if (messages_now() > messages_max_) return;  // one whom a death left in excess leaves without a successor
    for (std::uint32_t steps = 0; steps < actors_.count; ++steps) {
        const std::uint32_t first = r.first_sender.load_relaxed();
        if (first == 0 || first > actors_.count) return;
        const std::uint32_t candidate = first - 1;
        Actor& waiter = actor(candidate);
        std::uint32_t word = waiter.word.load_acquire();
        const ActorState was = state_of(word);
        const std::uint32_t number = ready_to_promote(candidate);
        if ((was != ActorState::asleep && was != ActorState::waiting) || number == Choice::kNone) {
            unlink_sender(candidate);
            continue;
        }
        if (!waiter.word.compare_exchange(word, with_state(word, ActorState::handover))) continue;
        MUSTER_CRASH_POINT("queue.promote.begun");
        if (was == ActorState::asleep && platform::futex_wake(waiter.word.address(), 1) == 0 &&
            platform::thread_stopped(waiter.thread_id.load_relaxed())) {
            waiter.word.store_release(with_state(word, ActorState::retry));  // as in hand_over()
            unlink_sender(candidate);
            continue;
        }
        MUSTER_CRASH_POINT("queue.promote.woken");
        put_in(candidate, number);
        waiter.word.store_release(with_state(word, ActorState::done));
        MUSTER_CRASH_POINT("queue.promote.given");
        unlink_sender(candidate);
        return;
    }
}

// The same by a thread that holds receive.lock by its id, as in give(): the sleeper's word names the giver until the
// giver has let go of the lock and woken it. kNoActor if nobody sleeps.
std::uint32_t Queue::give_space(platform::ThreadState& thread, bool& asleep) {
    QueueReceive& r = header_->receive;
    if (messages_now() > messages_max_) return kNoActor;  // one whom a death left in excess leaves without a successor
    for (std::uint32_t steps = 0; steps < actors_.count; ++steps) {
        const std::uint32_t first = r.first_sender.load_relaxed();
        if (first == 0 || first > actors_.count) return kNoActor;
        const std::uint32_t candidate = first - 1;
        Actor& waiter = actor(candidate);
        std::uint32_t word = waiter.word.load_acquire();
        unlink_sender(candidate);
        const std::uint32_t number = ready_to_promote(candidate);
        if (number == Choice::kNone) continue;
        MUSTER_CRASH_POINT("queue.promote.unlinked");
        while (state_of(word) == ActorState::asleep || state_of(word) == ActorState::waiting) {
            asleep = state_of(word) == ActorState::asleep;
            // What is put in cannot be taken back, so make sure first that the sleeper is there, not stopped or in a handler.
            // On another CPU: by waking it; it needs longer to come than we to finish. On ours: by counting, since it
            // would run at once.
            const bool elsewhere = waiter.cpu.load_relaxed() != platform::current_cpu();
            if (asleep && !elsewhere && platform::futex_count_sleepers(waiter.word.address()) != 1 &&
                platform::thread_stopped(waiter.thread_id.load_relaxed())) {
                if (waiter.word.compare_exchange(word, with_state(word, ActorState::retry))) break;
                continue;
            }
            std::uint32_t given = sync::kGivenBit | thread.thread_id;
            if (!waiter.word.compare_exchange(word, given)) continue;
            MUSTER_CRASH_POINT("queue.promote.named");
            robust_list* before = platform::set_death_notice(thread, waiter.word.address());  // as in give()
            if (MUSTER_MUTANT(give_space_without_notice)) platform::restore_death_notice(thread, before);
            MUSTER_CRASH_POINT("queue.promote.noticed");
            if (asleep && elsewhere) {
                asleep = false;  // needs no wake any more
                if (platform::futex_wake(waiter.word.address(), 1) == 0 && platform::thread_stopped(waiter.thread_id.load_relaxed()) &&
                    waiter.word.compare_exchange(given, sync::kActorWord | static_cast<std::uint32_t>(ActorState::retry))) {
                    platform::restore_death_notice(thread, before);
                    break;
                }
            }
            put_in(candidate, number);
            MUSTER_CRASH_POINT("queue.promote.space_given");
            return candidate;
        }
    }
    return kNoActor;
}

// The message that a receiver is to get: slot kNone if there is none.
template <>
__attribute__((always_inline)) inline Outcome<Queue::Choice> Queue::choose(const PlainBuffer&) {
    auto best = index_.best();
    if (!best) return best.fault();
    return Choice{best->slot, best->priority};
}
template <>
__attribute__((always_inline)) inline Outcome<Queue::Choice> Queue::choose(const TypedBuffer& to) {
    auto found = types_.find(to.selector);
    if (!found) return found.fault();
    return Choice{found->slot, found->lane};
}

template <>
__attribute__((always_inline)) inline bool Queue::copy_message(platform::ThreadState& thread, std::uint32_t number, std::uint32_t length,
                                                               const PlainBuffer& to, ReceivedMessage& received) {
    received.length = length;
    return platform::fault_copy(thread, to.buffer, payload(number, length), length);
}
template <>
__attribute__((always_inline)) inline bool Queue::copy_message(platform::ThreadState& thread, std::uint32_t number, std::uint32_t length,
                                                               const TypedBuffer& to, ReceivedMessage& received) {
    received.length = length < to.capacity ? length : to.capacity;
    const auto type = static_cast<std::int64_t>(received.priority);
    return (to.type == nullptr || platform::fault_store(thread, to.type, type)) &&
           platform::fault_copy(thread, to.buffer, payload(number, length), received.length);
}

namespace {
constexpr Fault kTooLongForBuffer{E2BIG, "the message is longer than the buffer"};
template <class To>
constexpr bool kIsTyped = false;
template <>
constexpr bool kIsTyped<TypedBuffer> = true;

// Whether a message of that length is to stay where it is.
bool refuses(const PlainBuffer&, std::size_t) { return false; }
bool refuses(const TypedBuffer& to, std::size_t length) { return length > to.capacity && !to.truncate; }
}  // namespace

// Copies a message out; nothing has changed if that fails.
template <class To>
Outcome<> Queue::copy_out(platform::ThreadState& thread, const Choice& best, const To& to, ReceivedMessage& received) {
    Slot& message = slot(best.slot);
    const std::uint32_t length = message.length.load_relaxed();
    received.priority = kIsTyped<To> ? message.key.load_relaxed() : best.place;
    if (!is_length(length) || slot_state(message.state.load_acquire()) != SlotState::indexed) return damaged("a message in the queue's index is damaged");
    if (refuses(to, length)) return kTooLongForBuffer;
    if (copy_message(thread, best.slot, length, to, received)) return platform::done();
    if (auto good = usable(); !good) return good;  // it was the queue's side of the copy
    return Fault{EFAULT, "the buffer cannot be written"};
}

// Takes a message that has been copied out from the index.
template <bool kTyped>
void Queue::take_out(const Choice& best) {
    QueueReceive& r = header_->receive;
    QueueReceivePublished& p = header_->received;
    MUSTER_CRASH_POINT("queue.receive.copied");
    r.taking_tail.store_relaxed(p.returned_tail.load_relaxed());
    if constexpr (kTyped) r.taking_bytes.store_relaxed(p.freed_bytes.load_relaxed() + slot(best.slot).length.load_relaxed());
    if (!MUSTER_MUTANT(take_without_intent)) r.taking.store_release(best.slot + 1);
    // COMMIT: the message is out of the queue from this store on, and in the buffer.
    slot(best.slot).state.store_release(slot_word(SlotState::free));
    MUSTER_CRASH_POINT("queue.receive.committed");
    if constexpr (kTyped) {
        types_.remove_first(best.place);
        p.freed_bytes.store_release(r.taking_bytes.load_relaxed());
    } else {
        index_.remove_first(best.place);
    }
    p.indexed.store_relaxed(p.indexed.load_relaxed() - 1);
    publish_freed();
    MUSTER_CRASH_POINT("queue.receive.counted");
    push_returned(best.slot, kTyped);
}

template <class To>
__attribute__((always_inline)) inline Queue::Quick Queue::receive_quick(platform::ThreadState& thread, const To& to, ReceivedMessage& received, Fault& fault) {
    constexpr bool kTyped = kIsTyped<To>;
    auto lock = sync::ThreadLock::acquire(thread, header_->receive_lock, actors_);
    if (__builtin_expect(!lock, 0)) {
        fault = lock.fault();
        return Quick::failed;
    }
    if (__builtin_expect(lock->owner_died(), 0)) recover_receive();
    if (__builtin_expect(header_->shared.flags.load_relaxed() != 0, 0)) return Quick::slow;
    QueueReceive& r = header_->receive;
    QueueReceivePublished& p = header_->received;
    // What the dead had in their hands must come back although the queue is never empty.
    const std::uint32_t receives = receives_.load(std::memory_order_relaxed);
    receives_.store(receives + 1, std::memory_order_relaxed);  // relaxed, and a lost count is no harm
    if (__builtin_expect((receives & 63) == 0, 0) && dead_actors()) return Quick::slow;
    const std::uint32_t cpu = platform::current_cpu();
    if (p.cpu.load_relaxed() != cpu) p.cpu.store_relaxed(cpu);
    const std::uint64_t drained = p.drained.load_relaxed();
    const std::uint64_t sent = header_->sent.sent.load_acquire();
    const auto fail = [&](Fault why) {
        fault = why;
        return Quick::failed;
    };

    // Whom the message's leaving lets in, and what waits for that, is for those who hold both locks.
    if (kTyped && r.first_sender.load_relaxed() != 0) return Quick::slow;
    bool direct = sent - drained == 1 && r.first_sender.load_relaxed() == 0;
    if constexpr (kTyped) {
        const std::uint32_t number = inbox_[drained & ring_mask_].load_relaxed();
        direct = direct && number < slots_.count && to.selector.matches(slot(number).key.load_relaxed()) &&
                 (p.indexed.load_relaxed() == 0 || !types_.comes_before(to.selector, slot(number).key.load_relaxed()));
    } else {
        direct = direct && p.indexed.load_relaxed() == 0;
    }
    if (direct) {
        // The only message there is, or the only one that will do: straight from the inbox, the index never hears of it.
        const std::uint32_t number = inbox_[drained & ring_mask_].load_relaxed();
        if (number >= slots_.count) return fail(damaged("the queue's inbox names a slot that is none"));
        Slot& message = slot(number);
        const std::uint32_t length = message.length.load_relaxed();
        received.priority = message.key.load_relaxed();
        if (slot_state(message.state.load_acquire()) != SlotState::inbox || !is_key(received.priority) || !is_length(length))
            return fail(damaged("a message in the queue's inbox is damaged"));
        if (!kTyped && length > kCopyUnderLockMax) return Quick::slow;
        if (refuses(to, length)) return fail(kTooLongForBuffer);
        if (MUSTER_MUTANT(take_before_copy)) message.state.store_release(slot_word(SlotState::free));
        if (!copy_message(thread, number, length, to, received)) return fail(Fault{EFAULT, "the buffer cannot be written"});
        MUSTER_CRASH_POINT("queue.receive.direct_copied");
        r.taking_tail.store_relaxed(p.returned_tail.load_relaxed());
        if constexpr (kTyped) r.taking_bytes.store_relaxed(p.freed_bytes.load_relaxed() + length);
        r.taking.store_release(number + 1);
        // COMMIT: the message is out of the queue from this store on, and in the buffer.
        message.state.store_release(slot_word(SlotState::free));
        MUSTER_CRASH_POINT("queue.receive.direct_committed");
        p.drained.store_release(drained + 1);
        if constexpr (kTyped) p.freed_bytes.store_release(r.taking_bytes.load_relaxed());
        publish_freed();
        push_returned(number, kTyped);
    } else {
        if (sent != drained)
            if (auto drained_all = drain(); !drained_all) return fail(drained_all.fault());
        auto best = choose(to);
        if (!best) return fail(damaged(best.fault().rule));
        if (best->slot == Choice::kNone) return Quick::none;
        if (!kTyped && slot(best->slot).length.load_relaxed() > kCopyUnderLockMax) return Quick::slow;
        std::uint32_t sender = kNoActor;
        bool asleep = false;
        if (auto copied = copy_out(thread, *best, to, received); !copied) return fail(copied.fault());
        if constexpr (!kTyped)
            if (__builtin_expect(r.first_sender.load_relaxed() != 0, 0)) sender = give_space(thread, asleep);
        take_out<kTyped>(*best);
        if (__builtin_expect(sender != kNoActor, 0)) {
            r.last_pid.store_relaxed(platform::process_id_of(thread));
            lock->release_early();
            MUSTER_CRASH_POINT("queue.promote.unlocked");
            if (asleep) platform::futex_wake(actor(sender).word.address(), 1);
            return Quick::done;
        }
    }
    r.last_pid.store_relaxed(platform::process_id_of(thread));
    if constexpr (kTyped) r.received_s.store_relaxed(platform::realtime_s());
    return Quick::done;
}

Outcome<ReceivedMessage> Queue::receive(platform::ThreadState& thread, int fd, void* buffer, std::size_t capacity, const Patience& patience) {
    if (capacity < message_bytes_max_) return Fault{EMSGSIZE, "the buffer is shorter than the queue's message size"};
    return receive_as(thread, fd, PlainBuffer{buffer}, patience);
}

Outcome<ReceivedMessage> Queue::receive_typed(platform::ThreadState& thread, const TypedBuffer& to, const Patience& patience) {
    return receive_as(thread, -1, to, patience);
}

template <class To>
Outcome<ReceivedMessage> Queue::receive_as(platform::ThreadState& thread, int fd, const To& to, const Patience& patience) {
    const std::uint32_t interruptions = thread.interruptions;
    for (bool spun = false;;) {
        Fault fault{0};
        ReceivedMessage received{};
        const Quick result = receive_quick(thread, to, received, fault);
        if (__builtin_expect(result == Quick::done, 1)) {
            if (__builtin_expect(mapping_damaged_.load(std::memory_order_relaxed) != 0, 0))
                if (auto good = usable(); !good) return good.fault();
            if (__builtin_expect(header_->shared.excess.load_relaxed() != 0, 0)) trim_if_idle(thread, fd);
            return received;
        }
        if (result == Quick::failed) {
            if (auto good = usable(); !good) return good.fault();
            return fault;
        }
        if (auto good = usable(); !good) return good.fault();
        if (spun || header_->shared.flags.load_relaxed() != 0 || dead_actors() || dead_holder(header_->send_lock) ||
            (kIsTyped<To> ? result != Quick::none : count() != 0))
            break;
        if (auto allowed = may_wait(patience); !allowed) return allowed.fault();
        spun = true;
        if (header_->sent.receivers_waiting.load_relaxed() != 0) break;  // behind them, in order
        const std::uint64_t seen = kIsTyped<To> ? header_->sent.sent.load_acquire() : header_->received.drained.load_relaxed();
        if (!look_for_peer(header_->sent.cpu.load_relaxed(), [&] { return header_->sent.sent.load_acquire() != seen; })) break;
        spun = kIsTyped<To>;  // others' messages may come for ever: one look, then into the list
    }
    return receive_slow(thread, fd, to, patience, interruptions);
}

// With both locks, as an actor: when somebody polls, when the message is long, or to wait.
template <class To>
Outcome<ReceivedMessage> Queue::receive_slow(platform::ThreadState& thread, int fd, const To& to, const Patience& patience, std::uint32_t interruptions) {
    constexpr bool kTyped = kIsTyped<To>;
    QueueReceivePublished& p = header_->received;
    QueueSend& s = header_->send;
    for (;;) {  // once, and again after a handler with SA_RESTART
        Acting me(*this, thread);
        if (auto begun = me.begin(fd, ActorKind::receiver); !begun) return begun.fault();
        std::uint64_t ticket = 0;
        for (bool again = false; !again;) {
            if (auto locked = me.lock_both(); !locked) return locked.fault();
            const auto leave = [&](Fault why) {
                me.unlock_both();
                return why;
            };
            if (dead_actors()) reap_dead(fd);
            if (auto drained = drain(); !drained) return leave(drained.fault());
            if (kTyped && ticket != 0 && !permission().allows(kMayRead)) return leave(Fault{EACCES, "the right to receive was taken away meanwhile"});
            auto best = choose(to);
            if (!best) return leave(damaged(best.fault().rule));
            const bool tell_pollers = (header_->shared.flags.load_relaxed() & kQueuePolled) != 0;
            // Pollers for space are told before the commit and cannot look before we let go of the locks.
            const auto tell_of_room = [&] {
                if (tell_pollers && header_->shared.tokens.load_relaxed() > 1 && messages_now() <= messages_max_) set_tokens(1);
            };
            if (best->slot != Choice::kNone) {
                const std::uint32_t number = best->slot;
                ReceivedMessage received{};
                const bool waiting_sender = header_->receive.first_sender.load_relaxed() != 0;
                if (kTyped || slot(number).length.load_relaxed() <= kCopyUnderLockMax) {
                    auto taken = copy_out(thread, *best, to, received);
                    if (taken) {
                        header_->receive.last_pid.store_relaxed(platform::process_id_of(thread));
                        if constexpr (kTyped) header_->receive.received_s.store_relaxed(platform::realtime_s());
                        if (kTyped && waiting_sender) promote_typed(1, slot(number).length.load_relaxed());
                        else if (waiting_sender) promote_senders();
                        tell_of_room();
                        take_out<kTyped>(*best);
                    }
                    if (tell_pollers) {
                        set_tokens(tokens_for(messages_now()));
                        make_edge();
                    }
                    me.unlock_both();
                    if (!taken) return taken.fault();
                    if (mapping_damaged_.load(std::memory_order_relaxed) != 0) return usable().fault();  // not: removed since
                    me.end();  // a thread has one death notice: while another record is begun, none would tell of this one
                    trim_if_idle(thread, fd);
                    return received;
                }
                header_->receive.last_pid.store_relaxed(platform::process_id_of(thread));
                // A long message: ours from here on, copied outside the locks, and back in its place if we die.
                if (header_->receive.first_sender.load_relaxed() != 0) promote_senders();
                tell_of_room();
                me.record().slot.store_release(number + 1);
                MUSTER_CRASH_POINT("queue.receive.long_claimed");
                slot(number).state.store_release(slot_word(SlotState::taken, me.number() + 1));
                MUSTER_CRASH_POINT("queue.receive.long_taken");
                index_.remove_first(best->place);
                p.indexed.store_relaxed(p.indexed.load_relaxed() - 1);
                publish_freed();
                if (tell_pollers) {
                    set_tokens(tokens_for(messages_now()));
                    make_edge();
                }
                me.unlock_both();
                const bool copied = finish_taken(me, fd, to, received);
                if (auto good = usable(); !good) return good.fault();
                if (!copied) return Fault{EFAULT, "the buffer cannot be written"};
                me.end();
                trim_if_idle(thread, fd);
                return received;
            }
            if (dead_actors() && reap_dead(fd) != 0) {
                me.unlock_both();
                continue;
            }
            if (auto allowed = may_wait(patience); !allowed) {
                if (tell_pollers) set_tokens(tokens_for(messages_now()));
                return leave(allowed.fault());
            }
            // A handler ran since the call began: as if it had come while asleep.
            if (thread.interruptions != interruptions) return leave(Fault{EINTR, "a signal came"});
            Actor& mine = me.record();
            if (ticket == 0) {
                ticket = header_->shared.tickets.load_relaxed() + 1;
                header_->shared.tickets.store_relaxed(ticket);
            }
            if constexpr (kTyped) {
                const std::uint32_t capacity = to.truncate || to.capacity >= kAnyCapacity ? kAnyCapacity : static_cast<std::uint32_t>(to.capacity);
                mine.selector.store_relaxed(to.selector.type);
                mine.selector_kind.store_relaxed(capacity << kSelectorKindBits | to.selector.kind);
            }
            mine.slot.store_release(0);
            mine.word.store_release(me.word_for(ActorState::waiting));
            link_waiter(me.number(), ticket, s.first_receiver, s.last_receiver);
            header_->sent.receivers_waiting.store_release(header_->sent.receivers_waiting.load_relaxed() + 1);
            MUSTER_CRASH_POINT("queue.receive.registered");
            me.unlock_both();

            Wait wait(me, fd);
            wait.to = &to;
            switch (wait.sleep(patience.deadline_ns)) {
                case Wait::Outcome::given: {
                    if (kTyped && mine.slot.load_acquire() == 0) return kTooLongForBuffer;
                    ReceivedMessage received{};
                    if (finish_taken(me, fd, to, received)) return received;
                    if (auto good = usable(); !good) return good.fault();
                    return Fault{EFAULT, "the buffer cannot be written"};
                }
                case Wait::Outcome::retry: continue;
                case Wait::Outcome::timed_out: return Fault{ETIMEDOUT, "the queue was still empty"};
                case Wait::Outcome::interrupted: return Fault{EINTR, "a signal came"};
                case Wait::Outcome::left:
                    if (wait.result == Wait::Left::completed) return wait.received;
                    if (wait.result == Wait::Left::too_long) return kTooLongForBuffer;
                    if (wait.result == Wait::Left::faulted) return Fault{EFAULT, "the buffer cannot be written"};
                    if (wait.result == Wait::Left::interrupted) return Fault{EINTR, "a signal came"};
                    again = true;  // restart from the beginning, as the kernel does
                    break;
            }
        }
    }
}

// The message that this actor holds goes to `buffer` and its slot back; or back into the queue if it cannot.
bool Queue::finish_taken(Acting& me, int fd, const PlainBuffer& to, ReceivedMessage& received) {
    const std::uint32_t held = me.record().slot.load_acquire();
    if (held == 0 || held > slots_.count) return false;
    const std::uint32_t number = held - 1;
    Slot& message = slot(number);
    const std::uint32_t length = message.length.load_relaxed();
    received.priority = message.key.load_relaxed();
    bool good = is_length(length) && is_key(received.priority);
    if (!good) (void)damaged("a message is longer than the queue takes");
    good = good && (typed_ ? copy_message(me.thread(), number, length, static_cast<const TypedBuffer&>(to), received)
                           : copy_message(me.thread(), number, length, to, received));
    MUSTER_CRASH_POINT("queue.taken.copied");
    if (!good) {
        if (me.lock_both()) {
            return_taken(fd, me.number());
            me.unlock_both();
        }
        return false;
    }
    bool died = false;
    if (!me.lock(header_->receive_lock, died)) return true;  // the slot is lost to a damaged queue
    if (died) recover_receive();
    push_returned(number);  // COMMIT: the message is gone for good; until here our death would have put it back
    me.record().slot.store_release(0);
    MUSTER_CRASH_POINT("queue.taken.returned");
    if (!typed_) header_->receive.last_pid.store_relaxed(platform::process_id_of(me.thread()));  // else the giver did
    sync::release_word(header_->receive_lock);
    return true;
}

}  // namespace muster::objects
