// Signal handlers through Muster's entry points behave as the kernel's own (mask, SA_NODEFER, SA_RESETHAND, SA_ONSTACK,
// SA_RESTART, queue order, what sigaction reports: each scenario runs both ways and the records are compared), wait
// for the end of a critical section with their siginfo, and find a sleeping call already out of its object. Faults:
// the default still kills with the right signal, ignored ones too, the program's SIGSEGV handler sees its si_addr,
// may siglongjmp and may run on its alternate stack. errno is left alone.
#include "platform/signals.hpp"
#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <vector>
#include "platform/fault_copy.hpp"
#include "platform/syscall.hpp"
#include "platform/thread.hpp"

// The sanitizer's own handlers would answer in place of the default action.
#define NO_HANDLERS "handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_abort=0:allow_user_segv_handler=1"
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options() { return NO_HANDLERS; }
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_options() { return NO_HANDLERS; }

namespace {

using namespace muster::platform;
using Handler = void (*)(int, siginfo_t*, void*);

// Through Muster or past it.
enum class By { kernel, muster };

#if defined(__x86_64__)
extern "C" void muster_signal_return();
constexpr std::uint64_t kNeedsRestorer = 0x04000000;
#endif

long set_action(By by, int sig, const KernelSigaction* act, KernelSigaction* old) {
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

void handle(By by, int sig, Handler handler, std::uint64_t flags = SA_SIGINFO, std::uint64_t mask = 0) {
    const KernelSigaction act{reinterpret_cast<std::uintptr_t>(handler), flags, 0, mask};
    if (set_action(by, sig, &act, nullptr) != 0) abort();
}
void handle(int sig, Handler handler, std::uint64_t flags = SA_SIGINFO, std::uint64_t mask = 0) {
    handle(By::muster, sig, handler, flags, mask);
}
void set_plain(int sig, std::uintptr_t disposition) {
    const KernelSigaction act{disposition, 0, 0, 0};
    if (program_sigaction(sig, &act, nullptr) != 0) abort();
}

std::uint64_t mask_now() {
    std::uint64_t mask = 0;
    change_signal_mask(SIG_BLOCK, nullptr, &mask);
    return mask;
}
void change_mask(int how, std::uint64_t set) { change_signal_mask(how, &set, nullptr); }

void send_to_myself(int sig) { ::syscall(SYS_tgkill, getpid(), ::syscall(SYS_gettid), sig); }
void queue_to_myself(int sig, int value) {
    siginfo_t info = {};
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_int = value;
    ::syscall(SYS_rt_tgsigqueueinfo, getpid(), ::syscall(SYS_gettid), sig, &info);
}

// What handlers saw, in a form that needs no allocation.
char record[1 << 16];
std::size_t record_length;
void note(const char* text, long value) {
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
void expect_same(Scenario scenario, int status = 0) {
    std::string by_kernel, by_muster;
    EXPECT_EQ(outcome_of_child([&] { scenario(By::kernel); }, &by_kernel), status);
    EXPECT_EQ(outcome_of_child([&] { scenario(By::muster); }, &by_muster), status);
    EXPECT_EQ(by_kernel, by_muster);
    if (status == 0) {
        EXPECT_FALSE(by_kernel.empty());
    }
}

By by_now;
char alternate_stack[1 << 16];

// Apart, so that nothing of it is kept over a siglongjmp.
[[gnu::noinline]] bool copies_from_null() {
    char byte;
    return fault_copy(current_thread(), &byte, nullptr, 1);
}

void note_disposition(int sig) {
    KernelSigaction act{};
    note("result", set_action(by_now, sig, nullptr, &act));
    note("handler", act.handler == 0 ? 0 : act.handler == 1 ? 1 : 2);
    note("flags", static_cast<long>(act.flags));
    note("mask", static_cast<long>(act.mask));
}

void observe(int sig, siginfo_t* info, void* context) {
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

// ---- the same as the kernel ----

TEST(SameAsKernel, FlagsAndMasks) {
    const std::uint64_t all_flags[] = {SA_SIGINFO, SA_NODEFER, SA_RESETHAND, SA_ONSTACK, SA_RESTART};
    for (unsigned chosen = 0; chosen < 32; ++chosen) {
        std::uint64_t flags = 0;
        for (unsigned i = 0; i < 5; ++i)
            if ((chosen >> i & 1) != 0) flags |= static_cast<std::uint32_t>(all_flags[i]);
        for (int sig : {SIGUSR1, SIGSEGV, SIGCHLD, SIGRTMIN + 3})
            expect_same([&](By by) {
                by_now = by;
                if (by == By::muster && chosen % 2 == 0) install_fault_handlers();
                const stack_t stack{alternate_stack, 0, sizeof alternate_stack};
                sigaltstack(&stack, nullptr);
                handle(by, sig, observe, flags, signal_bit(SIGUSR2) | signal_bit(SIGALRM));
                note_disposition(sig);
                errno = 4711;
                send_to_myself(sig);
                note("errno", errno);
                note("blocked", static_cast<long>(mask_now()));
                note_disposition(sig);
            });
    }
}

TEST(SameAsKernel, WhatSigactionReportsAndRefuses) {
    expect_same([](By by) {
        by_now = by;
        for (int sig = -1; sig <= 66; ++sig) {
            if (sig == 32 || sig == 33) continue;
            note("sig", sig);
            note_disposition(sig);
            for (std::uintptr_t handler : {reinterpret_cast<std::uintptr_t>(&observe), std::uintptr_t{1}, std::uintptr_t{0}}) {
                const KernelSigaction act{handler, SA_SIGINFO | SA_NOCLDSTOP | SA_NODEFER, 0, 0x5555};
                KernelSigaction old{};
                const long result = set_action(by, sig, &act, &old);
                note("result", result);
                note("old", old.handler == 0 ? 0 : old.handler == 1 ? 1 : 2);
                note("flags", static_cast<long>(old.flags));
            }
            note_disposition(sig);
        }
    });
}

TEST(SameAsKernel, OneShotHandlerRunsOnceThenDefault) {
    expect_same(
        [](By by) {
            by_now = by;
            handle(by, SIGUSR1, observe, static_cast<std::uint32_t>(SA_RESETHAND));
            send_to_myself(SIGUSR1);
            send_to_myself(SIGUSR1);
        },
        1000 + SIGUSR1);
    expect_same(
        [](By by) {
            by_now = by;
            install_fault_handlers();
            handle(by, SIGSEGV, observe, static_cast<std::uint32_t>(SA_RESETHAND));
            send_to_myself(SIGSEGV);
            send_to_myself(SIGSEGV);
        },
        1000 + SIGSEGV);
}

TEST(SameAsKernel, InterruptsOrRestartsCalls) {
    static int ends[2];
    for (bool restarts : {false, true})
        expect_same([&](By by) {
            if (pipe(ends) != 0) abort();
            static int count;
            count = 0;
            handle(by, SIGALRM, [](int, siginfo_t*, void*) {
                if (++count == 2 && write(ends[1], "x", 1) != 1) abort();
            }, restarts ? SA_RESTART : 0);
            const itimerval often{{0, 10'000}, {0, 10'000}};
            setitimer(ITIMER_REAL, &often, nullptr);
            char byte;
            const ssize_t got = read(ends[0], &byte, 1);
            note("got", got);
            note("errno", got < 0 ? errno : 0);
        });
}

void note_value(int sig, siginfo_t* info, void*) {
    note("sig", sig);
    note("value", info->si_value.sival_int);
    note("code", info->si_code);
    note("sender", info->si_pid == getpid() && info->si_uid == getuid());
}

// Queues a mixture and lets it in at one time.
void burst(By by, bool in_section, std::uint64_t flags) {
    by_now = by;
    const int signals[] = {SIGHUP, SIGUSR1, SIGRTMIN, SIGRTMIN + 1};
    std::uint64_t set = 0;
    for (int sig : signals) {
        handle(by, sig, note_value, flags);
        set |= signal_bit(sig);
    }
    change_mask(SIG_BLOCK, set);
    for (int value = 1; value <= 5; ++value)
        for (int sig : signals) queue_to_myself(sig, value);
    if (in_section) enter_section(current_thread());
    change_mask(SIG_UNBLOCK, set);
    if (in_section) {
        if (record_length != 0) note("ran inside", 1);
        leave_section(current_thread());
    }
    note("blocked", static_cast<long>(mask_now()));
}

TEST(SameAsKernel, QueueOrder) {
    for (std::uint64_t flags : {std::uint64_t{SA_SIGINFO}, std::uint64_t{SA_SIGINFO | SA_NODEFER}})
        expect_same([&](By by) { burst(by, false, flags); });
}

TEST(SameAsKernel, VforkChildDoesNotChangeItsParent) {
    expect_same([](By by) {
        by_now = by;
        handle(by, SIGUSR1, observe, SA_SIGINFO);
        const pid_t child = vfork();
        if (child == 0) {
            handle(by, SIGUSR1, note_value, SA_RESTART);
            const KernelSigaction ignored{1, 0, 0, 0};
            set_action(by, SIGUSR1, &ignored, nullptr);
            _exit(0);
        }
        waitpid(child, nullptr, 0);
        note_disposition(SIGUSR1);
        send_to_myself(SIGUSR1);
    });
}

TEST(Signals, HandlerAndFlagsAreNeverTorn) {
    static std::atomic<int> plain_calls, one_shot_calls;
    // Two handlers, swapped all the time while signals pour in: each must run, neither with the other's flags.
    static const auto plain = [](int, siginfo_t*, void*) { ++plain_calls; };
    static const auto other = [](int, siginfo_t*, void*) { ++one_shot_calls; };
    EXPECT_EQ(outcome_of_child([] {
                  std::atomic<bool> stop = false;
                  handle(SIGUSR1, plain, SA_RESTART);
                  std::thread swapper([&] {
                      change_mask(SIG_BLOCK, signal_bit(SIGUSR1));
                      while (!stop) {
                          handle(SIGUSR1, other, SA_SIGINFO | SA_NODEFER);
                          handle(SIGUSR1, plain, SA_RESTART);
                          KernelSigaction old{};
                          program_sigaction(SIGUSR1, nullptr, &old);
                          if (old.handler != reinterpret_cast<std::uintptr_t>(static_cast<Handler>(plain)) || (old.flags & SA_SIGINFO) != 0) _exit(3);
                      }
                  });
                  for (int i = 0; i < 50'000; ++i) send_to_myself(SIGUSR1);
                  stop = true;
                  swapper.join();
                  if (plain_calls + one_shot_calls != 50'000) _exit(4);
              }),
              0);
}

TEST(Signals, ManyHandlersAreMoreThanThereAreEntries) {
    // Beyond the last entry handlers go to the kernel directly: they still run and are still reported.
    EXPECT_EQ(outcome_of_child([] {
                  for (std::uintptr_t i = 0; i < 1000; ++i) {
                      const KernelSigaction act{0x10000 + i * 16, SA_RESTART, 0, 0};
                      KernelSigaction old{};
                      if (program_sigaction(SIGUSR2, &act, nullptr) != 0 || program_sigaction(SIGUSR2, nullptr, &old) != 0) _exit(1);
                      if (old.handler != act.handler) _exit(2);
                  }
                  handle(SIGUSR1, note_value);
                  send_to_myself(SIGUSR1);
                  if (record_length == 0) _exit(3);
              }),
              0);
}

// ---- sections ----

TEST(Section, HandlersWaitForItsEnd) {
    for (std::uint64_t flags : {std::uint64_t{SA_SIGINFO}, std::uint64_t{SA_SIGINFO | SA_NODEFER}}) {
        std::string plain, deferred;
        EXPECT_EQ(outcome_of_child([&] { burst(By::kernel, false, flags); }, &plain), 0);
        EXPECT_EQ(outcome_of_child([&] { burst(By::muster, true, flags); }, &deferred), 0);
        EXPECT_EQ(plain, deferred);
    }
}

TEST(Section, SignalsOneByOneKeepTheirOrderAndContent) {
    std::string noted;
    EXPECT_EQ(outcome_of_child(
                  [] {
                      handle(SIGRTMIN, note_value);
                      handle(SIGUSR1, note_value);
                      ThreadState& thread = current_thread();
                      enter_section(thread);
                      enter_section(thread);
                      for (int i = 1; i <= 20; ++i) queue_to_myself(SIGRTMIN, i);
                      queue_to_myself(SIGUSR1, 77);
                      EXPECT_EQ(thread.deferred_signals, 1u);  // the first one blocks the others
                      leave_section(thread);
                      EXPECT_EQ(record_length, 0u);
                      leave_section(thread);
                      EXPECT_EQ(thread.deferred_signals, 0u);
                      EXPECT_EQ(mask_now(), 0u);
                  },
                  &noted),
              0);
    std::string expected;
    EXPECT_EQ(outcome_of_child(
                  [] {
                      handle(By::kernel, SIGRTMIN, note_value);
                      handle(By::kernel, SIGUSR1, note_value);
                      change_mask(SIG_BLOCK, signal_bit(SIGRTMIN) | signal_bit(SIGUSR1));
                      for (int i = 1; i <= 20; ++i) queue_to_myself(SIGRTMIN, i);
                      queue_to_myself(SIGUSR1, 77);
                      change_mask(SIG_SETMASK, 0);
                  },
                  &expected),
              0);
    EXPECT_EQ(noted, expected);
}

TEST(Section, MaskBeforeItIsRestored) {
    EXPECT_EQ(outcome_of_child([] {
                  handle(SIGUSR1, observe, SA_SIGINFO, signal_bit(SIGHUP));
                  const std::uint64_t before = signal_bit(SIGUSR2) | signal_bit(SIGSEGV);
                  change_mask(SIG_SETMASK, before);
                  ThreadState& thread = current_thread();
                  for (int i = 0; i < 3; ++i) {
                      enter_section(thread);
                      send_to_myself(SIGUSR1);
                      const std::uint64_t inside = mask_now();
                      EXPECT_NE(inside & signal_bit(SIGTERM), 0u);
                      EXPECT_EQ(inside & signal_bit(SIGBUS), 0u);
                      EXPECT_NE(inside & signal_bit(SIGSEGV), 0u);
                      leave_section(thread);
                      EXPECT_EQ(mask_now(), before);
                  }
              }),
              0);
}

TEST(Section, SentFaultSignalsWaitToo) {
    for (int sig : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS})
        EXPECT_EQ(outcome_of_child([sig] {
                      handle(sig, note_value);
                      handle(SIGUSR1, note_value);
                      ThreadState& thread = current_thread();
                      enter_section(thread);
                      send_to_myself(SIGUSR1);
                      send_to_myself(sig);
                      send_to_myself(sig);
                      EXPECT_EQ(record_length, 0u);
                      leave_section(thread);
                      EXPECT_EQ(mask_now(), 0u);
                      EXPECT_GT(record_length, 0u);
                  }),
                  0)
            << sig;
}

TEST(Section, OneShotIsNotUsedUpByWaiting) {
    EXPECT_EQ(outcome_of_child([] {
                  by_now = By::muster;
                  handle(SIGUSR1, note_value, SA_SIGINFO | static_cast<std::uint32_t>(SA_RESETHAND));
                  ThreadState& thread = current_thread();
                  enter_section(thread);
                  send_to_myself(SIGUSR1);
                  KernelSigaction old{};
                  program_sigaction(SIGUSR1, nullptr, &old);
                  EXPECT_EQ(old.handler, reinterpret_cast<std::uintptr_t>(&note_value));
                  leave_section(thread);
                  program_sigaction(SIGUSR1, nullptr, &old);
                  EXPECT_EQ(old.handler, 0u);
                  EXPECT_GT(record_length, 0u);
              }),
              0);
}

TEST(Section, HandlerMayJumpAwayAtItsEnd) {
    static sigjmp_buf there;
    EXPECT_EQ(outcome_of_child([] {
                  handle(SIGUSR1, [](int, siginfo_t*, void*) { siglongjmp(there, 1); });
                  ThreadState& thread = current_thread();
                  static int i;
                  for (i = 0; i < 3; ++i) {
                      volatile bool was_inside = false;
                      if (sigsetjmp(there, 1) == 0) {
                          enter_section(thread);
                          send_to_myself(SIGUSR1);
                          was_inside = true;
                          leave_section(thread);
                          ADD_FAILURE() << "the handler did not run";
                      }
                      EXPECT_TRUE(was_inside);
                      EXPECT_EQ(thread.section_depth, 0u);
                      EXPECT_EQ(thread.deferred_signals, 0u);
                      EXPECT_EQ(mask_now(), 0u);
                  }
              }),
              0);
}

TEST(Section, BadPointersAreStillMetInside) {
    EXPECT_EQ(outcome_of_child([] {
                  handle(SIGUSR1, note_value);
                  ThreadState& thread = current_thread();
                  char byte;
                  enter_section(thread);
                  EXPECT_FALSE(fault_copy(thread, &byte, nullptr, 1));
                  send_to_myself(SIGUSR1);
                  EXPECT_FALSE(fault_copy(thread, &byte, nullptr, 1));
                  leave_section(thread);
                  // With SIGSEGV itself waiting the copy has to take the slow way.
                  handle(SIGSEGV, note_value);
                  enter_section(thread);
                  send_to_myself(SIGSEGV);
                  EXPECT_FALSE(fault_copy(thread, &byte, nullptr, 1));
                  leave_section(thread);
                  EXPECT_FALSE(fault_copy(thread, &byte, nullptr, 1));
              }),
              0);
}

TEST(Section, NoHandlerEverRunsInsideUnderAStormOfSignals) {
    static std::atomic<long> handled, inside;
    EXPECT_EQ(outcome_of_child([] {
                  const auto check = [](int, siginfo_t*, void*) {
                      ++handled;
                      if (this_thread_state.section_depth != 0) ++inside;
                      // Handlers make calls of their own.
                      ThreadState& thread = current_thread();
                      enter_section(thread);
                      leave_section(thread);
                  };
                  handle(SIGUSR1, check);
                  handle(SIGALRM, check);
                  handle(SIGRTMIN, check);
                  std::atomic<bool> stop = false;
                  std::atomic<int> ready = 0;
                  std::vector<std::thread> workers;
                  for (int i = 0; i < 2; ++i)
                      workers.emplace_back([&] {
                          ThreadState& thread = current_thread();
                          ++ready;
                          while (!stop) {
                              enter_section(thread);
                              for (int spin = 0; spin < 50; ++spin) asm volatile("");
                              leave_section(thread);
                          }
                          if (mask_now() != 0) _exit(5);
                          change_mask(SIG_BLOCK, ~std::uint64_t{0});
                      });
                  while (ready < 2) std::this_thread::yield();
                  const itimerval often{{0, 100}, {0, 100}};
                  setitimer(ITIMER_REAL, &often, nullptr);
                  for (int i = 0; i < 20'000; ++i)
                      for (auto& worker : workers) pthread_kill(worker.native_handle(), i % 3 == 0 ? SIGRTMIN : SIGUSR1);
                  stop = true;
                  for (auto& worker : workers) worker.join();
                  const itimerval never{};
                  setitimer(ITIMER_REAL, &never, nullptr);
                  if (inside != 0) _exit(6);
                  if (handled < 1000) _exit(7);
              }),
              0);
}

TEST(Section, NoQueuedSignalIsLostOrOvertakenByTheNext) {
    static std::atomic<int> expected, wrong;
    EXPECT_EQ(outcome_of_child([] {
                  expected = 0;
                  handle(SIGRTMIN + 1, [](int, siginfo_t* info, void*) {
                      if (info->si_value.sival_int != expected) ++wrong;
                      ++expected;
                  });
                  ThreadState& thread = current_thread();
                  constexpr int kSignals = 3000;
                  for (int sent = 0; sent < kSignals;) {
                      enter_section(thread);
                      for (int i = 0; i < 1 + sent % 7 && sent < kSignals; ++i) queue_to_myself(SIGRTMIN + 1, sent++);
                      leave_section(thread);
                  }
                  if (expected != kSignals) _exit(5);
                  if (wrong != 0) _exit(6);
              }),
              0);
}

// ---- sleeping ----

struct Sleeper : Sleeping {
    int order = 0;
    bool restarts = false;
};
int order_now;
int handler_order;

TEST(Sleep, CallLeavesItsObjectBeforeTheHandlerRuns) {
    for (bool restarts : {false, true})
        for (bool is_fault : {false, true})
            EXPECT_EQ(outcome_of_child([=] {
                          static sigjmp_buf there;
                          handle(is_fault ? SIGSEGV : SIGUSR1, [](int sig, siginfo_t*, void*) {
                              handler_order = ++order_now;
                              EXPECT_EQ(this_thread_state.sleeping, nullptr);
                              if (sig == SIGSEGV) siglongjmp(there, 1);
                          }, restarts ? SA_RESTART : 0);
                          Sleeper sleeper;
                          sleeper.before_handler = [](Sleeping* self, bool handler_restarts) {
                              static_cast<Sleeper*>(self)->order = ++order_now;
                              static_cast<Sleeper*>(self)->restarts = handler_restarts;
                          };
                          ThreadState& thread = current_thread();
                          thread.sleeping = &sleeper;
                          if (sigsetjmp(there, 1) == 0) {
                              if (is_fault) *reinterpret_cast<volatile char*>(8) = 1;
                              else send_to_myself(SIGUSR1);
                          }
                          EXPECT_EQ(sleeper.order, 1);
                          EXPECT_EQ(handler_order, 2);
                          EXPECT_EQ(sleeper.restarts, restarts);
                          EXPECT_EQ(thread.sleeping, nullptr);
                      }),
                      0);
}

// ---- faults ----

void touch(std::uintptr_t address) { *reinterpret_cast<volatile char*>(address) = 1; }

TEST(Fault, DefaultKills) {
    EXPECT_EQ(outcome_of_child([] {
                  install_fault_handlers();
                  touch(8);
              }),
              1000 + SIGSEGV);
    for (int sig : {SIGSEGV, SIGBUS})
        EXPECT_EQ(outcome_of_child([sig] {
                      install_fault_handlers();
                      kill(getpid(), sig);
                      pause();
                  }),
                  1000 + sig);
}

TEST(Fault, DefaultKillsInsideASection) {
    EXPECT_EQ(outcome_of_child([] {
                  install_fault_handlers();
                  enter_section(current_thread());
                  touch(8);
              }),
              1000 + SIGSEGV);
}

TEST(Fault, IgnoredFaultKillsIgnoredSignalDoesNot) {
    EXPECT_EQ(outcome_of_child([] {
                  install_fault_handlers();
                  set_plain(SIGSEGV, 1);
                  KernelSigaction old{};
                  program_sigaction(SIGSEGV, nullptr, &old);
                  EXPECT_EQ(old.handler, 1u);
                  kill(getpid(), SIGSEGV);
                  send_to_myself(SIGSEGV);
              }),
              0);
    EXPECT_EQ(outcome_of_child([] {
                  set_plain(SIGSEGV, 1);
                  install_fault_handlers();
                  touch(8);
              }),
              1000 + SIGSEGV);
}

TEST(Fault, BlockedFaultKills) {
    EXPECT_EQ(outcome_of_child([] {
                  install_fault_handlers();
                  handle(SIGSEGV, note_value);
                  change_mask(SIG_BLOCK, signal_bit(SIGSEGV));
                  touch(8);
              }),
              1000 + SIGSEGV);
}

sigjmp_buf after_fault;
void* fault_address;
int fault_code;
void remember_fault(int, siginfo_t* info, void*) {
    fault_address = info->si_addr;
    fault_code = info->si_code;
    siglongjmp(after_fault, 1);
}

TEST(Fault, ProgramsHandlerSeesItsOwn) {
    // Installed before ours, through Muster or past it, or after.
    for (int when = 0; when < 3; ++when)
        EXPECT_EQ(outcome_of_child([when] {
                      if (when == 0) handle(By::kernel, SIGSEGV, remember_fault);
                      if (when == 1) handle(By::muster, SIGSEGV, remember_fault);
                      install_fault_handlers();
                      if (when == 2) handle(By::muster, SIGSEGV, remember_fault);
                      KernelSigaction old{};
                      program_sigaction(SIGSEGV, nullptr, &old);
                      EXPECT_EQ(old.handler, reinterpret_cast<std::uintptr_t>(&remember_fault));
                      for (const std::uintptr_t address : {8u, 16u, 64u, 4088u}) {
                          if (sigsetjmp(after_fault, 1) == 0) {
                              touch(address);
                              ADD_FAILURE();
                          }
                          EXPECT_EQ(fault_address, reinterpret_cast<void*>(address));
                          EXPECT_EQ(fault_code, SEGV_MAPERR);
                          EXPECT_FALSE(copies_from_null());
                      }
                  }),
                  0);
}

TEST(Fault, BadPointerInsideTheProgramsOwnHandler) {
    EXPECT_EQ(outcome_of_child([] {
                  handle(SIGSEGV, [](int, siginfo_t*, void*) {
                      note("copied", copies_from_null());
                  });
                  EXPECT_FALSE(copies_from_null());
                  send_to_myself(SIGSEGV);
                  EXPECT_FALSE(copies_from_null());
                  EXPECT_EQ(std::string(record, record_length), "copied=0 ");
              }),
              0);
}

TEST(Fault, OneShotHandlerIsNotUsedUpByOurFaults) {
    EXPECT_EQ(outcome_of_child([] {
                  handle(SIGSEGV, remember_fault, SA_SIGINFO | static_cast<std::uint32_t>(SA_RESETHAND));
                  for (int i = 0; i < 3; ++i) EXPECT_FALSE(copies_from_null());
                  if (sigsetjmp(after_fault, 1) == 0) touch(8);
                  EXPECT_EQ(fault_address, reinterpret_cast<void*>(8));
                  for (int i = 0; i < 3; ++i) EXPECT_FALSE(copies_from_null());
                  touch(16);
              }),
              1000 + SIGSEGV);
}

TEST(Fault, HandlerOnTheAlternateStackMeetsAStackOverflow) {
    struct Deep {
        static long down(long depth) {
            volatile char room[4096];
            room[0] = static_cast<char>(depth);
            return depth > 1'000'000'000 ? 0 : down(depth + 1) + room[0];
        }
    };
    EXPECT_EQ(outcome_of_child([] {
                  install_fault_handlers();
                  const stack_t stack{alternate_stack, 0, sizeof alternate_stack};
                  sigaltstack(&stack, nullptr);
                  handle(SIGSEGV, [](int, siginfo_t*, void*) {
                      char here;
                      _exit(&here >= alternate_stack && &here < alternate_stack + sizeof alternate_stack ? 42 : 43);
                  }, SA_SIGINFO | SA_ONSTACK);
                  Deep::down(0);
              }),
              42);
}

TEST(Fault, HandlerThatRepairsAndReturnsGoesOn) {
    static char* page;
    EXPECT_EQ(outcome_of_child([] {
                  page = static_cast<char*>(mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
                  install_fault_handlers();
                  handle(SIGSEGV, [](int, siginfo_t*, void*) { mprotect(page, 4096, PROT_READ | PROT_WRITE); }, 0);
                  *static_cast<volatile char*>(page) = 7;
                  EXPECT_EQ(*page, 7);
              }),
              0);
}

TEST(Fault, ForeignHandlerSetPastUsStaysInEffect) {
    EXPECT_EQ(outcome_of_child([] {
                  install_fault_handlers();
                  handle(By::kernel, SIGSEGV, remember_fault);
                  KernelSigaction old{};
                  program_sigaction(SIGSEGV, nullptr, &old);
                  EXPECT_EQ(old.handler, reinterpret_cast<std::uintptr_t>(&remember_fault));
                  if (sigsetjmp(after_fault, 1) == 0) touch(24);
                  EXPECT_EQ(fault_address, reinterpret_cast<void*>(24));
              }),
              0);
}

}  // namespace
