// Single-stepping a call of the built library, to kill its process after each instruction (x86-64).
//
// A child is stepped once to learn its path. To kill it after instruction n it runs to a breakpoint at the last address on
// the way to n that it meets for the first time, steps the rest, and is killed while it is stopped.
#pragma once
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <algorithm>
#include <cstdlib>
#include <string>
#include <unordered_map>
#include <vector>
#include "support/child.hpp"

// Where the stepped call begins (just behind the breakpoint) and ends.
asm(R"(
    .pushsection .text
    .globl muster_steps_begin, muster_steps_end
    .type muster_steps_begin, @function
    .type muster_steps_end, @function
muster_steps_begin:
    int3
    ret
muster_steps_end:
    nop
    ret
    .popsection
)");
extern "C" void muster_steps_begin();
extern "C" void muster_steps_end();

namespace muster::test {

// The stepped process.
class Tracee {
public:
    template <class Body>
    explicit Tracee(Body body)
        : child_([&] {
              ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
              body();
          }) {
        stopped_ = wait_stop([] {});
        first_ = address() - 1 == reinterpret_cast<std::uintptr_t>(&muster_steps_begin);
    }
    bool ready() const { return stopped_ && first_; }
    std::uintptr_t address() const {
        return static_cast<std::uintptr_t>(ptrace(PTRACE_PEEKUSER, child_.pid(), offsetof(user_regs_struct, rip), nullptr));
    }
    bool at_end() const { return stopped_ && address() == reinterpret_cast<std::uintptr_t>(&muster_steps_end); }
    bool stopped() const { return stopped_; }

    // One instruction. `asleep` is called when the process sleeps in it.
    template <class Asleep>
    bool step(Asleep asleep) {
        ptrace(PTRACE_SINGLESTEP, child_.pid(), nullptr, nullptr);
        return stopped_ = wait_stop(asleep);
    }
    // To the first time at `where`. False if it cannot be (nothing has happened), or the process ended on the way.
    template <class Asleep>
    bool run_to(std::uintptr_t where, Asleep asleep, bool& planted) {
        errno = 0;
        const long word = ptrace(PTRACE_PEEKTEXT, child_.pid(), where, nullptr);
        planted = errno == 0 && ptrace(PTRACE_POKETEXT, child_.pid(), where, (word & ~0xffL) | 0xcc) == 0;
        if (!planted) return false;
        ptrace(PTRACE_CONT, child_.pid(), nullptr, nullptr);
        stopped_ = wait_stop(asleep);
        if (!stopped_ || address() != where + 1) return false;
        ptrace(PTRACE_POKETEXT, child_.pid(), where, word);
        ptrace(PTRACE_POKEUSER, child_.pid(), offsetof(user_regs_struct, rip), where);
        return true;
    }
    // Delivers a signal where it is and lets it run. How it then ends: its exit status, or the signal that kills it, negated.
    int end_after(int sig) {
        do {  // again when the library puts it off and sends it itself
            ptrace(PTRACE_CONT, child_.pid(), nullptr, sig);
            wait_stop([] {});
        } while (child_.pid() > 0 && child_.stopped() && child_.stop_signal() == sig);
        if (child_.pid() > 0) return child_.stopped() ? -child_.stop_signal() : -SIGALRM;  // it has not ended
        return WIFEXITED(child_.status()) ? WEXITSTATUS(child_.status()) : -WTERMSIG(child_.status());
    }
    void kill() {
        if (child_.pid() <= 0) return;
        child_.kill(SIGKILL);
        if (!child_.ends()) ADD_FAILURE() << "the stepped process does not die";
    }

private:
    // Whether it stops by a trap; false: it ended, or was stuck.
    template <class Asleep>
    bool wait_stop(Asleep asleep) {
        bool stopped = false;
        const bool came = eventually([&] {
            if (child_.ended()) return true;
            if (child_.stopped()) {
                stopped = child_.stop_signal() == SIGTRAP;
                return true;
            }
            if (process_state(child_.pid()) == 'S') asleep();
            return false;
        });
        return came && stopped;
    }
    Child child_;
    bool stopped_ = false, first_ = false;
};

// What is stepped, and what surrounds it.
class Stepped {
public:
    virtual ~Stepped() = default;
    virtual void make_queue() = 0;
    virtual void drop_queue() = 0;
    // The state before the call; false: it could not be made.
    virtual bool prepare() = 0;
    // The call, between muster_steps_begin() and muster_steps_end(). One copy of it, so that its addresses are the same each time.
    virtual void victim_body() = 0;
    // The stepped call sleeps, perhaps in the queue: somebody does what it waits for.
    virtual void help() = 0;
    // After a death. `finished`: the call had returned. Whether the victim's operation was found done.
    virtual bool verify(bool finished) = 0;

