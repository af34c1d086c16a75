// Being an actor: what a thread is while it holds both locks of a queue, a message outside them, or sleeps.
#pragma once
#include "objects/queue.hpp"

namespace muster::objects {

// The program's signal handlers wait from construction to destruction, except while asleep.
class Acting {
public:
    Acting(Queue& queue, platform::ThreadState& thread) : queue_(queue), thread_(thread) { platform::enter_section(thread_); }
    ~Acting() {
        end();
        platform::leave_section(thread_);
    }
    Acting(const Acting&) = delete;

    // Takes a record. Errors: ENOSPC no memory for one; EAGAIN every record is taken.
    platform::Outcome<> begin(int fd, ActorKind kind);
    // Gives the record back; what it held must have found another place.
    void end();
    bool begun() const { return number_ != kNone; }

    // Takes both locks, and first puts right what a dead holder left.
    platform::Outcome<> lock_both();
    void unlock_both();

    // This use of the record in some state.
    std::uint32_t word_for(sync::ActorState state) const {
        return sync::kActorWord | use_ << sync::kActorStateBits | static_cast<std::uint32_t>(state);
    }
    std::uint32_t number() const { return number_; }
    sync::Actor& record() const { return queue_.actor(number_); }
    platform::ThreadState& thread() const { return thread_; }
    Queue& queue() const { return queue_; }

private:
    static constexpr std::uint32_t kNone = 0xffffffff;
    platform::Outcome<> lock(memory::ShmU32& word, bool& owner_died);
    Queue& queue_;
    platform::ThreadState& thread_;
    robust_list* before_ = nullptr;
    std::uint32_t number_ = kNone;
    std::uint32_t use_ = 0;
    bool saw_dead_ = false;
    bool locked_ = false;
    friend class Queue;
};

// One sleep of an actor that is registered in a waiting list.
struct Wait : platform::Sleeping {
    enum class Outcome { given, retry, timed_out, interrupted, left };

    Wait(Acting& acting, int descriptor) : me(acting), fd(descriptor) { before_handler = &Wait::handler_is_coming; }

    // Sleeps until something happens. `left`: a signal handler ran, before which the wait was ended; `result` says how.
    Outcome sleep(platform::DeadlineNs deadline_ns);

    Acting& me;
    int fd;
    // For receivers: where the message goes if a handler's coming finds it already given.
    const PlainBuffer* to = nullptr;
    // After `left`:
    enum class Left { completed, faulted, too_long, interrupted, restart } result = Left::interrupted;
    ReceivedMessage received{};

private:
    static void handler_is_coming(platform::Sleeping* sleeping, bool handler_restarts);
    static void cancelled(void* self);
    bool leave(bool keep);  // true: what was waited for has been given
    void deregister();      // both locks held: out of the list, the word idle
    void start_over();      // the same, if it is in the list
    bool left = false;
};

}  // namespace muster::objects
