// What typed queues have beside the engine that both faces share: who is asked for what, the budget of bytes, bookkeeping,
// changes and removal. See docs/protocols/queue.md, "The typed face".
#include <algorithm>
#include "objects/queue.hpp"
#include "objects/queue_acting.hpp"
#include "objects/queue_inline.hpp"
#include "objects/sysv_registry.hpp"
#include "platform/crash_point.hpp"
#include "platform/mutant.hpp"
#include "platform/fault_copy.hpp"
#include "platform/file.hpp"
#include "platform/process.hpp"

namespace muster::objects {
using platform::Fault;
using platform::Outcome;
using sync::Actor;
using sync::ActorState;
using sync::state_of;
using sync::with_state;

namespace {
constexpr std::uint32_t kWorthGivingBack = 256;  // slots; what is less goes with the last mapping

TypedState state_in(const QueueHeader& header) {
    TypedState state{};
    state.messages = header.sent.sent.load_relaxed() - header.received.freed.load_relaxed();  // relaxed: the caller has the locks, or guesses
    state.bytes = header.sent.sent_bytes.load_relaxed() - header.received.freed_bytes.load_relaxed();
    state.bytes_max = header.shared.bytes_max.load_relaxed();
    state.last_send_pid = header.send.last_pid.load_relaxed();
    state.last_receive_pid = header.receive.last_pid.load_relaxed();
    state.sent_s = header.send.sent_s.load_relaxed();
    state.received_s = header.receive.received_s.load_relaxed();
    state.changed_s = header.send.changed_s.load_relaxed();
    state.receivers_waiting = header.sent.receivers_waiting.load_relaxed();
    state.senders_waiting = header.receive.senders_waiting.load_relaxed();
    return state;
}
}  // namespace

// Whether a sleeping receiver of a typed queue asks for the message in `number`.
bool Queue::matches(const Actor& waiter, std::uint32_t number) const {
    const Selector wanted{static_cast<Selector::Kind>(waiter.selector_kind.load_relaxed() & kSelectorKindMask), waiter.selector.load_relaxed()};
    return wanted.matches(slot(number).key.load_relaxed());
}

bool Queue::is_too_long(const Actor& waiter, std::uint32_t number) const {
    const std::uint32_t capacity = waiter.selector_kind.load_relaxed() >> kSelectorKindBits;
    return capacity != kAnyCapacity && slot(number).length.load_relaxed() > capacity;
}

// The receiver of a typed queue who is given a message has received it, although it does not know yet.
void Queue::note_given(const Actor& waiter) {
    header_->receive.last_pid.store_relaxed(waiter.process_id.load_relaxed());  // relaxed, without its lock: a stamp
    header_->receive.received_s.store_relaxed(platform::realtime_s());
}

// promote_senders() for a typed queue, whose sleeping senders need not all fit: those go in for whom there is room once
// `leaving_messages` and `leaving_bytes` are gone, which is about to happen, the longest waiting first. Both locks held.
// SOURCE ss_wakeup() of the kernel: who does not fit does not keep back those behind.
void Queue::promote_typed(std::uint64_t leaving_messages, std::uint64_t leaving_bytes) {
    QueueReceive& r = header_->receive;
    QueueSend& s = header_->send;
    std::uint32_t at = r.first_sender.load_relaxed();
    for (std::uint32_t steps = 0; steps < 2 * actors_.count && at != 0 && at <= actors_.count; ++steps) {
        const std::uint32_t candidate = at - 1;
        Actor& waiter = actor(candidate);
        const std::uint32_t next = waiter.next.load_relaxed();
        std::uint32_t word = waiter.word.load_acquire();
        const ActorState was = state_of(word);
        const std::uint32_t number = ready_to_promote(candidate);
        if ((was != ActorState::asleep && was != ActorState::waiting) || number == Choice::kNone) {
            unlink_sender(candidate);
            at = next;
            continue;
        }
        const std::uint64_t messages = messages_now() - leaving_messages, length = slot(number).length.load_relaxed();
        const std::uint64_t bytes = header_->sent.sent_bytes.load_relaxed() - header_->received.freed_bytes.load_relaxed() - leaving_bytes;
        const std::uint64_t limit = header_->shared.bytes_max.load_relaxed();
        if (messages >= limit || messages >= messages_max_ || bytes > limit || length > limit - bytes) {
            at = next;
            continue;
        }
        if (!inbox_has_room() && (!drain() || !inbox_has_room())) return;
        if (!waiter.word.compare_exchange(word, with_state(word, ActorState::handover))) continue;
        MUSTER_CRASH_POINT("queue.promote_typed.begun");
        // Stopped, as in hand_over(); or it may have lost the right to send since it fell asleep, which it knows best itself.
        const bool judged = waiter.selector.load_relaxed() == header_->shared.permission_changes.load_relaxed();
        const bool woken = was != ActorState::asleep || platform::futex_wake(waiter.word.address(), 1) != 0;
        if (!judged || (!woken && platform::thread_stopped(waiter.thread_id.load_relaxed()))) {
            waiter.word.store_release(with_state(word, ActorState::retry));
            unlink_sender(candidate);
            at = next;
            continue;
        }
        MUSTER_CRASH_POINT("queue.promote_typed.woken");
        const std::uint64_t sequence = s.sequence.load_relaxed() + 1;
        s.sequence.store_relaxed(sequence);
        slot(number).sequence.store_relaxed(sequence);
        begin_filling(number, true);
        s.last_pid.store_relaxed(waiter.process_id.load_relaxed());
        s.sent_s.store_relaxed(platform::realtime_s());
        MUSTER_CRASH_POINT("queue.promote_typed.filled");
        if (s.first_receiver.load_relaxed() == 0 || !hand_over(number)) commit_to_inbox(number, false, true);
        waiter.slot.store_release(0);
        waiter.word.store_release(with_state(word, ActorState::done));
        MUSTER_CRASH_POINT("queue.promote_typed.given");
        unlink_sender(candidate);
        at = next;
    }
}

// Everybody who sleeps here is told to ask again. Both locks held, and before the change that they are to find: should we
// die in between, they find nothing changed and sleep again.
void Queue::wake_all() {
    const std::uint32_t high = header_->shared.actors_high.load_acquire();
    for (std::uint32_t number = 0; number < high && number < actors_.count; ++number) {
        Actor& waiter = actor(number);
        const std::uint32_t life = waiter.life.load_acquire();
        // The dead are left to whoever reaps them: a recovery may have left them out of the list that their links still tell of.
        if (life == 0 || (life & FUTEX_OWNER_DIED) != 0) continue;
        std::uint32_t word = waiter.word.load_acquire();
        while (state_of(word) == ActorState::asleep || state_of(word) == ActorState::waiting) {
            const bool asleep = state_of(word) == ActorState::asleep;
            if (!waiter.word.compare_exchange(word, with_state(word, ActorState::handover))) continue;
            MUSTER_CRASH_POINT("queue.wake_all.told");
            // Woken before it is let go: were we to die between the two the other way round, nobody would know of it any more.
            if (asleep) platform::futex_wake(waiter.word.address(), 1);
            MUSTER_CRASH_POINT("queue.wake_all.woken");
            waiter.word.store_release(with_state(word, ActorState::retry));
            if (waiter.kind.load_relaxed() == static_cast<std::uint32_t>(ActorKind::receiver)) unlink_receiver(number);
            else unlink_sender(number);
            break;
        }
    }
}

namespace {

// More messages than msgmnb allows, so that msg_qbytes can be raised later; addresses, not memory.
constexpr std::uint64_t kMessagesLeast = 32768;
constexpr std::uint64_t kMessagesMost = 1 << 20;
constexpr std::uint64_t kLongMessage = 64 << 10;
constexpr std::uint64_t kLongMessagesMost = 4096;

struct Making {
    SysvLimits limits;
    const SysvRegistry& registry;
    std::uint32_t mode;
    Queue* (*place)(void* context);
    void* context;
    platform::File slots;
};

Outcome<memory::ObjectHeader*> build(void* context, int fd) {
    auto& making = *static_cast<Making*>(context);
    Queue* queue = making.place(making.context);
    if (queue == nullptr) return Fault{ENOMEM};
    QueueOptions options{};
    options.face = QueueFace::types;
    options.bytes_max = making.limits.msgmnb;
    options.message_bytes_max = std::clamp<std::uint64_t>(making.limits.msgmax, 1, kTypedMessageBytesMax);
    options.messages_max = options.message_bytes_max > kLongMessage ? kLongMessagesMost : std::clamp(options.bytes_max, kMessagesLeast, kMessagesMost);
    auto slots = making.registry.create_nameless();
    if (!slots) return slots.fault();
    making.slots = std::move(*slots);
    if (const unsigned mode = SysvRegistry::companion_mode(SysvKind::msg, making.mode); mode != 0600)
        if (const int rc = platform::change_mode(making.slots.fd(), mode); rc < 0) return Fault{-rc};
    if (auto created = queue->create(fd, options, making.slots.fd()); !created) return created.fault();
    queue->publish_ready();
    return &queue->object();
}

}  // namespace

Outcome<SysvFound> get_typed(const Domain& domain, SysvRegistry& registry, std::uint32_t key, int flags, Queue* (*place)(void* context), void* context) {
    Making making{SysvLimits::of(domain), registry, static_cast<std::uint32_t>(flags) & 0777, place, context, {}};
    const SysvMaker maker{&build, nullptr, [](void* given) { return static_cast<Making*>(given)->slots.fd(); }, &making};
    return registry.get(SysvKind::msg, key, flags, making.limits.msgmni, maker);
}

Outcome<> open_typed(Queue& queue, const SysvFile& file, const SysvRegistry& registry, bool even_damaged) {
    auto slots = registry.open_companion(SysvKind::msg, sysv_index(file.id), O_RDWR);
    if (!slots) return slots.fault();
    return queue.open(file.file.fd(), even_damaged, slots->fd());
}

Outcome<> Queue::change(platform::ThreadState& thread, Change change, void* context, std::uint64_t bytes_max) {
    Acting me(*this, thread);
    if (auto begun = me.begin(-1, ActorKind::keeper); !begun) return begun;
    if (auto locked = me.lock_both(); !locked) return locked;
    if (!MUSTER_MUTANT(change_then_wake)) wake_all();
    MUSTER_CRASH_POINT("queue.change.woken");
    // Before and after: whoever looks meanwhile knows that he has to look again. A death in between is recover_send()'s.
    header_->shared.permission_changes.add_release(1);
    auto changed = change(context, header_->object);
    MUSTER_CRASH_POINT("queue.change.permitted");
    if (changed) {
        header_->shared.bytes_max.store_release(bytes_max);  // COMMIT
        MUSTER_CRASH_POINT("queue.change.stored");
        if (MUSTER_MUTANT(change_then_wake)) wake_all();
        header_->send.changed_s.store_release(platform::realtime_s());
        // SYNC queue.permission (release half). Carries: the object's owner and mode. Pairs with permission_changes().
        header_->shared.permission_changes.add_release(1);
        if ((header_->shared.flags.load_relaxed() & kQueuePolled) != 0) set_tokens(tokens_for(messages_now()));
    }
    me.unlock_both();
    return changed;
}

Outcome<> Queue::remove(platform::ThreadState& thread, Mark mark) {
    // A damaged queue must go too: nothing else happens in it any more, so that it needs no locks.
    Acting me(*this, thread);
    if (auto begun = me.begin(-1, ActorKind::keeper); !begun && begun.fault().errno_value != EBADMSG) return begun;
    if (me.begun())
        if (auto locked = me.lock_both(); !locked && locked.fault().errno_value != EBADMSG) return locked;
    if (!MUSTER_MUTANT(remove_without_waking)) wake_all();
    MUSTER_CRASH_POINT("queue.remove.woken");
    mark(header_->object);  // COMMIT
    // Who polls looks, and hears of it.
    if ((header_->shared.flags.or_release(kQueueRemoved) & kQueuePolled) != 0) set_tokens(1);
    MUSTER_CRASH_POINT("queue.remove.marked");
    // Whoever still has it mapped keeps the address space, not the memory; unless somebody is about to copy a message out.
    bool held = false;
    const std::uint32_t high = header_->shared.actors_high.load_acquire();
    for (std::uint32_t number = 0; !held && number < high && number < actors_.count; ++number) held = actor(number).slot.load_acquire() != 0;
    if (!held && header_->send.slots_reserved.load_relaxed() > kWorthGivingBack) give_back(-1, slots_offset_, mapping_.bytes() - slots_offset_);
    me.unlock_both();
    return platform::done();
}

Outcome<TypedState> Queue::typed_state(platform::ThreadState& thread) {
    Acting me(*this, thread);
    if (auto begun = me.begin(-1, ActorKind::keeper); !begun) return begun.fault();
    if (auto locked = me.lock_both(); !locked) return locked.fault();
    if (dead_actors()) reap_dead(-1);
    const TypedState state = state_in(*header_);
    me.unlock_both();
    return state;
}

TypedState Queue::peek_state(int fd) {
    alignas(8) std::byte front[sizeof(QueueHeader)];
    if (platform::read_at(fd, front, sizeof front, 0) != static_cast<long>(sizeof front)) return {};
    return state_in(*reinterpret_cast<const QueueHeader*>(front));
}

// The slots of all messages, oldest first, in memory of their own. Errors: ENOMEM; EBADMSG.
Outcome<Queue::ByAge> Queue::sorted_by_age() {
    struct Collected {
        std::uint64_t sequence;
        std::uint32_t number;
    };
    const std::uint64_t count = header_->received.indexed.load_relaxed();
    ByAge result{};
    if (count == 0) return result;
    if (count > slots_.count) return damaged("the queue's index counts more messages than it has places");
    const std::uint64_t bytes = (count * sizeof(Collected) + 4095) & ~4095ull;
    const long memory = platform::map_private_zeroes(bytes);
    if (memory < 0 && memory > -4096) return Fault{ENOMEM, "no memory to put the queue's messages in order"};
    auto* collected = reinterpret_cast<Collected*>(memory);
    std::uint64_t got = 0;
    (void)types_.for_each([&](std::uint32_t number) {
        collected[got++] = {slot(number).sequence.load_relaxed(), number};
        return got < count;
    });
    std::sort(collected, collected + got, [](const Collected& a, const Collected& b) { return a.sequence < b.sequence; });
    auto* numbers = reinterpret_cast<std::uint32_t*>(memory);
    for (std::uint64_t i = 0; i < got; ++i) {
        const std::uint32_t number = collected[i].number;  // before it is written over
        numbers[i] = number;
    }
    result.numbers = numbers;
    result.count = got;
    result.bytes = bytes;
    return result;
}

Outcome<ReceivedMessage> Queue::copy_typed(platform::ThreadState& thread, const TypedBuffer& to, std::uint64_t index) {
    Acting me(*this, thread);
    if (auto begun = me.begin(-1, ActorKind::keeper); !begun) return begun.fault();
    if (auto locked = me.lock_both(); !locked) return locked.fault();
    if (dead_actors()) reap_dead(-1);
    Outcome<> drained = drain();
    Outcome<ByAge> sorted = drained ? sorted_by_age() : Outcome<ByAge>(drained.fault());
    const ByAge all = sorted ? *sorted : ByAge{};
    Outcome<ReceivedMessage> result = Fault{EAGAIN, nullptr};
    if (!sorted) {
        result = sorted.fault();
    } else if (index < all.count) {
        const std::uint32_t number = all.numbers[index], length = slot(number).length.load_relaxed();
        ReceivedMessage received{};
        received.priority = slot(number).key.load_relaxed();
        received.length = length < to.capacity ? length : to.capacity;
        const auto type = static_cast<std::int64_t>(received.priority);
        if (!is_length(length)) result = damaged("a message in the queue's index is damaged");
        else if (length > to.capacity) result = to.truncate ? Fault{EINVAL, "a copy is not cut short"} : Fault{E2BIG, "the message is longer than the buffer"};
        else if ((to.type != nullptr && !platform::fault_store(thread, to.type, type)) || !platform::fault_copy(thread, to.buffer, payload(number, length), received.length))
            result = Fault{EFAULT, "the buffer cannot be written"};
        else result = received;
    }
    if (all.numbers != nullptr) platform::unmap(all.numbers, all.bytes);
    me.unlock_both();
    return result;
}

}  // namespace muster::objects
