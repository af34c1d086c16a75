// W9: a peer is killed at a random instant of its work; how soon does the survivor go on?
//
// Victim and survivor, each on its CPU, send one message and receive one, again and
// again, on one queue; neither ever waits for the other, since each takes no more than
// it put in. The survivor kills the victim, goes on at once, and times every
// operation until the victim is gone. Only deaths inside an operation count. Then the
// queue is drained and must hold what both of them left, give or take the one message that
// the victim was sending or taking.
#include <random>

#include "cases.hpp"
#include "clock.hpp"
#include "machine.hpp"

namespace muster::bench {
namespace {

constexpr double kStalled_us = 20;  // longer than any operation takes that waits for nobody

using Counter = std::atomic<std::uint32_t>;

// A step of the victim, announced before and after: relaxed stores, a killed process leaves them in program order.
void step(Counter& counter, std::uint32_t value) {
    counter.store(value, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

// Per writer the sequence rises: nothing doubled or overtaken. Gaps are what the other one took.
struct Rising {
    std::int64_t last[2] = {-1, -1};
    bool accept(Stamp s) {
        if (s.writer > 1 || s.sequence <= last[s.writer]) return false;
        last[s.writer] = s.sequence;
        return true;
    }
};

void put(Queue& queue, Message& message, std::uint32_t sequence, std::uint16_t writer) {
    message.stamp({sequence, writer, 0});
    if (const int error = queue.send(message.data(), message.size_bytes(), 0); error != 0)
        throw Failure(std::string("send: ") + std::strerror(error));
}

void take(Queue& queue, Message& message, Rising& order) {
    unsigned priority = 0;
    const long got = queue.receive(message.data(), message.size_bytes(), &priority);
    if (got < 0) throw Failure(std::string("receive: ") + std::strerror(static_cast<int>(-got)));
    if (!order.accept(message.check(static_cast<std::size_t>(got)))) throw Failure("a message came twice or too late");
}

[[noreturn]] void be_victim(Trial& trial) {
    pin_to(allowed_cpus().at(1));
    const auto queue = trial.backend.open(trial.shape(0));
    Message message(trial.what.message_bytes);
    Rising order;
    auto& v = trial.shared.victim;
    for (std::uint32_t i = 1;; ++i) {
        step(v.inside, 1);
        step(v.send_begun, i);
        put(*queue, message, i, 1);
        step(v.send_done, i);
        step(v.inside, 0);
        step(v.inside, 1);
        step(v.receive_begun, i);
        take(*queue, message, order);
        step(v.receive_done, i);
        step(v.inside, 0);
        if (i == 20) trial.shared.ready.store(1);
    }
}

struct Samples {
    std::vector<double> next_us, stall_us;
    unsigned outside = 0;
};

void reset(SharedState& shared) {
    auto& v = shared.victim;
    for (Counter* c : {&v.inside, &v.send_begun, &v.send_done, &v.receive_begun, &v.receive_done, &shared.ready}) c->store(0);
}

// What is left in the queue against what must be.
void drain(Queue& queue, Message& message, Rising& order, const SharedState::Victim& v) {
    std::uint32_t left = 0;
    for (;; ++left) {
        unsigned priority = 0;
        const long got = queue.try_receive(message.data(), message.size_bytes(), &priority);
        if (got == -EAGAIN) break;
        if (got < 0) throw Failure(std::string("after a death: ") + std::strerror(static_cast<int>(-got)));
        if (!order.accept(message.check(static_cast<std::size_t>(got)))) throw Failure("a message came twice after a death");
    }
    // The survivor received as many as it sent.
    if (left + v.receive_begun < v.send_done) throw Failure("a message was lost with its sender or receiver alive");
    if (left + v.receive_done > v.send_begun) throw Failure("more messages than were sent");
}

void one_kill(Trial& trial, Queue& queue, Message& message, std::uint64_t hammer_ns, Samples& samples) {
    reset(trial.shared);
    Helper victim(trial.shared, [&] { be_victim(trial); });
    await(trial.shared.ready, 1, "the victim");
    Rising order;
    std::uint32_t sequence = 0;
    const auto pair = [&](std::uint64_t start) {
        put(queue, message, ++sequence, 0);
        const std::uint64_t sent = ticks();
        take(queue, message, order);
        return std::max(sent - start, ticks() - sent);
    };
    for (const std::uint64_t until = now_ns() + hammer_ns; now_ns() < until;) pair(ticks());

    const std::uint64_t killed = ticks();
    victim.kill_now();
    put(queue, message, ++sequence, 0);
    const std::uint64_t next = ticks() - killed;
    std::uint64_t longest = next;
    take(queue, message, order);
    longest = std::max(longest, ticks() - killed - next);
    while (!victim.reap(false)) longest = std::max(longest, pair(ticks()));
    longest = std::max(longest, pair(ticks()));  // the first one that finds it dead for certain

    if (trial.shared.victim.inside == 0) {
        ++samples.outside;
    } else {
        samples.next_us.push_back(ns_of_ticks(next) / 1000);
        if (ns_of_ticks(longest) / 1000 > kStalled_us) samples.stall_us.push_back(ns_of_ticks(longest) / 1000);
    }
    drain(queue, message, order, trial.shared.victim);
}

}  // namespace

void run_death(Trial& trial) {
    OpenedQueue q = create_touched(trial, 0);
    pin_to(allowed_cpus().at(0));
    Message message(trial.what.message_bytes);
    std::mt19937 random(static_cast<std::uint32_t>(now_ns()));
    Samples samples;
    for (unsigned i = 0; i < trial.budget.kills; ++i) {
        trial.shared.heartbeat.store(i + 1);
        one_kill(trial, *q.queue, message, 10'000 + random() % 300'000, samples);
    }
    trial.figure("next_p50_us", median(samples.next_us));
    trial.figure("next_p99_us", quantile(samples.next_us, 0.99));
    if (!samples.stall_us.empty()) {
        trial.figure("stall_p50_us", median(samples.stall_us));
        trial.figure("stall_p99_us", quantile(samples.stall_us, 0.99));
    }
    trial.figure("stalled", static_cast<double>(samples.stall_us.size()));
    trial.figure("kills_inside", static_cast<double>(samples.next_us.size()));
    trial.figure("kills", trial.budget.kills);
}

}  // namespace muster::bench
