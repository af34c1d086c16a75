// Being an actor of a semaphore set: what a thread is while it sleeps, or holds the lock in order to.
#pragma once
#include "objects/semaphore_set.hpp"

namespace muster::objects {

// The program's signal handlers wait from construction to destruction, except while asleep.
class SemaphoreActing {
public:
    SemaphoreActing(SemaphoreSet& set, platform::ThreadState& thread) : set_(set), thread_(thread) { platform::enter_section(thread_); }
    ~SemaphoreActing() {
        end();
        platform::leave_section(thread_);
    }
    SemaphoreActing(const SemaphoreActing&) = delete;

    // Takes a record with room for so many operations. Errors: ENOSPC, ENOMEM every record is taken.
    platform::Outcome<> begin(std::uint32_t operations);
    void end();

    // Takes the lock, after putting right what a dead holder left. Errors: EIDRM.
    platform::Outcome<> lock();
    void unlock();

    std::uint32_t number() const { return number_; }
    sync::Actor& record() const { return set_.actor(number_); }
    platform::ThreadState& thread() const { return thread_; }
    SemaphoreSet& set() const { return set_; }

private:
    static constexpr std::uint32_t kNone = 0xffffffff;
    SemaphoreSet& set_;
    platform::ThreadState& thread_;
    robust_list* before_ = nullptr;
    std::uint32_t number_ = kNone;
    bool locked_ = false;
};

// One sleep of a registered actor.
struct SemaphoreSleep : platform::Sleeping {
    enum class End { given, retry, removed, timed_out, interrupted };

    SemaphoreSleep(SemaphoreActing& acting, ProcessLives& process_lives, const SemaphoreOp* operations, std::uint32_t operation_count)
        : me(acting), lives(process_lives), ops(operations), count(operation_count) {
        before_handler = &SemaphoreSleep::handler_is_coming;
    }
    // Lock held: decides whose deaths to watch.
    void choose_lives();
    // `deadline_ns` of the monotonic clock. `given`: the operations were performed, or failed for good; `result` is their errno value.
    End sleep(platform::DeadlineNs deadline_ns);

    SemaphoreActing& me;
    ProcessLives& lives;
    const SemaphoreOp* ops;
    std::uint32_t count;
    std::uint32_t result = 0;

private:
    static void handler_is_coming(platform::Sleeping* sleeping, bool handler_restarts);
    static void cancelled(void* self);
    void watch(std::uint32_t record);
    // Ends the registration; true: what was waited for had been given.
    bool leave();
    void deregister();  // lock held: out of the lists, the word idle
    void take_back();
    bool left = false;
    End left_how = End::interrupted;
    bool unsure = false;   // a holder may be dying: ask again soon
    bool crowded = false;  // more lives than one can watch
    unsigned watched = 0;
    platform::WaitEntry entries[platform::kWaitEntriesMax];  // our own word, then lives
    std::uint32_t slots[platform::kWaitEntriesMax];
};

}  // namespace muster::objects
