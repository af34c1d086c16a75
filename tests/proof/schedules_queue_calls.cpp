// What the processes of a schedule do with their queue, as the doors do it, and what they are told.
#include <signal.h>
#include "objects/sysv_registry.hpp"
#include "tests/proof/schedules_queue_scenario.hpp"

namespace muster::test {

using objects::Patience;
using objects::Queue;
using platform::current_thread;
using simulated::machine;
using Kind = Operation::Kind;

namespace {
constexpr std::uint64_t kMixed = 0x9e3779b97f4a7c15u;
constexpr std::size_t kWordsMost = 32;

Patience patience(bool waits) {
    return {waits ? platform::kForever : platform::kNoWait, -1};
}
template <class T>
int error_of(const platform::Outcome<T>& outcome) {
    return outcome ? 0 : outcome.fault().errno_value;
}
const char* deed_of(char letter) {
    switch (letter) {
        case 'c':
            return "changes the limits";
        case 'd':
            return "removes the queue";
        case 'p':
            return "polls for a message";
        case 'q':
            return "polls for free space";
        default:
            return "asks to be notified";
    }
}
Kind kind_of(char letter) {
    switch (letter) {
        case 's':
        case 'S':
            return Kind::send;
        case 'r':
        case 'R':
            return Kind::receive;
        case 'c':
            return Kind::change;
        case 'd':
            return Kind::remove;
        case 'p':
            return Kind::poll_message;
        case 'q':
            return Kind::poll_room;
        default:
            return Kind::watch;
    }
}
}  // namespace

// Every word but the first says of which message of which schedule it is, and where in it.
std::uint64_t QueueScenario::word_of(std::uint64_t id, std::size_t index) const {
    return index == 0 ? id : (id + 64 * schedules_) * kMixed + index;
}

int QueueScenario::send(Queue& queue, std::uint64_t id, std::uint64_t key, bool waits) {
    std::uint64_t body[kWordsMost];
    for (std::size_t i = 0; i < shape_.body_bytes / 8; ++i) body[i] = word_of(id, i);
    return error_of(shape_.typed ? queue.send_typed(current_thread(), body, shape_.body_bytes, key, patience(waits))
                                 : queue.send(current_thread(), fd_, body, shape_.body_bytes, key, patience(waits)));
}

int QueueScenario::receive(Queue& queue, bool waits, objects::Selector wanted, std::uint64_t& id, std::uint64_t& key) {
    std::uint64_t body[kWordsMost] = {};
    auto got = shape_.typed
                   ? queue.receive_typed(current_thread(), {{body}, sizeof body, wanted, false, nullptr}, patience(waits))
                   : queue.receive(current_thread(), fd_, body, queue.message_bytes_max(), patience(waits));
    if (!got) return got.fault().errno_value;
    id = body[0];
    key = got->priority;
    bool whole = got->length == shape_.body_bytes;
    for (std::size_t i = 1; i < shape_.body_bytes / 8; ++i) whole = whole && body[i] == word_of(id, i);
    if (!whole) machine().fail("a message came otherwise than it was sent");
    return 0;
}

// Told when there is something; the flag that sends everybody the slow way is taken back after that.
void QueueScenario::poll(Queue& queue, bool for_room, std::size_t at) {
    if (!queue.start_polling(current_thread(), fd_, simulated::Machine::kFifo, true)) machine().fail("polling was refused");
    machine().poll_fifo(for_room);
    end_operation(at, 0);
    queue.stop_polling(current_thread(), fd_);
}

// Registers, and if it may, sleeps until it is notified.
void QueueScenario::watch(Queue& queue, bool by_word, std::size_t at) {
    const unsigned number = machine().self();
    memory::ShmU32& word = header_->send.notify_word;
    std::uint32_t before = 0;
    const int error = error_of(queue.set_notify(current_thread(), fd_, {SIGEV_SIGNAL, SIGUSR1, 0, by_word, &before}));
    end_operation(at, error);
    if (error != 0) return;
    const std::size_t told = begin_operation({Kind::told, true, number, 0, 0});
    if (!by_word) machine().wait_for_signal();
    while (by_word && word.load_acquire() == before) platform::futex_wait(word.address(), before, platform::kForever);
    end_operation(told, 0);
}

int QueueScenario::change(Queue& queue) {
    const std::uint64_t bytes_max = shape_.changed != 0 ? shape_.changed * shape_.body_bytes : kBytesMax;
    const auto nothing = [](void*, memory::ObjectHeader&) { return platform::done(); };
    return error_of(queue.change(current_thread(), nothing, nullptr, bytes_max));
}

std::size_t QueueScenario::begin_operation(Operation op) {
    op.begun = machine().now();
    operations_.push_back(op);
    return operations_.size() - 1;
}

void QueueScenario::end_operation(std::size_t at, int error) {
    Operation& op = operations_[at];
    op.error = error;
    op.ended = machine().now();
    machine().operation_done();
    const bool message = op.kind == Kind::receive && error == 0;
    if (machine().tracing)
        machine().note("is told errno " + std::to_string(error) + (message ? ", message " + std::to_string(op.id) : ""));
    const bool moves = op.kind == Kind::send || op.kind == Kind::receive;
    const bool expected = error == 0 || (moves && error == EAGAIN && !op.waits) || (moves && error == EINTR && op.waits) ||
                          (op.kind == Kind::watch && error == EBUSY) || (shape_.typed && error == EIDRM);
    if (!expected)
        machine().fail("an operation of P" + std::to_string(op.process) + " failed with errno " + std::to_string(error));
}

int QueueScenario::move_message(Queue& queue, char letter, std::size_t at) {
    std::uint64_t id = 0, key = 0;
    const Operation op = operations_[at];
    const objects::Selector wanted{static_cast<objects::Selector::Kind>(op.selector_kind), op.selector};
    const int error =
        op.kind == Kind::send ? send(queue, op.id, op.key, letter == 'S') : receive(queue, letter == 'R', wanted, id, key);
    if (op.kind == Kind::receive) {
        operations_[at].id = id;
        operations_[at].key = key;
    }
    return error;
}

int QueueScenario::perform(unsigned number, char letter, std::uint64_t seed) {
    const Kind kind = kind_of(letter);
    const std::size_t at = operations_.size();
    Random random(seed * 31 + at * 7 + number);
    Operation op{kind, letter < 'a', number, at + 1, (shape_.typed ? 1u : 0u) + random.below(2)};
    if (kind == Kind::receive && shape_.typed && seed != 0 && letter == 'R') {
        op.selector_kind = random.below(4);
        op.selector = 1 + random.below(2);
    }
    if (machine().tracing)
        machine().note(kind == Kind::send      ? "sends " + std::to_string(op.id) + " of " + std::to_string(op.key)
                       : kind == Kind::receive ? std::string("receives")
                                               : deed_of(letter));
    begin_operation(op);
    Queue& queue = queue_of(number);
    if (kind == Kind::poll_message || kind == Kind::poll_room) return poll(queue, kind == Kind::poll_room, at), 0;
    if (kind == Kind::watch) return watch(queue, letter == 'N', at), 0;
    int error = 0;
    if (shape_.typed && removed())
        error = EIDRM;  // a door asks before it asks the queue
    else if (kind == Kind::change)
        error = change(queue);
    else if (kind == Kind::remove)
        error = error_of(queue.remove(current_thread(), &objects::SysvRegistry::mark_removed));
    else
        error = move_message(queue, letter, at);
    end_operation(at, error);
    return error;
}

}  // namespace muster::test
