#include "objects/semaphore_set_acting.hpp"
#include "objects/semaphore_set_change.hpp"
#include "platform/cancel.hpp"
#include "platform/crash_point.hpp"
#include "platform/file.hpp"

namespace muster::objects {
using platform::Fault;
using platform::Outcome;
using sync::Actor;
using sync::ActorState;
using sync::state_of;
using sync::with_state;

namespace {

constexpr std::uint32_t kSleeperKind = 1;
constexpr std::int64_t kRecheckNs = 400'000'000;        // some sleeps watch others' lives: a lost wake is made good this often
constexpr std::int64_t kNoWaitvRecheckNs = 10'000'000;  // kernels before 5.16: deaths are found by looking
constexpr std::int64_t kUnsureFirstNs = 50'000;         // a death is under way, or nothing will tell of it
constexpr std::int64_t kUnsureLastNs = 20'000'000;
constexpr int kHandoverSpins = 200;

}  // namespace

Outcome<> SemaphoreActing::begin(std::uint32_t operations) {
    SemaphoreHeader& header = *set_.header_;
    if (auto got = set_.reserve_logs(); !got) return got;
    bool saw_dead = false;
    for (std::uint32_t number = 0; number < set_.actors_.count; ++number) {
        if (number >= header.actors_reserved.load_acquire()) {
            constexpr std::uint32_t kMore = 4096 / sizeof(Actor);  // the tables are page-aligned
            const std::uint32_t first = number / kMore * kMore;
            if (auto got = set_.reserve(set_.actors_offset_ + first * sizeof(Actor), 4096); !got) return got;
            if (auto got = set_.reserve(set_.waiters_offset_ + first * sizeof(SemaphoreWaiter), 4096); !got) return got;
            header.actors_reserved.store_release(first + kMore);  // twice by two threads: the same value
        }
        Actor& record = set_.actor(number);
        std::uint32_t life = record.life.load_acquire();
        if (life != 0) {
            saw_dead = saw_dead || (life & FUTEX_OWNER_DIED) != 0;
            continue;
        }
        // Who looks for the dead must look as far as this record before it can be taken.
        for (std::uint32_t high = header.actors_high.load_acquire(); high <= number;)
            if (header.actors_high.compare_exchange(high, number + 1)) break;
        before_ = platform::set_death_notice(thread_, record.life.address());
        if (!record.life.compare_exchange(life, thread_.thread_id | FUTEX_WAITERS)) {
            platform::restore_death_notice(thread_, before_);
            continue;
        }
        number_ = number;
        record.thread_id.store_relaxed(thread_.thread_id);  // relaxed: read by those who see us hold the lock, or by tools
        record.process_id.store_relaxed(platform::process_id_of(thread_));
        const std::uint32_t use = ((record.word.load_relaxed() >> sync::kActorStateBits) + 1) % sync::kActorUses;
        record.word.store_release(use << sync::kActorStateBits);
        record.kind.store_release(kSleeperKind);
        MUSTER_CRASH_POINT("semaphore.actor.begun");
        if (operations > kInlineOps)
            if (auto got = set_.reserve(set_.vectors_offset_ + number * 4096ull, 4096); !got) {
                end();
                return got;
            }
        if (saw_dead) {
            if (auto locked = lock(); !locked) {
                end();
                return locked;
            }
            set_.reap_dead();
            unlock();
        }
        return platform::done();
    }
    return Fault{ENOMEM, "more threads wait at this set than it has room to remember"};
}

void SemaphoreActing::end() {
    if (number_ == kNone) return;
    Actor& mine = record();
    mine.kind.store_release(0);
    mine.word.store_release(with_state(mine.word.load_relaxed(), ActorState::idle));
    MUSTER_CRASH_POINT("semaphore.actor.ending");
    mine.life.store_release(0);
    platform::restore_death_notice(thread_, before_);
    number_ = kNone;
}

Outcome<> SemaphoreActing::lock() {
    auto acquired = sync::acquire_word(set_.header_->lock, sync::kHeldByActor | number_, thread_.thread_id, set_.actors_);
    if (!acquired) return acquired.fault();
    locked_ = true;
    MUSTER_CRASH_POINT("semaphore.actor.locked");
    if (*acquired == sync::Acquired::owner_died) set_.recover();
    if (auto good = set_.usable(); !good) {
        unlock();
        return good;
    }
    return platform::done();
}

void SemaphoreActing::unlock() {
    if (!locked_) return;
    locked_ = false;
    sync::release_word(set_.header_->lock);
}

// The long way: an actor, which may sleep.
Outcome<> SemaphoreSet::operate_asleep(platform::ThreadState& thread, const SemaphoreOp* ops, std::uint32_t count, std::int64_t timeout_ns,
                                       ProcessLives& lives, bool has_undo) {
    const platform::DeadlineNs deadline = timeout_ns == platform::kForever ? platform::kForever : platform::monotonic_ns() + timeout_ns;
    SemaphoreActing me(*this, thread);
    if (auto begun = me.begin(count); !begun) return begun;
    std::uint64_t ticket = 0;
    for (;;) {
        const std::uint32_t record = has_undo ? own_record_.load(std::memory_order_relaxed) : 0;
        if (auto locked = me.lock(); !locked) return locked;
        SemaphoreSleep sleep(me, lives, ops, count);
        bool unsure = false;
        settle_dead(ops, count, lives, record, unsure);
        bool waits = false;
        std::uint32_t blocking = 0;
        auto result = operate_locked(ops, count, record, platform::process_id_of(thread), blocking, waits, nullptr);
        if (!waits) {
            me.unlock();
            return result;
        }
        // Registered from here on: nobody can change the semaphores past us.
        Actor& mine = me.record();
        SemaphoreWaiter& waits_for = waiter(me.number());
        if (ticket == 0) {
            ticket = header_->tickets.load_relaxed() + 1;
            header_->tickets.store_relaxed(ticket);
        }
        bool alters = false;
        memory::ShmU64* to = count <= kInlineOps ? waits_for.inline_ops : vector(me.number());
        for (std::uint32_t i = 0; i < count; ++i) {
            alters = alters || ops[i].amount != 0;
            to[i].store_relaxed(static_cast<std::uint64_t>(ops[i].number) | static_cast<std::uint64_t>(static_cast<std::uint16_t>(ops[i].amount)) << 16 |
                                static_cast<std::uint64_t>(static_cast<std::uint16_t>(ops[i].flags)) << 32);
            semaphore(ops[i].number).quiet.store_relaxed(0);
        }
        waits_for.operations.store_relaxed(count);
        waits_for.record.store_relaxed(record);
        waits_for.blocking.store_relaxed(blocking);
        waits_for.alters.store_relaxed(alters ? 1 : 0);
        waits_for.result.store_relaxed(0);
        mine.ticket.store_relaxed(ticket);
        mine.since_ns.store_relaxed(platform::realtime_s() * 1'000'000'000ull);
        mine.word.store_release(with_state(mine.word.load_relaxed(), ActorState::waiting));
        MUSTER_CRASH_POINT("semaphore.sleep.ready");
        link(me.number());
        MUSTER_CRASH_POINT("semaphore.sleep.linked");
        sleep.choose_lives();
        me.unlock();
        switch (sleep.sleep(deadline)) {
            case SemaphoreSleep::End::given:
                if (sleep.result == 0) return platform::done();
                return Fault{static_cast<int>(sleep.result), "the operation failed while it waited"};
            case SemaphoreSleep::End::retry: continue;
            case SemaphoreSleep::End::removed: return Fault{EIDRM, "the semaphore set was removed"};
            case SemaphoreSleep::End::timed_out: return Fault{EAGAIN, "the time is over"};
            case SemaphoreSleep::End::interrupted: return Fault{EINTR, "a signal came"};
        }
    }
}

void SemaphoreSleep::watch(std::uint32_t record) {
    SemaphoreSet& set = me.set();
    UndoRecord& holder = set.undo(record);
    const ProcessIdentity process{holder.pid.load_acquire(), holder.start.load_relaxed()};
    if (process.pid == 0 || process.pid == platform::process_id_of(me.thread())) return;
    const std::uint32_t life = holder.life.load_relaxed();
    if (!lives.is_open()) (void)lives.open(false);
    memory::ShmU32* word = life != 0 ? lives.word(life - 1) : nullptr;
    const std::uint32_t expected = word != nullptr ? word->load_acquire() : 0;
    if (word == nullptr || !lives.vouches(life - 1, process)) unsure = true;
    if (word == nullptr) return;
    const auto address = reinterpret_cast<std::uint64_t>(word->address());
    for (unsigned i = 1; i < watched; ++i)
        if (entries[i].address == address) return;
    if (watched == platform::kWaitEntriesMax) {
        crowded = true;
        return;
    }
    slots[watched] = life - 1;
    entries[watched++] = {expected, address, platform::kFutex32, 0};
}

// Whose death could let us go: those with adjustments for our semaphores, and the one before us in line, which will hold next.
void SemaphoreSleep::choose_lives() {
    SemaphoreSet& set = me.set();
    watched = 1;
    unsure = crowded = false;
    for (std::uint32_t i = 0; i < count; ++i) {
        const Semaphore& each = set.semaphore(ops[i].number);
        const std::uint32_t holders = each.holders.load_relaxed(), holder = each.holder.load_relaxed();
        if (holders == 0) continue;
        if (holders == 1 && holder != 0 && holder <= set.undos_high()) {
            watch(holder - 1);
            continue;
        }
        for (std::uint32_t record = 0; record < set.undos_high(); ++record)
            if (set.undo(record).active.load_relaxed() != 0 && set.adjust(record, ops[i].number).load_relaxed() != 0) watch(record);
    }
    SemaphoreWaiter& mine = set.waiter(me.number());
    mine.ahead.store_relaxed(0);
    std::uint32_t ahead = 0;
    std::uint32_t steps = 0;
    const bool simple = count == 1 && set.header_->complex.load_relaxed() == 0;
    for (std::uint32_t at = simple ? mine.previous.load_relaxed() : me.record().previous.load_relaxed(); at != 0 && at <= set.actors_.count && steps < set.actors_.count;
         at = simple ? set.waiter(at - 1).previous.load_relaxed() : set.actor(at - 1).previous.load_relaxed(), ++steps) {
        const std::uint32_t record = set.waiter(at - 1).record.load_relaxed();
        if (record == 0 || record > set.undos_high()) continue;
        ahead = record;
        break;
    }
    if (ahead != 0) {
        mine.ahead.store_relaxed(ahead);
        watch(ahead - 1);
    }
}

SemaphoreSleep::End SemaphoreSleep::sleep(platform::DeadlineNs deadline_ns) {
    Actor& mine = me.record();
    SemaphoreSet& set = me.set();
    static std::atomic<bool> waitv_missing{false};
    std::int64_t pause_ns = kUnsureFirstNs;
    bool chosen = true;
    bool answered = false;
    std::uint32_t giver_cpu = 0;
    for (int turns = 0;;) {
        std::uint32_t word = mine.word.load_acquire();
        if (state_of(word) != ActorState::handover) answered = false;
        switch (state_of(word)) {
            case ActorState::done:
                result = set.waiter(me.number()).result.load_relaxed();
                // We may be the one that the kernel woke when the giver died with more to do.
                if (__builtin_expect((set.header_->lock.load_acquire() & FUTEX_OWNER_DIED) != 0, 0))
                    if (auto locked = me.lock(); locked) me.unlock();
                return End::given;
            case ActorState::retry: return End::retry;
            case ActorState::removed: return End::removed;
            case ActorState::handover:
                // The giver woke us before it committed. It needs some nanoseconds more; should it be dead, the lock tells.
                if (!answered) {
                    std::uint32_t asked = set.waiter(me.number()).result.load_relaxed();
                    giver_cpu = asked & ~kAsking;
                    if ((asked & kAsking) == kAsking && asked != kAnswered) set.waiter(me.number()).result.compare_exchange(asked, kAnswered);
                    answered = true;
                }
                if (turns < kHandoverSpins && giver_cpu != platform::current_cpu()) {
                    ++turns;
                    platform::pause_cpu();
                } else if (turns < kHandoverSpins + 4) {
                    turns = turns < kHandoverSpins ? kHandoverSpins : turns + 1;
                    platform::system_call(SYS_sched_yield);
                } else {
                    if (auto locked = me.lock(); locked) {
                        // With the lock ours nobody is giving, and a dead giver's traces are gone: the word is damaged.
                        const bool forged = state_of(mine.word.load_acquire()) == ActorState::handover;
                        if (forged) deregister();
                        me.unlock();
                        if (forged) return End::retry;
                    } else if (state_of(mine.word.load_acquire()) == ActorState::handover) {
                        return End::removed;
                    }
                    turns = 0;
                }
                continue;
            case ActorState::waiting:
                if (!chosen) {
                    // Something happened to those we watch: look again, as if we had just come.
                    auto locked = me.lock();
                    const ActorState now = state_of(mine.word.load_acquire());
                    if (!locked && now != ActorState::done) return End::removed;
                    if (locked && now == ActorState::waiting) {
                        bool dying = false;
                        set.settle_dead(ops, count, lives, set.waiter(me.number()).record.load_relaxed(), dying);
                        choose_lives();
                        unsure = unsure || dying;
                    }
                    me.unlock();
                    chosen = true;
                    continue;
                }
                if (!mine.word.compare_exchange(word, with_state(word, ActorState::asleep))) continue;
                break;
            case ActorState::asleep: break;
            default:  // nobody tells a sleeper that: the word is damaged. As if we had just come
                if (auto locked = me.lock(); !locked) return End::removed;
                deregister();
                me.unlock();
                return End::retry;
        }
        word = with_state(word, ActorState::asleep);
        entries[0] = {word, reinterpret_cast<std::uint64_t>(mine.word.address()), platform::kFutex32, 0};
        unsigned used = watched;
        platform::DeadlineNs until = deadline_ns;
        if (used > 1 || unsure || crowded) {
            const bool missing = used > 1 && waitv_missing.load(std::memory_order_relaxed);
            const std::int64_t soon = platform::monotonic_ns() + (unsure ? pause_ns : missing ? kNoWaitvRecheckNs : kRecheckNs);
            if (until == platform::kForever || soon < until) until = soon;
            if (missing) used = 1;
        }
        MUSTER_CRASH_POINT("semaphore.sleep.before");
        me.thread().sleeping = this;
        platform::leave_section(me.thread());
        const long rc = platform::wait_cancellable(entries, used, until, {&SemaphoreSleep::cancelled, this}, CLOCK_MONOTONIC);
        platform::enter_section(me.thread());
        me.thread().sleeping = nullptr;
        if (left) return left_how;
        MUSTER_CRASH_POINT("semaphore.sleep.awake");

        if (rc == -ENOSYS || (rc == -EPERM && used > 1)) waitv_missing.store(true, std::memory_order_relaxed);
        word = mine.word.load_acquire();
        if (state_of(word) != ActorState::asleep) {
            chosen = false;
            continue;
        }
        const bool timed_out = rc == -ETIMEDOUT && until == deadline_ns;
        if (timed_out || rc == -EINTR) {
            left_how = timed_out ? End::timed_out : End::interrupted;
            return leave() ? End::given : left_how;
        }
        // A life ended, or it is time to look whether one did.
        for (unsigned i = 1; i < watched; ++i)
            if ((reinterpret_cast<memory::ShmU32*>(entries[i].address)->load_acquire() & FUTEX_OWNER_DIED) != 0) lives.tell(slots[i]);
        pause_ns = unsure ? (pause_ns * 2 < kUnsureLastNs ? pause_ns * 2 : kUnsureLastNs) : kUnsureFirstNs;
        mine.word.compare_exchange(word, with_state(word, ActorState::waiting));
        chosen = false;
    }
}

void SemaphoreSleep::deregister() {
    Actor& mine = me.record();
    me.set().unlink(me.number());
    // Of the word only the number of this use is kept: what is above it is nobody's.
    const std::uint32_t use = (mine.word.load_relaxed() >> sync::kActorStateBits) % sync::kActorUses;
    mine.word.store_release(with_state(use << sync::kActorStateBits, ActorState::idle));
    me.set().nudge_watcher_of(me.number());
}

bool SemaphoreSleep::leave() {
    Actor& mine = me.record();
    SemaphoreSet& set = me.set();
    auto locked = me.lock();
    const std::uint32_t word = mine.word.load_acquire();
    const ActorState state = state_of(word);
    if (state == ActorState::done) result = set.waiter(me.number()).result.load_relaxed();
    if (!locked) {
        // Removed: that is what the call tells.
        left_how = End::removed;
        return state == ActorState::done;
    }
    const bool registered = state == ActorState::waiting || state == ActorState::asleep || state == ActorState::handover;
    if (registered) deregister();
    me.unlock();
    return state == ActorState::done;
}

// semop() is never restarted: whatever the handler's flags, the call is over before it runs.
void SemaphoreSleep::handler_is_coming(platform::Sleeping* sleeping, bool) {
    auto* self = static_cast<SemaphoreSleep*>(sleeping);
    platform::ThreadState& thread = self->me.thread();
    platform::enter_section(thread);
    self->left = true;
    self->left_how = End::interrupted;
    if (self->leave()) self->left_how = End::given;
    self->me.end();
    platform::leave_section(thread);
}

// A cancelled call leaves nothing behind: what was performed for it is taken back if that is possible.
void SemaphoreSleep::take_back() {
    SemaphoreSet& set = me.set();
    if (auto locked = me.lock(); !locked) return;
    SemaphoreOp inverse[kSemaphoreOpsMax];
    for (std::uint32_t i = 0; i < count; ++i) {
        inverse[i] = ops[count - 1 - i];
        inverse[i].amount = static_cast<std::int16_t>(-inverse[i].amount);
        inverse[i].flags = static_cast<std::int16_t>(inverse[i].flags | 04000);
    }
    std::uint32_t zeroes = 0, kept = 0;
    for (std::uint32_t i = 0; i < count; ++i)
        if (inverse[i].amount != 0) inverse[kept++] = inverse[i];
        else ++zeroes;
    bool waits = false;
    std::uint32_t blocking = 0;
    if (kept != 0)
        (void)set.operate_locked(inverse, kept, set.waiter(me.number()).record.load_relaxed(), platform::process_id_of(me.thread()), blocking, waits, nullptr);
    me.unlock();
}

void SemaphoreSleep::cancelled(void* argument) {
    auto* self = static_cast<SemaphoreSleep*>(argument);
    platform::ThreadState& thread = self->me.thread();
    thread.sleeping = nullptr;
    if (self->left) return;
    platform::enter_section(thread);
    self->left = true;
    if (self->leave() && self->result == 0) self->take_back();
    self->me.end();
    platform::leave_section(thread);
}

}  // namespace muster::objects
