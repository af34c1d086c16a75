// Proves that check() finds each single word of a queue's bookkeeping that is wrong, and that repair() makes it right with every message
// kept: header words, bitmaps, slots' states against the lists. A lock word and a thread's record that name a stranger are found
// and not waited for. Salvage takes out what the slots say, also what was in somebody's hands, and leaves copies and unfinished ones out.
#include <gtest/gtest.h>
#include <functional>
#include <string>
#include <vector>
#include "objects/findings.hpp"
#include "objects/lock_check.hpp"
#include "objects/queue_salvage.hpp"
#include "support/child.hpp"
#include "support/test_queue.hpp"
#include "sync/robust_lock.hpp"

namespace muster::objects {
namespace {
using test::TestQueue;

std::vector<std::string> run(TestQueue& q, bool mend) {
    std::vector<std::string> said;
    Findings findings([](void* to, const Found& found) { static_cast<std::vector<std::string>*>(to)->emplace_back(found.what); }, &said);
    auto done = mend ? q.queue().repair(platform::current_thread(), q.fd(), findings) : q.queue().check(platform::current_thread(), q.fd(), findings);
    if (!done) said.emplace_back(done.fault().rule != nullptr ? done.fault().rule : "failed");
    return said;
}

QueueHeader& header(TestQueue& q) { return reinterpret_cast<QueueHeader&>(q.queue().object()); }
Slot& slot(TestQueue& q, std::uint32_t number) {
    const QueueGeometry& g = header(q).geometry;
    return *reinterpret_cast<Slot*>(reinterpret_cast<std::byte*>(&header(q)) + g.slots_offset + std::size_t{number} * g.slot_stride);
}

// Six messages, two of them in the inbox; free slots in the ring.
void fill(TestQueue& q) {
    for (std::uint64_t id = 0; id < 6; ++id) ASSERT_EQ(q.send(id, 40, id % 2), 0);
    ASSERT_EQ(q.receive().id, 1u);
    ASSERT_EQ(q.receive().id, 3u);
    for (std::uint64_t id = 6; id < 8; ++id) ASSERT_EQ(q.send(id, 40, 0), 0);
}

TEST(QueueCheck, FindsEachWrongWordAndMendsIt) {
    struct Wrong {
        const char* name;
        std::function<void(TestQueue&)> damage;
    };
    const Wrong wrongs[] = {
        {"fresh too low", [](TestQueue& q) { header(q).send.fresh.store_relaxed(1); }},
        {"fresh too high", [](TestQueue& q) { header(q).send.fresh.store_relaxed(7777); }},
        {"reserved", [](TestQueue& q) { header(q).send.slots_reserved.store_relaxed(0); }},
        {"sequence", [](TestQueue& q) { header(q).send.sequence.store_relaxed(2); }},
        {"freed_seen", [](TestQueue& q) { header(q).send.freed_seen.add_release(4); }},
        {"drained_seen", [](TestQueue& q) { header(q).send.drained_seen.add_release(9); }},
        {"filling", [](TestQueue& q) { header(q).send.filling.store_relaxed(3); }},
        {"trimming", [](TestQueue& q) { header(q).send.trimming.store_relaxed(1); }},
        {"taking", [](TestQueue& q) { header(q).receive.taking.store_relaxed(2); }},
        {"sent", [](TestQueue& q) { header(q).sent.sent.add_release(1); }},
        {"returned_head", [](TestQueue& q) { header(q).sent.returned_head.add_release(1); }},
        {"returned_tail", [](TestQueue& q) { header(q).received.returned_tail.add_release(1); }},
        {"drained", [](TestQueue& q) { header(q).received.drained.add_release(1); }},
        {"freed", [](TestQueue& q) { header(q).received.freed.add_release(1); }},
        {"indexed", [](TestQueue& q) { header(q).received.indexed.add_release(1); }},
        {"summary", [](TestQueue& q) { header(q).receive.summary.store_relaxed(0); }},
        {"summary word", [](TestQueue& q) { header(q).receive.summary_words[0].store_relaxed(2); }},
        {"receivers_waiting", [](TestQueue& q) { header(q).sent.receivers_waiting.store_relaxed(1); }},
        {"senders_waiting", [](TestQueue& q) { header(q).receive.senders_waiting.store_relaxed(1); }},
        {"first_receiver", [](TestQueue& q) { header(q).send.first_receiver.store_relaxed(1); }},
        {"first_sender", [](TestQueue& q) { header(q).receive.first_sender.store_relaxed(4000); }},
        {"flags", [](TestQueue& q) { header(q).shared.flags.or_release(1u << 20); }},
        {"watched by nobody", [](TestQueue& q) { header(q).shared.flags.or_release(kQueueWatched); }},
        {"actors_high", [](TestQueue& q) { header(q).shared.actors_high.store_relaxed(99999); }},
        {"mode", [](TestQueue& q) { header(q).object.mode.store_relaxed(0777600); }},
        {"a message that says it is none", [](TestQueue& q) { slot(q, 0).state.store_relaxed(0); }},
        {"a message in nobody's hands", [](TestQueue& q) { slot(q, 0).state.store_relaxed(slot_word(SlotState::taken, 5)); }},
        {"a message of no state", [](TestQueue& q) { slot(q, 2).state.store_relaxed(0x99); }},
        {"a message of another priority", [](TestQueue& q) { slot(q, 0).key.store_relaxed(9); }},
        {"a link to nowhere", [](TestQueue& q) { slot(q, 2).next.store_relaxed(5000); }},
        {"a circle cut short", [](TestQueue& q) { slot(q, 4).next.store_relaxed(5); }},
        {"a list of a message", [](TestQueue& q) { header(q).send.spare.store_relaxed(1); }},
    };
    for (const Wrong& wrong : wrongs) {
        SCOPED_TRACE(wrong.name);
        TestQueue q(20, 64);
        fill(q);
        ASSERT_EQ(run(q, false), std::vector<std::string>{});
        wrong.damage(q);
        EXPECT_NE(run(q, false), std::vector<std::string>{});
        run(q, true);
        EXPECT_EQ(run(q, false), std::vector<std::string>{});
        ASSERT_EQ(q.send(100, 40, 1), 0);
        for (const std::uint64_t id : {5, 100, 0, 2, 4, 6, 7}) {
            const test::Received got = q.receive();
            EXPECT_EQ(got.id, id);
            EXPECT_EQ(got.wrong, nullptr);
        }
        EXPECT_EQ(q.receive().error, EAGAIN);
    }
}

// A free slot whose state became a message's is not believed: what was received stays received.
TEST(QueueCheck, DoesNotBringBackWhatWasReceived) {
    TestQueue q(20, 64);
    for (std::uint64_t id = 0; id < 4; ++id) ASSERT_EQ(q.send(id, 40, 0), 0);
    ASSERT_EQ(q.receive().id, 0u);
    slot(q, 0).state.store_relaxed(slot_word(SlotState::inbox));
    EXPECT_NE(run(q, false), std::vector<std::string>{});
    run(q, true);
    EXPECT_EQ(run(q, false), std::vector<std::string>{});
    for (const std::uint64_t id : {1, 2, 3}) EXPECT_EQ(q.receive().id, id);
    EXPECT_EQ(q.receive().error, EAGAIN);
}

// A word that names a living thread of nobody's would be waited for as long as that lives.
TEST(QueueCheck, DoesNotWaitForStrangers) {
    test::Child stranger([] {
        for (;;) pause();
    });
    const auto thread_id = static_cast<std::uint32_t>(stranger.pid());
    char path[] = "/dev/shm/muster-unit-XXXXXX";
    const int fd = mkstemp(path);
    unlink(path);
    {
        Queue made;
        ASSERT_TRUE(made.create(fd, {8, 64, 0600}));
        made.publish_ready();
    }
    // The child inherited no mapping of it: it was made afterwards.
    Queue queue;
    ASSERT_TRUE(queue.open(fd));
    auto& words = reinterpret_cast<QueueHeader&>(queue.object());
    ASSERT_TRUE(queue.send(platform::current_thread(), fd, "kept", 4, 0, {platform::kNoWait, -1}));
    std::vector<std::string> said;
    const auto take = [](void* to, const Found& found) { static_cast<std::vector<std::string>*>(to)->emplace_back(found.what); };
    words.receive_lock.store_release(thread_id);
    Findings first(take, &said);
    ASSERT_TRUE(queue.check(platform::current_thread(), fd, first));
    ASSERT_EQ(said.size(), 1u);
    EXPECT_NE(said[0].find("receivers' lock is held by nobody"), std::string::npos);
    Findings second(take, &said);
    EXPECT_TRUE(queue.repair(platform::current_thread(), fd, second));
    said.clear();
    Findings third(take, &said);
    ASSERT_TRUE(queue.check(platform::current_thread(), fd, third));
    EXPECT_EQ(said, std::vector<std::string>{});
    char text[64];
    auto got = queue.receive(platform::current_thread(), fd, text, sizeof text, {platform::kNoWait, -1});
    ASSERT_TRUE(got);
    EXPECT_EQ(std::string(text, got->length), "kept");
    close(fd);
}

struct Saved {
    std::vector<std::uint64_t> ids;
    std::uint64_t whole = 0;
    static bool take(void* self, const SalvagedMessage& message) {
        auto& to = *static_cast<Saved*>(self);
        std::uint64_t id = 0;
        std::memcpy(&id, message.bytes, sizeof id);
        to.ids.push_back(id);
        to.whole += test::wrong_body(message.bytes, message.length, message.key) == nullptr ? 1 : 0;
        return true;
    }
};

TEST(QueueSalvage, TakesOutWhatTheSlotsSay) {
    TestQueue q(20, 64);
    fill(q);
    slot(q, 2).state.store_relaxed(slot_word(SlotState::taken, 3));    // in the hands of one who died
    slot(q, 4).length.store_relaxed(5000);                             // broken
    slot(q, 9).state.store_relaxed(slot_word(SlotState::filling, 2));  // never sent
    std::memcpy(static_cast<void*>(&slot(q, 10)), static_cast<void*>(&slot(q, 0)), 32 + 40);  // a copy
    Findings findings([](void*, const Found&) {}, nullptr);
    Saved saved;
    auto result = salvage_queue(q.fd(), -1, nullptr, &Saved::take, &saved, findings);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->source, ShapeSource::header);
    EXPECT_EQ(saved.ids, (std::vector<std::uint64_t>{0, 2, 5, 6, 7}));
    EXPECT_EQ(saved.whole, 5u);
    EXPECT_EQ(result->broken, 1u);
    EXPECT_EQ(result->unfinished, 1u);
    EXPECT_EQ(result->doubles, 1u);
    // Nothing of the header left, then nothing of the front half, then everything.
    ASSERT_EQ(fallocate(q.fd(), FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 4096), 0);
    Saved again;
    result = salvage_queue(q.fd(), -1, nullptr, &Saved::take, &again, findings);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->source, ShapeSource::file_length);
    EXPECT_EQ(again.ids, saved.ids);
    ASSERT_EQ(ftruncate(q.fd(), 200), 0);
    Saved none;
    EXPECT_EQ(salvage_queue(q.fd(), -1, nullptr, &Saved::take, &none, findings).fault().errno_value, EBADMSG);
    const QueueShape said{20, 64};
    ASSERT_TRUE(salvage_queue(q.fd(), -1, &said, &Saved::take, &none, findings));
    EXPECT_TRUE(none.ids.empty());
    const QueueShape nonsense{0, 64};
    EXPECT_EQ(salvage_queue(q.fd(), -1, &nonsense, &Saved::take, &none, findings).fault().errno_value, EINVAL);
}

