// What each call of the library may say of a machine that has not enough for it (SOURCE POSIX, the manual's pages of the calls,
// docs/deviations.md).
#pragma once
#include <cerrno>
#include <set>
#include <string>
#include <vector>

namespace muster::test {

struct Says {
    const char* call;
    std::set<int> errors;
    bool of_files = false;  // and what files bring with them: docs/deviations.md, "System V"
};
inline const std::set<int> kFiles = {EMFILE, ENFILE, ENOMEM, ENOSPC};
inline const std::vector<Says>& says() {
    static const std::vector<Says> all = {
        {"mq_open", {EACCES, EEXIST, EFBIG, EINTR, EINVAL, EMFILE, ENFILE, ENOENT, ENOMEM, ENOSPC}},
        {"mq_close", {EBADF, EINTR, EIO}},  // it is close(2), the kernel's too
        {"mq_unlink", {EACCES, ENOENT, ENOMEM}},
        {"mq_send", {EAGAIN, EBADF, EINTR, ENOSPC}},
        {"mq_timedsend", {EAGAIN, EBADF, EINTR, ENOSPC, ETIMEDOUT}},
        {"mq_receive", {EAGAIN, EBADF, EINTR, ENOSPC}},
        {"mq_timedreceive", {EAGAIN, EBADF, EINTR, ENOSPC, ETIMEDOUT}},
        {"mq_getattr", {EBADF}},
        {"mq_setattr", {EBADF}},
        {"mq_notify", {EBADF, EBUSY, ENOMEM}},
        // What these make and look up by key or identifier is a file: kFiles.
        {"msgget", {EACCES, EEXIST, EFBIG, EINVAL, ENOENT}, true},
        {"msgsnd", {EACCES, EAGAIN, EINTR, EIDRM, EINVAL, ENOMEM}},
        {"msgrcv", {EACCES, E2BIG, EAGAIN, EINTR, EIDRM, EINVAL, ENOMSG, ENOMEM}},
        {"msgctl", {EACCES, EIDRM, EINVAL, EPERM}, true},
        {"semget", {EACCES, EEXIST, EFBIG, EINVAL, ENOENT}, true},
        {"semop", {EACCES, EAGAIN, EINTR, EIDRM, EINVAL, ENOMEM, ENOSPC}},
        {"semtimedop", {EACCES, EAGAIN, EINTR, EIDRM, EINVAL, ENOMEM, ENOSPC}},
        {"semctl", {EACCES, EIDRM, EINVAL, EPERM}, true},
        {"shmget", {EACCES, EEXIST, EFBIG, EINVAL, ENOENT}, true},
        {"shmat", {EACCES, EAGAIN, EIDRM, EINVAL}, true},  // EAGAIN: more than may be locked, the kernel's too
        {"shmdt", {EINVAL, ENOMEM}},
        {"shmctl", {EACCES, EIDRM, EINVAL, EPERM}, true},
        {"shm_open", {EACCES, EEXIST, EINTR, EMFILE, ENFILE, ENOENT, ENOMEM, ENOSPC}},
        {"shm_unlink", {EACCES, ENOENT, ENOMEM}},
        {"sem_open", {EACCES, EEXIST, EFBIG, EINTR, EMFILE, ENFILE, ENOENT, ENOMEM, ENOSPC}},
        {"sem_close", {EINVAL}},
        {"sem_unlink", {EACCES, ENOENT, ENOMEM}},
    };
    return all;
}

// Whether an operation of the table may end with this errno value.
inline bool may_say(const std::string& operation, int error) {
    const std::string call = operation.substr(0, operation.find_first_of("/ "));
    for (const Says& each : says())
        if (call == each.call) return each.errors.count(error) != 0 || (each.of_files && kFiles.count(error) != 0);
    return false;
}

}  // namespace muster::test
