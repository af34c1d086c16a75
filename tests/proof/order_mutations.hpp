// Wrong histories, made of recorded ones that are right. Each kind is wrong by construction: it is applied only where what it
// does contradicts the object whatever the order, so not one may be accepted.
#pragma once
#include <vector>
#include "tests/proof/order_history.hpp"
#include "tests/support/proof.hpp"

namespace muster::test::order {

inline constexpr std::size_t kPool = 400;  // recorded histories that are tried with each kind

struct Mutation {
    const char* name;
    bool (*apply)(History&, Random&);  // false: this history has no place for it
    bool rare = false;                 // only the long form is sure to come by a history that has
};

const std::vector<Mutation>& mutations_of(Object object);

// The same history with room between its moments for operations that did not happen.
History spread(const History& history);

}  // namespace muster::test::order
