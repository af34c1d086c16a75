// Signal handlers through Muster's entry points behave as the kernel's own (mask, SA_NODEFER, SA_RESETHAND, SA_ONSTACK,
// SA_RESTART, queue order, what sigaction reports: each scenario runs both ways and the records are compared), wait
// for the end of a critical section with their siginfo, and find a sleeping call already out of its object. errno is
// left alone.
#include <setjmp.h>
#include <sys/time.h>
#include <atomic>
#include <thread>
#include <vector>
#include "signal_scenarios.hpp"

namespace {

using namespace muster::signal_tests;

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
            handle(
                by, SIGALRM,
                [](int, siginfo_t*, void*) {
                    if (++count == 2 && write(ends[1], "x", 1) != 1) abort();
                },
                restarts ? SA_RESTART : 0);
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
                          if (old.handler != reinterpret_cast<std::uintptr_t>(static_cast<Handler>(plain)) ||
                              (old.flags & SA_SIGINFO) != 0)
                              _exit(3);
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
                      if (program_sigaction(SIGUSR2, &act, nullptr) != 0 || program_sigaction(SIGUSR2, nullptr, &old) != 0)
                          _exit(1);
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
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "our entry points go past ThreadSanitizer, whose atomics take locks that a handler then waits for";
#endif
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
                          handle(
                              is_fault ? SIGSEGV : SIGUSR1,
                              [](int sig, siginfo_t*, void*) {
                                  handler_order = ++order_now;
                                  EXPECT_EQ(this_thread_state.sleeping, nullptr);
                                  if (sig == SIGSEGV) siglongjmp(there, 1);
                              },
                              restarts ? SA_RESTART : 0);
                          Sleeper sleeper;
                          sleeper.before_handler = [](Sleeping* self, bool handler_restarts) {
                              static_cast<Sleeper*>(self)->order = ++order_now;
                              static_cast<Sleeper*>(self)->restarts = handler_restarts;
                          };
                          ThreadState& thread = current_thread();
                          thread.sleeping = &sleeper;
                          if (sigsetjmp(there, 1) == 0) {
                              if (is_fault)
                                  touch(8);
                              else
                                  send_to_myself(SIGUSR1);
                          }
                          EXPECT_EQ(sleeper.order, 1);
                          EXPECT_EQ(handler_order, 2);
                          EXPECT_EQ(sleeper.restarts, restarts);
                          EXPECT_EQ(thread.sleeping, nullptr);
                      }),
                      0);
}

}  // namespace
