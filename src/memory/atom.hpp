// The atomic that all shared memory is read and written through. A header of its own: the proof of the protocols
// (tests/proof/simulated) puts another one in its place and compiles the very same sources on it.
#pragma once
#include <atomic>

namespace muster::memory {

template <class T>
using Atom = std::atomic_ref<T>;

}  // namespace muster::memory
