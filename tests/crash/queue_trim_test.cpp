// A receiver that is killed while it gives back the memory of the queue that it has just emptied, having come the slow way: the queue
// is watched by mq_notify, or polled. Proved: afterwards nothing says that the dead thread is still at work there.
#include <gtest/gtest.h>
#include <csignal>
#include <string>
#include "support/child.hpp"
#include "support/crash_points.hpp"
#include "support/queue_audit.hpp"
#include "support/test_queue.hpp"

namespace {

using namespace muster;
using namespace muster::test;

class QueueTrim : public ::testing::TestWithParam<const char*> {};

TEST_P(QueueTrim, LeavesNoRecordOfTheDead) {
    TestQueue queue(64, 160'000);
    platform::ThreadState& thread = platform::current_thread();
    constexpr unsigned kLong = 30;  // together more than an empty queue keeps
    for (unsigned i = 0; i < kLong; ++i) ASSERT_EQ(queue.send(i, 160'000, 1), 0);
    ASSERT_EQ(queue.send(kLong, 64, 0), 0);
    for (unsigned i = 0; i < kLong; ++i) ASSERT_EQ(queue.receive().error, 0);
    // Stands for as long as the queue is not empty: all goes the slow way.
    ASSERT_TRUE(queue.queue().set_notify(thread, queue.fd(), {SIGEV_NONE, 0, 0, false}));

    Shared<PassedPoints> passed;
    Child victim([&] {
        arm({GetParam(), 1, false}, *passed);
        (void)queue.receive();
    });
    ASSERT_TRUE(victim.ends());
    ASSERT_TRUE(victim.killed()) << "it did not pass " << GetParam();

    ASSERT_TRUE(queue.queue().recover(thread, queue.fd()));
    EXPECT_EQ(queue.receive().error, EAGAIN) << "the message was taken out before";
    std::string found;
    const auto note = [](void* to, const char* what, std::uint64_t) { *static_cast<std::string*>(to) += std::string(what) + "\n"; };
    ASSERT_TRUE(queue.queue().check(thread, queue.fd(), note, &found));
    EXPECT_EQ(found, "");
    EXPECT_EQ(audit_queue(queue.fd()).text(), "");
}

INSTANTIATE_TEST_SUITE_P(Points, QueueTrim, ::testing::Values("queue.trim.begun", "queue.trim.reset", "queue.trim.released"),
                         [](const auto& each) { return std::string(each.param).substr(std::string("queue.trim.").size()); });

}  // namespace
