#include "platform/signals.hpp"
#include <sys/ucontext.h>
#include <type_traits>
#include "platform/cancel.hpp"
#include "platform/fault_copy.hpp"
#include "platform/mapping_damage.hpp"
#include "platform/syscall.hpp"
#include "platform/thread.hpp"

// Entry points: each puts its number into the fourth argument, which the kernel leaves alone. The restorer is the
// byte sequence by which unwinders and debuggers know a signal frame; the nop before it keeps their look-up of the
// preceding address from finding another function.
#define MUSTER_ENTRY_COUNT 512
#define MUSTER_STRINGIFY_(x) #x
#define MUSTER_STRINGIFY(x) MUSTER_STRINGIFY_(x)
#if defined(__x86_64__)
asm(R"(
    .pushsection .text.muster_signal_entries, "ax", @progbits
    .balign 16
    .globl muster_signal_entries
    .hidden muster_signal_entries
muster_signal_entries:
    .set muster_entry, 0
    .rept )" MUSTER_STRINGIFY(MUSTER_ENTRY_COUNT) R"(
    .balign 16
    endbr64
    movl    $muster_entry, %ecx
    jmp     muster_signal_arrived
    .set muster_entry, muster_entry + 1
    .endr
    .balign 16
    nop
    .globl muster_signal_return
    .hidden muster_signal_return
    .type muster_signal_return, @function
muster_signal_return:
    .byte 0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00  # movq $15, %rax (rt_sigreturn)
    syscall
    .size muster_signal_return, . - muster_signal_return
    .popsection
)");
extern "C" __attribute__((visibility("hidden"))) void muster_signal_return();
#elif defined(__aarch64__)
asm(R"(
    .pushsection .text.muster_signal_entries, "ax", @progbits
    .balign 16
    .globl muster_signal_entries
    .hidden muster_signal_entries
muster_signal_entries:
    .set muster_entry, 0
    .rept )" MUSTER_STRINGIFY(MUSTER_ENTRY_COUNT) R"(
    .balign 16
    hint    #34
    mov     w3, #muster_entry
    b       muster_signal_arrived
    .set muster_entry, muster_entry + 1
    .endr
    .popsection
)");
#endif
extern "C" __attribute__((visibility("hidden"))) const char muster_signal_entries[];

