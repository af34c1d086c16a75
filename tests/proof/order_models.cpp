#include "tests/proof/order_models.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace muster::test::order {
namespace {

std::int16_t small(int number) {
    return static_cast<std::int16_t>(number);
}

// A removed object's identifier: the manual pages name EINVAL or EIDRM, for the same case.
bool is_gone(int error) {
    return error == EINVAL || error == EIDRM;
}

// SOURCE signal(7): a sleeper of System V that is stopped and continued gets EINTR from the kernel. Muster's sleeps on.
bool interrupted(const Setup& setup, const Operation& o) {
    return setup.kernel && o.error == EINTR;
}

}  // namespace

// Queues

bool QueueModel::full(const State& state, const Operation& send) const {
    if (!typed()) return state.count >= setup_.capacity;
    // SOURCE msgop(2): both the bytes and the number of messages are bounded by msg_qbytes.
    return state.bytes + send.size > setup_.capacity || state.count + 1 > setup_.capacity;
}

int QueueModel::chosen(const State& state, const Operation& receive) const {
    if (!typed()) return state.count > 0 ? 0 : -1;
    int best = -1;
    for (int i = 0; i < state.count; ++i) {
        const int type = state.messages[i].kind;
        if (receive.selector == 0) return i;
        if (receive.selector > 0 && (type == receive.selector) != receive.except) return i;
        if (receive.selector < 0 && type <= -receive.selector && (best < 0 || type < state.messages[best].kind)) best = i;
    }
    return best;
}

// SOURCE mq_send(3), mq_receive(3): EMSGSIZE, whatever the queue holds and whether or not the call would wait.
bool QueueModel::too_long(const Operation& o) const {
    if (typed()) return false;
    return (o.call == Call::send && o.size > kPriorityBytes) || (o.call == Call::receive && o.size < kPriorityBytes);
}

// Whether the message is what the call gave: whole, or its beginning as far as there was room.
bool QueueModel::came_as(const Message& message, const Operation& receive) {
    const int bytes = receive.truncate ? std::min<int>(message.size, receive.size) : message.size;
    return bytes <= receive.size && receive.result[2] == bytes && receive.result[1] == message.kind &&
           receive.result[0] == (bytes > 0 ? message.number : 0);
}

// SOURCE msgop(2), MSG_COPY, and copy_msg() of the kernel, which cuts no copy: EINVAL.
bool QueueModel::copied(const State& state, const Operation& o) {
    if (o.selector < 0 || o.selector >= state.count) return o.error == ENOMSG;
    const Message& message = state.messages[o.selector];
    if (message.size > o.size) return o.error == (o.truncate ? EINVAL : E2BIG);
    return o.error == 0 && came_as(message, o);
}

QueueModel::QueueModel(const History& history) : setup_(history.setup) {
    for (const Operation& o : history.operations) gives_back_ = gives_back_ || o.call == Call::give_back;
}

void QueueModel::put(State& state, const Message& message) const {
    int place = state.count;
    const auto behind = [&](const Message& other) {
        const bool overtaken = !typed() && other.kind != message.kind;
        return overtaken ? other.kind < message.kind : other.age > message.age;
    };
    while (place > 0 && behind(state.messages[place - 1])) --place;
    std::copy_backward(state.messages + place, state.messages + state.count, state.messages + state.count + 1);
    state.messages[place] = message;
    ++state.count;
    state.bytes = small(state.bytes + message.size);
}

void QueueModel::take(State& state, int index) {
    state.bytes = small(state.bytes - state.messages[index].size);
    std::copy(state.messages + index + 1, state.messages + state.count, state.messages + index);
    state.messages[--state.count] = {};
}

bool QueueModel::returned(State& state, const Operation& o) const {
    if (o.call == Call::death || interrupted(setup_, o)) return true;
    if (o.call == Call::count) {
        // One more than the limit, where one came back, is told as the limit.
        const int count = gives_back_ && !typed() ? std::min<int>(state.count, setup_.capacity) : state.count;
        return o.error == 0 && o.result[0] == count && o.result[1] == (typed() ? state.bytes : 0);
    }
    if (too_long(o)) return o.error == EMSGSIZE;
    // SOURCE msgop(2): a kernel may have been built without.
    if (o.call == Call::copy) return copied(state, o) || (setup_.kernel && o.error == ENOSYS);
    if (o.call == Call::send) {
        if (o.error == EAGAIN) return !o.waits && full(state, o);
        return o.error == 0 && unfinished(state, o);
    }
    const int index = chosen(state, o);
    if (o.error == (typed() ? ENOMSG : EAGAIN)) return !o.waits && index < 0;
    if (index < 0) return false;
    const Message& message = state.messages[index];
    if (o.error == E2BIG) return typed() && !o.truncate && message.size > o.size;
    return o.error == 0 && came_as(message, o) && unfinished(state, o);
}

