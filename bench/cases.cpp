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

Case as_sysv(Case c) {
    c.id = c.workload + "-sysv" + c.id.substr(c.workload.size());
    c.kind = Kind::sysv_queue;
    c.depth = 256;  // of 64 bytes
    return c;
}

Case types(std::size_t others, bool distinct, double goal_ns) {
    Case c;
    c.id = fmt::format("W5-{}-{}", distinct ? "each" : "one", others);
    c.workload = "W5";
    c.title = fmt::format("msgsnd+msgrcv 64 B beside {} others, {}", others, distinct ? "each of its type" : "all of one type");
    c.conditions = "the others are 1 B long; one thread";
    c.kind = Kind::sysv_queue;
    c.depth = 256;
    c.others = others;
    c.distinct = distinct;
    c.figures = {{"type_ns", "by type", "ns", Better::lower, goal_ns},
                 {"lowest_ns", "by lowest type", "ns", Better::lower, goal_ns}};
    if (!distinct) c.figures.push_back({"except_ns", "by all but that type", "ns", Better::lower, goal_ns});
    c.run = run_types;
    return c;
}

Case semaphores(const char* id, const char* title, Use use, double goal_ns) {
    Case c;
    c.id = fmt::format("W6-{}", id);
    c.workload = "W6";
    c.title = fmt::format("semaphore P+V, {}", title);
    c.conditions = "a set of four, one thread";
    c.kind = use == Use::single ? Kind::semaphore : Kind::semaphore_set;
    c.use = use;
    c.figures = {{"pair_ns", "", "ns", Better::lower, goal_ns}};
    c.run = run_semaphores;
    return c;
}

Case semaphore_pong(bool same_cpu) {
    Case c = ping_pong(same_cpu, {{"p50_us", "p50", "µs"}, {"mean_us", "mean", "µs"}});
    c.id = same_cpu ? "W6-pong-same" : "W6-pong-across";
    c.workload = "W6";
    c.title = same_cpu ? "semaphore ping-pong on one core, one way" : "semaphore ping-pong across cores, one way";
    c.conditions = "two semaphores, blocking calls, pinned";
    c.kind = Kind::semaphore;
    c.run = run_semaphore_pong;
    return c;
}

Case life(const char* id, const char* title, const char* calls, Kind kind, std::size_t size_bytes = 64) {
    Case c;
    c.id = fmt::format("W7-{}", id);
    c.workload = "W7";
    c.title = title;
    c.conditions = "with a key";
    c.kind = kind;
    c.message_bytes = size_bytes;
    c.figures = {{"life_us", calls, "µs"}};
    c.run = run_sysv_life;
    return c;
}

void add_sysv(std::vector<Case>& cases) {
    Case pairs;
    pairs.id = pairs.workload = "W1";
    pairs.title = "msgsnd+msgrcv 64 B, one thread, uncontended";
    pairs.conditions = "16384 bytes, any type";
    pairs.figures = {{"pair_ns", "", "ns", Better::lower, 45}};
    pairs.run = run_pairs;
    cases.push_back(as_sysv(pairs));
    for (const bool same_cpu : {false, true}) {
        Case pong = as_sysv(ping_pong(same_cpu, {{"p50_us", "p50", "µs"}, {"mean_us", "mean", "µs"}}));
        pong.conditions = "two queues of 16384 bytes, blocking calls, pinned";
        cases.push_back(pong);
    }
    Case one_way = as_sysv(stream(256, 64, {{"rate_M", "", "M/s", Better::higher}}));
    one_way.id = "W3-sysv";
    one_way.title = "stream 64 B one way, 16384 bytes";
    cases.push_back(one_way);
    for (const auto& [others, goal_ns] : {std::pair<std::size_t, double>{10, 60}, {1'000, 70}, {10'000, 80}})
        for (const bool distinct : {false, true}) cases.push_back(types(others, distinct, goal_ns));
    cases.push_back(semaphores("single", "one semaphore", Use::single, 18));
    cases.push_back(semaphores("undo", "one semaphore with SEM_UNDO", Use::undo, 35));
    cases.push_back(semaphores("four", "four semaphores at once", Use::four, 40));
    cases.push_back(semaphore_pong(false));
    cases.push_back(semaphore_pong(true));
    cases.push_back(life("queue", "a System V queue's life", "msgget+RMID", Kind::sysv_queue));
    cases.push_back(life("set", "a semaphore set's life", "semget+RMID", Kind::semaphore_set));
    cases.push_back(life("segment-4K", "a 4 KiB segment's life", "shmget+shmat+touch+shmdt+RMID", Kind::segment, 4096));
    cases.push_back(life("segment-1M", "a 1 MiB segment's life", "shmget+shmat+touch+shmdt+RMID", Kind::segment, 1 << 20));
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

    Case queue_life;
    queue_life.id = queue_life.workload = "W7";
    queue_life.title = "a queue's life";
    queue_life.conditions = "depth 10, 64 B, nothing sent";
    queue_life.figures = {{"life_us", "create+open+close+remove", "µs", Better::lower, 24},
                          {"open_close_us", "open+close", "µs", Better::lower, 5}};
    queue_life.run = run_life;
    cases.push_back(queue_life);

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
    add_sysv(cases);
    return cases;
}

}  // namespace muster::bench
