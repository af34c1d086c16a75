// Which memory is a mapped Muster object, so that a page that is gone can be told from a bug.
//
// A peer may cut a file short, or the file system may have no memory for a hole: touching the page is then SIGBUS.
// The handler looks the address up here, puts a private page of zeroes there, sets the object's `damaged` word and
// resumes: whoever reads the object finds zeroes, which no validation accepts, and the call fails with an error.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace muster::platform {

// `*damaged` becomes 1 when a page of the mapping turns out to be gone; it must live until the mapping is
// unregistered. False only when there is no memory for the registry: the mapping is then unprotected.
bool register_shared_mapping(void* start, std::size_t bytes, std::atomic<std::uint32_t>* damaged);

// Before the memory is unmapped. Unknown starts are ignored.
void unregister_shared_mapping(void* start);

// Below: for the signal handler; async-signal-safe and lock-free.

// The `damaged` word of the mapping that `address` lies in, or null.
std::atomic<std::uint32_t>* find_damage_word(std::uintptr_t address);

// Puts a page of zeroes at `address`. False when the kernel refuses.
bool replace_lost_page(std::uintptr_t address);

}  // namespace muster::platform
