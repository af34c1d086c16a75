// The C++ class over the typed face of the queue engine: messages by age and by type, peeking, deadlines, room in bytes, who waits and
// for what, rights, event loops, removal, forks and deaths, and the same queue reached by the C calls. EEXIST, ENOENT, EINVAL, EACCES,
// EPERM, EBADMSG, ENOSPC, EAGAIN, ETIMEDOUT, E2BIG, EINTR, EIDRM.
#include "muster/typed_queue.hpp"
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>
#include "support/child.hpp"

namespace {
using namespace muster;
using namespace std::chrono_literals;
using muster::test::Child;
using muster::test::eventually;
using muster::test::Shared;

class TypedQueueTest : public testing::Test {
protected:
    TypedQueueTest() : domain(Domain::create_ephemeral().value()) {}
    ~TypedQueueTest() override { EXPECT_TRUE(domain.remove()); }
    TypedQueue made(Key key = Key::none(), const TypedQueueOptions& options = {}) { return TypedQueue::create(domain, key, options).value(); }
    Domain domain;
};

template <class T>
int error_of(const Result<T>& result) {
    return result ? 0 : result.error().errno_value();
}

// The errno value, or the message's text.
std::string told(const Result<TypedMessage>& message) {
    return message ? std::string(message->text()) : std::string(strerrorname_np(message.error().errno_value()));
}

std::vector<std::string> texts(const std::vector<TypedMessage>& messages) {
    std::vector<std::string> all;
    for (const TypedMessage& message : messages) all.push_back(std::to_string(message.type) + ":" + std::string(message.text()));
    return all;
}

bool sleeps(const TypedQueue& queue, std::size_t sleepers = 1) {
    return eventually([&] { return queue.waiters()->size() == sleepers; });
}

// Whether this process may exceed the domain's limit msgmnb.
bool has_system_resource(bool drop = false) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2] = {};
    syscall(SYS_capget, &header, data);
    const bool has = (data[0].effective & 1u << CAP_SYS_RESOURCE) != 0;
    data[0].effective &= ~(1u << CAP_SYS_RESOURCE);
    return drop ? syscall(SYS_capset, &header, data) != 0 : has;
}

bool is_meant(const Selector& selector, std::int64_t type) {
    switch (selector.kind()) {
        case Selector::Kind::type: return type == selector.value();
        case Selector::Kind::except: return type != selector.value();
        case Selector::Kind::up_to: return type <= selector.value();
        default: return true;
    }
}

// A child whose body returns its exit code.
template <class Body>
Child in_child(Body body) {
    return Child([&] { _exit(body()); });
}

// Key, identifier and name lead to the same queue. EEXIST, ENOENT, EINVAL, with the name and a hint.
TEST_F(TypedQueueTest, IsMadeAndFound) {
    auto queue = made(Key(0x1234), {.mode = 0640});
    EXPECT_EQ(queue.name(), "msg:0x1234");
    EXPECT_EQ(queue.key(), Key(0x1234));
    EXPECT_EQ(queue.message_size_bytes_max(), 8192u);
    EXPECT_EQ(queue.status()->mode, 0640u);
    EXPECT_EQ(queue.status()->bytes_max, 16384u);
    EXPECT_EQ(TypedQueue::open(domain, Key(0x1234))->identifier(), queue.identifier());
    EXPECT_EQ(TypedQueue::open(domain, queue.identifier())->key(), Key(0x1234));
    EXPECT_EQ(TypedQueue::open_or_create(domain, Key(0x1234))->identifier(), queue.identifier());
    EXPECT_NE(TypedQueue::open_or_create(domain, Key(0x99))->identifier(), queue.identifier());
    EXPECT_EQ(error_of(TypedQueue::create(domain, Key(0x1234))), EEXIST);
    EXPECT_EQ(error_of(TypedQueue::open(domain, Key(0x77))), ENOENT);
    EXPECT_EQ(error_of(TypedQueue::open(domain, 999)), ENOENT);
    EXPECT_EQ(error_of(TypedQueue::open(domain, -1)), ENOENT);
    EXPECT_EQ(error_of(TypedQueue::open(domain, Key::none())), EINVAL);
    auto one = made(), other = made();
    EXPECT_NE(one.identifier(), other.identifier());
    EXPECT_EQ(one.name(), "msg:id=" + std::to_string(one.identifier()));
    EXPECT_TRUE(TypedQueue::open_or_create(domain, Key::none())->key().is_none());
    const Error error = TypedQueue::open(domain, Key(0x77)).error();
    EXPECT_EQ(error.object(), "msg:0x77");
    EXPECT_FALSE(error.hint().empty());
    EXPECT_THROW((void)TypedQueue::open(domain, 999).value(), std::system_error);

    TypedQueue moved = std::move(one);
    ASSERT_TRUE(moved.send("x", 1));
    other = std::move(moved);
    EXPECT_EQ(told(other.try_receive()), "x");
}

