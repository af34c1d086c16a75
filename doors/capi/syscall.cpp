// syscall(): the numbers of the calls that we take over lead to ours, all others to the kernel, unchanged.
//
// The entry is written by hand and has no frame: programs start threads and processes through it, whose stacks
// are not ours to use. A number's line in the table is all that another call needs.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include "descriptor_calls.hpp"
#include "export.hpp"
#include "mq.hpp"
#include "platform/fault_copy.hpp"
#include "sysv_credentials.hpp"
#include "watching.hpp"

using namespace muster;

extern "C" {
int close(int descriptor);
int fcntl(int descriptor, int command, ...);
}

namespace {

using Handler = long (*)(long, long, long, long, long);
constexpr int kNumbers = 512;

template <class T>
T as(long value) {
    if constexpr (std::is_pointer_v<T>) return reinterpret_cast<T>(value);
    else return static_cast<T>(value);
}

// SOURCE mq_open(2): the kernel is given the name without its slash. 0 or an errno value.
struct SlashedName {
    char text[260];
};
int slashed(const char* name, SlashedName& result) {
    result.text[0] = '/';
    const std::ptrdiff_t length = platform::fault_load_string(platform::current_thread(), result.text + 1, name, sizeof result.text - 2);
    if (length < 0) return EFAULT;
    result.text[1 + length] = 0;
    return 0;
}

long call_mq_open(long name, long flags, long mode, long attributes, long) {
    SlashedName slash;
    if (const int wrong = slashed(as<const char*>(name), slash); wrong != 0) return capi::fail(wrong);
    return capi::open_queue(slash.text, as<int>(flags), as<mode_t>(mode), as<const mq_attr*>(attributes));
}

long call_mq_unlink(long name, long, long, long, long) {
    SlashedName slash;
    if (const int wrong = slashed(as<const char*>(name), slash); wrong != 0) return capi::fail(wrong);
    return mq_unlink(slash.text);
}

long call_mq_timedsend(long queue, long message, long length, long priority, long until) {
    return capi::send_message(as<mqd_t>(queue), as<const char*>(message), as<size_t>(length), as<unsigned>(priority), as<const timespec*>(until));
}

long call_mq_timedreceive(long queue, long buffer, long capacity, long priority, long until) {
    return capi::receive_message(as<mqd_t>(queue), as<char*>(buffer), as<size_t>(capacity), as<unsigned*>(priority), as<const timespec*>(until));
}

long call_mq_notify(long queue, long event, long, long, long) {
    sigevent wanted{};
    const auto* given = as<const sigevent*>(event);
    if (given != nullptr && !platform::fault_load(platform::current_thread(), wanted, given)) return capi::fail(EFAULT);
    // To the kernel this kind names a socket of the C library's own making; nobody else has one.
    if (given != nullptr && wanted.sigev_notify == SIGEV_THREAD) return capi::fail(EINVAL);
    return mq_notify(as<mqd_t>(queue), given);
}

long call_mq_getsetattr(long queue, long next, long old, long, long) {
    return muster_mq_getsetattr(as<int>(queue), as<const mq_attr*>(next), as<mq_attr*>(old));
}

long call_openat(long directory, long path, long flags, long mode, long) {
    return openat(as<int>(directory), as<const char*>(path), as<int>(flags), as<mode_t>(mode));
}
#ifdef SYS_open
long call_open(long path, long flags, long mode, long, long) { return open(as<const char*>(path), as<int>(flags), as<mode_t>(mode)); }
#endif
long call_close(long descriptor, long, long, long, long) { return close(as<int>(descriptor)); }
long call_dup(long original, long, long, long, long) { return capi::finish(capi::duplicate(as<int>(original))); }
long call_dup2(long original, long wanted, long, long, long) {
    return capi::finish(capi::duplicate_to(as<int>(original), as<int>(wanted), 0, false));
}
long call_dup3(long original, long wanted, long flags, long, long) {
    return capi::finish(capi::duplicate_to(as<int>(original), as<int>(wanted), as<int>(flags), true));
}
long call_close_range(long first, long last, long flags, long, long) {
    return capi::finish(capi::close_descriptors(as<unsigned>(first), as<unsigned>(last), as<unsigned>(flags)));
}
long call_fcntl(long descriptor, long command, long argument, long, long) { return fcntl(as<int>(descriptor), as<int>(command), argument); }

long call_shmget(long key, long size, long flags, long, long) { return shmget(as<key_t>(key), as<size_t>(size), as<int>(flags)); }
long call_shmat(long id, long address, long flags, long, long) { return reinterpret_cast<long>(shmat(as<int>(id), as<const void*>(address), as<int>(flags))); }
long call_shmdt(long address, long, long, long, long) { return shmdt(as<const void*>(address)); }
long call_shmctl(long id, long command, long buffer, long, long) { return shmctl(as<int>(id), as<int>(command), as<shmid_ds*>(buffer)); }
long call_munmap(long address, long length, long, long, long) { return munmap(as<void*>(address), as<size_t>(length)); }
long call_mprotect(long address, long length, long protection, long, long) { return mprotect(as<void*>(address), as<size_t>(length), as<int>(protection)); }
long call_mremap(long address, long old_length, long new_length, long flags, long wanted) {
    return reinterpret_cast<long>(mremap(as<void*>(address), as<size_t>(old_length), as<size_t>(new_length), as<int>(flags), as<void*>(wanted)));
}

long call_msgget(long key, long flags, long, long, long) { return msgget(as<key_t>(key), as<int>(flags)); }
long call_msgsnd(long id, long message, long size, long flags, long) { return msgsnd(as<int>(id), as<const void*>(message), as<size_t>(size), as<int>(flags)); }
long call_msgrcv(long id, long message, long size, long type, long flags) {
    return msgrcv(as<int>(id), as<void*>(message), as<size_t>(size), type, as<int>(flags));
}
long call_msgctl(long id, long command, long buffer, long, long) { return msgctl(as<int>(id), as<int>(command), as<msqid_ds*>(buffer)); }

long call_semget(long key, long count, long flags, long, long) { return semget(as<key_t>(key), as<int>(count), as<int>(flags)); }
long call_semop(long id, long operations, long count, long, long) { return semop(as<int>(id), as<sembuf*>(operations), as<size_t>(count)); }
long call_semtimedop(long id, long operations, long count, long timeout, long) {
    return semtimedop(as<int>(id), as<sembuf*>(operations), as<size_t>(count), as<const timespec*>(timeout));
}
long call_semctl(long id, long number, long command, long argument, long) {
    return semctl(as<int>(id), as<int>(number), as<int>(command), as<void*>(argument));
}

// These change the calling thread's alone, where the C library's own calls tell all threads.
template <int kNumber>
long call_changing_credentials(long a, long b, long c, long d, long e) {
    const long result = capi::finish(platform::system_call(kNumber, a, b, c, d, e));
    capi::note_credentials_differ();
    return result;
}

struct Table {
    Handler handlers[kNumbers];
};

constexpr Table make_table() {
    Table table{};
    table.handlers[SYS_mq_open] = &call_mq_open;
    table.handlers[SYS_mq_unlink] = &call_mq_unlink;
    table.handlers[SYS_mq_timedsend] = &call_mq_timedsend;
    table.handlers[SYS_mq_timedreceive] = &call_mq_timedreceive;
    table.handlers[SYS_mq_notify] = &call_mq_notify;
    table.handlers[SYS_mq_getsetattr] = &call_mq_getsetattr;
    table.handlers[SYS_openat] = &call_openat;
#ifdef SYS_open
    table.handlers[SYS_open] = &call_open;
#endif
    table.handlers[SYS_close] = &call_close;
    table.handlers[SYS_dup] = &call_dup;
#ifdef SYS_dup2
    table.handlers[SYS_dup2] = &call_dup2;
#endif
    table.handlers[SYS_dup3] = &call_dup3;
#ifdef SYS_close_range
    table.handlers[SYS_close_range] = &call_close_range;
#else
    table.handlers[436] = &call_close_range;
#endif
    table.handlers[SYS_fcntl] = &call_fcntl;
    table.handlers[SYS_msgget] = &call_msgget;
    table.handlers[SYS_msgsnd] = &call_msgsnd;
    table.handlers[SYS_msgrcv] = &call_msgrcv;
    table.handlers[SYS_msgctl] = &call_msgctl;
    table.handlers[SYS_setuid] = &call_changing_credentials<SYS_setuid>;
    table.handlers[SYS_setgid] = &call_changing_credentials<SYS_setgid>;
    table.handlers[SYS_setreuid] = &call_changing_credentials<SYS_setreuid>;
    table.handlers[SYS_setregid] = &call_changing_credentials<SYS_setregid>;
    table.handlers[SYS_setresuid] = &call_changing_credentials<SYS_setresuid>;
    table.handlers[SYS_setresgid] = &call_changing_credentials<SYS_setresgid>;
    table.handlers[SYS_setgroups] = &call_changing_credentials<SYS_setgroups>;
    table.handlers[SYS_semget] = &call_semget;
    table.handlers[SYS_semop] = &call_semop;
    table.handlers[SYS_semtimedop] = &call_semtimedop;
    table.handlers[SYS_semctl] = &call_semctl;
    table.handlers[SYS_shmget] = &call_shmget;
    table.handlers[SYS_shmat] = &call_shmat;
    table.handlers[SYS_shmdt] = &call_shmdt;
    table.handlers[SYS_shmctl] = &call_shmctl;
    table.handlers[SYS_munmap] = &call_munmap;
    table.handlers[SYS_mprotect] = &call_mprotect;
    table.handlers[SYS_mremap] = &call_mremap;
    return table;
}

}  // namespace

