// Everything about one object, for `muster stat` and `muster sem show`.
#pragma once
#include <optional>
#include <string>
#include <vector>
#include "failure.hpp"
#include "muster/message_queue.hpp"
#include "muster/segment.hpp"
#include "muster/semaphore_set.hpp"
#include "muster/typed_queue.hpp"
#include "report.hpp"

namespace muster::cli {

// What the listing tells, and what opening the object adds; absent: it could not be opened, object.problem says why.
struct Facts {
    ObjectInfo object;
    std::optional<QueueStatus> queue;
    std::vector<QueueWaiter> sleepers;  // at the queue
    std::optional<SemaphoreSetStatus> set;
    std::vector<std::uint16_t> values;
    std::vector<std::int32_t> last_pids;  // of each semaphore, as far as they are asked for
    std::vector<SemaphoreWaiter> waiters;
    std::vector<SemaphoreHolder> holders;
    std::optional<TypedQueueStatus> typed_queue;
    std::vector<TypedQueueWaiter> queue_waiters;
    std::optional<SegmentStatus> segment;
    std::vector<SegmentUser> users;
};

Facts gather_facts(const Domain& domain, ObjectInfo object, const Global& global);
std::string text_of(const Facts& facts);
Json json_of(const Facts& facts);

}  // namespace muster::cli
