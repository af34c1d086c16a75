// The registry of System V objects in the process's domain, one for all three kinds.
#pragma once
#include "objects/sysv_registry.hpp"
#include "platform/outcome.hpp"

namespace muster::capi {

// Errors: as process_domain(); ENOENT without `create` if there is no domain yet.
platform::Outcome<objects::SysvRegistry*> process_registry(bool create);
// The registry of the domain that process_domain() gave.
objects::SysvRegistry& registry_of(objects::Domain& domain);

}  // namespace muster::capi
