// The send side: claim a slot, fill it, publish it. See docs/protocols/queue.md, "Sending".
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

namespace {
// Beyond this much memory a queue that is empty gives back what it took.
constexpr std::uint64_t kTrimPages = 1024;
constexpr std::uint64_t kRightsLost = ~0ull;
}  // namespace

// Takes a free slot under an intent; its state is filling(0) afterwards.
__attribute__((always_inline)) inline Queue::Quick Queue::pop_free(int fd, std::uint32_t& number, Fault& fault, bool typed) {
    QueueSend& s = header_->send;
    const auto claim = [&](std::uint32_t candidate) {
        number = candidate;
        begin_filling(candidate, typed);
        MUSTER_CRASH_POINT("queue.send.intent");
        slot(candidate).state.store_release(slot_word(MUSTER_MUTANT(commit_before_copy) ? SlotState::inbox : SlotState::filling));
        MUSTER_CRASH_POINT("queue.send.filling");
    };
    const std::uint32_t head = header_->sent.returned_head.load_relaxed();
    // SYNC queue.returned (acquire half). Carries: the slot's free state.
    if (head != header_->received.returned_tail.load_acquire()) {
        const std::uint32_t candidate = returned_[head & ring_mask_].load_relaxed();
        if (candidate >= slots_.count || slot_state(slot(candidate).state.load_relaxed()) != SlotState::free) {
            fault = damaged("the queue's ring of free slots is damaged");
            return Quick::failed;
        }
        claim(candidate);
        header_->sent.returned_head.store_release(head + 1);
        return Quick::done;
    }
    // After the ring: a slot given back for want of memory for its region must not be in the way of those that have it.
    if (const std::uint32_t spare = s.spare.load_relaxed(); spare != 0) {
        if (spare > slots_.count || slot_state(slot(spare - 1).state.load_relaxed()) != SlotState::free) {
            fault = damaged("the queue's list of spare slots is damaged");
            return Quick::failed;
        }
        claim(spare - 1);
        s.spare.store_release(slot(spare - 1).next.load_relaxed());
        return Quick::done;
    }
    const std::uint32_t fresh = s.fresh.load_relaxed();
    if (fresh >= slots_.count) return Quick::refill;
    if (fresh >= s.slots_reserved.load_relaxed()) {
        // Ever larger pieces: few calls for deep queues, little memory for shallow ones.
        std::uint64_t begin = (slots_offset_ + std::uint64_t{fresh} * slots_.stride_bytes) & ~4095ull;
        std::uint64_t bytes = std::uint64_t{fresh} * slots_.stride_bytes;
        bytes = bytes < 8192 ? 8192 : bytes > (1 << 20) ? (1 << 20) : bytes;
        std::uint64_t end = begin + ((bytes + slots_.stride_bytes + 4095) & ~4095ull);
        if (end > regions_offset_) end = regions_offset_;
        int rc = reserve(fd, begin, end - begin);
        if (rc == -ENOSPC) {  // not so much, then: just the one slot
            end = (slots_offset_ + (std::uint64_t{fresh} + 1) * slots_.stride_bytes + 4095) & ~4095ull;
            rc = reserve(fd, begin, end - begin);
        }
        if (rc < 0) {
            fault = Fault{-rc, "the file system of the domain is full"};
            return Quick::failed;
        }
        const std::uint64_t with_memory = (end - slots_offset_) / slots_.stride_bytes;  // the last page may have room for more than there are
        s.slots_reserved.store_release(with_memory < slots_.count ? static_cast<std::uint32_t>(with_memory) : slots_.count);
        if (end - slots_offset_ > kTrimPages * 4096) header_->shared.excess.store_release(1);
    }
    if (slot_state(slot(fresh).state.load_relaxed()) != SlotState::free) {
        fault = damaged("a slot that was never used is in use");
        return Quick::failed;
    }
    claim(fresh);
    s.fresh.store_release(fresh + 1);
    return Quick::done;
}

__attribute__((always_inline)) inline Outcome<> Queue::prepare_region(int fd, std::uint32_t number, std::size_t length) {
    if (length <= inline_bytes_) return platform::done();
    Slot& mine = slot(number);
    const auto pages = static_cast<std::uint32_t>((length + 4095) >> 12);
    if (mine.region_pages.load_relaxed() >= pages) return platform::done();
    if (const int rc = reserve(fd, regions_offset_ + std::uint64_t{number} * region_stride_, std::uint64_t{pages} << 12); rc < 0)
        return Fault{-rc, "the file system of the domain is full"};
    header_->shared.region_pages.add_release(pages - mine.region_pages.load_relaxed());
    mine.region_pages.store_release(pages);
    if (header_->shared.region_pages.load_relaxed() > kTrimPages) header_->shared.excess.store_release(1);
    return platform::done();
}

