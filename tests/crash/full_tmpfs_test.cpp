// A file system without memory to spare: a tmpfs of one MiB of our own, filled to the last page. Proved: making
// queues, sending, waiting and polling there give ENOSPC when they need memory, never SIGBUS; nothing half-made is
// left and no message is lost; what is in a queue can be received; with space again all goes on as if nothing had been.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>
#include "objects/domain.hpp"
#include "platform/signals.hpp"
#include "support/child.hpp"
#include "support/queue_audit.hpp"
#include "support/test_queue.hpp"

namespace {

namespace objects = muster::objects;
namespace platform = muster::platform;
using namespace muster::test;
using platform::kNoWait;

constexpr std::size_t kBufferBytes = 8192;

constexpr std::uint64_t kBallastPages = 64;  // what free_space() gives back at least

struct Deep {
    const char* name;
    std::uint64_t messages_max, message_bytes_max;
    std::uint32_t length;
};
constexpr Deep kDeep[] = {{"within_slots", 8000, 96, 90}, {"regions", 500, 8192, 6000}, {"small_regions", 100000, 512, 400}};

// A queue under its name in the domain.
struct Named {
    platform::File file;
    std::unique_ptr<objects::Queue> queue;
};

class FullTmpfs : public ::testing::Test {
protected:
    void SetUp() override {
        platform::install_fault_handlers();
        char path[] = "/tmp/muster-full-XXXXXX";
        ASSERT_NE(mkdtemp(path), nullptr);
        path_ = path;
        // A mount namespace of our own: nobody else sees the file system, and it goes with us.
        static const bool apart = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 && mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
        if (!apart) GTEST_SKIP() << "a mount namespace needs root: " << std::strerror(errno);
        if (mount("tmpfs", path, "tmpfs", 0, "size=1m,mode=0700") != 0) GTEST_SKIP() << "no tmpfs can be mounted: " << std::strerror(errno);
        mounted_ = true;
        auto domain = objects::Domain::open((path_ + "/domain").c_str(), true);
        ASSERT_TRUE(domain);
        domain_ = std::make_unique<objects::Domain>(std::move(*domain));
        ASSERT_TRUE(domain_->ensure_directory("mq"));
    }
    void TearDown() override {
        domain_.reset();
        if (mounted_) umount2(path_.c_str(), MNT_DETACH);
        rmdir(path_.c_str());
    }