// The domain's limits hold for queues made later: msgmni (ENOSPC), msgmax, msgmnb.
TEST_F(TypedQueueTest, KeepsTheLimitsItWasMadeUnder) {
    ASSERT_TRUE(domain.set_limit("msgmax", 100));
    ASSERT_TRUE(domain.set_limit("msgmnb", 300));
    auto queue = made();
    EXPECT_EQ(queue.message_size_bytes_max(), 100u);
    EXPECT_EQ(queue.status()->bytes_max, 300u);
    EXPECT_EQ(queue.status()->message_size_bytes_max, 100u);
    EXPECT_EQ(error_of(queue.try_send(std::string(101, 'x'), 1)), EINVAL);
    EXPECT_TRUE(queue.try_send(std::string(100, 'x'), 1));
    ASSERT_TRUE(domain.set_limit("msgmni", 1));
    EXPECT_EQ(error_of(TypedQueue::create(domain, Key(5))), ENOSPC);
}

// A file that is no queue is refused with what is wrong with it. EBADMSG.
TEST_F(TypedQueueTest, RefusesDamage) {
    auto queue = made(Key(0x7));
    const std::string path = domain.find(ObjectKind::typed_queue, queue.identifier())->path;
    const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
    ASSERT_EQ(pwrite(fd, "X", 1, 8), 1);
    close(fd);
    const auto opened = TypedQueue::open(domain, queue.identifier());
    ASSERT_EQ(error_of(opened), EBADMSG);
    EXPECT_FALSE(opened.error().hint().empty());
}

// The oldest that matches: any, one type, other types, the lowest type. EAGAIN, EINVAL.
TEST_F(TypedQueueTest, TakesByAgeAndByType) {
    auto queue = made();
    const auto fill = [&] {
        while (queue.try_receive()) {}
        for (const auto& [text, type] : {std::pair{"a", 5}, {"b", 3}, {"c", 5}, {"d", 2}, {"e", 3}}) ASSERT_TRUE(queue.send(text, type));
    };
    const auto drained = [&](Selector selector) {
        fill();
        std::string all;
        while (auto message = queue.try_receive(selector)) all += message->text();
        return all;
    };
    EXPECT_EQ(drained(Selector::any()), "abcde");
    EXPECT_EQ(drained(Selector::type(5)), "ac");
    EXPECT_EQ(drained(Selector::type(4)), "");
    EXPECT_EQ(drained(Selector::except(5)), "bde");
    EXPECT_EQ(drained(Selector::except(4)), "abcde");
    EXPECT_EQ(drained(Selector::up_to(4)), "dbe");
    EXPECT_EQ(drained(Selector::up_to(1)), "");
    EXPECT_EQ(drained(Selector::up_to(INT64_MAX)), "dbeac");
    ASSERT_TRUE(queue.send("", INT64_MAX));
    EXPECT_EQ(queue.receive(Selector::type(INT64_MAX))->type, INT64_MAX);
    for (const Selector& wrong : {Selector::type(0), Selector::type(-7), Selector::except(0), Selector::up_to(0)}) {
        EXPECT_EQ(error_of(queue.try_receive(wrong)), EINVAL);
        EXPECT_EQ(error_of(queue.peek(wrong)), EINVAL);
    }
    EXPECT_EQ(error_of(queue.try_receive()), EAGAIN);
    EXPECT_EQ(error_of(queue.try_send("x", 0)), EINVAL);
    EXPECT_EQ(error_of(queue.try_send("x", -1)), EINVAL);
    EXPECT_EQ(queue.status()->messages, 0u);
}

// Into a buffer: as long as it is, E2BIG if that is too short, or cut. A refused message keeps its place.
TEST_F(TypedQueueTest, FillsBuffersAndCuts) {
    auto queue = made();
    const std::string_view sent = "a message";
    ASSERT_TRUE(queue.send(std::as_bytes(std::span(sent.data(), sent.size())), 4));
    ASSERT_TRUE(queue.try_send("second", 4));
    std::byte room[9], little[4];
    EXPECT_EQ(error_of(queue.receive(std::span<std::byte>(little), Selector::type(4), Deadline::now())), E2BIG);
    EXPECT_EQ(error_of(queue.receive(std::span<std::byte>(), Selector::any(), Deadline::after(1s))), E2BIG);
    EXPECT_EQ(queue.status()->messages, 2u);
    const auto whole = queue.receive(std::span<std::byte>(room)).value();
    EXPECT_EQ(whole.size_bytes, 9u);
    EXPECT_EQ(whole.type, 4);
    EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(room), 9), sent);
    EXPECT_EQ(queue.receive(std::span<std::byte>(little), Selector::any(), Deadline::now(), true)->size_bytes, 4u);
    EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(little), 4), "seco");
    ASSERT_TRUE(queue.send(std::string(8192, 'z'), 1));
    EXPECT_EQ(queue.receive()->bytes.size(), 8192u);
    // One who sleeps is told as well, and the message stays.
    Child sleeper = in_child([&] { return error_of(queue.receive(std::span<std::byte>(little), Selector::type(9))) == E2BIG ? 0 : 1; });
    ASSERT_TRUE(sleeps(queue));
    ASSERT_TRUE(queue.send("too long", 9));
    ASSERT_TRUE(sleeper.ends());
    EXPECT_TRUE(sleeper.exited());
    EXPECT_EQ(told(queue.try_receive()), "too long");
}

