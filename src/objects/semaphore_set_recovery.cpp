// Applying what was committed, keeping the lists of sleepers, and mending what the dead left. Lock held throughout.
// Everything here may be cut short by our own death and is then done again.
#include "objects/semaphore_set.hpp"
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

bool is_registered(ActorState state) {
    return state == ActorState::waiting || state == ActorState::asleep || state == ActorState::handover;
}

}  // namespace

// The committed change becomes so. Every step may be repeated.
void SemaphoreSet::apply() {
    SemaphoreHeader& header = *header_;
    const std::uint32_t change = header.change.load_relaxed();
    const std::uint32_t staged = header.staged.load_relaxed();
    for (std::uint32_t entry = 0; entry < staged && entry < semaphores_; ++entry) {
        const std::uint32_t number = semaphore(entry).logged.load_relaxed();
        if (number >= semaphores_ || semaphore(number).stage.load_relaxed() != change) continue;
        semaphore(number).word.store_release(semaphore(number).staged.load_relaxed() & ~(kAdjustStaged | kFree));
    }
    MUSTER_CRASH_POINT("semaphore.apply.words");
    // First what is cleared: sleepers that are served in the same change begin anew.
    const std::uint32_t clear = header.clear.load_relaxed();
    if (__builtin_expect(clear != kClearNothing, 0)) {
        const std::uint32_t which = header.clear_which.load_relaxed();
        bool any = false;
        for (std::uint32_t record = 0; record < undos_high(); ++record) {
            if (undo(record).active.load_relaxed() == 0 && !(clear == kClearRecord && record == which)) continue;
            if (clear == kClearRecord && record != which) continue;
            any = true;
            if (clear == kClearSemaphore) {
                if (which < semaphores_) adjust(record, which).store_relaxed(0);
            } else {
                for (std::uint32_t number = 0; number < semaphores_; ++number) adjust(record, number).store_relaxed(0);
            }
            if (clear == kClearRecord) undo(record).pid.store_release(0);
        }
        if (any) recount();
        MUSTER_CRASH_POINT("semaphore.apply.cleared");
    }
    const std::uint32_t adjusted = header.adjusted.load_relaxed();
    for (std::uint32_t entry = 0; entry < adjusted && entry < kLogEntriesMax; ++entry) apply_adjustment(logs().adjust[entry].load_relaxed());
    MUSTER_CRASH_POINT("semaphore.apply.adjustments");
    if (const std::uint32_t operated = header.operated.load_relaxed(); operated != 0 && operated <= semaphores_)
        semaphore(operated - 1).operated_s.store_relaxed(header.operated_s.load_relaxed());
    const std::uint32_t given = header.given.load_relaxed();
    for (std::uint32_t entry = 0; entry < given && entry < kLogEntriesMax; ++entry) {
        const std::uint32_t logged = logs().given[entry].load_relaxed();
        const std::uint32_t number = logged & 0xffff;
        if (number >= actors_.count) continue;
        const std::uint32_t word = actor(number).word.load_acquire();
        if (state_of(word) != ActorState::handover) continue;  // told before the last applier died
        waiter(number).result.store_relaxed(logged >> 16);
        unlink(number);
        actor(number).word.store_release(with_state(word, ActorState::done));
        MUSTER_CRASH_POINT("semaphore.apply.given");
    }
    header.state.store_release(kJournalIdle);
    MUSTER_CRASH_POINT("semaphore.applied");
}

// Counts of adjustments from the adjustments themselves.
void SemaphoreSet::recount() {
    for (std::uint32_t number = 0; number < semaphores_; ++number) {
        semaphore(number).holders.store_relaxed(0);
        semaphore(number).holder.store_relaxed(0);
    }
    for (std::uint32_t record = 0; record < undos_high(); ++record) {
        std::uint32_t active = 0;
        for (std::uint32_t number = 0; number < semaphores_; ++number) {
            if (adjust(record, number).load_relaxed() == 0) continue;
            ++active;
            semaphore(number).holders.store_relaxed(semaphore(number).holders.load_relaxed() + 1);
            semaphore(number).holder.store_relaxed(record + 1);
        }
        undo(record).active.store_relaxed(active);
    }
}

