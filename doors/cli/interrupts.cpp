#include "interrupts.hpp"
#include <sys/time.h>
#include <unistd.h>
#include <array>
#include <csignal>

namespace muster::cli {
namespace {

volatile std::sig_atomic_t came = 0;
constexpr std::array<int, 3> kSignals{SIGINT, SIGTERM, SIGHUP};
std::array<struct sigaction, kSignals.size()> before;
struct sigaction alarm_before;

void ring(int) {}

void note(int signal) {
    if (came == SIGINT && signal == SIGINT) {
        ::signal(SIGINT, SIG_DFL);
        ::raise(SIGINT);
        return;
    }
    came = signal;
    // The note may come just after it was looked for and just before the wait began, which would
    // then not be interrupted. So keep ringing until somebody looks.
    const itimerval again{{0, 10'000}, {0, 10'000}};
    ::setitimer(ITIMER_REAL, &again, nullptr);
}

}  // namespace

Interrupts::Interrupts() {
    struct sigaction action {};
    action.sa_handler = ring;  // no SA_RESTART: a wait shall end
    ::sigaction(SIGALRM, &action, &alarm_before);
    action.sa_handler = note;
    for (const int signal : kSignals) ::sigaddset(&action.sa_mask, signal);
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
        ::sigaction(kSignals[i], nullptr, &before[i]);
        if (before[i].sa_handler != SIG_IGN) ::sigaction(kSignals[i], &action, nullptr);  // nohup stays nohup
    }
}

Interrupts::~Interrupts() {
    const itimerval never{};
    ::setitimer(ITIMER_REAL, &never, nullptr);
    for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before[i], nullptr);
    ::sigaction(SIGALRM, &alarm_before, nullptr);
}

bool Interrupts::pending() {
    return came != 0;
}

void Interrupts::die() {
    const int signal = came;
    ::signal(signal, SIG_DFL);
    sigset_t only;
    ::sigemptyset(&only);
    ::sigaddset(&only, signal);
    ::sigprocmask(SIG_UNBLOCK, &only, nullptr);
    ::raise(signal);
    ::_exit(128 + signal);
}

}  // namespace muster::cli
