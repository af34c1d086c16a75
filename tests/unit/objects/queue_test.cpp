// The queue engine: order by priority and then age; EMSGSIZE, EINVAL, EAGAIN, ETIMEDOUT; a capacity that is exact; long
// messages and deep queues, and their memory given back once the queue is empty; peeking; sleepers served in the order of
// their arrival, also when some of them are killed; and nothing left behind, neither descriptors nor names.
#include "objects/queue.hpp"
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>
#include "objects/domain.hpp"
#include "support/child.hpp"
#include "support/test_queue.hpp"

namespace muster::objects {
namespace {
using test::eventually;
using test::kBodyBytes;
using test::TestQueue;

constexpr std::uint64_t kMiB = 1 << 20;

platform::ThreadState& self() { return platform::current_thread(); }

std::string findings(Queue& queue, int fd) {
    std::string all;
    auto checked = queue.check(self(), fd, [](void* to, const char* what, std::uint64_t) { *static_cast<std::string*>(to) += std::string(what) + "\n"; }, &all);
    if (!checked) all += "check: errno " + std::to_string(checked.fault().errno_value);
    return all;
}
#define EXPECT_SOUND(q) EXPECT_EQ(findings((q).queue(), (q).fd()), "")

std::uint64_t memory_of(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * 512 : ~0ull;
}

std::size_t open_descriptors() {
    const auto all = std::filesystem::directory_iterator("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

TEST(Queue, HighestPriorityFirstAndOldestWithinIt) {
    TestQueue q(200, 64);
    std::mt19937 random(4);
    const std::uint32_t priorities[] = {0, 1, 63, 64, 4095, 4096, 32767};
    std::vector<std::pair<std::uint32_t, std::uint64_t>> sent;
    for (std::uint64_t id = 0; id < 200; ++id) {
        const std::uint32_t priority = priorities[random() % std::size(priorities)];
        ASSERT_EQ(q.send(id, kBodyBytes + static_cast<std::uint32_t>(id % 49), priority), 0);
        sent.emplace_back(priority, id);
    }
    std::stable_sort(sent.begin(), sent.end(), [](auto& a, auto& b) { return a.first > b.first; });
    for (auto [priority, id] : sent) {
        const auto got = q.receive();
        ASSERT_EQ(got.error, 0);
        EXPECT_EQ(got.wrong, nullptr);
        EXPECT_EQ(got.priority, priority);
        EXPECT_EQ(got.id, id);
    }
    EXPECT_EQ(q.receive().error, EAGAIN);
    EXPECT_SOUND(q);
}

// A message between two receives overtakes what is older and less urgent.
TEST(Queue, LaterAndMoreUrgentOvertakes) {
    TestQueue q(10, 64);
    for (std::uint64_t id : {0, 1, 2}) ASSERT_EQ(q.send(id, kBodyBytes, 5), 0);
    EXPECT_EQ(q.receive().id, 0u);
    ASSERT_EQ(q.send(3, kBodyBytes, 6), 0);
    ASSERT_EQ(q.send(4, kBodyBytes, 5), 0);
    for (std::uint64_t id : {3, 1, 2, 4}) EXPECT_EQ(q.receive().id, id);
    EXPECT_SOUND(q);
}

TEST(Queue, RefusesBadSizesAndPriorities) {
    for (const QueueOptions& bad : {QueueOptions{0, 1, 0600}, QueueOptions{1, 0, 0600}, QueueOptions{16'000'001, 1, 0600}, QueueOptions{1, (1ull << 30) + 1, 0600}}) {
        const int fd = memfd_create("queue", MFD_CLOEXEC);
        Queue queue;
        auto created = queue.create(fd, bad);
        ASSERT_FALSE(created);
        EXPECT_EQ(created.fault().errno_value, EINVAL);
        close(fd);
    }
    TestQueue q(2, 64);
    char buffer[65] = {};
    auto send = [&](std::size_t length, std::uint64_t priority) {
        auto sent = q.queue().send(self(), q.fd(), buffer, length, priority, {platform::kNoWait, -1});
        return sent ? 0 : sent.fault().errno_value;
    };
    EXPECT_EQ(send(65, 0), EMSGSIZE);
    EXPECT_EQ(send(64, 32768), EINVAL);
    EXPECT_EQ(send(64, ~0ull), EINVAL);
    EXPECT_EQ(q.queue().count(), 0u);
    auto small = q.queue().receive(self(), q.fd(), buffer, 63, {platform::kNoWait, -1});
    ASSERT_FALSE(small);
    EXPECT_EQ(small.fault().errno_value, EMSGSIZE);
    EXPECT_EQ(send(64, 32767), 0);
    EXPECT_EQ(send(0, 0), 0);  // an empty message is one
    auto first = q.queue().receive(self(), q.fd(), buffer, 64, {platform::kNoWait, -1});
    ASSERT_TRUE(first);
    EXPECT_EQ(first->length, 64u);
    EXPECT_EQ(first->priority, 32767u);
    auto second = q.queue().receive(self(), q.fd(), buffer, 64, {platform::kNoWait, -1});
    ASSERT_TRUE(second);
    EXPECT_EQ(second->length, 0u);
    EXPECT_SOUND(q);
}

TEST(Queue, CapacityIsExact) {
    for (const std::uint64_t capacity : {1, 2, 10, 1000, 1024, 5000}) {
        TestQueue q(capacity, 200);
        for (int round = 0; round < 3; ++round) {
            for (std::uint64_t id = 0; id < capacity; ++id) ASSERT_EQ(q.send(id, 100, static_cast<std::uint32_t>(id % 3)), 0) << capacity << ' ' << id;
            EXPECT_EQ(q.send(capacity, 100, 9), EAGAIN);
            EXPECT_EQ(q.queue().count(), capacity);
            ASSERT_EQ(q.receive().error, 0);
            EXPECT_EQ(q.send(capacity, 100, 9), 0);
            EXPECT_EQ(q.send(capacity + 1, 100, 9), EAGAIN);
            for (std::uint64_t id = 0; id < capacity; ++id) ASSERT_EQ(q.receive().wrong, nullptr);
            EXPECT_EQ(q.receive().error, EAGAIN);
            EXPECT_EQ(q.queue().count(), 0u);
        }
        EXPECT_SOUND(q);
    }
}

TEST(Queue, TimesOut) {
    TestQueue q(1, 64);
    const auto deadline = test::in_seconds(0.02);
    EXPECT_EQ(q.receive(deadline).error, ETIMEDOUT);
    EXPECT_GE(platform::realtime_ns(), deadline);
    EXPECT_EQ(q.receive(1).error, ETIMEDOUT);  // long past
    ASSERT_EQ(q.send(1, kBodyBytes, 0), 0);
    EXPECT_EQ(q.send(2, kBodyBytes, 0, test::in_seconds(0.02)), ETIMEDOUT);
    EXPECT_EQ(q.send(2, kBodyBytes, 0, 1), ETIMEDOUT);
    EXPECT_EQ(q.receive(1).id, 1u);  // there is one: no deadline matters
    EXPECT_EQ(q.send(3, kBodyBytes, 0, 1), 0);
    EXPECT_EQ(q.receive().id, 3u);
    EXPECT_EQ(q.queue().state().receivers_waiting, 0u);
    EXPECT_EQ(q.queue().state().senders_waiting, 0u);
    EXPECT_SOUND(q);
}

// Sixteen MiB through a queue whose file would hold sixteen TiB.
TEST(Queue, LongestMessageAndItsMemory) {
    TestQueue q(1'000'000, 16 * kMiB);
    EXPECT_LE(memory_of(q.fd()), 16384u);
    ASSERT_EQ(q.send(7, 16 * kMiB, 3), 0);
    EXPECT_GE(memory_of(q.fd()), 16 * kMiB);
    const auto got = q.receive();
    EXPECT_EQ(got.error, 0);
    EXPECT_EQ(got.id, 7u);
    EXPECT_EQ(got.length, 16 * kMiB);
    EXPECT_EQ(got.wrong, nullptr);
    EXPECT_LE(memory_of(q.fd()), kMiB);
    EXPECT_SOUND(q);
}

TEST(Queue, MillionMessagesAndTheirMemory) {
    constexpr std::uint32_t kMessages = 1'000'000;
    TestQueue q(kMessages, 16);
    for (std::uint32_t id = 0; id < kMessages; ++id) ASSERT_EQ(q.send(id, 16, id % 4), 0);
    EXPECT_EQ(q.send(kMessages, 16, 0), EAGAIN);
    EXPECT_EQ(q.queue().count(), kMessages);
    for (std::uint32_t priority = 4; priority-- > 0;)
        for (std::uint32_t id = priority; id < kMessages; id += 4) {
            const auto got = q.receive();
            ASSERT_EQ(got.error, 0);
            ASSERT_EQ(got.id, id);
            ASSERT_EQ(got.priority, priority);
        }
    EXPECT_LE(memory_of(q.fd()), kMiB);
    EXPECT_SOUND(q);
    ASSERT_EQ(q.send(1, 16, 0), 0);  // and it still works
    EXPECT_EQ(q.receive().id, 1u);
}

TEST(Queue, PeekShowsAndTakesNothing) {
    TestQueue q(20, 64);
    using Seen = std::vector<std::pair<std::uint64_t, std::uint64_t>>;
    struct Visitor {
        Seen seen;
        std::size_t most;
    };
    auto look = [&](bool all, std::size_t most, Seen& seen) {
        Visitor visitor{{}, most};
        auto peeked = q.queue().peek(self(), q.fd(), all, [](void* to, const std::byte* message, std::size_t length, std::uint64_t priority) {
            auto& v = *static_cast<Visitor*>(to);
            std::uint64_t id = 0;
            EXPECT_EQ(test::wrong_body(message, length, priority), nullptr);
            std::memcpy(&id, message, sizeof id);
            v.seen.emplace_back(id, priority);
            return v.seen.size() < v.most;
        }, &visitor);
        seen = visitor.seen;
        return peeked ? 0 : peeked.fault().errno_value;
    };
    Seen seen;
    EXPECT_EQ(look(false, 99, seen), EAGAIN);
    EXPECT_EQ(look(true, 99, seen), EAGAIN);
    const std::uint32_t priorities[] = {1, 300, 1, 0, 300};
    for (std::uint64_t id = 0; id < 5; ++id) ASSERT_EQ(q.send(id, kBodyBytes, priorities[id]), 0);
    const Seen expected{{1, 300}, {4, 300}, {0, 1}, {2, 1}, {3, 0}};
    for (int twice = 0; twice < 2; ++twice) {
        EXPECT_EQ(look(false, 99, seen), 0);
        EXPECT_EQ(seen, Seen(expected.begin(), expected.begin() + 1));
        EXPECT_EQ(look(true, 99, seen), 0);
        EXPECT_EQ(seen, expected);
        EXPECT_EQ(look(true, 3, seen), 0);
        EXPECT_EQ(seen, Seen(expected.begin(), expected.begin() + 3));
        EXPECT_EQ(q.queue().count(), 5u);
    }
    for (auto [id, priority] : expected) EXPECT_EQ(q.receive().id, id);
    EXPECT_EQ(look(true, 99, seen), EAGAIN);
    EXPECT_SOUND(q);
}

// Receivers go to sleep one after the other, in an order that changes; each message goes to who has slept longest. Every
// hundredth round one of them is killed in its sleep, and the others' order stays.
TEST(Queue, SleepersAreServedInOrderOfArrival) {
    constexpr unsigned kSleepers = 5, kRounds = 1000;
    constexpr std::uint64_t kNothing = ~0ull;
    TestQueue q(4, 64);
    struct Table {
        std::atomic<std::uint64_t> got[kSleepers];
        std::atomic<unsigned> wrong;
    };
    test::Shared<Table> table;
    int go[kSleepers][2];
    for (auto& pipe : go) ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
    auto sleeper = [&](unsigned which) {
        return test::Child([&, which] {
            for (char byte; read(go[which][0], &byte, 1) == 1;) {
                const auto got = q.receive(platform::kForever);
                if (got.error != 0 || got.wrong != nullptr) table->wrong.fetch_add(1);
                table->got[which].store(got.id);
            }
        });
    };
    std::array<test::Child, kSleepers> children;
    for (unsigned i = 0; i < kSleepers; ++i) children[i] = sleeper(i);
    std::mt19937 random(11);
    std::array<unsigned, kSleepers> order;
    std::iota(order.begin(), order.end(), 0u);
    std::uint64_t id = 0;
    for (unsigned round = 1; round <= kRounds; ++round) {
        std::shuffle(order.begin(), order.end(), random);
        for (auto& got : table->got) got.store(kNothing);
        for (unsigned place = 0; place < kSleepers; ++place) {
            ASSERT_EQ(write(go[order[place]][1], "g", 1), 1);
            ASSERT_TRUE(eventually([&] { return q.queue().state().receivers_waiting == place + 1; })) << "round " << round;
        }
        unsigned killed = kSleepers;
        if (round % 100 == 0) {
            killed = order[random() % kSleepers];
            children[killed].kill(SIGKILL);
            ASSERT_TRUE(children[killed].ends());
            ASSERT_TRUE(children[killed].killed());
        }
        for (const unsigned which : order) {
            if (which == killed) continue;
            ASSERT_EQ(q.send(++id, kBodyBytes, round % 7), 0);
            EXPECT_EQ(q.queue().count(), 0u) << "round " << round;  // it is the sleeper's already
            EXPECT_EQ(q.receive().error, EAGAIN) << "round " << round;
            ASSERT_TRUE(eventually([&] { return table->got[which].load() != kNothing; })) << "round " << round;
            ASSERT_EQ(table->got[which].load(), id) << "round " << round;
        }
        if (killed != kSleepers) {
            ASSERT_TRUE(q.queue().recover(self(), q.fd()));
            EXPECT_FALSE(q.queue().has_dead());
            children[killed] = sleeper(killed);
        }
        ASSERT_EQ(q.queue().state().receivers_waiting, 0u) << "round " << round;
    }
    EXPECT_EQ(table->wrong.load(), 0u);
    for (auto& child : children) child.kill(SIGKILL);
    for (auto& child : children) EXPECT_TRUE(child.ends());
    for (auto& pipe : go) {
        close(pipe[0]);
        close(pipe[1]);
    }
    EXPECT_EQ(q.queue().count(), 0u);
    EXPECT_SOUND(q);
}

// All messages at once to all sleepers: nobody is left out, none gets two.
TEST(Queue, BurstGoesToEachSleeperOnce) {
    constexpr unsigned kSleepers = 5;
    TestQueue q(8, 64);
    struct Table {
        std::atomic<std::uint64_t> got[kSleepers];
    };
    test::Shared<Table> table;
    std::vector<test::Child> children;
    for (unsigned i = 0; i < kSleepers; ++i) {
        children.emplace_back([&] { table->got[i].store(q.receive(platform::kForever).id); });
        ASSERT_TRUE(eventually([&] { return q.queue().state().receivers_waiting == i + 1; }));
    }
    for (std::uint64_t id = 1; id <= kSleepers; ++id) ASSERT_EQ(q.send(id, kBodyBytes, static_cast<std::uint32_t>(id)), 0);
    EXPECT_EQ(q.queue().count(), 0u);
    EXPECT_EQ(q.receive().error, EAGAIN);
    for (auto& child : children) EXPECT_TRUE(child.ends() && child.exited());
    for (unsigned i = 0; i < kSleepers; ++i) EXPECT_EQ(table->got[i].load(), i + 1);
    EXPECT_SOUND(q);
}

// Senders too: who waited longest is first in.
TEST(Queue, SleepingSendersGetInInOrderOfArrival) {
    TestQueue q(1, 64);
    ASSERT_EQ(q.send(0, kBodyBytes, 0), 0);
    std::vector<test::Child> children;
    for (unsigned i = 1; i <= 5; ++i) {
        children.emplace_back([&] { _exit(q.send(i, kBodyBytes, 5 - i, platform::kForever)); });
        ASSERT_TRUE(eventually([&] { return q.queue().state().senders_waiting == i; }));
    }
    children[2].kill(SIGKILL);
    ASSERT_TRUE(children[2].ends());
    for (const std::uint64_t id : {0, 1, 2, 4, 5}) {
        const auto got = q.receive();
        ASSERT_EQ(got.error, 0);
        EXPECT_EQ(got.id, id);
        EXPECT_EQ(got.wrong, nullptr);
    }
    EXPECT_EQ(q.receive().error, EAGAIN);
    for (unsigned i : {0, 1, 3, 4}) EXPECT_TRUE(children[i].ends() && children[i].exited());
    ASSERT_TRUE(q.queue().recover(self(), q.fd()));
    EXPECT_EQ(q.queue().state().senders_waiting, 0u);
    EXPECT_SOUND(q);
}

TEST(Queue, LeavesNothingBehind) {
    char path[] = "/dev/shm/muster-queue-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    {
        auto domain = Domain::open(path, false);
        ASSERT_TRUE(domain);
        ASSERT_TRUE(domain->ensure_directory("mq"));
        auto use = [&](std::uint64_t message_bytes_max) {
            unsigned granted = 0;
            auto file = domain->create_nameless(0600, &granted);
            ASSERT_TRUE(file);
            Queue queue, peer;
            ASSERT_TRUE(queue.create(file->fd(), {100, message_bytes_max, granted}));
            queue.publish_ready();
            ASSERT_TRUE(domain->publish(file->fd(), "mq/jobs"));
            auto again = domain->publish(file->fd(), "mq/jobs");
            ASSERT_FALSE(again);
            EXPECT_EQ(again.fault().errno_value, EEXIST);
            auto other = domain->open_object("mq/jobs");
            ASSERT_TRUE(other);
            ASSERT_TRUE(peer.open(other->fd()));
            std::vector<char> buffer(message_bytes_max, 'x');
            for (int i = 0; i < 100; ++i) ASSERT_TRUE(queue.send(self(), file->fd(), buffer.data(), buffer.size(), 1, {platform::kNoWait, -1}));
            for (int i = 0; i < 90; ++i) ASSERT_TRUE(peer.receive(self(), other->fd(), buffer.data(), buffer.size(), {platform::kNoWait, -1}));
            EXPECT_EQ(findings(queue, file->fd()), "");
            ASSERT_TRUE(remove_queue(*domain, "mq/jobs"));
            auto twice = remove_queue(*domain, "mq/jobs");
            ASSERT_FALSE(twice);
            EXPECT_EQ(twice.fault().errno_value, ENOENT);
            // Who holds it keeps it.
            EXPECT_TRUE(peer.receive(self(), other->fd(), buffer.data(), buffer.size(), {platform::kNoWait, -1}));
        };
        auto entries = [&] {
            std::vector<std::string> all;
            for (auto& entry : std::filesystem::recursive_directory_iterator(path)) all.push_back(entry.path());
            return all;
        };
        use(64);  // what is made once, is made now
        const auto entries_before = entries();
        const std::size_t descriptors_before = open_descriptors();
        for (int i = 0; i < 20; ++i)
            for (const std::uint64_t bytes : {64, 8192, 100'000}) use(bytes);
        EXPECT_EQ(entries(), entries_before);
        EXPECT_EQ(open_descriptors(), descriptors_before);
    }
    std::filesystem::remove_all(path);
}

}  // namespace
}  // namespace muster::objects
