#include "objects/semaphore_set.hpp"
#include "objects/semaphore_set_acting.hpp"
#include "objects/semaphore_set_change.hpp"
#include "objects/sysv_registry.hpp"
#include "platform/crash_point.hpp"
#include "platform/mutant.hpp"
#include "platform/fault_copy.hpp"
#include "platform/file.hpp"

namespace muster::objects {
using platform::Fault;
using platform::Outcome;
using sync::Actor;
using sync::ActorState;
using sync::state_of;
using sync::with_state;

namespace {

constexpr memory::Format kFormat{kSemaphoreSetMagic, kSemaphoreSetFormat, kSemaphoreSetFingerprint, sizeof(SemaphoreHeader) + sizeof(Semaphore)};
constexpr std::uint64_t to_page(std::uint64_t bytes) { return (bytes + 4095) & ~4095ull; }
constexpr Fault kRemoved{EIDRM, "the semaphore set was removed"};

// Where the parts lie; a function of the number of semaphores alone.
struct Places {
    std::uint64_t undo_stride, logs, actors, waiters, vectors, undos, bytes;
};
Places places_for(std::uint32_t semaphores) {
    Places p;
    p.undo_stride = (sizeof(UndoRecord) + 2ull * semaphores + 63) & ~63ull;
    p.logs = to_page(sizeof(SemaphoreHeader) + std::uint64_t{semaphores} * sizeof(Semaphore));
    p.actors = p.logs + to_page(sizeof(SemaphoreLogs));
    p.waiters = p.actors + kSemaphoreActors * sizeof(Actor);
    p.vectors = p.waiters + kSemaphoreActors * sizeof(SemaphoreWaiter);
    p.undos = p.vectors + kSemaphoreActors * 4096ull;
    p.bytes = to_page(p.undos + kSemaphoreUndos * p.undo_stride);
    return p;
}

// What follows from the number of semaphores.
void fill_geometry(SemaphoreHeader& header, std::uint32_t semaphores, const Places& places) {
    header.semaphores = semaphores;
    header.actors = kSemaphoreActors;
    header.undos = kSemaphoreUndos;
    header.undo_stride_bytes = static_cast<std::uint32_t>(places.undo_stride);
    header.logs_offset = places.logs;
    header.actors_offset = places.actors;
    header.waiters_offset = places.waiters;
    header.vectors_offset = places.vectors;
    header.undos_offset = places.undos;
}

}  // namespace

Outcome<> SemaphoreSet::create(int fd, std::uint32_t semaphores, const std::uint16_t* values) {
    const Places places = places_for(semaphores);
    auto mapped = memory::Mapping::create(fd, places.bytes, places.logs, &mapping_damaged_);
    if (!mapped) return mapped.fault();
    mapping_.~Mapping();  // a set made in vain just before: somebody else took its key or its index
    new (&mapping_) memory::Mapping(std::move(*mapped));
    auto& header = reinterpret_cast<SemaphoreHeader&>(mapping_.header());
    memory::fill_header(header.object, kFormat, places.bytes);
    fill_geometry(header, semaphores, places);
    header.changed_s.store_relaxed(platform::realtime_s());
    attach();
    for (std::uint32_t number = 0; number < semaphores_; ++number)
        semaphore(number).word.store_relaxed(mark_ << kMarkShift | kFree | (values != nullptr ? values[number] & kValueMask : 0));
    return platform::done();
}

Outcome<> SemaphoreSet::open(int fd) {
    auto mapped = memory::Mapping::open(fd, kFormat, &mapping_damaged_);
    if (!mapped) return mapped.fault();
    SemaphoreHeader copy;
    if (!platform::fault_copy(platform::current_thread(), &copy, mapped->start(), sizeof copy)) return Fault{EBADMSG, "the set's file is shorter than it says"};
    if (auto checked = check_geometry(copy, mapped->bytes()); !checked) return checked;
    new (&mapping_) memory::Mapping(std::move(*mapped));
    attach();
    return platform::done();
}

Outcome<> SemaphoreSet::check_geometry(const SemaphoreHeader& header, std::uint64_t file_bytes) const {
    if (header.semaphores == 0 || header.semaphores > 65535) return Fault{EBADMSG, "the set's number of semaphores is none"};
    const Places places = places_for(header.semaphores);
    const bool good = header.actors == kSemaphoreActors && header.undos == kSemaphoreUndos && header.undo_stride_bytes == places.undo_stride &&
                      header.logs_offset == places.logs && header.actors_offset == places.actors && header.waiters_offset == places.waiters &&
                      header.vectors_offset == places.vectors && header.undos_offset == places.undos && file_bytes == places.bytes;
    if (!good) return Fault{EBADMSG, "the set's parts are not where they should be"};
    return platform::done();
}

// How many semaphores there are: what the header says if the file is as long as that makes it, else so many as stand there with the
// set's mark. `surely`: each of them has it, and nothing comes behind them; else 0.
static std::uint32_t count_from_file(int fd, const SemaphoreHeader& header, std::uint64_t file_bytes, bool surely) {
    const bool said = header.semaphores != 0 && header.semaphores <= 65535 && places_for(header.semaphores).bytes == file_bytes;
    const Places places = places_for(said ? header.semaphores : 1);
    if (said && (!surely || (header.logs_offset == places.logs && header.undos_offset == places.undos))) return header.semaphores;
    Semaphore part[64];
    std::uint32_t most = 0, end = 0, marked = 0;
    for (std::uint32_t count = 1; count <= 65535; ++count)
        if (places_for(count).bytes == file_bytes) most = count;
    bool all = true;
    for (std::uint32_t number = 0; number < most; ++number) {
        if (number % 64 == 0 && platform::read_at(fd, part, sizeof part, sizeof(SemaphoreHeader) + number * sizeof(Semaphore)) != static_cast<long>(sizeof part)) break;
        const std::uint64_t word = part[number % 64].word.load_relaxed();  // relaxed: a private copy
        const bool good = word >> kMarkShift == (header.object.uuid[0] & 0xffff) && (header.object.uuid[0] & 0xffff) != 0;
        if (good) end = number + 1;
        marked += good ? 1 : 0;
        all = all && (good || word == 0);
    }
    if (end == 0 || places_for(end).bytes != file_bytes) return 0;
    return !surely || (all && marked == end) ? end : 0;
}

Outcome<bool> SemaphoreSet::mend_header(int fd) {
    struct stat status;
    SemaphoreHeader header;
    if (platform::file_status(fd, &status) < 0 || platform::read_at(fd, &header, sizeof header, 0) != static_cast<long>(sizeof header))
        return Fault{EBADMSG, "the file is shorter than a set's header"};
    const auto file_bytes = static_cast<std::uint64_t>(status.st_size);
    const std::uint32_t count = count_from_file(fd, header, file_bytes, true);
    if (count == 0) return Fault{EBADMSG, "neither the header nor the file's length tells how many semaphores there are"};
    auto mended = memory::mend_header(fd, kFormat, file_bytes);
    if (!mended) return mended;
    if (header.semaphores == count && SemaphoreSet().check_geometry(header, file_bytes)) return mended;
    fill_geometry(header, count, places_for(count));
    constexpr std::size_t kBegin = offsetof(SemaphoreHeader, semaphores), kEnd = offsetof(SemaphoreHeader, permission_changes);
    if (platform::write_at(fd, reinterpret_cast<std::byte*>(&header) + kBegin, kEnd - kBegin, kBegin) != static_cast<long>(kEnd - kBegin))
        return Fault{EACCES, "the header cannot be written"};
    return true;
}

std::uint32_t SemaphoreSet::read_values(int fd, SeeValue see, void* context) {
    struct stat status;
    SemaphoreHeader header;
    if (platform::file_status(fd, &status) < 0 || platform::read_at(fd, &header, sizeof header, 0) != static_cast<long>(sizeof header)) return 0;
    std::uint32_t count = count_from_file(fd, header, static_cast<std::uint64_t>(status.st_size), false);
    if (count == 0 && header.semaphores <= 65535) count = header.semaphores;  // cut short, say
    std::uint32_t seen = 0;
    for (; seen < count; ++seen) {
        Semaphore each;
        if (platform::read_at(fd, &each, sizeof each, sizeof(SemaphoreHeader) + seen * sizeof(Semaphore)) != static_cast<long>(sizeof each)) break;
        const std::uint64_t word = each.word.load_relaxed();  // relaxed: a private copy
        const bool sound = value_of(word) <= kSemaphoreValueMax && word >> kMarkShift == (header.object.uuid[0] & 0xffff);
        see(context, seen, value_of(word), pid_of(word), sound);
    }
    return seen;
}

// From the header, once checked, to this process's pointers.
void SemaphoreSet::attach() {
    header_ = reinterpret_cast<SemaphoreHeader*>(mapping_.start());
    semaphores_ = static_cast<std::uint32_t>((header_->logs_offset - sizeof(SemaphoreHeader)) / sizeof(Semaphore));
    if (header_->semaphores < semaphores_) semaphores_ = header_->semaphores;  // within the mapping, whatever it says
    const Places places = places_for(semaphores_);
    semaphores_at_ = reinterpret_cast<Semaphore*>(mapping_.start() + sizeof(SemaphoreHeader));
    mark_ = header_->object.uuid[0] & 0xffff;
    undos_ = kSemaphoreUndos;
    undo_stride_ = places.undo_stride;
    logs_offset_ = places.logs;
    vectors_offset_ = places.vectors;
    undos_offset_ = places.undos;
    actors_offset_ = places.actors;
    waiters_offset_ = places.waiters;
    actors_ = {reinterpret_cast<Actor*>(mapping_.start() + places.actors), kSemaphoreActors};
    waiters_ = reinterpret_cast<SemaphoreWaiter*>(mapping_.start() + places.waiters);
}

// Who comes late looks at the header and the semaphores' words (operate_quickly()), no further.
void SemaphoreSet::blank() { mapping_.blank(to_page(logs_offset_)); }

Outcome<> SemaphoreSet::usable() const {
    if (removed()) return kRemoved;
    if (mapping_damaged_.load(std::memory_order_relaxed) != 0) return Fault{EIDRM, "the set's file is damaged"};
    return platform::done();
}

std::uint32_t SemaphoreSet::actors_high() const {
    const std::uint32_t high = header_->actors_high.load_acquire();
    return high < actors_.count ? high : actors_.count;
}

// Memory for a part of the file, or an error rather than a fault later.
Outcome<> SemaphoreSet::reserve(std::uint64_t offset, std::uint64_t bytes) const {
    const std::uint64_t first = offset & ~4095ull;
    const int rc = platform::populate_mapping(mapping_.start() + first, to_page(offset + bytes) - first);
    if (rc < 0) return Fault{rc == -EFAULT ? ENOSPC : -rc, "the file system of the domain is full"};
    return platform::done();
}

Outcome<> SemaphoreSet::reserve_logs() {
    if (header_->logs_reserved.load_acquire() != 0) return platform::done();
    if (auto got = reserve(logs_offset_, sizeof(SemaphoreLogs)); !got) return got;
    header_->logs_reserved.store_release(1);
    return platform::done();
}

// What every call under the lock begins with.
template <class Body>
Outcome<> SemaphoreSet::locked(platform::ThreadState& thread, ProcessLives* lives, Body body) {
    auto lock = sync::ThreadLock::acquire(thread, header_->lock, actors_);
    if (!lock) return lock.fault();
    if (lock->owner_died()) recover();
    if (auto good = usable(); !good) return good;
    if (lives != nullptr) {
        bool unsure = false;
        settle_dead(nullptr, 0, *lives, 0, unsure);
    }
    return body();
}

// A change while nobody sleeps: what SemaphoreChange does, at the shortest. Results as of SemaphoreChange::perform(); what has been
// staged when an operation fails is never looked at again. Unless `kSettled`, kAskFirst also if one of the semaphores is held by
// somebody who may be dead.
template <bool kSettled>
[[gnu::always_inline]] inline int SemaphoreSet::operate_alone(const SemaphoreOp* ops, std::uint32_t count, std::uint32_t record, std::uint32_t pid,
                                                              std::uint32_t& blocking) {
    SemaphoreHeader& header = *header_;
    Semaphore* const all = semaphores_at_;
    const std::uint32_t last = header.change.load_relaxed(), change = last + 1 != 0 ? last + 1 : 1;
    header.change.store_relaxed(change);
    std::uint32_t staged = 0, adjusted = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        const SemaphoreOp op = ops[i];
        Semaphore& each = all[op.number];
        if constexpr (!kSettled) {
            const std::uint32_t holders = each.holders.load_relaxed();
            if (holders != 0 && (holders != 1 || record == 0 || each.holder.load_relaxed() != record)) return kAskFirst;
        }
        std::uint64_t word;
        if (__builtin_expect(each.stage.load_relaxed() == change, 0)) {
            word = each.staged.load_relaxed();
        } else {
            word = each.word.load_relaxed();
            while (__builtin_expect((word & kFree) != 0, 0))
                if (each.word.compare_exchange(word, word & ~kFree)) word &= ~kFree;
            each.stage.store_relaxed(change);
            all[staged++].logged.store_relaxed(op.number);  // at most one entry a semaphore
        }
        const int value = static_cast<int>(value_of(word)), next = value + op.amount;
        if (op.amount == 0 ? value != 0 : next < 0) {
            blocking = i;
            return op.must_not_wait() ? -EAGAIN : 1;
        }
        if (next > static_cast<int>(kSemaphoreValueMax)) return -ERANGE;
        if (op.has_undo() && op.amount != 0 && record != 0) {
            std::uint32_t entry = adjusted;
            if (__builtin_expect((word & kAdjustStaged) != 0, 0))
                for (entry = 0; (logs().adjust[entry].load_relaxed() >> 16 & 0xffff) != op.number; ++entry)
                    if (entry + 1 >= adjusted) return -ERANGE;  // damaged
            const std::uint64_t before = entry < adjusted ? logs().adjust[entry].load_relaxed() : adjust(record - 1, op.number).load_relaxed();
            const int amount = static_cast<std::int16_t>(before & 0xffff) - op.amount;
            if (amount < -kSemaphoreAdjustMax - 1 || amount > kSemaphoreAdjustMax) return -ERANGE;
            logs().adjust[entry].store_relaxed(static_cast<std::uint64_t>(record - 1) << 32 | static_cast<std::uint64_t>(op.number) << 16 |
                                               static_cast<std::uint16_t>(amount));
            if (entry == adjusted) ++adjusted;
            word |= kAdjustStaged;
        }
        each.staged.store_relaxed(with_pid(with_value(word, static_cast<std::uint32_t>(next)), pid));
    }
    const std::uint64_t now_s = platform::realtime_s();
    header.staged.store_relaxed(staged);
    header.adjusted.store_relaxed(adjusted);
    header.given.store_relaxed(0);
    header.clear.store_relaxed(kClearNothing);
    header.operated.store_relaxed(ops[0].number + 1u);
    header.operated_s.store_relaxed(now_s);
    MUSTER_CRASH_POINT("semaphore.alone.staged");
    // COMMIT: all of it is so from this store on.
    header.state.store_release(kJournalCommitted);
    MUSTER_CRASH_POINT("semaphore.alone.committed");
    // What apply() does, with what we know.
    for (std::uint32_t i = 0; i < count; ++i) {
        Semaphore& each = all[ops[i].number];
        each.word.store_release(each.staged.load_relaxed() & ~(kAdjustStaged | kFree));
    }
    MUSTER_CRASH_POINT("semaphore.alone.words");
    for (std::uint32_t entry = 0; entry < adjusted; ++entry) apply_adjustment(logs().adjust[entry].load_relaxed());
    all[ops[0].number].operated_s.store_relaxed(now_s);
    MUSTER_CRASH_POINT("semaphore.alone.applied");
    header.state.store_release(kJournalIdle);
    return 0;
}

