// SOURCE mq_open(3), and the kernel's order of checks.
#include <fcntl.h>
#include <cstdarg>
#include <cstdio>
#include "mq.hpp"
#include "platform/cancel.hpp"
#include "platform/fault_copy.hpp"
#include "platform/file.hpp"
#include "process_domain.hpp"

namespace muster::capi {
using platform::Fault;
using platform::File;
using platform::Outcome;

namespace {

// How the queue's file is opened so that its description tells the access mode to whoever gets it over a socket.
int file_flags(int flags) {
    const int access = flags & O_ACCMODE;
    const int mark = access == O_RDONLY ? kMarkReadOnly : access == O_WRONLY ? kMarkWriteOnly : 0;
    return mark | (flags & O_NONBLOCK);
}

// Takes the descriptor of a queue's file into the table. The descriptor, or a negated errno value, as from all that follow here.
int enter_opened(File file, OpenQueue* queue, int flags) {
    const int fd = file.fd();
    const int access = flags & O_ACCMODE;
    const std::uint32_t bits = access == O_RDONLY ? kAccessRead : access == O_WRONLY ? kAccessWrite : kAccessRead | kAccessWrite;
    if (auto entered = enter(fd, queue, bits); !entered) return -entered.fault().errno_value;
    return file.release();
}

// An existing queue; ENOENT if there is none.
int open_existing(const objects::Domain& domain, const QueueName& name, int flags) {
    auto file = domain.open_object(name.path, file_flags(flags));
    if (!file) return file.fault().errno_value == EBADMSG ? -EINVAL : -file.fault().errno_value;
    struct stat status;
    if (const int rc = platform::file_status(file->fd(), &status); rc < 0) return rc;
    if (!S_ISREG(status.st_mode)) return -EINVAL;
    OpenQueue* queue = find_queue(status.st_dev, status.st_ino);
    if (queue == nullptr) {
        auto fresh = new_queue();
        if (!fresh) return -fresh.fault().errno_value;
        queue = *fresh;
        if (auto opened = queue->queue.open(file->fd()); !opened) {
            release(queue);
            return opened.fault().errno_value == EBADMSG ? -EINVAL : -opened.fault().errno_value;
        }
        queue->device = status.st_dev;
        queue->inode = status.st_ino;
    }
    const int access = flags & O_ACCMODE;
    if (access == O_ACCMODE) {
        release(queue);
        return -EINVAL;
    }
    const std::uint32_t wanted = (access != O_WRONLY ? objects::kMayRead : 0) | (access != O_RDONLY ? objects::kMayWrite : 0);
    if (!queue->queue.permission().allows(wanted)) {
        release(queue);
        return -EACCES;
    }
    return enter_opened(std::move(*file), queue, flags);
}

// A new queue; EEXIST if somebody was faster.
int create_new(const objects::Domain& domain, const QueueName& name, int flags, mode_t mode, const mq_attr* attributes) {
    const objects::DomainLimits limits = domain.limits();
    objects::QueueOptions options{};
    options.messages_max = limits.msg_default < limits.msg_max ? limits.msg_default : limits.msg_max;
    options.message_bytes_max = limits.msgsize_default < limits.msgsize_max ? limits.msgsize_default : limits.msgsize_max;
    if (attributes != nullptr) {
        if (attributes->mq_maxmsg <= 0 || attributes->mq_msgsize <= 0 || static_cast<std::uint64_t>(attributes->mq_maxmsg) > limits.msg_max ||
            static_cast<std::uint64_t>(attributes->mq_msgsize) > limits.msgsize_max)
            return -EINVAL;
        options.messages_max = static_cast<std::uint64_t>(attributes->mq_maxmsg);
        options.message_bytes_max = static_cast<std::uint64_t>(attributes->mq_msgsize);
    }
    if (auto made = domain.ensure_directory("mq"); !made) return -made.fault().errno_value;
    if (limits.queues_max < 1'000'000 && domain.count("mq") >= limits.queues_max) return -ENOSPC;
    auto file = domain.create_nameless(mode, &options.mode, file_flags(flags));
    if (!file) return -file.fault().errno_value;
    auto fresh = new_queue();
    if (!fresh) return -fresh.fault().errno_value;
    OpenQueue* queue = *fresh;
    const auto give_up = [&](int rc) {
        release(queue);
        return rc;
    };
    if (auto created = queue->queue.create(file->fd(), options); !created) return give_up(-created.fault().errno_value);
    queue->queue.publish_ready();
    struct stat status;
    if (const int rc = platform::file_status(file->fd(), &status); rc < 0) return give_up(rc);
    // Who gets the queue its name has to be told of it: nothing may fail from here on.
    if (auto room = make_room_for(file->fd()); !room) return give_up(-room.fault().errno_value);
    if (auto published = domain.publish(file->fd(), name.path); !published) return give_up(-published.fault().errno_value);
    queue->device = status.st_dev;
    queue->inode = status.st_ino;
    return enter_opened(std::move(*file), queue, flags);
}

}  // namespace

int open_queue(const char* name, int flags, mode_t mode, const mq_attr* attributes) {
    platform::ThreadState& thread = platform::current_thread();
    QueueName path;
    if (const int wrong = queue_name(thread, name, path); wrong != 0) return fail(wrong);
    mq_attr copy{};
    if ((flags & O_CREAT) != 0 && attributes != nullptr && !platform::fault_load(thread, copy, attributes)) return fail(EFAULT);
    auto domain = process_domain((flags & O_CREAT) != 0);
    if (!domain) return fail(domain.fault().errno_value);
    for (int tries = 0; tries < 1000; ++tries) {
        int rc = -ENOENT;
        if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) {
            struct stat status;
            if (platform::file_status_at((*domain)->directory(), path.path, &status, AT_SYMLINK_NOFOLLOW) == 0) return fail(EEXIST);
        } else {
            rc = open_existing(**domain, path, flags);
        }
        if (rc == -ENOENT && (flags & O_CREAT) != 0) rc = create_new(**domain, path, flags, mode, attributes != nullptr ? &copy : nullptr);
        if (rc == -EEXIST && (flags & O_EXCL) == 0) continue;  // made by somebody else meanwhile: open theirs
        return rc >= 0 ? rc : fail(-rc);
    }
    return fail(EAGAIN);
}

}  // namespace muster::capi

MUSTER_EXPORT mqd_t mq_open(const char* name, int flags, ...) {
    mode_t mode = 0;
    const mq_attr* attributes = nullptr;
    if ((flags & O_CREAT) != 0) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        attributes = va_arg(rest, const mq_attr*);
        va_end(rest);
    }
    return muster::capi::open_queue(name, flags, mode, attributes);
}

// What <mqueue.h> calls when it can see that there are but two arguments.
MUSTER_EXPORT mqd_t __mq_open_2(const char* name, int flags) { return muster::capi::open_queue(name, flags & ~O_CREAT, 0, nullptr); }
