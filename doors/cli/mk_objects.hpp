// muster mk, for every kind but POSIX message queues.
#pragma once
#include "command.hpp"

namespace muster::cli {

void add_mk_objects(Registry& registry, CLI::App& mk);

}  // namespace muster::cli
