// Single-stepping a call of the built library, to stop its process after each instruction (x86-64).
//
// A child is stepped once to learn its path. To come to instruction n another one runs to a breakpoint at the last address on
// the way to n that is met there for the first time, and steps the rest.
#pragma once
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>
#include "support/child.hpp"

// Where the stepped call begins (just behind the breakpoint) and ends.
asm(R"(
    .pushsection .text
    .weak muster_steps_begin, muster_steps_end
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

inline void stay_on_one_cpu() {  // its number decides a branch or two
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(static_cast<unsigned>(sched_getcpu()), &here);
    sched_setaffinity(0, sizeof here, &here);
}

// The stepped process.
class Tracee {
public:
    template <class Body>
    explicit Tracee(Body body)
        : child_((hear_of_children(), [&] {
              ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
              body();
          })) {
        stopped_ = wait_stop([] {});
        first_ = address() - 1 == reinterpret_cast<std::uintptr_t>(&muster_steps_begin);
    }
    bool ready() const { return stopped_ && first_; }
    pid_t pid() const { return child_.pid(); }
    std::uintptr_t address() const {
        return static_cast<std::uintptr_t>(ptrace(PTRACE_PEEKUSER, child_.pid(), offsetof(user_regs_struct, rip), nullptr));
    }
    bool at_end() const { return stopped_ && address() == reinterpret_cast<std::uintptr_t>(&muster_steps_end); }
    bool stopped() const { return stopped_; }

    // Whether the next instruction is a system call.
    bool at_system_call() const {
        return (static_cast<unsigned long>(ptrace(PTRACE_PEEKTEXT, child_.pid(), address(), nullptr)) & 0xffff) == 0x050f;
    }
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
    // Lets it run until it sleeps. False: it ended.
    bool run_till_asleep() {
        ptrace(PTRACE_CONT, child_.pid(), nullptr, nullptr);
        const bool looked = eventually([&] { return child_.ended() || child_.stopped() || child_.asleep(); });
        return looked && child_.pid() > 0 && !child_.stopped();
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
        wait_for([&] { return child_.ended(); }, [] {});
        if (child_.pid() > 0) ADD_FAILURE() << "the stepped process does not die";
    }

private:
    // A stop is heard of at once, as a pending signal; looking for it by time would take longer than the step.
    static void hear_of_children() {
        sigset_t child;
        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        sigprocmask(SIG_BLOCK, &child, nullptr);
    }
    template <class Came, class Asleep>
    bool wait_for(Came came, Asleep asleep) {
        sigset_t child;
        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        const timespec a_while{0, 300'000};
        const auto end = std::chrono::steady_clock::now() + kPatience;
        while (!came()) {
            if (sigtimedwait(&child, nullptr, &a_while) >= 0) continue;
            if (process_state(child_.pid()) == 'S') asleep();
            if (std::chrono::steady_clock::now() > end) return false;
        }
        return true;
    }
    // Whether it stops by a trap; false: it ended, or was stuck.
    template <class Asleep>
    bool wait_stop(Asleep asleep) {
        wait_for([&] { return child_.ended() || child_.stopped(); }, asleep);
        return child_.pid() > 0 && child_.stopped() && child_.stop_signal() == SIGTRAP;
    }
    Child child_;
    bool stopped_ = false, first_ = false;
};

// The addresses of a call's instructions, in their order.
class Path {
public:
    std::size_t size() const { return at_.size(); }
    bool empty() const { return at_.empty(); }
    // Whether `held` was so before instruction n.
    bool held(std::size_t n) const { return n < held_.size() && held_[n] != 0; }

    // Whether others may have seen a difference between n - 1 instructions and n; true if nobody looked.
    bool fresh(std::size_t n) const { return n >= fresh_.size() || fresh_[n] != 0; }

    // Steps a process through the whole of `body`. Empty if that cannot be. `changed(pid, after_system_call)`: see fresh().
    template <class Body, class Asleep, class Held>
    static Path learn(Body body, Asleep asleep, Held held) {
        return learn(body, asleep, held, [](pid_t, bool) { return true; });
    }
    template <class Body, class Asleep, class Held, class Changed>
    static Path learn(Body body, Asleep asleep, Held held, Changed changed) {
        Path path;
        Tracee tracee(body);
        if (!tracee.ready()) {
            std::printf("the process to be stepped does not come to the call\n");
            return path;
        }
        bool fresh = true, after_system_call = false;
        while (tracee.stopped() && !tracee.at_end() && path.size() < 200'000) {
            const std::uintptr_t now = tracee.address();
            fresh = changed(tracee.pid(), after_system_call) || fresh;
            if (path.empty() || path.at_.back() != now) {  // a repeating string instruction is one
                const bool first = path.met_.insert(now).second;
                path.before_.push_back(first || path.empty() ? path.size() : path.before_.back());
                path.at_.push_back(now);
                path.held_.push_back(held() ? 1 : 0);
                path.fresh_.push_back(fresh ? 1 : 0);
                fresh = false;
            }
            after_system_call = tracee.at_system_call();
            tracee.step(asleep);
        }
        if (!tracee.at_end()) {
            std::printf("after %zu instructions the stepped process %s\n", path.size(), tracee.stopped() ? "still goes on" : "is not to be stopped: it ended, or sleeps");
            path = Path();
        }
        tracee.kill();
        return path;
    }
    // How many instructions must be stepped one by one to come behind n of them.
    std::size_t steps_to(std::size_t n) const { return n - before(n); }
    // Deep inside a loop one round is like another, and each has to be stepped through.
    bool deep(std::size_t n) const { return steps_to(n) > kFewSteps; }
    static constexpr std::size_t kFewSteps = 300;

    // Leads a process that is at the beginning behind n instructions. False: it went another way, or ended.
    template <class Asleep>
    bool lead(Tracee& tracee, std::size_t n, Asleep asleep) const {
        bool on_path = true;
        std::size_t at = 0;
        for (std::size_t j = before(n); j != 0; j = before_[j - 1]) {
            bool planted = false;
            on_path = tracee.run_to(at_[j], asleep, planted);
            if (!planted) continue;
            at = j;
            break;
        }
        for (; on_path && at < n; ++at) {
            on_path = tracee.step(asleep);
            bool planted = false;
            if (on_path && at + 1 < size() && tracee.address() == at_[at]) on_path = tracee.run_to(at_[at + 1], asleep, planted);
            if (on_path && at + 1 < size() && tracee.address() != at_[at + 1]) on_path = false;
        }
        return on_path;
    }

private:
    // The last instruction not behind n that is met there for the first time.
    std::size_t before(std::size_t n) const { return before_[std::min(n, size() - 1)]; }
    std::vector<std::uintptr_t> at_;
    std::vector<char> held_, fresh_;
    std::vector<std::size_t> before_;
    std::unordered_set<std::uintptr_t> met_;
};

}  // namespace muster::test
