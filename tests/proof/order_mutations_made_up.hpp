// What the two files of mutations share: calls that were never made.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>
#include "tests/proof/order_history.hpp"
#include "tests/proof/order_mutations.hpp"

namespace muster::test::order {

inline constexpr int kStranger = 91;  // the process that makes made-up calls

inline bool anything_pending(const History& h) {
    return std::any_of(h.operations.begin(), h.operations.end(), [](const Operation& o) { return o.pending(); });
}

// Calls one after the other, before all others, where the object is as it was made.
class Before {
public:
    explicit Before(History& h) : h_(h) {}
    Before& operator()(Operation o) {
        o.process = o.process != 0 ? o.process : kStranger;
        o.invoked = at_++;
        o.returned = at_++;
        h_.add(o);
        return *this;
    }

private:
    History& h_;
    std::uint64_t at_ = 1;
};

inline Operation made_up(Call call, int error = 0) {
    Operation o;
    o.call = call;
    o.error = error;
    return o;
}

std::vector<Mutation> mutations_of_queues(bool typed);

}  // namespace muster::test::order
