// Proves that concurrent calls of several processes on one object have an order: that what they gave is what they would have
// given one after the other, each at a moment between its call and its return, processes killed in the midst of calls included.
//
// Rounds of 3 to 6 processes do what a seed tells them (order_scripts.cpp), in a fraction of them one or two are killed at a
// random moment (order_rounds.cpp); the calls and their moments are recorded (order_history.hpp); a search (order_checker.hpp)
// looks for an order that fits a small model of the object (order_models.hpp). That a wrong history would be found is proved
// beside it: each kind of wrong is put into recorded histories, and every one must be rejected (order_mutations.hpp;
// order_cases.cpp has small ones).
//
//   MUSTER_PROOF_ORDER_KERNEL=1   the same rounds on the kernel's own objects: the oracle for the models
//   MUSTER_PROOF_ORDER_ROUND=N    every round does what round N does
#include <gtest/gtest.h>
#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "tests/proof/order_checker.hpp"
#include "tests/proof/order_models.hpp"
#include "tests/proof/order_mutations.hpp"
#include "tests/proof/order_rounds.hpp"
#include "tests/support/proof.hpp"

namespace muster::test::order {
namespace {

// However little of the machine is ours: so that every kind of mutation finds a history that has a place for it.
constexpr std::uint64_t kFewestRounds = 200;
constexpr std::size_t kFigureBytes = 600;  // a line of a figure takes so many and some more

bool on_kernel() {
    return std::getenv("MUSTER_PROOF_ORDER_KERNEL") != nullptr;
}

bool is_queue(Object object) {
    return object == Object::priority_queue || object == Object::typed_queue;
}

bool has_place_for_rare(const History& history) {
    Random random(1);
    for (const Mutation& mutation : mutations_of(history.setup.object)) {
        History bad = spread(history);
        if (mutation.rare && mutation.apply(bad, random)) return true;
    }
    return false;
}

// The library, in a domain of the program's own, which it takes when it is loaded.
class Order : public testing::Test {
protected:
    static void SetUpTestSuite() {
        directory_ = "/dev/shm/muster-proof-order-" + std::to_string(getpid());
        setenv("MUSTER_DOMAIN", directory_.c_str(), 1);
        calls_ = Calls::load(on_kernel() ? nullptr : MUSTER_POSIX_LIBRARY);
    }
    static void TearDownTestSuite() {
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }
    void prove(Object object);
    // What is wrong with a history that the model does not allow, in full.
    static std::string complaint(const History& history, const Verdict& verdict) {
        return "no order fits this history:\n" + describe(history, verdict.order);
    }
    void reject_mutations(const std::vector<History>& pool, const std::string& part);

