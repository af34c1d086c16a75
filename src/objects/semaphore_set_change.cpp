#include "objects/semaphore_set_change.hpp"
#include "platform/crash_point.hpp"
#include "platform/futex.hpp"
#include "platform/mutant.hpp"

namespace muster::objects {
using sync::Actor;
using sync::ActorState;
using sync::state_of;
using sync::with_state;

namespace {

constexpr std::uint64_t adjust_entry(std::uint32_t record, std::uint32_t number, int value) {
    return static_cast<std::uint64_t>(record) << 32 | static_cast<std::uint64_t>(number) << 16 | static_cast<std::uint16_t>(value);
}

// A woken thread takes some tens of microseconds to run, and longer where others want the CPU.
constexpr std::int64_t kAnswerNs = 100'000;
constexpr std::int64_t kAnswerMostNs = 20'000'000;

}  // namespace

int SemaphoreChange::adjustment(std::uint32_t record, std::uint32_t number) {
    if ((current(number) & kAdjustStaged) != 0)
        for (std::uint32_t entry = adjusted_; entry-- > 0;) {
            const std::uint64_t logged = set_.logs().adjust[entry].load_relaxed();
            if (logged >> 16 == (static_cast<std::uint64_t>(record) << 16 | number)) return static_cast<std::int16_t>(logged & 0xffff);
        }
    if (clear_ == kClearAll || (clear_ == kClearSemaphore && clear_which_ == number)) return 0;
    return static_cast<std::int16_t>(set_.adjust(record, number).load_relaxed());
}

void SemaphoreChange::set_adjustment(std::uint32_t record, std::uint32_t number, int value) {
    const std::uint64_t word = current(number);
    if ((word & kAdjustStaged) != 0)
        for (std::uint32_t entry = adjusted_; entry-- > 0;) {
            memory::ShmU64& logged = set_.logs().adjust[entry];
            if (logged.load_relaxed() >> 16 != (static_cast<std::uint64_t>(record) << 16 | number)) continue;
            logged.store_relaxed(adjust_entry(record, number, value));
            return;
        }
    if (adjusted_ == kLogEntriesMax) return;  // serve() and operate() leave room
    set_.logs().adjust[adjusted_++].store_relaxed(adjust_entry(record, number, value));
    store(number, word | kAdjustStaged);
}

// SOURCE semop(2). Each operation sees the ones before it; a vector that fails is taken back.
int SemaphoreChange::perform(const SemaphoreOp* ops, std::uint32_t count, std::uint32_t record, std::uint32_t& blocking) {
    for (std::uint32_t i = 0; i < count; ++i) {
        const SemaphoreOp& op = ops[i];
        const std::uint64_t word = current(op.number);
        const int value = static_cast<int>(value_of(word));
        const int next = value + op.amount;
        int failure = 0;
        if (op.amount == 0 ? value != 0 : next < 0) {
            blocking = i;
            failure = op.must_not_wait() ? -EAGAIN : 1;
        } else if (next > static_cast<int>(kSemaphoreValueMax)) {
            failure = -ERANGE;
        } else if (op.has_undo() && record != 0) {
            const int adjust = adjustment(record - 1, op.number) - op.amount;
            if (adjust < -kSemaphoreAdjustMax - 1 || adjust > kSemaphoreAdjustMax) failure = -ERANGE;
            else if (op.amount != 0) set_adjustment(record - 1, op.number, adjust);
        }
        if (failure != 0) {
            revert(ops, i, record);
            return failure;
        }
        if (op.amount != 0) store(op.number, with_value(current(op.number), static_cast<std::uint32_t>(next)));
    }
    return 0;
}

void SemaphoreChange::revert(const SemaphoreOp* ops, std::uint32_t count, std::uint32_t record) {
    while (count-- > 0) {
        const SemaphoreOp& op = ops[count];
        if (op.amount == 0) continue;
        if (op.has_undo() && record != 0) set_adjustment(record - 1, op.number, adjustment(record - 1, op.number) + op.amount);
        const std::uint64_t word = current(op.number);
        store(op.number, with_value(word, static_cast<std::uint32_t>(static_cast<int>(value_of(word)) - op.amount)));
    }
}

void SemaphoreChange::set_pids(const SemaphoreOp* ops, std::uint32_t count, std::uint32_t pid) {
    for (std::uint32_t i = 0; i < count; ++i) store(ops[i].number, with_pid(current(ops[i].number), pid));
}

void SemaphoreChange::assign(std::uint32_t number, std::uint32_t value, std::uint32_t pid) {
    store(number, with_pid(with_value(current(number), value), pid));
}

// Makes sure that a sleeper, whose word says handover by now, hears of our death from here on. False: it does not sleep there.
bool SemaphoreChange::call(std::uint32_t number, std::uint32_t word) {
    memory::ShmU32& own = set_.actor(number).word;
    if (held_ == Held::by_actor) return platform::futex_wake(own.address(), 1) > 0;
    // It goes on sleeping, on the lock: whoever lets go of the lock, or the kernel at our death, wakes it.
    memory::ShmU32& lock = set_.header_->lock;
    if (moved_ == 0) contended_ = (lock.or_release(FUTEX_WAITERS) & FUTEX_WAITERS) != 0;
    if (platform::futex_requeue_one(own.address(), word, lock.address()) <= 0) return false;
    ++moved_;
    return true;
}

// A sleeper that nobody could wake may be stopped, in a handler or dead, or awake already, on its way to look: then it keeps its turn.
bool SemaphoreChange::answers(std::uint32_t number) {
    const std::int64_t start = platform::monotonic_ns();
    for (int turns = 0;; ++turns) {
        if (set_.waiter(number).result.load_acquire() == kAnswered) return true;
        if ((set_.actor(number).life.load_acquire() & FUTEX_OWNER_DIED) != 0) return false;
        platform::system_call(SYS_sched_yield);
        if (turns % 32 != 31) continue;
        const std::int64_t waited = platform::monotonic_ns() - start;
        if (waited > kAnswerMostNs || (waited > kAnswerNs && !is_runnable(set_.actor(number).thread_id.load_relaxed())))
            return set_.waiter(number).result.load_acquire() == kAnswered;
    }
}

// Tries one sleeper's operations. If they can be performed, or fail for good, it is called before the commit: should we die
// in between, it finds the lock orphaned and sees to everybody.
SemaphoreChange::Served SemaphoreChange::serve(std::uint32_t number) {
    Actor& sleeper = set_.actor(number);
    SemaphoreWaiter& waiter = set_.waiter(number);
    std::uint32_t word = sleeper.word.load_acquire();
    const ActorState state = state_of(word);
    if (state != ActorState::asleep && state != ActorState::waiting) return Served::no;  // served already
    if ((sleeper.life.load_acquire() & FUTEX_OWNER_DIED) != 0) {
        set_.forget(number);
        return Served::no;
    }
    const std::uint32_t count = set_.load_ops(number, ops_);
    if (count == 0) return Served::no;
    std::uint32_t record = waiter.record.load_relaxed();
    if (record > set_.undos_high()) record = 0;
    const bool is_full = given_ == kLogEntriesMax || adjusted_ + count > kLogEntriesMax;
    if (is_full && witness_ != 0) return Served::no;
    std::uint32_t blocking = 0;
    const int rc = is_full ? 0 : perform(ops_, count, record, blocking);
    if (rc > 0) {
        waiter.blocking.store_relaxed(blocking);
        return Served::no;
    }
    for (;;) {
        const bool asleep = state_of(word) == ActorState::asleep;
        if (!asleep && state_of(word) != ActorState::waiting) break;
        waiter.result.store_relaxed(kAsking | (platform::current_cpu() & 0xffffu));  // where to wait for us: what it is good for until the commit
        if (!sleeper.word.compare_exchange(word, with_state(word, ActorState::handover))) continue;
        word = with_state(word, ActorState::handover);
        MUSTER_CRASH_POINT("semaphore.serve.handover");
        if (!asleep || call(number, word) || answers(number)) {
            MUSTER_CRASH_POINT("semaphore.serve.called");
            if (is_full) {
                witness_ = number + 1;
                return Served::no;
            }
            if (rc == 0) set_pids(ops_, count, sleeper.process_id.load_relaxed());
            set_.logs().given[given_++].store_relaxed(number | static_cast<std::uint32_t>(-rc) << 16);
            return rc == 0 ? Served::done : Served::failed;
        }
        // It has to ask again.
        set_.unlink(number);
        sleeper.word.store_release(with_state(word, ActorState::retry));
        platform::futex_wake(sleeper.word.address(), 1);
        break;
    }
    if (!is_full && rc == 0) revert(ops_, count, record);
    return Served::no;
}

bool SemaphoreChange::serve_zero_waits_of(std::uint32_t number) {
    bool any = false;
    std::uint32_t next;
    std::uint32_t steps = 0;
    for (std::uint32_t at = set_.semaphore(number).first.load_relaxed(); at != 0 && at <= set_.actors_.count && steps < set_.actors_.count; at = next, ++steps) {
        next = set_.waiter(at - 1).next.load_relaxed();
        if (set_.waiter(at - 1).alters.load_relaxed() == 0) any = (serve(at - 1) == Served::done) || any;
    }
    return any;
}

// SOURCE the kernel's do_smart_wakeup_zero: those who wait for zero on what became zero, lone operations first.
bool SemaphoreChange::serve_zero_waits(const SemaphoreOp* ops, std::uint32_t count) {
    bool any = false, zero = false;
    const auto look_at = [&](std::uint32_t number) {
        if (set_.semaphore(number).sleepers.load_relaxed() == 0 || value(number) != 0) return;
        zero = true;
        any = serve_zero_waits_of(number) || any;
    };
    if (ops != nullptr)
        for (std::uint32_t i = 0; i < count; ++i) look_at(ops[i].number);
    else
        for (std::uint32_t number = 0; number < set_.semaphores_; ++number) look_at(number);
    if (!zero || set_.header_->complex.load_relaxed() == 0) return any;
    std::uint32_t next;
    std::uint32_t steps = 0;
    for (std::uint32_t at = set_.header_->first.load_relaxed(); at != 0 && at <= set_.actors_.count && steps < set_.actors_.count; at = next, ++steps) {
        next = set_.actor(at - 1).next.load_relaxed();
        if (set_.waiter(at - 1).alters.load_relaxed() == 0 && set_.waiter(at - 1).operations.load_relaxed() > 1)
            any = (serve(at - 1) == Served::done) || any;
    }
    return any;
}

// SOURCE the kernel's update_queue: oldest first, whoever can go goes, also past older ones that cannot.
bool SemaphoreChange::serve_alterations(std::uint32_t number) {
    bool any = false;
    std::uint32_t next;
    std::uint32_t steps = 0;
    for (std::uint32_t at = set_.semaphore(number).first.load_relaxed(); at != 0 && at <= set_.actors_.count && steps < set_.actors_.count; at = next, ++steps) {
        next = set_.waiter(at - 1).next.load_relaxed();
        if (set_.waiter(at - 1).alters.load_relaxed() == 0) continue;
        if (value(number) == 0) break;  // a lone operation that sleeps is a decrement
        if (serve(at - 1) != Served::done) continue;
        any = true;
        const SemaphoreOp done = ops_[0];
        serve_zero_waits(&done, 1);
    }
    return any;
}

// With vectors asleep all that change a value are one queue, looked at from the start again after each success.
bool SemaphoreChange::serve_all_alterations() {
    bool any = false;
    for (bool again = true; again;) {
        again = false;
        std::uint32_t next;
        std::uint32_t steps = 0;
        for (std::uint32_t at = set_.header_->first.load_relaxed(); at != 0 && at <= set_.actors_.count && steps < set_.actors_.count && !again;
             at = next, ++steps) {
            next = set_.actor(at - 1).next.load_relaxed();
            if (set_.waiter(at - 1).alters.load_relaxed() == 0) continue;
            if (serve(at - 1) != Served::done) continue;
            any = true;
            const std::uint32_t count = set_.load_ops(at - 1, ops_);
            std::uint16_t touched[kSemaphoreOpsMax];  // serve() uses ops_ again
            for (std::uint32_t i = 0; i < count; ++i) touched[i] = ops_[i].number;
            SemaphoreOp one{};
            for (std::uint32_t i = 0; i < count; ++i) {
                one.number = touched[i];
                serve_zero_waits(&one, 1);
            }
            again = true;
        }
    }
    return any;
}

void SemaphoreChange::serve_sleepers(const SemaphoreOp* ops, std::uint32_t count) {
    if (__builtin_expect(set_.header_->sleepers.load_relaxed() == 0, 1)) return;
    bool any = serve_zero_waits(ops, count);
    if (set_.header_->complex_alter.load_relaxed() != 0) any = serve_all_alterations() || any;
    else if (ops != nullptr)
        for (std::uint32_t i = 0; i < count; ++i) {
            if (ops[i].amount > 0) any = serve_alterations(ops[i].number) || any;
        }
    else
        for (std::uint32_t number = 0; number < set_.semaphores_; ++number)
            if (set_.semaphore(number).sleepers.load_relaxed() != 0) any = serve_alterations(number) || any;
    if (any && operated_ == 0) operated(ops != nullptr ? ops[0].number : 0);
}

// What the logs had no room for.
__attribute__((noinline)) void SemaphoreChange::serve_rest(SemaphoreSet& set) {
    SemaphoreChange rest(set, Held::by_actor);
    rest.serve_sleepers(nullptr, 0);
    rest.commit();
}

int SemaphoreChange::commit() {
    SemaphoreHeader& header = *set_.header_;
    for (std::uint32_t entry = 0; entry < adjusted_; ++entry) {
        const std::uint64_t logged = set_.logs().adjust[entry].load_relaxed();
        const auto number = static_cast<std::uint32_t>(logged >> 16 & 0xffff);
        const auto record = static_cast<std::uint32_t>(logged >> 32);
        if (number >= set_.semaphores_ || record >= set_.undos_high()) continue;
        // Somebody asleep has to watch over who holds something from now on; told before the commit, as all sleepers.
        if ((logged & 0xffff) != 0 && set_.semaphore(number).sleepers.load_relaxed() != 0 &&
            (clear_ != kClearNothing || set_.adjust(record, number).load_relaxed() == 0))
            set_.see_to_watcher(number, record);
    }
    header.staged.store_relaxed(staged_);
    header.adjusted.store_relaxed(adjusted_);
    header.given.store_relaxed(given_);
    header.clear.store_relaxed(clear_);
    header.clear_which.store_relaxed(clear_which_);
    header.operated.store_relaxed(operated_);
    if (operated_ != 0) header.operated_s.store_relaxed(platform::realtime_s());
    MUSTER_CRASH_POINT("semaphore.change.staged");
    // COMMIT: all of it is so from this store on.
    if (!MUSTER_MUTANT(apply_without_commit)) header.state.store_release(kJournalCommitted);
    MUSTER_CRASH_POINT("semaphore.change.committed");
    set_.apply();
    if (__builtin_expect(witness_ != 0, 0)) {
        // The logs were full. The witness is awake and asks again; the rest is a change of its own.
        const std::uint32_t word = set_.actor(witness_ - 1).word.load_acquire();
        if (state_of(word) == ActorState::handover) {
            set_.unlink(witness_ - 1);
            set_.actor(witness_ - 1).word.store_release(with_state(word, ActorState::retry));
        }
        serve_rest(set_);
    }
    if (__builtin_expect(moved_ == 0, 1)) return 1;
    // The one that was given something, and those who came for the lock since, who may stand before it or behind it.
    if (MUSTER_MUTANT(serve_without_wake)) return 0;
    if (moved_ == 1 && !contended_) return INT_MAX;
    // Several: the kernel wakes only one at our death, so they are woken while it would still be noticed.
    platform::futex_wake(set_.header_->lock.address(), INT_MAX);
    return 1;
}

}  // namespace muster::objects