// peek shows what receive would take, and takes nothing.
TEST_F(TypedQueueTest, Peeks) {
    auto queue = made();
    EXPECT_EQ(error_of(queue.peek()), EAGAIN);
    EXPECT_TRUE(queue.peek_all()->empty());
    for (const auto& [text, type] : {std::pair{"a", 5}, {"b", 3}, {"c", 2}, {"", 3}}) ASSERT_TRUE(queue.send(text, type));
    EXPECT_EQ(texts(queue.peek_all().value()), (std::vector<std::string>{"5:a", "3:b", "2:c", "3:"}));
    EXPECT_EQ(told(queue.peek()), "a");
    EXPECT_EQ(told(queue.peek(Selector::type(3))), "b");
    EXPECT_EQ(told(queue.peek(Selector::except(5))), "b");
    EXPECT_EQ(told(queue.peek(Selector::up_to(4))), "c");
    EXPECT_EQ(error_of(queue.peek(Selector::type(4))), EAGAIN);
    EXPECT_EQ(queue.status()->messages, 4u);
}

// now() never waits, an instant in the past times out, but neither keeps away from a message or room that is there. EAGAIN, ETIMEDOUT.
TEST_F(TypedQueueTest, KeepsDeadlines) {
    auto queue = made();
    ASSERT_TRUE(queue.set_bytes_max(10));
    const Deadline past[] = {Deadline::at(std::chrono::system_clock::now() - 1h), Deadline::at({}), Deadline::after(0s), Deadline::after(-5s)};
    for (const Deadline& deadline : past) EXPECT_EQ(error_of(queue.receive(Selector::any(), deadline)), ETIMEDOUT);
    ASSERT_TRUE(queue.send("123456", 2, past[0]));
    for (const Deadline& deadline : past) EXPECT_EQ(error_of(queue.send("12345", 2, deadline)), ETIMEDOUT);
    EXPECT_EQ(error_of(queue.try_send("12345", 2)), EAGAIN);
    EXPECT_TRUE(queue.try_send("1234", 3));
    const auto before = std::chrono::steady_clock::now();
    EXPECT_EQ(error_of(queue.send("1", 2, Deadline::after(20ms))), ETIMEDOUT);
    EXPECT_EQ(error_of(queue.receive(Selector::type(9), Deadline::after(20ms))), ETIMEDOUT);
    EXPECT_GE(std::chrono::steady_clock::now() - before, 40ms);
    EXPECT_EQ(error_of(queue.try_receive(Selector::type(9))), EAGAIN);
    EXPECT_EQ(queue.receive(Selector::any(), past[0])->type, 2);
    EXPECT_EQ(queue.receive(Selector::any(), Deadline::after(1h))->type, 3);
    EXPECT_TRUE(queue.waiters()->empty());
}

// Room is bytes, and as many messages; lowering takes nothing out, raising lets a sender go on.
TEST_F(TypedQueueTest, CountsItsRoomInBytes) {
    auto queue = made();
    ASSERT_TRUE(queue.set_bytes_max(3));
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(queue.try_send("", 1));
    EXPECT_EQ(error_of(queue.try_send("", 1)), EAGAIN);
    ASSERT_TRUE(queue.set_bytes_max(8));
    ASSERT_TRUE(queue.try_send("12345678", 1));
    ASSERT_TRUE(queue.set_bytes_max(4));
    EXPECT_EQ(queue.status()->messages, 4u);
    EXPECT_EQ(queue.status()->bytes, 8u);
    EXPECT_EQ(queue.status()->bytes_max, 4u);
    Child sender = in_child([&] { return queue.send("1234", 2) ? 0 : 1; });
    ASSERT_TRUE(sleeps(queue));
    ASSERT_TRUE(queue.waiters()->front().sends);
    ASSERT_TRUE(queue.set_bytes_max(12));
    ASSERT_TRUE(sender.ends());
    EXPECT_TRUE(sender.exited());
    EXPECT_EQ(queue.status()->messages, 5u);
    EXPECT_GT(queue.status()->last_change.time_since_epoch(), 1s);
    EXPECT_EQ(error_of(queue.set_bytes_max(16385)), has_system_resource() ? 0 : EPERM);
}

