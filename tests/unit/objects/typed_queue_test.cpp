// The typed face of the queue engine: every selector; a budget of bytes and of messages that is exact; what is too long is
// cut, or E2BIG and stays; copying; typed_state() exact at every step beside a model; change() and remove() reach those who
// sleep; long messages and their memory; threads at random leave nothing wrong; and what repair() makes of damage.
#include "objects/queue.hpp"
#include <gtest/gtest.h>
#include <algorithm>
#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>
#include "support/child.hpp"
#include "support/queue_audit.hpp"
#include "support/typed_queue.hpp"

namespace muster::objects {
namespace {
using platform::kForever;
using platform::kNoWait;
using test::audit_queue;
using test::Child;
using test::eventually;
using test::kBodyBytes;
using test::memory_bytes;
using test::TypedReceived;
using test::TypedTestQueue;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr Selector kAny{Selector::any, 0};

void expect_sound(TypedTestQueue& q) {
    EXPECT_EQ(q.findings(), "");
    const test::Audit audit = audit_queue(q.fd(), q.slots_fd());
    EXPECT_TRUE(audit.complaints.empty()) << audit.text();
}

TEST(TypedQueue, GivesWhatIsAskedFor) {
    TypedTestQueue q(64, 256, 4096);
    const std::uint64_t types[] = {5, 3, 5, 9, 3, INT64_MAX, 1};
    for (std::uint64_t id = 0; id < std::size(types); ++id) ASSERT_EQ(q.send(id, 64, types[id]), 0);
    const auto get = [&](Selector::Kind kind, std::uint64_t type) {
        const TypedReceived got = q.receive({kind, type});
        EXPECT_EQ(got.wrong, nullptr);
        return got.error != 0 ? -got.error : static_cast<int>(got.id);
    };
    EXPECT_EQ(get(Selector::equal, 9), 3);
    EXPECT_EQ(get(Selector::equal, 9), -EAGAIN);
    EXPECT_EQ(get(Selector::not_equal, 5), 1);
    EXPECT_EQ(get(Selector::lowest, 4), 6);
    EXPECT_EQ(get(Selector::lowest, 2), -EAGAIN);
    EXPECT_EQ(get(Selector::lowest, 5), 4);
    EXPECT_EQ(get(Selector::any, 77), 0);
    EXPECT_EQ(get(Selector::not_equal, 5), 5);
    EXPECT_EQ(get(Selector::not_equal, 5), -EAGAIN);
    EXPECT_EQ(get(Selector::lowest, INT64_MAX), 2);
    EXPECT_EQ(get(Selector::any, 0), -EAGAIN);
    expect_sound(q);
}

TEST(TypedQueue, RefusesWhatIsNoMessage) {
    TypedTestQueue q(8, 100, 1000);
    char text[101] = {};
    EXPECT_EQ(q.send_from(text, 101, 1), EINVAL);
    EXPECT_EQ(q.send_from(text, 10, 0), EINVAL);
    EXPECT_EQ(q.send_from(text, 10, std::uint64_t{1} << 63), EINVAL);
    EXPECT_EQ(q.send_from(reinterpret_cast<void*>(64), 10, 1), EFAULT);
    EXPECT_EQ(q.state().messages, 0u);
    EXPECT_EQ(q.send_from(text, 100, INT64_MAX), 0);
    EXPECT_EQ(q.send_from(text, 0, 1), 0);
    EXPECT_EQ(q.receive_to(reinterpret_cast<void*>(64), kAny, kNoWait, 100, false).error, EFAULT);
    EXPECT_EQ(q.state().messages, 2u);
    EXPECT_EQ(q.state().bytes, 100u);
    EXPECT_EQ(q.receive({Selector::equal, 1}).length, 0u);
    EXPECT_EQ(q.receive().length, 100u);
    expect_sound(q);
}

// Neither bytes nor messages above msg_qbytes, nor messages above what the queue was made for.
TEST(TypedQueue, TheBudgetIsExact) {
    TypedTestQueue bytes(100, 512, 500);
    EXPECT_EQ(bytes.send(1, 400, 1), 0);
    EXPECT_EQ(bytes.send(2, 101, 1), EAGAIN);
    EXPECT_EQ(bytes.send(2, 100, 2), 0);
    EXPECT_EQ(bytes.send(3, 16, 1), EAGAIN);
    char nothing = 0;
    EXPECT_EQ(bytes.send_from(&nothing, 0, 3), 0);  // costs no byte
    EXPECT_EQ(bytes.receive({Selector::equal, 2}).id, 2u);
    EXPECT_EQ(bytes.send(4, 101, 1), EAGAIN);
    EXPECT_EQ(bytes.send(4, 100, 1), 0);
    EXPECT_EQ(bytes.state().bytes, 500u);

    TypedTestQueue few(100, 64, 7);  // so many bytes, so many messages
    for (int i = 0; i < 7; ++i) EXPECT_EQ(few.send_from(&nothing, 0, 1), 0);
    EXPECT_EQ(few.send_from(&nothing, 0, 1), EAGAIN);
    EXPECT_EQ(few.receive().error, 0);
    EXPECT_EQ(few.send_from(&nothing, 0, 1), 0);

    for (const std::uint64_t messages_max : {1, 2, 1000, 1500}) {
        TypedTestQueue many(messages_max, 64, 1 << 20);
        for (int round = 0; round < 3; ++round) {
            for (std::uint64_t id = 0; id < messages_max; ++id) ASSERT_EQ(many.send(id, kBodyBytes, 1 + id % 5), 0) << id;
            EXPECT_EQ(many.send(0, kBodyBytes, 1), EAGAIN);
            EXPECT_EQ(many.state().messages, messages_max);
            for (std::uint64_t id = 0; id < messages_max; ++id) ASSERT_EQ(many.receive(round == 1 ? Selector{Selector::lowest, 9} : kAny).error, 0);
        }
        EXPECT_EQ(many.receive().error, EAGAIN);
        expect_sound(many);
    }
    TypedTestQueue none(8, 64, 0);
    EXPECT_EQ(none.send_from(&nothing, 0, 1), EAGAIN);
    expect_sound(bytes);
    expect_sound(few);
}

TEST(TypedQueue, TooLongIsCutOrStays) {
    TypedTestQueue q(8, 256, 1000);
    ASSERT_EQ(q.send(1, 100, 4), 0);
    ASSERT_EQ(q.send(2, 50, 4), 0);
    for (const std::size_t capacity : {0, 20, 99})
        EXPECT_EQ(q.receive(kAny, kNoWait, capacity, false).error, E2BIG);  // from the inbox and from the index
    EXPECT_EQ(q.state().bytes, 150u);
    EXPECT_EQ(q.receive({Selector::equal, 4}, kNoWait, 99, false).error, E2BIG);
    EXPECT_EQ(q.receive(kAny, kNoWait, 100, false).id, 1u);
    const TypedReceived cut = q.receive(kAny, kNoWait, 20, true);
    EXPECT_EQ(cut.error, 0);
    EXPECT_EQ(cut.length, 20u);
    EXPECT_EQ(cut.id, 2u);
    EXPECT_EQ(q.state().bytes, 0u);
    ASSERT_EQ(q.send(3, 40, 4), 0);  // the only one, straight from the inbox
    EXPECT_EQ(q.receive(kAny, kNoWait, 39, false).error, E2BIG);
    EXPECT_EQ(q.receive(kAny, kNoWait, 0, true).length, 0u);
    expect_sound(q);
}

TEST(TypedQueue, CopiesAndTakesNothing) {
    TypedTestQueue q(64, 256, 4096);
    EXPECT_EQ(q.copy(0).error, EAGAIN);
    for (std::uint64_t id = 0; id < 10; ++id) ASSERT_EQ(q.send(id, 64 + static_cast<std::uint32_t>(id), 1 + id * 7 % 4), 0);
    ASSERT_EQ(q.receive({Selector::equal, 1 + 2 * 7 % 4}).id, 2u);
    for (int twice = 0; twice < 2; ++twice) {
        std::uint64_t index = 0;
        for (const std::uint64_t id : {0, 1, 3, 4, 5, 6, 7, 8, 9}) {
            const TypedReceived copy = q.copy(index++);
            EXPECT_EQ(copy.id, id);
            EXPECT_EQ(copy.type, 1 + id * 7 % 4);
            EXPECT_EQ(copy.wrong, nullptr);
        }
        EXPECT_EQ(q.copy(index).error, EAGAIN);
        EXPECT_EQ(q.copy(~std::uint64_t{0}).error, EAGAIN);
        EXPECT_EQ(q.state().messages, 9u);
    }
    char small[64];
    std::int64_t type = 0;
    auto copy = [&](std::size_t capacity, void* buffer, bool truncate) {
        auto copied = q.queue().copy_typed(platform::current_thread(), {{buffer}, capacity, {}, truncate, &type}, 0);
        return copied ? 0 : copied.fault().errno_value;
    };
    EXPECT_EQ(copy(63, small, false), E2BIG);
    EXPECT_EQ(copy(64, small, false), 0);
    EXPECT_EQ(copy(64, reinterpret_cast<void*>(64), false), EFAULT);
    expect_sound(q);
}

// A random course side by side with a list: every answer and, at every step, every count.
TEST(TypedQueue, DoesAsAListWithABudget) {
    struct Shape {
        std::uint64_t messages_max, message_bytes_max, bytes_max;
        unsigned types;
    };
    constexpr Shape kShapes[] = {{64, 512, 3000, 4}, {3000, 64, 60'000, 2000}, {40, 100'000, 300'000, 9}, {5, 16, 64, 2}, {1200, 8192, 200'000, 50}};
    for (const Shape& shape : kShapes)
        for (unsigned seed = 1; seed <= 3; ++seed) {
            TypedTestQueue q(shape.messages_max, shape.message_bytes_max, shape.bytes_max);
            struct Message {
                std::uint64_t id, type;
                std::uint32_t length;
            };
            std::vector<Message> model;
            std::uint64_t bytes = 0, limit = shape.bytes_max, id = 0;
            std::mt19937_64 random(seed);
            for (int step = 0; step < 3000; ++step) {
                SCOPED_TRACE("of " + std::to_string(shape.messages_max) + " messages, seed " + std::to_string(seed) + " step " +
                             std::to_string(step));
                const bool growing = step / 400 % 2 == 0;
                if (random() % 100 < (growing ? 65 : 35)) {
                    std::uint32_t length = kBodyBytes + static_cast<std::uint32_t>(random() % (shape.message_bytes_max - kBodyBytes + 1));
                    if (random() % 2 == 0) length = std::min<std::uint32_t>(length, 90);
                    const std::uint64_t type = 1 + random() % shape.types;
                    const bool fits = model.size() < shape.messages_max && model.size() < limit && bytes + length <= limit;
                    ASSERT_EQ(q.send(++id, length, type), fits ? 0 : EAGAIN);
                    if (!fits) continue;
                    model.push_back({id, type, length});
                    bytes += length;
                } else if (random() % 60 == 0) {
                    limit = random() % 2 == 0 ? shape.bytes_max : random() % shape.bytes_max;
                    ASSERT_EQ(q.change(limit), 0);
                } else {
                    const Selector wanted{static_cast<Selector::Kind>(random() % 4), 1 + random() % shape.types};
                    auto best = model.end();
                    for (auto at = model.begin(); at != model.end(); ++at)
                        if (wanted.matches(at->type) && (best == model.end() || (wanted.kind == Selector::lowest && at->type < best->type)))
                            best = at;
                    const std::size_t capacity = random() % 4 == 0 ? random() % 100 : shape.message_bytes_max;
                    const bool truncate = random() % 2 == 0;
                    const TypedReceived got = q.receive(wanted, kNoWait, capacity, truncate);
                    if (best == model.end()) {
                        ASSERT_EQ(got.error, EAGAIN);
                    } else if (best->length > capacity && !truncate) {
                        ASSERT_EQ(got.error, E2BIG);
                    } else {
                        ASSERT_EQ(got.error, 0);
                        ASSERT_EQ(got.type, best->type);
                        ASSERT_EQ(got.length, std::min<std::size_t>(best->length, capacity));
                        if (capacity >= best->length) {
                            ASSERT_EQ(got.wrong, nullptr);
                            ASSERT_EQ(got.id, best->id);
                        }
                        bytes -= best->length;
                        model.erase(best);
                    }
                }
                const TypedState state = q.state();
                ASSERT_EQ(state.messages, model.size());
                ASSERT_EQ(state.bytes, bytes);
                ASSERT_EQ(state.bytes_max, limit);
                if (step % 100 == 0 && !model.empty()) {
                    const std::uint64_t index = random() % model.size();
                    ASSERT_EQ(q.copy(index).id, model[index].id);
                }
                if (step % 500 == 0) expect_sound(q);
            }
            expect_sound(q);
        }
}

TEST(TypedQueue, StateTellsWhoAndWhen) {
    TypedTestQueue q(8, 256, 1000);
    const TypedState fresh = q.state();
    EXPECT_EQ(fresh.sent_s + fresh.received_s + fresh.last_send_pid + fresh.last_receive_pid, 0u);
    EXPECT_NE(fresh.changed_s, 0u);
    const auto now = static_cast<std::uint64_t>(platform::realtime_s());
    const auto me = static_cast<std::uint32_t>(getpid());
    Child child([&] { _exit(q.send(1, 64, 1)); });
    const auto child_id = static_cast<std::uint32_t>(child.pid());
    ASSERT_TRUE(child.ends() && child.exited());
    EXPECT_EQ(q.state().last_send_pid, child_id);
    EXPECT_GE(q.state().sent_s, now);
    EXPECT_EQ(q.receive().error, 0);
    EXPECT_EQ(q.state().last_receive_pid, me);
    EXPECT_GE(q.state().received_s, now);
}

// Those who sleep are woken by a change, find what is new, and keep their order.
TEST(TypedQueue, AChangeReachesSleepers) {
    TypedTestQueue q(64, 512, 256);
    ASSERT_EQ(q.send(0, 256, 1), 0);
    std::vector<Child> children;
    const std::uint32_t lengths[] = {200, 100, 300};
    for (std::uint32_t i = 0; i < 3; ++i) {
        children.emplace_back([&] { _exit(q.send(1 + i, lengths[i], 2 + i, kForever)); });
        ASSERT_TRUE(eventually([&] { return q.queue().state().senders_waiting == i + 1 && children.back().asleep(); }));
    }
    children.emplace_back([&] { _exit(q.receive({Selector::equal, 77}, kForever).error); });
    ASSERT_TRUE(eventually([&] { return q.queue().state().receivers_waiting == 1 && children.back().asleep(); }));
    ASSERT_EQ(q.change(100), 0);  // for nobody
    EXPECT_TRUE(eventually([&] { return q.state().senders_waiting == 3 && q.state().receivers_waiting == 1; }));
    ASSERT_EQ(q.change(360), 0);  // for the second
    EXPECT_TRUE(children[1].ends() && children[1].exited());
    EXPECT_TRUE(eventually([&] { return q.state().senders_waiting == 2 && q.state().messages == 2; }));
    ASSERT_EQ(q.change(1000), 0);
    EXPECT_TRUE(children[0].ends() && children[0].exited());
    EXPECT_TRUE(children[2].ends() && children[2].exited());
    EXPECT_EQ(q.state().messages, 4u);
    EXPECT_EQ(q.state().bytes, 856u);
    ASSERT_EQ(q.send(9, 64, 77), 0);
    EXPECT_TRUE(children[3].ends() && children[3].exited());
    expect_sound(q);

    // A change that is refused changes nothing, and those who sleep sleep on.
    auto refused = q.queue().change(
        platform::current_thread(), [](void*, memory::ObjectHeader&) -> platform::Outcome<> { return platform::Fault{EPERM}; }, nullptr, 1);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.fault().errno_value, EPERM);
    EXPECT_EQ(q.state().bytes_max, 1000u);
}

TEST(TypedQueue, ARemovalReachesEverybody) {
    TypedTestQueue q(64, 512, 256);
    ASSERT_EQ(q.send(0, 256, 1), 0);
    std::vector<Child> children;
    for (std::uint32_t i = 0; i < 4; ++i) {
        children.emplace_back([&] { _exit(i % 2 == 0 ? q.send(1 + i, 100, 2, kForever) : q.receive({Selector::equal, 77}, kForever).error); });
        ASSERT_TRUE(
            eventually([&] { return q.queue().state().senders_waiting + q.queue().state().receivers_waiting == i + 1 && children.back().asleep(); }));
    }
    ASSERT_EQ(q.remove(), 0);
    for (Child& child : children) EXPECT_TRUE(child.ends() && child.exited(EIDRM));
    EXPECT_EQ(q.remove(), EIDRM);
    EXPECT_EQ(q.receive().error, EIDRM);
    EXPECT_EQ(q.send(1, 64, 1), EIDRM);
    EXPECT_EQ(q.copy(0).error, EIDRM);
    EXPECT_EQ(q.change(5), EIDRM);

    TypedTestQueue empty(64, 512, 256);  // where nothing is in the way of the quick paths
    ASSERT_EQ(empty.remove(), 0);
    EXPECT_EQ(empty.send(1, 64, 1), EIDRM);
    EXPECT_EQ(empty.receive().error, EIDRM);
}

// Messages in regions, some of them longer than what is copied under a lock, and the memory that they leave.
TEST(TypedQueue, LongMessagesAndTheirMemory) {
    TypedTestQueue q(2000, 8192, 64 * kMiB);
    for (std::uint64_t id = 0; id < 2000; ++id) ASSERT_EQ(q.send(id, 8192, 1 + id % 10), 0);
    EXPECT_EQ(q.send(2000, 8192, 1), EAGAIN);
    EXPECT_GE(memory_bytes(q.slots_fd()), 2000 * 8192u);
    for (std::uint64_t id = 0; id < 2000; ++id) {
        const TypedReceived got = q.receive({Selector::lowest, 10});
        ASSERT_EQ(got.error, 0);
        ASSERT_EQ(got.wrong, nullptr);
        ASSERT_EQ(got.type, 1 + id / 200);
    }
    EXPECT_LE(memory_bytes(q.slots_fd()), kMiB);
    expect_sound(q);
    ASSERT_EQ(q.send(7, 8000, 3), 0);
    EXPECT_EQ(q.receive().wrong, nullptr);

    TypedTestQueue longer(16, 16 * kMiB, 64 * kMiB);
    for (std::uint64_t id = 0; id < 4; ++id) ASSERT_EQ(longer.send(id, 16 * kMiB, 4 - id), 0);
    EXPECT_EQ(longer.send(9, 16, 1), EAGAIN);
    for (std::uint64_t id = 4; id-- > 0;) {
        const TypedReceived got = longer.receive({Selector::lowest, 4});
        EXPECT_EQ(got.id, id);
        EXPECT_EQ(got.length, 16 * kMiB);
        EXPECT_EQ(got.wrong, nullptr);
    }
    EXPECT_LE(memory_bytes(longer.slots_fd()), kMiB);
    expect_sound(longer);

    Child sleeper([&] {
        const TypedReceived got = longer.receive({Selector::equal, 5}, kForever);
        _exit(got.error != 0 || got.wrong != nullptr || got.length != 100'000 ? 1 : 0);
    });
    ASSERT_TRUE(eventually([&] { return longer.queue().state().receivers_waiting == 1 && sleeper.asleep(); }));
    ASSERT_EQ(longer.send(1, 100'000, 5), 0);
    EXPECT_TRUE(sleeper.ends() && sleeper.exited());
    EXPECT_EQ(longer.state().messages, 0u);
    expect_sound(longer);
}

TEST(TypedQueue, ManySlotsAndTheirMemory) {
    constexpr std::uint32_t kMessages = 100'000;
    TypedTestQueue q(kMessages, 16, 16 * kMessages);
    for (std::uint32_t id = 0; id < kMessages; ++id) ASSERT_EQ(q.send(id, kBodyBytes, 1 + id), 0);  // as many types
    EXPECT_EQ(q.send(1, kBodyBytes, 1), EAGAIN);
    for (std::uint32_t id = 0; id < kMessages; ++id) {
        const Selector wanted = id % 3 == 0 ? kAny : id % 3 == 1 ? Selector{Selector::lowest, kMessages} : Selector{Selector::equal, 1 + id};
        const TypedReceived got = q.receive(wanted);
        ASSERT_EQ(got.error, 0);
        ASSERT_EQ(got.id, id);
    }
    EXPECT_LE(memory_bytes(q.slots_fd()), kMiB);
    expect_sound(q);
    ASSERT_EQ(q.send(1, kBodyBytes, 5), 0);
    EXPECT_EQ(q.receive({Selector::equal, 5}).id, 1u);
}

// Threads that send and receive at random, some asleep, some by type, the budget changing under them.
TEST(TypedQueue, ManyThreadsLeaveNothingWrong) {
    for (const std::uint64_t message_bytes_max : {512, 9000, 100'000}) {
        TypedTestQueue q(64, message_bytes_max, 4 * message_bytes_max);
        constexpr unsigned kSenders = 3, kEach = 1500;
        std::atomic<std::uint64_t> received_bytes{0}, sent_bytes{0}, wrong{0}, received{0};
        std::vector<std::thread> threads;
        for (unsigned s = 0; s < kSenders; ++s)
            threads.emplace_back([&, s] {
                std::mt19937_64 random(s + 1);
                std::vector<unsigned char> text(message_bytes_max);
                for (unsigned i = 0; i < kEach; ++i) {
                    const auto length = kBodyBytes + static_cast<std::uint32_t>(random() % (message_bytes_max - kBodyBytes + 1));
                    const std::uint64_t type = 1 + random() % 3;
                    test::write_body(text.data(), s * kEach + i, length, static_cast<std::uint32_t>(type));
                    if (q.send_from(text.data(), length, type, kForever) != 0) ++wrong;
                    sent_bytes += length;
                }
            });
        for (std::uint64_t type = 1; type <= 3; ++type)
            threads.emplace_back([&, type] {
                std::mt19937_64 random(type + 10);
                std::vector<unsigned char> text(message_bytes_max);
                for (bool last = false; !last;) {
                    last = received.load() >= kSenders * kEach;
                    Selector wanted{Selector::equal, type};
                    if (random() % 3 == 0) wanted = {static_cast<Selector::Kind>(random() % 4), type};
                    // A short sleep: what is waited for may be another's.
                    const std::size_t capacity = random() % 5 == 0 ? 20 : text.size();
                    const TypedReceived got =
                        q.receive_to(text.data(), wanted, random() % 2 == 0 ? kNoWait : test::in_seconds(0.002), capacity, false);
                    if (got.error == EAGAIN || got.error == ETIMEDOUT || got.error == E2BIG) continue;
                    if (got.error != 0 || got.wrong != nullptr || !wanted.matches(got.type)) ++wrong;
                    received_bytes += got.length;
                    ++received;
                }
            });
        threads.emplace_back([&] {
            std::mt19937_64 random(99);
            while (received.load() < kSenders * kEach) {
                if (q.change((2 + random() % 4) * message_bytes_max) != 0) ++wrong;
                const TypedState state = q.state();
                if (state.messages > 64) ++wrong;
                (void)q.queue().check(
                    platform::current_thread(), -1,
                    [](void* count, const char*, std::uint64_t) { ++*static_cast<std::atomic<std::uint64_t>*>(count); }, &wrong);
            }
        });
        for (std::thread& thread : threads) thread.join();
        EXPECT_EQ(wrong.load(), 0u);
        EXPECT_EQ(received.load(), std::uint64_t{kSenders * kEach});
        EXPECT_EQ(received_bytes.load(), sent_bytes.load());
        const TypedState state = q.state();
        EXPECT_EQ(state.messages + state.bytes + state.receivers_waiting + state.senders_waiting, 0u);
        expect_sound(q);
    }
}

// Repaired, a queue is sound whatever stood in its bookkeeping, keeps the messages whose slots are sound, and its budget.
TEST(TypedQueue, RepairMakesAllFromTheSlots) {
    const auto repair = [](TypedTestQueue& q) {
        std::string found;
        auto repaired = q.queue().repair(
            platform::current_thread(), -1, [](void* to, const char* what, std::uint64_t) { *static_cast<std::string*>(to) += what; }, &found);
        EXPECT_TRUE(repaired) << (repaired ? "" : repaired.fault().rule);
        return found;
    };
    using Damage = void (*)(TypedTestQueue&);
    constexpr std::pair<const char*, Damage> kDamages[] = {
        {"nothing", [](TypedTestQueue&) {}},
        {"types", [](TypedTestQueue& q) { q.header().receive.types.count.store_relaxed(3); }},
        {"used", [](TypedTestQueue& q) { q.header().receive.types.used.store_relaxed(0xffffffff); }},
        {"free", [](TypedTestQueue& q) { q.header().receive.types.free.store_relaxed(5000); }},
        {"mask", [](TypedTestQueue& q) { q.header().receive.types.bucket_mask.store_relaxed(0xffffff); }},
        {"sent_bytes", [](TypedTestQueue& q) { q.header().sent.sent_bytes.add_release(1000); }},
        {"freed_bytes", [](TypedTestQueue& q) { q.header().received.freed_bytes.add_release(1000); }},
        {"freed_bytes_seen", [](TypedTestQueue& q) { q.header().send.freed_bytes_seen.add_release(300); }},
        {"freed_seen", [](TypedTestQueue& q) { q.header().send.freed_seen.add_release(3); }},
        {"indexed", [](TypedTestQueue& q) { q.header().received.indexed.store_relaxed(77); }},
        {"freed", [](TypedTestQueue& q) { q.header().received.freed.add_release(3); }},
        {"drained", [](TypedTestQueue& q) { q.header().received.drained.add_release(1); }},
        {"spare", [](TypedTestQueue& q) { q.header().send.spare.store_relaxed(0xffffffff); }},
        {"reserved", [](TypedTestQueue& q) { q.header().send.slots_reserved.store_relaxed(0); }},
        {"intents", [](TypedTestQueue& q) {
             q.header().send.filling.store_relaxed(2);
             q.header().receive.taking.store_relaxed(3);
         }},
        {"lists", [](TypedTestQueue& q) {
             for (std::uint32_t number = 0; number < 8; ++number) q.slot(number).next.store_relaxed(0xffffffff - number);
         }},
    };
    for (const auto& [name, damage] : kDamages) {
        SCOPED_TRACE(name);
        TypedTestQueue q(64, 256, 1024);
        for (std::uint64_t id = 0; id < 8; ++id) ASSERT_EQ(q.send(id, 64, 1 + id % 3), 0);
        ASSERT_EQ(q.receive({Selector::equal, 2}).id, 1u);
        ASSERT_EQ(q.send(8, 64, 2), 0);  // one in the inbox still
        damage(q);
        repair(q);
        expect_sound(q);
        EXPECT_EQ(q.state().messages, 8u);
        EXPECT_EQ(q.state().bytes, 512u);
        // To the last byte of the budget.
        EXPECT_EQ(q.send(100, 256, 9), 0);
        EXPECT_EQ(q.send(101, 256, 9), 0);
        EXPECT_EQ(q.send(102, 16, 9), EAGAIN);
        for (const std::uint64_t id : {0, 2, 3, 4, 5, 6, 7, 8, 100, 101}) EXPECT_EQ(q.receive().id, id);
        expect_sound(q);
    }
    // Messages that are none are dropped and told.
    TypedTestQueue q(64, 256, 1024);
    for (std::uint64_t id = 0; id < 4; ++id) ASSERT_EQ(q.send(id, 64, 1 + id), 0);
    q.slot(1).key.store_relaxed(0);
    q.slot(2).length.store_relaxed(257);
    EXPECT_NE(q.findings(), "");
    EXPECT_NE(repair(q), "");
    expect_sound(q);
    EXPECT_EQ(q.state().messages, 2u);
    EXPECT_EQ(q.state().bytes, 128u);
    EXPECT_EQ(q.receive().id, 0u);
    EXPECT_EQ(q.receive().id, 3u);
}

// Two files belong together: a queue is not opened with another's slots, with none, or as a queue of priorities.
TEST(TypedQueue, OpensWithItsOwnSecondFileOnly) {
    TypedTestQueue q(8, 64, 256), other(8, 64, 256);
    ASSERT_EQ(q.send(5, 32, 7), 0);
    Queue again;
    ASSERT_TRUE(again.open(q.fd(), false, q.slots_fd()));
    char text[64];
    auto got = again.receive_typed(platform::current_thread(), {{text}, sizeof text, kAny, false, nullptr}, {kNoWait, -1});
    ASSERT_TRUE(got);
    EXPECT_EQ(got->priority, 7u);
    for (const int slots : {-1, other.slots_fd(), q.fd()}) {
        Queue wrong;
        auto opened = wrong.open(q.fd(), false, slots);
        ASSERT_FALSE(opened);
        EXPECT_EQ(opened.fault().errno_value, EBADMSG);
    }
}

}  // namespace
}  // namespace muster::objects
