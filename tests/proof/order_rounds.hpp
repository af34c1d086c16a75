// Rounds: some processes do what a seed tells them, at the same time, on one object; now and then one or two of them are killed;
// the record of it is a history. The processes live on for the next round, the killed ones are replaced.
//
// A kill has to fall into calls that last half a microsecond, which no other process can aim at. So the one to be killed arms a
// timer of its own before its first call; the kernel kills it at the seed's nanosecond, wherever it is by then. In the same way
// some are stopped for a while, so that others run beside a call that has come to a standstill anywhere in it.
//
// Nothing here is judged by the clock. A process that sleeps in a call (state S, its record begun and not ended) is helped by a
// call of the leader's that must let somebody go on; only if nobody does for as long as nobody should ever need is it called
// stuck.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>
#include "tests/proof/order_history.hpp"
#include "tests/proof/order_objects.hpp"
#include "tests/support/child.hpp"
#include "tests/support/proof.hpp"

namespace muster::test::order {

inline constexpr int kMostWorkers = 6;
inline constexpr int kMostCalls = 6;  // of one worker in one round

struct Desk {
    std::atomic<std::uint32_t> finished{0};  // the round
    std::int32_t length = 0;                 // 0: not taking part
    std::int32_t killed_after_ns = 0, stopped_after_ns = 0;
    std::uint64_t armed = 0;  // when it was certainly alive
    Operation script[kMostCalls];
};

struct Arena {
    Target target;
    std::atomic<std::uint32_t> round{0}, participants{0}, arrived{0}, finished{0};
    Desk desks[kMostWorkers];
};

struct Tally {
    std::uint64_t rounds = 0, operations = 0, kills = 0, pending = 0, stops = 0, helped = 0, overlapping = 0;
};

class Rounds {
public:
    Rounds(const Calls& calls, Object object, bool kernel);
    Rounds(const Rounds&) = delete;
    ~Rounds();

    // One more round. Not right if the object could not be made, or somebody slept beside what should have let him go: see
    // trouble().
    bool run(std::uint64_t seed, std::uint64_t round, History& history);
    const std::string& trouble() const { return trouble_; }
    const Tally& tally() const { return tally_; }

private:
    // Killed, or bound to be: not counted on any more.
    struct Victim {
        int worker = -1;
        std::uint64_t invoked = 0, returned = 0;  // the leader's kill, if it was one; the end of waitpid
    };
    void work(int worker, std::uint32_t seen);
    void employ(int worker);
    void write_scripts(Random& random);
    void start();
    void choose_victims(Random& random);
    void kill_one(int worker);
    void wait_for(Victim& victim);
    void wait_for_victims();
    void let_go_on();
    Operation death_of(const Victim& victim) const;
    bool alive(int worker) const;
    bool all_finished() const;
    std::uint64_t progress() const;
    bool finish();
    const Operation* asleep_in() const;
    void collect(History& history);

    const Calls& calls_;
    Shared<Arena> arena_;
    Maker maker_;
    Hands hands_;
    std::array<Child, kMostWorkers> workers_;
    std::vector<Victim> victims_;
    std::vector<Operation> helper_;
    int participants_ = 0;
    bool broken_ = false;  // the object is not to be used again
    std::string trouble_;
    Tally tally_;
};

}  // namespace muster::test::order
