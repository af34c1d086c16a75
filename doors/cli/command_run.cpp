// muster run: an unmodified program on Muster.
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include "command.hpp"
#include "ephemeral.hpp"
#include "output.hpp"
#include "program.hpp"

namespace muster::cli {
namespace {

struct Prepared {
    std::string path;
    std::vector<std::string> arguments;  // with the program's name as it was typed
    std::string library;
};

// Only returns if the program could not be started.
Failure execute(const Prepared& program) {
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

void set_environment(const Prepared& program, const Domain& domain, const std::string& link_directory) {
    const std::string library = preloadable(program.library, link_directory);
    std::string preload = library;
    if (const char* before = std::getenv("LD_PRELOAD"); before != nullptr && *before != '\0')
        preload += std::string(":") + before;
    if (::setenv("LD_PRELOAD", preload.c_str(), 1) != 0 || ::setenv("MUSTER_DOMAIN", domain.path().c_str(), 1) != 0)
        fail(kError, fmt::format("environment: {}", std::strerror(errno)));
}

constexpr std::array<int, 4> kHandedOn{SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
volatile std::sig_atomic_t child_pid = 0;

void forward(int signal) {
    if (child_pid > 0) ::kill(static_cast<pid_t>(child_pid), signal);
}

// Waits for the program while the terminal's own signals go to it alone (it is in our process group) and those that were
// meant for us are handed on.
class Attendant {
public:
    Attendant() {
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

    void start_waiting(pid_t child) {
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

    int wait_for(pid_t child) {
        siginfo_t info{};
        while (::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
        }
        ::sigprocmask(SIG_BLOCK, &handed_on_, nullptr);
        int status = 0;
        while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }

    void child_side() const { ::sigprocmask(SIG_SETMASK, &mask_before_, nullptr); }

private:
    sigset_t handed_on_, mask_before_;
};

// Removes the domain also when what comes between fails.
class Removal {
public:
    explicit Removal(const Domain& domain) : domain_(domain) {}
    ~Removal() {
        if (const auto removed = remove_ephemeral(domain_); !removed) complain(removed.error().message());
    }

private:
    const Domain& domain_;
};

int run_ephemeral(const Prepared& program, const Global& global) {
    Attendant attendant;  // before the domain exists: a SIGTERM in between must not leave it behind
    const Domain domain = require(Domain::create_ephemeral(), Doing::opening_domain, global);
    const Removal removal(domain);
    record_owner(domain);
    set_environment(program, domain, domain.path());
    const pid_t child = ::fork();
    if (child < 0) fail(kError, fmt::format("fork: {}", std::strerror(errno)));
    if (child == 0) {
        attendant.child_side();
        const Failure failure = execute(program);
        complain(failure.text);
        ::_exit(failure.exit_code);
    }
    attendant.start_waiting(child);
    return attendant.wait_for(child);
}

int run(const std::vector<std::string>& command, bool ephemeral, const Global& global) {
    if (command.empty()) fail(kUsage, "run: which program? `muster run --help` explains");
    if (ephemeral && !global.domain.empty()) fail(kUsage, "run: --ephemeral makes a domain of its own; leave --domain away");
    const Prepared program{find_program(command[0]), command, find_library()};
    if (const auto reason = examine_program(program.path)) throw *reason;
    if (ephemeral) return run_ephemeral(program, global);
    const Domain domain = open_domain(global);
    set_environment(program, domain, "");
    throw execute(program);
}

}  // namespace

void add_run(Registry& registry, const std::vector<std::string>& program) {
    struct Options {
        bool ephemeral = false;
        std::vector<std::string> program;  // for the help text; main() has cut the real one off
    };
    auto options = std::make_shared<Options>();
    CLI::App* command = registry.add(
        "run", "Run an unmodified program on Muster's objects",
        "  muster run stress-ng --mq 2 --timeout 5\n"
        "  muster --domain test run ./server --port 80\n"
        "  muster run --ephemeral -- make check     (a domain of its own, removed at the end)\n"
        "Ends with the program's exit code; 127: no such program, 126: it cannot be run, 128+N: killed by signal N.");
    command->add_option("program", options->program, "What to run; all behind it is the program's, not muster's")
        ->type_name("PROGRAM [ARGUMENT...]");
    command->add_flag("--ephemeral", options->ephemeral, "Make a fresh domain, and remove it when the program ends");
    registry.actions.emplace_back(command,
                                  [options, &registry, program] { return run(program, options->ephemeral, registry.global); });
}

}  // namespace muster::cli
