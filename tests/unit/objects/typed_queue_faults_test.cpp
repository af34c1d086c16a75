// A typed queue whose memory is not what it should be: whoever sleeps in it is told when damage is found, and it can still be
// removed; open() uses the geometry that it has checked, whatever is written over it meanwhile; after a trim no slot claims
// memory that was given back; a death in the middle of a change of the rights makes everybody ask for his rights anew.
#include <gtest/gtest.h>
#include <atomic>
#include <csignal>
#include <string>
#include <thread>
#include <vector>
#include "objects/queue.hpp"
#include "support/child.hpp"
#include "support/queue_audit.hpp"
#include "support/typed_queue.hpp"

namespace muster::objects {
namespace {
using platform::kForever;
using test::audit_queue;
using test::Child;
using test::eventually;
using test::kBodyBytes;
using test::Shared;
using test::TypedTestQueue;

constexpr Selector equal(std::uint64_t type) { return {Selector::equal, type}; }

// Damage that the next call finds: the slots' file is empty.
void cut_short(const TypedTestQueue& q) { ASSERT_EQ(ftruncate(q.slots_fd(), 0), 0); }

// Nobody waits for what cannot come any more.
TEST(TypedQueueFaults, DamageWakesWhoSleeps) {
    TypedTestQueue q(8, 64, 8);
    char text[8] = {};
    ASSERT_EQ(q.send_from(text, 8, 1), 0);
    std::vector<Child> sleepers;
    for (unsigned i = 0; i < 4; ++i) {
        sleepers.emplace_back([&] { _exit(i < 2 ? q.receive(equal(2), kForever).error : q.send_from(text, 1, 3, kForever)); });
        ASSERT_TRUE(eventually([&] {
            const TypedState state = q.state();
            return state.receivers_waiting + state.senders_waiting == i + 1 && sleepers.back().asleep();
        }));
    }
    cut_short(q);
    EXPECT_EQ(q.receive().error, EBADMSG);
    for (Child& sleeper : sleepers) EXPECT_TRUE(sleeper.ends() && sleeper.exited(EBADMSG)) << sleeper.status();
    EXPECT_EQ(q.receive().error, EBADMSG);
    EXPECT_EQ(q.send_from(text, 1, 1), EBADMSG);
}

TEST(TypedQueueFaults, ADamagedQueueIsRemoved) {
    TypedTestQueue q(8, 64, 1000);
    ASSERT_EQ(q.send(1, 16, 1), 0);
    cut_short(q);
    EXPECT_EQ(q.receive().error, EBADMSG);
    EXPECT_EQ(q.remove(), 0);
    EXPECT_EQ(q.receive().error, EIDRM);
    EXPECT_EQ(q.send(2, 16, 1), EIDRM);
    EXPECT_EQ(q.remove(), EIDRM);
}

// Who made the queue writes over its numbers while others open it and send, first one and then the other.
TEST(TypedQueueFaults, OpenUsesWhatItHasChecked) {
    TypedTestQueue q(16384, 8192, 16384);
    volatile std::uint64_t& messages_max = q.header().geometry.messages_max;
    const std::uint64_t truth = messages_max;
    Child vandal([&] {
        // The slots that are said to have been used would lie behind the end of all that is mapped.
        q.header().send.fresh.store_relaxed(5'000'000);
        q.header().send.slots_reserved.store_relaxed(16'000'000);
        for (unsigned pause = 0;; pause = (pause + 1) % 128) {
            for (unsigned i = 0; i < pause; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
            messages_max = messages_max == truth ? 16'000'000 : truth;
        }
    });
    ASSERT_TRUE(eventually([&] { return messages_max != truth; }));
    Shared<std::atomic<int>> opened, refused;
    Child victim([&] {
        const char text[8] = {};
        for (int turn = 0; turn < 100'000 && opened->load() < 10'000; ++turn) {
            Queue mine;
            if (!mine.open(q.fd(), true, q.slots_fd())) {
                ++*refused;
                continue;
            }
            ++*opened;
            (void)mine.send_typed(platform::current_thread(), text, sizeof text, 1, {platform::kNoWait, -1});
            q.header().shared.flags.store_relaxed(0);
        }
    });
    EXPECT_TRUE(victim.ends() && victim.exited()) << victim.status();
    EXPECT_GT(opened->load(), 0);
}

// Of every size that a slot can have, so that one of them lies across the end of the memory that is kept.
TEST(TypedQueueFaults, NoSlotClaimsMemoryThatWasGivenBack) {
    for (const std::uint64_t message_bytes_max : {4096, 8192, 20'000}) {
        TypedTestQueue q(32'768, message_bytes_max, std::uint64_t{1} << 30);
        std::uint32_t used = 0;
        for (int twice = 0; twice < 2; ++twice) {
            for (used = 0; used < 3000; ++used) ASSERT_EQ(q.send(used, 4096, 1 + used % 3), 0);
            for (std::uint32_t i = 0; i < used; ++i) ASSERT_EQ(q.receive().wrong, nullptr);
            ASSERT_EQ(q.state().messages, 0u);
            ASSERT_EQ(q.header().shared.excess.load_relaxed(), 0u) << "nothing was trimmed";
            ASSERT_EQ(q.header().shared.region_pages.load_relaxed(), 0u);
            for (std::uint32_t number = 0; number < used; ++number)
                ASSERT_EQ(q.slot(number).region_pages.load_relaxed(), 0u) << "slot " << number;
        }
        EXPECT_EQ(q.findings(), "");
        const test::Audit audit = audit_queue(q.fd(), q.slots_fd());
        EXPECT_TRUE(audit.complaints.empty()) << audit.text();
    }
}

// What a process knows of its rights counts as long as permission_changes() stays.
TEST(TypedQueueFaults, ADeathInsideAChangeMakesEverybodyAskAnew) {
    TypedTestQueue q(8, 64, 1000);
    ASSERT_EQ(q.send(1, 16, 1), 0);
    static TypedTestQueue* queue = nullptr;
    queue = &q;
    const std::uint32_t before = q.queue().permission_changes();
    Shared<std::atomic<std::uint32_t>> amid;
    static std::atomic<std::uint32_t>* told = nullptr;
    told = &*amid;
    Child owner([&] {
        const auto change = [](void*, memory::ObjectHeader& header) {
            told->store(queue->queue().permission_changes());  // as somebody sees it who asks a moment before the new mode
            header.mode.store_release(0400);
            raise(SIGKILL);
            return platform::done();
        };
        (void)q.queue().change(platform::current_thread(), change, nullptr, 100);
    });
    ASSERT_TRUE(owner.ends());
    ASSERT_TRUE(owner.killed());
    EXPECT_NE(q.queue().permission_changes(), before);
    EXPECT_EQ(q.receive().error, 0);  // finds the death
    EXPECT_NE(q.queue().permission_changes(), before);
    EXPECT_NE(q.queue().permission_changes(), amid->load());
    EXPECT_EQ(q.state().bytes_max, 1000u);
    EXPECT_EQ(q.findings(), "");
}

}  // namespace
}  // namespace muster::objects