    static inline std::string directory_;
    static inline Calls calls_{};
};

void Order::prove(Object object) {
    ASSERT_TRUE(calls_.complete());
    const std::string part = std::string("order.") + name_of(object) + (on_kernel() ? " (kernel)" : "");
    const auto duration = std::chrono::milliseconds(short_or_long(800, 40'000));
    const char* only = std::getenv("MUSTER_PROOF_ORDER_ROUND");
    const std::uint64_t seed = proof_seed();
    std::vector<History> pool;
    std::uint64_t states = 0, most_states = 0, happened = 0, late = 0, given_back = 0;
    std::size_t longest = 0, precious = 0;
    Rounds rounds(calls_, object, on_kernel());
    const auto begin = std::chrono::steady_clock::now();
    for (std::uint64_t round = 0; round < kFewestRounds || std::chrono::steady_clock::now() - begin < duration; ++round) {
        History history;
        const bool ran = rounds.run(seed, only != nullptr ? std::strtoull(only, nullptr, 0) : round, history);
        ASSERT_TRUE(ran) << rounds.trouble() << "\n" << describe(history, {});
        Verdict verdict = check(history, Ends::at_death);
        states += verdict.states;
        if (!verdict.accepted && is_queue(object) && !on_kernel()) {
            // A message of a dead sender may still be on its way: whoever next takes the senders' lock brings it in.
            verdict = check(history, Ends::any_time);
            states += verdict.states;
            if (verdict.accepted) ++late;
        }
        if (!verdict.accepted && is_queue(object) && !on_kernel()) {
            history = with_giving_back(history);
            verdict = check(history, Ends::any_time);
            states += verdict.states;
            if (verdict.accepted) ++given_back;
        }
        ASSERT_TRUE(verdict.searchable) << history.operations.size() << " operations";
        ASSERT_TRUE(verdict.accepted) << complaint(history, verdict);
        most_states = std::max(most_states, verdict.states);
        longest = std::max(longest, history.operations.size());
        for (const int index : verdict.order)
            if (history.operations[static_cast<std::size_t>(index)].pending()) ++happened;
        // Half of the pool is kept for those that have a place for what is rare.
        if (has_place_for_rare(history) && precious < kPool / 2)
            pool.insert(pool.begin() + static_cast<std::ptrdiff_t>(precious++), history);
        else if (pool.size() < kPool)
            pool.push_back(history);
        else
            pool[kPool / 2 + round % (kPool / 2)] = history;
        if (pool.size() > kPool) pool.pop_back();
    }
    const Tally& t = rounds.tally();
    figure(part.c_str(),
           "%llu histories, %llu operations (%llu overlapping another), %llu kills, %llu stops, %llu pending operations (%llu "
           "placed in the order), %llu histories in which "
           "one was finished after its process's death, %llu in which a dead receiver gave back, %llu calls of the helper, %llu "
           "states searched (at most %llu, of a history of up to %zu operations)",
           static_cast<unsigned long long>(t.rounds), static_cast<unsigned long long>(t.operations),
           static_cast<unsigned long long>(t.overlapping), static_cast<unsigned long long>(t.kills),
           static_cast<unsigned long long>(t.stops), static_cast<unsigned long long>(t.pending),
           static_cast<unsigned long long>(happened), static_cast<unsigned long long>(late),
           static_cast<unsigned long long>(given_back), static_cast<unsigned long long>(t.helped),
           static_cast<unsigned long long>(states), static_cast<unsigned long long>(most_states), longest);
    reject_mutations(pool, part);
}

void Order::reject_mutations(const std::vector<History>& pool, const std::string& part) {
    Random random(proof_seed());
    std::string figures;
    for (const Mutation& mutation : mutations_of(pool.front().setup.object)) {
        unsigned rejected = 0;
        for (const History& history : pool) {
            History bad = spread(history);
            if (!mutation.apply(bad, random) || bad.operations.size() > kMostOperations) continue;
            const Verdict verdict = check(bad, is_queue(bad.setup.object) ? Ends::any_time : Ends::at_death);
            ASSERT_FALSE(verdict.accepted) << "accepted although " << mutation.name << ":\n" << describe(bad, verdict.order);
            ++rejected;
        }
        EXPECT_TRUE(rejected > 0 || (mutation.rare && !long_form()))
            << "no recorded history could be given this: " << mutation.name;
        figures += (figures.empty() ? "" : ", ") + std::to_string(rejected) + " " + mutation.name;
        if (figures.size() < kFigureBytes && &mutation != &mutations_of(pool.front().setup.object).back()) continue;
        figure((part + " bad ones rejected").c_str(), "%s", figures.c_str());
        figures.clear();
    }
}

TEST_F(Order, PriorityQueue) {
    prove(Object::priority_queue);
}
TEST_F(Order, TypedQueue) {
    prove(Object::typed_queue);
}
TEST_F(Order, Semaphores) {
    prove(Object::semaphores);
}
TEST_F(Order, Segment) {
    prove(Object::segment);
}
TEST_F(Order, QueueName) {
    prove(Object::queue_name);
}
TEST_F(Order, MessageKey) {
    prove(Object::message_key);
}
TEST_F(Order, SemaphoreKey) {
    prove(Object::semaphore_key);
}
TEST_F(Order, SegmentKey) {
    prove(Object::segment_key);
}

}  // namespace
}  // namespace muster::test::order
