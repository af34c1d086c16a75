// A change under the set's lock: staged word by word, committed by one store, applied. See docs/protocols/semaphore_set.md, "Changes".
#pragma once
#include "objects/semaphore_set.hpp"

namespace muster::objects {

class SemaphoreChange {
public:
    // How the lock is held, to the end of the change: then its orphaned word is heard of by who sleeps on it, or not.
    enum class Held { by_thread, by_actor };
    // What is not committed is as if it had never been.
    SemaphoreChange(SemaphoreSet& set, Held held);
    SemaphoreChange(const SemaphoreChange&) = delete;

    // Tries a vector: 0 staged; 1 it would have to wait for ops[blocking]; or a negated errno value (-EAGAIN, -ERANGE), nothing staged.
    // `record` is the undo record (1 + number) of the process, 0 if no operation has SEM_UNDO.
    int perform(const SemaphoreOp* ops, std::uint32_t count, std::uint32_t record, std::uint32_t& blocking);
    void set_pids(const SemaphoreOp* ops, std::uint32_t count, std::uint32_t pid);
    void assign(std::uint32_t number, std::uint32_t value, std::uint32_t pid);
    void clear(std::uint32_t what, std::uint32_t which) {
        clear_ = what;
        clear_which_ = which;
    }
    // The time of the last operation.
    void operated(std::uint32_t number) { operated_ = number + 1; }
    // Performs the operations of the sleepers that can go now; `ops` is what was just performed, null: anything may have changed.
    // They are awake when this returns, or sleep on the lock; theirs is part of this change.
    void serve_sleepers(const SemaphoreOp* ops, std::uint32_t count);
    // How many sleepers of the lock word must be woken when it is let go.
    int commit();

    std::uint32_t value(std::uint32_t number) { return value_of(current(number)); }
    std::uint64_t current(std::uint32_t number);

private:
    enum class Served { no, failed, done };
    void store(std::uint32_t number, std::uint64_t word) { set_.semaphore(number).staged.store_relaxed(word); }
    int adjustment(std::uint32_t record, std::uint32_t number);
    void set_adjustment(std::uint32_t record, std::uint32_t number, int value);
    void revert(const SemaphoreOp* ops, std::uint32_t count, std::uint32_t record);
    Served serve(std::uint32_t actor);
    bool call(std::uint32_t actor, std::uint32_t word);
    bool answers(std::uint32_t actor);
    bool serve_zero_waits(const SemaphoreOp* ops, std::uint32_t count);
    bool serve_zero_waits_of(std::uint32_t number);
    bool serve_alterations(std::uint32_t number);
    bool serve_all_alterations();
    static void serve_rest(SemaphoreSet& set);

    SemaphoreSet& set_;
    Held held_;
    std::uint32_t change_;
    std::uint32_t moved_ = 0;  // sleepers that were put to sleep on the lock
    bool contended_ = false;   // others slept on it before
    std::uint32_t staged_ = 0;
    std::uint32_t adjusted_ = 0;
    std::uint32_t given_ = 0;
    std::uint32_t clear_ = kClearNothing;
    std::uint32_t clear_which_ = 0;
    std::uint32_t operated_ = 0;
    std::uint32_t witness_ = 0;  // 1 + actor: the logs are full, this one is awake to go on should we die
    SemaphoreOp ops_[kSemaphoreOpsMax];  // of the sleeper that is looked at; left uninitialised
};

inline SemaphoreChange::SemaphoreChange(SemaphoreSet& set, Held held) : set_(set), held_(held), change_(set.header_->change.load_relaxed() + 1) {
    if (change_ == 0) change_ = 1;
    set.header_->change.store_relaxed(change_);  // relaxed: ours while we hold the lock; as all that is staged
}

// The word as this change has it so far; staged from now on.
inline std::uint64_t SemaphoreChange::current(std::uint32_t number) {
    Semaphore& semaphore = set_.semaphore(number);
    if (semaphore.stage.load_relaxed() == change_) return semaphore.staged.load_relaxed();
    std::uint64_t word = semaphore.word.load_relaxed();
    // From here on only the lock's holder changes it.
    while ((word & kFree) != 0)
        if (semaphore.word.compare_exchange(word, word & ~kFree)) word &= ~kFree;
    semaphore.staged.store_relaxed(word);
    semaphore.stage.store_relaxed(change_);
    if (staged_ < set_.semaphores_) set_.semaphore(staged_++).logged.store_relaxed(number);
    return word;
}

}  // namespace muster::objects
