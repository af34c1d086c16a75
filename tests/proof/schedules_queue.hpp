// Scenarios on a message queue: what its processes do is a word each, a letter an operation:
//   s, r  send, receive without waiting      S, R  the same, waiting for ever
//   c     (typed) IPC_SET: all sleepers are told to ask again
//   d     (typed) IPC_RMID
//   p, q  poll for a message, for free space, for ever
//   n, N  mq_notify, and if it may, sleep until told: by a signal, by the queue's word (as a helper thread does)
#pragma once
#include "tests/proof/schedules_driver.hpp"

namespace muster::test {

struct QueueShape {
    const char* name;
    bool typed;
    std::uint64_t messages_max;
    std::vector<const char*> processes;
    Dangers dangers;
    std::size_t body_bytes = 16;  // of a message
    bool regions = false;         // the messages lie outside their slots
    std::uint64_t changed = 0;    // messages_max after IPC_SET
};
const std::vector<QueueShape>& queue_shapes();
std::unique_ptr<Scenario> make_queue_scenario(const QueueShape& shape);

// The robust lock alone, by thread.
std::unique_ptr<Scenario> make_lock_scenario(const std::string& name);
std::vector<std::string> lock_scenario_names();

// Semaphore sets.
std::unique_ptr<Scenario> make_semaphore_scenario(const std::string& name);
std::vector<std::string> semaphore_scenario_names();

}  // namespace muster::test
