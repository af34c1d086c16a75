// Wrong histories of semaphores, segments and names.
#include "tests/proof/order_mutations.hpp"

#include <algorithm>
#include <cerrno>
#include <optional>

#include "tests/proof/order_mutations_made_up.hpp"

namespace muster::test::order {
namespace {

constexpr std::uint64_t kRoom = 1000;  // before the first moment

// Semaphores: the made-up calls begin with all semaphores set to 5.

Operation all_to(int value) {
    Operation o = made_up(Call::set_all);
    for (SemaphoreStep& step : o.steps) step.amount = value;
    return o;
}
Operation stepping(std::initializer_list<SemaphoreStep> steps, int error = 0) {
    Operation o = made_up(Call::operate, error);
    for (const SemaphoreStep& step : steps) o.steps[o.step_count++] = step;
    return o;
}
Operation seen(int value) {
    Operation o = made_up(Call::get);
    o.result[0] = value;
    return o;
}
Operation set_to(int value) {
    Operation o = made_up(Call::set);
    o.selector = value;
    return o;
}
constexpr SemaphoreStep kTake{0, -2, true, false}, kTakeUndo{0, -2, true, true};

bool value_wrong(History& h, Random& random) {
    Before{h}(all_to(5))(stepping({kTake}))(seen(random.once_in(2) ? 2 : 4));
    return true;
}
bool value_changes_by_itself(History& h, Random&) {
    Operation& last = *std::max_element(h.operations.begin(), h.operations.end(),
                                        [](const Operation& a, const Operation& b) { return a.returned < b.returned; });
    if (!last.done(Call::get_all)) return false;
    Operation again = last;
    again.invoked = h.end();
    again.returned = again.invoked + 1;
    ++again.result[0];
    h.add(again);
    return true;
}

// In a history where nothing is pending and nothing was set, the last values are the first ones and the sum of all that was done
// and given back, in whatever order, unless a value was held at zero; only what the dead had taken is given back, so none was.
// Then a last value that is off by what a death gives back is wrong.
bool last_value_off(History& h, int times) {
    if (anything_pending(h)) return false;
    std::optional<std::size_t> last;
    for (std::size_t i = 0; i < h.operations.size(); ++i) {
        const Call call = h.operations[i].call;
        if (call == Call::set || call == Call::set_all) return false;
        if (call == Call::get_all && h.operations[i].process == kDrainer) last = i;
    }
    if (!last) return false;
    for (int semaphore = 0; semaphore < h.setup.capacity; ++semaphore) {
        int given_back = 0;
        bool held = false;
        for (const Operation& death : h.operations) {
            if (death.call != Call::death) continue;
            int of_this = 0;
            for (const Operation& o : h.operations)
                for (int i = 0; i < o.step_count && o.process == death.process && o.error == 0; ++i)
                    if (o.steps[i].number == semaphore && o.steps[i].undo) of_this -= o.steps[i].amount;
            held = held || of_this < 0;
            given_back += of_this;
        }
        if (held || given_back == 0) continue;
        h.operations[*last].result[semaphore] += times * given_back;
        return true;
    }
    return false;
}
bool undo_twice(History& h, Random&) {
    Before{h}(all_to(5))(stepping({kTakeUndo}))(made_up(Call::death))(seen(7));
    return true;
}
bool recorded_undo_twice(History& h, Random&) {
    return last_value_off(h, 1);
}
bool recorded_undo_forgotten(History& h, Random&) {
    return last_value_off(h, -1);
}
bool undo_forgotten(History& h, Random&) {
    Before{h}(all_to(5))(stepping({kTakeUndo}))(made_up(Call::death))(seen(3));
    return true;
}
bool undo_of_the_living(History& h, Random&) {
    Before{h}(all_to(5))(stepping({kTakeUndo}))(seen(5))(made_up(Call::death));
    return true;
}
bool undo_of_one_only(History& h, Random&) {
    if (h.setup.capacity < 2) return false;
    Operation half = made_up(Call::get_all);
    half.result[0] = 5;
    half.result[1] = 4;
    half.result[2] = 5;
    Before{h}(all_to(5))(stepping({kTakeUndo, {1, -1, true, true}}))(made_up(Call::death))(half);
    return true;
}
bool undo_after_set(History& h, Random&) {
    Before{h}(all_to(5))(stepping({kTakeUndo}))(set_to(5))(made_up(Call::death))(seen(7));
    return true;
}
bool refused_although_it_could(History& h, Random&) {
    Before{h}(all_to(2))(stepping({{0, -2, false, false}}, EAGAIN));
    return true;
}
bool passed_at_not_zero(History& h, Random&) {
    Before{h}(all_to(1))(stepping({{0, 0, true, false}}));
    return true;
}
bool took_what_was_not_there(History& h, Random&) {
    Before{h}(all_to(1))(stepping({kTake}));
    return true;
}
bool half_a_vector(History& h, Random&) {
    if (h.setup.capacity < 2) return false;
    Operation half = made_up(Call::get_all);
    half.result[0] = 3;
    half.result[1] = half.result[2] = 5;
    Before{h}(all_to(5))(stepping({kTake, {1, -1, true, false}}))(half);
    return true;
}

// Segments

Operation counted(int count, int error = 0) {
    Operation o = made_up(Call::count, error);
    o.result[0] = count;
    return o;
}
// When nobody runs any more the count is what was attached and neither detached nor lost by death; no order gives another one.
bool last_count_off(History& h, Random& random) {
    for (Operation& o : h.operations) {
        if (!o.done(Call::count) || o.process != kDrainer || o.size != 0) continue;
        o.result[0] += random.once_in(2) ? 1 : -1;
        return true;
    }
    return false;
}
bool not_counted(History& h, Random&) {
    Before{h}(made_up(Call::attach))(counted(0));
    return true;
}
bool dead_counted(History& h, Random&) {
    Before{h}(made_up(Call::attach))(made_up(Call::death))(counted(1));
    return true;
}
bool gone_although_attached(History& h, Random&) {
    Before{h}(made_up(Call::attach))(made_up(Call::remove))(counted(0, EINVAL));
    return true;
}
bool attached_although_gone(History& h, Random&) {
    Before{h}(made_up(Call::remove))(made_up(Call::attach));
    return true;
}
bool detached_twice(History& h, Random&) {
    Before{h}(made_up(Call::attach))(made_up(Call::detach))(made_up(Call::detach));
    return true;
}

// Names. An identity that no real call gives: one from kMadeUp on.

constexpr int kMadeUp = 1'900'000'000;
Operation naming(Call call, int identity, int error = 0) {
    Operation o = made_up(call, error);
    o.number = o.result[0] = identity;
    return o;
}
// Where nothing is pending, every creation says that it was one, and nobody has the name at the end, there are as many creations
// as removals: one more or less of either fits no order.
bool succeeds_too(History& h, Call call, int error) {
    if (anything_pending(h)) return false;
    for (const Operation& o : h.operations)
        if (o.call == Call::open_or_create) return false;
    const auto last = std::max_element(h.operations.begin(), h.operations.end(),
                                       [](const Operation& a, const Operation& b) { return a.returned < b.returned; });
    if (last->call != Call::open || last->error != ENOENT) return false;
    for (Operation& o : h.operations)
        if (o.call == call && (o.error == error || (call == Call::remove && o.error == EIDRM))) {
            o.error = 0;
            o.result[0] = h.setup.object == Object::queue_name ? o.number : kMadeUp;
            return true;
        }
    return false;
}
bool recorded_second_creator(History& h, Random&) {
    return succeeds_too(h, Call::create, EEXIST);
}
bool recorded_second_removal(History& h, Random&) {
    return succeeds_too(h, Call::remove, h.setup.object == Object::queue_name ? ENOENT : EINVAL);
}
bool two_creators(History& h, Random&) {
    Before{h}(naming(Call::create, kMadeUp))(naming(Call::create, kMadeUp + 1));
    return true;
}
bool removed_twice(History& h, Random&) {
    Before{h}(naming(Call::create, kMadeUp))(naming(Call::remove, kMadeUp))(naming(Call::remove, kMadeUp));
    return true;
}
bool opened_although_removed(History& h, Random&) {
    Before{h}(naming(Call::create, kMadeUp))(naming(Call::remove, kMadeUp))(naming(Call::open, kMadeUp));
    return true;
}
bool not_found_although_there(History& h, Random&) {
    Before{h}(naming(Call::create, kMadeUp))(naming(Call::open, 0, ENOENT));
    return true;
}
bool opened_another(History& h, Random&) {
    Before{h}(naming(Call::create, kMadeUp))(naming(Call::open, kMadeUp + 1));
    return true;
}
bool exists_although_free(History& h, Random&) {
    Before{h}(naming(Call::create, kMadeUp, EEXIST));
    return true;
}
bool two_of_one_name(History& h, Random&) {
    Before{h}(naming(Call::open_or_create, kMadeUp))(naming(Call::open_or_create, kMadeUp + 1));
    return true;
}

const std::vector<Mutation> kOfSemaphores = {
    {"value wrong after semop", value_wrong},
    {"value changes by itself", value_changes_by_itself},
    {"undo given twice", undo_twice},
    {"undo forgotten", undo_forgotten},
    {"recorded undo given twice", recorded_undo_twice, true},
    {"recorded undo forgotten", recorded_undo_forgotten, true},
    {"undo of the living", undo_of_the_living},
    {"undo of one semaphore only", undo_of_one_only},
    {"undo after SETVAL", undo_after_set},
    {"EAGAIN although it could", refused_although_it_could},
    {"wait for zero passed at one", passed_at_not_zero},
    {"took what was not there", took_what_was_not_there},
    {"half a vector", half_a_vector},
};
const std::vector<Mutation> kOfSegments = {
    {"last count off by one", last_count_off},
    {"attachment not counted", not_counted},
    {"the dead counted", dead_counted},
    {"gone although attached", gone_although_attached},
    {"attached although gone", attached_although_gone},
    {"detached twice", detached_twice},
};
const std::vector<Mutation> kOfNames = {
    {"two creators", two_creators},
    {"removed twice", removed_twice},
    {"recorded second creator", recorded_second_creator, true},
    {"recorded second removal", recorded_second_removal, true},
    {"opened although removed", opened_although_removed},
    {"not found although there", not_found_although_there},
    {"another one opened", opened_another},
    {"EEXIST although free", exists_although_free},
    {"two of one name", two_of_one_name},
};

}  // namespace

const std::vector<Mutation>& mutations_of(Object object) {
    static const std::vector<Mutation> of_priority_queues = mutations_of_queues(false),
                                       of_typed_queues = mutations_of_queues(true);
    switch (object) {
        case Object::priority_queue:
            return of_priority_queues;
        case Object::typed_queue:
            return of_typed_queues;
        case Object::semaphores:
            return kOfSemaphores;
        case Object::segment:
            return kOfSegments;
        default:
            return kOfNames;
    }
}

History spread(const History& history) {
    History wide = history;
    for (Operation& o : wide.operations) {
        o.invoked = o.invoked * 8 + kRoom;
        if (!o.pending()) o.returned = o.returned * 8 + kRoom;
    }
    return wide;
}

}  // namespace muster::test::order