__attribute__((always_inline)) inline Outcome<> Queue::fill(platform::ThreadState& thread, int fd, std::uint32_t number, const void* message, std::size_t length, std::uint64_t priority) {
    if (auto memory = prepare_region(fd, number, length); !memory) return memory;
    if (!platform::fault_copy(thread, payload(number, length), message, length)) return Fault{EFAULT, "the message cannot be read"};
    Slot& mine = slot(number);
    mine.key.store_relaxed(priority);
    mine.length.store_relaxed(static_cast<std::uint32_t>(length));
    return platform::done();
}

// Gives a slot that holds no message back to the send side; ends the intent.
void Queue::push_spare(std::uint32_t number) {
    QueueSend& s = header_->send;
    slot(number).next.store_release(s.spare.load_relaxed());
    s.spare.store_release(number + 1);
    MUSTER_CRASH_POINT("queue.spare.listed");
    slot(number).state.store_release(slot_word(SlotState::free));
    s.filling.store_release(0);
}

void Queue::unlink_receiver(std::uint32_t number) {
    unlink_waiter(number, header_->send.first_receiver, header_->send.last_receiver, header_->sent.receivers_waiting);
}

// Gives the message in `number`, which an intent names, to the longest-waiting receiver that asks for it. False if none
// can take it. SOURCE msgrcv(2): a receiver of a typed queue whose buffer is too short is told so, and the next one asked.
bool Queue::hand_over(std::uint32_t number) {
    QueueSend& s = header_->send;
    std::uint32_t at = s.first_receiver.load_relaxed();
    for (std::uint32_t steps = 0; steps < 2 * actors_.count; ++steps) {
        if (at == 0 || at > actors_.count) return false;
        const std::uint32_t candidate = at - 1;
        Actor& waiter = actor(candidate);
        if (typed_ && !matches(waiter, number)) {
            at = waiter.next.load_relaxed();
            continue;
        }
        const std::uint32_t next = waiter.next.load_relaxed();
        const std::uint32_t same = at;
        at = next;
        if (waiter.life.load_acquire() & FUTEX_OWNER_DIED) {
            unlink_receiver(candidate);
            continue;
        }
        std::uint32_t word = waiter.word.load_acquire();
        const ActorState was = state_of(word);
        if (was != ActorState::asleep && was != ActorState::waiting) {
            unlink_receiver(candidate);
            continue;
        }
        if (!waiter.word.compare_exchange(word, with_state(word, ActorState::handover))) {
            at = same;
            continue;
        }
        MUSTER_CRASH_POINT("queue.handover.begun");
        // Woken before the commit: were we to die between the two the other way round, it would sleep on with its message.
        const bool asleep = was == ActorState::asleep && !MUSTER_MUTANT(hand_over_then_wake);
        if (asleep && platform::futex_wake(waiter.word.address(), 1) == 0 && platform::thread_stopped(waiter.thread_id.load_relaxed())) {
            // Stopped: it keeps its ticket and asks again itself; the message goes to the next one, or into the
            // queue. (Who is awake and about to sleep sees its word before it does.)
            waiter.word.store_release(with_state(word, ActorState::retry));
            unlink_receiver(candidate);
            continue;
        }
        MUSTER_CRASH_POINT("queue.handover.woken");
        if (typed_ && is_too_long(waiter, number)) {
            waiter.slot.store_release(0);
            waiter.word.store_release(with_state(word, ActorState::done));  // done with nothing: E2BIG
            unlink_receiver(candidate);
            continue;
        }
        if (typed_) note_given(waiter);
        // COMMIT: the message is the waiter's from this store on; it comes back should the waiter die.
        slot(number).state.store_release(slot_word(SlotState::taken, candidate + 1));
        MUSTER_CRASH_POINT("queue.handover.committed");
        waiter.slot.store_release(number + 1);
        waiter.word.store_release(with_state(word, ActorState::done));
        MUSTER_CRASH_POINT("queue.handover.given");
        if (MUSTER_MUTANT(hand_over_then_wake)) platform::futex_wake(waiter.word.address(), 1);
        unlink_receiver(candidate);
        s.filling.store_release(0);
        return true;
    }
    return false;
}

