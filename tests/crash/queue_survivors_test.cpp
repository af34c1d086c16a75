// Deaths that need a stage of their own. Proved: those who may not wait find at once what a dead peer left (space,
// a committed message); a message out of dead hands comes back although the queue is never empty, and although more
// receivers sleep than one of them can watch; a sleeper at a queue found damaged gets EBADMSG and does not spin; a
// sender that dies taking a message back from a stopped receiver does no harm to whoever has its slot by then.
#include <gtest/gtest.h>
#include <atomic>
#include <memory>
#include <vector>
#include "platform/crash_point.hpp"
#include "support/child.hpp"
#include "support/queue_audit.hpp"
#include "support/test_queue.hpp"

namespace {

namespace objects = muster::objects;
namespace platform = muster::platform;
using namespace muster::test;
using platform::kForever;

struct Board {
    std::atomic<int> at_point, go, done[256];
    Received received[256];
};

// What the hook of a victim does at its points.
const char* die_at = nullptr;
const char* wait_at = nullptr;
Board* victims_board = nullptr;
void at_point(const char* point) {
    if (wait_at != nullptr && std::strcmp(point, wait_at) == 0) {
        wait_at = nullptr;
        victims_board->at_point.store(1);
        while (victims_board->go.load() == 0) usleep(100);
    }
    if (die_at != nullptr && std::strcmp(point, die_at) == 0) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
}
void arm(Board& board, const char* die, const char* wait = nullptr) {
    victims_board = &board;
    die_at = die;
    wait_at = wait;
    muster::testing::crash_point_hook = at_point;
}

class QueueSurvivors : public testing::Test {
protected:
    Child sleeping_receiver(TestQueue& queue, int number) {
        const std::uint32_t before = queue.queue().state().receivers_waiting;
        Child child([&] {
            board_->received[number] = queue.receive(kForever);
            board_->done[number].store(1);
        });
        EXPECT_TRUE(eventually([&] { return queue.queue().state().receivers_waiting == before + 1 && child.asleep(); }));
        return child;
    }
    bool done(int number) { return eventually([&] { return board_->done[number].load() != 0; }); }
    Shared<Board> board_;
};

TEST_F(QueueSurvivors, SpaceThatADeadReceiverLeftIsFoundByWhoMayNotWait) {
    for (const std::uint64_t capacity : {1, 3}) {
        for (const char* point : {"queue.receive.committed", "queue.receive.direct_committed"}) {
            if (capacity == 1 && std::strcmp(point, "queue.receive.committed") == 0) continue;
            TestQueue queue(capacity, 64);
            for (std::uint64_t id = 0; id < capacity; ++id) ASSERT_EQ(queue.send(id, 32, 0), 0);
            Child receiver([&] {
                arm(*board_, point);
                queue.receive();
            });
            ASSERT_TRUE(receiver.ends());
            if (!receiver.killed()) continue;  // not on the way of this capacity
            EXPECT_EQ(queue.send(100, 32, 0), 0) << capacity << ' ' << point;
            EXPECT_EQ(queue.queue().count(), capacity);
        }
    }
}

TEST_F(QueueSurvivors, AMessageThatADeadSenderCommittedIsFoundByWhoMayNotWait) {
    TestQueue queue(3, 64);
    Child sender([&] {
        arm(*board_, "queue.send.committed");
        queue.send(7, 32, 0);
    });
    ASSERT_TRUE(sender.ends() && sender.killed());
    const Received got = queue.receive();
    EXPECT_EQ(got.error, 0);
    EXPECT_EQ(got.id, 7u);
}

TEST_F(QueueSurvivors, AMessageInDeadHandsComesBackThoughTheQueueIsNeverEmpty) {
    TestQueue queue(8, 64);
    Child receiver([&] {
        arm(*board_, "queue.taken.copied");
        queue.receive(kForever);
    });
    ASSERT_TRUE(eventually([&] { return queue.queue().state().receivers_waiting == 1 && receiver.asleep(); }));
    ASSERT_EQ(queue.send(1, 32, 0), 0);
    ASSERT_TRUE(receiver.ends() && receiver.killed());
    bool came = false;
    ASSERT_EQ(queue.send(1000, 32, 0), 0);
    for (std::uint64_t round = 1; round <= 5000 && !came; ++round) {
        ASSERT_EQ(queue.send(1000 + round, 32, 0), 0);
        const Received got = queue.receive();
        ASSERT_EQ(got.error, 0);
        came = got.id == 1;
    }
    EXPECT_TRUE(came) << "the message waits for the queue to be empty";
}

TEST_F(QueueSurvivors, MoreReceiversThanOneCanWatch) {
    constexpr int kOthers = 135;
    TestQueue queue(8, 64);
    std::vector<Child> others;
    for (int i = 0; i < kOthers; ++i) others.push_back(sleeping_receiver(queue, i));
    Child victim([&] {
        arm(*board_, nullptr, "queue.taken.copied");
        queue.receive(kForever);
    });
    ASSERT_TRUE(eventually([&] { return queue.queue().state().receivers_waiting == kOthers + 1 && victim.asleep(); }));
    // Stopped, the others are passed over: the message is the victim's.
    for (Child& other : others) other.kill(SIGSTOP);
    for (Child& other : others) ASSERT_TRUE(eventually([&] { return process_state(other.pid()) == 'T'; }));
    ASSERT_EQ(queue.send(1, 32, 0), 0);
    ASSERT_TRUE(eventually([&] { return board_->at_point.load() == 1; }));
    for (Child& other : others) other.kill(SIGCONT);
    ASSERT_TRUE(eventually([&] {
        for (Child& other : others)
            if (!other.asleep()) return false;
        return queue.queue().state().receivers_waiting == kOthers;
    }));
    victim.kill(SIGKILL);
    ASSERT_TRUE(victim.ends());
    EXPECT_TRUE(eventually([&] {
        for (int i = 0; i < kOthers; ++i)
            if (board_->done[i].load() != 0) return true;
        return false;
    })) << "the message stays with the dead";
}

TEST_F(QueueSurvivors, ASleeperAtADamagedQueueIsTold) {
    TestQueue queue(8, 64);
    Child first = sleeping_receiver(queue, 0);
    Child second = sleeping_receiver(queue, 1);
    auto* header = static_cast<objects::QueueHeader*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, queue.fd(), 0));
    header->shared.flags.or_release(objects::kQueueDamaged);
    munmap(header, 4096);
    first.kill(SIGKILL);
    ASSERT_TRUE(first.ends());
    ASSERT_TRUE(done(1)) << "it waits or spins";
    EXPECT_EQ(board_->received[1].error, EBADMSG);
}

