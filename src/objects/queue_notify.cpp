// Telling a process that a message came to the empty queue. SOURCE mq_notify(3).
#include <signal.h>
#include "objects/queue.hpp"
#include "objects/queue_acting.hpp"
#include "platform/crash_point.hpp"
#include "platform/file.hpp"
#include "platform/process.hpp"

namespace muster::objects {
using platform::Fault;
using platform::Outcome;

// A registration lasts as long as the registrant holds a POSIX record lock on a byte of the queue's file, its own
// process number far beyond every queue's end. The kernel drops such a lock exactly when a registration must end: when
// the process closes any descriptor of the file, execs or dies; and children do not inherit it.
namespace {
constexpr std::int64_t kLockByte = 0x6d71'0000'0000'0000;

struct flock lock_of(std::uint32_t pid) {
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = kLockByte + pid;
    lock.l_len = 1;
    return lock;
}
}  // namespace

bool registration_stands(int fd, std::uint32_t pid) {
    // Asked as the owner of another kind of lock, so that our own is seen too.
    struct flock lock = lock_of(pid);
    return platform::system_call(SYS_fcntl, fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && static_cast<std::uint32_t>(lock.l_pid) == pid;
}

Outcome<> Queue::set_notify(platform::ThreadState& thread, int fd, const NotifyRequest& request) {
    QueueSend& s = header_->send;
    Acting me(*this, thread);
    if (auto begun = me.begin(fd, ActorKind::keeper); !begun) return begun;
    if (auto locked = me.lock_both(); !locked) return locked;
    Outcome<> result = platform::done();
    const std::uint32_t registrant = s.notify_pid.load_relaxed();
    struct flock lock = lock_of(platform::process_id());
    if (s.notify_kind.load_relaxed() != 0 && registration_stands(fd, registrant)) {
        result = Fault{EBUSY, "another registration for this queue stands"};
    } else if (const long rc = platform::system_call(SYS_fcntl, fd, F_SETLK, &lock); rc < 0) {
        // SOURCE mq_notify(3): what it may say. Held by somebody else, it is a registration; else the kernel has no lock to give.
        const int error = rc == -EAGAIN || rc == -EACCES ? EBUSY : rc == -ENOLCK ? ENOMEM : static_cast<int>(-rc);
        result = Fault{error, "the registration's record lock cannot be taken"};
    } else {
        s.notify_kind.store_release(0);
        if (request.word != nullptr) *request.word = s.notify_word.load_relaxed();
        s.notify_pid.store_relaxed(platform::process_id());
        s.notify_signal.store_relaxed(static_cast<std::uint32_t>(request.signal));
        s.notify_value.store_relaxed(request.value);
        MUSTER_CRASH_POINT("queue.notify.filled");
        header_->shared.flags.or_release(kQueueWatched);
        s.notify_kind.store_release((static_cast<std::uint32_t>(request.kind) + 1) | (request.by_word ? 0x100u : 0u));
    }
    me.unlock_both();
    return result;
}

Outcome<> Queue::clear_notify(platform::ThreadState& thread, int fd) {
    QueueSend& s = header_->send;
    if (s.notify_kind.load_acquire() == 0) return platform::done();
    Acting me(*this, thread);
    if (auto begun = me.begin(fd, ActorKind::keeper); !begun) return begun;
    if (auto locked = me.lock_both(); !locked) return locked;
    if (s.notify_kind.load_relaxed() != 0 && s.notify_pid.load_relaxed() == platform::process_id()) {
        end_watch();
        s.notify_word.add_release(1);
        platform::futex_wake(s.notify_word.address(), INT_MAX);
    }
    me.unlock_both();
    return platform::done();
}

// Both locks held.
void Queue::end_watch() {
    header_->send.notify_kind.store_release(0);
    header_->shared.flags.and_release(~kQueueWatched);
}

// Both locks held; the message is about to be committed, so that our death in between loses no notification. The
// registration is used up.
void Queue::fire_notify(int fd) {
    QueueSend& s = header_->send;
    const std::uint32_t kind = s.notify_kind.load_relaxed();
    const std::uint32_t registrant = s.notify_pid.load_relaxed();
    if (registration_stands(fd, registrant)) {
        s.notify_sender_pid.store_relaxed(platform::process_id());
        s.notify_sender_uid.store_relaxed(platform::real_user());
        if (kind & 0x100u) {
            s.notify_word.add_release(1);
            platform::futex_wake(s.notify_word.address(), INT_MAX);
        } else if ((kind & 0xff) == SIGEV_SIGNAL + 1) {
            siginfo_t info{};
            info.si_signo = static_cast<int>(s.notify_signal.load_relaxed());
            info.si_code = SI_MESGQ;
            info.si_pid = static_cast<pid_t>(platform::process_id());
            info.si_uid = platform::real_user();
            info.si_value.sival_ptr = reinterpret_cast<void*>(s.notify_value.load_relaxed());
            platform::system_call(SYS_rt_sigqueueinfo, registrant, info.si_signo, &info);
        }
    }
    MUSTER_CRASH_POINT("queue.notify.fired");
    end_watch();
}

}  // namespace muster::objects
