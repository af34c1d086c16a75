// Small histories written by hand, right and wrong: what the checker must know about intervals, pending calls and deaths.
#include <gtest/gtest.h>
#include <cerrno>

#include "tests/proof/order_checker.hpp"
#include "tests/proof/order_models.hpp"

namespace muster::test::order {
namespace {

struct Book {
    History history;
    explicit Book(Object object, int capacity = 2) {
        history.setup.object = object;
        history.setup.capacity = capacity;
    }
    // `returned` 0: never.
    Operation& note(int process, std::uint64_t invoked, std::uint64_t returned, Call call, int error = 0) {
        Operation o;
        o.process = process;
        o.invoked = invoked;
        o.returned = returned;
        o.call = call;
        o.error = error;
        o.size = call == Call::receive || call == Call::copy ? kPriorityBytes : 8;
        history.add(o);
        return history.operations.back();
    }
    void send(int process, std::uint64_t invoked, std::uint64_t returned, int number, int priority, int error = 0) {
        Operation& o = note(process, invoked, returned, Call::send, error);
        o.number = number;
        o.selector = priority;
    }
    void receive(int process, std::uint64_t invoked, std::uint64_t returned, int number, int priority, int error = 0) {
        Operation& o = note(process, invoked, returned, Call::receive, error);
        o.result[0] = number;
        o.result[1] = priority;
        o.result[2] = 8;
        o.selector = 0;
    }
    // One after the other, by one process.
    Operation& then(Call call, int number, int kind, int bytes, int error = 0) {
        const std::uint64_t now = history.end();
        Operation& o = note(1, now, now + 1, call, error);
        if (call == Call::send) {
            o.number = number;
            o.selector = kind;
            o.size = bytes;
        } else {
            o.result[0] = number;
            o.result[1] = kind;
            o.result[2] = bytes;
        }
        return o;
    }
    void semop(int process, std::uint64_t invoked, std::uint64_t returned, SemaphoreStep step, int error = 0) {
        Operation& o = note(process, invoked, returned, Call::operate, error);
        o.steps[0] = step;
        o.step_count = 1;
    }
    void get(int process, std::uint64_t invoked, std::uint64_t returned, int value) {
        note(process, invoked, returned, Call::get).result[0] = value;
    }
    void name(int process, std::uint64_t invoked, std::uint64_t returned, Call call, int identity, int error = 0) {
        Operation& o = note(process, invoked, returned, call, error);
        o.number = o.result[0] = identity;
    }
    bool accepted(Ends ends = Ends::at_death) const { return check(history, ends).accepted; }
};
constexpr SemaphoreStep kTake{0, -1, true, false}, kTakeUndo{0, -1, true, true}, kTryTake{0, -1, false, false};

TEST(OrderCases, CallsThatOverlapMayChangePlaces) {
    Book book(Object::priority_queue);
    book.receive(1, 1, 6, 7, 0);  // called before the send, returned after it began
    book.send(2, 2, 3, 7, 0);
    EXPECT_TRUE(book.accepted());
    Book apart(Object::priority_queue);
    apart.receive(1, 1, 2, 7, 0);
    apart.send(2, 3, 4, 7, 0);
    EXPECT_FALSE(apart.accepted());
}

TEST(OrderCases, PrioritiesAndAges) {
    for (const bool right : {true, false}) {
        Book book(Object::priority_queue);
        book.send(1, 1, 2, 1, 0);
        book.send(1, 3, 4, 2, 5);
        book.receive(2, 5, 6, right ? 2 : 1, right ? 5 : 0);
        book.receive(2, 7, 8, right ? 1 : 2, right ? 0 : 5);
        EXPECT_EQ(book.accepted(), right);
    }
    for (const bool right : {true, false}) {
        Book book(Object::priority_queue);
        book.send(1, 1, 2, 1, 0);
        book.send(1, 3, 4, 2, 0);
        book.receive(2, 5, 6, right ? 1 : 2, 0);
        EXPECT_EQ(book.accepted(), right);
    }
}

TEST(OrderCases, FullAndEmptyAreMoments) {
    Book book(Object::priority_queue, 1);
    book.send(1, 1, 2, 1, 0);
    book.send(2, 3, 6, 2, 0, EAGAIN);  // full when it looked
    book.receive(3, 4, 5, 1, 0);
    book.receive(3, 7, 8, 0, 0, EAGAIN);
    EXPECT_TRUE(book.accepted());
    book.send(2, 9, 10, 3, 0, EAGAIN);  // full of what?
    EXPECT_FALSE(book.accepted());
}

TEST(OrderCases, WhatTheDeadBeganMayHaveHappenedOrNot) {
    for (const bool received : {true, false}) {
        Book book(Object::priority_queue);
        book.send(1, 1, 0, 1, 0);
        book.note(1, 2, 3, Call::death);
        if (received)
            book.receive(2, 4, 5, 1, 0);
        else
            book.receive(2, 4, 5, 0, 0, EAGAIN);
        EXPECT_TRUE(book.accepted());
    }
    Book taken(Object::priority_queue);  // and what it took is gone
    taken.send(1, 1, 2, 1, 0);
    taken.receive(3, 3, 0, 0, 0);
    taken.note(3, 4, 5, Call::death);
    taken.receive(1, 6, 7, 0, 0, EAGAIN);
    EXPECT_TRUE(taken.accepted());
    taken.receive(1, 8, 9, 1, 0);  // but not if it comes back
    EXPECT_FALSE(taken.accepted(Ends::any_time));
    Book none(Object::priority_queue);  // a message that nobody living or dead has sent
    none.receive(2, 4, 5, 1, 0);
    EXPECT_FALSE(none.accepted(Ends::any_time));
}

TEST(OrderCases, FinishedByOthersAfterADeath) {
    Book book(Object::priority_queue);
    book.send(1, 1, 0, 1, 0);
    book.note(1, 2, 3, Call::death);
    book.receive(2, 4, 5, 0, 0, EAGAIN);
    book.receive(2, 6, 7, 1, 0);
    EXPECT_FALSE(book.accepted(Ends::at_death));
    EXPECT_TRUE(book.accepted(Ends::any_time));
}

TEST(OrderCases, ADeadReceiverGivesBack) {
    Book book(Object::priority_queue, 1);
    book.send(1, 1, 2, 1, 0);
    book.receive(2, 3, 0, 0, 0);
    book.send(1, 5, 6, 2, 0);  // there was room, so it was taken
    book.note(2, 4, 7, Call::death);
    EXPECT_TRUE(book.accepted());
    book.receive(3, 8, 9, 1, 0);  // and is there again, the older one
    book.receive(3, 10, 11, 2, 0);
    EXPECT_FALSE(book.accepted(Ends::any_time));
    book.history = with_giving_back(book.history);
    EXPECT_TRUE(book.accepted(Ends::any_time));
    book.receive(3, 12, 13, 1, 0);  // but once
    EXPECT_FALSE(book.accepted(Ends::any_time));
    book.history.operations.pop_back();
    std::swap(book.history.operations[4].result, book.history.operations[5].result);
    EXPECT_TRUE(book.accepted(Ends::any_time));  // given back only after the younger one was received
    book.history.operations[2].error = EAGAIN;   // no room: not taken before
    book.history.operations[5].result[0] = 1;
    book.history.operations[4].result[0] = 2;
    EXPECT_FALSE(book.accepted(Ends::any_time));
}

TEST(OrderCases, FullOfAMessageThatIsBeingTaken) {
    Book book(Object::priority_queue, 2);
    book.send(1, 1, 2, 1, 0);
    book.receive(2, 3, 10, 1, 0);  // chose before the higher one came
    book.send(1, 4, 5, 2, 1);
    book.send(1, 6, 7, 3, 0, EAGAIN);  // and had not made room yet
    EXPECT_FALSE(book.accepted(Ends::any_time));
}

TEST(OrderCases, MessagesWithoutBytes) {
    for (const Object object : {Object::priority_queue, Object::typed_queue}) {
        Book book(object);
        book.then(Call::send, 1, 1, 0);
        book.then(Call::send, 2, 1, 0);
        book.then(Call::send, 3, 1, 0, EAGAIN);  // in a typed queue, too, the messages count beside the bytes
        book.then(Call::receive, 0, 1, 0);
        EXPECT_TRUE(book.accepted());
        Book lost = book;
        lost.then(Call::receive, 0, 0, 0, object == Object::typed_queue ? ENOMSG : EAGAIN);
        EXPECT_FALSE(lost.accepted());
        Book filled = book;
        filled.then(Call::receive, 2, 1, 4);
        EXPECT_FALSE(filled.accepted());
        book.then(Call::receive, 0, 1, 0);
        EXPECT_TRUE(book.accepted());
        book.then(Call::receive, 0, 1, 0);
        EXPECT_FALSE(book.accepted());
    }
}

TEST(OrderCases, CutMessagesAreGoneWhole) {
    Book book(Object::typed_queue, 8);
    book.then(Call::send, 1, 1, 8);
    book.then(Call::receive, 0, 0, 0, E2BIG).size = 4;
    book.then(Call::copy, 0, 0, 0, E2BIG).size = 4;
    const Book uncut = book;
    Operation& cut = book.then(Call::receive, 1, 1, 4);
    cut.size = 4;
    EXPECT_FALSE(book.accepted());  // without being asked for
    cut.truncate = true;
    book.then(Call::count, 0, 0, 0);
    book.then(Call::receive, 0, 0, 0, ENOMSG);
    EXPECT_TRUE(book.accepted());
    for (const int bytes : {0, 8}) {
        Book other = uncut;
        Operation& wrong = other.then(Call::receive, bytes == 0 ? 0 : 1, 1, bytes);
        wrong.size = 4;
        wrong.truncate = true;
        EXPECT_FALSE(other.accepted()) << bytes;
    }
    Book bytes = uncut;  // of a message cut to nothing only the type is told
    Operation& nothing = bytes.then(Call::receive, 0, 1, 0);
    nothing.size = 0;
    nothing.truncate = true;
    EXPECT_TRUE(bytes.accepted());
    bytes.then(Call::count, 0, 0, 0).result[1] = 8;  // its room is free
    EXPECT_FALSE(bytes.accepted());
}

TEST(OrderCases, CopiesStay) {
    Book book(Object::typed_queue, 12);
    book.then(Call::send, 1, 2, 8);
    book.then(Call::send, 2, 1, 4);
    book.then(Call::copy, 2, 1, 4).selector = 1;
    book.then(Call::copy, 1, 2, 8);
    book.then(Call::copy, 0, 0, 0, ENOMSG).selector = 2;
    Operation& cut = book.then(Call::copy, 0, 0, 0, EINVAL);
    cut.size = 4;
    cut.truncate = true;
    const Book before = book;
    book.then(Call::receive, 1, 2, 8);
    book.then(Call::copy, 2, 1, 4);
    EXPECT_TRUE(book.accepted());
    book.then(Call::copy, 1, 2, 8);  // not there any more
    EXPECT_FALSE(book.accepted());
    Book taken = before;
    taken.then(Call::receive, 2, 1, 4);  // as if the first had been taken by its copy
    EXPECT_FALSE(taken.accepted());
    Book beside = before;  // called before the send of what it shows, returned after it
    beside.history.operations[2].invoked = 1;
    EXPECT_TRUE(beside.accepted());
    beside.history.operations[2].returned = 2;
    EXPECT_FALSE(beside.accepted());
}

TEST(OrderCases, LengthsAreJudgedBeforeTheQueue) {
    Book book(Object::priority_queue, 1);
    book.then(Call::receive, 0, 0, 0, EMSGSIZE).size = kPriorityBytes - 1;
    book.then(Call::send, 1, 0, kPriorityBytes);
    book.then(Call::send, 2, 0, kPriorityBytes + 1, EMSGSIZE);
    EXPECT_TRUE(book.accepted());
    for (const int error : {0, EAGAIN}) {
        Book other = book;
        other.history.operations.back().error = error;
        EXPECT_FALSE(other.accepted()) << error;
    }
    book.history.operations.front().error = EAGAIN;
    EXPECT_FALSE(book.accepted());
}

TEST(OrderCases, ADeathGivesBackOnce) {
    for (int value = 0; value <= 2; ++value) {
        Book book(Object::semaphores, 1);
        book.history.setup.values[0] = 1;
        book.semop(1, 1, 2, kTakeUndo);
        book.note(1, 5, 8, Call::death);
        book.semop(2, 3, 4, kTryTake, EAGAIN);  // before the kill: not given back yet
        book.get(2, 9, 10, value);              // after waitpid: given back
        EXPECT_EQ(book.accepted(), value == 1) << value;
    }
    Book between(Object::semaphores, 1);  // a sleeper goes on at any time between
    between.history.setup.values[0] = 1;
    between.semop(1, 1, 2, kTakeUndo);
    between.semop(2, 3, 6, kTake);
    between.note(1, 5, 8, Call::death);
    EXPECT_TRUE(between.accepted());
    between.history.operations.back().invoked = 7;  // but not before
    EXPECT_FALSE(between.accepted());
}

TEST(OrderCases, ADeathComesAfterItsProcesssLastReturn) {
    for (const int value : {0, 1}) {
        Book book(Object::semaphores, 1);
        book.history.setup.values[0] = 1;
        book.semop(1, 1, 2, kTakeUndo);
        book.note(1, 2, 3, Call::death);
        book.get(2, 4, 5, value);
        EXPECT_EQ(book.accepted(), value == 1) << value;
    }
}

TEST(OrderCases, WhatTheDeadHadAdjustedWithoutReturning) {
    for (const int value : {0, 1, 2}) {
        Book book(Object::semaphores, 1);
        book.history.setup.values[0] = 1;
        book.semop(1, 1, 0, {0, 1, true, true});
        book.get(2, 2, 3, value);  // seen with it or without
        book.note(1, 4, 5, Call::death);
        book.get(2, 6, 7, 1);  // and never after
        EXPECT_EQ(book.accepted(), value != 0) << value;
    }
}

TEST(OrderCases, AVectorIsOneStep) {
    Book book(Object::semaphores, 2);
    book.history.setup.values[0] = 1;
    Operation& both = book.note(1, 1, 8, Call::operate);
    both.steps[0] = kTake;
    both.steps[1] = {1, -1, true, false};
    both.step_count = 2;
    book.get(2, 2, 3, 1);  // it waits for the other one without holding this one
    book.note(2, 4, 5, Call::operate);
    book.history.operations.back().steps[0] = {1, 1, true, false};
    book.history.operations.back().step_count = 1;
    book.get(2, 6, 7, 0);
    EXPECT_TRUE(book.accepted());
    book.history.operations[1].result[0] = 0;
    EXPECT_FALSE(book.accepted());
}

TEST(OrderCases, SegmentsCountTheLiving) {
    for (const int count : {0, 1, 2}) {
        Book book(Object::segment);
        book.note(1, 1, 2, Call::attach).size = 0;
        book.note(2, 3, 4, Call::attach).size = 0;
        book.note(1, 5, 6, Call::death);
        Operation& looked = book.note(3, 7, 8, Call::count);
        looked.size = 0;
        looked.result[0] = count;
        EXPECT_EQ(book.accepted(), count == 1) << count;
    }
}

TEST(OrderCases, OneCreator) {
    for (const bool removed_between : {true, false}) {
        Book book(Object::message_key);
        book.name(1, 1, 8, Call::create, 10);
        book.name(2, 2, 7, Call::create, 11);
        if (removed_between) book.name(3, 3, 6, Call::remove, 10);
        EXPECT_EQ(book.accepted(), removed_between);
    }
    Book unheard(Object::message_key);  // a creator that died is known by what others find
    unheard.name(1, 1, 0, Call::create, 0);
    unheard.note(1, 2, 3, Call::death);
    unheard.name(2, 4, 5, Call::create, 0, EEXIST);
    unheard.name(2, 6, 7, Call::open, 12);
    EXPECT_TRUE(unheard.accepted());
    unheard.name(2, 8, 9, Call::open, 13);
    EXPECT_FALSE(unheard.accepted());
}

TEST(OrderCases, MoreThanTheSearchCanHoldIsToldAndNotAccepted) {
    Book book(Object::priority_queue);
    for (std::uint64_t i = 0; i <= kMostOperations; ++i) book.receive(1, 2 * i + 1, 2 * i + 2, 0, 0, EAGAIN);
    const Verdict verdict = check(book.history, Ends::at_death);
    EXPECT_FALSE(verdict.searchable);
    EXPECT_FALSE(verdict.accepted);
}

}  // namespace
}  // namespace muster::test::order
