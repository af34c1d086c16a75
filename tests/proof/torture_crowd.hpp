// A crowd of processes at work, and what is done to them. The plan (who does what, what is done to whom after how many operations of
// the crowd) comes from a seed; how far each has come by then is up to the machine.
#pragma once
#include <vector>
#include "torture_scene.hpp"

namespace muster::test::torture {

enum class Trade { courier, threads, borrower, attacher, namer, steady_plain, steady_typed };

struct Deeds {
    std::uint64_t kills = 0, stops = 0, signals = 0, rests = 0;
};

class Crowd {
public:
    Crowd(Scene& scene, std::vector<Trade> trades, std::uint64_t plan);
    ~Crowd() { kill_all(); }

    // The next deed of the plan.
    Complaint act();
    // All come to the end of what they do, or sleep in it; then everything is looked at. They go on afterwards.
    Complaint rest();
    // `but`: a child of the test that is to live on.
    Complaint kill_all(Child* but = nullptr);

    const Deeds& deeds() const { return deeds_; }

private:
    void start(unsigned i);
    void live(unsigned i, std::uint64_t seed);
    bool steady(unsigned i) const { return trades_[i] >= Trade::steady_plain; }
    unsigned choose();
    void tell(unsigned i, int signal) const;
    void kill(unsigned i);
    void stop(unsigned i);
    std::uint64_t operations() const;
    void await_operations(unsigned more) const;
    Complaint ended_well(unsigned i);
    Complaint replace_the_dead();
    bool at_rest(unsigned i);
    static std::size_t orphans(Child* but);
    static bool asleep_inside(const Post& post);
    Complaint look(unsigned living);
    std::string states();

    Scene& scene_;
    Board& board_;
    const std::vector<Trade> trades_;
    Random random_;
    std::vector<Child> workers_;
    std::vector<bool> gone_;
    Deeds deeds_;
};

}  // namespace muster::test::torture