// The same by a thread that holds send.lock by its id: committed first and woken after the lock is let go, so that the
// woken thread, which may run at once on this very CPU, finds everything done. Meanwhile the giver's death notice names
// the sleeper's word. kNoActor if there is nobody to give it to.
std::uint32_t Queue::give(platform::ThreadState& thread, std::uint32_t number, bool& asleep) {
    QueueSend& s = header_->send;
    std::uint32_t at = s.first_receiver.load_relaxed();
    for (std::uint32_t steps = 0; steps < actors_.count; ++steps) {
        if (at == 0 || at > actors_.count) return kNoActor;
        const std::uint32_t candidate = at - 1;
        Actor& waiter = actor(candidate);
        at = waiter.next.load_relaxed();
        if (typed_) {
            if (!matches(waiter, number)) continue;
            if (is_too_long(waiter, number)) return kTooLong;
        }
        std::uint32_t word = waiter.word.load_acquire();
        unlink_receiver(candidate);  // a death from here to the commit puts it back: its word still says that it waits
        if (waiter.life.load_acquire() & FUTEX_OWNER_DIED) continue;
        MUSTER_CRASH_POINT("queue.give.unlinked");
        while (state_of(word) == ActorState::asleep || state_of(word) == ActorState::waiting) {
            asleep = state_of(word) == ActorState::asleep;
            if (!waiter.word.compare_exchange(word, sync::kGivenBit | thread.thread_id)) continue;
            MUSTER_CRASH_POINT("queue.give.begun");
            // Until here a death is the lock's, and recovery tells the sleeper to ask again; from here on it is the sleeper's.
            if (!MUSTER_MUTANT(give_without_notice)) platform::set_death_notice(thread, waiter.word.address());
            MUSTER_CRASH_POINT("queue.give.noticed");
            if (typed_) note_given(waiter);
            // COMMIT: the message is the waiter's from this store on; it comes back should the waiter die.
            slot(number).state.store_release(slot_word(SlotState::taken, candidate + 1));
            MUSTER_CRASH_POINT("queue.give.committed");
            waiter.slot.store_release(number + 1);
            s.filling.store_release(0);
            MUSTER_CRASH_POINT("queue.give.given");
            return candidate;
        }
    }
    return kNoActor;
}

// After give() and without the lock. Nobody there to wake: it is awake and will see its word, or it is stopped: then the
// message goes to the next one, or into the queue, and it will ask again itself.
void Queue::wake_given(platform::ThreadState& thread, int fd, std::uint32_t candidate, std::uint32_t number) {
    Actor& waiter = actor(candidate);
    MUSTER_CRASH_POINT("queue.give.unlocked");
    if (MUSTER_MUTANT(give_without_wake)) return;
    if (platform::futex_wake(waiter.word.address(), 1) != 0) return;
    std::uint32_t word = sync::kGivenBit | thread.thread_id;
    if (waiter.word.load_acquire() != word || !platform::thread_stopped(waiter.thread_id.load_relaxed())) return;
    Acting me(*this, thread);
    if (!me.begin(fd, ActorKind::keeper) || !me.lock_both()) return;  // it keeps its message
    QueueSend& s = header_->send;
    if (waiter.word.load_acquire() != word || slot(number).state.load_acquire() != slot_word(SlotState::taken, candidate + 1)) {
        me.unlock_both();  // accepted meanwhile: the slot may be somebody else's message by now, and no intent may name it
        return;
    }
    begin_filling(number, typed_);
    MUSTER_CRASH_POINT("queue.give.taking_back");
    // The use of its record is not known here; its own thread knows.
    if (waiter.word.compare_exchange(word, sync::kActorWord | static_cast<std::uint32_t>(ActorState::retry))) {
        waiter.slot.store_release(0);
        MUSTER_CRASH_POINT("queue.give.taken_back");
        put_back(fd, number);
    } else {
        s.filling.store_release(0);
    }
    me.unlock_both();
}

