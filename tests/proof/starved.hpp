// A call of the table of operations in a process that gets less than it needs: the call is followed from system call to system call
// (x86-64), any of them can be made to fail, and limits can be set at the moment when it begins. What the process holds (descriptors,
// mappings, blocked signals) is noted before and after.
//
//   Plan plan;                     // the third system call fails with ENOMEM
//   plan.at = 3, plan.error = ENOMEM;
//   const Course course = starve(*operation, plan);
//   course.trouble                 // empty, or: it was killed, it hangs
//   course.error                   // what the call said, and the holdings: course.before, course.after
#pragma once
#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>
#include "muster/domain.hpp"
#include "operations.hpp"

namespace muster::test {

struct Plan {
    std::size_t at = 0;   // this system call of the call fails, counted from 1; 0: none
    int error = 0;        // with this errno value
    long number = -1;     // if it is that one (another way may be taken the second time); -1: any
    bool stays = false;   // and from there on all of its number
    bool after = false;   // it is carried out, and says that it failed
    bool again = false;   // a call that failed is made once more in the same process, with nothing in its way
    std::function<void()> in_victim;          // before everything, in the process that calls
    std::function<void(pid_t)> at_begin, at_end;  // in the test, while that process stands still
};

struct SystemCall {
    long number = -1;
    unsigned long arguments[6] = {};
    long result = 0;
};

// What a process has, by what it is of: numbers in names are left out, any inode is as good.
struct Holdings {
    std::map<std::string, long> descriptors;
    std::map<std::string, long> mapped_bytes;
    std::string blocked;
};

struct Course {
    std::string trouble;
    std::vector<SystemCall> calls;
    Holdings before, after;
    std::optional<int> error;        // 0 or what the call said
    std::optional<int> error_again;  // likewise, the second time
    int errno_after = 0;             // what was kErrnoBefore
    bool failed_one = false;         // the plan's failure was met
    bool slept = false;
    int faults = 0;                  // SIGSEGV and SIGBUS on the way
    std::set<std::string> files_before, files_after;  // of the domain
};
constexpr int kErrnoBefore = 4321;

inline std::string without_digits(std::string text) {
    std::erase_if(text, [](unsigned char c) { return std::isdigit(c) != 0; });
    const std::size_t gone = text.find(" (deleted)");  // removed meanwhile, perhaps
    return gone == std::string::npos ? text : text.substr(0, gone);
}

inline Holdings holdings_of(pid_t pid) {
    Holdings found;
    const std::string process = "/proc/" + std::to_string(pid);
    if (DIR* directory = opendir((process + "/fd").c_str())) {
        while (const dirent* entry = readdir(directory)) {
            char target[512];
            const ssize_t length = readlink((process + "/fd/" + entry->d_name).c_str(), target, sizeof target);
            if (length > 0) ++found.descriptors[without_digits({target, static_cast<std::size_t>(length)})];
        }
        closedir(directory);
    }
    std::ifstream maps(process + "/maps");
    for (std::string line; std::getline(maps, line);) {
        char* end = nullptr;
        const unsigned long from = std::strtoul(line.c_str(), &end, 16), to = std::strtoul(end + 1, nullptr, 16);
        const std::size_t name = line.find('/');
        found.mapped_bytes[name != std::string::npos ? without_digits(line.substr(name)) : ""] += static_cast<long>(to - from);
    }
    std::ifstream status(process + "/status");
    for (std::string line; std::getline(status, line);)
        if (line.rfind("SigBlk:", 0) == 0) found.blocked = line;
    return found;
}

// All of the domain but what the library keeps beside the objects of System V.
inline std::set<std::string> domain_files() {
    std::set<std::string> found;
    for (const char* part : {"", "/mq", "/sysv", "/key", "/shm", "/sem", "/poll"}) {
        DIR* directory = opendir((domain_path() + part).c_str());
        if (directory == nullptr) continue;
        while (const dirent* entry = readdir(directory))
            if (entry->d_name[0] != '.') found.insert(std::string(part) + "/" + entry->d_name);
        closedir(directory);
    }
    return found;
}

class Follower {
public:
    Follower(Operation& operation, const Plan& plan, Course& course) : operation_(operation), plan_(plan), course_(course) {
        sigset_t child;  // a stop is heard of at once, as a pending signal
        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        sigprocmask(SIG_BLOCK, &child, nullptr);
        victim_ = Child([this] {
            ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
            if (plan_.in_victim) plan_.in_victim();
            errno = kErrnoBefore;
            operation_.run();
            *errno_after_ = errno;
            if (plan_.again && operation_.outcome().value_or(0) != 0) operation_.run();
        });
    }
    void follow() {
        if (!goes_to_begin()) return;
        if (!ptrace_ok(ptrace(PTRACE_SETOPTIONS, victim_.pid(), nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL))) return;
        course_.before = holdings_of(victim_.pid());
        course_.files_before = domain_files();
        if (plan_.at_begin) plan_.at_begin(victim_.pid());
        if (!goes_to_end(plan_.at)) return;
        course_.error = operation_.outcome();
        if (plan_.at_end) plan_.at_end(victim_.pid());
        course_.after = holdings_of(victim_.pid());
        course_.files_after = domain_files();
        if (plan_.again && course_.error.value_or(0) != 0) {
            resume(PTRACE_CONT, 0);
            if (!goes_to_begin() || !goes_to_end(0)) return;
            course_.error_again = operation_.outcome();
        }
        resume(PTRACE_CONT, 0);
        while (stops() && victim_.pid() > 0) resume(PTRACE_CONT, victim_.stop_signal());
        course_.errno_after = *errno_after_;
        if (course_.trouble.empty() && !victim_.exited(0))
            course_.trouble = "after the call it ended with status " + std::to_string(victim_.status());
    }

private:
    using Info = __ptrace_syscall_info;
    bool ptrace_ok(long result) {
        if (result < 0) course_.trouble = "it cannot be traced";
        return result >= 0;
    }
    void resume(__ptrace_request how, int sig) { ptrace(how, victim_.pid(), nullptr, sig); }
    std::uintptr_t address() const {
        return static_cast<std::uintptr_t>(ptrace(PTRACE_PEEKUSER, victim_.pid(), offsetof(user_regs_struct, rip), nullptr));
    }
    static std::uintptr_t at(void (*label)()) { return reinterpret_cast<std::uintptr_t>(label); }

