// What the shm* calls share.
#pragma once
#include <sys/shm.h>
#include <cerrno>
#include "export.hpp"
#include "objects/segment_attachments.hpp"
#include "process_domain.hpp"

namespace muster::capi {

// The segments that this process has attached.
objects::Attachments& attachments();

// The registry of segments in the process's domain.
objects::SysvRegistry& segment_registry(objects::Domain& domain);

// Whether the descriptor is one that the library keeps for its attachments.
bool is_attachment_descriptor(int descriptor);

// The errno of a System V call, which knows no damaged objects, only such as are none.
inline int shm_errno(platform::Fault fault) {
    return fault.errno_value == EBADMSG || fault.errno_value == ENOTDIR ? EINVAL : fault.errno_value;
}
inline int shm_fail(int errno_value) {
    errno = errno_value;
    return -1;
}

}  // namespace muster::capi
