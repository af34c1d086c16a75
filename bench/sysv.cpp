// Workloads that only System V objects have: W5 by type, W6 (semaphores), W7 (lives).
#include "cases.hpp"
#include "clock.hpp"
#include "machine.hpp"

namespace muster::bench {
namespace {

// A figure of one thread: how long one of `pass`'s operations takes, which does `count` of them.
template <class Pass>
void measure(Trial& trial, const char* figure, double seconds, std::uint64_t count, Pass pass) {
    pass();
    const std::uint64_t budget_ns = static_cast<std::uint64_t>(seconds * 1e9);
    const std::uint64_t start = now_ns(), cpu = cpu_ns(0);
    std::uint64_t done = 0, elapsed_ns = 0;
    do {
        pass();
        done += count;
        elapsed_ns = now_ns() - start;
    } while (elapsed_ns < budget_ns);
    trial.figure(figure, static_cast<double>(elapsed_ns) / static_cast<double>(done));
    trial.figure("cpu_ns", static_cast<double>(cpu_ns(0) - cpu) / static_cast<double>(done));
}

void must_be(Semaphores& set, Use use, long value) {
    for (unsigned i = 0; i < Semaphores::kCount; ++i)
        if (set.value(i) != (i == 0 || use == Use::four ? value : 1))
            throw Failure("a semaphore has not the value that it must have");
}

}  // namespace

std::vector<Picking> pickings(const Case& what) {
    // In the midst of the others' types; below all of them, so that a search for the lowest has to look at each.
    const long midst = SysvQueue::kOtherTypes + 1 + (what.distinct ? static_cast<long>(what.others / 2 * 2) : 0), low = 2;
    std::vector<Picking> all = {{"type_ns", midst, {Pick::By::type, midst}}, {"lowest_ns", low, {Pick::By::lowest, 1'000'000}}};
    if (!what.distinct) all.push_back({"except_ns", low, {Pick::By::all_but, SysvQueue::kOtherTypes}});
    return all;
}

void run_types(Trial& trial) {
    pin_to(allowed_cpus().front());
    OpenedQueue q = create_touched(trial, 0);
    SysvQueue& queue = dynamic_cast<SysvQueue&>(*q.queue);
    queue.fill_others(trial.what.others, trial.what.distinct);
    Buffers buffers(trial.what.message_bytes);
    const std::vector<Picking> all = pickings(trial.what);
    for (const Picking& one : all) {
        measure(trial, one.figure, trial.budget.seconds / static_cast<double>(all.size()), 500,
                [&] { queue.picked_pairs(buffers, one.type, one.pick, 500); });
    }
    std::size_t left = 0;
    unsigned priority = 0;
    while (queue.try_receive(buffers.in.data(), buffers.in.size_bytes(), &priority) == 1) ++left;
    if (left != trial.what.others) throw Failure("the others are not all there any more");
    trial.figure("start_up_us", q.start_up_us);
}

void run_semaphores(Trial& trial) {
    pin_to(allowed_cpus().front());
    const Use use = trial.what.use;
    const std::uint64_t start = now_ns();
    const auto set = trial.backend.create_semaphores(trial.shape(0));
    must_be(*set, use, 1);
    if (set->take(use) != 0) throw Failure("cannot take a semaphore that is 1");
    must_be(*set, use, 0);
    if (set->give(use) != 0) throw Failure("cannot give a semaphore back");
    must_be(*set, use, 1);
    trial.figure("start_up_us", static_cast<double>(now_ns() - start) / 1000);
    measure(trial, "pair_ns", trial.budget.seconds, 2000, [&] { set->pairs(use, 2000); });
    must_be(*set, use, 1);
}

void run_semaphore_pong(Trial& trial) {
    const auto& cpus = allowed_cpus();
    const auto set = trial.backend.create_semaphores(trial.shape(0));
    if (set->wait(0) != 0 || set->wait(1) != 0) throw Failure("cannot take a semaphore that is 1");
    Helper pong(trial.shared, [&] {
        pin_to(trial.what.same_cpu ? cpus.at(0) : cpus.at(1));
        const auto mine = trial.backend.open_semaphores(trial.shape(0));
        trial.shared.ready.fetch_add(1);
        mine->echo(trial.shared.stop);
    });
    pin_to(cpus.at(0));
    await(trial.shared.ready, 1, "the peer");
    PingSamples warm_up{std::vector<std::uint32_t>(500), 0};
    set->ping(warm_up, ticks_of_ns(5e7));

    PingSamples samples{std::vector<std::uint32_t>(500'000, 1), 0};
    const std::uint64_t cpu_here = cpu_ns(0), cpu_there = cpu_ns(pong.pid()), start = now_ns();
    set->ping(samples, ticks_of_ns(trial.budget.seconds * 1e9));
    const double elapsed_ns = static_cast<double>(now_ns() - start);
    const double cpu_all = static_cast<double>(cpu_ns(0) - cpu_here + cpu_ns(pong.pid()) - cpu_there);
    const double ways = 2.0 * static_cast<double>(samples.used);
    std::vector<double> one_way_us;
    for (std::size_t i = 0; i < samples.used; ++i) one_way_us.push_back(ns_of_ticks(samples.round_trip_ticks[i]) / 2000);
    trial.figure("p50_us", median(one_way_us));
    trial.figure("mean_us", elapsed_ns / ways / 1000);
    trial.figure("p99_us", quantile(std::move(one_way_us), 0.99));
    trial.figure("cpu_ns", cpu_all / ways);
    measure_idle(trial, pong.pid());
    trial.shared.stop.store(1);
    if (set->post(0) != 0) throw Failure("cannot end the peer");
    pong.join();
    if (set->value(0) != 0 || set->value(1) != 0) throw Failure("posts were lost, or came twice");
}

void run_sysv_life(Trial& trial) {
    pin_to(allowed_cpus().front());
    const Shape shape = trial.shape(0);
    trial.backend.live_and_die(shape);
    std::vector<double> lives;
    for (std::uint64_t start = now_ns(), now = start; static_cast<double>(now - start) < trial.budget.seconds * 1e9;) {
        trial.backend.live_and_die(shape);
        const std::uint64_t then = now_ns();
        lives.push_back(static_cast<double>(then - now));
        now = then;
    }
    trial.figure("life_us", median(std::move(lives)) / 1000);
}

}  // namespace muster::bench