// One operation on a semaphore that nobody sleeps on and nobody has adjustments for: the word is all there is to change.
// After a while of such operations the lock is not needed for it any more.
constexpr std::uint32_t kQuietOperations = 16;

Outcome<> SemaphoreSet::operate_locked(const SemaphoreOp* ops, std::uint32_t count, std::uint32_t record, std::uint32_t pid, std::uint32_t& blocking,
                                       bool& waits, sync::ThreadLock* lock) {
    Semaphore& first = semaphore(ops[0].number);
    if (count == 1 && record == 0 && header_->sleepers.load_relaxed() == 0) {
        std::uint64_t word = first.word.load_relaxed();
        while ((word & kFree) != 0)
            if (first.word.compare_exchange(word, word & ~kFree)) word &= ~kFree;
        const int value = static_cast<int>(value_of(word)), next = value + ops[0].amount;
        if (ops[0].amount == 0 ? value != 0 : next < 0) {
            if (ops[0].must_not_wait()) return Fault{EAGAIN, "the operation would have to wait"};
            waits = true;
            return platform::done();
        }
        if (next > static_cast<int>(kSemaphoreValueMax)) return Fault{ERANGE, "the semaphore's value would exceed 32767"};
        std::uint64_t result = with_pid(with_value(word, static_cast<std::uint32_t>(next)), pid);
        if (first.holders.load_relaxed() == 0) {
            const std::uint32_t quiet = first.quiet.load_relaxed() + 1;
            first.quiet.store_relaxed(quiet);
            if (quiet >= kQuietOperations) result |= kFree;
        }
        // COMMIT: one word.
        first.word.store_release(result);
        first.operated_s.store_relaxed(platform::realtime_s());
        return platform::done();
    }
    first.quiet.store_relaxed(0);
    if (header_->sleepers.load_relaxed() == 0) {
        const int rc = operate_alone<true>(ops, count, record, pid, blocking);
        if (rc == 0) return platform::done();
        waits = rc > 0;
        if (waits) return platform::done();
        return Fault{-rc, rc == -EAGAIN ? "the operation would have to wait" : "a semaphore's value or adjustment would exceed its limits"};
    }
    SemaphoreChange change(*this, lock != nullptr ? SemaphoreChange::Held::by_thread : SemaphoreChange::Held::by_actor);
    const int rc = change.perform(ops, count, record, blocking);
    if (rc < 0) return Fault{-rc, rc == -EAGAIN ? "the operation would have to wait" : "a semaphore's value or adjustment would exceed its limits"};
    if (rc > 0) {
        waits = true;
        return platform::done();
    }
    change.set_pids(ops, count, pid);
    change.operated(ops[0].number);
    change.serve_sleepers(ops, count);
    const int wakes = change.commit();
    if (lock != nullptr) lock->wake_at_release(wakes);
    return platform::done();
}