namespace muster::platform {

namespace {

using Handler = void (*)(int, siginfo_t*, void*);

constexpr unsigned kEntries = MUSTER_ENTRY_COUNT;
constexpr std::uintptr_t kEntryBytes = 16;
constexpr std::size_t kMaskBytes = sizeof(std::uint64_t);
constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};
constexpr std::uint64_t kNeedsRestorer = 0x04000000;  // SA_RESTORER
constexpr int kFirstQueuedSignal = 32;                // from here on every instance is delivered, in order
constexpr int kMarkerCode = -0x4d75;

constexpr std::uintptr_t kDefault = 0;  // SIG_DFL and SIG_IGN, which are no constants to C++
constexpr std::uintptr_t kIgnore = 1;

constexpr std::uint64_t flag(auto value) {
    return static_cast<std::uint32_t>(value);
}
// Flags that decide what our entry does, and so belong to it; all others are left to the kernel.
constexpr std::uint64_t kOwnFlags = flag(SA_SIGINFO) | flag(SA_RESETHAND) | flag(SA_RESTART) | flag(SA_ONSTACK);

// Faults of the instruction at hand: blocking one of them turns it into death.
constexpr std::uint64_t kFaultSignals =
    signal_bit(SIGSEGV) | signal_bit(SIGBUS) | signal_bit(SIGILL) | signal_bit(SIGFPE) | signal_bit(SIGTRAP) | signal_bit(SIGSYS);
// The C library's own: cancellation and set*id() of all threads.
constexpr std::uint64_t kLibrarySignals = signal_bit(32) | signal_bit(33);
// The kernel drops the two that cannot be blocked from every mask; a mask is recognised by its value.
constexpr std::uint64_t kUnblockable = signal_bit(SIGKILL) | signal_bit(SIGSTOP);
constexpr std::uint64_t kDeferredSignals = kAllSignals & ~kFaultSignals & ~kLibrarySignals & ~kUnblockable;

// What an entry point stands for. Written once, by whoever took the number; `ready` says that it is.
struct Entry {
    std::atomic<std::uintptr_t> handler;
    std::atomic<std::uint32_t> flags;
    std::atomic<std::uint32_t> ready;
};
constinit Entry entries[kEntries] = {};
constinit std::atomic<std::uint32_t> entries_taken = 0;

// From here on SIGSEGV and SIGBUS keep an entry of ours whatever the program sets.
constinit std::atomic<bool> fault_handlers_wanted = false;

// Of the section at hand, while deferred_signals > 0: the mask to go back to, and the one set in its place.
thread_local constinit std::uint64_t mask_before_deferral __attribute__((tls_model("initial-exec"))) = 0;
thread_local constinit std::uint64_t mask_of_deferral __attribute__((tls_model("initial-exec"))) = 0;

long set_action(int sig, const KernelSigaction* act, KernelSigaction* old) {
    return system_call(SYS_rt_sigaction, sig, act, old, kMaskBytes);
}

bool is_protected(int sig) {
    return (sig == SIGSEGV || sig == SIGBUS) && fault_handlers_wanted.load(std::memory_order_acquire);
}
bool is_caught(std::uintptr_t handler) {
    return handler != kDefault && handler != kIgnore;
}

// The number of an entry point of ours, or kEntries.
std::uint32_t entry_of(std::uintptr_t handler) {
    const auto first = reinterpret_cast<std::uintptr_t>(muster_signal_entries);
    const std::uintptr_t distance = handler - first;
    return handler >= first && distance < kEntries * kEntryBytes ? static_cast<std::uint32_t>(distance / kEntryBytes) : kEntries;
}

// The entry point for a handler with these flags, made if there is none; kEntries when all are taken. A program has
// few different ones, so none is ever given back: a signal may be on its way to it.
std::uint32_t find_entry(std::uintptr_t handler, std::uint32_t flags) {
    std::uint32_t taken = entries_taken.load(std::memory_order_acquire);
    for (std::uint32_t i = 0; i < taken && i < kEntries; ++i) {
        // SYNC signals.entry (acquire half). Pairs with the store below.
        if (entries[i].ready.load(std::memory_order_acquire) != 0 &&
            entries[i].handler.load(std::memory_order_relaxed) == handler &&
            entries[i].flags.load(std::memory_order_relaxed) == flags)
            return i;
    }
    do {
        if (taken >= kEntries) return kEntries;
    } while (!entries_taken.compare_exchange_weak(taken, taken + 1, std::memory_order_acq_rel));
    entries[taken].handler.store(handler, std::memory_order_relaxed);
    entries[taken].flags.store(flags, std::memory_order_relaxed);
    // SYNC signals.entry (release half). Carries: handler and flags.
    entries[taken].ready.store(1, std::memory_order_release);
    return taken;
}

// What the kernel is told in place of `act`.
KernelSigaction to_kernel(int sig, const KernelSigaction& act) {
    if (sig < 1 || sig > kSignalMax || sig == SIGKILL || sig == SIGSTOP) return act;
    if (!is_caught(act.handler) && !is_protected(sig)) return act;
    const std::uint32_t entry = find_entry(act.handler, static_cast<std::uint32_t>(act.flags & kOwnFlags));
    if (entry == kEntries) return act;
    KernelSigaction ours = act;
    ours.handler = reinterpret_cast<std::uintptr_t>(muster_signal_entries) + entry * kEntryBytes;
    // One-shot handlers are reset by us, when they really run.
    ours.flags = (act.flags | flag(SA_SIGINFO)) & ~flag(SA_RESETHAND);
    // Without a handler there is nothing to interrupt a call for, and the alternate stack is the one that has room.
    if (!is_caught(act.handler)) ours.flags |= flag(SA_RESTART) | flag(SA_ONSTACK);
    return ours;
}

// What the program is told in place of `ours`.
KernelSigaction to_program(const KernelSigaction& ours) {
    const std::uint32_t entry = entry_of(ours.handler);
    if (entry == kEntries) return ours;
    KernelSigaction theirs = ours;
    theirs.handler = entries[entry].handler.load(std::memory_order_relaxed);
    theirs.flags = (ours.flags & ~kOwnFlags) | entries[entry].flags.load(std::memory_order_relaxed);
    return theirs;
}

KernelSigaction with_restorer(KernelSigaction act) {
#if defined(__x86_64__)
    act.flags |= kNeedsRestorer;
    act.restorer = reinterpret_cast<std::uintptr_t>(&muster_signal_return);
#endif
    return act;
}

// Puts our entry before whatever handles `sig` now. Somebody else may change it at the same time: theirs stays.
void protect_signal(int sig) {
    KernelSigaction current;
    if (set_action(sig, nullptr, &current) != 0) return;
    while (entry_of(current.handler) == kEntries) {
        const KernelSigaction ours = with_restorer(to_kernel(sig, current));
        KernelSigaction replaced;
        if (set_action(sig, &ours, &replaced) != 0) return;
        if (replaced.handler == current.handler && replaced.flags == current.flags) return;
        if (entry_of(replaced.handler) != kEntries) {
            set_action(sig, &replaced, nullptr);
            return;
        }
        current = replaced;
    }
}

auto& instruction_of(ucontext_t* context) {
#if defined(__x86_64__)
    return context->uc_mcontext.gregs[REG_RIP];
#else
    return context->uc_mcontext.pc;
#endif
}

// The kernel's part of uc_sigmask: what follows it on the stack is something else.
auto& mask_of(ucontext_t* context) {
    static_assert(sizeof context->uc_sigmask.__val[0] == kMaskBytes);
    return context->uc_sigmask.__val[0];
}

bool is_fault(int sig, const siginfo_t* info) {
    if (sig < 1 || sig > kSignalMax || (kFaultSignals & signal_bit(sig)) == 0 || info->si_code <= 0) return false;
    return !(sig == SIGBUS && info->si_code == BUS_MCEERR_AO);  // tells of a bad page that nobody touched
}

// Whether the fault was ours and the thread can go on.
bool resolve_fault(int sig, const siginfo_t* info, ucontext_t* context) {
    if (sig != SIGSEGV && sig != SIGBUS) return false;
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    std::atomic<std::uint32_t>* damaged = sig == SIGBUS ? find_damage_word(address) : nullptr;
    if (damaged != nullptr) damaged->store(1, std::memory_order_release);
    auto& instruction = instruction_of(context);
    if (const std::uintptr_t fixup = fault_copy_fixup(static_cast<std::uintptr_t>(instruction)); fixup != 0) {
        instruction = static_cast<std::remove_reference_t<decltype(instruction)>>(fixup);
        return true;
    }
    return damaged != nullptr && replace_lost_page(address);
}

// Sends a signal that has arrived to this thread again, as it was.
void send_again(int sig, siginfo_t* info) {
    const long process = system_call(SYS_getpid);
    const long thread = system_call(SYS_gettid);
    // Short of queue space, or in a sandbox, the signal goes without what it carried, as the kernel's own would.
    if (system_call(SYS_rt_tgsigqueueinfo, process, thread, sig, info) != 0) system_call(SYS_tgkill, process, thread, sig);
}

// The same for a blocked signal of which further instances may be waiting: they have to stay behind this one.
void send_again_in_order(int sig, siginfo_t* info) {
    std::uint64_t pending = 0;
    if (sig < kFirstQueuedSignal || system_call(SYS_rt_sigpending, &pending, kMaskBytes) != 0 ||
        (pending & signal_bit(sig)) == 0) {
        send_again(sig, info);
        return;
    }
    // A marker goes to the end of the queue, the signal behind it; what stands before the marker is then moved to the end.
    siginfo_t moved;
    __builtin_memset(&moved, 0, sizeof moved);
    moved.si_code = kMarkerCode;
    moved.si_ptr = &moved;
    const std::uint64_t only_this = signal_bit(sig);
    const struct { long seconds, nanoseconds; } at_once{0, 0};
    const bool is_marked = system_call(SYS_rt_tgsigqueueinfo, system_call(SYS_getpid), system_call(SYS_gettid), sig, &moved) == 0;
    send_again(sig, info);
    while (is_marked) {
        siginfo_t next;
        if (system_call(SYS_rt_sigtimedwait, &only_this, &next, &at_once, kMaskBytes) != sig) return;
        if (next.si_code == kMarkerCode && next.si_ptr == &moved) return;
        send_again(sig, &next);
    }
}

// Lets the signal wait until the section ends: it is sent again at once, blocked until then.
__attribute__((noinline, cold)) void defer(ThreadState& thread, int sig, siginfo_t* info, ucontext_t* context) {
    // From here to our return nothing may come between; the context's mask then takes over.
    change_signal_mask(SIG_SETMASK, &kAllSignals, nullptr);
    send_again_in_order(sig, info);
    auto& mask = mask_of(context);
    const bool is_first = thread.deferred_signals == 0;
    // Several signals that arrive at one time are a stack of frames, the last one running first: each finds the mask
    // of the one below. So the true mask is the latest that is not of our making.
    if (is_first || mask != mask_of_deferral) mask_before_deferral = mask;
    const std::uint64_t already = is_first ? 0 : mask_of_deferral;
    mask_of_deferral = mask | already | kDeferredSignals | signal_bit(sig);
    mask = mask_of_deferral;
    thread.deferred_signals = thread.deferred_signals + 1;
    thread.fault_mask_known = 0;
}

// Resets a SA_RESETHAND handler that is about to run. False when another thread's signal has used it up.
bool use_up(int sig, std::uint32_t entry) {
    KernelSigaction current;
    if (set_action(sig, nullptr, &current) != 0) return true;
    const KernelSigaction before = current;
    if (entry_of(current.handler) == entry) {
        current = to_program(current);
        current.handler = kDefault;
        current = with_restorer(to_kernel(sig, current));
        KernelSigaction replaced;
        if (set_action(sig, &current, &replaced) != 0 || entry_of(replaced.handler) == entry) return true;
        // Changed in between: that counts.
        set_action(sig, &replaced, nullptr);
        return to_program(replaced).handler != kDefault;
    }
    return to_program(before).handler != kDefault;
}

void reset_to_default(int sig) {
    const KernelSigaction by_default{kDefault, 0, 0, 0};
    set_action(sig, &by_default, nullptr);
}

bool is_inside_section(const ThreadState& thread) {
    if (thread.section_depth == 0) return false;
    return thread.generation == __atomic_load_n(&process_generation->number, __ATOMIC_RELAXED);
}

}  // namespace

