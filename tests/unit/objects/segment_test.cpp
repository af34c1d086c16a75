// Segments: counts over fork and every kind of death, deferred destruction, lost descriptors; and that an attacher, detacher or
// remover killed at any crash point leaves an exact count and, in the end, nothing.
#include "objects/segment_attachments.hpp"
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include "objects/findings.hpp"
#include "platform/crash_point.hpp"

namespace muster::objects {
namespace {

std::optional<Domain> domain;
std::optional<SysvRegistry> registry;
platform::Outcome<Domain*> own_domain(bool) {
    return &*domain;
}
SysvRegistry& own_registry(Domain&) {
    return *registry;
}
Attachments attachments(&own_domain, &own_registry);

class SegmentTest : public ::testing::Test {
protected:
    SegmentTest() {
        static const int once = pthread_atfork([] { attachments.before_fork(); }, [] { attachments.after_fork_in_parent(); },
                                               [] { attachments.after_fork_in_child(); });
        (void)once;
        // One domain for all: the table of attachments belongs to the process.
        if (domain) return;
        char path[] = "/dev/shm/muster-segment-XXXXXX";
        root_ = mkdtemp(path);
        domain.emplace(std::move(*Domain::open(root_.c_str(), false)));
        registry.emplace(*domain);
        owner_ = getpid();
        std::atexit([] {
            if (getpid() == owner_) std::filesystem::remove_all(root_);
        });
    }