Outcome<> SemaphoreSet::operate(platform::ThreadState& thread, const SemaphoreOp* ops, std::uint32_t count, std::int64_t timeout_ns, ProcessLives& lives) {
    bool has_undo = false;
    for (std::uint32_t i = 0; i < count; ++i) {
        if (ops[i].number >= semaphores_) return Fault{EFBIG, "the set has fewer semaphores"};
        has_undo = has_undo || ops[i].has_undo();
    }
    std::uint32_t record = 0;
    if (has_undo) {
        record = known_record(thread, lives);
        if (__builtin_expect(record == 0, 0)) {
            auto own = own_record(thread, lives);
            if (!own) return own.fault();
            record = *own;
        }
    }
    {
        auto lock = sync::ThreadLock::acquire(thread, header_->lock, actors_);
        if (!lock) return lock.fault();
        MUSTER_CRASH_POINT("semaphore.locked");
        const std::uint32_t pid = platform::process_id_of(thread);
        std::uint32_t blocking = 0;
        // Nobody to ask whether he lives, nobody asleep, nothing to wait for: then this is all. One with undo, or several without.
        if (__builtin_expect((count > 1) == (record == 0) && header_->sleepers.load_relaxed() == 0 && !lock->owner_died() && is_usable(), 1)) {
            semaphore(ops[0].number).quiet.store_relaxed(0);
            const int rc = record != 0 ? operate_alone<false>(ops, 1, record, pid, blocking) : operate_alone<false>(ops, count, 0, pid, blocking);
            if (__builtin_expect(rc == 0, 1)) {
                MUSTER_CRASH_POINT("semaphore.operated");
                return platform::done();
            }
        }
        if (lock->owner_died()) recover();
        if (auto good = usable(); !good) return good;
        bool unsure = false;
        settle_dead(ops, count, lives, record, unsure);
        bool waits = false;
        auto result = operate_locked(ops, count, record, pid, blocking, waits, &*lock);
        MUSTER_CRASH_POINT("semaphore.operated");
        if (!waits) return result;
    }
    if (timeout_ns == 0) return Fault{EAGAIN, "the time is over"};
    return operate_asleep(thread, ops, count, timeout_ns, lives, has_undo);
}

