// A domain's objects of every kind in one listing, found by key and identifier, removed one by one; what the dead left is told, then
// released; what is damaged is told. ENOENT, EEXIST, EINVAL.
#include "muster/domain.hpp"
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <csignal>
#include <fstream>
#include "muster/message_queue.hpp"
#include "muster/segment.hpp"
#include "muster/semaphore_set.hpp"
#include "muster/typed_queue.hpp"

namespace {
using namespace muster;

class DomainTest : public testing::Test {
protected:
    DomainTest() : domain(Domain::create_ephemeral().value()) {}
    ~DomainTest() override { EXPECT_TRUE(domain.remove()); }
    ObjectInfo object(const std::string& name) const {
        const auto all = domain.list().value();
        for (const ObjectInfo& one : all)
            if (one.name == name) return one;
        ADD_FAILURE() << "no " << name;
        return {};
    }
    bool tells(const std::vector<Finding>& findings, const std::string& part) const {
        return std::any_of(findings.begin(), findings.end(), [&](const Finding& f) { return f.what.find(part) != f.what.npos; });
    }
    Domain domain;
};

// Runs `body` in a child that is killed once it has returned.
template <class Body>
void in_killed_child(Body body) {
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        [[maybe_unused]] const auto kept = body();
        (void)!write(ready[1], "x", 1);
        pause();
        _exit(0);
    }
    char byte;
    ASSERT_EQ(read(ready[0], &byte, 1), 1);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    close(ready[0]);
    close(ready[1]);
}

TEST_F(DomainTest, ListsEveryKind) {
    auto queue = MessageQueue::create(domain, "/jobs").value();
    auto set = SemaphoreSet::create(domain, Key(0x1), {2, 9}, {.mode = 0644}).value();
    auto segment = Segment::create(domain, Key::none(), 5000).value();
    auto attached = segment.attach().value();
    ASSERT_TRUE(domain.create_shared_memory("/cache", 12345, 0666));
    ASSERT_TRUE(domain.create_named_semaphore("/lock", 3));
    EXPECT_EQ(domain.create_named_semaphore("/lock", 3).error().errno_value(), EEXIST);
    EXPECT_EQ(domain.create_shared_memory("cache", 1).error().errno_value(), EINVAL);

    const auto all = domain.list().value();
    ASSERT_EQ(all.size(), 5u);
    EXPECT_EQ(all[0].name, "/jobs");
    EXPECT_EQ(all[1].name, "sem:0x1");
    EXPECT_EQ(all[1].values, (std::vector<std::uint32_t>{2, 9}));
    EXPECT_EQ(all[1].semaphores, 2u);
    EXPECT_EQ(all[1].mode, 0644u);
    EXPECT_EQ(all[1].owner_uid, geteuid());
    EXPECT_EQ(all[2].name, "shm:id=" + std::to_string(segment.identifier()));
    EXPECT_EQ(all[2].size_bytes, 5000u);
    EXPECT_EQ(all[2].attachments, 1u);
    EXPECT_GE(all[2].bytes_allocated, 8192u);
    EXPECT_EQ(all[3].name, "posix-shm:/cache");
    EXPECT_EQ(all[3].size_bytes, 12345u);
    EXPECT_EQ(all[3].mode, 0666u);
    EXPECT_EQ(all[4].name, "posix-sem:/lock");
    EXPECT_EQ(all[4].values, (std::vector<std::uint32_t>{3}));
    for (const ObjectInfo& one : all) EXPECT_EQ(one.problem, "") << one.name;

    EXPECT_EQ(domain.identifier(ObjectKind::semaphore_set, Key(0x1)).value(), set.identifier());
    EXPECT_EQ(domain.identifier(ObjectKind::segment, Key(0x1)).error().errno_value(), ENOENT);
    EXPECT_EQ(domain.find(ObjectKind::segment, segment.identifier())->attachments, 1u);
    EXPECT_EQ(domain.find(ObjectKind::segment, 4711).error().errno_value(), ENOENT);
    EXPECT_EQ(domain.find(ObjectKind::message_queue, 1).error().errno_value(), EINVAL);
}