// Times and processes: never at first; then whose call it was.
TEST_F(TypedQueueTest, TellsItsStatus) {
    auto queue = made(Key(0x5), {.mode = 0604});
    const TypedQueueStatus fresh = queue.status().value();
    EXPECT_EQ(fresh.mode, 0604u);
    EXPECT_EQ(fresh.owner_uid, geteuid());
    EXPECT_EQ(fresh.creator_gid, getegid());
    EXPECT_EQ(fresh.last_send_pid, 0);
    EXPECT_EQ(fresh.last_receive_pid, 0);
    EXPECT_EQ(fresh.last_send.time_since_epoch(), 0s);
    EXPECT_EQ(fresh.last_receive.time_since_epoch(), 0s);
    EXPECT_LT(std::chrono::system_clock::now() - fresh.created, 1h);
    EXPECT_LT(std::chrono::system_clock::now() - fresh.last_change, 1h);
    ASSERT_TRUE(queue.send("abc", 1));
    ASSERT_TRUE(queue.send("defg", 1));
    Child receiver = in_child([&] { return queue.try_receive() ? 0 : 1; });
    const pid_t pid = receiver.pid();
    ASSERT_TRUE(receiver.ends() && receiver.exited());
    const TypedQueueStatus status = queue.status().value();
    EXPECT_EQ(status.messages, 1u);
    EXPECT_EQ(status.bytes, 4u);
    EXPECT_GT(status.bytes_allocated, 0u);
    EXPECT_EQ(status.last_send_pid, getpid());
    EXPECT_EQ(status.last_receive_pid, pid);
    EXPECT_LT(std::chrono::system_clock::now() - status.last_send, 1h);
    EXPECT_LT(std::chrono::system_clock::now() - status.last_receive, 1h);
}

// Everyone who sleeps, the first to come first, with what he waits for; each gets what he asked for, and nobody else's.
TEST_F(TypedQueueTest, TellsWhoWaitsForWhat) {
    auto queue = made();
    const Selector wanted[] = {Selector::type(7), Selector::except(7), Selector::up_to(6), Selector::any()};
    std::vector<std::thread> sleepers;
    std::string got[4];
    for (int i = 0; i < 4; ++i) {
        sleepers.emplace_back([&, i] { got[i] = told(queue.receive(wanted[i])); });
        ASSERT_TRUE(sleeps(queue, static_cast<std::size_t>(i) + 1));
    }
    const auto waiters = queue.waiters().value();
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(waiters[i].pid, getpid());
        EXPECT_NE(waiters[i].thread_id, getpid());
        EXPECT_FALSE(waiters[i].sends);
        EXPECT_EQ(waiters[i].selector.kind(), wanted[i].kind());
        EXPECT_EQ(waiters[i].selector.value(), wanted[i].value());
        EXPECT_LT(std::chrono::system_clock::now() - waiters[i].since, 1h);
    }
    EXPECT_EQ(queue.status()->receivers_waiting, 4u);
    ASSERT_TRUE(queue.send("9", 9));
    ASSERT_TRUE(sleeps(queue, 3));
    ASSERT_TRUE(queue.send("7", 7));
    ASSERT_TRUE(sleeps(queue, 2));
    ASSERT_TRUE(queue.send("8", 8));
    ASSERT_TRUE(sleeps(queue, 1));
    ASSERT_TRUE(queue.send("6", 6));
    for (std::thread& sleeper : sleepers) sleeper.join();
    EXPECT_EQ(got[0] + got[1] + got[2] + got[3], "7968");
}

// A handler that runs without SA_RESTART ends the wait of a sender and of a receiver. EINTR.
TEST_F(TypedQueueTest, HandlersEndWaits) {
    auto queue = made();
    ASSERT_TRUE(queue.set_bytes_max(1));
    for (const bool sends : {false, true}) {
        if (sends) {
            ASSERT_TRUE(queue.send("x", 1));
        }
        Child sleeper = in_child([&] {
            struct sigaction action {};
            action.sa_handler = [](int) {};
            action.sa_flags = 0;
            sigaction(SIGUSR1, &action, nullptr);
            return (sends ? error_of(queue.send("y", 1)) : error_of(queue.receive())) == EINTR ? 0 : 1;
        });
        ASSERT_TRUE(sleeps(queue));
        EXPECT_TRUE(eventually([&] { return sleeper.kill(SIGUSR1), sleeper.ended(); }));
        EXPECT_TRUE(sleeper.exited());
    }
    EXPECT_EQ(queue.status()->messages, 1u);
}

