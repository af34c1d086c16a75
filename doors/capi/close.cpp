// close: queues are forgotten, the library's own descriptors do not exist for the program.
#include <unistd.h>
#include "descriptor_calls.hpp"
#include "export.hpp"
#include "next_calls.hpp"
#include "watching.hpp"

using namespace muster::capi;

MUSTER_EXPORT int close(int descriptor) {
    if (is_reserved(descriptor)) return static_cast<int>(finish(-EBADF));
    if ((is_known_queue(descriptor) || has_notes(descriptor)) && owns_memory()) before_close(descriptor);
    if (next_calls.close != nullptr) return next_calls.close(descriptor);
    return static_cast<int>(finish(muster::platform::system_call(SYS_close, descriptor)));
}

MUSTER_EXPORT int __close(int) __attribute__((alias("close")));