// ---- processes with adjustments ----

// This process's record, 1 + number; made if there is none.
Outcome<std::uint32_t> SemaphoreSet::own_record(platform::ThreadState& thread, ProcessLives& lives) {
    if (const std::uint32_t known = known_record(thread, lives); known != 0) return known;
    (void)lives.open(true);
    auto armed = lives.arm(thread);
    // Without a life word the process's end is found by asking, later.
    const std::uint32_t life = armed ? *armed + 1 : 0;
    const ProcessIdentity self = own_identity(thread);
    std::uint32_t mine = 0;
    auto found = locked(thread, nullptr, [&]() -> Outcome<> {
        if (auto got = reserve_logs(); !got) return got;
        std::uint32_t place = undos_;
        const std::uint32_t high = undos_high();
        for (std::uint32_t number = 0; number < high; ++number) {
            const std::uint32_t pid = undo(number).pid.load_relaxed();
            if (pid == self.pid && undo(number).start.load_relaxed() == self.start) {
                undo(number).life.store_relaxed(life);
                mine = number + 1;
                return platform::done();
            }
            if (pid == 0 && place == undos_) place = number;
        }
        if (place == undos_) {
            // The records of those who ended with nothing to undo.
            for (std::uint32_t number = 0; high >= 64 && number < high && place == undos_; ++number) {
                bool unsure = false;
                if (undo(number).active.load_relaxed() != 0 || !holder_is_dead(number, lives, unsure)) continue;
                undo(number).pid.store_release(0);
                place = number;
            }
        }
        if (place == undos_) {
            if (high == undos_) return Fault{ENOSPC, "too many processes have adjustments at this set"};
            if (auto got = reserve(undos_offset_ + high * undo_stride_, undo_stride_); !got) return got;
            header_->undos_high.store_release(high + 1);
            place = high;
        }
        undo(place).start.store_relaxed(self.start);
        undo(place).life.store_relaxed(life);
        MUSTER_CRASH_POINT("semaphore.undo.filled");
        undo(place).pid.store_release(self.pid);
        mine = place + 1;
        MUSTER_CRASH_POINT("semaphore.undo.made");
        return platform::done();
    });
    if (!found) return found.fault();
    own_record_.store(mine, std::memory_order_relaxed);
    own_record_generation_.store(thread.generation, std::memory_order_release);
    return mine;
}

