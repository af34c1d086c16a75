// A message was given to a sleeper that is stopped (SIGSTOP), and its sender dies (SIGKILL) at a crash point on the way to taking
// it back; then the sleeper dies, too, or goes on. Proved for each point: the message is received exactly once, by him or by the
// next one who sleeps and asks for it; nobody sleeps beside a message that he asks for.
#include <gtest/gtest.h>
#include <atomic>
#include <csignal>
#include "support/child.hpp"
#include "support/crash_points.hpp"
#include "support/queue_audit.hpp"
#include "support/typed_queue.hpp"

namespace {

using namespace muster::test;
using muster::platform::kForever;

constexpr const char* kPoints[] = {"queue.give.committed", "queue.give.given", "queue.give.unlocked", "queue.give.taking_back",
                                   "queue.give.taken_back"};
constexpr std::uint64_t kMessage = 7, kLater = 8;

struct Board {
    PassedPoints passed;
    std::atomic<std::uint64_t> got[2];
};

class TypedQueueStopped : public testing::TestWithParam<const char*> {
protected:
    Child sleeper(std::size_t which) {
        Child child([&, which] {
            const TypedReceived received = queue_.receive({}, kForever);
            board_->got[which] = received.id;
            _exit(received.error);
        });
        EXPECT_TRUE(eventually([&] { return queue_.state().receivers_waiting == which + 1 && child.asleep(); }));
        return child;
    }
    void SetUp() override {
        first_ = sleeper(0);
        second_ = sleeper(1);
        first_.kill(SIGSTOP);
        ASSERT_TRUE(eventually([&] { return process_state(first_.pid()) == 'T'; }));
        Child sender([&] {
            arm({GetParam(), 1}, board_->passed);
            _exit(queue_.send(kMessage, 16, 1));
        });
        ASSERT_TRUE(sender.ends());
        ASSERT_TRUE(sender.killed()) << "the point was not reached";
    }
    void expect_sound() {
        EXPECT_EQ(queue_.state().messages, 0u);
        EXPECT_EQ(queue_.findings(), "");
        const Audit audit = audit_queue(queue_.fd(), queue_.slots_fd());
        EXPECT_TRUE(audit.complaints.empty()) << audit.text();
    }

    TypedTestQueue queue_{64, 64, 1024};
    Shared<Board> board_;
    Child first_, second_;
};

TEST_P(TypedQueueStopped, WhoIsNextGetsAStoppedDeadOnesMessage) {
    first_.kill(SIGKILL);
    ASSERT_TRUE(first_.ends());
    ASSERT_TRUE(second_.ends()) << audit_queue(queue_.fd(), queue_.slots_fd()).text();
    EXPECT_TRUE(second_.exited());
    EXPECT_EQ(board_->got[1], kMessage);
    expect_sound();
}

TEST_P(TypedQueueStopped, OneOfThemGetsItWhenHeGoesOn) {
    first_.kill(SIGCONT);
    ASSERT_TRUE(eventually([&] { return first_.ended() || second_.ended(); })) << audit_queue(queue_.fd(), queue_.slots_fd()).text();
    ASSERT_EQ(queue_.send(kLater, 16, 1), 0);
    ASSERT_TRUE(first_.ends() && second_.ends());
    EXPECT_TRUE(first_.exited() && second_.exited());
    EXPECT_EQ(board_->got[0] + board_->got[1], kMessage + kLater);
    expect_sound();
}

INSTANTIATE_TEST_SUITE_P(Points, TypedQueueStopped, testing::ValuesIn(kPoints));

}  // namespace
