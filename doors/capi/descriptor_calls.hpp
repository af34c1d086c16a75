// What the calls about descriptors share: close, dup, fcntl and their kin, as C functions and through syscall().
//
// The kernel's table of descriptors is the truth, ours (descriptor_table.hpp) follows it: an entry is forgotten just
// before its number can become free, and a copy is entered just after it exists. A close that we do not see
// (inside the C library's fclose, say) leaves a stale entry; who is about to treat a descriptor specially therefore
// compares the file first (hold_checked).
#pragma once
#include <cerrno>
#include "descriptor_table.hpp"
#include "platform/syscall.hpp"

namespace muster::capi {

// A call's end: a negated errno becomes -1 and errno, which is touched only then.
inline long finish(long result) {
    if (__builtin_expect(result >= 0, 1)) return result;
    errno = static_cast<int>(-result);
    return -1;
}

// The queue behind a known descriptor, if the descriptor still is that queue's; a stale entry is forgotten.
QueueHold hold_checked(int descriptor);

// Whether the descriptor is one of the library's own: its numbers are not the program's to close or to replace.
bool is_reserved(int descriptor);

// Whether this process owns the memory it runs in. A vfork child has descriptors of its own but runs in its parent's
// memory: what it closes and duplicates must leave no trace in the parent's tables.
bool owns_memory();

// To be called before the number becomes free or somebody else's.
void before_close(int descriptor);
// To be called when `descriptor` has become a copy of `original`.
void after_copy(int original, int descriptor);

// The calls themselves: a result or a negated errno.
long duplicate(int original);
long duplicate_to(int original, int wanted, int flags, bool same_is_error);
long control_descriptor(int descriptor, int command, long argument);
long close_descriptors(unsigned first, unsigned last, unsigned flags);

}  // namespace muster::capi
