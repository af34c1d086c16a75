#include "attendant.hpp"
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <cstring>
#include "output.hpp"
#include "program.hpp"

namespace muster::cli {

Failure execute(const Program& program) {
    std::vector<char*> argv;
    for (const std::string& argument : program.arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    restore_sigpipe();
    ::execv(program.path.c_str(), argv.data());
    int error = errno;
    if (error == ENOEXEC && is_plain_script(program.path)) {
        std::string shell = "sh", path = program.path;
        argv[0] = shell.data();
        argv.insert(argv.begin() + 1, path.data());
        ::execv("/bin/sh", argv.data());
        error = errno;
    }
    return {error == ENOENT ? kNoProgram : kCannotRun, fmt::format("{}: {}", program.path, std::strerror(error))};
}

namespace {

constexpr std::array<int, 4> kHandedOn{SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
volatile std::sig_atomic_t child_pid = 0;

void forward(int signal) {
    if (child_pid > 0) ::kill(static_cast<pid_t>(child_pid), signal);
}

}  // namespace

Attendant::Attendant() {
    ::sigemptyset(&handed_on_);
    for (const int signal : kHandedOn) ::sigaddset(&handed_on_, signal);
    sigset_t all = handed_on_;
    ::sigaddset(&all, SIGINT);
    ::sigaddset(&all, SIGQUIT);
    // Blocked until the child's number is known, and again before it is reaped and the number free for others.
    ::sigprocmask(SIG_BLOCK, &all, &mask_before_);
    // A program that ignores its children makes ours ignore it as well, and then there is no status to wait for.
    ::signal(SIGCHLD, SIG_DFL);
}

void Attendant::start_waiting(pid_t child) {
    child_pid = child;
    sigset_t early;
    ::sigpending(&early);
    for (const int signal : {SIGINT, SIGQUIT}) {
        if (::sigismember(&early, signal) == 1) ::kill(child, signal);  // typed before there was a child to get it
        ::signal(signal, SIG_IGN);
    }
    struct sigaction action {};
    action.sa_handler = forward;
    action.sa_flags = SA_RESTART;
    for (const int signal : kHandedOn) {
        struct sigaction before {};
        ::sigaction(signal, nullptr, &before);
        if (before.sa_handler != SIG_IGN) ::sigaction(signal, &action, nullptr);
    }
    ::sigprocmask(SIG_SETMASK, &mask_before_, nullptr);
}

int Attendant::wait_for(pid_t child) {
    siginfo_t info{};
    while (::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
    }
    ::sigprocmask(SIG_BLOCK, &handed_on_, nullptr);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int Attendant::run(const Program& program, bool die_with_us) {
    const pid_t parent = ::getpid();
    const pid_t child = ::fork();
    if (child < 0) fail(kError, fmt::format("fork: {}", std::strerror(errno)));
    if (child == 0) {
        ::sigprocmask(SIG_SETMASK, &mask_before_, nullptr);
        if (die_with_us && (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent)) ::_exit(kError);
        const Failure failure = execute(program);
        complain(failure.text);
        ::_exit(failure.exit_code);
    }
    start_waiting(child);
    return wait_for(child);
}

}  // namespace muster::cli
