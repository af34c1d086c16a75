// What the processes of a schedule asked of a queue and were told, and whether it can be explained by a queue that does one thing
// after the other: each operation at one moment between its call and its return (linearizability).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace muster::test {

struct Operation {
    enum class Kind : std::uint8_t { send, receive } kind;
    bool waits;  // may sleep
    unsigned process;
    std::uint64_t id;   // of the message sent, or received
    std::uint64_t key;  // its priority or type, sent or received
    std::uint32_t selector_kind = 0;
    std::uint64_t selector = 0;  // of a receive from a typed queue
    int error = 0;
    std::uint64_t begun = 0, ended = ~0ull;  // points; never ended: killed, cancelled, or asleep still
    bool undone = false;                     // never ended, and its process is dead: may have taken a message and given it back
};

struct QueueModel {
    std::size_t messages_max;
    bool typed;
    // Messages that may have been let in beyond the limit: by a death, or while one was taken back from who is stopped.
    unsigned excess = 0;
};

// "" or why not.
std::string explain(const QueueModel& model, const std::vector<Operation>& operations);

}  // namespace muster::test
