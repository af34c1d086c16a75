// Queues in poll, select and epoll: which descriptors the kernel must be given in their place.
//
// poll and select get the queue's FIFO (polling_descriptor), the same for all descriptors of a queue. epoll remembers
// what it was given by open file and number, so that each queue descriptor needs an open file of its own there,
// called its watch: the FIFO opened once more. It is closed with the descriptor, which ends the
// registrations of this process's; a child that inherited both keeps them alive, all as for the kernel's queues.
//
// Deviations, all of epoll: where several descriptors share one open description (dup), closing the registered one
// ends its events at once, where the kernel's go on until the last is closed. A queue descriptor and an epoll
// descriptor that both survive an exec have to be registered again.
#pragma once
#include "descriptor_table.hpp"
#include "platform/signals.hpp"

namespace muster::capi {

// Whether any descriptor can be a queue. Until then nobody pays.
bool queues_possible();

// Whether the descriptor is a queue, known or seen for the first time. A queue that came over a socket, or was there
// when the program started, looks like any regular file, always ready: so each descriptor is looked at once, and those
// found plain are remembered until they are closed. (A close that we do not see keeps the note: a queue received under
// that number is ready always until the first mq_ call on it.)
bool is_queue(int descriptor);

// The descriptor to poll in place of a queue's: -1 if it is no queue after all, or another negated errno.
int polled_in_place(int descriptor, struct PassingPolls& passing);

// The queues that one call of poll or select watches. A call that is left by cancellation or a jump does not end them:
// the queues stay polled.
struct PassingPolls {
    static constexpr int kMost = 64;  // of further ones nobody is told that they are polled no more
    int descriptors[kMost];
    int count = 0;
    void end();
};


// The descriptor to give to epoll in place of a queue's: -EPERM if it is no queue, or another negated errno.
int watch_of(int descriptor);
// Whether the descriptor is such a stand-in.
bool is_watch(int descriptor);

// Notes about a descriptor: seen to be plain, its watch. They go with it.
bool has_notes(int descriptor);
void drop_notes(int descriptor);
void drop_notes_range(unsigned first, unsigned last);

}  // namespace muster::capi
