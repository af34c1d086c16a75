// The semaphore set engine. docs/protocols/semaphore_set.md tells how it works and why it survives.
//
// In short: an operation on one semaphore that need not wait and concerns nobody else is one compare-and-swap of
// its word. All else is done under one robust lock, as a change that is staged, committed and applied; whoever makes others' waits end
// performs their operations for them in the same change.
#pragma once
#include <atomic>
#include "memory/mapping.hpp"
#include "objects/permission.hpp"
#include "objects/semaphore_set_layout.hpp"
#include "objects/semaphore_set_lives.hpp"
#include "platform/futex.hpp"
#include "platform/process.hpp"
#include "sync/robust_lock.hpp"

namespace muster::objects {

// SOURCE semop(2): struct sembuf.
struct SemaphoreOp {
    std::uint16_t number;
    std::int16_t amount;
    std::int16_t flags;
    bool has_undo() const { return (flags & 0x1000) != 0; }    // SEM_UNDO
    bool must_not_wait() const { return (flags & 04000) != 0; }  // IPC_NOWAIT
};
static_assert(sizeof(SemaphoreOp) == 6);

class Findings;
class SemaphoreChange;
class SemaphoreActing;
struct SemaphoreSleep;

class SysvRegistry;

class SemaphoreSet {
public:
    SemaphoreSet() = default;
    SemaphoreSet(const SemaphoreSet&) = delete;

    // Makes a set in an empty file, of zeroes or of `values`, each at most kSemaphoreValueMax; it is not ready yet.
    // Errors: ENOSPC, ENOMEM, EFBIG.
    platform::Outcome<> create(int fd, std::uint32_t semaphores, const std::uint16_t* values = nullptr);
    // Maps an existing set. Errors: EBADMSG with the reason, ENOMEM.
    platform::Outcome<> open(int fd);
    // What follows if the set is to be found by others at once, without the registry's marks (tests).
    void publish_ready() { mapping_.publish_ready(); }
    std::uint32_t size() const { return semaphores_; }
    Permission permission() const { return Permission::of(header_->object); }
    memory::ObjectHeader& object() const { return header_->object; }
    std::uint32_t permission_changes() const { return header_->permission_changes.load_acquire(); }

    // The short way: one operation without undo, `number` < size(). False: use operate().
    bool operate_quickly(std::uint32_t number, int amount, std::uint32_t pid, std::uint64_t now_s) {
        Semaphore& semaphore = semaphores_at_[number];
        std::uint64_t word = semaphore.word.load_acquire();
        // A collision with another CPU's operation goes the long way only if it lasts.
        for (int tries = 0; tries < 4; ++tries) {
            const auto next = static_cast<std::uint32_t>(static_cast<int>(value_of(word)) + amount);  // a negative one is huge
            if ((word & kFree) == 0 || (word >> kMarkShift) != mark_ || next > kSemaphoreValueMax || (amount == 0 && next != 0)) return false;
            // COMMIT of a lone operation.
            if (semaphore.word.compare_exchange(word, with_pid(with_value(word, next), pid))) {
                if (semaphore.operated_s.load_relaxed() != now_s) semaphore.operated_s.store_relaxed(now_s);  // relaxed: a time of day
                return true;
            }
        }
        return false;
    }

    // SOURCE semop(2). `timeout_ns` from now, kForever without. Errors: EAGAIN, E2BIG never, EFBIG, EIDRM, EINTR, ENOMEM, ENOSPC, ERANGE.
    platform::Outcome<> operate(platform::ThreadState& thread, const SemaphoreOp* ops, std::uint32_t count, std::int64_t timeout_ns,
                                ProcessLives& lives);

    // SOURCE semctl(2). Errors: EIDRM; `number` < size(), values <= kSemaphoreValueMax.
    platform::Outcome<std::uint32_t> value(platform::ThreadState& thread, ProcessLives& lives, std::uint32_t number);
    platform::Outcome<std::uint32_t> last_pid(platform::ThreadState& thread, ProcessLives& lives, std::uint32_t number);
    // How many wait for an increase of the semaphore, or for zero.
    platform::Outcome<std::uint32_t> waiting(platform::ThreadState& thread, ProcessLives& lives, std::uint32_t number, bool for_zero);
    platform::Outcome<> values(platform::ThreadState& thread, ProcessLives& lives, std::uint16_t* to);
    platform::Outcome<> set_value(platform::ThreadState& thread, ProcessLives& lives, std::uint32_t number, std::uint32_t value);
    platform::Outcome<> set_values(platform::ThreadState& thread, ProcessLives& lives, const std::uint16_t* from);
    struct Times {
        std::uint64_t operated_s, changed_s;
    };
    platform::Outcome<Times> times(platform::ThreadState& thread, ProcessLives& lives);
    // What everybody may see of a set that need not be theirs to map: its times and its size. Errors: EINVAL.
    struct Shown {
        Times times;
        std::uint32_t semaphores;
    };
    static platform::Outcome<Shown> peek(int fd);
    // How many semaphores there are in all sets of the domain.
    static std::uint64_t count_all(SysvRegistry& registry);
    // Ends the set: sleepers get EIDRM. `mark` is what makes others see it (COMMIT). Errors: EIDRM.
    using Step = void (*)(void* context, memory::ObjectHeader& header);
    platform::Outcome<> remove(platform::ThreadState& thread, Step mark, void* context);
    // Runs `step` under the lock and counts a change of rights. Errors: EIDRM, what `step` says.
    using Judge = platform::Outcome<> (*)(void* context, memory::ObjectHeader& header);
    platform::Outcome<> administer(platform::ThreadState& thread, Judge step, void* context);

