// Random sequences of calls, the same on the kernel and on Muster: three processes in lockstep on one set, sleepers included.
// After each step the whole state is compared: values, counts of sleepers, who operated last, and what became of every sleeping call.
#include <random>
#include <vector>

#include "sem_cases.hpp"

namespace {

constexpr int kWorkers = 4;
constexpr int kSemaphores = 3;

// What a worker is asked to do; in shared memory that its process inherits.
struct Order {
    std::atomic<int> state;  // 0 idle, 1 to do, 2 leave
    int count;
    sembuf ops[4];
};

// Does what it is told, one call at a time. number[w]: result of the last call.
void work(int id, int w, Order* orders) {
    for (;;) {
        while (orders[w].state == 0) {
            const timespec nap{0, 100'000};
            nanosleep(&nap, nullptr);
        }
        if (orders[w].state == 2) return;
        shared().word[10 + w] = 1;
        const int rc = semop(id, orders[w].ops, static_cast<std::size_t>(orders[w].count));
        shared().number[w] = rc == 0 ? 0 : errno;
        orders[w].state = 0;
        shared().word[10 + w] = 2;
    }
}

void run(unsigned seed, int steps) {
    std::mt19937 random(seed);
    const auto below = [&](unsigned limit) { return static_cast<int>(random() % limit); };
    auto* orders = reinterpret_cast<Order*>(&shared().number[32]);  // the rest of the case's shared memory
    static_assert(sizeof(Order) * kWorkers <= sizeof(std::atomic<long>) * 32);
    const int id = make(kSemaphores);
    std::vector<pid_t> pids;
    for (int w = 0; w < kWorkers; ++w) pids.push_back(start([=] { work(id, w, orders); }));
    bool busy[kWorkers] = {};
    // A worker is settled when its call returned, or sleeps in it.
    const auto settle = [&](int w) {
        await("a worker settles", [&] { return shared().word[10 + w] == 2 || (shared().word[10 + w] == 1 && sleeps(pids[static_cast<std::size_t>(w)])); });
    };
    for (int step = 0; step < steps; ++step) {
        std::string line = std::to_string(step) + ":";
        const int what = below(20);
        if (what == 0) {
            const int number = below(kSemaphores), value = below(4);
            line += text(" SETVAL %d %d", number, value) + (semctl(id, number, SETVAL, value) == 0 ? "" : " failed");
        } else if (what == 1) {
            unsigned short values[kSemaphores];
            for (unsigned short& each : values) each = static_cast<unsigned short>(below(3));
            line += text(" SETALL %d", semctl(id, 0, SETALL, values));
        } else if (what == 2) {
            // A worker is killed, asleep or idle, and another takes its place.
            const int w = below(kWorkers);
            const auto index = static_cast<std::size_t>(w);
            kill(pids[index], SIGKILL);
            line += text(" kill %d ", w) + finish(pids[index]);
            orders[w].state = 0;
            busy[w] = false;
            shared().word[10 + w] = 2;
            pids[index] = start([=] { work(id, w, orders); });
        } else {
            const int w = below(kWorkers);
            if (busy[w]) {
                line += " -";
            } else {
                const int count = below(3) == 0 ? 2 + below(2) : 1;
                orders[w].count = count;
                line += text(" %d", w);
                for (int i = 0; i < count; ++i) {
                    const int flags = (below(3) == 0 ? IPC_NOWAIT : 0) | (below(3) == 0 ? SEM_UNDO : 0);
                    orders[w].ops[i] = {static_cast<unsigned short>(below(kSemaphores)), static_cast<short>(below(6) - 3), static_cast<short>(flags)};
                    line += text(" (%d %d%s%s)", orders[w].ops[i].sem_num, orders[w].ops[i].sem_op, flags & IPC_NOWAIT ? " nowait" : "", flags & SEM_UNDO ? " undo" : "");
                }
                shared().word[10 + w] = 0;
                orders[w].state = 1;
                busy[w] = true;
                settle(w);
            }
        }
        // Everybody who was let through has come back before the state is looked at.
        for (int w = 0; w < kWorkers; ++w) {
            if (!busy[w]) continue;
            settle(w);
            if (shared().word[10 + w] != 2) continue;
            busy[w] = false;
            line += text(" [%d %s]", w, shared().number[w] == 0 ? "ok" : error_name(static_cast<int>(shared().number[w])).c_str());
        }
        line += " = " + state_of(id, kSemaphores);
        for (int number = 0; number < kSemaphores; ++number) {
            const int pid = semctl(id, number, GETPID);
            int who = pid == getpid() ? 9 : pid == 0 ? 0 : 8;
            for (int w = 0; w < kWorkers; ++w) who = pid == pids[static_cast<std::size_t>(w)] ? 1 + w : who;
            line += " " + waiters(id, number) + text("@%d", who);
        }
        note(line);
    }
    OK(semctl(id, 0, IPC_RMID));
    for (int w = 0; w < kWorkers; ++w) {
        if (busy[w]) await("a sleeper was told of the removal", [w] { return shared().word[10 + w] == 2; });
        orders[w].state = 2;
        SHOWS("exit 0", finish(pids[static_cast<std::size_t>(w)]));
    }
}

}  // namespace

CASE(sem_random_1) { run(1, 60); }
CASE(sem_random_2) { run(2, 60); }
CASE(sem_random_3) { run(3, 60); }
CASE(sem_random_4) { run(4, 60); }
