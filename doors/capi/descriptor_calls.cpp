#include "descriptor_calls.hpp"
#include <fcntl.h>
#include <linux/close_range.h>
#include <pthread.h>
#include "objects/domain.hpp"
#include "platform/file.hpp"
#include "shm_common.hpp"
#include "watching.hpp"

namespace muster::capi {

QueueHold hold_checked(int descriptor) {
    QueueHold held = hold_known(descriptor);
    if (!held) return held;
    struct stat status;
    if (platform::file_status(descriptor, &status) == 0 && status.st_ino == held->inode && status.st_dev == held->device) return held;
    if (owns_memory()) before_close(descriptor);
    return {};
}

bool is_reserved(int descriptor) { return is_watch(descriptor) || is_hidden(descriptor) || is_attachment_descriptor(descriptor); }

bool owns_memory() {
    // The C library's idea of the thread's id changes in a forked child, but not in one that shares our memory; a mutex
    // shows it.
    pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
    pthread_mutex_lock(&mutex);
    const int known = mutex.__data.__owner;
    pthread_mutex_unlock(&mutex);
    return known == platform::system_call(SYS_gettid);
}

void before_close(int descriptor) {
    forget(descriptor);
    drop_notes(descriptor);
}

void after_copy(int original, int descriptor) {
    if (!is_known_queue(original) && !is_known_queue(descriptor) && !has_notes(descriptor)) return;
    if (!owns_memory()) return;
    before_close(descriptor);  // a stale entry: the number was free
    if (hold_checked(original)) enter_copy(original, descriptor);
}

long duplicate(int original) {
    const long copy = platform::system_call(SYS_dup, original);
    if (copy >= 0) after_copy(original, static_cast<int>(copy));
    return copy;
}

long duplicate_to(int original, int wanted, int flags, bool same_is_error) {
    if (original == wanted) {
        if (same_is_error) return platform::system_call(SYS_dup3, original, wanted, flags);
        const long alive = platform::file_control(original, F_GETFD);
        return alive < 0 ? alive : wanted;
    }
    if (is_reserved(wanted)) return -EBADF;  // as beyond the limit
    const bool known = is_known_queue(wanted) || has_notes(wanted);
    if (known && (flags & ~O_CLOEXEC) == 0 && platform::file_control(original, F_GETFD) >= 0 && owns_memory()) before_close(wanted);
    const long copy = platform::system_call(SYS_dup3, original, wanted, flags);
    if (copy >= 0) after_copy(original, wanted);
    return copy;
}

long control_descriptor(int descriptor, int command, long argument) {
    switch (command) {
        case F_DUPFD:
        case F_DUPFD_CLOEXEC: {
            const long copy = platform::file_control(descriptor, command, argument);
            if (copy >= 0) after_copy(descriptor, static_cast<int>(copy));
            return copy;
        }
        case F_GETFL: {
            const int flags = platform::file_control(descriptor, F_GETFL);
            if (flags < 0 || !is_queue(descriptor)) return flags;
            const QueueHold held = hold_checked(descriptor);
            if (!held) return flags;
            const int access = held.access() == kAccessRead ? O_RDONLY : held.access() == kAccessWrite ? O_WRONLY : O_RDWR;
            return (flags & (O_NONBLOCK | O_NOATIME)) | access;
        }
        case F_SETFL: {
            // The file is always open for both directions; the marks that tell what the program asked for stay.
            const int flags = platform::file_control(descriptor, F_GETFL);
            if (flags < 0 || !is_queue(descriptor) || !hold_checked(descriptor)) return platform::file_control(descriptor, F_SETFL, argument);
            if ((argument & O_DIRECT) != 0) return -EINVAL;  // as the kernel's queues say
            constexpr long kMarks = kMarkReadOnly | kMarkWriteOnly;
            const int set = platform::file_control(descriptor, F_SETFL, (argument & ~kMarks) | (flags & kMarks));
            if (const QueueHold queue = hold_known(descriptor)) queue->queue.note_nonblock_change();
            return set;
        }
        default:
            return platform::file_control(descriptor, command, argument);
    }
}

namespace {

// The library's own descriptors from `first` to `last`, in rising order; as many as there is room for.
class Reserved {
public:
    Reserved(unsigned first, unsigned last) {
        const platform::File proc(platform::open_at(AT_FDCWD, "/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC));
        struct stat status;
        if (platform::file_status_at(proc.fd(), "fd", &status, 0) == 0) {
            objects::for_each_entry(proc.fd(), "fd", [&](const char* name) {  // the kernel lists them in rising order
                unsigned number = 0;
                for (; *name >= '0' && *name <= '9'; ++name) number = number * 10 + static_cast<unsigned>(*name - '0');
                return number < first || (number <= last && consider(number));
            });
        } else {
            constexpr unsigned kMost = 1u << 16;  // they are put below, whatever the limit
            for (unsigned number = first; number <= last && number <= kMost && consider(number);) ++number;
        }
    }
    const unsigned* begin() const { return numbers_; }
    const unsigned* end() const { return numbers_ + count_; }
    bool complete() const { return count_ < kRoom; }

private:
    static constexpr unsigned kRoom = 128;
    bool consider(unsigned number) {
        if (is_reserved(static_cast<int>(number))) numbers_[count_++] = number;
        return count_ < kRoom;
    }
    unsigned numbers_[kRoom];
    unsigned count_ = 0;
};

// Closes in pieces around what is not the program's. The first error, or 0.
long close_around(unsigned first, unsigned last, unsigned flags) {
    long result = 0;
    for (;;) {
        const Reserved reserved(first, last);
        for (const unsigned spared : reserved) {
            if (spared > first) {
                const long closed = platform::system_call(SYS_close_range, first, spared - 1, flags);
                if (closed < 0 && result == 0) result = closed;
            }
            if (spared == last) return result;
            first = spared + 1;
        }
        if (reserved.complete()) break;
    }
    const long closed = platform::system_call(SYS_close_range, first, last, flags);
    return closed < 0 && result == 0 ? closed : result;
}

}  // namespace

long close_descriptors(unsigned first, unsigned last, unsigned flags) {
    constexpr unsigned kKnown = CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC;
    // Wrong arguments are the kernel's to refuse. What is only marked close-on-exec stays open; ours is marked already.
    if (first > last || (flags & ~kKnown) != 0 || (flags & CLOSE_RANGE_CLOEXEC) != 0)
        return platform::system_call(SYS_close_range, first, last, flags);
    // Descriptors of a table that is shared no more are forgotten as well: other threads adopt theirs again.
    if (owns_memory()) {
        drop_notes_range(first, last);
        forget_range(first, last);
    }
    if (queues_possible()) return close_around(first, last, flags);
    return platform::system_call(SYS_close_range, first, last, flags);
}

}  // namespace muster::capi
