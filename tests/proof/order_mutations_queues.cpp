// Wrong histories of queues.
#include <algorithm>
#include <cerrno>

#include "tests/proof/order_mutations_made_up.hpp"

namespace muster::test::order {
namespace {

struct Delivery {
    std::size_t send, receive;
};
// The messages that were received, in a random order.
std::vector<Delivery> deliveries(const History& h, Random& random) {
    std::vector<Delivery> all;
    for (std::size_t r = 0; r < h.operations.size(); ++r)
        for (std::size_t s = 0; s < h.operations.size() && h.operations[r].done(Call::receive); ++s)
            if (h.operations[s].call == Call::send && h.operations[s].number == h.operations[r].result[0]) all.push_back({s, r});
    for (std::size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[random.below(static_cast<unsigned>(i))]);
    return all;
}

Operation sending(int number, int kind, int size, int error = 0) {
    Operation o = made_up(Call::send, error);
    o.number = number;
    o.selector = kind;
    o.size = size;
    return o;
}
Operation receiving(int number, int kind, int size, int error = 0) {
    Operation o = made_up(Call::receive, error);
    o.size = 12;
    o.result[0] = number;
    o.result[1] = kind;
    o.result[2] = size;
    return o;
}
int nothing_there(const History& h) {
    return h.setup.object == Object::typed_queue ? ENOMSG : EAGAIN;
}

bool received_twice(History& h, Random& random) {
    const auto all = deliveries(h, random);
    if (all.empty()) return false;
    Operation again = h.operations[all[0].receive];
    again.process = kStranger;
    again.invoked = h.end();
    again.returned = again.invoked + 1;
    h.add(again);
    return true;
}

// Nobody has it, nobody can have taken it, and at the end the queue said that it is empty.
bool lost(History& h, Random& random) {
    if (anything_pending(h)) return false;
    std::uint64_t emptied = 0;
    for (const Operation& o : h.operations)
        if (o.call == Call::receive && o.selector == 0 && !o.waits && o.error == nothing_there(h))
            emptied = std::max(emptied, o.invoked);
    for (const Delivery& d : deliveries(h, random))
        if (h.operations[d.send].returned < emptied) {
            h.operations.erase(h.operations.begin() + static_cast<std::ptrdiff_t>(d.receive));
            return true;
        }
    return false;
}

// Two receivers, one after the other, get each other's message; `wrong` says when the first may not get the second's.
template <class Wrong>
bool exchange(History& h, Random& random, Wrong wrong) {
    const auto all = deliveries(h, random);
    for (const Delivery& a : all)
        for (const Delivery& b : all) {
            Operation &first = h.operations[a.receive], &second = h.operations[b.receive];
            if (first.returned >= second.invoked || h.operations[a.send].pending()) continue;
            if (!wrong(h.operations[a.send], h.operations[b.send], first)) continue;
            std::swap(first.result, second.result);
            return true;
        }
    return false;
}
bool lower_overtakes(History& h, Random& random) {
    return exchange(h, random, [](const Operation& a, const Operation& b, const Operation& first) {
        return a.selector > b.selector && a.returned < first.invoked;
    });
}
bool older_overtaken(History& h, Random& random) {
    return exchange(h, random, [](const Operation& a, const Operation& b, const Operation&) {
        return a.selector == b.selector && a.returned < b.invoked;
    });
}

bool received_before_sent(History& h, Random& random) {
    for (const Delivery& d : deliveries(h, random)) {
        Operation& send = h.operations[d.send];
        send.invoked = h.operations[d.receive].returned + 1;
        if (!send.pending()) send.returned = send.invoked + 1;
        return true;
    }
    return false;
}

bool nothing_although_there(History& h, Random& random) {
    for (const Delivery& d : deliveries(h, random)) {
        const std::uint64_t sent = h.operations[d.send].returned;
        if (sent == 0 || sent >= h.operations[d.receive].invoked) continue;
        Operation o = made_up(Call::receive, nothing_there(h));
        o.process = kStranger;
        o.invoked = sent + 1;
        o.returned = sent + 2;
        o.size = 12;
        h.add(o);
        return true;
    }
    return false;
}

bool refused_although_room(History& h, Random&) {
    Before{h}(sending(301, 1, 8, EAGAIN));
    return true;
}

bool count_wrong(History& h, Random&) {
    for (Operation& looked : h.operations) {
        if (!looked.done(Call::count)) continue;
        int most = 0;
        for (const Operation& o : h.operations) {
            if (o.call == Call::send && o.invoked < looked.returned) ++most;
            if (o.done(Call::receive) && o.returned < looked.invoked) --most;
        }
        looked.result[0] = most + 1;
        return true;
    }
    return false;
}

template <int Field>
bool other_result(History& h, Random& random) {
    const auto all = deliveries(h, random);
    if (all.empty()) return false;
    h.operations[all[0].receive].result[Field] += 500;
    return true;
}

bool more_than_it_holds(History& h, Random&) {
    Before before(h);
    const int size = h.setup.object == Object::typed_queue ? 12 : 8;
    const int fit = h.setup.object == Object::typed_queue ? h.setup.capacity / size : h.setup.capacity;
    for (int i = 0; i <= fit; ++i) before(sending(301 + i, 1, size));
    return true;
}

bool other_type(History& h, Random& random) {
    for (const Delivery& d : deliveries(h, random)) {
        Operation& receive = h.operations[d.receive];
        if (receive.selector <= 0 || receive.except) continue;
        receive.selector = receive.result[1] + 1;
        return true;
    }
    return false;
}
bool excepted_type(History& h, Random& random) {
    const auto all = deliveries(h, random);
    if (all.empty()) return false;
    Operation& receive = h.operations[all[0].receive];
    receive.selector = receive.result[1];
    receive.except = true;
    return true;
}
bool lowest_passed_over(History& h, Random&) {
    Operation receive = receiving(301, 3, 4);
    receive.selector = -3;
    Before{h}(sending(301, 3, 4))(sending(302, 1, 4))(receive);
    return true;
}
bool too_big_although_room(History& h, Random&) {
    Before{h}(sending(301, 1, 4))(receiving(0, 0, 0, E2BIG));
    return true;
}
bool bytes_wrong(History& h, Random&) {
    for (Operation& o : h.operations)
        if (o.done(Call::count)) {
            o.result[1] += 1000;
            return true;
        }
    return false;
}

const std::vector<Mutation> kOfQueues = {
    {"received twice", received_twice},
    {"lost", lost},
    {"older one overtaken", older_overtaken},
    {"received before it was sent", received_before_sent},
    {"nothing although it was there", nothing_although_there},
    {"refused although there was room", refused_although_room},
    {"counts wrong", count_wrong},
    {"out of nowhere", other_result<0>},
    {"other priority or type", other_result<1>},
    {"other length", other_result<2>},
    {"more than it holds", more_than_it_holds},
};
const std::vector<Mutation> kOfPriorities = {{"lower priority overtakes", lower_overtakes}};
const std::vector<Mutation> kOfTypes = {
    {"another type than asked for", other_type},
    {"the excepted type", excepted_type},
    {"lowest type passed over", lowest_passed_over},
    {"too big although it fits", too_big_although_room},
    {"bytes wrong", bytes_wrong},
};
std::vector<Mutation> with(std::vector<Mutation> these, const std::vector<Mutation>& those) {
    these.insert(these.end(), those.begin(), those.end());
    return these;
}

}  // namespace

std::vector<Mutation> mutations_of_queues(bool typed) {
    return with(kOfQueues, typed ? kOfTypes : kOfPriorities);
}

}  // namespace muster::test::order
