// A lock among processes that a crash cannot leave locked: four processes raise a number in shared memory, one of them is killed
// while it holds the lock, and the others go on.
//
//   process_lock      makes a segment and a semaphore set in your domain, uses them, and removes them
#include <muster/segment.hpp>
#include <muster/semaphore_set.hpp>
#include <sys/wait.h>
#include <unistd.h>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>

namespace {

constexpr int kWorkers = 3;
constexpr std::uint64_t kTurns = 1000;

muster::Deadline soon() { return muster::Deadline::after(std::chrono::seconds(5)); }

// Raises the number, one process at a time. The Hold gives the lock back at the end of each turn, however it ends.
int work(muster::SemaphoreSet& lock, std::uint64_t& number) {
    for (std::uint64_t turn = 0; turn < kTurns; ++turn) {
        auto hold = lock.hold(0, 1, soon());
        if (!hold) return 1;
        number = number + 1;
    }
    return 0;
}

bool exchange(const muster::Domain& domain) {
    // The value 1 means "free"; nobody ever sees the set without it.
    auto lock = muster::SemaphoreSet::create(domain, muster::Key::none(), {1}).value();
    auto segment = muster::Segment::create(domain, muster::Key::none(), sizeof(std::uint64_t)).value();
    auto memory = segment.attach().value();
    std::uint64_t& number = *memory.at<std::uint64_t>();

    const pid_t doomed = fork();
    if (doomed == 0) {
        auto hold = lock.hold(0, 1, soon());
        raise(SIGKILL);
    }
    pid_t workers[kWorkers];
    for (pid_t& worker : workers)
        if ((worker = fork()) == 0) _exit(work(lock, number));

    bool right = true;
    int status = 0;
    for (const pid_t worker : workers) right = waitpid(worker, &status, 0) == worker && status == 0 && right;
    waitpid(doomed, &status, 0);
    right = right && number == kWorkers * kTurns && lock.value().value() == 1 && segment.status().value().attachments == 1;
    segment.remove().value();  // goes when `memory` does
    lock.remove().value();
    return right;
}

}  // namespace

int main() {
    bool right = false;
    try {
        right = exchange(muster::Domain::open_default().value());
    } catch (const std::system_error& error) {
        std::fprintf(stderr, "process_lock: %s\n", error.what());
    }
    std::puts(right ? "process_lock: 3000 turns, though one process was killed with the lock" : "process_lock: something went wrong");
    return right ? 0 : 1;
}
