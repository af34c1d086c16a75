// The objects as one process at a time would see them: what each call gives in each state, and the state after it. Small enough
// to be compared with the manual pages line by line. SOURCE mq_overview(7), mq_send(3), mq_receive(3), msgop(2), msgctl(2),
// semop(2), semctl(2), shmop(2), shmctl(2), mq_open(3), msgget(2).
//
// Deaths. A queue keeps nothing of a process: its death is no event (but see with_giving_back). A segment's count loses what the
// process had attached, a semaphore gets back what its adjustments say, in one step for all semaphores of the set. When?
// docs/protocols/semaphore_set.md: "at the process's end, whoever next touches a semaphore that it holds adds all its
// adjustments, in one change", and who asks decides by /proc whether the process has ended, which is so from the time when all
// its threads are exiting, and certainly once waitpid has returned. So nobody can see the semaphore without the adjustments in an
// operation that is called after waitpid returned, and nobody with them in one that returned before the kill; that it is done
// late, by the one who looks, cannot be seen, as nobody looked before. So a death is an operation like others, called before the
// kill and returned after waitpid. The same holds for the kernel, whose exit_sem comes before the parent is told, and for a
// segment's count (docs/protocols/segment.md, "The count").
#pragma once
#include <cstdint>
#include <map>
#include <set>
#include "tests/proof/order_checker.hpp"
#include "tests/proof/order_history.hpp"

namespace muster::test::order {

inline constexpr int kMostProcesses = 8;  // those that attach or adjust, in one history
inline constexpr int kMostMessages = 48;  // in a queue

struct Message {
    std::int16_t number, kind, size;  // kind: priority or type
    std::int16_t age;                 // which one it was of those sent; 0 where nothing is ever given back
};
inline constexpr int kMostHeld = 2;
struct Held {
    std::int16_t process;  // + 1; 0: nobody
    Message message;
};

class QueueModel {
public:
    struct State {
        std::int16_t count, bytes, sent;
        Message messages[kMostMessages];  // in order of arrival; a priority queue's highest first, as no other order can be seen
        Held held[kMostHeld];             // by the dead
    };
    explicit QueueModel(const History& history);
    State first() const { return {}; }
    bool returned(State& state, const Operation& o) const;
    bool unfinished(State& state, const Operation& o) const;

private:
    bool typed() const { return setup_.object == Object::typed_queue; }
    bool full(const State& state, const Operation& send) const;
    int chosen(const State& state, const Operation& receive) const;
    bool too_long(const Operation& o) const;
    static bool came_as(const Message& message, const Operation& receive);
    static bool copied(const State& state, const Operation& o);
    void put(State& state, const Message& message) const;
    static void take(State& state, int index);
    bool give_back(State& state, int process) const;
    const Setup& setup_;
    bool gives_back_ = false;
};

// The same history, in which every receiver that was killed may give back what it had taken: docs/protocols/queue.md, "Handing
// over to a sleeper": "a sleeper that dies with a message gives it back", and the table of slot states: "back in, at the place
// its sequence gives it". Meanwhile the message is out of sight, and another one may have taken its room: then there is one more
// than the limit. On the kernel's queues the message is lost with the receiver, so there this is never granted.
History with_giving_back(const History& history);

class SemaphoreModel {
public:
    struct State {
        std::int16_t values[kMostSemaphores];
        std::int16_t adjustments[kMostProcesses][kMostSemaphores];
    };
    explicit SemaphoreModel(const History& history);
    State first() const;
    bool returned(State& state, const Operation& o) const;
    bool unfinished(State& state, const Operation& o) const;

private:
    // Whether all steps can be done, and the state after them; else which one has to wait.
    bool operate(State& state, const Operation& o, int& blocked_at) const;
    const Setup& setup_;
    std::map<int, int> rows_;  // of processes that use undo
};

class SegmentModel {
public:
    struct State {
        std::int16_t marked;
        std::int16_t attached[kMostProcesses];
    };
    explicit SegmentModel(const History& history);
    State first() const { return {}; }
    bool returned(State& state, const Operation& o) const;
    bool unfinished(State& state, const Operation& o) const;

private:
    static int total(const State& state);
    const bool kernel_;
    std::map<int, int> rows_;
};

// One name or key: which object it leads to. A process killed in `create` may have made an object whose identity nobody was told:
// a stranger, until somebody opens it.
class NameModel {
public:
    struct State {
        std::int64_t holder;  // the identity + 1; 0: nobody; -1: a stranger
    };
    explicit NameModel(const History& history);
    State first() const { return {}; }
    bool returned(State& state, const Operation& o) const;
    bool unfinished(State& state, const Operation& o) const;

private:
    bool leads_to(State& state, int identity) const;
    bool by_name() const { return setup_.object == Object::queue_name; }
    const Setup& setup_;
    std::set<int> known_;      // identities that a finished creation has told
    std::set<int> strangers_;  // those that somebody found without
};

// With the model that the history's object has.
Verdict check(const History& history, Ends ends);

// Whether the steps can be done, one after the other, beginning with these values.
bool steps_can_go(const Operation& o, const std::int16_t* values);

}  // namespace muster::test::order