// The lists from the sleepers' own records.
void SemaphoreSet::relink() {
    SemaphoreHeader& header = *header_;
    header.first.store_relaxed(0);
    header.last.store_relaxed(0);
    header.sleepers.store_relaxed(0);
    header.complex.store_relaxed(0);
    header.complex_alter.store_relaxed(0);
    for (std::uint32_t number = 0; number < semaphores_; ++number) {
        semaphore(number).first.store_relaxed(0);
        semaphore(number).last.store_relaxed(0);
        semaphore(number).sleepers.store_relaxed(0);
    }
    // The dead are left out, and forgotten later: two of them that were neighbours must not vouch for each other's place (see unlink()).
    for (std::uint32_t number = 0; number < actors_high(); ++number) {
        actor(number).next.store_relaxed(0);
        actor(number).previous.store_relaxed(0);
        waiter(number).next.store_relaxed(0);
        waiter(number).previous.store_relaxed(0);
    }
    for (std::uint32_t number = 0; number < actors_high(); ++number) {
        const std::uint32_t life = actor(number).life.load_acquire();
        if (life == 0 || (life & FUTEX_OWNER_DIED) != 0 || actor(number).kind.load_acquire() == 0) continue;
        if (is_registered(state_of(actor(number).word.load_acquire()))) link(number);
    }
}

void SemaphoreSet::recover() {
    SemaphoreHeader& header = *header_;
    if (header.state.load_acquire() == kJournalCommitted && !MUSTER_MUTANT(recover_without_applying)) {
        relink();
        recount();
        apply();
    }
    MUSTER_CRASH_POINT("semaphore.recover.applied");
    if (removed()) {
        dismiss_sleepers();
        platform::futex_wake(header.lock.address(), INT_MAX);
        return;
    }
    recount();
    // Those who were to be given something that was never committed sleep on, unless what follows finds that they can go.
    for (std::uint32_t number = 0; number < actors_high(); ++number) {
        if ((actor(number).life.load_acquire() & FUTEX_OWNER_DIED) != 0) continue;
        std::uint32_t word = actor(number).word.load_acquire();
        // Marked, and not called yet: either to be given something, or to look again (nudge()).
        if (state_of(word) == ActorState::handover) actor(number).word.compare_exchange(word, with_state(word, ActorState::waiting));
        else if (state_of(word) != ActorState::waiting) continue;
        platform::futex_wake(actor(number).word.address(), 1);
    }
    relink();
    // They may sleep on the lock: those who were called, and those the dead one would have woken.
    platform::futex_wake(header.lock.address(), INT_MAX);
    MUSTER_CRASH_POINT("semaphore.recover.relinked");
    SemaphoreChange change(*this, SemaphoreChange::Held::by_actor);
    change.serve_sleepers(nullptr, 0);
    change.commit();
    MUSTER_CRASH_POINT("semaphore.recover.served");
}

// ---- sleepers ----

std::uint32_t SemaphoreSet::load_ops(std::uint32_t number, SemaphoreOp* to) const {
    const std::uint32_t count = waiter(number).operations.load_relaxed();
    if (count == 0 || count > kSemaphoreOpsMax) return 0;
    const memory::ShmU64* from = count <= kInlineOps ? waiter(number).inline_ops : vector(number);
    for (std::uint32_t i = 0; i < count; ++i) {
        const std::uint64_t packed = from[i].load_relaxed();
        to[i] = {static_cast<std::uint16_t>(packed), static_cast<std::int16_t>(packed >> 16 & 0xffff), static_cast<std::int16_t>(packed >> 32 & 0xffff)};
        if (to[i].number >= semaphores_) return 0;
    }
    return count;
}