bool SemaphoreSet::holder_is_dead(std::uint32_t record, ProcessLives& lives, bool& unsure) {
    const ProcessIdentity process{undo(record).pid.load_acquire(), undo(record).start.load_relaxed()};
    if (process.pid == 0) return false;
    const std::uint32_t life = undo(record).life.load_relaxed();
    if (!lives.is_open()) (void)lives.open(false);
    if (life != 0 && lives.vouches(life - 1, process)) return false;
    const Vital vital = ask_for(process);
    if (life != 0 && vital == Vital::gone) lives.tell(life - 1);
    if (vital != Vital::gone) unsure = true;
    return vital == Vital::gone;
}

// SOURCE the kernel's exit_sem: the adjustments are added, clamped, and the sleepers looked at once after all of them.
void SemaphoreSet::end_record(std::uint32_t record) {
    UndoRecord& ended = undo(record);
    SemaphoreChange change(*this, SemaphoreChange::Held::by_actor);
    const std::uint32_t pid = ended.pid.load_relaxed();
    if (ended.active.load_relaxed() != 0) {
        for (std::uint32_t number = 0; number < semaphores_; ++number) {
            const int amount = static_cast<std::int16_t>(adjust(record, number).load_relaxed());
            if (amount == 0) continue;
            int next = static_cast<int>(change.value(number)) + amount;
            if (next < 0) next = 0;
            if (next > static_cast<int>(kSemaphoreValueMax)) next = static_cast<int>(kSemaphoreValueMax);
            change.assign(number, static_cast<std::uint32_t>(next), pid);
        }
        change.operated(0);
    }
    if (!MUSTER_MUTANT(undo_twice)) change.clear(kClearRecord, record);
    change.serve_sleepers(nullptr, 0);
    MUSTER_CRASH_POINT("semaphore.undo.staged");
    change.commit();
}