// The message in `number` arrives: at a sleeping receiver, or in the inbox; then who registered is told, if the queue
// was empty. While somebody is registered both locks are held here.
__attribute__((always_inline)) inline void Queue::deliver(int fd, std::uint32_t number) {
    if (header_->send.first_receiver.load_relaxed() != 0 && hand_over(number)) return;
    // Pollers are told before the commit and cannot look before we let go of the locks.
    if ((header_->shared.flags.load_relaxed() & kQueuePolled) != 0 && messages_now() == 0) set_tokens(1);
    if (__builtin_expect(header_->send.notify_kind.load_relaxed() != 0, 0) && messages_now() == 0) fire_notify(fd);
    commit_to_inbox(number, false, typed_);
}

template <bool kTyped>
__attribute__((always_inline)) inline Queue::Quick Queue::send_quick(platform::ThreadState& thread, int fd, const void* message, std::size_t length, std::uint64_t priority, Fault& fault) {
    auto lock = sync::ThreadLock::acquire(thread, header_->send_lock, actors_);
    if (__builtin_expect(!lock, 0)) {
        fault = lock.fault();
        return Quick::failed;
    }
    if (__builtin_expect(lock->owner_died(), 0)) recover_send();
    if (__builtin_expect(header_->shared.flags.load_relaxed() != 0, 0)) return Quick::none;
    if (__builtin_expect(!has_room_as<kTyped>(length), 0)) {
        if (!receivers_have_settled()) return Quick::none;
        if (!has_room_as<kTyped>(length)) return Quick::slow;
    }
    if (__builtin_expect(!inbox_has_room(), 0)) return Quick::drain;
    const auto fail = [&](Fault why) {
        fault = why;
        return Quick::failed;
    };
    if constexpr (!kTyped)
        if (auto lane = prepare_lane(fd, priority); !lane) return fail(lane.fault());
    std::uint32_t number;
    if (const Quick popped = pop_free(fd, number, fault, kTyped); popped != Quick::done) return popped;
    if (auto filled = fill(thread, fd, number, message, length, priority); !filled) {
        push_spare(number);
        return fail(filled.fault());
    }
    QueueSend& s = header_->send;
    const std::uint64_t sequence = s.sequence.load_relaxed() + 1;
    s.sequence.store_relaxed(sequence);
    slot(number).sequence.store_relaxed(sequence);
    s.last_pid.store_relaxed(platform::process_id_of(thread));
    if constexpr (kTyped) s.sent_s.store_relaxed(platform::realtime_s());
    const std::uint32_t cpu = platform::current_cpu();
    if (header_->sent.cpu.load_relaxed() != cpu) header_->sent.cpu.store_relaxed(cpu);
    MUSTER_CRASH_POINT("queue.send.filled");
    if (__builtin_expect(s.first_receiver.load_relaxed() != 0, 0)) {
        bool asleep = false;
        const std::uint32_t receiver = give(thread, number, asleep);
        if (kTyped && receiver == kTooLong) {
            push_spare(number);
            return Quick::none;
        }
        if (receiver != kNoActor) {
            lock->release_early();
            if (asleep) wake_given(thread, fd, receiver, number);
            return Quick::done;
        }
    }
    commit_to_inbox(number, false, kTyped);
    return Quick::done;
}

Outcome<> Queue::help_drain(platform::ThreadState& thread) {
    auto lock = sync::ThreadLock::acquire(thread, header_->receive_lock, actors_);
    if (!lock) return lock.fault();
    if (lock->owner_died()) recover_receive();
    return drain();
}

Outcome<> Queue::help_refill(platform::ThreadState& thread) {
    auto lock = sync::ThreadLock::acquire(thread, header_->receive_lock, actors_);
    if (!lock) return lock.fault();
    if (lock->owner_died()) recover_receive();
    if (header_->receive.stack.load_relaxed() == 0 && header_->received.returned_tail.load_relaxed() == header_->sent.returned_head.load_acquire())
        return Fault{typed_ ? ENOMEM : EAGAIN, "every slot of the queue is in somebody's hands"};
    refill_returned();
    return platform::done();
}

Outcome<> Queue::send(platform::ThreadState& thread, int fd, const void* message, std::size_t length, std::uint64_t priority,
                      const Patience& patience) {
    if (priority >= kPriorities) return Fault{EINVAL, "a priority is 0 to 32767"};
    if (length > message_bytes_max_) return Fault{EMSGSIZE, "the message is longer than the queue takes"};
    return send_as<false>(thread, fd, message, length, priority, patience);
}

