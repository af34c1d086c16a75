// What the processes of a round are told to do, and what helps them to an end.
#include <algorithm>
#include <cerrno>

#include "tests/proof/order_models.hpp"
#include "tests/proof/order_objects.hpp"

namespace muster::test::order {
namespace {

constexpr int kTypedBytes = 12;  // of the longest message in a typed queue

Operation queue_operation(const Setup& setup, int number, Random& random) {
    Operation o;
    const bool typed = setup.object == Object::typed_queue;
    const unsigned choice = random.below(20);
    o.waits = random.once_in(3);
    const auto some_words = [&](unsigned most) { return 4 * static_cast<int>(random.below(most + 1)); };
    if (choice < 2) {
        o.call = Call::count;
    } else if (choice < 11) {
        o.call = Call::send;
        o.number = number;
        o.selector = static_cast<int>(typed ? 1 + random.below(3) : random.below(3));
        // None is longer than the queue has room for: nobody could help who waits with it.
        o.size =
            typed ? some_words(static_cast<unsigned>(std::min(kTypedBytes, setup.capacity) / 4)) : some_words(kPriorityBytes / 4);
        if (!typed && random.once_in(16)) o.size = kPriorityBytes + 4;
    } else if (typed && random.once_in(5)) {
        o.call = Call::copy;
        o.waits = false;
        o.selector = static_cast<int>(random.below(3));
        o.size = random.once_in(4) ? some_words(2) : kTypedBytes;
        o.truncate = random.once_in(4);
    } else {
        o.call = Call::receive;
        o.size = kPriorityBytes;
        if (!typed) {
            if (random.once_in(16)) o.size = kPriorityBytes - 1;
            return o;
        }
        o.size = random.once_in(3) ? some_words(2) : kTypedBytes;
        o.truncate = random.once_in(2);
        const int type = 1 + static_cast<int>(random.below(3));
        const unsigned way = random.below(4);
        o.selector = way == 0 ? 0 : way == 1 ? -type : type;
        o.except = way == 2 && random.once_in(2);
    }
    return o;
}

bool values_that_let_go(const Operation& o, std::int16_t* values) {
    for (int tried = 0; tried < 512; ++tried) {
        for (int i = 0; i < kMostSemaphores; ++i) values[i] = static_cast<std::int16_t>(tried >> 3 * i & 7);
        if (steps_can_go(o, values)) return true;
    }
    return false;
}

Operation semaphore_operation(const Setup& setup, Random& random) {
    Operation o;
    const auto semaphores = static_cast<unsigned>(setup.capacity);
    // In every fourth round nothing is set and nobody waits: then the sum of all that was done can be told from the outside.
    const bool plain = setup.round % 4 == 0;
    const unsigned choice = plain ? 2 + random.below(18) : random.below(20);
    o.number = static_cast<int>(random.below(semaphores));
    if (choice == 0) {
        o.call = Call::set;
        o.selector = static_cast<int>(random.below(3));
    } else if (choice == 1) {
        o.call = Call::set_all;
        for (SemaphoreStep& step : o.steps) step.amount = static_cast<int>(random.below(3));
    } else if (choice < 5) {
        o.call = choice == 2 ? Call::get : Call::get_all;
    } else {
        o.call = Call::operate;
        o.step_count = random.once_in(2) ? 1 : 1 + static_cast<int>(random.below(kMostSteps));
        o.waits = !plain && random.once_in(2);
        for (int i = 0; i < o.step_count; ++i) {
            SemaphoreStep& step = o.steps[i];
            step.number = static_cast<int>(random.below(semaphores));
            step.amount = random.once_in(5)   ? 0
                          : random.once_in(2) ? 1 + static_cast<int>(random.below(2))
                                              : -1 - static_cast<int>(random.below(2));
            step.waits = !plain && random.once_in(8) ? !o.waits : o.waits;
            step.undo = random.once_in(3);
        }
        // Nothing waits for what cannot come, such as one more and then zero.
        std::int16_t values[kMostSemaphores];
        if (!values_that_let_go(o, values))
            for (SemaphoreStep& step : o.steps) step.waits = false;
    }
    return o;
}

Operation segment_operation(Random& random) {
    Operation o;
    const unsigned choice = random.below(20);
    o.call = choice < 8 ? Call::attach : choice < 13 ? Call::detach : choice < 19 ? Call::count : Call::remove;
    return o;
}

Operation name_operation(int number, Random& random) {
    Operation o;
    const unsigned choice = random.below(20);
    o.call = choice < 6 ? Call::create : choice < 11 ? Call::open : choice < 14 ? Call::open_or_create : Call::remove;
    o.number = o.call == Call::create || o.call == Call::open_or_create ? number : 0;
    return o;
}

}  // namespace

std::vector<Operation> make_script(const Setup& setup, int process, int length, Random& random) {
    std::vector<Operation> script;
    for (int i = 0; i < length; ++i) {
        const int number = 1 + process * 8 + i;
        Operation o;
        switch (setup.object) {
            case Object::priority_queue:
            case Object::typed_queue:
                o = queue_operation(setup, number, random);
                break;
            case Object::semaphores:
                o = semaphore_operation(setup, random);
                break;
            case Object::segment:
                o = segment_operation(random);
                break;
            default:
                o = name_operation(number, random);
        }
        o.process = process;
        o.pause = random.once_in(2) ? 0 : random.once_in(2) ? 1 : 2 + static_cast<int>(random.below(3000));
        script.push_back(o);
    }
    return script;
}

Help help_for(const Setup& setup, const Operation& blocked, int tries) {
    Help help;
    Operation& o = help.operation;
    o.process = kDrainer;
    o.size = kPriorityBytes;
    if (setup.object == Object::semaphores) {
        std::int16_t values[kMostSemaphores] = {};
        help.frees_if_done = values_that_let_go(blocked, values);
        o.call = Call::set_all;
        for (int i = 0; i < kMostSemaphores; ++i) o.steps[i].amount = values[i];
        return help;
    }
    const bool typed = setup.object == Object::typed_queue;
    // Every other time room is made first: a typed queue may be full of what the sleeper does not want.
    if (blocked.call == Call::send || (typed && tries % 2 == 1)) {
        o.call = Call::receive;
        help.frees_if_done = !typed;
        help.frees_if_empty = blocked.call == Call::send;
        return help;
    }
    o.call = Call::send;
    o.number = 200 + tries;
    o.size = typed ? 4 : 8;
    o.selector = !typed || blocked.selector == 0 ? 1 : std::abs(blocked.selector);
    if (blocked.except) o.selector = blocked.selector % 3 + 1;
    help.frees_if_done = true;
    return help;
}

void drain(const Setup& setup, Hands& hands, std::vector<Operation>& record) {
    const auto perform = [&](Call call, int number = 0) -> const Operation& {
        Operation o;
        o.call = call;
        o.process = kDrainer;
        o.number = number;
        o.size = call == Call::receive ? kPriorityBytes : 0;
        hands.perform(o);
        record.push_back(o);
        return record.back();
    };
    switch (setup.object) {
        case Object::priority_queue:
        case Object::typed_queue:
            // No more than the queue can hold, so that a queue that gives without end does not keep us.
            for (int i = 0; i <= setup.capacity && perform(Call::receive).error == 0; ++i) {
            }
            perform(Call::count);
            break;
        case Object::semaphores:
            perform(Call::get_all);
            break;
        case Object::segment:
            perform(Call::count);
            perform(Call::remove);
            perform(Call::count);
            break;
        default:
            for (int i = 0; i < 4; ++i) {
                const Operation& found = perform(Call::open);
                if (found.error != 0) break;
                perform(Call::remove, found.result[0]);
            }
    }
}

}  // namespace muster::test::order