    std::string filler() const { return path_ + "/filler"; }
    // Takes every page there is, or so many.
    void fill(std::uint64_t most = ~std::uint64_t{0}) const {
        const platform::File file(open(filler().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        ASSERT_GE(file.fd(), 0);
        off_t at = lseek(file.fd(), 0, SEEK_END);
        for (; most != 0 && fallocate(file.fd(), 0, at, 4096) == 0; --most) at += 4096;
        if (most == 0) return;
        ASSERT_EQ(errno, ENOSPC);
        ASSERT_EQ(free_pages(), 0u);
    }
    void free_space() const { ASSERT_EQ(unlink(filler().c_str()), 0); }
    std::uint64_t free_pages() const {
        struct statfs status;
        return statfs(path_.c_str(), &status) == 0 ? status.f_bfree : 0;
    }

    // What a door does; 0 or an errno value.
    int make(const std::string& name, std::uint64_t messages_max, std::uint64_t message_bytes_max, Named& named) const {
        unsigned granted = 0;
        auto file = domain_->create_nameless(0600, &granted);
        if (!file) return file.fault().errno_value;
        auto queue = std::make_unique<objects::Queue>();
        if (auto created = queue->create(file->fd(), {messages_max, message_bytes_max, 0600}); !created) return created.fault().errno_value;
        queue->publish_ready();
        if (auto published = domain_->publish(file->fd(), ("mq/" + name).c_str()); !published) return published.fault().errno_value;
        named.file = std::move(*file);
        named.queue = std::move(queue);
        return 0;
    }
    static int send(Named& to, std::uint64_t id, std::uint32_t length, std::uint32_t priority = 0) {
        unsigned char text[kBufferBytes];
        write_body(text, id, length, priority);
        auto sent = to.queue->send(platform::current_thread(), to.file.fd(), text, length, priority, {kNoWait, -1});
        return sent ? 0 : sent.fault().errno_value;
    }
    static Received receive(Named& from, platform::DeadlineNs deadline_ns = kNoWait) {
        Received result;
        unsigned char text[kBufferBytes];
        auto received = from.queue->receive(platform::current_thread(), from.file.fd(), text, sizeof text, {deadline_ns, -1});
        if (!received) {
            result.error = received.fault().errno_value;
            return result;
        }
        result.length = static_cast<std::uint32_t>(received->length);
        result.wrong = wrong_body(text, received->length, received->priority);
        std::memcpy(&result.id, text, received->length >= 8 ? 8 : 0);
        return result;
    }
    // The messages first..first+count-1 come whole and in order, and then none.
    static void expect_messages(Named& from, std::uint64_t first, std::uint64_t count) {
        EXPECT_EQ(from.queue->count(), count);
        for (std::uint64_t id = first; id < first + count; ++id) {
            const Received got = receive(from);
            ASSERT_EQ(got.error, 0) << "message " << id;
            EXPECT_EQ(got.wrong, nullptr);
            EXPECT_EQ(got.id, id);
        }
        EXPECT_EQ(receive(from).error, EAGAIN);
    }
    static void expect_sound(const Named& named) {
        const Audit audit = audit_queue(named.file.fd());
        EXPECT_TRUE(audit.complaints.empty()) << audit.text();
    }

    std::string path_;
    bool mounted_ = false;
    std::unique_ptr<objects::Domain> domain_;
};

// Queues are made until there is no memory: ENOSPC, no name and no memory left behind; those that were made hold
// messages or say ENOSPC; once some are removed new ones can be made.
TEST_F(FullTmpfs, CreateGivesEnospcAndLeavesNothing) {
    std::vector<Named> made;
    int error = 0;
    for (int number = 0; number < 1000; ++number) {
        Named next;
        error = make("q" + std::to_string(number), 8, 512, next);
        if (error != 0) break;
        made.push_back(std::move(next));
    }
    EXPECT_EQ(error, ENOSPC);
    ASSERT_GE(made.size(), 10u);
    EXPECT_EQ(domain_->count("mq"), made.size());
    const std::uint64_t pages = free_pages();
    Named another;
    EXPECT_EQ(make("another", 8, 512, another), ENOSPC);
    EXPECT_EQ(free_pages(), pages);
    fill();
    EXPECT_EQ(make("another", 8, 512, another), ENOSPC);
    for (Named& one : made) {
        const int sent = send(one, 1, 100);
        EXPECT_TRUE(sent == 0 || sent == ENOSPC) << sent;
        expect_messages(one, 1, sent == 0 ? 1 : 0);
    }
    for (int number = 0; number < 4; ++number) {
        made.pop_back();
        ASSERT_TRUE(objects::remove_queue(*domain_, ("mq/q" + std::to_string(made.size())).c_str()));
    }
    EXPECT_EQ(make("another", 8, 512, another), 0);
    EXPECT_EQ(send(another, 5, 400), 0);
    expect_messages(another, 5, 1);
    expect_sound(another);
}

// Sending until the memory is used up, messages within their slots and beyond: ENOSPC (never EAGAIN: the queue is not
// full), again and again; what was accepted comes out whole and in order on the full file system; with space again the
// queue takes messages of every length and priority.
TEST_F(FullTmpfs, SendGivesEnospcAndLosesNothing) {
    for (const Deep& deep : kDeep) {
        SCOPED_TRACE(deep.name);
        Named named;
        ASSERT_EQ(make(deep.name, deep.messages_max, deep.message_bytes_max, named), 0);
        fill(kBallastPages);
        std::uint64_t sent = 0;
        for (int times = 0; times < 3; ++times) {
            int error = 0;
            while (sent < deep.messages_max && (error = send(named, sent, deep.length)) == 0) ++sent;
            EXPECT_EQ(error, ENOSPC);
            EXPECT_GE(sent, 20u);
            fill();
        }
        EXPECT_EQ(send(named, 9, deep.length, 32767), ENOSPC);  // a lane that has no memory
        expect_sound(named);
        expect_messages(named, 0, sent);
        expect_sound(named);
        free_space();
        for (std::uint64_t id = 0; id < 20; ++id) EXPECT_EQ(send(named, id, deep.length, 32767), 0);
        for (std::uint64_t id = 20; id < 40; ++id) EXPECT_EQ(send(named, id, deep.length), 0);
        expect_messages(named, 0, 40);
        expect_sound(named);
        named.queue.reset();
        ASSERT_TRUE(objects::remove_queue(*domain_, (std::string("mq/") + deep.name).c_str()));
    }
}

// A message that found no memory does not stand in the way of those that need none: slots that are free again serve
// on the full file system, as often as one likes.
TEST_F(FullTmpfs, FreedSlotsServeWithoutNewMemory) {
    for (const Deep& deep : kDeep) {
        SCOPED_TRACE(deep.name);
        Named named;
        ASSERT_EQ(make(deep.name, deep.messages_max, deep.message_bytes_max, named), 0);
        fill(kBallastPages);
        std::uint64_t sent = 0;
        while (sent < deep.messages_max && send(named, sent, deep.length) == 0) ++sent;
        ASSERT_GE(sent, 20u);
        fill();
        EXPECT_EQ(send(named, sent, deep.length), ENOSPC);
        for (std::uint64_t id = 0; id < 10; ++id) EXPECT_EQ(receive(named).id, id);  // the queue does not run empty
        for (std::uint64_t id = sent; id < sent + 10; ++id) ASSERT_EQ(send(named, id, deep.length), 0) << "message " << id - sent;
        expect_messages(named, 10, sent);
        expect_sound(named);
        free_space();
        named.queue.reset();
        ASSERT_TRUE(objects::remove_queue(*domain_, (std::string("mq/") + deep.name).c_str()));
    }
}

// Waiting and polling need memory for their record where nobody waited before: ENOSPC at once, and not a message
// less; looking into the queue likewise. Afterwards, with space, all of them work.
TEST_F(FullTmpfs, WaitingAndPollingGiveEnospc) {
    Named named;
    ASSERT_EQ(make("queue", 8, 512, named), 0);
    objects::Queue& queue = *named.queue;
    platform::ThreadState& thread = platform::current_thread();
    for (std::uint64_t id = 0; id < 3; ++id) ASSERT_EQ(send(named, id, 300), 0);
    fill();
    const platform::File pipe(objects::open_fifo(*domain_, queue, true));  // may need memory itself
    EXPECT_TRUE(pipe.fd() >= 0 || pipe.fd() == -ENOSPC) << pipe.fd();
    auto polling = queue.start_polling(thread, named.file.fd(), pipe.fd(), false);
    ASSERT_FALSE(polling);
    EXPECT_EQ(polling.fault().errno_value, ENOSPC);
    EXPECT_NE(polling.fault().rule, nullptr);
    EXPECT_FALSE(queue.polled());
    const auto visit = [](void* seen, const std::byte*, std::size_t, std::uint64_t) {
        ++*static_cast<int*>(seen);
        return true;
    };
    int seen = 0;
    auto peeked = queue.peek(thread, named.file.fd(), true, visit, &seen);
    EXPECT_TRUE(!peeked && peeked.fault().errno_value == ENOSPC);
    auto registered = queue.set_notify(thread, named.file.fd(), {SIGEV_NONE, 0, 0, false});
    EXPECT_TRUE(!registered && registered.fault().errno_value == ENOSPC);
    expect_messages(named, 0, 3);
    EXPECT_EQ(receive(named, in_seconds(10)).error, ENOSPC);
    expect_sound(named);

    free_space();
    EXPECT_EQ(receive(named, in_seconds(0.01)).error, ETIMEDOUT);
    const platform::File fifo(objects::open_fifo(*domain_, queue, true));
    ASSERT_GE(fifo.fd(), 0);
    ASSERT_TRUE(queue.start_polling(thread, named.file.fd(), fifo.fd(), false));
    EXPECT_TRUE(queue.polled());
    fill();  // who has a record keeps it
    for (std::uint64_t id = 0; id < 3; ++id) EXPECT_EQ(send(named, id, 300), 0);
    EXPECT_TRUE(queue.peek(thread, named.file.fd(), true, visit, &seen));
    EXPECT_EQ(seen, 3);
    expect_messages(named, 0, 3);
    EXPECT_EQ(receive(named, in_seconds(0.01)).error, ETIMEDOUT);
    expect_sound(named);
}

// A message handed to a sleeper on a full file system arrives, when the queue has a slot with memory.
TEST_F(FullTmpfs, SleepersAreServed) {
    Named named;
    ASSERT_EQ(make("queue", 8, 512, named), 0);
    ASSERT_EQ(send(named, 0, 300), 0);
    expect_messages(named, 0, 1);
    Child child([&] {
        const Received got = receive(named, in_seconds(20));
        _exit(got.error == 0 && got.wrong == nullptr && got.id == 7 ? 0 : 1);
    });
    ASSERT_TRUE(eventually([&] { return named.queue->state().receivers_waiting == 1; }));
    fill();
    EXPECT_EQ(send(named, 7, 300), 0);
    ASSERT_TRUE(child.ends());
    EXPECT_TRUE(child.exited());
    expect_messages(named, 0, 0);
    expect_sound(named);
}

}  // namespace
