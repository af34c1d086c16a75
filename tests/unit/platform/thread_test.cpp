// The thread's state: its id and death notice; every new process incarnation is noticed (fork, raw clone), every
// thread has its own; a state copied inside a section is reset; preparation costs far below 100 us.
#include "platform/thread.hpp"
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace {

using namespace muster::platform;

std::uint32_t kernel_thread_id() {
    return static_cast<std::uint32_t>(::syscall(SYS_gettid));
}

robust_list_head* kernel_robust_head() {
    robust_list_head* head = nullptr;
    std::size_t bytes = 0;
    ::syscall(SYS_get_robust_list, 0, &head, &bytes);
    return head;
}

// The exit status of a child that runs `body`; -1 if it died of a signal.
template <class Body>
int in_child(pid_t child, Body body) {
    if (child == 0) _exit(body() ? 0 : 1);
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

pid_t raw_clone() {
    return static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

TEST(Thread, IsPreparedOnce) {
    ThreadState& thread = current_thread();
    EXPECT_EQ(thread.thread_id, kernel_thread_id());
    EXPECT_NE(thread.generation, 0u);
    EXPECT_EQ(thread.generation, process_generation->number);
    EXPECT_EQ(thread.robust, kernel_robust_head());
    EXPECT_EQ(thread.section_depth, 0u);
    EXPECT_EQ(&current_thread(), &thread);
}

TEST(Thread, EachThreadHasItsOwn) {
    const std::uint32_t generation = current_thread().generation;
    std::vector<std::thread> threads;
    std::vector<std::uint32_t> ids(16);
    for (unsigned i = 0; i < ids.size(); ++i)
        threads.emplace_back([&, i] {
            ThreadState& thread = current_thread();
            EXPECT_EQ(thread.generation, generation);
            EXPECT_EQ(thread.thread_id, kernel_thread_id());
            EXPECT_EQ(thread.robust, kernel_robust_head());
            ids[i] = thread.thread_id;
        });
    for (auto& thread : threads) thread.join();
    for (unsigned i = 0; i < ids.size(); ++i) EXPECT_NE(ids[i], 0u);
}

TEST(Thread, ThreadsOfAFreshChildMeetInPreparation) {
    for (int round = 0; round < 50; ++round) {
        EXPECT_EQ(in_child(fork(),
                           [] {
                               std::atomic<bool> go = false;
                               std::atomic<std::uint32_t> numbers[4] = {};
                               std::vector<std::thread> threads;
                               for (auto& number : numbers)
                                   threads.emplace_back([&] {
                                       while (!go) {
                                       }
                                       number = current_thread().generation;
                                   });
                               go = true;
                               for (auto& thread : threads) thread.join();
                               bool same = numbers[0] != 0;
                               for (auto& number : numbers) same = same && number == numbers[0];
                               return same && current_thread().generation == numbers[0];
                           }),
                  0);
    }
}

TEST(Thread, ForkIsNoticed) {
    const ThreadState before = current_thread();
    EXPECT_EQ(in_child(fork(),
                       [&] {
                           const ThreadState& now = current_thread();
                           return now.thread_id == kernel_thread_id() && now.thread_id != before.thread_id &&
                                  now.generation != before.generation && now.robust == kernel_robust_head();
                       }),
              0);
    EXPECT_EQ(current_thread().generation, before.generation);
}

TEST(Thread, RawCloneIsNoticedAndGetsADeathNotice) {
    const ThreadState before = current_thread();
    EXPECT_EQ(in_child(raw_clone(),
                       [&] {
                           const ThreadState& now = current_thread();
                           return now.thread_id == kernel_thread_id() && now.generation != before.generation &&
                                  now.robust != nullptr && now.robust == kernel_robust_head() &&
                                  now.robust->list.next == &now.robust->list;
                       }),
              0);
}

TEST(Thread, GrandchildOfAnUnpreparedChildDiffersFromBoth) {
    const std::uint32_t before = current_thread().generation;
    // The child never asks; its child copies the grandparent's state.
    EXPECT_EQ(in_child(raw_clone(),
                       [&] {
                           return in_child(raw_clone(), [&] {
                                      const ThreadState& now = current_thread();
                                      return now.generation != before && now.thread_id == kernel_thread_id();
                                  }) == 0;
                       }),
              0);
}

TEST(Thread, NumbersDifferDownALine) {
    const std::uint32_t parent = current_thread().generation;
    EXPECT_EQ(in_child(fork(),
                       [&] {
                           const std::uint32_t child = current_thread().generation;
                           return child != parent && in_child(fork(), [&] {
                                                         const std::uint32_t grandchild = current_thread().generation;
                                                         return grandchild != child && grandchild != parent;
                                                     }) == 0;
                       }),
              0);
}

TEST(Thread, StateCopiedInsideASectionIsReset) {
    ThreadState& thread = current_thread();
    std::uint32_t word = thread.thread_id;
    Sleeping sleeping{nullptr};
    enter_section(thread);
    robust_list* before = set_death_notice(thread, &word);
    thread.sleeping = &sleeping;
    const int status = in_child(fork(), [&] {
        const ThreadState& now = current_thread();
        return now.section_depth == 0 && now.deferred_signals == 0 && now.sleeping == nullptr &&
               now.robust->list_op_pending == nullptr;
    });
    thread.sleeping = nullptr;
    restore_death_notice(thread, before);
    leave_section(thread);
    EXPECT_EQ(status, 0);
}

TEST(Thread, DeathMarksTheWordInRawCloneToo) {
    for (const bool raw : {false, true}) {
        auto* word = static_cast<std::uint32_t*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
        in_child(raw ? raw_clone() : fork(), [&] {
            ThreadState& thread = current_thread();
            *word = thread.thread_id;
            set_death_notice(thread, word);
            ::syscall(SYS_tgkill, getpid(), kernel_thread_id(), SIGKILL);
            return true;
        });
        EXPECT_EQ(*word, static_cast<std::uint32_t>(FUTEX_OWNER_DIED)) << raw;
        munmap(word, 4096);
    }
}

TEST(Thread, PreparationIsCheap) {
    in_child(fork(), [] { return true; });
    std::int64_t best_ns = 1'000'000'000;
    for (int i = 0; i < 20; ++i)
        std::thread([&] {
            const auto start = std::chrono::steady_clock::now();
            current_thread();
            const auto took = std::chrono::steady_clock::now() - start;
            best_ns = std::min<std::int64_t>(best_ns, std::chrono::nanoseconds(took).count());
        }).join();
    RecordProperty("best_ns", static_cast<int>(best_ns));
    EXPECT_LT(best_ns, 50'000);
}

}  // namespace