// Without a header the shape is found for queues of many depths and lengths.
TEST(QueueSalvage, FindsTheShapeByTheLength) {
    constexpr std::uint64_t kShapes[][2] = {{1, 64}, {10, 8192}, {16, 100}, {300, 1000}, {700, 96}, {50, 20'000}, {20, 200'000}, {5000, 128}};
    for (const auto& [messages_max, message_bytes_max] : kShapes) {
        SCOPED_TRACE(std::to_string(messages_max) + " of " + std::to_string(message_bytes_max));
        TestQueue q(messages_max, message_bytes_max);
        const std::uint64_t count = std::min<std::uint64_t>(messages_max, 12);
        for (std::uint64_t id = 0; id < count; ++id)
            ASSERT_EQ(q.send(id, static_cast<std::uint32_t>(id % 2 == 0 ? 40 : std::max<std::uint64_t>(40, message_bytes_max * (id + 1) / 12)), static_cast<std::uint32_t>(id)), 0);
        ASSERT_EQ(fallocate(q.fd(), FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 4096), 0);
        Findings findings([](void*, const Found&) {}, nullptr);
        Saved saved;
        auto result = salvage_queue(q.fd(), -1, nullptr, &Saved::take, &saved, findings);
        ASSERT_TRUE(result);
        EXPECT_EQ(saved.whole, count);
        EXPECT_EQ(result->broken, 0u);
    }
}

}  // namespace
}  // namespace muster::objects