bool QueueModel::unfinished(State& state, const Operation& o) const {
    if (o.call == Call::give_back) return give_back(state, o.process);
    if (too_long(o)) return false;
    if (o.call == Call::send) {
        if (full(state, o) || state.count >= kMostMessages) return false;
        if (gives_back_) ++state.sent;
        put(state, {small(o.number), small(o.selector), small(o.size), state.sent});
        return true;
    }
    if (o.call != Call::receive) return false;  // nothing is changed by it: whether it happened is all one
    const int index = chosen(state, o);
    if (index < 0 || (!o.truncate && state.messages[index].size > o.size)) return false;
    if (gives_back_ && o.pending()) {
        Held* const free = std::find_if(state.held, state.held + kMostHeld, [](const Held& held) { return held.process == 0; });
        if (free == state.held + kMostHeld) return false;
        *free = {small(o.process + 1), state.messages[index]};
    }
    take(state, index);
    return true;
}

bool QueueModel::give_back(State& state, int process) const {
    for (Held& held : state.held) {
        if (held.process != process + 1 || state.count >= kMostMessages) continue;
        put(state, held.message);
        held = {};
        return true;
    }
    return false;
}

History with_giving_back(const History& history) {
    History with = history;
    for (const Operation& o : history.operations) {
        if (o.call != Call::receive || !o.pending()) continue;
        Operation back;
        back.call = Call::give_back;
        back.process = o.process;
        back.invoked = o.invoked;
        with.add(back);
    }
    return with;
}

// Semaphores

SemaphoreModel::SemaphoreModel(const History& history) : setup_(history.setup) {
    for (const Operation& o : history.operations)
        for (int i = 0; i < o.step_count; ++i)
            if (o.steps[i].undo && rows_.size() < kMostProcesses) rows_.try_emplace(o.process, static_cast<int>(rows_.size()));
}

SemaphoreModel::State SemaphoreModel::first() const {
    State state{};
    for (int i = 0; i < kMostSemaphores; ++i) state.values[i] = small(setup_.values[i]);
    return state;
}

bool SemaphoreModel::operate(State& state, const Operation& o, int& blocked_at) const {
    State next = state;
    for (blocked_at = 0; blocked_at < o.step_count; ++blocked_at) {
        const SemaphoreStep& step = o.steps[blocked_at];
        std::int16_t& value = next.values[step.number];
        if (step.amount == 0 ? value != 0 : value + step.amount < 0) return false;
        value = small(value + step.amount);
        if (!step.undo) continue;
        std::int16_t& adjustment = next.adjustments[rows_.at(o.process)][step.number];
        adjustment = small(adjustment - step.amount);
    }
    state = next;
    return true;
}

bool SemaphoreModel::returned(State& state, const Operation& o) const {
    if (interrupted(setup_, o)) return true;
    switch (o.call) {
        case Call::operate: {
            int blocked_at = 0;
            if (o.error == 0) return operate(state, o, blocked_at);
            State unchanged = state;
            // It fails as a whole if the step that has to wait may not; what other steps may does not matter.
            return o.error == EAGAIN && !operate(unchanged, o, blocked_at) && !o.steps[blocked_at].waits;
        }
        case Call::get:
            return o.error == 0 && o.result[0] == state.values[o.number];
        case Call::get_all:
            for (int i = 0; i < setup_.capacity; ++i)
                if (o.result[i] != state.values[i]) return false;
            return o.error == 0;
        case Call::death: {
            const auto row = rows_.find(o.process);
            if (row == rows_.end()) return true;
            for (int i = 0; i < kMostSemaphores; ++i) {
                std::int16_t& adjustment = state.adjustments[row->second][i];
                state.values[i] = small(std::clamp(state.values[i] + adjustment, 0, 32767));
                adjustment = 0;
            }
            return true;
        }
        default:
            return o.error == 0 && unfinished(state, o);
    }
}

bool SemaphoreModel::unfinished(State& state, const Operation& o) const {
    int blocked_at = 0;
    if (o.call == Call::operate) return operate(state, o, blocked_at);
    if (o.call != Call::set && o.call != Call::set_all) return false;
    for (int i = 0; i < kMostSemaphores; ++i) {
        if (o.call == Call::set && i != o.number) continue;
        state.values[i] = small(o.call == Call::set ? o.selector : o.steps[i].amount);
        for (auto& row : state.adjustments) row[i] = 0;
    }
    return true;
}

bool steps_can_go(const Operation& o, const std::int16_t* values) {
    std::int16_t now[kMostSemaphores];
    std::copy(values, values + kMostSemaphores, now);
    for (int i = 0; i < o.step_count; ++i) {
        const SemaphoreStep& step = o.steps[i];
        if (step.amount == 0 ? now[step.number] != 0 : now[step.number] + step.amount < 0) return false;
        now[step.number] = small(now[step.number] + step.amount);
    }
    return true;
}

