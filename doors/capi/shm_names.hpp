// Names of POSIX shared memory and named semaphores, as the C library takes them.
#pragma once
#include "platform/thread.hpp"

namespace muster::capi {

struct ObjectName {
    char path[4 + 256];  // "shm/…" or "sem/…"
};

enum class NamedKind { shared_memory, semaphore };

// SOURCE __shm_get_name() of glibc. 0, or EINVAL for what is no name, ENAMETOOLONG, EFAULT.
int object_name(platform::ThreadState& thread, const char* name, NamedKind kind, ObjectName& result);

// shm_unlink and sem_unlink: 0 or an errno value.
int unlink_object(const char* name, NamedKind kind);

}  // namespace muster::capi
