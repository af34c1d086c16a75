#include "objects/queue_acting.hpp"
#include "platform/cancel.hpp"
#include "platform/crash_point.hpp"
#include "platform/file.hpp"
#include "platform/process.hpp"

namespace muster::objects {
using platform::Fault;
using sync::Actor;
using sync::ActorState;
using sync::state_of;
using sync::with_state;

namespace {
std::uint32_t use_of(std::uint32_t word) { return (word & sync::kGivenBit) != 0 ? 0 : (word & ~sync::kActorWord) >> sync::kActorStateBits; }
}  // namespace

platform::Outcome<> Acting::begin(int fd, ActorKind kind) {
    QueueShared& shared = queue_.header_->shared;
    for (std::uint32_t number = 0; number < queue_.actors_.count; ++number) {
        if (number >= shared.actors_reserved.load_acquire()) {
            const std::uint64_t offset = queue_.actors_offset_ + number * sizeof(Actor);
            const std::uint32_t more = 4096 / sizeof(Actor);  // the table is page-aligned
            if (const int rc = queue_.reserve(fd, offset, 4096); rc < 0) return Fault{-rc, "the file system of the domain is full"};
            shared.actors_reserved.store_release(number + more);  // twice by two threads: the same value
        }
        Actor& record = queue_.actor(number);
        std::uint32_t life = record.life.load_acquire();
        if (life != 0) {
            saw_dead_ = saw_dead_ || (life & FUTEX_OWNER_DIED) != 0;
            continue;
        }
        // Reapers must look as far as this record before it can be taken.
        for (std::uint32_t high = shared.actors_high.load_acquire(); high <= number;)
            if (shared.actors_high.compare_exchange(high, number + 1)) break;
        before_ = platform::set_death_notice(thread_, record.life.address());
        if (!record.life.compare_exchange(life, thread_.thread_id | FUTEX_WAITERS)) {
            platform::restore_death_notice(thread_, before_);
            continue;
        }
        number_ = number;
        record.thread_id.store_relaxed(thread_.thread_id);  // relaxed: read by those who see us hold a lock, or by tools
        record.process_id.store_relaxed(platform::process_id_of(thread_));
        use_ = (use_of(record.word.load_relaxed()) + 1) % sync::kActorUses;
        record.word.store_release(word_for(ActorState::idle));
        record.kind.store_release(static_cast<std::uint32_t>(kind));
        MUSTER_CRASH_POINT("queue.actor.begun");
        if (saw_dead_) {
            saw_dead_ = false;
            if (auto locked = lock_both(); !locked) {
                end();
                return locked;
            }
            queue_.reap_dead(fd);
            unlock_both();
        }
        return platform::done();
    }
    return Fault{queue_.typed_ ? ENOMEM : EAGAIN, "more threads wait at this queue than it has room to remember"};
}

void Acting::end() {
    if (!begun()) return;
    Actor& mine = record();
    mine.slot.store_release(0);
    mine.kind.store_release(0);
    mine.word.store_release(word_for(ActorState::idle));
    MUSTER_CRASH_POINT("queue.actor.ending");
    mine.life.store_release(0);
    platform::restore_death_notice(thread_, before_);
    number_ = kNone;
}

platform::Outcome<> Acting::lock(memory::ShmU32& word, bool& owner_died) {
    auto acquired = sync::acquire_word(word, sync::kHeldByActor | number_, thread_.thread_id, queue_.actors_);
    if (!acquired) return acquired.fault();
    owner_died = *acquired == sync::Acquired::owner_died;
    return platform::done();
}

platform::Outcome<> Acting::lock_both() {
    bool died = false;
    if (auto got = lock(queue_.header_->send_lock, died); !got) return got;
    if (died) queue_.recover_send();
    MUSTER_CRASH_POINT("queue.actor.send_locked");
    if (auto got = lock(queue_.header_->receive_lock, died); !got) {
        sync::release_word(queue_.header_->send_lock);
        return got;
    }
    locked_ = true;
    if (died) queue_.recover_receive();
    MUSTER_CRASH_POINT("queue.actor.both_locked");
    if (auto usable = queue_.usable(); !usable) {
        unlock_both();
        return usable;
    }
    // Somebody dead left them uncounted, and whoever falls asleep now would leave pollers to sleep, too.
    QueueShared& shared = queue_.header_->shared;
    if (__builtin_expect((shared.flags.load_relaxed() & kQueuePolled) != 0, 0) && shared.tokens.load_relaxed() == ~0u)
        queue_.set_tokens(queue_.tokens_for(queue_.messages_now()));
    return platform::done();
}

void Acting::unlock_both() {
    if (!locked_) return;
    locked_ = false;
    sync::release_word(queue_.header_->receive_lock);
    MUSTER_CRASH_POINT("queue.actor.receive_unlocked");
    sync::release_word(queue_.header_->send_lock);
}

namespace {
constexpr std::int64_t kRecheckNs = 400'000'000;   // several sleepers: who inherits from whom is looked at anew this often
constexpr std::int64_t kNoWaitvRecheckNs = 50'000'000;  // kernels before 5.16: deaths are found by looking
}  // namespace

Wait::Outcome Wait::sleep(platform::DeadlineNs deadline_ns) {
    Actor& mine = me.record();
    Queue& queue = me.queue();
    const bool receiver = mine.kind.load_relaxed() == static_cast<std::uint32_t>(ActorKind::receiver);
    static std::atomic<bool> waitv_missing{false};
    for (int yields = 0, spins = 0;;) {
        std::uint32_t word = mine.word.load_acquire();
        if (__builtin_expect(queue.marked_damaged(), 0)) return Outcome::retry;  // asked again, it says so
        switch (state_of(word)) {
            case ActorState::done: return Outcome::given;
            case ActorState::given:
                // The slot comes, or goes, right behind the word.
                if ((mine.slot.load_acquire() == 0) == receiver) {
                    if (spins++ < 100) platform::pause_cpu();
                    else if (leave(true)) return Outcome::given;  // waits for the giver's lock; or the giver died before its commit
                    else return Outcome::retry;
                    continue;
                }
                if (mine.word.compare_exchange(word, me.word_for(ActorState::done))) return Outcome::given;
                continue;
            case ActorState::retry: return Outcome::retry;
            case ActorState::handover:
                // The giver woke us before it committed, so that its death in between strands nobody. It needs
                // some nanoseconds more; should it be dead, the lock tells.
                if (yields++ < 2) platform::system_call(SYS_sched_yield);
                else {
                    auto locked = me.lock_both();
                    if (!locked) return leave(true) ? Outcome::given : Outcome::retry;
                    // With both locks ours nobody is giving, and a dead giver's traces are gone: the word is damaged.
                    const bool forged = state_of(mine.word.load_acquire()) == ActorState::handover;
                    if (forged) start_over();
                    me.unlock_both();
                    if (forged) return Outcome::retry;
                }
                continue;
            case ActorState::waiting:
                if (!mine.word.compare_exchange(word, with_state(word, ActorState::asleep))) continue;
                break;
            case ActorState::asleep: break;
            default: {  // nobody tells a sleeper that: the word is damaged. As if we had just come
                auto locked = me.lock_both();
                if (locked) start_over();
                me.unlock_both();
                return Outcome::retry;
            }
        }
        word = with_state(word, ActorState::asleep);

        // First our own word, then the lives of those whose death would leave a message to us.
        platform::WaitEntry entries[platform::kWaitEntriesMax];
        entries[0] = {word, reinterpret_cast<std::uint64_t>(mine.word.address()), platform::kFutex32, 0};
        unsigned count = 1;
        bool dead = false;
        if (receiver) {
            const std::uint32_t high = queue.header_->shared.actors_high.load_acquire();
            for (std::uint32_t other = 0; other < high && other < queue.actors_.count; ++other) {
                if (other == me.number()) continue;
                Actor& neighbour = queue.actor(other);
                const std::uint32_t life = neighbour.life.load_acquire();
                if (life == 0) continue;
                if (life & FUTEX_OWNER_DIED) dead = true;
                if (count == platform::kWaitEntriesMax) continue;  // the look every kRecheckNs is for those
                if (neighbour.kind.load_acquire() != static_cast<std::uint32_t>(ActorKind::receiver)) continue;
                entries[count++] = {life, reinterpret_cast<std::uint64_t>(neighbour.life.address()), platform::kFutex32, 0};
            }
        }
        if (dead) {
            if (auto locked = me.lock_both(); !locked) return Outcome::retry;  // damaged or removed: asked again, it says which
            queue.reap_dead(fd);
            // Repairs may have brought back what we wait for: look again ourselves.
            const ActorState now = state_of(mine.word.load_acquire());
            const bool ask = now == ActorState::waiting || now == ActorState::asleep;
            if (ask) deregister();
            me.unlock_both();
            if (ask) return Outcome::retry;
            continue;
        }
        platform::DeadlineNs until = deadline_ns;
        if (count > 1) {
            const bool missing = waitv_missing.load(std::memory_order_relaxed);
            const std::int64_t soon = platform::realtime_ns() + (missing ? kNoWaitvRecheckNs : kRecheckNs);
            if (until == platform::kForever || soon < until) until = soon;
            if (missing) count = 1;
        }

        MUSTER_CRASH_POINT("queue.wait.before_sleep");
        me.thread().sleeping = this;
        platform::leave_section(me.thread());
        const long rc = platform::wait_cancellable(entries, count, until, {&Wait::cancelled, this});
        platform::enter_section(me.thread());
        me.thread().sleeping = nullptr;
        if (left) return Outcome::left;
        MUSTER_CRASH_POINT("queue.wait.awake");

        if (rc == -ENOSYS || (rc == -EPERM && count > 1)) waitv_missing.store(true, std::memory_order_relaxed);
        if (state_of(mine.word.load_acquire()) != ActorState::asleep) continue;
        if (rc == -ETIMEDOUT && until == deadline_ns) return leave(true) ? Outcome::given : Outcome::timed_out;
        if (rc == -EINTR) return leave(true) ? Outcome::given : Outcome::interrupted;
    }
}

void Wait::deregister() {
    Actor& mine = me.record();
    if (mine.kind.load_relaxed() == static_cast<std::uint32_t>(ActorKind::receiver)) me.queue().unlink_receiver(me.number());
    else me.queue().unlink_sender(me.number());
    mine.word.store_release(me.word_for(ActorState::idle));
}

// After damage: whether it is in the list is not known.
void Wait::start_over() {
    Queue& queue = me.queue();
    const bool receiver = me.record().kind.load_relaxed() == static_cast<std::uint32_t>(ActorKind::receiver);
    if (queue.is_linked(me.number(), receiver ? queue.header_->send.first_receiver : queue.header_->receive.first_sender)) deregister();
    else me.record().word.store_release(me.word_for(ActorState::idle));
}

// Ends the registration. `keep`: what has been given meanwhile stays ours; else it goes back.
bool Wait::leave(bool keep) {
    Actor& mine = me.record();
    Queue& queue = me.queue();
    const bool receiver = mine.kind.load_relaxed() == static_cast<std::uint32_t>(ActorKind::receiver);
    auto locked = me.lock_both();
    const std::uint32_t word = mine.word.load_acquire();
    const ActorState state = state_of(word);
    // Both locks are ours: who was giving has finished, or died before its commit.
    const bool given = state == ActorState::done || (state == ActorState::given && (mine.slot.load_acquire() != 0) == receiver);
    if (!locked) return given;  // a damaged queue: nothing more to be done about lists
    if (state == ActorState::given) mine.word.store_release(me.word_for(given ? ActorState::done : ActorState::idle));
    const bool registered = state == ActorState::waiting || state == ActorState::asleep || state == ActorState::handover;
    if (registered) deregister();
    if (given && !keep && receiver) queue.return_taken(fd, me.number());
    me.unlock_both();
    return given;
}

void Wait::handler_is_coming(platform::Sleeping* sleeping, bool handler_restarts) {
    auto* self = static_cast<Wait*>(sleeping);
    Queue& queue = self->me.queue();
    platform::ThreadState& thread = self->me.thread();
    platform::enter_section(thread);
    self->left = true;
    self->result = handler_restarts && !queue.typed_ ? Left::restart : Left::interrupted;
    if (self->leave(true)) {
        self->result = Left::completed;
        if (self->to != nullptr && self->me.record().slot.load_acquire() == 0) self->result = Left::too_long;
        else if (self->to != nullptr && !queue.finish_taken(self->me, self->fd, *self->to, self->received)) self->result = Left::faulted;
    } else {
        queue.drop_filling(self->me);
    }
    self->me.end();
    platform::leave_section(thread);
}

void Wait::cancelled(void* argument) {
    auto* self = static_cast<Wait*>(argument);
    platform::ThreadState& thread = self->me.thread();
    thread.sleeping = nullptr;
    if (self->left) return;
    platform::enter_section(thread);
    self->left = true;
    if (!self->leave(false)) self->me.queue().drop_filling(self->me);
    self->me.end();
    platform::leave_section(thread);
}

}  // namespace muster::objects
