// mq_notify's registrations, as far as they belong to this process. How long one stands: src/objects/queue_notify.cpp.
#pragma once
#include <signal.h>
#include "descriptor_table.hpp"
#include "objects/domain.hpp"

namespace muster::capi {

// Registers this process. Errors: EBUSY, EAGAIN no thread could be made.
platform::Outcome<> begin_notification(platform::ThreadState& thread, int descriptor, OpenQueue& queue, const sigevent& event);

// Ends this process's registration, if it has one: by its wish or because it closes a descriptor.
void end_notification(OpenQueue& queue);

// objects::open_fifo() with the descriptor out of the program's way; the descriptor or -errno.
int open_fifo(const objects::Domain& domain, objects::Queue& queue, bool create);
// Removes the FIFO's name if nobody uses it and the queue has no name any more.
void remove_orphaned_fifo(objects::Queue& queue);

}  // namespace muster::capi
