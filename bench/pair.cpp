// Workloads of two and more processes: W2 (ping-pong), W3 and W8 (streams).
#include <fstream>
#include <memory>
#include <string>

#include "cases.hpp"
#include "clock.hpp"
#include "machine.hpp"

namespace muster::bench {
namespace {

// The letter in /proc/<pid>/stat: S is asleep.
char process_state(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    std::getline(file, text);
    const std::size_t end = text.rfind(')');
    return end == std::string::npos || end + 2 >= text.size() ? '?' : text[end + 2];
}

void send_stop(Queue& queue, Message& message, std::uint32_t sequence, std::uint16_t writer) {
    message.stamp({sequence, writer, kStopKind});
    if (const int error = queue.send(message.data(), message.size_bytes(), 0); error != 0)
        throw Failure(std::string("send: ") + std::strerror(error));
}

int cpu_of(const Trial& trial, bool other) {
    const auto& cpus = allowed_cpus();
    return other && !trial.what.same_cpu ? cpus.at(1) : cpus.at(0);
}

}  // namespace

// Polling is not winning: what a receiver costs that has had nothing to do for a while.
void measure_idle(Trial& trial, pid_t waiting) {
    sleep_us(20'000);
    const char state = process_state(waiting);
    const std::uint64_t cpu = cpu_ns(waiting), start = now_ns();
    sleep_us(100'000);
    const double share = static_cast<double>(cpu_ns(waiting) - cpu) / static_cast<double>(now_ns() - start);
    trial.figure("idle_cpu_permille", share * 1000);
    trial.figure("idle_sleeping", state == 'S' ? 1 : 0);
}

void run_ping_pong(Trial& trial) {
    OpenedQueue there = create_touched(trial, 0), back = create_touched(trial, 1);
    Helper pong(trial.shared, [&] {
        pin_to(cpu_of(trial, true));
        const auto in = trial.backend.open(trial.shape(0)), out = trial.backend.open(trial.shape(1));
        Buffers buffers(trial.what.message_bytes);
        trial.shared.ready.fetch_add(1);
        in->echo(*out, buffers);
    });
    pin_to(cpu_of(trial, false));
    await(trial.shared.ready, 1, "the peer");
    Buffers buffers(trial.what.message_bytes);
    PingSamples warm_up{std::vector<std::uint32_t>(500), 0};
    there.queue->ping(*back.queue, buffers, warm_up, ticks_of_ns(5e7));

    PingSamples samples{std::vector<std::uint32_t>(500'000, 1), 0};
    const std::uint64_t cpu_here = cpu_ns(0), cpu_there = cpu_ns(pong.pid()), start = now_ns();
    there.queue->ping(*back.queue, buffers, samples, ticks_of_ns(trial.budget.seconds * 1e9));
    const double elapsed_ns = static_cast<double>(now_ns() - start);
    const double cpu_all = static_cast<double>(cpu_ns(0) - cpu_here + cpu_ns(pong.pid()) - cpu_there);
    const double messages = 2.0 * static_cast<double>(samples.used);

    std::vector<double> one_way_us;
    for (std::size_t i = 0; i < samples.used; ++i) one_way_us.push_back(ns_of_ticks(samples.round_trip_ticks[i]) / 2000);
    trial.figure("p50_us", median(one_way_us));
    trial.figure("mean_us", elapsed_ns / messages / 1000);
    trial.figure("p99_us", quantile(std::move(one_way_us), 0.99));
    trial.figure("cpu_ns", cpu_all / messages);
    trial.figure("start_up_us", there.start_up_us);
    measure_idle(trial, pong.pid());
    send_stop(*there.queue, buffers.in, 0, 0);
    pong.join();
}

void run_stream(Trial& trial) {
    OpenedQueue q = create_touched(trial, 0);
    std::vector<std::unique_ptr<Helper>> writers;
    for (unsigned w = 0; w < trial.what.writers; ++w) {
        writers.push_back(std::make_unique<Helper>(trial.shared, [&trial, writer = static_cast<std::uint16_t>(w)] {
            pin_to(cpu_of(trial, false));
            const auto out = trial.backend.open(trial.shape(0));
            Buffers buffers(trial.what.message_bytes);
            trial.shared.ready.fetch_add(1);
            await(trial.shared.go, 1, "the start");
            const std::uint32_t sent = out->send_until(buffers, writer, trial.shared.stop);
            send_stop(*out, buffers.in, sent, writer);
        }));
    }
    pin_to(cpu_of(trial, true));
    await(trial.shared.ready, trial.what.writers, "the writers");
    const auto cpu_of_all = [&] {
        std::uint64_t total = cpu_ns(0);
        for (const auto& w : writers) total += cpu_ns(w->pid());
        return total;
    };
    Buffers buffers(trial.what.message_bytes);
    OrderCheck order;
    trial.shared.go.store(1);
    q.queue->receive_many(buffers, order, 2 * trial.what.depth + 256);  // pages of every writer are touched now

    const std::uint64_t budget_ns = static_cast<std::uint64_t>(trial.budget.seconds * 1e9);
    const std::uint64_t cpu = cpu_of_all(), start = now_ns();
    std::uint64_t count = 0, elapsed_ns = 0;
    do {
        q.queue->receive_many(buffers, order, 128);
        count += 128;
        elapsed_ns = now_ns() - start;
    } while (elapsed_ns < budget_ns);
    const double cpu_used = static_cast<double>(cpu_of_all() - cpu);

    // What is still on its way must add up to what each writer says it sent.
    trial.shared.stop.store(1);
    for (unsigned stopped = 0; stopped < trial.what.writers;) {
        unsigned priority = 0;
        const long got = q.queue->receive(buffers.in.data(), buffers.in.size_bytes(), &priority);
        if (got < 0) throw Failure(std::string("receive: ") + std::strerror(static_cast<int>(-got)));
        const Stamp s = buffers.in.check(static_cast<std::size_t>(got));
        if (s.kind != kStopKind)
            order.see(s);
        else if (order.seen(s.writer) != s.sequence)
            throw Failure("messages were lost");
        else
            ++stopped;
    }
    for (auto& w : writers) w->join();

    const double rate = static_cast<double>(count) / static_cast<double>(elapsed_ns) * 1e9;
    trial.figure("rate_M", rate / 1e6);
    trial.figure("rate_GB", rate * static_cast<double>(trial.what.message_bytes) / 1e9);
    trial.figure("cpu_ns", cpu_used / static_cast<double>(count));
    trial.figure("start_up_us", q.start_up_us);
}

}  // namespace muster::bench