    // For tools: `visit(context, actor's process, since_ns, operation that blocks)` for each sleeper, oldest first; and each holder of adjustments.
    using SeeSleeper = void (*)(void* context, std::uint32_t pid, std::uint32_t thread, std::uint64_t since_ns, const SemaphoreOp& blocking);
    using SeeHolder = void (*)(void* context, std::uint32_t pid, std::uint32_t number, int adjustment);
    platform::Outcome<> look(platform::ThreadState& thread, ProcessLives& lives, SeeSleeper sleeper, SeeHolder holder, void* context);

    // How many sleep here, as of a moment ago.
    std::uint32_t sleepers() const { return header_->sleepers.load_relaxed(); }  // relaxed: told to tools only
    // When the semaphore was last operated on, 0 never.
    std::uint64_t operated_s(std::uint32_t number) const { return semaphore(number).operated_s.load_relaxed(); }  // relaxed: a time of day
    // What ended processes left: adjustments not yet applied, sleepers not yet forgotten. Changes nothing.
    struct Remains {
        std::uint32_t holders, sleepers;
    };
    platform::Outcome<Remains> remains(platform::ThreadState& thread, ProcessLives& lives);
    // Applies and forgets them.
    platform::Outcome<> settle(platform::ThreadState& thread, ProcessLives& lives);

    // Compares the set's parts with each other: the lock and the sleepers' records with the threads that there are, lists and counts
    // with the records, adjustments with the file of lives, words and times with what can be. With `mend` whatever follows from
    // something else is made anew; a value that none can have stays. `inode`: of the set's file, as /proc shows it.
    // Errors: EIDRM; EBADMSG pages of it are gone.
    platform::Outcome<> check(platform::ThreadState& thread, ProcessLives& lives, std::uint64_t inode, bool mend, Findings& findings);
    // Writes what of the header follows from the number of semaphores and the file's length. True: something was wrong.
    // Errors: EBADMSG it does not follow.
    static platform::Outcome<bool> mend_header(int fd);
    // For salvage: `see(context, number, value, last pid, sound)` for each semaphore whose word the file still holds, whatever
    // the header says; `see` may not keep what it is given. How many; 0: the file holds none.
    using SeeValue = void (*)(void* context, std::uint32_t number, std::uint32_t value, std::uint32_t pid, bool sound);
    static std::uint32_t read_values(int fd, SeeValue see, void* context);

    // In place of unmapping: header and words read as zeroes, which no one takes for a set, and stay valid for threads that come late.
    void blank();

private:
    friend class SemaphoreChange;
    friend class SemaphoreActing;
    friend struct SemaphoreSleep;

    void attach();
    platform::Outcome<> check_geometry(const SemaphoreHeader& header, std::uint64_t file_bytes) const;
    Semaphore& semaphore(std::uint32_t number) const { return semaphores_at_[number]; }
    sync::Actor& actor(std::uint32_t number) const { return actors_.first[number]; }
    SemaphoreWaiter& waiter(std::uint32_t number) const { return waiters_[number]; }
    memory::ShmU64* vector(std::uint32_t number) const { return reinterpret_cast<memory::ShmU64*>(mapping_.start() + vectors_offset_ + number * 4096ull); }
    UndoRecord& undo(std::uint32_t record) const { return *reinterpret_cast<UndoRecord*>(mapping_.start() + undos_offset_ + record * undo_stride_); }
    using Adjust = memory::ShmWord<std::uint16_t>;
    Adjust& adjust(std::uint32_t record, std::uint32_t number) const { return reinterpret_cast<Adjust*>(&undo(record) + 1)[number]; }
    SemaphoreLogs& logs() const { return *reinterpret_cast<SemaphoreLogs*>(mapping_.start() + logs_offset_); }
    bool removed() const { return header_->object.removed.load_acquire() == 1; }
    bool is_usable() const { return !removed() && mapping_damaged_.load(std::memory_order_relaxed) == 0; }
    platform::Outcome<> usable() const;
    std::uint32_t actors_high() const;
    std::uint32_t undos_high() const {
        const std::uint32_t high = header_->undos_high.load_acquire();
        return high < undos_ ? high : undos_;
    }