    // Until it stops or ends. False: neither.
    bool stops() {
        sigset_t child;
        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        const timespec a_while{0, 300'000};
        const auto end = std::chrono::steady_clock::now() + kPatience;
        for (;;) {
            if (victim_.ended() || victim_.stopped()) return true;
            if (sigtimedwait(&child, nullptr, &a_while) >= 0) continue;
            if (process_state(victim_.pid()) == 'S') {
                course_.slept = true;
                operation_.help();
            }
            if (std::chrono::steady_clock::now() > end) {
                std::string where = "it hangs";
                if (!course_.calls.empty()) where += ", last in system call " + std::to_string(course_.calls.back().number);
                course_.trouble = where;
                victim_.kill(SIGKILL);
                return false;
            }
        }
    }
    bool gone() {
        if (victim_.pid() > 0) return false;
        const int status = victim_.status();
        course_.trouble = WIFSIGNALED(status) ? "killed by signal " + std::to_string(WTERMSIG(status)) : "it ended by itself";
        return true;
    }
    bool goes_to_begin() {
        while (stops()) {
            if (gone()) return false;
            const int sig = victim_.stop_signal();
            if (sig == SIGTRAP && address() == at(&muster_steps_begin) + 1) return true;
            resume(PTRACE_CONT, sig == (SIGTRAP | 0x80) ? 0 : sig);
        }
        return false;
    }
    bool goes_to_end(std::size_t failing) {
        const std::uintptr_t end = at(&muster_steps_end);
        const long word = ptrace(PTRACE_PEEKTEXT, victim_.pid(), end, nullptr);
        ptrace(PTRACE_POKETEXT, victim_.pid(), end, (word & ~0xffL) | 0xcc);
        std::size_t count = 0;
        bool failing_now = false;
        for (int sig = 0;; ) {
            resume(PTRACE_SYSCALL, sig);
            if (!stops() || gone()) return false;
            sig = 0;
            const int stop = victim_.stop_signal();
            if (stop == (SIGTRAP | 0x80)) {
                Info info{};
                ptrace(PTRACE_GET_SYSCALL_INFO, victim_.pid(), sizeof info, &info);
                if (info.op == PTRACE_SYSCALL_INFO_ENTRY) failing_now = enters(info, ++count, failing);
                else leaves(info, failing_now);
                if (count > 20'000) {
                    course_.trouble = "it hangs, in a loop of system calls " + std::to_string(course_.calls.back().number);
                    return false;
                }
            } else if (stop == SIGTRAP && address() == end + 1) {
                break;
            } else {
                course_.faults += stop == SIGSEGV || stop == SIGBUS ? 1 : 0;
                sig = stop;
            }
        }
        ptrace(PTRACE_POKETEXT, victim_.pid(), end, word);
        ptrace(PTRACE_POKEUSER, victim_.pid(), offsetof(user_regs_struct, rip), end);
        return true;
    }
    bool enters(const Info& info, std::size_t count, std::size_t failing) {
        SystemCall call;
        call.number = static_cast<long>(info.entry.nr);
        for (int i = 0; i < 6; ++i) call.arguments[i] = info.entry.args[i];
        course_.calls.push_back(call);
        if (failing == 0 || count < failing) return false;
        if (count == failing) failing_number_ = plan_.number < 0 || plan_.number == call.number ? call.number : -1;
        if (call.number != failing_number_) return false;
        if (count > failing && !plan_.stays) return false;
        course_.failed_one = true;
        if (!plan_.after) ptrace(PTRACE_POKEUSER, victim_.pid(), offsetof(user_regs_struct, orig_rax), -1L);
        return true;
    }
    void leaves(const Info& info, bool failing) {
        if (!course_.calls.empty()) course_.calls.back().result = failing ? -plan_.error : static_cast<long>(info.exit.rval);
        if (failing) ptrace(PTRACE_POKEUSER, victim_.pid(), offsetof(user_regs_struct, rax), static_cast<long>(-plan_.error));
    }

    Operation& operation_;
    const Plan& plan_;
    Course& course_;
    Child victim_;
    Shared<int> errno_after_;
    long failing_number_ = -1;
};

inline Course starve(Operation& operation, const Plan& plan) {
    Course course;
    Follower(operation, plan, course).follow();
    return course;
}

// The operation's end. A segment that its users died with goes by gc: the next operation is not to find it.
inline void finish(std::unique_ptr<Operation> operation) {
    if (operation == nullptr || operation->stuck()) return;
    operation->finish();
    operation.reset();
    auto domain = Domain::open(domain_path());
    EXPECT_TRUE(domain && domain->gc(true));
}

// What one has more than before.
inline std::map<std::string, long> growth(const std::map<std::string, long>& before, const std::map<std::string, long>& after) {
    std::map<std::string, long> more;
    for (const auto& [of, amount] : after) {
        const auto was = before.find(of);
        const long grown = amount - (was == before.end() ? 0 : was->second);
        if (grown > 0) more[of] = grown;
    }
    return more;
}

}  // namespace muster::test
