// The errno values of each system call (SOURCE the manual's section 2, seccomp(2)).
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <algorithm>
#include <cstring>
#include "starved_failures.hpp"

namespace muster::test {
namespace {

constexpr long kFutexWaitvNumber = 449;

struct Kind {
    long number;
    const char* name;
    std::vector<int> once, staying;
};
const std::vector<Kind>& kinds() {
    static const std::vector<Kind> all = {
        {SYS_mmap, "mmap", {ENOMEM, EAGAIN}, {ENOMEM}},
        {SYS_munmap, "munmap", {ENOMEM}, {ENOMEM}},
        {SYS_mprotect, "mprotect", {ENOMEM}, {ENOMEM}},
        {SYS_mremap, "mremap", {ENOMEM, EAGAIN}, {ENOMEM}},
        {SYS_munlock, "munlock", {ENOMEM}, {}},
        {SYS_open, "open", {EMFILE, ENFILE, ENOMEM, EACCES, EINTR, ENOSPC}, {EMFILE, ENFILE}},
        {SYS_openat, "openat", {EMFILE, ENFILE, ENOMEM, EACCES, EINTR, ENOSPC}, {EMFILE, ENFILE}},
        {SYS_ftruncate, "ftruncate", {EINTR, ENOSPC, EFBIG}, {}},
        {SYS_fallocate, "fallocate", {ENOSPC, EINTR}, {ENOSPC}},
        {SYS_linkat, "linkat", {EEXIST, ENOSPC, ENOMEM, EACCES}, {ENOSPC}},
        {SYS_unlinkat, "unlinkat", {EACCES, ENOMEM}, {EACCES}},
        {SYS_renameat2, "renameat2", {ENOSPC, ENOMEM, EINVAL}, {ENOSPC, EINVAL}},
        {SYS_mkdirat, "mkdirat", {ENOSPC, ENOMEM, EACCES}, {ENOSPC}},
        {SYS_mknodat, "mknodat", {ENOSPC, ENOMEM, EACCES}, {ENOSPC}},
        {SYS_readlinkat, "readlinkat", {ENOMEM, EACCES}, {}},
        {SYS_getdents64, "getdents64", {ENOMEM}, {}},
        {SYS_fstat, "fstat", {ENOMEM}, {}},
        {SYS_newfstatat, "newfstatat", {ENOMEM, EACCES}, {}},
        {SYS_statx, "statx", {ENOMEM}, {}},
        {SYS_fstatfs, "fstatfs", {EINTR, ENOMEM}, {}},
        {SYS_pread64, "pread64", {EINTR, ENOMEM}, {}},
        {SYS_pwrite64, "pwrite64", {EINTR, ENOSPC}, {ENOSPC}},
        {SYS_read, "read", {EINTR, ENOMEM}, {}},
        {SYS_write, "write", {EINTR, ENOSPC}, {ENOSPC}},
        {SYS_getrandom, "getrandom", {EINTR}, {}},
        {SYS_process_vm_readv, "process_vm_readv", {ENOMEM}, {ENOMEM}},
        {SYS_prlimit64, "prlimit64", {}, {}},
        {SYS_close_range, "close_range", {EMFILE, ENOMEM}, {}},
        {SYS_nanosleep, "nanosleep", {EINTR}, {}},
        {SYS_set_robust_list, "set_robust_list", {}, {}},
        {SYS_get_robust_list, "get_robust_list", {}, {}},
        {SYS_clone, "clone", {EAGAIN, ENOMEM}, {EAGAIN}},
        {SYS_clone3, "clone3", {EAGAIN, ENOMEM}, {EAGAIN}},
        {SYS_fchown, "fchown", {ENOMEM}, {}},
        {SYS_fchmod, "fchmod", {ENOMEM}, {}},
        {SYS_fchownat, "fchownat", {ENOMEM, EACCES}, {}},
        {SYS_fchmodat, "fchmodat", {ENOMEM, EACCES}, {}},
        {SYS_getgroups, "getgroups", {}, {}},
        {SYS_lseek, "lseek", {}, {}},
        {SYS_rt_sigaction, "rt_sigaction", {}, {}},
        {SYS_rt_sigpending, "rt_sigpending", {}, {}},
        {SYS_statfs, "statfs", {ENOMEM}, {}},
        {SYS_faccessat, "faccessat", {ENOMEM, EACCES}, {}},
    };
    return all;
}

// What no kernel and no sandbox that lets a program start refuses.
bool always_succeeds(const SystemCall& call) {
    switch (call.number) {
        case SYS_gettid: case SYS_getpid: case SYS_getppid: case SYS_getuid: case SYS_geteuid: case SYS_getgid: case SYS_getegid:
        case SYS_sched_yield: case SYS_exit: case SYS_exit_group: case SYS_rt_sigreturn: case SYS_rt_sigprocmask:
        case SYS_umask: case SYS_getcpu: case SYS_restart_syscall:
        // Signals that are no real-time ones are never refused with EAGAIN, and whom the table's operations signal is there.
        case SYS_rt_sigqueueinfo: case SYS_rt_tgsigqueueinfo:
            return true;
        default: return false;
    }
}

void add(std::vector<Refusal>& to, std::initializer_list<int> once, std::initializer_list<int> staying) {
    for (const int error : once) to.push_back({error, false, false});
    for (const int error : staying) to.push_back({error, true, false});
}

std::vector<Refusal> of_futex(const SystemCall& call) {
    const bool waitv = call.number == kFutexWaitvNumber;
    const unsigned long operation = call.arguments[1] & 0x7f;
    // Waking and requeueing words that are there cannot fail; a sandbox without futexes has no threads of the C library either.
    if (!waitv && operation != FUTEX_WAIT && operation != FUTEX_WAIT_BITSET) return {};
    std::vector<Refusal> all;
    add(all, {EINTR, EAGAIN, ENOMEM}, {});
    if (call.arguments[3] != 0) add(all, {ETIMEDOUT}, {});
    if (waitv) add(all, {}, {ENOSYS, EPERM, ENOMEM});
    return all;
}

std::vector<Refusal> of_madvise(const SystemCall& call) {
    std::vector<Refusal> all;
    const auto advice = static_cast<int>(call.arguments[2]);
    if (advice == MADV_REMOVE) add(all, {ENOMEM, EINVAL}, {ENOSYS});
    else if (advice == 23) add(all, {ENOMEM, EAGAIN, EFAULT}, {ENOMEM, EINVAL});  // MADV_POPULATE_WRITE: EFAULT is a full file system
    else add(all, {ENOMEM, EAGAIN}, {EINVAL});
    return all;
}

std::vector<Refusal> of_fcntl(const SystemCall& call) {
    std::vector<Refusal> all;
    switch (static_cast<int>(call.arguments[1])) {
        case F_DUPFD:
        case F_DUPFD_CLOEXEC: add(all, {EMFILE}, {EMFILE}); break;
        case F_SETLK:
        case F_OFD_SETLK: add(all, {ENOLCK, EAGAIN}, {ENOLCK}); break;
        case F_SETLKW:
        case F_OFD_SETLKW: add(all, {ENOLCK, EINTR}, {ENOLCK}); break;
        default: break;
    }
    return all;
}

}  // namespace

std::string name_of(const SystemCall& call) {
    if (call.number == SYS_futex) return "futex " + std::to_string(call.arguments[1] & 0x7f);
    if (call.number == kFutexWaitvNumber) return "futex_waitv";
    if (call.number == SYS_madvise) return "madvise " + std::to_string(call.arguments[2]);
    if (call.number == SYS_fcntl) return "fcntl " + std::to_string(call.arguments[1]);
    if (call.number == SYS_close) return "close";
    for (const Kind& kind : kinds())
        if (kind.number == call.number) return kind.name;
    return "system call " + std::to_string(call.number);
}

std::vector<Refusal> refusals_of(const SystemCall& call) {
    if (always_succeeds(call)) return {};
    if (call.number == SYS_futex || call.number == kFutexWaitvNumber) return of_futex(call);
    std::vector<Refusal> all;
    if (call.number == SYS_close) return {{EINTR, false, true}, {EIO, false, true}};  // the descriptor is gone however it ends
    if (call.number == SYS_fcntl) return of_fcntl(call);  // asking for flags and locks cannot fail, and no sandbox forbids all of it
    if (call.number == SYS_madvise) all = of_madvise(call);
    for (const Kind& kind : kinds()) {
        if (kind.number != call.number) continue;
        for (const int error : kind.once) all.push_back({error, false, false});
        for (const int error : kind.staying) all.push_back({error, true, false});
    }
    add(all, {}, {EPERM, ENOSYS});  // a sandbox
    return all;
}

}  // namespace muster::test