TEST_F(DomainTest, RemovesOneByOne) {
    auto set = SemaphoreSet::create(domain, Key(0x1), {2}).value();
    auto segment = Segment::create(domain, Key(0x1), 1).value();
    auto typed = TypedQueue::create(domain, Key(0x1)).value();
    EXPECT_TRUE(domain.fsck(false)->empty());
    ASSERT_TRUE(domain.remove(ObjectKind::typed_queue, typed.identifier()));
    ASSERT_TRUE(MessageQueue::create(domain, "/jobs"));
    ASSERT_TRUE(domain.create_shared_memory("/cache", 1));
    ASSERT_TRUE(domain.create_named_semaphore("/lock", 1));
    ASSERT_TRUE(domain.remove(ObjectKind::semaphore_set, set.identifier()));
    EXPECT_EQ(domain.remove(ObjectKind::semaphore_set, set.identifier()).error().errno_value(), ENOENT);
    ASSERT_TRUE(domain.remove(ObjectKind::segment, segment.identifier()));
    ASSERT_TRUE(domain.remove(ObjectKind::message_queue, "/jobs"));
    ASSERT_TRUE(domain.remove(ObjectKind::posix_shared_memory, "/cache"));
    ASSERT_TRUE(domain.remove(ObjectKind::posix_semaphore, "/lock"));
    EXPECT_EQ(domain.remove(ObjectKind::posix_semaphore, "/lock").error().errno_value(), ENOENT);
    EXPECT_EQ(domain.remove(ObjectKind::poll_fifo, "/x").error().errno_value(), EINVAL);
    EXPECT_TRUE(domain.list()->empty());
}

// A killed holder, a removed segment whose last user was killed, a key that stayed: told first, changed only on demand, then gone.
TEST_F(DomainTest, CollectsWhatTheDeadLeft) {
    auto set = SemaphoreSet::create(domain, Key::none(), {1}).value();
    auto segment = Segment::create(domain, Key::none(), 4096).value();
    auto other = Segment::create(domain, Key::none(), 4096).value();
    in_killed_child([&] { return std::make_tuple(set.hold(), segment.attach(), other.attach()); });
    in_killed_child([&] {
        auto kept = segment.attach();
        (void)segment.remove();
        return kept;
    });
    auto told = domain.gc(false).value();
    EXPECT_TRUE(tells(told, "1 process ended while holding"));
    EXPECT_TRUE(tells(told, "1 process ended with the segment attached"));
    EXPECT_TRUE(tells(told, "the last process that had it attached was killed"));
    EXPECT_TRUE(tells(told, "1 process that used undo has ended"));
    EXPECT_EQ(told.size(), domain.gc(false)->size());
    const auto released = domain.gc(true).value();
    for (const Finding& finding : released) EXPECT_TRUE(finding.repaired) << finding.path << " " << finding.what;
    EXPECT_TRUE(domain.gc(false)->empty());
    EXPECT_EQ(set.value().value(), 1u);
    EXPECT_EQ(domain.list()->size(), 2u);
}

// A damaged set is listed with its problem, found by fsck alone or among all, and can be removed.
TEST_F(DomainTest, TellsWhatIsDamaged) {
    auto set = SemaphoreSet::create(domain, Key(0x9), {1}).value();
    ASSERT_TRUE(domain.create_shared_memory("/cache", 10));
    EXPECT_TRUE(domain.fsck(false)->empty());
    const std::string path = object("sem:0x9").path;
    {
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(8);  // the format
        file.write("\x63", 1);
    }
    EXPECT_NE(object("sem:0x9").problem, "");
    EXPECT_EQ(SemaphoreSet::open(domain, Key(0x9)).error().errno_value(), EBADMSG);
    ASSERT_EQ(domain.fsck(false)->size(), 1u);
    EXPECT_EQ(domain.fsck(true, path)->at(0).path, path);
    EXPECT_TRUE(domain.fsck(false, domain.path() + "/shm/cache")->empty());
    EXPECT_TRUE(domain.remove(ObjectKind::semaphore_set, set.identifier()));
    EXPECT_TRUE(domain.fsck(false)->empty());
    std::ofstream(domain.path() + "/sysv/shm-7") << "junk";
    EXPECT_EQ(object("sysv/shm-7").kind, ObjectKind::unknown);
    EXPECT_EQ(domain.fsck(false)->size(), 1u);
}

}  // namespace
