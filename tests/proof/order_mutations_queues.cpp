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
    o.size = kPriorityBytes;
    o.result[0] = number;
    o.result[1] = kind;
    o.result[2] = size;
    return o;
}
Operation with_room(Operation o, int room, bool truncate) {
    o.size = room;
    o.truncate = truncate;
    return o;
}
Operation copying(int index, int number, int kind, int size, int error = 0) {
    Operation o = receiving(number, kind, size, error);
    o.call = Call::copy;
    o.selector = index;
    return o;
}
Operation counting(int messages, int bytes) {
    Operation o = made_up(Call::count);
    o.result[0] = messages;
    o.result[1] = bytes;
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

// At the end, when nobody else was in a call, the queue said that it is empty: then as many have come out as went in.
bool ends_empty(const History& h) {
    const auto last = std::max_element(h.operations.begin(), h.operations.end(), [](const Operation& a, const Operation& b) {
        return (a.call != Call::count ? a.invoked : 0) < (b.call != Call::count ? b.invoked : 0);
    });
    if (last->call != Call::receive || last->selector != 0 || last->waits || last->error != nothing_there(h)) return false;
    return std::all_of(h.operations.begin(), h.operations.end(), [&](const Operation& o) {
        return &o == &*last || o.call == Call::count || (!o.pending() && o.returned < last->invoked);
    });
}
template <class Which>
bool one_lost(History& h, Random& random, Which which) {
    if (!ends_empty(h)) return false;
    std::vector<std::size_t> received;
    for (std::size_t i = 0; i < h.operations.size(); ++i)
        if (h.operations[i].done(Call::receive) && which(h.operations[i])) received.push_back(i);
    if (received.empty()) return false;
    const std::size_t lost = received[random.below(static_cast<unsigned>(received.size()))];
    h.operations.erase(h.operations.begin() + static_cast<std::ptrdiff_t>(lost));
    return true;
}
bool lost(History& h, Random& random) {
    return one_lost(h, random, [](const Operation&) { return true; });
}
bool empty_one_lost(History& h, Random& random) {
    return one_lost(h, random, [](const Operation& o) { return o.result[2] == 0 && !o.truncate; });
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
        o.size = kPriorityBytes;
        h.add(o);
        return true;
    }
    return false;
}

