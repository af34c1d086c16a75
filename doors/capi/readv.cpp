// readv and preadv: as read and pread, piece by piece.
#include <sys/uio.h>
#include <climits>
#include "descriptor_calls.hpp"
#include "export.hpp"
#include "next_calls.hpp"
#include "platform/fault_copy.hpp"
#include "queue_text.hpp"

using namespace muster;
using namespace muster::capi;

namespace {

// `offset` null: the open description's.
long read_pieces(int descriptor, const QueueHold& queue, const iovec* pieces, int count, const off_t* offset) {
    if ((queue.access() & kAccessRead) == 0) return -EBADF;
    if (count < 0 || count > IOV_MAX || (offset != nullptr && *offset < 0)) return -EINVAL;
    platform::ThreadState& thread = platform::current_thread();
    long total = 0;
    for (int i = 0; i < count; ++i) {
        iovec piece;
        if (!platform::fault_load(thread, piece, pieces + i)) return total > 0 ? total : -EFAULT;
        const long got = offset == nullptr ? read_queue_text(descriptor, queue, piece.iov_base, piece.iov_len)
                                           : read_queue_text(descriptor, queue, piece.iov_base, piece.iov_len, static_cast<std::uint64_t>(*offset + total));
        if (got < 0) return total > 0 ? total : got;
        total += got;
        if (static_cast<std::size_t>(got) < piece.iov_len) break;
    }
    return total;
}

}  // namespace

MUSTER_EXPORT ssize_t readv(int descriptor, const iovec* pieces, int count) {
    if (__builtin_expect(is_known_queue(descriptor), 0))
        if (const QueueHold queue = hold_checked(descriptor)) return finish(read_pieces(descriptor, queue, pieces, count, nullptr));
    if (next_calls.readv != nullptr) return next_calls.readv(descriptor, pieces, count);
    return finish(platform::system_call(SYS_readv, descriptor, pieces, count));
}

MUSTER_EXPORT ssize_t preadv(int descriptor, const iovec* pieces, int count, off_t offset) {
    if (__builtin_expect(is_known_queue(descriptor), 0))
        if (const QueueHold queue = hold_checked(descriptor)) return finish(read_pieces(descriptor, queue, pieces, count, &offset));
    if (next_calls.preadv != nullptr) return next_calls.preadv(descriptor, pieces, count, offset);
    return finish(platform::system_call(SYS_preadv, descriptor, pieces, count, offset, 0));
}

MUSTER_EXPORT ssize_t preadv64(int, const iovec*, int, off64_t) __attribute__((alias("preadv")));