// Segments

SegmentModel::SegmentModel(const History& history) : kernel_(history.setup.kernel) {
    for (const Operation& o : history.operations)
        if (rows_.size() < kMostProcesses && (o.call == Call::attach || o.call == Call::detach))
            rows_.try_emplace(o.process, static_cast<int>(rows_.size()));
}

int SegmentModel::total(const State& state) {
    int sum = 0;
    for (const std::int16_t count : state.attached) sum += count;
    return sum;
}

bool SegmentModel::returned(State& state, const Operation& o) const {
    const bool gone = state.marked != 0 && total(state) == 0;
    if (o.call == Call::death) {
        const auto row = rows_.find(o.process);
        if (row == rows_.end()) return true;
        std::int16_t& count = state.attached[row->second];
        // The kernel unmaps one piece after the other, so the driver records as many deaths as there may be pieces.
        count = kernel_ && count > 0 ? small(count - 1) : std::int16_t{0};
        return true;
    }
    if (o.call == Call::count) {
        if (o.error != 0 || gone) return gone && is_gone(o.error);
        // The kernel counts an attachment twice while it is being made (do_shmat holds the segment by the same count); `size` is
        // how many were being made at the time, and is 0 for Muster.
        return o.result[0] >= total(state) && o.result[0] <= total(state) + o.size;
    }
    if (is_gone(o.error)) return gone && o.call != Call::detach;
    return o.error == 0 && unfinished(state, o);
}

bool SegmentModel::unfinished(State& state, const Operation& o) const {
    const bool gone = state.marked != 0 && total(state) == 0;
    if (o.call == Call::detach) return state.attached[rows_.at(o.process)]-- > 0;
    if (gone) return false;
    if (o.call == Call::remove) state.marked = 1;
    if (o.call == Call::attach) ++state.attached[rows_.at(o.process)];
    return o.call == Call::remove || o.call == Call::attach;
}

// Names

NameModel::NameModel(const History& history) : setup_(history.setup) {
    for (const Operation& o : history.operations)
        if (o.done(Call::create)) known_.insert(o.result[0]);
    for (const Operation& o : history.operations)
        if ((o.done(Call::open) || o.done(Call::open_or_create)) && !known_.contains(o.result[0])) strangers_.insert(o.result[0]);
}

bool NameModel::leads_to(State& state, int identity) const {
    if (state.holder == -1 && strangers_.contains(identity)) state.holder = identity + std::int64_t{1};
    return state.holder != 0 && state.holder == identity + std::int64_t{1};
}

bool NameModel::returned(State& state, const Operation& o) const {
    switch (o.call) {
        case Call::death:
            return true;
        case Call::open:
            if (o.error == ENOENT) return state.holder == 0;
            return o.error == 0 && leads_to(state, o.result[0]);
        case Call::open_or_create:
            if (o.error != 0) return false;
            if (state.holder == 0) {
                // What it has made, it has named: a queue after its own number, a key's object by an identifier that is new.
                if (by_name() && o.result[0] != o.number) return false;
                if (known_.contains(o.result[0])) return false;
                state.holder = o.result[0] + std::int64_t{1};
            }
            return leads_to(state, o.result[0]);
        case Call::create:
            if (o.error == EEXIST) return state.holder != 0;
            if (o.error != 0 || state.holder != 0 || (by_name() && o.result[0] != o.number)) return false;
            state.holder = o.result[0] + std::int64_t{1};
            return true;
        default:  // removal: of a queue by its name, of others by identifier
            if (by_name()) {
                if (o.error == ENOENT) return state.holder == 0;
                if (o.error != 0 || state.holder == 0) return false;
            } else {
                // Who asks for a removal has the identity from a call that returned before: a stranger would be none by now.
                const bool there = state.holder > 0 && state.holder == o.number + std::int64_t{1};
                if (is_gone(o.error)) return !there;
                if (o.error != 0 || !there) return false;
            }
            state.holder = 0;
            return true;
    }
}

bool NameModel::unfinished(State& state, const Operation& o) const {
    if (o.call == Call::create || o.call == Call::open_or_create) {
        if (state.holder != 0) return false;
        state.holder = by_name() ? o.number + std::int64_t{1} : -1;
        return true;
    }
    if (o.call != Call::remove || state.holder == 0) return false;
    if (!by_name() && state.holder != o.number + std::int64_t{1}) return false;
    state.holder = 0;
    return true;
}

Verdict check(const History& history, Ends ends) {
    switch (history.setup.object) {
        case Object::priority_queue:
        case Object::typed_queue:
            return Checker<QueueModel>(history, ends).check();
        case Object::semaphores:
            return Checker<SemaphoreModel>(history, ends).check();
        case Object::segment:
            return Checker<SegmentModel>(history, ends).check();
        default:
            return Checker<NameModel>(history, ends).check();
    }
}

}  // namespace muster::test::order
