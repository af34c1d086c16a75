#include "platform/thread.hpp"
#include <pthread.h>
#include "platform/file.hpp"

namespace muster::platform {

namespace {

// Where process_generation points until the first thread is prepared. Stays 0: no thread is ever of generation 0.
constinit ProcessGeneration no_generation{0};

// The last number given out. A child copies it, so that its own number differs from every ancestor's: a thread
// that took part in several of them cannot take its old state for a fresh one.
constinit std::uint32_t last_number = 0;

// For threads that came without a list of their own: raw clones, and C libraries that register it late.
thread_local constinit robust_list_head own_robust_head __attribute__((tls_model("initial-exec"))) = {{nullptr}, 0, nullptr};

constexpr std::uint64_t kPageBytes = 4096;
constexpr int kWipeOnFork = 18;  // MADV_WIPEONFORK, Linux 4.14

void forget_generation() {
    __atomic_store_n(&process_generation->number, 0, __ATOMIC_RELAXED);
}

// The page is published before it carries a number: whoever reads the 0 comes here as well.
ProcessGeneration& generation_page() {
    // SYNC thread.generation (acquire half). Pairs with the exchange below.
    ProcessGeneration* page = __atomic_load_n(&process_generation, __ATOMIC_ACQUIRE);
    if (page != &no_generation) return *page;
    static constinit ProcessGeneration unwiped{0};
    const long mapped = map_private_zeroes(kPageBytes);
    const bool is_mapped = mapped > 0 || mapped < -4095;
    const bool is_wiped = is_mapped && system_call(SYS_madvise, mapped, kPageBytes, kWipeOnFork) == 0;
    auto* made = is_wiped ? reinterpret_cast<ProcessGeneration*>(mapped) : &unwiped;
    if (!is_wiped && is_mapped) unmap(reinterpret_cast<void*>(mapped), kPageBytes);
    // SYNC thread.generation (release half). Carries: the zeroed page.
    if (!__atomic_compare_exchange_n(&process_generation, &page, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        if (is_wiped) unmap(made, kPageBytes);
        return *page;
    }
    // A kernel that does not wipe leaves the C library's fork() as the only one that is noticed.
    if (!is_wiped) pthread_atfork(nullptr, nullptr, forget_generation);
    return *made;
}

std::uint32_t generation_number() {
    ProcessGeneration& generation = generation_page();
    std::uint32_t number = __atomic_load_n(&generation.number, __ATOMIC_RELAXED);
    if (number != 0) return number;
    std::uint32_t fresh = __atomic_add_fetch(&last_number, 1, __ATOMIC_RELAXED);
    if (fresh == 0) fresh = __atomic_add_fetch(&last_number, 1, __ATOMIC_RELAXED);
    // Two threads may meet here: the first one's number counts.
    return __atomic_compare_exchange_n(&generation.number, &number, fresh, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED) ? fresh
                                                                                                                      : number;
}

robust_list_head* registered_robust_head() {
    robust_list_head* head = nullptr;
    std::size_t bytes = 0;
    if (system_call(SYS_get_robust_list, 0, &head, &bytes) == 0 && head != nullptr) return head;
    // An empty list is one that points at itself.
    own_robust_head.list.next = &own_robust_head.list;
    own_robust_head.futex_offset = 0;
    own_robust_head.list_op_pending = nullptr;
    system_call(SYS_set_robust_list, &own_robust_head, sizeof own_robust_head);
    return &own_robust_head;
}

}  // namespace

thread_local constinit ThreadState this_thread_state __attribute__((tls_model("initial-exec"))) = {};
constinit ProcessGeneration* process_generation = &no_generation;

ThreadState& prepare_thread() {
    ThreadState& state = this_thread_state;
    const std::uint32_t number = generation_number();
    if (state.generation == number) return state;

    const bool copied_inside_section = state.generation != 0 && state.section_depth != 0;
    state.section_depth = 0;
    state.deferred_signals = 0;
    state.sleeping = nullptr;
    state.fault_mask_known = 0;
    state.thread_id = static_cast<std::uint32_t>(system_call(SYS_gettid));
    state.robust = registered_robust_head();
    // The word that the parent was at is none of ours. Outside a section the notice is the C library's own business.
    if (copied_inside_section) restore_death_notice(state, nullptr);
    // Last: a signal handler that interrupts us starts afresh and completes the state.
    asm volatile("" ::: "memory");
    state.generation = number;
    return state;
}

}  // namespace muster::platform
