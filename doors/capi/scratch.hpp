// Memory for the length of a call that may be cancelled while it waits.
#pragma once
#include <pthread.h>
#include <cstddef>
#include "platform/file.hpp"

namespace muster::capi {

struct Scratch {
    void* start;
    std::size_t bytes;
};

inline bool get_scratch(Scratch& scratch, std::size_t bytes) {
    const long memory = platform::map_private_zeroes(bytes);
    scratch = {reinterpret_cast<void*>(memory), bytes};
    return memory >= 0 || memory <= -4096;
}

inline void drop_scratch(void* scratch) {
    const auto* given = static_cast<const Scratch*>(scratch);
    platform::unmap(given->start, given->bytes);
}

// Runs wait(), which may be cancelled, and gives the memory back either way. The C library's cleanup record serves:
// no unwinder needs to know our frames.
template <class Wait>
int wait_with_scratch(Scratch& scratch, Wait& wait) {
    int result;
    pthread_cleanup_push(&drop_scratch, &scratch);
    result = wait();
    pthread_cleanup_pop(0);
    return result;
}

}  // namespace muster::capi