    static void stay_on_one_cpu() {  // its number decides a branch or two
        cpu_set_t here;
        CPU_ZERO(&here);
        CPU_SET(static_cast<unsigned>(sched_getcpu()), &here);
        sched_setaffinity(0, sizeof here, &here);
    }
    bool stuck_ = false;
};

struct Course {
    const char* name;
    std::size_t stride;   // 1: every instruction
    bool does_something;  // left alone, the call is done at its end, not refused
    bool one_commits;     // one instruction does it: before it undone, after it done
    bool varies = false;  // loops take more rounds or fewer: it dies only where it comes to an instruction for the first time
};

inline void step_through(Stepped& stage, const Course& course) {
    const auto help_it = [&] { stage.help(); };
    // Its path: the address of each instruction.
    std::vector<std::uintptr_t> path;
    {
        ASSERT_TRUE(stage.prepare());
        Tracee tracee([&] { stage.victim_body(); });
        ASSERT_TRUE(tracee.ready()) << "no ptrace here?";
        while (tracee.stopped() && !tracee.at_end() && path.size() < 100'000) {
            const std::uintptr_t now = tracee.address();
            if (path.empty() || path.back() != now) path.push_back(now);  // a repeating string instruction is one
            tracee.step(help_it);
        }
        ASSERT_TRUE(tracee.at_end());
        tracee.kill();
        EXPECT_EQ(stage.verify(true), course.does_something);
        ASSERT_FALSE(testing::Test::HasFailure());
    }
    std::unordered_map<std::uintptr_t, std::size_t> first_visit;
    for (std::size_t i = 0; i < path.size(); ++i) first_visit.emplace(path[i], i);

    const char* all = std::getenv("MUSTER_EVERY_INSTRUCTION");
    const std::size_t stride = all != nullptr ? 1 : course.stride;
    // Deep inside a loop one round is like another, and each would have to be stepped through.
    const std::size_t steps_max = all != nullptr ? path.size() : 300;
    std::size_t missed = 0, killed = 0, skipped = 0, first_done = path.size(), last_undone = 0;
    for (std::size_t n = stride == 1 ? 0 : 2, next; n <= path.size(); n = next) {
        next = n + stride;
        SCOPED_TRACE(std::string(course.name) + " killed after instruction " + std::to_string(n) + " of " + std::to_string(path.size()));
        std::size_t from = std::min(n, path.size() - 1);
        while (from != 0 && first_visit.at(path[from]) != from) --from;
        if (n - from > (course.varies ? 0 : steps_max)) {
            ++skipped;
            next = n + 1;
            continue;
        }
        bool on_path = false, operated = false;
        for (int tries = 0; tries < 3 && !on_path; ++tries) {
            if (tries != 0) {  // what a death left may lead another way, say to another free slot: from the start, then
                stage.drop_queue();
                stage.make_queue();
            }
            ASSERT_TRUE(stage.prepare());
            Tracee tracee([&] { stage.victim_body(); });
            ASSERT_TRUE(tracee.ready());
            on_path = true;
            std::size_t at = 0;
            for (std::size_t j = from; j != 0; --j) {
                if (first_visit.at(path[j]) != j) continue;
                bool planted = false;
                on_path = tracee.run_to(path[j], help_it, planted);
                if (!planted) continue;
                at = j;
                break;
            }
            for (; on_path && at < n; ++at) {
                on_path = tracee.step(help_it);
                bool planted = false;
                if (on_path && at + 1 < path.size() && tracee.address() == path[at]) on_path = tracee.run_to(path[at + 1], help_it, planted);
                if (on_path && at + 1 < path.size() && tracee.address() != path[at + 1]) on_path = false;
            }
            const bool finished = tracee.at_end() || !tracee.stopped();
            tracee.kill();
            operated = stage.verify(finished);
            if (stage.stuck_ || testing::Test::HasFailure()) FAIL() << "as traced above";
        }
        if (on_path) ++killed;
        else ++missed;
        if (on_path && operated && n < first_done) first_done = n;
        if (on_path && !operated && n > last_undone) last_undone = n;
    }
    std::printf("%s: %zu instructions, %zu deaths, %zu missed, %zu deep in loops; done from %zu, undone to %zu\n", course.name, path.size(), killed,
                missed, skipped, first_done, last_undone);
    // A path that is another each time is met where it is met.
    EXPECT_LE(missed, course.varies ? killed - killed / 10 : killed / 20) << "the path varies too much for the proof";
    // One instruction commits.
    if (course.one_commits && first_done < path.size()) {
        EXPECT_LT(last_undone, first_done);
    }
}

}  // namespace muster::test