constinit std::atomic<bool> fault_handlers_ready = false;

}  // namespace muster::platform

// Every signal that the program catches, and SIGSEGV and SIGBUS in any case, comes here.
extern "C" __attribute__((visibility("hidden"), used)) void muster_signal_arrived(int sig, siginfo_t* info, void* frame,
                                                                                  std::uint32_t number) {
    using namespace muster::platform;
    auto* context = static_cast<ucontext_t*>(frame);
    const bool fault = is_fault(sig, info);
    if (fault && resolve_fault(sig, info, context)) return;

    ThreadState& thread = this_thread_state;
    const std::uintptr_t handler = entries[number].handler.load(std::memory_order_acquire);
    const std::uint32_t flags = entries[number].flags.load(std::memory_order_relaxed);
    if (!is_caught(handler)) {
        // A fault of an ignored signal kills as well. The instruction faults again after our return, so that a core
        // dump shows the right place; a signal that somebody sent has to be sent again.
        if (fault || handler == kDefault) reset_to_default(sig);
        if (!fault && handler == kDefault) send_again(sig, info);
        return;
    }
    if (!fault && is_inside_section(thread)) {
        defer(thread, sig, info, context);
        return;
    }
    if ((flags & flag(SA_RESETHAND)) != 0 && !use_up(sig, number)) {
        reset_to_default(sig);
        send_again(sig, info);
        return;
    }
    // The handler runs under another mask, and may leave by siglongjmp.
    thread.fault_mask_known = 0;
    if ((flags & flag(SA_RESTART)) == 0) __atomic_store_n(&thread.interruptions, thread.interruptions + 1, __ATOMIC_RELAXED);
    if (Sleeping* sleeping = __atomic_exchange_n(&thread.sleeping, nullptr, __ATOMIC_RELAXED)) {
        end_cancellable_sleep();
        sleeping->before_handler(sleeping, (flags & flag(SA_RESTART)) != 0);
    }
    reinterpret_cast<Handler>(handler)(sig, info, frame);
    thread.fault_mask_known = 0;
}