    platform::Outcome<> reserve(std::uint64_t offset, std::uint64_t bytes) const;
    platform::Outcome<> reserve_logs();
    // Lock held by thread or actor, and taken from the dead:
    void recover();
    void apply();
    void apply_adjustment(std::uint64_t logged) {
        const auto number = static_cast<std::uint32_t>(logged >> 16 & 0xffff);
        const auto record = static_cast<std::uint32_t>(logged >> 32);
        if (number >= semaphores_ || record >= undos_high()) return;
        const std::uint16_t before = adjust(record, number).load_relaxed();
        const auto after = static_cast<std::uint16_t>(logged & 0xffff);
        adjust(record, number).store_relaxed(after);
        if ((before == 0) == (after == 0)) return;
        // The counts are made anew should we die here. Who of several is the holder is not known without looking.
        const std::uint32_t one = after != 0 ? 1 : ~0u;
        Semaphore& held = semaphore(number);
        held.holders.store_relaxed(held.holders.load_relaxed() + one);
        held.holder.store_relaxed(after != 0 ? record + 1 : 0);
        undo(record).active.store_relaxed(undo(record).active.load_relaxed() + one);
    }
    void relink();
    void recount();
    // Lock held. Sleepers that died are forgotten; how many.
    unsigned reap_dead();
    void forget(std::uint32_t number);                 // out of the lists, the record free again
    void link(std::uint32_t number);
    void unlink(std::uint32_t number);
    void nudge(std::uint32_t number);                  // makes a sleeper look anew at whose death it has to watch
    void nudge_watcher_of(std::uint32_t number);
    std::uint32_t load_ops(std::uint32_t number, SemaphoreOp* to) const;
    // Applies the adjustments of the processes that ended; `ops` null: of all.
    void settle_dead(const SemaphoreOp* ops, std::uint32_t count, ProcessLives& lives, std::uint32_t own_record, bool& unsure);
    bool holder_is_dead(std::uint32_t record, ProcessLives& lives, bool& unsure);
    void end_record(std::uint32_t record);
    // This process's record, if it has one here and its life word is armed; else 0.
    std::uint32_t known_record(const platform::ThreadState& thread, const ProcessLives& lives) const {
        const std::uint32_t known = own_record_.load(std::memory_order_relaxed);
        return own_record_generation_.load(std::memory_order_acquire) == thread.generation && lives.is_armed(thread) ? known : 0;
    }
    platform::Outcome<std::uint32_t> own_record(platform::ThreadState& thread, ProcessLives& lives);
    platform::Outcome<> operate_locked(const SemaphoreOp* ops, std::uint32_t count, std::uint32_t record, std::uint32_t pid, std::uint32_t& blocking, bool& waits,
                                       sync::ThreadLock* lock);
    static constexpr int kAskFirst = 2;
    template <bool kSettled>
    int operate_alone(const SemaphoreOp* ops, std::uint32_t count, std::uint32_t record, std::uint32_t pid, std::uint32_t& blocking);
    platform::Outcome<> operate_asleep(platform::ThreadState& thread, const SemaphoreOp* ops, std::uint32_t count, std::int64_t timeout_ns,
                                       ProcessLives& lives, bool has_undo);
    void see_to_watcher(std::uint32_t number, std::uint32_t record);
    void call_sleepers();
    void dismiss_sleepers();

    // Checking (semaphore_set_check.cpp); the lock held but for the first.
    bool settle_holders(std::uint64_t inode, bool mend, Findings& findings);
    void check_number(bool mend, Findings& findings);
    void check_words(bool mend, Findings& findings);
    void check_sleepers(bool mend, Findings& findings);
    void check_undo(ProcessLives& lives, bool mend, Findings& findings);
    void check_owner(std::uint32_t record, std::uint32_t active, ProcessLives& lives, bool mend, Findings& findings);

    template <class Body>
    platform::Outcome<> locked(platform::ThreadState& thread, ProcessLives* lives, Body body);

    memory::Mapping mapping_;
    SemaphoreHeader* header_ = nullptr;
    Semaphore* semaphores_at_ = nullptr;
    std::uint64_t mark_ = 0;
    // Checked copies; the shared ones are never read again.
    std::uint32_t semaphores_ = 0;
    std::uint32_t undos_ = 0;
    std::uint64_t undo_stride_ = 0;
    std::uint64_t logs_offset_ = 0, vectors_offset_ = 0, undos_offset_ = 0, actors_offset_ = 0, waiters_offset_ = 0;
    sync::ActorTable actors_{};
    SemaphoreWaiter* waiters_ = nullptr;
    std::atomic<std::uint32_t> mapping_damaged_{0};
    // This process's undo record (1 + number), as long as the generation is the calling thread's.
    std::atomic<std::uint32_t> own_record_{0};
    std::atomic<std::uint32_t> own_record_generation_{0};
};

}  // namespace muster::objects
