// What the tests of signals share: handlers set through Muster or past it, and children whose records and end are judged.
#pragma once
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>
#include <string>
#include "platform/fault_copy.hpp"
#include "platform/signals.hpp"
#include "platform/syscall.hpp"
#include "platform/thread.hpp"

// The sanitizer's own handlers would answer in place of the default action.
#define NO_HANDLERS "handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_abort=0:allow_user_segv_handler=1"
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options() {
    return NO_HANDLERS;
}
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_options() {
    return NO_HANDLERS;
}

#if defined(__x86_64__)
extern "C" void muster_signal_return();
#endif

namespace muster::signal_tests {

using namespace muster::platform;
using Handler = void (*)(int, siginfo_t*, void*);

// Through Muster or past it.
enum class By { kernel, muster };

#if defined(__x86_64__)
inline constexpr std::uint64_t kNeedsRestorer = 0x04000000;
#endif

inline long set_action(By by, int sig, const KernelSigaction* act, KernelSigaction* old) {
    if (by == By::muster) return program_sigaction(sig, act, old);
    KernelSigaction given{};
    if (act != nullptr) given = *act;
#if defined(__x86_64__)
    given.flags |= kNeedsRestorer;
    given.restorer = reinterpret_cast<std::uintptr_t>(&muster_signal_return);
#endif
    // Not by the C library, whose function a sanitizer wraps.
    return system_call(SYS_rt_sigaction, sig, act != nullptr ? &given : nullptr, old, 8);
}

inline void handle(By by, int sig, Handler handler, std::uint64_t flags = SA_SIGINFO, std::uint64_t mask = 0) {
    const KernelSigaction act{reinterpret_cast<std::uintptr_t>(handler), flags, 0, mask};
    if (set_action(by, sig, &act, nullptr) != 0) abort();
}
inline void handle(int sig, Handler handler, std::uint64_t flags = SA_SIGINFO, std::uint64_t mask = 0) {
    handle(By::muster, sig, handler, flags, mask);
}
inline void set_plain(int sig, std::uintptr_t disposition) {
    const KernelSigaction act{disposition, 0, 0, 0};
    if (program_sigaction(sig, &act, nullptr) != 0) abort();
}

inline std::uint64_t mask_now() {
    std::uint64_t mask = 0;
    change_signal_mask(SIG_BLOCK, nullptr, &mask);
    return mask;
}
inline void change_mask(int how, std::uint64_t set) {
    change_signal_mask(how, &set, nullptr);
}

inline void send_to_myself(int sig) {
    ::syscall(SYS_tgkill, getpid(), ::syscall(SYS_gettid), sig);
}
inline void queue_to_myself(int sig, int value) {
    siginfo_t info = {};
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_int = value;
    ::syscall(SYS_rt_tgsigqueueinfo, getpid(), ::syscall(SYS_gettid), sig, &info);
}

// What handlers saw, in a form that needs no allocation.
inline char record[1 << 16];
inline std::size_t record_length;
inline void note(const char* text, long value) {
    char digits[24];
    int count = 0;
    auto rest = static_cast<unsigned long>(value);
    do digits[count++] = "0123456789abcdef"[rest % 16];
    while ((rest /= 16) != 0);
    if (record_length + std::strlen(text) + 30 > sizeof record) return;
    for (; *text != '\0'; ++text) record[record_length++] = *text;
    record[record_length++] = '=';
    while (count > 0) record[record_length++] = digits[--count];
    record[record_length++] = ' ';
}

// How a child that runs `body` ended: its exit status, or 1000 + the signal. What it noted goes to `noted`.
template <class Body>
int outcome_of_child(Body body, std::string* noted = nullptr) {
    int pipe_ends[2];
    if (pipe(pipe_ends) != 0) return -1;
    const pid_t child = fork();
    if (child == 0) {
        record_length = 0;
        body();
        if (write(pipe_ends[1], record, record_length) < 0) _exit(99);
        _exit(testing::Test::HasFailure() ? 98 : 0);
    }
    close(pipe_ends[1]);
    char buffer[4096];
    for (ssize_t got; (got = read(pipe_ends[0], buffer, sizeof buffer)) > 0;)
        if (noted != nullptr) noted->append(buffer, static_cast<std::size_t>(got));
    close(pipe_ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

// Runs the scenario both ways, each in a child.
template <class Scenario>
inline void expect_same(Scenario scenario, int status = 0) {
    std::string by_kernel, by_muster;
    EXPECT_EQ(outcome_of_child([&] { scenario(By::kernel); }, &by_kernel), status);
    EXPECT_EQ(outcome_of_child([&] { scenario(By::muster); }, &by_muster), status);
    EXPECT_EQ(by_kernel, by_muster);
    if (status == 0) {
        EXPECT_FALSE(by_kernel.empty());
    }
}

inline By by_now;
inline char alternate_stack[1 << 16];

// The compiler is not to know that nothing is there.
inline void touch(std::uintptr_t address) {
    asm volatile("" : "+r"(address));
    *reinterpret_cast<volatile char*>(address) = 1;
}

// Apart, so that nothing of it is kept over a siglongjmp.
[[gnu::noinline]] inline bool copies_from_null() {
    char byte;
    return fault_copy(current_thread(), &byte, nullptr, 1);
}

inline void note_disposition(int sig) {
    KernelSigaction act{};
    note("result", set_action(by_now, sig, nullptr, &act));
    note("handler", act.handler == 0 ? 0 : act.handler == 1 ? 1 : 2);
    note("flags", static_cast<long>(act.flags));
    note("mask", static_cast<long>(act.mask));
}

inline void observe(int sig, siginfo_t* info, void* context) {
    char here;
    note("sig", sig);
    KernelSigaction act{};
    set_action(by_now, sig, nullptr, &act);
    // Without SA_SIGINFO the kernel leaves the structure unfilled.
    if ((act.flags & SA_SIGINFO) != 0) note("code", info->si_code);
    note("context", context != nullptr);
    note("blocked", static_cast<long>(mask_now()));
    note("alternate", &here >= alternate_stack && &here < alternate_stack + sizeof alternate_stack);
    note_disposition(sig);
}

}  // namespace muster::signal_tests