Outcome<> Queue::send_typed(platform::ThreadState& thread, const void* text, std::size_t length, std::uint64_t type, const Patience& patience) {
    if (!is_key(type)) return Fault{EINVAL, "a type is 1 or more"};
    if (length > message_bytes_max_) return Fault{EINVAL, "the message is longer than the queue takes"};
    return send_as<true>(thread, -1, text, length, type, patience);
}

template <bool kTyped>
Outcome<> Queue::send_as(platform::ThreadState& thread, int fd, const void* message, std::size_t length, std::uint64_t priority,
                         const Patience& patience) {
    const std::uint32_t interruptions = thread.interruptions;
    bool spun = false;
    while (length <= kCopyUnderLockMax) {
        Fault fault{0};
        switch (send_quick<kTyped>(thread, fd, message, length, priority, fault)) {
            case Quick::done:
                if (__builtin_expect(mapping_damaged_.load(std::memory_order_relaxed) != 0, 0)) return usable();
                return platform::done();
            case Quick::failed: return fault;
            case Quick::drain:
                if (auto helped = help_drain(thread); !helped) return helped;
                continue;
            case Quick::refill:
                if (auto helped = help_refill(thread); !helped) return helped;
                continue;
            case Quick::none:  // somebody polls, is registered, is to be told E2BIG, or is at work: with both locks
                return send_slow(thread, fd, message, length, priority, patience, interruptions);
            case Quick::slow: break;
        }
        if (auto good = usable(); !good) return good;
        if (header_->shared.flags.load_relaxed() != 0 || spun || dead_holder(header_->receive_lock)) break;
        // A bad pointer is EFAULT also when the queue is full, as the kernel copies first.
        if (auto allowed = may_wait(patience); !allowed)
            return platform::fault_readable(thread, message, length) ? allowed.fault() : Fault{EFAULT, "the message cannot be read"};
        spun = true;
        if (header_->receive.senders_waiting.load_relaxed() != 0) break;  // behind them, in order
        const std::uint64_t freed = header_->received.freed.load_acquire();
        if (!look_for_peer(header_->received.cpu.load_relaxed(), [&] {
                return kTyped ? header_->received.freed.load_acquire() != freed : header_->sent.sent.load_relaxed() - header_->received.freed.load_acquire() < messages_max_;
            }))
            break;
        spun = kTyped;  // there may be room for ever for others' messages: one look, then into the list
    }
    return send_slow(thread, fd, message, length, priority, patience, interruptions);
}

