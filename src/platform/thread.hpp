// The calling thread: its id, the kernel's death notice for it, and whether it
// is inside a critical section (when the program's signal handlers must wait).
//
// SOURCE get_robust_list(2), Documentation/locking/robust-futex-ABI: when a
// thread dies the kernel looks at the futex word its list_op_pending names and,
// if the word holds the thread's id, sets FUTEX_OWNER_DIED there and wakes one
// sleeper. We use that one word and put nothing in the list itself: no pointer
// is ever kept in memory that a peer can write.
#pragma once
#include <linux/futex.h>
#include <cstdint>
#include <cstddef>

namespace muster::platform {

// What a sleeping call has to do before one of the program's signal handlers runs.
struct Sleeping {
    // Leaves the object as if the call had never slept, or completes the call.
    // Runs inside the signal handler's frame, before the handler itself.
    void (*before_handler)(Sleeping*, bool handler_restarts);
};

struct ThreadState {
    std::uint32_t thread_id;
    std::uint32_t generation;        // differs from the process's after fork: everything here is stale
    robust_list_head* robust;        // the head registered with the kernel (glibc's, or ours where there is none)
    std::uint32_t section_depth;     // > 0: handlers are deferred
    std::uint32_t deferred_signals;  // how many wait for the section's end
    Sleeping* sleeping;              // non-null while asleep in a call
    std::uint32_t interruptions;     // handlers without SA_RESTART that ran in this thread: who is about to sleep must not
    std::uint32_t fault_mask_known;  // 0 unknown, 1 SIGSEGV and SIGBUS get through, 2 one of them is blocked
};

extern thread_local constinit ThreadState this_thread_state __attribute__((tls_model("initial-exec")));

// A page that the kernel wipes in a forked child, so that even a raw clone is noticed.
struct ProcessGeneration {
    std::uint32_t number;  // 0 in a child that has not called us yet
};
extern constinit ProcessGeneration* process_generation;

// Slow half of current_thread(): first call of a thread, or of a forked child.
ThreadState& prepare_thread();

inline ThreadState& current_thread() {
    ThreadState& state = this_thread_state;
    if (__builtin_expect(state.generation == 0 || __atomic_load_n(&process_generation->number, __ATOMIC_RELAXED) != state.generation, 0))
        return prepare_thread();
    return state;
}

// Makes the kernel mark `word` (which is to hold our thread id) should we die. One word at a time:
// returns what was named before, to be handed to restore_death_notice().
inline robust_list* set_death_notice(ThreadState& thread, std::uint32_t* word) {
    robust_list* before = thread.robust->list_op_pending;
    auto* entry = reinterpret_cast<robust_list*>(reinterpret_cast<char*>(word) - thread.robust->futex_offset);
    *const_cast<robust_list* volatile*>(&thread.robust->list_op_pending) = entry;
    asm volatile("" ::: "memory");  // the kernel reads it at our death: program order is all that is needed
    return before;
}
inline void restore_death_notice(ThreadState& thread, robust_list* before) {
    asm volatile("" ::: "memory");
    *const_cast<robust_list* volatile*>(&thread.robust->list_op_pending) = before;
}

// Runs the handlers of the signals that came during the section. In signals.cpp.
void deliver_deferred_signals(ThreadState& thread);

inline void enter_section(ThreadState& thread) {
    thread.section_depth = thread.section_depth + 1;
    asm volatile("" ::: "memory");
}
inline void leave_section(ThreadState& thread) {
    asm volatile("" ::: "memory");
    thread.section_depth = thread.section_depth - 1;
    if (__builtin_expect(thread.section_depth == 0 && thread.deferred_signals != 0, 0)) deliver_deferred_signals(thread);
}

}  // namespace muster::platform