extern "C" {
extern __attribute__((visibility("hidden"))) const Table muster_syscall_table;
constinit const Table muster_syscall_table = make_table();

// The end of a call that the kernel refused.
__attribute__((visibility("hidden"))) long muster_syscall_failed(long result) { return capi::finish(result); }
}

static_assert(kNumbers == 512, "the number stands in the code below");

#if defined(__x86_64__)
asm(R"(
    .pushsection .text
    .globl syscall
    .type syscall, @function
    .balign 16
syscall:
    .cfi_startproc
    endbr64
    cmpq    $512, %rdi
    jae     1f
    leaq    muster_syscall_table(%rip), %rax
    movq    (%rax,%rdi,8), %rax
    testq   %rax, %rax
    jz      1f
    movq    %rsi, %rdi
    movq    %rdx, %rsi
    movq    %rcx, %rdx
    movq    %r8, %rcx
    movq    %r9, %r8
    jmp     *%rax
1:  movq    %rdi, %rax
    movq    %rsi, %rdi
    movq    %rdx, %rsi
    movq    %rcx, %rdx
    movq    %r8, %r10
    movq    %r9, %r8
    movq    8(%rsp), %r9
    syscall
    cmpq    $-4095, %rax
    jae     2f
    ret
2:  movq    %rax, %rdi
    jmp     muster_syscall_failed
    .cfi_endproc
    .size syscall, . - syscall
    .popsection
)");
#elif defined(__aarch64__)
asm(R"(
    .pushsection .text
    .globl syscall
    .type syscall, %function
    .balign 16
syscall:
    .cfi_startproc
    hint    #34
    cmp     x0, #512
    b.hs    1f
    adrp    x9, muster_syscall_table
    add     x9, x9, :lo12:muster_syscall_table
    ldr     x9, [x9, x0, lsl #3]
    cbz     x9, 1f
    mov     x0, x1
    mov     x1, x2
    mov     x2, x3
    mov     x3, x4
    mov     x4, x5
    mov     x16, x9
    br      x16
1:  mov     x8, x0
    mov     x0, x1
    mov     x1, x2
    mov     x2, x3
    mov     x3, x4
    mov     x4, x5
    mov     x5, x6
    svc     0
    cmn     x0, #4095
    b.hs    muster_syscall_failed
    ret
    .cfi_endproc
    .size syscall, . - syscall
    .popsection
)");
#endif