void SemaphoreSet::settle_dead(const SemaphoreOp* ops, std::uint32_t count, ProcessLives& lives, std::uint32_t own, bool& unsure) {
    const auto settle_all = [&] {
        const std::uint32_t high = undos_high();
        for (std::uint32_t record = 0; record < high; ++record)
            if (record + 1 != own && undo(record).active.load_relaxed() != 0 && holder_is_dead(record, lives, unsure)) end_record(record);
    };
    if (ops == nullptr) return settle_all();
    for (std::uint32_t i = 0; i < count; ++i) {
        const Semaphore& each = semaphore(ops[i].number);
        const std::uint32_t holders = each.holders.load_relaxed();
        if (__builtin_expect(holders == 0, 1)) continue;
        const std::uint32_t holder = each.holder.load_relaxed();
        if (holders == 1 && holder != 0 && holder == own) continue;
        if (holders == 1 && holder != 0 && holder <= undos_high()) {
            if (holder_is_dead(holder - 1, lives, unsure)) end_record(holder - 1);
            continue;
        }
        return settle_all();
    }
}

// ---- semctl ----

Outcome<std::uint32_t> SemaphoreSet::value(platform::ThreadState& thread, ProcessLives& lives, std::uint32_t number) {
    const std::uint64_t word = semaphore(number).word.load_acquire();
    if ((word & kFree) != 0) return value_of(word);
    std::uint32_t result = 0;
    auto looked = locked(thread, &lives, [&]() -> Outcome<> {
        result = value_of(semaphore(number).word.load_relaxed());
        return platform::done();
    });
    if (!looked) return looked.fault();
    return result;
}

