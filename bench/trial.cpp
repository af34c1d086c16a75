#include "trial.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cases.hpp"
#include "clock.hpp"

namespace muster::bench {
namespace {

constexpr std::uint64_t kTrialDeadline_ns = 10'000'000'000;
constexpr std::uint64_t kSilence_ns = 2'000'000'000;

void report(SharedState& shared, std::uint32_t outcome, const char* why) {
    std::uint32_t none = 0;
    if (!shared.outcome.compare_exchange_strong(none, outcome)) return;  // the first reason is the one that counts
    std::strncpy(shared.why, why, sizeof shared.why - 1);
}

// Runs `body` and tells the outcome; the exit status of the process.
int guarded(SharedState& shared, const std::function<void()>& body) {
    try {
        body();
        return 0;
    } catch (const Refused& e) {
        report(shared, 2, e.what());
    } catch (const std::exception& e) {
        report(shared, 3, e.what());
    }
    return 1;
}

// True when the process has ended within the time; sleeps meanwhile.
bool ends_within(int pidfd, pid_t pid, int ms) {
    if (pidfd >= 0) {
        pollfd p{pidfd, POLLIN, 0};
        return poll(&p, 1, ms) == 1;
    }
    siginfo_t info{};
    for (int waited = 0; waited < ms; waited += 5) {
        info.si_pid = 0;
        if (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid) return true;
        sleep_us(5000);
    }
    return false;
}

// Why the trial was given up; empty if it ended by itself.
std::string watch(SharedState& shared, pid_t pid) {
    const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    const std::uint64_t start = now_ns();
    std::uint64_t beat = 0, beat_since = start;
    std::string why;
    while (!ends_within(pidfd, pid, 250)) {
        const std::uint64_t now = now_ns(), current = shared.heartbeat.load();
        if (current != beat) beat = current, beat_since = now;
        if (beat != 0 && now - beat_since > kSilence_ns)
            why = "hangs after kill " + std::to_string(beat);
        else if (now - start > kTrialDeadline_ns)
            why = "hangs";
        else if (shared.outcome.load() == 3)
            why = shared.why;  // a helper failed; the rest may wait for it for ever
        if (!why.empty()) break;
    }
    if (pidfd >= 0) close(pidfd);
    return why;
}

}  // namespace

Shape Trial::shape(int number) const {
    return {name + "-" + std::to_string(number), what.kind, what.depth, what.message_bytes};
}

void Trial::figure(const char* key, double value) {
    if (shared.figures_count == SharedState::kFigures) throw Failure("too many figures");
    SharedState::Figure& f = shared.figures[shared.figures_count++];
    std::strncpy(f.key, key, sizeof f.key - 1);
    f.value = value;
}

TrialOutcome run_trial(Backend& backend, const Case& what, const Budget& budget) {
    static unsigned serial = 0;
    void* memory = mmap(nullptr, sizeof(SharedState), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) return {TrialOutcome::Kind::failed, "no memory", {}};
    SharedState& shared = *new (memory) SharedState;
    Trial trial{backend, what, budget, shared, "muster-bench-" + std::to_string(getpid()) + "-" + std::to_string(serial++)};

    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
        const int status = guarded(shared, [&] { what.run(trial); });
        if (status == 0) report(shared, 1, "");
        _exit(status);
    }
    TrialOutcome outcome;
    outcome.why = pid < 0 ? "cannot fork" : watch(shared, pid);
    if (pid > 0) {
        kill(-pid, SIGKILL);
        int status = 0;
        waitpid(pid, &status, 0);
        if (outcome.why.empty() && shared.outcome.load() == 0)
            outcome.why = WIFSIGNALED(status) ? std::string("died of ") + strsignal(WTERMSIG(status)) : "ended without a result";
    }
    for (int i = 0; i < 2; ++i) backend.unlink(trial.shape(i));
    if (outcome.why.empty()) {
        const std::uint32_t told = shared.outcome.load();
        outcome.kind = told == 1   ? TrialOutcome::Kind::measured
                       : told == 2 ? TrialOutcome::Kind::refused
                                   : TrialOutcome::Kind::failed;
        outcome.why = shared.why;
        for (std::uint32_t i = 0; i < shared.figures_count; ++i)
            outcome.figures.emplace_back(shared.figures[i].key, shared.figures[i].value);
    }
    munmap(memory, sizeof(SharedState));
    return outcome;
}

Helper::Helper(SharedState& shared, const std::function<void()>& body) : shared_(shared), pid_(-1) {
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ < 0) throw Failure("cannot fork");
    if (pid_ == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
        _exit(guarded(shared, body));
    }
}

Helper::~Helper() {
    if (pid_ <= 0) return;
    kill_now();
    reap(true);
}

void Helper::kill_now() {
    kill(pid_, SIGKILL);
}

bool Helper::reap(bool wait) {
    if (waitpid(pid_, nullptr, wait ? 0 : WNOHANG) != pid_) return false;
    pid_ = -1;
    return true;
}

void Helper::join() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    if (status != 0) throw Failure(shared_.why[0] != 0 ? shared_.why : "a helper process died");
}

void await(const std::atomic<std::uint32_t>& word, std::uint32_t value, const char* for_what) {
    for (int i = 0; word.load() < value; ++i) {
        if (i == 50'000) throw Failure(std::string("waited in vain for ") + for_what);
        sleep_us(100);
    }
}

OpenedQueue create_touched(Trial& trial, int number) {
    const Shape shape = trial.shape(number);
    Message message(shape.message_bytes);
    const std::uint64_t start = now_ns();
    OpenedQueue result;
    trial.backend.create(shape);  // the creator's descriptor is closed at once
    result.queue = trial.backend.open(shape);
    double checking_ns = 0;
    for (std::size_t i = 0; i < shape.depth; ++i) {
        const std::uint64_t before = now_ns();
        message.fill_all({static_cast<std::uint32_t>(i), 0, 0});
        checking_ns += static_cast<double>(now_ns() - before);
        if (const int error = result.queue->try_send(message.data(), message.size_bytes(), 0); error != 0)
            throw Failure(std::string("filling: ") + std::strerror(error));
    }
    if (result.queue->try_send(message.data(), message.size_bytes(), 0) != EAGAIN) throw Failure("takes more than its depth");
    for (std::size_t i = 0; i < shape.depth; ++i) {
        unsigned priority = 0;
        const long got = result.queue->try_receive(message.data(), message.size_bytes(), &priority);
        if (got < 0) throw Failure(std::string("draining: ") + std::strerror(static_cast<int>(-got)));
        const std::uint64_t before = now_ns();
        if (message.check_all(static_cast<std::size_t>(got)).sequence != i) throw Failure("a queue is out of order");
        checking_ns += static_cast<double>(now_ns() - before);
    }
    result.start_up_us = (static_cast<double>(now_ns() - start) - checking_ns) / 1000;
    return result;
}

double quantile(std::vector<double> values, double q) {
    if (values.empty()) return std::nan("");
    const double position = q * static_cast<double>(values.size() - 1);
    const auto lower = static_cast<std::size_t>(position);
    std::sort(values.begin(), values.end());
    const double upper = values[std::min(lower + 1, values.size() - 1)];
    return values[lower] + (position - static_cast<double>(lower)) * (upper - values[lower]);
}

double median(std::vector<double> values) {
    return quantile(std::move(values), 0.5);
}

}  // namespace muster::bench
