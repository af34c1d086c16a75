// Killing a process (SIGKILL) at a named place of the engine: which places it passes, at which of them it is to die.
#pragma once
#include <sched.h>
#include <signal.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <string>
#include <vector>
#include "platform/crash_point.hpp"

namespace muster::test {

// Whether the victim's operation counts as done when it dies there.
enum class Fate { before, after, either };

// The points that a living victim passed: kept in memory that it shares with its parent, from which it was forked.
struct PassedPoints {
    std::atomic<std::uint32_t> count;
    const char* names[40'000];

    std::vector<const char*> list() const { return {names, names + std::min<std::size_t>(count.load(), std::size(names))}; }
};

struct Kill {
    const char* point = nullptr;  // null: lives, and its points are noted
    unsigned nth = 0;
    bool committed = false;  // the victim passed its commit before
    std::string text() const { return point == nullptr ? "nowhere" : std::string(point) + " #" + std::to_string(nth); }
};

// Up to three of each point's visits: the first, the second and the last. `fate_at(name)` tells where the commit is.
template <class FateAt>
std::vector<Kill> kills_of(const std::vector<const char*>& passed, FateAt fate_at) {
    std::map<std::string, unsigned> visits, seen;
    for (const char* point : passed) ++visits[point];
    std::vector<Kill> kills;
    bool committed = false;
    for (const char* point : passed) {
        const unsigned nth = ++seen[point];
        if (nth <= 2 || nth == visits[point]) kills.push_back({point, nth, committed});
        committed = committed || fate_at(point) == Fate::after;
    }
    return kills;
}

// What the victim's hook does. Set in the victim only.
struct Armed {
    const char* point = nullptr;
    unsigned nth = 0;
    PassedPoints* passed = nullptr;
};
inline Armed armed;

inline void at_crash_point(const char* point) {
    if (armed.point == nullptr) {
        const std::uint32_t n = armed.passed->count.load();
        if (n < std::size(armed.passed->names)) armed.passed->names[n] = point;
        armed.passed->count.store(n + 1);
        return;
    }
    if (std::strcmp(point, armed.point) != 0 || --armed.nth != 0) return;
    kill(getpid(), SIGKILL);
    for (;;) pause();
}
// In the victim.
inline void arm(const Kill& at, PassedPoints& passed) {
    armed = {at.point, at.nth, &passed};
    testing::crash_point_hook = at_crash_point;
}

// Which CPU somebody sleeps on makes a difference to who wakes him.
inline void run_on(unsigned which) {
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
    unsigned cpu = 0;
    for (unsigned seen = 0;; ++cpu)
        if (CPU_ISSET(cpu, &allowed) && seen++ == which) break;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
}

}  // namespace muster::test