Outcome<std::uint32_t> SemaphoreSet::last_pid(platform::ThreadState& thread, ProcessLives& lives, std::uint32_t number) {
    std::uint32_t result = 0;
    auto looked = locked(thread, &lives, [&]() -> Outcome<> {
        result = pid_of(semaphore(number).word.load_relaxed());
        return platform::done();
    });
    if (!looked) return looked.fault();
    return result;
}

Outcome<std::uint32_t> SemaphoreSet::waiting(platform::ThreadState& thread, ProcessLives& lives, std::uint32_t number, bool for_zero) {
    std::uint32_t result = 0;
    auto looked = locked(thread, &lives, [&]() -> Outcome<> {
        reap_dead();
        std::uint32_t steps = 0;
        for (std::uint32_t at = header_->first.load_relaxed(); at != 0 && at <= actors_.count && steps < actors_.count; at = actor(at - 1).next.load_relaxed(), ++steps) {
            SemaphoreOp ops[kSemaphoreOpsMax];
            const std::uint32_t count = load_ops(at - 1, ops);
            const std::uint32_t blocking = waiter(at - 1).blocking.load_relaxed();
            if (blocking >= count || ops[blocking].number != number) continue;
            if (for_zero ? ops[blocking].amount == 0 : ops[blocking].amount < 0) ++result;
        }
        return platform::done();
    });
    if (!looked) return looked.fault();
    return result;
}

Outcome<> SemaphoreSet::values(platform::ThreadState& thread, ProcessLives& lives, std::uint16_t* to) {
    return locked(thread, &lives, [&]() -> Outcome<> {
        // All at one instant: nobody may change a word meanwhile.
        SemaphoreChange change(*this, SemaphoreChange::Held::by_actor);
        for (std::uint32_t number = 0; number < semaphores_; ++number) to[number] = static_cast<std::uint16_t>(change.value(number));
        return platform::done();
    });
}

Outcome<> SemaphoreSet::set_value(platform::ThreadState& thread, ProcessLives& lives, std::uint32_t number, std::uint32_t value) {
    return locked(thread, &lives, [&]() -> Outcome<> {
        SemaphoreChange change(*this, SemaphoreChange::Held::by_actor);
        change.assign(number, value, platform::process_id_of(thread));
        semaphore(number).quiet.store_relaxed(0);
        change.clear(kClearSemaphore, number);
        change.serve_sleepers(nullptr, 0);
        change.commit();
        header_->changed_s.store_relaxed(platform::realtime_s());
        return platform::done();
    });
}

Outcome<> SemaphoreSet::set_values(platform::ThreadState& thread, ProcessLives& lives, const std::uint16_t* from) {
    return locked(thread, &lives, [&]() -> Outcome<> {
        SemaphoreChange change(*this, SemaphoreChange::Held::by_actor);
        const std::uint32_t pid = platform::process_id_of(thread);
        for (std::uint32_t number = 0; number < semaphores_; ++number) change.assign(number, from[number], pid);
        change.clear(kClearAll, 0);
        change.serve_sleepers(nullptr, 0);
        change.commit();
        header_->changed_s.store_relaxed(platform::realtime_s());
        return platform::done();
    });
}

Outcome<SemaphoreSet::Times> SemaphoreSet::times(platform::ThreadState& thread, ProcessLives& lives) {
    Times result{0, 0};
    auto looked = locked(thread, &lives, [&]() -> Outcome<> {
        for (std::uint32_t number = 0; number < semaphores_; ++number) {
            const std::uint64_t at = semaphore(number).operated_s.load_relaxed();
            if (at > result.operated_s) result.operated_s = at;
        }
        result.changed_s = header_->changed_s.load_relaxed();
        return platform::done();
    });
    if (!looked) return looked.fault();
    return result;
}

Outcome<SemaphoreSet::Shown> SemaphoreSet::peek(int fd) {
    constexpr Fault kDamaged{EINVAL, "the set's file is damaged"};
    SemaphoreHeader header;
    if (platform::read_at(fd, &header, sizeof header, 0) != static_cast<long>(sizeof header)) return kDamaged;
    if (header.object.magic != kFormat.magic || header.semaphores == 0 || header.semaphores > 65535) return kDamaged;
    Shown shown{{0, header.changed_s.load_relaxed()}, header.semaphores};
    Semaphore some[64];
    for (std::uint32_t first = 0; first < header.semaphores; first += 64) {
        const std::uint32_t count = header.semaphores - first < 64 ? header.semaphores - first : 64;
        const long bytes = static_cast<long>(count * sizeof(Semaphore));
        if (platform::read_at(fd, some, static_cast<std::size_t>(bytes), sizeof header + first * sizeof(Semaphore)) != bytes) return kDamaged;
        for (std::uint32_t number = 0; number < count; ++number) {
            const std::uint64_t at = some[number].operated_s.load_relaxed();
            if (at > shown.times.operated_s) shown.times.operated_s = at;
        }
    }
    return shown;
}

