// One queue for everything: clients send jobs of type 1 (urgent) or 2, workers take the lowest type there is, and each answer goes out
// under the number of the client as its type, which that client alone asks for.
//
//   typed_jobs        makes a System V message queue in your domain, uses it, and removes it
#include <muster/typed_queue.hpp>
#include <sys/wait.h>
#include <unistd.h>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <span>

namespace {

constexpr std::int64_t kUrgent = 1, kOrdinary = 2, kFirstClient = 3;
constexpr std::int64_t kClients = 3;
constexpr std::uint64_t kJobs = 100;  // of each client

struct Job {
    std::int64_t client;  // the type of the answer
    std::uint64_t number;
};

muster::Deadline soon() { return muster::Deadline::after(std::chrono::seconds(5)); }
std::span<std::byte> bytes_of(auto& value) { return std::as_writable_bytes(std::span(&value, 1)); }

// Jobs and answers share the queue; up_to(kOrdinary) keeps a worker from taking answers, and gives it the urgent jobs first.
int work(muster::TypedQueue& queue) {
    for (Job job;;) {
        auto got = queue.receive(bytes_of(job), muster::Selector::up_to(kOrdinary), soon());
        if (!got) return got.error() == EIDRM ? 0 : 1;  // the queue's end is the workers' end
        job.number *= job.number;
        if (!queue.send(bytes_of(job), job.client, soon())) return 1;
    }
}

int ask(muster::TypedQueue& queue, std::int64_t client) {
    for (std::uint64_t number = 0; number < kJobs; ++number) {
        Job job{client, number};
        if (!queue.send(bytes_of(job), number % 10 == 9 ? kUrgent : kOrdinary, soon())) return 1;
        if (!queue.receive(bytes_of(job), muster::Selector::type(client), soon())) return 1;
        if (job.client != client || job.number != number * number) return 1;
    }
    return 0;
}

bool ends_well(pid_t child) {
    int status = 0;
    return waitpid(child, &status, 0) == child && status == 0;
}

bool exchange(const muster::Domain& domain) {
    // Without a key: nobody else finds it. muster::Key(0x1234) would make it the queue of msgget(0x1234, …).
    auto queue = muster::TypedQueue::create(domain, muster::Key::none()).value();
    // The oldest of a type, the lowest type, any type but one.
    queue.send("later", kOrdinary, soon()).value();
    queue.send("now", kUrgent, soon()).value();
    bool right = queue.try_receive(muster::Selector::up_to(kOrdinary)).value().text() == "now";
    right = right && queue.try_receive(muster::Selector::except(kUrgent)).value().type == kOrdinary;

    pid_t workers[2], clients[kClients];
    for (pid_t& worker : workers)
        if ((worker = fork()) == 0) _exit(work(queue));
    for (std::int64_t i = 0; i < kClients; ++i)
        if ((clients[i] = fork()) == 0) _exit(ask(queue, kFirstClient + i));
    for (const pid_t client : clients) right = ends_well(client) && right;
    right = queue.status().value().messages == 0 && right;
    queue.remove().value();
    for (const pid_t worker : workers) right = ends_well(worker) && right;
    return right;
}

}  // namespace

int main() {
    bool right = false;
    try {
        right = exchange(muster::Domain::open_default().value());
    } catch (const std::system_error& error) {
        std::fprintf(stderr, "typed_jobs: %s\n", error.what());
    }
    std::puts(right ? "typed_jobs: 300 answers, each at the client who asked" : "typed_jobs: something went wrong");
    return right ? 0 : 1;
}