bool refused_although_room(History& h, Random&) {
    Before{h}(sending(301, 1, 4, EAGAIN));
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

bool empty_one_not_there(History& h, Random& random) {
    Before before(h);
    before(sending(301, 1, 0));
    if (random.once_in(2))
        before(receiving(0, 0, 0, nothing_there(h)));
    else
        before(counting(0, 0));
    return true;
}
bool empty_one_has_bytes(History& h, Random&) {
    Before{h}(sending(301, 1, 0))(receiving(301, 1, 4));
    return true;
}

// Rooms that are too small, and messages too long for the queue.
bool refused_for_its_length_although_it_fits(History& h, Random& random) {
    if (random.once_in(2))
        Before{h}(sending(301, 1, kPriorityBytes, EMSGSIZE));
    else
        Before{h}(sending(301, 1, 4))(receiving(0, 0, 0, EMSGSIZE));
    return true;
}
bool longer_than_it_takes(History& h, Random&) {
    Before{h}(sending(301, 1, kPriorityBytes + 4));
    return true;
}
bool received_into_too_small_a_room(History& h, Random&) {
    Before{h}(sending(301, 1, 4))(with_room(receiving(301, 1, 4), kPriorityBytes - 1, false));
    return true;
}

// MSG_COPY. The number says which message it was, so a copy of one that was received by then, or sent only later, is of none.
bool copy_of_what_was_not_there(History& h, Random& random) {
    for (const Delivery& d : deliveries(h, random)) {
        const Operation &send = h.operations[d.send], &receive = h.operations[d.receive];
        Operation copy = copying(static_cast<int>(random.below(3)), send.number, send.selector, send.size);
        copy.process = kStranger;
        copy.invoked = random.once_in(2) ? receive.returned + 1 : 1;
        copy.returned = copy.invoked + 1;
        h.add(copy);
        return true;
    }
    return false;
}
bool copy_of_another_index(History& h, Random& random) {
    const int index = static_cast<int>(random.below(2));
    Before{h}(sending(301, 2, 0))(sending(302, 1, 4))(
        copying(index, index == 0 ? 302 : 0, index == 0 ? 1 : 2, index == 0 ? 4 : 0));
    return true;
}
bool no_copy_although_there(History& h, Random&) {
    Before{h}(sending(301, 1, 4))(copying(0, 0, 0, 0, ENOMSG));
    return true;
}
bool recorded_copy_of_another(History& h, Random&) {
    for (Operation& o : h.operations) {
        if (!o.done(Call::copy) || o.result[2] == 0) continue;
        o.result[0] += 500;
        return true;
    }
    return false;
}
bool copy_takes_it(History& h, Random& random) {
    Before before(h);
    before(sending(301, 1, 4))(copying(0, 301, 1, 4));
    if (random.once_in(2))
        before(receiving(0, 0, 0, ENOMSG));
    else
        before(counting(0, 0));
    return true;
}
bool copy_cut(History& h, Random& random) {
    const bool truncate = random.once_in(2);
    const int error = random.once_in(2) ? 0 : truncate ? E2BIG : EINVAL;
    Before{h}(sending(301, 1, 4))(with_room(copying(0, 0, 1, 0, error), 0, truncate));
    return true;
}

// MSG_NOERROR
template <class Spoil>
bool spoil_cut(History& h, Random& random, Spoil spoil) {
    for (const Delivery& d : deliveries(h, random)) {
        Operation& receive = h.operations[d.receive];
        if (!receive.truncate || h.operations[d.send].size <= receive.size) continue;
        spoil(receive, random);
        return true;
    }
    return false;
}
bool cut_to_other_bytes(History& h, Random& random) {
    return spoil_cut(h, random, [](Operation& receive, Random&) { receive.result[0] += 500; });
}
bool cut_to_other_length(History& h, Random& random) {
    return spoil_cut(h, random, [](Operation& receive, Random& by) { receive.result[2] += by.once_in(2) ? 4 : -4; });
}
bool cut_unasked(History& h, Random& random) {
    return spoil_cut(h, random, [](Operation& receive, Random&) { receive.truncate = false; });
}
bool too_big_although_it_may_be_cut(History& h, Random&) {
    Before{h}(sending(301, 1, 4))(with_room(receiving(0, 0, 0, E2BIG), 0, true));
    return true;
}
bool rest_stays(History& h, Random& random) {
    Before before(h);
    before(sending(301, 1, 4))(with_room(receiving(0, 1, 0), 0, true));
    if (random.once_in(2))
        before(counting(0, 4));
    else
        before(receiving(301, 1, 4));
    return true;
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
    {"one without bytes lost", empty_one_lost},
    {"one without bytes not there", empty_one_not_there},
    {"one without bytes has some", empty_one_has_bytes},
};
const std::vector<Mutation> kOfPriorities = {
    {"lower priority overtakes", lower_overtakes},
    {"EMSGSIZE although it fits", refused_for_its_length_although_it_fits},
    {"longer than it takes", longer_than_it_takes},
    {"received into too small a room", received_into_too_small_a_room},
};
const std::vector<Mutation> kOfTypes = {
    {"another type than asked for", other_type},
    {"the excepted type", excepted_type},
    {"lowest type passed over", lowest_passed_over},
    {"too big although it fits", too_big_although_room},
    {"bytes wrong", bytes_wrong},
    {"copy of what was not there", copy_of_what_was_not_there},
    {"copy of another index", copy_of_another_index},
    {"recorded copy of another message", recorded_copy_of_another},
    {"no copy although it is there", no_copy_although_there},
    {"a copy takes it", copy_takes_it},
    {"a copy cut", copy_cut},
    {"cut to other bytes", cut_to_other_bytes},
    {"cut to another length", cut_to_other_length},
    {"cut unasked", cut_unasked},
    {"too big although it may be cut", too_big_although_it_may_be_cut},
    {"the rest of a cut one stays", rest_stays},
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