// Removal ends the waits of all and every later call; the key is free at once. EIDRM, ENOENT.
TEST_F(TypedQueueTest, EndsWithItsRemoval) {
    auto queue = made(Key(0x55));
    ASSERT_TRUE(queue.set_bytes_max(1));
    ASSERT_TRUE(queue.send("x", 1));
    Child receiver = in_child([&] { return error_of(queue.receive(Selector::type(2))) == EIDRM ? 0 : 1; });
    Child sender = in_child([&] { return error_of(queue.send("y", 1, Deadline::after(1h))) == EIDRM ? 0 : 1; });
    ASSERT_TRUE(sleeps(queue, 2));
    auto other = TypedQueue::open(domain, Key(0x55)).value();
    ASSERT_TRUE(queue.remove());
    EXPECT_TRUE(receiver.ends() && receiver.exited());
    EXPECT_TRUE(sender.ends() && sender.exited());
    EXPECT_EQ(error_of(other.remove()), EIDRM);
    EXPECT_EQ(error_of(other.send("x", 1)), EIDRM);
    EXPECT_EQ(error_of(other.try_receive()), EIDRM);
    EXPECT_EQ(error_of(other.peek()), EIDRM);
    EXPECT_EQ(error_of(other.peek_all()), EIDRM);
    EXPECT_EQ(error_of(other.fd()), EIDRM);
    EXPECT_EQ(error_of(other.status()), EIDRM);
    EXPECT_EQ(error_of(other.waiters()), EIDRM);
    EXPECT_EQ(error_of(other.set_bytes_max(5)), EIDRM);
    EXPECT_EQ(error_of(TypedQueue::open(domain, Key(0x55))), ENOENT);
    EXPECT_EQ(error_of(TypedQueue::open(domain, queue.identifier())), ENOENT);
    auto fresh = made(Key(0x55));
    EXPECT_EQ(error_of(fresh.try_receive()), EAGAIN);
    EXPECT_EQ(error_of(other.try_receive()), EIDRM);
}

// Another user has the rights that the mode gives to others, and no more. EACCES, EPERM.
TEST_F(TypedQueueTest, ObeysItsMode) {
    if (geteuid() != 0) GTEST_SKIP() << "needs a second user, whom only root can be";
    auto closed = made(Key(1), {.mode = 0600}), readable = made(Key(2), {.mode = 0604}), writable = made(Key(3), {.mode = 0602});
    for (TypedQueue* queue : {&closed, &readable, &writable}) ASSERT_TRUE(queue->send("x", 1));
    for (const auto& entry : std::filesystem::recursive_directory_iterator(domain.path()))
        if (entry.is_directory()) chmod(entry.path().c_str(), 01777);
    chmod(domain.path().c_str(), 01777);
    Child other = in_child([&] {
        if (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0) return 99;
        if (error_of(TypedQueue::open(domain, Key(1))) != EACCES) return 1;
        auto seen = TypedQueue::open(domain, Key(2)), fed = TypedQueue::open(domain, Key(3));
        if (!seen || !fed) return 2;
        if (error_of(seen->try_send("y", 1)) != EACCES || told(seen->peek()) != "x" || !seen->status() || !seen->waiters()) return 3;
        if (error_of(seen->set_bytes_max(5)) != EPERM || error_of(seen->remove()) != EPERM) return 4;
        if (told(seen->try_receive()) != "x") return 5;
        if (!fed->try_send("y", 2) || error_of(fed->try_receive()) != EACCES || error_of(fed->peek()) != EACCES) return 6;
        if (error_of(fed->status()) != EACCES || error_of(fed->waiters()) != EACCES || error_of(fed->peek_all()) != EACCES) return 7;
        if (error_of(TypedQueue::create(domain, Key(2))) != EEXIST) return 8;
        return 0;
    });
    ASSERT_TRUE(other.ends());
    EXPECT_TRUE(other.exited()) << other.status();
    EXPECT_EQ(writable.status()->messages, 2u);
    EXPECT_EQ(readable.status()->messages, 0u);

    // Above msgmnb without CAP_SYS_RESOURCE.
    Child bounded = in_child([&] {
        if (has_system_resource(true)) return 99;
        if (error_of(closed.set_bytes_max(16385)) != EPERM) return 1;
        return closed.set_bytes_max(16384) ? 0 : 2;
    });
    ASSERT_TRUE(bounded.ends());
    EXPECT_TRUE(bounded.exited()) << bounded.status();
}

