// Histories of concurrent operations: what each process called, between which two moments, and what came of it.
//
// The moments are numbers from one counter in memory that all processes share, raised by an atomic addition before and after each
// call. All additions to one word are in one order that every CPU agrees on, and a locked addition lets no store or load of the
// call pass it. So if A's second number is below B's first, A had returned before B was called: the one thing the checker relies
// on. A cycle counter would have to be trusted to agree between the CPUs of a virtual machine, and fenced; it would cost no less.
//
// A process writes an operation's arguments, then `invoked`, makes the call, writes the result, then `returned`, in this order
// (the two are release stores). So whenever it is killed, the record says either that the call was never made (invoked is 0), or
// that it was and nobody knows what came of it (returned is 0: pending), or all.
#pragma once
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

namespace muster::test::order {

enum class Object : std::int32_t {
    priority_queue,
    typed_queue,
    semaphores,
    segment,
    queue_name,
    message_key,
    semaphore_key,
    segment_key
};
inline constexpr int kObjects = 8;
const char* name_of(Object object);

enum class Call : std::int32_t {
    // queues
    send,
    receive,
    copy,   // MSG_COPY: by index, and it stays
    count,  // also of a segment: how often it is attached
    // semaphore sets
    operate,
    set,
    set_all,
    get,
    get_all,
    // segments
    attach,
    detach,
    remove,  // also of a name
    // names
    create,          // O_CREAT | O_EXCL
    open_or_create,  // O_CREAT
    open,
    // the end of a process: begins before it is killed, is over when waitpid has returned
    death,
    // what a dead receiver had taken comes back; see with_giving_back()
    give_back,
};

inline constexpr int kMostSemaphores = 3;
inline constexpr int kMostSteps = 3;       // of one semop
inline constexpr int kPriorityBytes = 16;  // mq_msgsize; room for every message of a typed queue too
inline constexpr int kDrainer = 90;        // the process that helps sleepers and drains; larger ones are made up by mutations

struct SemaphoreStep {
    std::int32_t number = 0, amount = 0;
    bool waits = true, undo = false;
};

struct Operation {
    std::uint64_t invoked = 0, returned = 0;
    std::int32_t process = 0;
    Call call = Call::death;
    bool waits = false;         // may sleep, rather than fail
    bool except = false;        // MSG_EXCEPT
    bool truncate = false;      // MSG_NOERROR
    std::int32_t number = 0;    // the message sent; the semaphore; the identity created, or to be removed
    std::int32_t selector = 0;  // priority or type sent; type or index asked for; the value to be set
    std::int32_t size = 0;      // bytes sent, or room for them
    SemaphoreStep steps[kMostSteps];
    std::int32_t step_count = 0;
    std::int32_t pause = 0;  // what the process does before the call: see rest()
    // What came of it: errno or 0, and the message's number (0 where no byte of it came), priority or type, and bytes; counts;
    // values; the identity opened.
    std::int32_t error = 0;
    std::int32_t result[kMostSemaphores] = {};

    bool pending() const { return returned == 0; }
    bool done(Call which) const { return call == which && !pending() && error == 0; }
};
static_assert(std::is_trivially_copyable_v<Operation>);

// What is known of the object when the history begins, and where the history comes from.
struct Setup {
    Object object = Object::priority_queue;
    bool kernel = false;        // the kernel's own objects, not Muster's
    std::int32_t capacity = 0;  // messages of a priority queue, bytes of a typed one, semaphores of a set
    std::int32_t values[kMostSemaphores] = {};
    std::uint64_t seed = 0, round = 0;
};

struct History {
    Setup setup;
    std::vector<Operation> operations;

    std::uint64_t end() const;  // a moment after all others
    void add(const Operation& operation) { operations.push_back(operation); }
};

// One line: what was called, with what, and what came of it.
std::string describe(Object object, const Operation& operation);
// A line for each operation, by process, with its two moments and, for those in `placed`, its place in the order that was found.
std::string describe(const History& history, const std::vector<int>& placed);

}  // namespace muster::test::order
