// dlopen without RTLD_DEEPBIND: a plug-in loaded so would find the C library's calls before ours, and act on other
// objects than the program it is in.
//
// The C library takes the caller from the return address: $ORIGIN, RPATH, RUNPATH and the namespace are the caller's.
// So we jump, leaving that address where it is, and stand nowhere between the two. dlmopen is not taken over: what
// is loaded into a namespace of its own does not see us in any case.
#include <dlfcn.h>

extern "C" {
__attribute__((visibility("hidden"))) constinit void* muster_next_dlopen = nullptr;
// Early callers, before the library is initialised.
__attribute__((visibility("hidden"))) void muster_find_dlopen() { muster_next_dlopen = dlsym(RTLD_NEXT, "dlopen"); }
}

static_assert(RTLD_DEEPBIND == 8, "the flag stands in the code below");

namespace {
__attribute__((constructor(101))) void find_dlopen() { muster_find_dlopen(); }
}  // namespace

#if defined(__x86_64__)
asm(R"(
    .pushsection .text
    .globl dlopen
    .type dlopen, @function
    .balign 16
dlopen:
    .cfi_startproc
    endbr64
    andl    $-9, %esi
    movq    muster_next_dlopen(%rip), %rax
    testq   %rax, %rax
    jz      1f
    jmp     *%rax
1:  pushq   %rdi
    .cfi_adjust_cfa_offset 8
    pushq   %rsi
    .cfi_adjust_cfa_offset 8
    subq    $8, %rsp
    .cfi_adjust_cfa_offset 8
    call    muster_find_dlopen
    addq    $8, %rsp
    .cfi_adjust_cfa_offset -8
    popq    %rsi
    .cfi_adjust_cfa_offset -8
    popq    %rdi
    .cfi_adjust_cfa_offset -8
    movq    muster_next_dlopen(%rip), %rax
    testq   %rax, %rax
    jz      2f
    jmp     *%rax
2:  ret
    .cfi_endproc
    .size dlopen, . - dlopen
    .popsection
)");
#elif defined(__aarch64__)
asm(R"(
    .pushsection .text
    .globl dlopen
    .type dlopen, %function
    .balign 16
dlopen:
    .cfi_startproc
    hint    #34
    and     w1, w1, #-9
    adrp    x9, muster_next_dlopen
    ldr     x16, [x9, :lo12:muster_next_dlopen]
    cbz     x16, 1f
    br      x16
1:  stp     x29, x30, [sp, #-32]!
    .cfi_adjust_cfa_offset 32
    stp     x0, x1, [sp, #16]
    bl      muster_find_dlopen
    ldp     x0, x1, [sp, #16]
    ldp     x29, x30, [sp], #32
    .cfi_adjust_cfa_offset -32
    adrp    x9, muster_next_dlopen
    ldr     x16, [x9, :lo12:muster_next_dlopen]
    cbz     x16, 2f
    br      x16
2:  mov     x0, xzr
    ret
    .cfi_endproc
    .size dlopen, . - dlopen
    .popsection
)");
#endif
