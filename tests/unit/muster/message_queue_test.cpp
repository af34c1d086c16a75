// The C++ class over the engine: creation, order, deadlines, peeking, typed queues, event loops, and errors that name
// the object and how to mend it.
#include "muster/message_queue.hpp"
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {
using namespace muster;
using namespace std::chrono_literals;

class MessageQueueTest : public testing::Test {
protected:
    MessageQueueTest() : domain(Domain::create_ephemeral().value()) {}
    ~MessageQueueTest() override { EXPECT_TRUE(domain.remove()); }
    Domain domain;
};

// EEXIST, ENOENT, EINVAL, EACCES, ENAMETOOLONG: every error carries the name and a hint.
TEST_F(MessageQueueTest, ErrorsNameTheQueueAndTheRemedy) {
    auto queue = MessageQueue::create(domain, "/jobs");
    ASSERT_TRUE(queue) << queue.error().message();
    EXPECT_EQ(MessageQueue::create(domain, "/jobs").error().errno_value(), EEXIST);
    EXPECT_EQ(MessageQueue::open(domain, "/none").error().errno_value(), ENOENT);
    EXPECT_EQ(MessageQueue::open(domain, "jobs").error().errno_value(), EINVAL);
    EXPECT_EQ(MessageQueue::open(domain, "/a/b").error().errno_value(), EACCES);
    EXPECT_EQ(MessageQueue::create(domain, "/" + std::string(256, 'x')).error().errno_value(), ENAMETOOLONG);
    EXPECT_EQ(MessageQueue::create(domain, "/zero", {.messages_max = 0}).error().errno_value(), EINVAL);
    EXPECT_EQ(MessageQueue::create(domain, "/many", {.messages_max = 2'000'000}).error().errno_value(), EINVAL);
    const Error error = MessageQueue::open(domain, "/none").error();
    EXPECT_EQ(error.object(), "/none");
    EXPECT_FALSE(error.hint().empty());
    EXPECT_NE(error.message().find("/none: No such file or directory: "), std::string::npos) << error.message();
    EXPECT_THROW((void)MessageQueue::open(domain, "/none").value(), std::system_error);
}

// Highest priority first, oldest first within it; peek leaves all there; EAGAIN, EMSGSIZE, ETIMEDOUT.
TEST_F(MessageQueueTest, SendsReceivesAndPeeks) {
    auto queue = MessageQueue::create(domain, "/order", {.messages_max = 3, .message_size_bytes_max = 8}).value();
    EXPECT_EQ(queue.try_receive().error().errno_value(), EAGAIN);
    EXPECT_EQ(queue.receive(Deadline::after(1ms)).error().errno_value(), ETIMEDOUT);
    EXPECT_EQ(queue.peek().error().errno_value(), EAGAIN);
    ASSERT_TRUE(queue.send("low", 1));
    ASSERT_TRUE(queue.send("high", 9));
    ASSERT_TRUE(queue.send("low2", 1));
    EXPECT_EQ(queue.try_send("more").error().errno_value(), EAGAIN);
    EXPECT_EQ(queue.send("more", 0, Deadline::after(1ms)).error().errno_value(), ETIMEDOUT);
    EXPECT_EQ(queue.send("ninebytes").error().errno_value(), EMSGSIZE);
    EXPECT_EQ(queue.send("x", 32768).error().errno_value(), EINVAL);
    EXPECT_EQ(queue.peek()->text(), "high");
    const auto all = queue.peek_all().value();
    ASSERT_EQ(all.size(), 3u);
    EXPECT_EQ(all[1].text(), "low");
    EXPECT_EQ(all[2].text(), "low2");
    EXPECT_EQ(queue.status()->messages, 3u);
    std::byte small[4];
    EXPECT_EQ(queue.receive(std::span<std::byte>(small), Deadline::now()).error().errno_value(), EMSGSIZE);
    for (const char* expected : {"high", "low", "low2"}) EXPECT_EQ(queue.try_receive()->text(), expected);
    EXPECT_EQ(queue.status()->messages, 0u);
    EXPECT_EQ(queue.status()->last_send_pid, getpid());
}

// A removed queue lives on for who holds it, and its name is free at once. EBADMSG never: it is whole.
TEST_F(MessageQueueTest, RemovedQueuesLiveOn) {
    auto old = MessageQueue::create(domain, "/q").value();
    ASSERT_TRUE(MessageQueue::remove(domain, "/q"));
    EXPECT_EQ(MessageQueue::remove(domain, "/q").error().errno_value(), ENOENT);
    auto fresh = MessageQueue::open_or_create(domain, "/q").value();
    ASSERT_TRUE(old.send("old"));
    EXPECT_EQ(fresh.try_receive().error().errno_value(), EAGAIN);
    EXPECT_EQ(old.try_receive()->text(), "old");
}

// Typed queues pass values and refuse queues of other sizes (EINVAL) at once.
TEST_F(MessageQueueTest, TypedQueuesPassValues) {
    struct Job {
        int number;
        double weight;
    };
    setenv("MUSTER_DOMAIN", domain.path().c_str(), 1);
    auto jobs = MessageQueueOf<Job>::create("/typed").value();
    ASSERT_TRUE(jobs.send({7, 1.5}, 3));
    const Job job = jobs.try_receive().value();
    EXPECT_EQ(job.number, 7);
    EXPECT_EQ(job.weight, 1.5);
    EXPECT_EQ(MessageQueueOf<char>::open("/typed").error().errno_value(), EINVAL);
    ASSERT_TRUE(jobs.untyped().send("x"));
    EXPECT_EQ(jobs.try_receive().error().errno_value(), EBADMSG);
    unsetenv("MUSTER_DOMAIN");
}

// fd(): readable while there are messages, writable while there is space, also when another process sends and is killed.
TEST_F(MessageQueueTest, DescriptorsForEventLoops) {
    auto queue = MessageQueue::create(domain, "/loop", {.messages_max = 2, .message_size_bytes_max = 16}).value();
    const int fd = queue.fd().value();
    EXPECT_EQ(queue.fd().value(), fd);
    const auto ready = [&](int timeout_ms) {
        pollfd entry{fd, POLLIN | POLLOUT, 0};
        poll(&entry, 1, timeout_ms);
        return entry.revents & (POLLIN | POLLOUT);
    };
    EXPECT_EQ(ready(0), POLLOUT);
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_event wanted{EPOLLIN, {.u32 = 1}};
    ASSERT_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted), 0);
    const pid_t child = fork();
    if (child == 0) {
        auto mine = MessageQueue::open(domain, "/loop");
        if (mine && mine->send("from afar")) raise(SIGKILL);
        _exit(1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    epoll_event got{};
    EXPECT_EQ(epoll_wait(epoll, &got, 1, 10'000), 1);
    EXPECT_EQ(ready(0), POLLIN | POLLOUT);
    ASSERT_TRUE(queue.send("second"));
    EXPECT_EQ(ready(0), POLLIN);
    EXPECT_EQ(queue.try_receive()->text(), "from afar");
    EXPECT_EQ(ready(0), POLLIN | POLLOUT);
    EXPECT_EQ(queue.try_receive()->text(), "second");
    EXPECT_EQ(ready(0), POLLOUT);
    close(epoll);
}

// The domain lists its queues with their facts; limits are set, read and refused.
TEST_F(MessageQueueTest, DomainsListAndLimit) {
    auto queue = MessageQueue::create(domain, "/listed", {.messages_max = 5}).value();
    ASSERT_TRUE(queue.send("one"));
    const auto objects = domain.list().value();
    ASSERT_EQ(objects.size(), 1u);
    EXPECT_EQ(objects[0].name, "/listed");
    EXPECT_EQ(objects[0].kind, ObjectKind::message_queue);
    EXPECT_EQ(objects[0].messages, 1u);
    EXPECT_EQ(objects[0].messages_max, 5u);
    EXPECT_TRUE(objects[0].problem.empty());
    ASSERT_TRUE(domain.set_limit("msg_max", 4));
    EXPECT_EQ(domain.limits()->messages_max, 4u);
    EXPECT_EQ(MessageQueue::create(domain, "/five", {.messages_max = 5}).error().errno_value(), EINVAL);
    EXPECT_EQ(domain.set_limit("no_such", 1).error().errno_value(), EINVAL);
    EXPECT_EQ(domain.set_limit("msg_max", 0).error().errno_value(), EINVAL);
    EXPECT_TRUE(domain.fsck(false)->empty());
    EXPECT_TRUE(domain.gc(false)->empty());
}

}  // namespace
