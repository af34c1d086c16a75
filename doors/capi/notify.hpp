// mq_notify's registrations, as far as they belong to this process.
//
// A registration lasts as long as the registrant holds a POSIX record lock on a byte of the queue's file. The
// kernel drops such a lock exactly when a registration must end: when the process closes any descriptor of the
// file, execs or dies; and it is not inherited by children.
#pragma once
#include <signal.h>
#include "descriptor_table.hpp"
#include "objects/domain.hpp"

namespace muster::capi {

// Registers this process. Errors: EBUSY, EAGAIN no thread could be made.
platform::Outcome<> begin_notification(platform::ThreadState& thread, int descriptor, OpenQueue& queue, const sigevent& event);

// Ends this process's registration, if it has one: by its wish or because it closes a descriptor.
void end_notification(OpenQueue& queue);

// Whether the registration of process `pid` stands. What objects::Queue asks.
bool notification_stands(objects::Queue& queue, int descriptor, std::uint32_t pid);

// Opens the FIFO that stands for a queue, for reading and writing and out of the way; the descriptor or -errno.
int open_fifo(const objects::Domain& domain, objects::Queue& queue, bool create);
// Removes the FIFO's name if nobody uses it and the queue has no name any more.
void remove_orphaned_fifo(objects::Queue& queue);

}  // namespace muster::capi
