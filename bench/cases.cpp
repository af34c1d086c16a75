#include "cases.hpp"

#include <fmt/format.h>

namespace muster::bench {
namespace {

Case stream(std::size_t depth, std::size_t message_bytes, std::vector<FigureSpec> figures) {
    const std::string size =
        message_bytes < 1024 ? fmt::format("{} B", message_bytes) : fmt::format("{} KiB", message_bytes / 1024);
    Case c;
    c.id = fmt::format("W3-{}-{}", message_bytes, depth);
    c.workload = "W3";
    c.title = fmt::format("stream {} one way, depth {}", size, depth);
    c.conditions = "one sender and one receiver, each on its CPU, blocking calls";
    c.depth = depth;
    c.message_bytes = message_bytes;
    c.cpus_needed = 2;
    c.figures = std::move(figures);
    c.run = run_stream;
    return c;
}

Case ping_pong(bool same_cpu, std::vector<FigureSpec> figures) {
    Case c;
    c.id = same_cpu ? "W2-same" : "W2-across";
    c.workload = "W2";
    c.title = same_cpu ? "ping-pong 64 B on one core, one way" : "ping-pong 64 B across cores, one way";
    c.conditions = "two queues of depth 10, blocking calls, pinned";
    c.same_cpu = same_cpu;
    c.cpus_needed = same_cpu ? 1 : 2;
    c.figures = std::move(figures);
    c.run = run_ping_pong;
    return c;
}

Case priorities(std::size_t depth, double goal_ns) {
    Case c;
    c.id = fmt::format("W5-{}", depth);
    c.workload = "W5";
    c.title = fmt::format("fill and drain {} messages, 32 768 priorities", depth);
    c.conditions = "16 B, one thread, a send and a receive together";
    c.depth = depth;
    c.message_bytes = 16;
    c.figures = {{"message_ns", "", "ns", Better::lower, goal_ns}};
    c.run = run_priorities;
    return c;
}

Case many_writers(std::size_t depth) {
    Case c = stream(depth, 64, {{"rate_M", "", "M/s", Better::higher, 6}});
    c.id = fmt::format("W8-{}", depth);
    c.workload = "W8";
    c.title = fmt::format("four writers to one reader 64 B, depth {}", depth);
    c.conditions = "the writers on one CPU, the reader on another, blocking calls";
    c.writers = 4;
    return c;
}

}  // namespace

std::vector<Case> all_cases() {
    std::vector<Case> cases;
    Case pairs;
    pairs.id = pairs.workload = "W1";
    pairs.title = "send+receive 64 B, one thread, uncontended";
    pairs.conditions = "depth 10";
    pairs.figures = {{"pair_ns", "", "ns", Better::lower, 40, 0.085}};
    pairs.run = run_pairs;
    cases.push_back(pairs);

    cases.push_back(
        ping_pong(false, {{"p50_us", "p50", "µs", Better::lower, 0.40}, {"mean_us", "mean", "µs", Better::lower, 1.0}}));
    cases.push_back(ping_pong(true, {{"p50_us", "p50", "µs", Better::lower, 1.3}, {"mean_us", "mean", "µs", Better::lower, 0}}));

    for (const std::size_t depth : {10, 256, 1024})
        cases.push_back(stream(depth, 64, {{"rate_M", "", "M/s", Better::higher, 8}}));
    cases.push_back(stream(128, 4096, {{"rate_M", "", "M/s", Better::higher, 2.5}}));
    cases.push_back(stream(10, 65536, {{"rate_GB", "", "GB/s", Better::higher, 17}}));

    cases.push_back(priorities(10, 60));
    cases.push_back(priorities(7'000, 120));
    cases.push_back(priorities(10'000, 130));

    Case life;
    life.id = life.workload = "W7";
    life.title = "a queue's life";
    life.conditions = "depth 10, 64 B, nothing sent";
    life.figures = {{"life_us", "create+open+close+remove", "µs", Better::lower, 24},
                    {"open_close_us", "open+close", "µs", Better::lower, 5}};
    life.run = run_life;
    cases.push_back(life);

    cases.push_back(many_writers(10));
    cases.push_back(many_writers(256));

    Case death;
    death.id = death.workload = "W9";
    death.title = "a peer killed inside an operation";
    death.conditions = "64 B, depth 64, killed at random instants of a send+receive loop; stalled: an operation took over 20 µs";
    death.depth = 64;
    death.cpus_needed = 2;
    death.rounds_max = 3;
    death.figures = {{"next_p50_us", "until the survivor's next operation is done, p50", "µs", Better::lower, 150},
                     {"next_p99_us", "the same, p99", "µs", Better::lower, 0},
                     {"stall_p50_us", "where an operation stalled: its length, p50", "µs", Better::lower, 150},
                     {"stall_p99_us", "the same, p99", "µs", Better::lower, 0}};
    death.run = run_death;
    cases.push_back(death);
    return cases;
}

}  // namespace muster::bench