    static int make(std::uint64_t bytes = 8 * 4096) {
        auto id = get_segment(*domain, *registry, 0, bytes, 0600);
        return id ? *id : -id.fault().errno_value;
    }
    static char* attach(int id) {
        auto at = attachments.attach(id, 0, 0);
        return at ? static_cast<char*>(*at) : nullptr;
    }
    static long count(int id) {
        auto file = registry->open(SysvKind::shm, id);
        if (!file) return -file.fault().errno_value;
        Segment segment;
        if (auto opened = segment.open(*file); !opened) return -opened.fault().errno_value;
        LifeWatch watch(*domain, nullptr);
        if (segment.bury_if_deserted(platform::current_thread(), watch, *registry)) return -EINVAL;
        auto status = segment.status(platform::current_thread(), watch);
        return status ? static_cast<long>(status->attachments) : -status.fault().errno_value;
    }
    static void remove(int id) {
        auto file = registry->open(SysvKind::shm, id);
        if (!file) return;
        Segment segment;
        if (auto opened = segment.open(*file); !opened) return;
        LifeWatch watch(*domain, nullptr);
        std::uint32_t key = 0;
        registry->mark(SysvKind::shm, sysv_index(id));
        auto destroyed = segment.mark_for_destruction(platform::current_thread(), watch, key);
        if (!destroyed) return;
        if (*destroyed)
            registry->remove_names(SysvKind::shm, id, key);
        else
            registry->release_key(SysvKind::shm, id, key);
    }
    static int in_child(const std::function<void()>& body) {
        const pid_t child = fork();
        if (child == 0) {
            body();
            _exit(0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        return status;
    }
    std::size_t names() {
        std::size_t count = 0;
        for_each_entry(domain->directory(), "sysv", [&](const char* name) {
            count += name[0] != '.';
            return true;
        });
        return count;
    }
    static inline std::string root_;
    static inline pid_t owner_ = 0;
};

TEST_F(SegmentTest, CountsAttachmentsOfChildren) {
    const int id = make();
    char* at = attach(id);
    ASSERT_NE(at, nullptr);
    EXPECT_EQ(count(id), 1);
    EXPECT_EQ(in_child([&] {
                  if (count(id) != 2) _exit(1);
                  attach(id);
                  if (count(id) != 3) _exit(2);
                  kill(getpid(), SIGKILL);
              }),
              SIGKILL);
    EXPECT_EQ(count(id), 1);
    EXPECT_TRUE(attachments.detach(reinterpret_cast<std::uintptr_t>(at)));
    EXPECT_EQ(count(id), 0);
    remove(id);
    EXPECT_EQ(names(), 0u);
}

// A child that no fork handler runs in counts from its first call on.
TEST_F(SegmentTest, RawChildRegistersItself) {
    const int id = make();
    char* at = attach(id);
    const long child = platform::system_call(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        attach(id);
        _exit(count(id) == 3 ? 0 : 1);
    }
    int status = 0;
    waitpid(static_cast<pid_t>(child), &status, 0);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(count(id), 1);
    EXPECT_TRUE(attachments.detach(reinterpret_cast<std::uintptr_t>(at)));
    remove(id);
}

// The life's descriptor is closed, and its number is somebody else's file by then.
TEST_F(SegmentTest, LostDescriptorIsReplaced) {
    const int id = make();
    char* at = attach(id);
    int lost = -1;
    for (int fd = 0; fd < 70000 && lost < 0; ++fd)
        if (attachments.is_life_descriptor(fd)) lost = fd;
    ASSERT_GE(lost, 0);
    const int other = ::open("/dev/null", O_RDONLY);
    ASSERT_EQ(dup2(other, lost), lost);
    char* more = attach(id);
    EXPECT_EQ(count(id), 2);
    EXPECT_NE(fcntl(lost, F_GETFD), -1);  // not ours to close
    close(lost);
    close(other);
    for (char* each : {at, more}) EXPECT_TRUE(attachments.detach(reinterpret_cast<std::uintptr_t>(each)));
    EXPECT_EQ(count(id), 0);
    remove(id);
}

TEST_F(SegmentTest, ManyProcessesNeedMoreThanOnePageOfRecords) {
    const int id = make();
    char* at = attach(id);
    std::vector<pid_t> children;
    for (int i = 0; i < 600; ++i) {
        const pid_t child = fork();
        if (child == 0) {
            pause();
            _exit(0);
        }
        children.push_back(child);
    }
    EXPECT_EQ(count(id), 601);
    for (const pid_t child : children) kill(child, SIGKILL);
    for (const pid_t child : children) waitpid(child, nullptr, 0);
    EXPECT_EQ(count(id), 1);
    EXPECT_TRUE(attachments.detach(reinterpret_cast<std::uintptr_t>(at)));
    remove(id);
    EXPECT_EQ(names(), 0u);
}

// The last user was killed and nobody asked: the next segment's maker clears up.
TEST_F(SegmentTest, SweepFindsDesertedSegments) {
    const int id = make();
    in_child([&] {
        attach(id);
        remove(id);
        kill(getpid(), SIGKILL);
    });
    EXPECT_EQ(names(), 2u);
    sweep_segments(*domain, *registry, nullptr);
    EXPECT_EQ(names(), 0u);
    EXPECT_EQ(count(id), -EINVAL);
}

TEST_F(SegmentTest, DamagedControlIsRefused) {
    const int id = make();
    const std::string file = root_ + "/sysv/shm-" + std::to_string(sysv_index(id));
    ASSERT_EQ(truncate(file.c_str(), 300), 0);
    EXPECT_EQ(count(id), -EBADMSG);
    auto refused = attachments.attach(id, 0, 0);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.fault().errno_value, EBADMSG);
    std::filesystem::remove(file);
    std::filesystem::remove(file + ".data");
}

#ifdef MUSTER_TESTING
const char* die_at = nullptr;
void die(const char* name) {
    if (std::string(name) == die_at) kill(getpid(), SIGKILL);
}

class SegmentCrash : public SegmentTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(SegmentCrash, LeavesAnExactCountAndInTheEndNothing) {
    const int id = make(), other = make();
    char* at = attach(id);
    ASSERT_NE(at, nullptr);
    const int status = in_child([&] {
        die_at = GetParam();
        testing::crash_point_hook = &die;
        char* more = attach(id);
        if (WIFSIGNALED(in_child([] {}))) raise(SIGKILL);  // a point that children alone pass
        attachments.unmap(reinterpret_cast<std::uintptr_t>(more) + 4096, 4096);
        (void)attachments.detach(reinterpret_cast<std::uintptr_t>(more));
        (void)attachments.detach(reinterpret_cast<std::uintptr_t>(at));
        char* last = attach(other);
        remove(other);
        (void)attachments.detach(reinterpret_cast<std::uintptr_t>(last));
    });
    EXPECT_TRUE(WIFSIGNALED(status)) << "the point was not reached";
    EXPECT_EQ(count(id), 1);
    EXPECT_TRUE(attachments.detach(reinterpret_cast<std::uintptr_t>(at)));
    EXPECT_EQ(count(id), 0);
    remove(id);
    remove(other);
    sweep_segments(*domain, *registry, nullptr);
    EXPECT_EQ(names(), 0u);
}

// Between counting and mapping a process has an attachment that it does not have; a check beside it takes nothing away.
TEST_F(SegmentTest, CheckLeavesWhoIsAboutToMapAlone) {
    const int id = make();
    const pid_t child = fork();
    if (child == 0) {
        testing::crash_point_hook = [](const char* point) {
            if (std::string_view(point) == "segment.counted") raise(SIGSTOP);
        };
        if (attach(id) == nullptr) _exit(1);
        for (;;) pause();
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, WUNTRACED), child);
    ASSERT_TRUE(WIFSTOPPED(status));
    auto file = registry->open(SysvKind::shm, id);
    Segment segment;
    ASSERT_TRUE(file && segment.open(*file));
    LifeWatch watch(*domain, nullptr);
    Findings findings([](void*, const Found& found) { ADD_FAILURE() << found.what; }, nullptr);
    EXPECT_TRUE(segment.check(platform::current_thread(), watch, 0, true, findings));
    EXPECT_EQ(count(id), 1);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    EXPECT_EQ(count(id), 0);
    remove(id);
}

// A child is between its two lives while somebody who has read the first asks whether it lasts.
int go_on[2], has_gone[2], lives_read;
pid_t test_process;
void meet(const char* point) {
    const std::string_view name(point);
    char byte = 0;
    if (getpid() != test_process && name == "segment.child_renewed") {
        (void)!read(go_on[0], &byte, 1);
    } else if (getpid() == test_process && name == "segment.life_read" && ++lives_read == 2) {
        (void)!write(go_on[1], "gg", 2);
        (void)!read(has_gone[0], &byte, 1);
    }
}

TEST_F(SegmentTest, AChildThatGoesOverToItsOwnLifeStaysCounted) {
    const int first = make(), second = make();
    char *one = attach(first), *two = attach(second);
    ASSERT_TRUE(one != nullptr && two != nullptr);
    ASSERT_EQ(pipe(go_on), 0);
    ASSERT_EQ(pipe(has_gone), 0);
    test_process = getpid();
    lives_read = 0;
    testing::crash_point_hook = &meet;
    const pid_t child = fork();
    if (child == 0) {
        testing::crash_point_hook = nullptr;
        (void)!write(has_gone[1], "g", 1);
        for (;;) pause();
    }
    EXPECT_EQ(count(second), 2);
    testing::crash_point_hook = nullptr;
    EXPECT_EQ(count(second), 2);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    EXPECT_EQ(count(second), 1);
    for (const int fd : {go_on[0], go_on[1], has_gone[0], has_gone[1]}) close(fd);
    for (char* at : {one, two}) EXPECT_TRUE(attachments.detach(reinterpret_cast<std::uintptr_t>(at)));
    remove(first);
    remove(second);
}

INSTANTIATE_TEST_SUITE_P(Points, SegmentCrash,
                         ::testing::Values("segment.record_filled", "segment.record_taken", "segment.counted", "segment.mapped",
                                           "segment.unmapped", "segment.maps_changed", "segment.record_freed",
                                           "segment.life_read", "segment.child_life", "segment.child_counted", "segment.child_renewed", "segment.marked", "segment.deserted"));
#endif

}  // namespace
}  // namespace muster::objects
