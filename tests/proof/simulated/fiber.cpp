#include "fiber.hpp"
#if !defined(__x86_64__)
#include <ucontext.h>
#include "machine.hpp"
#endif

#if defined(__x86_64__)
extern "C" void muster_simulated_switch(void** save, void* to);
asm(R"(
.text
.type muster_simulated_switch, @function
muster_simulated_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size muster_simulated_switch, .-muster_simulated_switch
)");

namespace muster::simulated {

void* fresh_stack(std::byte* stack, void (*entry)()) {
    auto** top = reinterpret_cast<void**>(stack + kStackBytes);
    *--top = nullptr;  // where the entry would return to; also keeps its stack aligned as after a call
    *--top = reinterpret_cast<void*>(entry);
    for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
    return top;
}

void switch_stacks(void** save, void* to) {
    muster_simulated_switch(save, to);
}

}  // namespace muster::simulated
#else
namespace muster::simulated {
namespace {
// One context for each stack, since a stack pointer alone is not enough.
ucontext_t contexts[kProcessesMax + 1];
}  // namespace

void switch_stacks(void** save, void* to) {
    static ucontext_t* running = &contexts[kProcessesMax];
    ucontext_t* from = running;
    *save = from;
    running = static_cast<ucontext_t*>(to);
    swapcontext(from, running);
}
void* fresh_stack(std::byte* stack, void (*entry)()) {
    static unsigned used = 0;
    ucontext_t& context = contexts[used++ % kProcessesMax];
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = kStackBytes;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
    return &context;
}

}  // namespace muster::simulated
#endif
