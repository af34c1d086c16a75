// Faults: the default still kills with the right signal, and so does an ignored or blocked one; the program's SIGSEGV
// handler sees its own si_addr, whenever it was set, may siglongjmp, may repair and return, may run on its alternate
// stack; a one-shot handler is not used up by faults that are ours.
#include <setjmp.h>
#include <sys/mman.h>
#include "signal_scenarios.hpp"

namespace {

using namespace muster::signal_tests;

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
                  handle(SIGSEGV, observe);
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
                  handle(SIGSEGV, [](int, siginfo_t*, void*) { note("copied", copies_from_null()); });
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
                  handle(
                      SIGSEGV,
                      [](int, siginfo_t*, void*) {
                          char here;
                          _exit(&here >= alternate_stack && &here < alternate_stack + sizeof alternate_stack ? 42 : 43);
                      },
                      SA_SIGINFO | SA_ONSTACK);
                  Deep::down(0);
              }),
              42);
}

TEST(Fault, HandlerThatRepairsAndReturnsGoesOn) {
    static char* page;
    EXPECT_EQ(outcome_of_child([] {
                  page = static_cast<char*>(mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
                  install_fault_handlers();
                  handle(
                      SIGSEGV, [](int, siginfo_t*, void*) { mprotect(page, 4096, PROT_READ | PROT_WRITE); }, 0);
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
