// What reading a queue's descriptor gives: a line about its state.
#pragma once
#include <cstddef>
#include "descriptor_table.hpp"

namespace muster::capi {

// The text from `offset` on into `buffer`, as the kernel's queues do: how many bytes, 0 at the end, or a negated errno.
long read_queue_text(int descriptor, const QueueHold& queue, void* buffer, std::size_t bytes, std::uint64_t offset);

// read(): from the open description's offset, which moves on.
long read_queue_text(int descriptor, const QueueHold& queue, void* buffer, std::size_t bytes);

}  // namespace muster::capi
