// What the processes of a schedule asked of a queue and were told, and whether it can be explained by a queue that does one thing
// after the other: each operation at one moment between its call and its return (linearizability).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace muster::test {

struct Operation {
    enum class Kind : std::uint8_t {
        send,
        receive,
        change,        // IPC_SET, after which the queue holds messages_max_changed
        remove,        // IPC_RMID
        poll_message,  // until there is one
        poll_room,
        watch,  // mq_notify
        told,   // sleeps until it is notified
    } kind;
    bool waits;  // may sleep
    unsigned process;
    std::uint64_t id;   // of the message sent, or received
    std::uint64_t key;  // its priority or type, sent or received
    std::uint32_t selector_kind = 0;
    std::uint64_t selector = 0;  // of a receive from a typed queue
    int error = 0;
    std::uint64_t begun = 0, ended = ~0ull;  // points; never ended: killed, cancelled, or asleep still
    bool undone = false;                     // never ended, and its process is dead: may have taken a message and given it back

    bool open() const { return ended == ~0ull; }
};

struct QueueModel {
    std::size_t messages_max;
    bool typed;
    // Messages that may have been let in beyond the limit: by a death, or while one was taken back from who is stopped.
    unsigned excess = 0;
    std::size_t messages_max_changed = 0;
    // What tells of a message comes before its commit: who is killed between the two has told of none.
    bool deaths = false;
};

// "" or why not.
std::string explain(const QueueModel& model, const std::vector<Operation>& operations);

}  // namespace muster::test