// With both locks, as an actor: when somebody polls, when the message is long, or to wait.
Outcome<> Queue::send_slow(platform::ThreadState& thread, int fd, const void* message, std::size_t length, std::uint64_t priority,
                           const Patience& patience, std::uint32_t interruptions) {
    QueueSend& s = header_->send;
    QueueReceive& r = header_->receive;
    bool asked = false;
    for (;;) {  // once, and again after a handler with SA_RESTART
        Acting me(*this, thread);
        if (auto begun = me.begin(fd, ActorKind::sender); !begun) return begun;
        std::uint64_t ticket = 0;
        bool filled = false;
        std::uint32_t number = 0;
        for (bool again = false; !again;) {
            if (auto locked = me.lock_both(); !locked) return locked;
            if (!filled) {
                // Do not copy what cannot be sent.
                if (!has_room(length) && patience.deadline_ns == platform::kNoWait && platform::fault_readable(thread, message, length)) {
                    if ((header_->shared.flags.load_relaxed() & kQueuePolled) != 0) set_tokens(tokens_for(messages_now()));
                    me.unlock_both();
                    return Fault{EAGAIN, nullptr};
                }
                Fault fault{0};
                auto lane = typed_ ? platform::done() : prepare_lane(fd, priority);
                Quick popped = lane ? pop_free(fd, number, fault, typed_) : Quick::failed;
                if (!lane) fault = lane.fault();
                if (popped == Quick::refill) {
                    refill_returned();
                    popped = pop_free(fd, number, fault, typed_);
                    if (popped == Quick::refill) fault = Fault{typed_ ? ENOMEM : EAGAIN, "every slot of the queue is in somebody's hands"};
                }
                if (popped != Quick::done) {
                    me.unlock_both();
                    return fault;
                }
                me.record().slot.store_release(number + 1);
                slot(number).state.store_release(slot_word(SlotState::filling, me.number() + 1));
                s.filling.store_release(0);
                MUSTER_CRASH_POINT("queue.send.staged");
                const bool outside = length > kCopyUnderLockMax;
                if (outside) me.unlock_both();
                auto copied = fill(thread, fd, number, message, length, priority);
                MUSTER_CRASH_POINT("queue.send.staged_filled");
                if (!copied) {
                    if (!outside) me.unlock_both();
                    drop_filling(me);
                    return copied;
                }
                filled = true;
                if (outside) continue;  // look again: much may have happened
            }
            // SOURCE msgsnd(2): asked again whenever there is room, not before.
            if (typed_ && ticket != 0 && has_room(length) && !permission().allows(kMayWrite)) {
                me.unlock_both();
                drop_filling(me);
                return Fault{EACCES, "the right to send was taken away meanwhile"};
            }
            if (has_room(length)) {
                if (!inbox_has_room())
                    if (auto drained = drain(); !drained) {
                        me.unlock_both();
                        return drained;
                    }
                inbox_has_room();  // notes what drain() did
                const bool tell_pollers = (header_->shared.flags.load_relaxed() & kQueuePolled) != 0;
                const std::uint64_t before = messages_now();
                const std::uint64_t sequence = s.sequence.load_relaxed() + 1;
                s.sequence.store_relaxed(sequence);
                slot(number).sequence.store_relaxed(sequence);
                begin_filling(number, typed_);
                if (typed_) s.sent_s.store_relaxed(platform::realtime_s());
                s.last_pid.store_relaxed(platform::process_id_of(thread));
                MUSTER_CRASH_POINT("queue.send.slow_filled");
                deliver(fd, number);
                me.record().slot.store_release(0);
                if (tell_pollers) {
                    set_tokens(tokens_for(messages_now()));
                    if (messages_now() > before && before != 0) make_edge();
                }
                me.unlock_both();
                return platform::done();
            }
            if (!asked) {
                if (auto allowed = may_wait(patience); !allowed) {
                    if ((header_->shared.flags.load_relaxed() & kQueuePolled) != 0) set_tokens(tokens_for(messages_now()));
                    me.unlock_both();
                    drop_filling(me);
                    return allowed;
                }
                asked = true;
            }
            // A handler ran since the call began: as if it had come while asleep.
            if (thread.interruptions != interruptions) {
                me.unlock_both();
                drop_filling(me);
                return Fault{EINTR, "a signal came"};
            }
            // Full: into the list, the message ready in its slot for a receiver to put it in.
            Actor& mine = me.record();
            const bool ticket_is_old = ticket != 0;
            if (ticket == 0) {
                ticket = header_->shared.tickets.load_relaxed() + 1;
                header_->shared.tickets.store_relaxed(ticket);
            }
            // For promote_typed(): in which state of the rights this sender was found to have its own.
            mine.selector.store_relaxed(typed_ && ticket_is_old && !permission().allows(kMayWrite) ? kRightsLost : header_->shared.permission_changes.load_relaxed());
            mine.word.store_release(me.word_for(ActorState::waiting));
            link_waiter(me.number(), ticket, r.first_sender, r.last_sender);
            r.senders_waiting.store_release(r.senders_waiting.load_relaxed() + 1);
            MUSTER_CRASH_POINT("queue.send.registered");
            me.unlock_both();

            Wait wait(me, fd);
            switch (wait.sleep(patience.deadline_ns)) {
                case Wait::Outcome::given: mine.slot.store_release(0); return platform::done();
                case Wait::Outcome::retry: continue;
                case Wait::Outcome::timed_out: drop_filling(me); return Fault{ETIMEDOUT, "the queue was still full"};
                case Wait::Outcome::interrupted: drop_filling(me); return Fault{EINTR, "a signal came"};
                case Wait::Outcome::left:
                    if (wait.result == Wait::Left::completed) return platform::done();
                    if (wait.result == Wait::Left::interrupted) return Fault{EINTR, "a signal came"};
                    again = true;  // restart from the beginning, as the kernel does
                    break;
            }
        }
    }
}

void Queue::drop_filling(Acting& me) {
    const std::uint32_t held = me.begun() ? me.record().slot.load_relaxed() : 0;
    if (held == 0 || held > slots_.count) return;
    if (!me.lock_both()) return;  // damaged: its slot is no loss
    if (slot(held - 1).state.load_relaxed() == slot_word(SlotState::filling, me.number() + 1)) push_returned(held - 1);
    me.record().slot.store_release(0);
    me.unlock_both();
}

}  // namespace muster::objects
