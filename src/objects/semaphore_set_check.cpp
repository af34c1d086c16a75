// Looking whether a set's parts agree with each other, and making those anew that follow from others.
#include "objects/findings.hpp"
#include "objects/lock_check.hpp"
#include "objects/semaphore_set.hpp"
#include "platform/file.hpp"

namespace muster::objects {
using platform::Fault;
using platform::Outcome;
using sync::ActorState;
using sync::state_of;

namespace {

// Bits of a word that no set ever has.
constexpr std::uint64_t kNoBits = 0xfcull << 16 | kAdjustStaged;

bool sleeps(const sync::Actor& actor) {
    const std::uint32_t life = actor.life.load_acquire();
    const ActorState state = state_of(actor.word.load_acquire());
    return life != 0 && (life & FUTEX_OWNER_DIED) == 0 && actor.kind.load_acquire() != 0 &&
           (state == ActorState::waiting || state == ActorState::asleep || state == ActorState::handover);
}

}  // namespace

// The lock and the sleepers' records, as far as they name threads. False: the lock cannot be had.
bool SemaphoreSet::settle_holders(std::uint64_t inode, bool mend, Findings& findings) {
    const LockVerdict lock = judge_lock(header_->lock, actors_.first, actors_.count, inode);
    if (lock.state == LockState::busy) {
        findings.say({0, 0, false}, "thread %u holds the lock and has not let go of it for two seconds; what it guards cannot be looked at", lock.holder);
        return false;
    }
    bool usable = true;
    if (lock.state == LockState::damaged) {
        findings.say({}, "the lock is held by nobody who could let go of it (0x%x)", lock.word);
        usable = mend && declare_orphaned(header_->lock, lock.word);
    }
    const std::uint32_t high = header_->actors_high.load_acquire(), reserved = header_->actors_reserved.load_acquire();
    if (high > actors_.count || reserved > actors_.count || high > reserved) {
        findings.say({}, "it says that %u records of threads were used and %u have memory, of %u", high, reserved, actors_.count);
        if (mend) settle_record_counts(actors_.first, actors_.count, header_->actors_high, header_->actors_reserved);
    }
    for (std::uint32_t number = 0; number < actors_.count && (number < high || number < reserved); ++number) {
        std::uint32_t life = actor(number).life.load_acquire();
        if (life == 0 || (life & FUTEX_OWNER_DIED) != 0) continue;
        if (vouch_for(life & FUTEX_TID_MASK, inode) == Vouched::yes || actor(number).life.load_acquire() != life) continue;
        findings.say({}, "record %u says that thread %u sleeps here, which it does not", number, life & FUTEX_TID_MASK);
        if (mend) actor(number).life.compare_exchange(life, FUTEX_WAITERS | FUTEX_OWNER_DIED);
    }
    return usable;
}

// More semaphores than it says may stand in the file with the set's mark, one after the other. Fewer cannot be told from words that are gone.
void SemaphoreSet::check_number(bool mend, Findings& findings) {
    const auto room = static_cast<std::uint32_t>((logs_offset_ - sizeof(SemaphoreHeader)) / sizeof(Semaphore));
    std::uint32_t end = 0, marked = 0;
    for (std::uint32_t number = 0; number < room && mark_ != 0; ++number) {
        if (semaphore(number).word.load_acquire() >> kMarkShift != mark_) continue;
        end = number + 1;
        ++marked;
    }
    if (marked != end || end <= semaphores_) return;
    findings.say({}, "it says that it has %u semaphores, and has %u", semaphores_, end);
    if (!mend) return;
    header_->semaphores = end;
    semaphores_ = end;
}

// One word each. What is beside the value follows from elsewhere; the value stands nowhere else.
void SemaphoreSet::check_words(bool mend, Findings& findings) {
    const std::uint64_t now_s = platform::realtime_s();
    for (std::uint32_t number = 0; number < semaphores_; ++number) {
        Semaphore& each = semaphore(number);
        const std::uint64_t word = each.word.load_acquire();
        if (value_of(word) > kSemaphoreValueMax)
            findings.say({2, 0, false}, "semaphore %u has the value %u, which none can have; what it was is said nowhere else (`muster sem set` sets it)", number,
                         value_of(word));
        if (word == 0) {
            findings.say({2, 0, false}, "semaphore %u is not there: its word is gone, and with it its value (`muster sem set` sets it)", number);
            continue;
        }
        std::uint64_t right = (word & ~kNoBits & ~(0xffffull << kMarkShift)) | mark_ << kMarkShift;
        if (right != word) findings.say({}, "semaphore %u is marked as another set's or has flags that mean nothing", number);
        if ((word & kFree) != 0 && (each.holders.load_relaxed() != 0 || each.sleepers.load_relaxed() != 0)) {
            findings.say({}, "semaphore %u may be changed without asking, though somebody waits for it or holds it", number);
            right &= ~kFree;
        }
        if (mend && right != word) {
            std::uint64_t seen = word;
            each.word.compare_exchange(seen, right);
        }
        if (each.operated_s.load_relaxed() > now_s + 1) {
            findings.say({}, "semaphore %u was last used in the future", number);
            if (mend) each.operated_s.store_relaxed(now_s);
        }
    }
    if (header_->changed_s.load_relaxed() > now_s + 1) {
        findings.say({}, "%s", "the set was last changed in the future");
        if (mend) header_->changed_s.store_relaxed(now_s);
    }
    if ((header_->object.mode.load_relaxed() & ~0777u) != 0) {
        findings.say({}, "its mode is none (0%o)", header_->object.mode.load_relaxed());
        if (mend) header_->object.mode.and_release(0777);
    }
}

// Lists and counts of sleepers, against the sleepers' own records.
void SemaphoreSet::check_sleepers(bool mend, Findings& findings) {
    std::uint32_t asleep = 0, complex = 0, complex_alter = 0;
    bool wrong = false;
    SemaphoreOp ops[kSemaphoreOpsMax];
    for (std::uint32_t number = 0; number < actors_high(); ++number) {
        if (!sleeps(actor(number))) continue;
        const std::uint32_t count = load_ops(number, ops);
        if (count == 0) {
            findings.say({}, "the operations of the sleeper in record %u make no sense; it will be told to ask again", number);
            continue;
        }
        ++asleep;
        complex += count > 1 ? 1 : 0;
        complex_alter += count > 1 && waiter(number).alters.load_relaxed() != 0 ? 1 : 0;
    }
    std::uint32_t listed = 0;
    std::uint64_t ticket = 0;
    for (std::uint32_t at = header_->first.load_relaxed(); at != 0; at = actor(at - 1).next.load_relaxed()) {
        if (at > actors_high() || ++listed > asleep || !sleeps(actor(at - 1)) || actor(at - 1).ticket.load_relaxed() < ticket) {
            wrong = true;
            break;
        }
        ticket = actor(at - 1).ticket.load_relaxed();
    }
    if (wrong || listed != asleep) findings.say({}, "the list of sleepers is broken: %u sleep", asleep);
    wrong = wrong || listed != asleep;
    if (header_->sleepers.load_relaxed() != asleep || header_->complex.load_relaxed() != complex || header_->complex_alter.load_relaxed() != complex_alter) {
        findings.say({}, "%u are said to sleep here, %u do", header_->sleepers.load_relaxed(), asleep);
        wrong = true;
    }
    for (std::uint32_t number = 0; number < semaphores_; ++number) {
        std::uint32_t named = 0, steps = 0;
        for (std::uint32_t at = semaphore(number).first.load_relaxed(); at != 0; at = waiter(at - 1).next.load_relaxed()) {
            if (at > actors_high() || ++steps > asleep || !sleeps(actor(at - 1)) || load_ops(at - 1, ops) != 1 || ops[0].number != number) {
                findings.say({}, "the list of those who sleep on semaphore %u is broken", number);
                wrong = true;
                break;
            }
        }
        if (asleep == 0 && semaphore(number).sleepers.load_relaxed() == 0) continue;
        for (std::uint32_t sleeper = 0; sleeper < actors_high() && asleep != 0; ++sleeper) {
            if (!sleeps(actor(sleeper))) continue;
            const std::uint32_t count = load_ops(sleeper, ops);
            for (std::uint32_t i = 0; i < count; ++i) named += ops[i].number == number ? 1 : 0;
        }
        if (semaphore(number).sleepers.load_relaxed() == named) continue;
        findings.say({}, "%u are said to sleep on semaphore %u, %u do", semaphore(number).sleepers.load_relaxed(), number, named);
        wrong = true;
    }
    if (wrong && mend) relink();
}

// Whose a record is, it says by itself and through the file of lives.
void SemaphoreSet::check_owner(std::uint32_t record, std::uint32_t active, ProcessLives& lives, bool mend, Findings& findings) {
    UndoRecord& each = undo(record);
    const std::uint32_t pid = each.pid.load_acquire(), life = each.life.load_relaxed();
    if (pid == 0 && active == 0) return;  // free
    const ProcessIdentity owner = life != 0 ? lives.identity_of(life - 1) : ProcessIdentity{0, 0};
    const bool owner_lives = owner.pid != 0 && ask_for(owner) != Vital::gone;
    if (pid != 0 && ask_for({pid, each.start.load_relaxed()}) != Vital::gone) {
        if (life == 0 || owner.pid == pid) return;
        findings.say({}, "the process %u of record %u is watched in another's place", pid, record);
        if (mend) each.life.store_relaxed(0);  // asked for instead
        return;
    }
    if (pid != 0 && (owner.pid != pid || !owner_lives)) return;  // it ended: what it held is given back by who next looks
    const auto stake = Findings::Stake{2ull * active, 0};
    if (owner_lives) findings.say(stake, "record %u does not say that its adjustments are those of process %u", record, owner.pid);
    else findings.say(stake, "record %u has adjustments of %u semaphores, which are nobody's", record, active);
    if (!mend) return;
    if (owner_lives) {
        each.start.store_relaxed(owner.start);
        each.pid.store_release(owner.pid);
        return;
    }
    for (std::uint32_t number = 0; number < semaphores_; ++number) adjust(record, number).store_relaxed(0);
    recount();
}

// Adjustments: whose they are, and how many hold each semaphore.
void SemaphoreSet::check_undo(ProcessLives& lives, bool mend, Findings& findings) {
    if (header_->undos_high.load_relaxed() > undos_ || header_->undos_reserved.load_relaxed() > undos_) {
        findings.say({}, "it says that %u records of adjustments were used, of %u", header_->undos_high.load_relaxed(), undos_);
        if (mend && header_->undos_high.load_relaxed() > undos_) header_->undos_high.store_release(undos_);
        if (mend && header_->undos_reserved.load_relaxed() > undos_) header_->undos_reserved.store_release(0);  // taken anew
    }
    for (std::uint32_t record = 0; record < undos_high(); ++record) {
        UndoRecord& each = undo(record);
        std::uint32_t active = 0;
        for (std::uint32_t number = 0; number < semaphores_; ++number) active += adjust(record, number).load_relaxed() != 0 ? 1 : 0;
        bool wrong = each.active.load_relaxed() != active;
        if (wrong)
            findings.say({}, "record %u is said to have adjustments of %u semaphores and has them of %u", record, each.active.load_relaxed(), active);
        if (wrong && mend) recount();
        check_owner(record, active, lives, mend, findings);
    }
    for (std::uint32_t number = 0; number < semaphores_; ++number) {
        std::uint32_t holders = 0;
        bool named = semaphore(number).holder.load_relaxed() == 0;
        for (std::uint32_t record = 0; record < undos_high(); ++record) {
            if (undo(record).active.load_relaxed() == 0 || adjust(record, number).load_relaxed() == 0) continue;
            ++holders;
            named = named || semaphore(number).holder.load_relaxed() == record + 1;
        }
        if (semaphore(number).holders.load_relaxed() == holders && (holders != 1 || named)) continue;
        findings.say({}, "%u processes are said to hold semaphore %u, %u do", semaphore(number).holders.load_relaxed(), number, holders);
        if (mend) recount();
    }
}

Outcome<> SemaphoreSet::check(platform::ThreadState& thread, ProcessLives& lives, std::uint64_t inode, bool mend, Findings& findings) {
    if (!settle_holders(inode, mend, findings)) return platform::done();
    auto lock = sync::ThreadLock::acquire(thread, header_->lock, actors_);
    if (!lock) return lock.fault();
    if (header_->state.load_acquire() != kJournalIdle && !lock->owner_died()) {
        findings.say({}, "%s", "it says that a change is half done; nobody was making one");
        if (mend) header_->state.store_release(kJournalIdle);
    }
    if (lock->owner_died()) recover();
    if (auto good = usable(); !good) return good;
    check_number(mend, findings);
    check_sleepers(mend, findings);
    check_undo(lives, mend, findings);
    check_words(mend, findings);
    if (mend && findings.count() != 0) {
        reap_dead();
        if (header_->sleepers.load_relaxed() != 0) {
            // Whoever sleeps looks anew: what kept it asleep may have been the damage.
            for (std::uint32_t number = 0; number < actors_high(); ++number) nudge(number);
        }
    }
    if (mapping_damaged_.load(std::memory_order_relaxed) != 0) return Fault{EBADMSG, "the set's file was cut short or its memory is gone"};
    return platform::done();
}

}  // namespace muster::objects