// Into the lists, at the place that its ticket gives it.
void SemaphoreSet::link(std::uint32_t number) {
    SemaphoreHeader& header = *header_;
    SemaphoreOp ops[kSemaphoreOpsMax];
    const std::uint32_t count = load_ops(number, ops);
    if (count == 0) return;
    const std::uint64_t ticket = actor(number).ticket.load_relaxed();
    const auto precedes = [&](std::uint32_t other) { return actor(other - 1).ticket.load_relaxed() <= ticket; };
    std::uint32_t before = header.last.load_relaxed();
    for (std::uint32_t steps = 0; before != 0 && before <= actors_.count && steps < actors_.count && !precedes(before); ++steps)
        before = actor(before - 1).previous.load_relaxed();
    if (before > actors_.count) before = 0;
    std::uint32_t after = before != 0 ? actor(before - 1).next.load_relaxed() : header.first.load_relaxed();
    if (after > actors_.count) after = 0;
    actor(number).previous.store_relaxed(before);
    actor(number).next.store_relaxed(after);
    (before != 0 ? actor(before - 1).next : header.first).store_relaxed(number + 1);
    (after != 0 ? actor(after - 1).previous : header.last).store_relaxed(number + 1);
    header.sleepers.store_relaxed(header.sleepers.load_relaxed() + 1);
    for (std::uint32_t i = 0; i < count; ++i) semaphore(ops[i].number).sleepers.store_relaxed(semaphore(ops[i].number).sleepers.load_relaxed() + 1);
    if (count > 1) {
        header.complex.store_relaxed(header.complex.load_relaxed() + 1);
        if (waiter(number).alters.load_relaxed() != 0) header.complex_alter.store_relaxed(header.complex_alter.load_relaxed() + 1);
        return;
    }
    Semaphore& on = semaphore(ops[0].number);
    before = on.last.load_relaxed();
    for (std::uint32_t steps = 0; before != 0 && before <= actors_.count && steps < actors_.count && !precedes(before); ++steps)
        before = waiter(before - 1).previous.load_relaxed();
    if (before > actors_.count) before = 0;
    after = before != 0 ? waiter(before - 1).next.load_relaxed() : on.first.load_relaxed();
    if (after > actors_.count) after = 0;
    waiter(number).previous.store_relaxed(before);
    waiter(number).next.store_relaxed(after);
    (before != 0 ? waiter(before - 1).next : on.first).store_relaxed(number + 1);
    (after != 0 ? waiter(after - 1).previous : on.last).store_relaxed(number + 1);
}

// Out of the lists. Its own links stay: somebody may be going along them.
void SemaphoreSet::unlink(std::uint32_t number) {
    SemaphoreHeader& header = *header_;
    SemaphoreOp ops[kSemaphoreOpsMax];
    const std::uint32_t count = load_ops(number, ops);
    if (count == 0) return;
    const auto lower = [](memory::ShmU32& counter, std::uint32_t by = 1) {
        const std::uint32_t now = counter.load_relaxed();
        counter.store_relaxed(now >= by ? now - by : 0);
    };
    std::uint32_t before = actor(number).previous.load_relaxed(), after = actor(number).next.load_relaxed();
    if (before > actors_.count || after > actors_.count) return;
    // Only who stands where its neighbours say it stands.
    if ((before != 0 ? actor(before - 1).next : header.first).load_relaxed() != number + 1) return;
    (before != 0 ? actor(before - 1).next : header.first).store_relaxed(after);
    (after != 0 ? actor(after - 1).previous : header.last).store_relaxed(before);
    lower(header.sleepers);
    for (std::uint32_t i = 0; i < count; ++i) lower(semaphore(ops[i].number).sleepers);
    if (count > 1) {
        lower(header.complex);
        if (waiter(number).alters.load_relaxed() != 0) lower(header.complex_alter);
        return;
    }
    Semaphore& on = semaphore(ops[0].number);
    before = waiter(number).previous.load_relaxed();
    after = waiter(number).next.load_relaxed();
    if (before > actors_.count || after > actors_.count) return;
    if ((before != 0 ? waiter(before - 1).next : on.first).load_relaxed() != number + 1) return;
    (before != 0 ? waiter(before - 1).next : on.first).store_relaxed(after);
    (after != 0 ? waiter(after - 1).previous : on.last).store_relaxed(before);
}

void SemaphoreSet::forget(std::uint32_t number) {
    Actor& dead = actor(number);
    const std::uint32_t word = dead.word.load_acquire();
    if (is_registered(state_of(word))) unlink(number);
    MUSTER_CRASH_POINT("semaphore.forget.unlinked");
    dead.kind.store_release(0);
    dead.word.store_release(with_state(word, ActorState::idle));
    dead.life.store_release(0);
    nudge_watcher_of(number);
}

