#include "platform/fault_copy.hpp"
#include <signal.h>
#include <sys/uio.h>
#include <cerrno>
#include "platform/signals.hpp"
#include "platform/syscall.hpp"

// No stack is used, so that resuming at the fix-up needs the instruction pointer alone. Sizes up to 128 are loaded
// whole before anything is stored; each size is covered by pieces that overlap in the middle, without a loop.
// Large copies are a loop, too, and not rep movsb: that is 16 times slower on AMD for some relative alignments, and
// never faster than this by more than a tenth where it is good.
#if defined(__x86_64__)
asm(R"(
    .pushsection .text.muster_fault_copy, "ax", @progbits
    .balign 64
    .globl muster_fault_copy
    .hidden muster_fault_copy
    .type muster_fault_copy, @function
muster_fault_copy:
    .cfi_startproc
    movl    $1, %eax
    cmpq    $16, %rdx
    jb      10f
    cmpq    $32, %rdx
    ja      2f
    movups  (%rsi), %xmm0
    movups  -16(%rsi,%rdx), %xmm1
    movups  %xmm0, (%rdi)
    movups  %xmm1, -16(%rdi,%rdx)
    ret
    .balign 16
2:  cmpq    $64, %rdx
    ja      3f
    movups  (%rsi), %xmm0
    movups  16(%rsi), %xmm1
    movups  -32(%rsi,%rdx), %xmm2
    movups  -16(%rsi,%rdx), %xmm3
    movups  %xmm0, (%rdi)
    movups  %xmm1, 16(%rdi)
    movups  %xmm2, -32(%rdi,%rdx)
    movups  %xmm3, -16(%rdi,%rdx)
    ret
    .balign 16
3:  cmpq    $128, %rdx
    ja      4f
    movups  (%rsi), %xmm0
    movups  16(%rsi), %xmm1
    movups  32(%rsi), %xmm2
    movups  48(%rsi), %xmm3
    movups  -64(%rsi,%rdx), %xmm4
    movups  -48(%rsi,%rdx), %xmm5
    movups  -32(%rsi,%rdx), %xmm6
    movups  -16(%rsi,%rdx), %xmm7
    movups  %xmm0, (%rdi)
    movups  %xmm1, 16(%rdi)
    movups  %xmm2, 32(%rdi)
    movups  %xmm3, 48(%rdi)
    movups  %xmm4, -64(%rdi,%rdx)
    movups  %xmm5, -48(%rdi,%rdx)
    movups  %xmm6, -32(%rdi,%rdx)
    movups  %xmm7, -16(%rdi,%rdx)
    ret

    // A piece of 16 first, so that the blocks of 64 are stored aligned; the last 64 bytes apart.
    .balign 16
4:  movups  (%rsi), %xmm0
    movups  -64(%rsi,%rdx), %xmm4
    movups  -48(%rsi,%rdx), %xmm5
    movups  -32(%rsi,%rdx), %xmm6
    movups  -16(%rsi,%rdx), %xmm7
    leaq    -64(%rdi,%rdx), %r8
    movups  %xmm0, (%rdi)
    movq    %rdi, %rcx
    andl    $15, %ecx
    subq    $16, %rcx
    subq    %rcx, %rdi
    subq    %rcx, %rsi
    .balign 16
5:  movups  (%rsi), %xmm0
    movups  16(%rsi), %xmm1
    movups  32(%rsi), %xmm2
    movups  48(%rsi), %xmm3
    addq    $64, %rsi
    movaps  %xmm0, (%rdi)
    movaps  %xmm1, 16(%rdi)
    movaps  %xmm2, 32(%rdi)
    movaps  %xmm3, 48(%rdi)
    addq    $64, %rdi
    cmpq    %r8, %rdi
    jb      5b
    movups  %xmm4, (%r8)
    movups  %xmm5, 16(%r8)
    movups  %xmm6, 32(%r8)
    movups  %xmm7, 48(%r8)
    ret

    .balign 16
10: cmpl    $8, %edx
    jb      11f
    movq    (%rsi), %rcx
    movq    -8(%rsi,%rdx), %r8
    movq    %rcx, (%rdi)
    movq    %r8, -8(%rdi,%rdx)
    ret
11: cmpl    $4, %edx
    jb      12f
    movl    (%rsi), %ecx
    movl    -4(%rsi,%rdx), %r8d
    movl    %ecx, (%rdi)
    movl    %r8d, -4(%rdi,%rdx)
    ret
12: testl   %edx, %edx
    je      13f
    movl    %edx, %r9d
    shrl    $1, %r9d
    movzbl  (%rsi), %ecx
    movzbl  (%rsi,%r9), %r8d
    movzbl  -1(%rsi,%rdx), %r10d
    movb    %cl, (%rdi)
    movb    %r8b, (%rdi,%r9)
    movb    %r10b, -1(%rdi,%rdx)
13: ret
    .globl muster_fault_copy_fixup
    .hidden muster_fault_copy_fixup
muster_fault_copy_fixup:
    xorl    %eax, %eax
    ret
    .cfi_endproc
    .size muster_fault_copy, . - muster_fault_copy
    .popsection
)");
#elif defined(__aarch64__)
asm(R"(
    .pushsection .text.muster_fault_copy, "ax", @progbits
    .balign 64
    .globl muster_fault_copy
    .hidden muster_fault_copy
    .type muster_fault_copy, %function
muster_fault_copy:
    .cfi_startproc
    add     x4, x0, x2
    add     x5, x1, x2
    cmp     x2, #16
    b.lo    3f
    cmp     x2, #64
    b.hi    1f
    // 16 to 64: two pieces of 16 from either end.
    ldr     q0, [x1]
    ldr     q3, [x5, #-16]
    cmp     x2, #32
    b.ls    5f
    ldr     q1, [x1, #16]
    ldr     q2, [x5, #-32]
    str     q1, [x0, #16]
    str     q2, [x4, #-32]
5:  str     q0, [x0]
    str     q3, [x4, #-16]
    mov     w0, #1
    ret
    // Blocks of 64, the last one overlapping.
1:  sub     x6, x4, #64
2:  ldp     q0, q1, [x1]
    ldp     q2, q3, [x1, #32]
    add     x1, x1, #64
    stp     q0, q1, [x0]
    stp     q2, q3, [x0, #32]
    add     x0, x0, #64
    cmp     x0, x6
    b.lo    2b
    ldp     q0, q1, [x5, #-64]
    ldp     q2, q3, [x5, #-32]
    stp     q0, q1, [x6]
    stp     q2, q3, [x6, #32]
    mov     w0, #1
    ret
3:  tbz     w2, #3, 6f
    ldr     x6, [x1]
    ldr     x7, [x5, #-8]
    str     x6, [x0]
    str     x7, [x4, #-8]
    mov     w0, #1
    ret
6:  tbz     w2, #2, 7f
    ldr     w6, [x1]
    ldr     w7, [x5, #-4]
    str     w6, [x0]
    str     w7, [x4, #-4]
    mov     w0, #1
    ret
7:  cbz     w2, 8f
    lsr     x8, x2, #1
    ldrb    w6, [x1]
    ldrb    w7, [x1, x8]
    ldrb    w9, [x5, #-1]
    strb    w6, [x0]
    strb    w7, [x0, x8]
    strb    w9, [x4, #-1]
8:  mov     w0, #1
    ret
    .globl muster_fault_copy_fixup
    .hidden muster_fault_copy_fixup
muster_fault_copy_fixup:
    mov     w0, #0
    ret
    .cfi_endproc
    .size muster_fault_copy, . - muster_fault_copy
    .popsection
)");
#endif

extern "C" __attribute__((visibility("hidden"))) const char muster_fault_copy_fixup[];

namespace muster::platform {

namespace {

constexpr std::size_t kKernelCopyBytesMax = std::size_t{1} << 30;

// Lets the kernel do it, which has a fault table of its own.
bool copy_through_kernel(void* to, const void* from, std::size_t bytes) {
    const long self = system_call(SYS_getpid);
    for (std::size_t done = 0; done < bytes;) {
        const std::size_t part = bytes - done < kKernelCopyBytesMax ? bytes - done : kKernelCopyBytesMax;
        iovec here{static_cast<char*>(to) + done, part};
        iovec there{const_cast<char*>(static_cast<const char*>(from)) + done, part};
        const long copied = system_call(SYS_process_vm_readv, self, &here, 1, &there, 1, 0);
        // A sandbox that forbids the call: a bad pointer then does what it does in any program.
        if (copied == -EPERM || copied == -ENOSYS) return muster_fault_copy(here.iov_base, there.iov_base, bytes - done) != 0;
        if (copied <= 0) return false;
        done += static_cast<std::size_t>(copied);
    }
    return true;
}

}  // namespace

bool fault_copy_checking_mask(ThreadState& thread, void* to, const void* from, std::size_t bytes) {
    if (__builtin_expect(!fault_handlers_installed(), 0)) install_fault_handlers();
    // Asked again while blocked: a mask that was opened behind our back (siglongjmp) makes copies fast again.
    std::uint64_t blocked = 0;
    change_signal_mask(0, nullptr, &blocked);
    const bool gets_through = (blocked & (signal_bit(SIGSEGV) | signal_bit(SIGBUS))) == 0;
    thread.fault_mask_known = gets_through ? 1 : 2;
    return gets_through ? muster_fault_copy(to, from, bytes) != 0 : copy_through_kernel(to, from, bytes);
}

bool fault_readable(ThreadState& thread, const void* from, std::size_t bytes) {
    char sink[512];
    const auto* start = static_cast<const char*>(from);
    for (std::size_t at = 0; at < bytes; at += sizeof sink)
        if (!fault_copy(thread, sink, start + at, bytes - at < sizeof sink ? bytes - at : sizeof sink)) return false;
    return true;
}

std::ptrdiff_t fault_load_string(ThreadState& thread, char* to, const char* from, std::size_t capacity_bytes) {
    // Never beyond the end of a page before the zero was looked for in it.
    constexpr std::size_t kPieceBytes = 64;
    std::size_t done = 0;
    while (done < capacity_bytes) {
        const std::size_t to_border = kPieceBytes - (reinterpret_cast<std::uintptr_t>(from + done) & (kPieceBytes - 1));
        const std::size_t piece = to_border < capacity_bytes - done ? to_border : capacity_bytes - done;
        if (!fault_copy(thread, to + done, from + done, piece)) return -1;
        for (std::size_t i = done; i < done + piece; ++i)
            if (to[i] == '\0') return static_cast<std::ptrdiff_t>(i);
        done += piece;
    }
    return static_cast<std::ptrdiff_t>(capacity_bytes);
}

std::uintptr_t fault_copy_fixup(std::uintptr_t instruction) {
    const auto start = reinterpret_cast<std::uintptr_t>(&muster_fault_copy);
    const auto fixup = reinterpret_cast<std::uintptr_t>(muster_fault_copy_fixup);
    return instruction >= start && instruction < fixup ? fixup : 0;
}

}  // namespace muster::platform