TEST_F(QueueSurvivors, DyingWhileTakingBackWhatWasAcceptedMeanwhile) {
    TestQueue queue(8, 64);
    Child receiver = sleeping_receiver(queue, 0);
    receiver.kill(SIGSTOP);
    ASSERT_TRUE(eventually([&] { return process_state(receiver.pid()) == 'T'; }));
    Child giver([&] {
        arm(*board_, "queue.give.taking_back", "queue.actor.begun");
        queue.send(1, 32, 0);
    });
    ASSERT_TRUE(eventually([&] { return board_->at_point.load() == 1 || giver.ended(); }));
    ASSERT_EQ(board_->at_point.load(), 1);
    receiver.kill(SIGCONT);
    ASSERT_TRUE(done(0));
    EXPECT_EQ(board_->received[0].id, 1u);
    ASSERT_EQ(queue.send(2, 32, 0), 0);  // in the slot of the first
    board_->go.store(1);
    ASSERT_TRUE(giver.ends());  // killed, or there was nothing to take back
    ASSERT_TRUE(queue.queue().recover(platform::current_thread(), queue.fd()));
    EXPECT_EQ(queue.queue().count(), 1u);
    const Audit audit = audit_queue(queue.fd());
    EXPECT_TRUE(audit.complaints.empty()) << audit.text();
    EXPECT_EQ(queue.receive().id, 2u);
    EXPECT_EQ(queue.receive().error, EAGAIN);
}

// A receiver that dies between putting a sleeping sender's message in and taking its own leaves one message more than
// messages_max: as many deaths must not leave as many more.
TEST_F(QueueSurvivors, DeathsDoNotPileUpMessages) {
    TestQueue queue(2, 64);
    for (std::uint64_t id = 0; id < 2; ++id) ASSERT_EQ(queue.send(id, 32, 0), 0);
    std::vector<Child> senders;
    for (std::uint32_t i = 0; i < 6; ++i) {
        senders.emplace_back([&] { queue.send(100 + i, 32, 0, kForever); });
        ASSERT_TRUE(eventually([&] { return queue.queue().state().senders_waiting == i + 1 && senders.back().asleep(); }));
    }
    for (int i = 0; i < 6; ++i) {
        Child receiver([&] {
            arm(*board_, "queue.receive.copied");
            queue.receive();
        });
        ASSERT_TRUE(receiver.ends() && receiver.killed());
        ASSERT_TRUE(queue.queue().recover(platform::current_thread(), queue.fd()));
    }
    EXPECT_LE(audit_queue(queue.fd()).messages, 3u);
}

}  // namespace
