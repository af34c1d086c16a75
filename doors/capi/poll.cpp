// poll and ppoll: the kernel waits for the queues' FIFOs in the queues' place.
//
// What is waited on is a copy of the program's array; only `revents` goes back, as from the kernel. No queue is
// held while waiting: a thread that is cancelled there leaves nothing behind.
#include <poll.h>
#include <algorithm>
#include "descriptor_calls.hpp"
#include "export.hpp"
#include "next_calls.hpp"
#include "platform/fault_copy.hpp"
#include "scratch.hpp"
#include "watching.hpp"

using namespace muster;
using namespace muster::capi;

namespace {

constexpr nfds_t kOnStack = 64;
constexpr nfds_t kMost = 1u << 20;  // beyond, the kernel refuses anyway

enum class Seen { no_queue, queue, fault };

// Looks through an array piece by piece; the last piece looked at is left in `piece`.
Seen look_for_queues(platform::ThreadState& thread, const pollfd* entries, nfds_t count, pollfd (&piece)[kOnStack]) {
    for (nfds_t done = 0; done < count; done += kOnStack) {
        const nfds_t part = std::min(count - done, kOnStack);
        if (!platform::fault_copy(thread, piece, entries + done, part * sizeof(pollfd))) return Seen::fault;
        for (nfds_t i = 0; i < part; ++i)
            if (is_queue(piece[i].fd)) return Seen::queue;
    }
    return Seen::no_queue;
}

// 0, or the negated errno for the whole call.
int put_fifos(pollfd* entries, nfds_t count, PassingPolls& passing) {
    for (nfds_t i = 0; i < count; ++i) {
        if (!is_queue(entries[i].fd)) continue;
        const int fifo = polled_in_place(entries[i].fd, passing);
        if (fifo >= 0) entries[i].fd = fifo;
        else if (fifo != -1) return fifo;
    }
    return 0;
}

int give_events(platform::ThreadState& thread, pollfd* entries, const pollfd* copy, nfds_t count, int ready) {
    if (ready < 0) return ready;
    for (nfds_t i = 0; i < count; ++i)
        if (!platform::fault_store(thread, &entries[i].revents, copy[i].revents)) return static_cast<int>(finish(-EFAULT));
    return ready;
}

// `wait` is the C library's call on some array.
template <class Wait>
int poll_queues(pollfd* entries, nfds_t count, Wait wait) {
    if (!queues_possible() || count > kMost) return wait(entries, count);
    platform::ThreadState& thread = platform::current_thread();
    pollfd copy[kOnStack];
    if (look_for_queues(thread, entries, count, copy) != Seen::queue) return wait(entries, count);
    PassingPolls passing;
    if (count <= kOnStack) {
        const int failed = put_fifos(copy, count, passing);
        const int result = failed != 0 ? static_cast<int>(finish(failed)) : give_events(thread, entries, copy, count, wait(copy, count));
        passing.end();
        return result;
    }
    Scratch scratch;
    if (!get_scratch(scratch, count * sizeof(pollfd))) return static_cast<int>(finish(-ENOMEM));
    auto* all = static_cast<pollfd*>(scratch.start);
    int result = platform::fault_copy(thread, all, entries, count * sizeof(pollfd)) ? put_fifos(all, count, passing) : -EFAULT;
    if (result != 0) {
        result = static_cast<int>(finish(result));
    } else {
        auto waiting = [&] { return wait(all, count); };
        result = give_events(thread, entries, all, count, wait_with_scratch(scratch, waiting));
    }
    drop_scratch(&scratch);
    passing.end();
    return result;
}

int next_ppoll(pollfd* entries, nfds_t count, const timespec* timeout, const sigset_t* mask) {
    if (next_calls.ppoll != nullptr) return next_calls.ppoll(entries, count, timeout, mask);
    timespec left = timeout != nullptr ? *timeout : timespec{};
    return static_cast<int>(finish(platform::system_call(SYS_ppoll, entries, count, timeout != nullptr ? &left : nullptr, mask, 8)));
}

int next_poll(pollfd* entries, nfds_t count, int timeout_ms) {
    if (next_calls.poll != nullptr) return next_calls.poll(entries, count, timeout_ms);
    const timespec timeout{timeout_ms / 1000, timeout_ms % 1000 * 1'000'000L};
    return next_ppoll(entries, count, timeout_ms < 0 ? nullptr : &timeout, nullptr);
}

}  // namespace

MUSTER_EXPORT int poll(pollfd* entries, nfds_t count, int timeout_ms) {
    return poll_queues(entries, count, [&](pollfd* array, nfds_t n) { return next_poll(array, n, timeout_ms); });
}

MUSTER_EXPORT int ppoll(pollfd* entries, nfds_t count, const timespec* timeout, const sigset_t* mask) {
    return poll_queues(entries, count, [&](pollfd* array, nfds_t n) { return next_ppoll(array, n, timeout, mask); });
}

MUSTER_EXPORT int __poll_chk(pollfd* entries, nfds_t count, int timeout_ms, size_t room) {
    if (room / sizeof(pollfd) < count) __chk_fail();
    return poll(entries, count, timeout_ms);
}

MUSTER_EXPORT int __ppoll_chk(pollfd* entries, nfds_t count, const timespec* timeout, const sigset_t* mask, size_t room) {
    if (room / sizeof(pollfd) < count) __chk_fail();
    return ppoll(entries, count, timeout, mask);
}

MUSTER_EXPORT int __poll(pollfd*, nfds_t, int) __attribute__((alias("poll")));