std::uint64_t SemaphoreSet::count_all(SysvRegistry& registry) {
    std::uint64_t all = 0;
    for (int index = registry.highest_index(SysvKind::sem); index >= 0; --index) {
        auto opened = registry.open_index(SysvKind::sem, static_cast<std::uint32_t>(index));
        std::uint32_t semaphores = 0;
        if (opened && platform::read_at(opened->file.fd(), &semaphores, sizeof semaphores, offsetof(SemaphoreHeader, semaphores)) ==
                          static_cast<long>(sizeof semaphores))
            all += semaphores;
    }
    return all;
}

Outcome<> SemaphoreSet::administer(platform::ThreadState& thread, Judge step, void* context) {
    return locked(thread, nullptr, [&]() -> Outcome<> {
        if (auto done = step(context, header_->object); !done) return done;
        header_->permission_changes.store_release(header_->permission_changes.load_relaxed() + 1);
        header_->changed_s.store_relaxed(platform::realtime_s());
        return platform::done();
    });
}

Outcome<> SemaphoreSet::remove(platform::ThreadState& thread, Step mark, void* context) {
    return locked(thread, nullptr, [&]() -> Outcome<> {
        // Before the commit: nobody may go on by a word alone, and the sleepers are awake, as whenever they are told something.
        for (std::uint32_t number = 0; number < semaphores_; ++number) semaphore(number).word.and_release(~kFree);
        call_sleepers();
        MUSTER_CRASH_POINT("semaphore.remove.called");
        mark(context, header_->object);
        MUSTER_CRASH_POINT("semaphore.remove.marked");
        dismiss_sleepers();
        return platform::done();
    });
}

Outcome<> SemaphoreSet::look(platform::ThreadState& thread, ProcessLives& lives, SeeSleeper see_sleeper, SeeHolder see_holder, void* context) {
    return locked(thread, &lives, [&]() -> Outcome<> {
        reap_dead();
        std::uint32_t steps = 0;
        for (std::uint32_t at = header_->first.load_relaxed(); at != 0 && at <= actors_.count && steps < actors_.count; at = actor(at - 1).next.load_relaxed(), ++steps) {
            SemaphoreOp ops[kSemaphoreOpsMax];
            const std::uint32_t count = load_ops(at - 1, ops);
            const std::uint32_t blocking = waiter(at - 1).blocking.load_relaxed();
            if (blocking < count)
                see_sleeper(context, actor(at - 1).process_id.load_relaxed(), actor(at - 1).thread_id.load_relaxed(), actor(at - 1).since_ns.load_relaxed(), ops[blocking]);
        }
        for (std::uint32_t record = 0; record < undos_high(); ++record) {
            if (undo(record).active.load_relaxed() == 0) continue;
            for (std::uint32_t number = 0; number < semaphores_; ++number)
                if (const int amount = static_cast<std::int16_t>(adjust(record, number).load_relaxed()); amount != 0)
                    see_holder(context, undo(record).pid.load_relaxed(), number, amount);
        }
        return platform::done();
    });
}

Outcome<SemaphoreSet::Remains> SemaphoreSet::remains(platform::ThreadState& thread, ProcessLives& lives) {
    Remains result{0, 0};
    auto looked = locked(thread, nullptr, [&]() -> Outcome<> {
        for (std::uint32_t number = 0; number < actors_high(); ++number)
            if ((actor(number).life.load_acquire() & FUTEX_OWNER_DIED) != 0) ++result.sleepers;
        bool unsure = false;
        for (std::uint32_t record = 0; record < undos_high(); ++record)
            if (undo(record).active.load_relaxed() != 0 && holder_is_dead(record, lives, unsure)) ++result.holders;
        return platform::done();
    });
    if (!looked) return looked.fault();
    return result;
}

Outcome<> SemaphoreSet::settle(platform::ThreadState& thread, ProcessLives& lives) {
    return locked(thread, &lives, [&]() -> Outcome<> {
        reap_dead();
        return platform::done();
    });
}

}  // namespace muster::objects
