// The domain that this process's C calls act in: decided once, when the library is loaded, by MUSTER_DOMAIN and the
// effective user at that time. Later changes of the environment, the user or the root directory do not move it: the
// directory's descriptor is kept.
#pragma once
#include "objects/domain.hpp"
#include "platform/outcome.hpp"

namespace muster::capi {

// Opens the domain; `create` makes its directory if need be. Errors as objects::Domain::open.
platform::Outcome<objects::Domain*> process_domain(bool create);

// Whether the descriptor is the domain's own.
bool is_domain_descriptor(int descriptor);

// The device of the domain's file system, 0 while it is not open.
std::uint64_t domain_device();

}  // namespace muster::capi