// A forked child uses its parent's object; one that is killed while it sleeps has taken nothing and keeps nobody waiting.
TEST_F(TypedQueueTest, OutlivesForksAndDeaths) {
    auto queue = made();
    ASSERT_TRUE(queue.set_bytes_max(4));
    Child child = in_child([&] { return queue.send("one", 1) && told(queue.try_receive()) == "one" && queue.send("two", 2) ? 0 : 1; });
    ASSERT_TRUE(child.ends());
    EXPECT_TRUE(child.exited());
    EXPECT_EQ(told(queue.try_receive()), "two");

    Child receiver = in_child([&] { return queue.receive(Selector::type(3)) ? 1 : 2; });
    ASSERT_TRUE(sleeps(queue));
    Child second = in_child([&] { return told(queue.receive(Selector::type(3))) == "kept" ? 0 : 1; });
    ASSERT_TRUE(sleeps(queue, 2));
    receiver.kill(SIGKILL);
    ASSERT_TRUE(receiver.ends());
    ASSERT_TRUE(queue.send("kept", 3));
    ASSERT_TRUE(second.ends());
    EXPECT_TRUE(second.exited());
    EXPECT_TRUE(sleeps(queue, 0));

    ASSERT_TRUE(queue.send("full", 1));
    Child sender = in_child([&] { return queue.send("dead", 1) ? 1 : 2; });
    ASSERT_TRUE(sleeps(queue));
    Child patient = in_child([&] { return queue.send("next", 1) ? 0 : 1; });
    ASSERT_TRUE(sleeps(queue, 2));
    sender.kill(SIGKILL);
    ASSERT_TRUE(sender.ends());
    EXPECT_EQ(told(queue.try_receive()), "full");
    ASSERT_TRUE(patient.ends());
    EXPECT_TRUE(patient.exited());
    EXPECT_EQ(told(queue.try_receive()), "next");
    EXPECT_EQ(error_of(queue.try_receive()), EAGAIN);
}

// Threads of three processes through a narrow queue: every message arrives once, at one who asked for its type, those of a sender and a
// type in their order.
TEST_F(TypedQueueTest, KeepsOrderUnderContention) {
    constexpr int kSenders = 4, kMessages = 1500, kTypes = 4;
    struct Letter {
        int sender, number;
    };
    struct Board {
        std::atomic<int> arrived[kSenders][kMessages];
        std::atomic<int> received, wrong;
    };
    Shared<Board> board;
    auto queue = made();
    ASSERT_TRUE(queue.set_bytes_max(10 * sizeof(Letter)));
    const auto send = [&](int sender) {
        for (int number = 0; number < kMessages; ++number) {
            const Letter letter{sender, number};
            if (!queue.send(std::as_bytes(std::span(&letter, 1)), 1 + number % kTypes)) ++board->wrong;
        }
    };
    const auto receive = [&](Selector selector) {
        int last[kSenders][kTypes + 1];
        for (auto& row : last)
            for (int& number : row) number = -1;
        for (;;) {
            Letter letter{};
            const auto got = queue.receive(std::as_writable_bytes(std::span(&letter, 1)), selector, Deadline::after(60s));
            if (!got) {
                if (!(got.error() == EIDRM)) ++board->wrong;
                return;
            }
            const bool fits = got->size_bytes == sizeof letter && got->type == 1 + letter.number % kTypes && letter.sender < kSenders &&
                              is_meant(selector, got->type);
            if (!fits || letter.number <= last[letter.sender][got->type]) ++board->wrong;
            last[letter.sender][got->type] = letter.number;
            ++board->arrived[letter.sender][letter.number];
            ++board->received;
        }
    };
    const auto both = [&](int sender, Selector one, Selector other) {
        std::thread sends(send, sender), first(receive, one), second(receive, other);
        sends.join();
        first.join();
        second.join();
    };
    Child near = in_child([&] { return both(0, Selector::type(1), Selector::except(1)), 0; });
    Child far = in_child([&] { return both(1, Selector::up_to(2), Selector::any()), 0; });
    std::thread here([&] { both(2, Selector::type(4), Selector::type(3)); }), extra([&] { both(3, Selector::except(4), Selector::up_to(3)); });
    EXPECT_TRUE(eventually([&] { return board->received == kSenders * kMessages; }, 100s));
    EXPECT_EQ(queue.status()->messages, 0u);
    ASSERT_TRUE(queue.remove());
    here.join();
    extra.join();
    EXPECT_TRUE(near.ends() && near.exited());
    EXPECT_TRUE(far.ends() && far.exited());
    EXPECT_EQ(board->wrong, 0);
    int once = 0;
    for (const auto& row : board->arrived)
        for (const auto& times : row) once += times == 1;
    EXPECT_EQ(once, kSenders * kMessages);
}

int ready(int fd, int timeout_ms = 0) {
    pollfd entry{fd, POLLIN | POLLOUT, 0};
    poll(&entry, 1, timeout_ms);
    return entry.revents;
}