unsigned SemaphoreSet::reap_dead() {
    unsigned reaped = 0;
    for (std::uint32_t number = 0; number < actors_high(); ++number)
        if ((actor(number).life.load_acquire() & FUTEX_OWNER_DIED) != 0) {
            forget(number);
            ++reaped;
        }
    return reaped;
}

void SemaphoreSet::nudge(std::uint32_t number) {
    std::uint32_t word = actor(number).word.load_acquire();
    while (state_of(word) == ActorState::asleep)
        if (actor(number).word.compare_exchange(word, with_state(word, ActorState::waiting))) {
            MUSTER_CRASH_POINT("semaphore.nudge.marked");
            platform::futex_wake(actor(number).word.address(), 1);
            return;
        }
}

// Somebody who leaves without having been served was watched in place of those before it.
void SemaphoreSet::nudge_watcher_of(std::uint32_t number) {
    const std::uint32_t record = waiter(number).record.load_relaxed();
    if (record == 0) return;
    const std::uint64_t ticket = actor(number).ticket.load_relaxed();
    std::uint32_t steps = 0;
    for (std::uint32_t at = header_->last.load_relaxed(); at != 0 && at <= actors_.count && steps < actors_.count; at = actor(at - 1).previous.load_relaxed(), ++steps) {
        if (actor(at - 1).ticket.load_relaxed() < ticket) return;
        if (waiter(at - 1).ahead.load_relaxed() == record) nudge(at - 1);
    }
}

// `record` begins to hold something of the semaphore, on which others sleep: one of them has to watch its process.
void SemaphoreSet::see_to_watcher(std::uint32_t number, std::uint32_t record) {
    std::uint32_t candidate = 0;
    std::uint32_t steps = 0;
    const auto consider = [&](std::uint32_t at) {  // true: it watches already
        const ActorState state = state_of(actor(at - 1).word.load_acquire());
        if (state == ActorState::waiting) {
            candidate = 0;
            return true;  // about to look anyway
        }
        if (state != ActorState::asleep) return false;
        if (waiter(at - 1).ahead.load_relaxed() == record + 1) return true;
        if (candidate == 0) candidate = at;
        return false;
    };
    for (std::uint32_t at = semaphore(number).first.load_relaxed(); at != 0 && at <= actors_.count && steps < actors_.count; at = waiter(at - 1).next.load_relaxed(), ++steps) {
        if (consider(at)) return;
        if (candidate != 0) break;  // the first that stays asleep is the one
    }
    if (candidate == 0 && header_->complex.load_relaxed() != 0) {
        steps = 0;
        for (std::uint32_t at = header_->first.load_relaxed(); at != 0 && at <= actors_.count && steps < actors_.count; at = actor(at - 1).next.load_relaxed(), ++steps) {
            if (waiter(at - 1).operations.load_relaxed() < 2) continue;
            SemaphoreOp ops[kSemaphoreOpsMax];
            const std::uint32_t count = load_ops(at - 1, ops);
            bool names = false;
            for (std::uint32_t i = 0; i < count && !names; ++i) names = ops[i].number == number;
            if (!names) continue;
            if (consider(at)) return;
            if (candidate != 0) break;
        }
    }
    if (candidate != 0) nudge(candidate - 1);
}

// ---- removal ----

void SemaphoreSet::call_sleepers() {
    for (std::uint32_t number = 0; number < actors_high(); ++number) {
        std::uint32_t word = actor(number).word.load_acquire();
        while (state_of(word) == ActorState::asleep || state_of(word) == ActorState::waiting)
            if (actor(number).word.compare_exchange(word, with_state(word, ActorState::handover))) {
                platform::futex_wake(actor(number).word.address(), 1);
                break;
            }
    }
}

void SemaphoreSet::dismiss_sleepers() {
    for (std::uint32_t number = 0; number < actors_high(); ++number) {
        const std::uint32_t word = actor(number).word.load_acquire();
        if (!is_registered(state_of(word))) continue;
        actor(number).word.store_release(with_state(word, ActorState::removed));
        platform::futex_wake(actor(number).word.address(), 1);
    }
}

}  // namespace muster::objects