namespace muster::platform {

void install_fault_handlers() {
    if (fault_handlers_installed()) return;
    fault_handlers_wanted.store(true, std::memory_order_seq_cst);
    // Several threads may do so at once.
    protect_signal(SIGSEGV);
    protect_signal(SIGBUS);
    fault_handlers_ready.store(true, std::memory_order_release);
}

long program_sigaction(int sig, const KernelSigaction* act, KernelSigaction* old) {
    KernelSigaction ours;
    KernelSigaction replaced;
    if (act != nullptr) ours = with_restorer(to_kernel(sig, *act));
    const long result = set_action(sig, act != nullptr ? &ours : nullptr, &replaced);
    if (result != 0) return result;
    // The fault handlers may have been wanted just after we looked.
    if (act != nullptr && is_protected(sig)) protect_signal(sig);
    if (old != nullptr) *old = to_program(replaced);
    return 0;
}

long change_signal_mask(int how, const std::uint64_t* set, std::uint64_t* old) {
    return system_call(SYS_rt_sigprocmask, how, set, old, kMaskBytes);
}

void deliver_deferred_signals(ThreadState& thread) {
    const std::uint64_t mask = mask_before_deferral;
    thread.deferred_signals = 0;
    thread.fault_mask_known = 0;
    change_signal_mask(SIG_SETMASK, &mask, nullptr);
}

}  // namespace muster::platform
