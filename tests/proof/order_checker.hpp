// Whether a history is linearizable: whether each operation can be given one moment between its call and its return so that, done
// one after the other at these moments, they give the very results that were seen.
//
// SOURCE J. Wing and C. Gong, "Testing and verifying concurrent objects" (1993): a search over the orders that the intervals
// allow. SOURCE G. Lowe, "Testing for linearizability" (2017): no pair of (operations placed, state reached) is looked at twice.
// The pairs are kept and compared whole, not as hashes: no coincidence accepts or rejects anything.
//
// An operation that never returned, because its process was killed, may have had its effect at any time from its call on, or
// never. Its result is nobody's; its effect, if any, is that of its success. If something later shows the effect (its message is
// received), the search has to place it. When `ends` is at_death it must be before the moment given to its process's death, which
// itself lies between the kill and the return of waitpid; with any_time it may be later: somebody else may have finished the work
// of the dead.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <unordered_set>
#include <vector>
#include "tests/proof/order_history.hpp"

namespace muster::test::order {

enum class Ends { at_death, any_time };

struct Verdict {
    bool accepted = false;
    bool searchable = true;    // false: longer than the search can hold
    std::uint64_t states = 0;  // pairs looked at
    std::vector<int> order;    // of the operations, by index: all of them if accepted, else the longest order found
};

// At most this many operations, the deaths included.
inline constexpr std::size_t kMostOperations = 64;

// Model: `State` (trivially copyable, without padding), `first(setup)`, `returned(state, operation)`: whether this result is
// right in this state, which becomes the next one; `unfinished(state, operation)`: the same for a success nobody heard of.
template <class Model>
class Checker {
public:
    using State = typename Model::State;
    static_assert(std::has_unique_object_representations_v<State>);

    Checker(const History& history, Ends ends) : history_(history), ends_(ends), model_(history) {
        for (std::size_t i = 0; i < history.operations.size(); ++i) {
            const Operation& o = history.operations[i];
            if (!o.pending()) must_ |= bit(i);
        }
        unfinished_.assign(history.operations.size(), -1);
        for (std::size_t i = 0; i < history.operations.size(); ++i)
            for (std::size_t j = 0; j < history.operations.size() && history.operations[i].pending(); ++j)
                if (history.operations[j].call == Call::death && history.operations[j].process == history.operations[i].process)
                    unfinished_[i] = static_cast<int>(j);
    }

    Verdict check() {
        verdict_.searchable = history_.operations.size() <= kMostOperations;
        if (verdict_.searchable) verdict_.accepted = search({0, model_.first()});
        if (verdict_.accepted) verdict_.order = path_;
        return verdict_;
    }

private:
    struct Point {
        std::uint64_t placed;
        State state;
        bool operator==(const Point& o) const { return placed == o.placed && std::memcmp(&state, &o.state, sizeof state) == 0; }
    };
    struct Hash {
        std::size_t operator()(const Point& point) const {
            std::uint64_t hash = point.placed * 0x9e3779b97f4a7c15;
            const auto* bytes = reinterpret_cast<const unsigned char*>(&point.state);
            for (std::size_t i = 0; i < sizeof(State); ++i) hash = (hash ^ bytes[i]) * 0x100000001b3;
            return hash ^ (hash >> 29);
        }
    };
    static std::uint64_t bit(std::size_t index) { return std::uint64_t{1} << index; }

    // The first return among those not yet placed: what was called after it cannot come next.
    std::uint64_t first_return(std::uint64_t placed) const {
        std::uint64_t first = ~std::uint64_t{0};
        for (std::size_t i = 0; i < history_.operations.size(); ++i)
            if ((must_ & ~placed & bit(i)) != 0 && history_.operations[i].returned < first)
                first = history_.operations[i].returned;
        return first;
    }
    bool too_late(std::size_t index, std::uint64_t placed) const {
        return ends_ == Ends::at_death && unfinished_[index] >= 0 &&
               (placed & bit(static_cast<std::size_t>(unfinished_[index]))) != 0;
    }

    bool search(const Point& point) {
        if ((must_ & ~point.placed) == 0) return true;
        if (!seen_.insert(point).second) return false;
        ++verdict_.states;
        // A death may have the number of its process's last return: it came after it.
        const std::uint64_t limit = first_return(point.placed);
        for (std::size_t i = 0; i < history_.operations.size(); ++i) {
            const Operation& o = history_.operations[i];
            if ((point.placed & bit(i)) != 0 || o.invoked >= limit || too_late(i, point.placed)) continue;
            Point next{point.placed | bit(i), point.state};
            if (!(o.pending() ? model_.unfinished(next.state, o) : model_.returned(next.state, o))) continue;
            path_.push_back(static_cast<int>(i));
            if (path_.size() > verdict_.order.size()) verdict_.order = path_;
            if (search(next)) return true;
            path_.pop_back();
        }
        return false;
    }

    const History& history_;
    const Ends ends_;
    const Model model_;
    std::uint64_t must_ = 0;
    std::vector<int> unfinished_;  // for each operation that never returned, its process's death
    std::unordered_set<Point, Hash> seen_;
    std::vector<int> path_;
    Verdict verdict_;
};

}  // namespace muster::test::order