bool readable(int fd) {
    pollfd entry{fd, POLLIN, 0};
    return poll(&entry, 1, 20'000) == 1 && entry.revents == POLLIN;
}

// fd(): readable while there is a message of any type, writable while there is room, also by what other processes do and die of.
TEST_F(TypedQueueTest, HasADescriptorForEventLoops) {
    auto queue = made(Key(0xfd));
    ASSERT_TRUE(queue.set_bytes_max(8));
    const int fd = queue.fd().value();
    EXPECT_EQ(queue.fd().value(), fd);
    EXPECT_EQ(ready(fd), POLLOUT);
    Child sender = in_child([&] {
        auto mine = TypedQueue::open(domain, Key(0xfd));
        if (mine && mine->send("from", 7)) raise(SIGKILL);
        return 1;
    });
    EXPECT_TRUE(readable(fd));
    ASSERT_TRUE(sender.ends());
    EXPECT_TRUE(sender.killed());
    EXPECT_EQ(ready(fd), POLLIN | POLLOUT);
    ASSERT_TRUE(queue.send("abcd", 8));
    EXPECT_EQ(ready(fd), POLLIN);
    EXPECT_EQ(told(queue.try_receive(Selector::type(8))), "abcd");
    EXPECT_EQ(ready(fd), POLLIN | POLLOUT);
    ASSERT_TRUE(queue.set_bytes_max(4));
    EXPECT_EQ(ready(fd), POLLIN);
    EXPECT_EQ(told(queue.try_receive()), "from");
    EXPECT_EQ(ready(fd), POLLOUT);
    EXPECT_EQ(error_of(queue.try_receive()), EAGAIN);
    // A message that goes straight to one who sleeps makes nobody readable for long.
    std::thread sleeper([&] { EXPECT_EQ(told(queue.receive(Selector::type(3))), "x"); });
    ASSERT_TRUE(sleeps(queue));
    ASSERT_TRUE(queue.send("x", 3));
    sleeper.join();
    EXPECT_EQ(ready(fd), POLLOUT);
}

// Threads that ask for the descriptor at once all get the same one, which stays open.
TEST_F(TypedQueueTest, HasOneDescriptorForAllThreads) {
    for (int turn = 0; turn < 50; ++turn) {
        auto queue = made();
        int fds[4];
        std::atomic<bool> go{false};
        std::vector<std::thread> threads;
        for (int& fd : fds)
            threads.emplace_back([&] {
                while (!go) {}
                fd = queue.fd().value();
            });
        go = true;
        for (std::thread& thread : threads) thread.join();
        for (const int fd : fds) ASSERT_EQ(fd, fds[0]);
        ASSERT_EQ(ready(fds[0]), POLLOUT);
        ASSERT_TRUE(queue.remove());
    }
}

// Who polls for what will never come again hears of the removal: for a message in an empty queue, for room in a full one.
TEST_F(TypedQueueTest, RemovalWakesWhoPolls) {
    for (const bool full : {false, true}) {
        auto queue = made();
        ASSERT_TRUE(queue.set_bytes_max(4));
        if (full) {
            ASSERT_TRUE(queue.send("abcd", 8));
        }
        const int fd = queue.fd().value();
        const short awaited = full ? POLLOUT : POLLIN;
        ASSERT_EQ(ready(fd) & awaited, 0);
        Shared<std::atomic<bool>> polling;
        Child child = in_child([&] {
            pollfd entry{fd, awaited, 0};
            *polling = true;
            if (poll(&entry, 1, -1) != 1 || (entry.revents & awaited) == 0) return 2;
            if (error_of(queue.try_receive()) != EIDRM) return 3;
            return error_of(queue.send("x", 1)) == EIDRM ? 0 : 4;
        });
        ASSERT_TRUE(eventually([&] { return *polling && child.asleep(); }));
        ASSERT_TRUE(queue.remove());
        EXPECT_TRUE(child.ends()) << "full " << full;
        EXPECT_TRUE(child.exited()) << child.status();
        EXPECT_EQ(ready(fd) & awaited, awaited);
    }
}

#if defined(MUSTER_POSIX_LIBRARY) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which cannot be loaded late
// The C door in a child process.
struct CCalls {
    explicit CCalls(const Domain& domain) {
        setenv("MUSTER_DOMAIN", domain.path().c_str(), 1);
        void* library = dlopen(MUSTER_POSIX_LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr) return;
        get = reinterpret_cast<int (*)(key_t, int)>(dlsym(library, "msgget"));
        send = reinterpret_cast<int (*)(int, const void*, std::size_t, int)>(dlsym(library, "msgsnd"));
        receive = reinterpret_cast<ssize_t (*)(int, void*, std::size_t, long, int)>(dlsym(library, "msgrcv"));
        control = reinterpret_cast<int (*)(int, int, msqid_ds*)>(dlsym(library, "msgctl"));
    }
    int (*get)(key_t, int) = nullptr;
    int (*send)(int, const void*, std::size_t, int) = nullptr;
    ssize_t (*receive)(int, void*, std::size_t, long, int) = nullptr;
    int (*control)(int, int, msqid_ds*) = nullptr;
};
struct Letter {
    long type;
    char text[8192];
};

// What this process has open, and how much of that are FIFOs.
struct OpenFiles {
    int all = 0, fifos = 0;
    OpenFiles() {
        for (int fd = 0; fd < 1024; ++fd) {
            struct stat status;
            if (fstat(fd, &status) != 0) continue;
            ++all;
            fifos += S_ISFIFO(status.st_mode);
        }
    }
    friend bool operator==(const OpenFiles&, const OpenFiles&) = default;
};

// What is made here is what msgget() finds.
TEST_F(TypedQueueTest, IsTheQueueThatTheCCallsSee) {
    auto queue = made(Key(0x4d5));
    ASSERT_TRUE(queue.send("to C", 7));
    Child child = in_child([&] {
        const CCalls c(domain);
        if (c.control == nullptr) return 1;
        const int id = c.get(0x4d5, 0);
        if (id != queue.identifier()) return 2;
        Letter letter{};
        if (c.receive(id, &letter, sizeof letter.text, -9, 0) != 4 || letter.type != 7 || std::string_view(letter.text) != "to C") return 3;
        letter = {11, "from C"};
        if (c.send(id, &letter, 6, 0) != 0) return 4;
        msqid_ds status{};
        if (c.control(id, IPC_STAT, &status) != 0 || status.msg_qnum != 1 || status.msg_cbytes != 6 || status.msg_lrpid != getpid()) return 5;
        const int own = c.get(0x4d6, IPC_CREAT | 0600);
        if (TypedQueue::open(domain, Key(0x4d6))->identifier() != own) return 6;
        return c.receive(id, &letter, sizeof letter.text, 12, 0) == -1 && errno == EIDRM ? 0 : 7;
    });
    ASSERT_TRUE(sleeps(queue));
    EXPECT_EQ(queue.waiters()->front().pid, child.pid());
    EXPECT_EQ(queue.waiters()->front().selector.value(), 12);
    EXPECT_EQ(told(queue.try_receive(Selector::type(11))), "from C");
    ASSERT_TRUE(queue.remove());
    ASSERT_TRUE(child.ends());
    EXPECT_TRUE(child.exited()) << child.status();
}

// Processes that use the C calls keep the descriptor's word as well; they open what that takes only for the moment.
TEST_F(TypedQueueTest, CCallsWakeEventLoopsAndKeepNothingOpen) {
    auto queue = made(Key(0x4d7));
    Shared<std::atomic<int>> step;  // odd: the child acts
    Child child = in_child([&] {
        const CCalls c(domain);
        if (c.control == nullptr) return 1;
        const int id = c.get(0x4d7, 0);
        Letter letter{};
        letter.type = 5;
        if (c.send(id, &letter, 1, 0) != 0 || c.receive(id, &letter, 1, 0, 0) != 1) return 2;
        const OpenFiles before;
        const auto done = [&] { return ++*step, eventually([&] { return *step % 2 == 1; }) && OpenFiles() == before; };
        ++*step;
        if (!done()) return 3;
        if (c.send(id, &letter, 8192, 0) != 0 || !done()) return 4;  // the parent polls by now
        while (c.send(id, &letter, 8192, IPC_NOWAIT) == 0) {}
        if (errno != EAGAIN || !done()) return 5;
        if (c.receive(id, &letter, 8192, 5, 0) != 8192 || !done()) return 6;
        if (c.receive(id, &letter, 8192, 0, 0) != 8192 || !done()) return 7;
        return 0;
    });
    int fd = -1;
    const auto comes = [&](int number) { return eventually([&] { return *step == number; }); };
    ASSERT_TRUE(comes(2)) << child.ended() << child.status();
    fd = queue.fd().value();
    EXPECT_EQ(ready(fd), POLLOUT);
    ++*step;
    EXPECT_TRUE(readable(fd));
    const int expected[] = {POLLIN | POLLOUT, POLLIN, POLLIN | POLLOUT, POLLOUT};
    for (int i = 0; i < 4; ++i) {
        ASSERT_TRUE(comes(4 + 2 * i)) << i << child.ended() << child.status();
        EXPECT_EQ(ready(fd), expected[i]) << i;
        ++*step;
    }
    ASSERT_TRUE(child.ends());
    EXPECT_TRUE(child.exited()) << child.status();
}
#endif

}  // namespace
