// Workloads of one process: W1, W5, W7.
#include <random>

#include "cases.hpp"
#include "clock.hpp"
#include "machine.hpp"

namespace muster::bench {

void run_pairs(Trial& trial) {
    pin_to(allowed_cpus().front());
    OpenedQueue q = create_touched(trial, 0);
    Buffers buffers(trial.what.message_bytes);
    q.queue->pairs(buffers, 2000);
    const std::uint64_t budget_ns = static_cast<std::uint64_t>(trial.budget.seconds * 1e9);
    const std::uint64_t start = now_ns(), cpu = cpu_ns(0);
    std::uint64_t count = 0, elapsed_ns = 0;
    do {
        q.queue->pairs(buffers, 2000);
        count += 2000;
        elapsed_ns = now_ns() - start;
    } while (elapsed_ns < budget_ns);
    trial.figure("pair_ns", static_cast<double>(elapsed_ns) / static_cast<double>(count));
    trial.figure("cpu_ns", static_cast<double>(cpu_ns(0) - cpu) / static_cast<double>(count));
    trial.figure("start_up_us", q.start_up_us);
}

void run_priorities(Trial& trial) {
    pin_to(allowed_cpus().front());
    OpenedQueue q = create_touched(trial, 0);
    Buffers buffers(trial.what.message_bytes);
    std::vector<std::uint16_t> priorities(65'521);  // a prime: passes of any depth see ever new stretches
    std::mt19937 random(20'240'501);
    for (std::uint16_t& p : priorities) p = static_cast<std::uint16_t>(random() % 32'768);
    q.queue->fill_and_drain(buffers, priorities, trial.what.depth);

    const std::uint64_t budget_ns = static_cast<std::uint64_t>(trial.budget.seconds * 1e9);
    const std::size_t passes = 1 + 1000 / trial.what.depth;
    const std::uint64_t start = now_ns(), cpu = cpu_ns(0);
    std::uint64_t count = 0, elapsed_ns = 0;
    do {
        for (std::size_t i = 0; i < passes; ++i) q.queue->fill_and_drain(buffers, priorities, trial.what.depth);
        count += passes * trial.what.depth;
        elapsed_ns = now_ns() - start;
    } while (elapsed_ns < budget_ns);
    trial.figure("message_ns", static_cast<double>(elapsed_ns) / static_cast<double>(count));
    trial.figure("cpu_ns", static_cast<double>(cpu_ns(0) - cpu) / static_cast<double>(count));
    trial.figure("start_up_us", q.start_up_us);
}

namespace {

void life(Backend& backend, const Shape& shape) {
    const auto made = backend.create(shape);
    const auto opened = backend.open(shape);
    backend.unlink(shape);
}

}  // namespace

void run_life(Trial& trial) {
    pin_to(allowed_cpus().front());
    const Shape shape = trial.shape(0);
    const double budget_ns = trial.budget.seconds * 1e9 / 2;
    std::vector<double> whole, again;
    life(trial.backend, shape);
    for (std::uint64_t start = now_ns(), now = start; static_cast<double>(now - start) < budget_ns;) {
        life(trial.backend, shape);
        const std::uint64_t then = now_ns();
        whole.push_back(static_cast<double>(then - now));
        now = then;
    }
    const auto made = trial.backend.create(shape);
    trial.backend.open(shape);
    for (std::uint64_t start = now_ns(), now = start; static_cast<double>(now - start) < budget_ns;) {
        trial.backend.open(shape);
        const std::uint64_t then = now_ns();
        again.push_back(static_cast<double>(then - now));
        now = then;
    }
    trial.figure("life_us", median(std::move(whole)) / 1000);
    trial.figure("open_close_us", median(std::move(again)) / 1000);
}

}  // namespace muster::bench
