// SysvRegistry: keys and identifiers. Proves ENOENT, EEXIST, EACCES never for the owner, EINVAL for stale identifiers, ENOSPC at
// the exact limit; identifiers not soon used again; lost hints rebuilt; and that a maker or remover killed at any of its crash
// points leaves the key and the index usable.
#include "objects/sysv_registry.hpp"
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include "memory/mapping.hpp"
#include "platform/crash_point.hpp"

namespace muster::objects {
namespace {

using platform::Fault;
using platform::File;
using platform::Outcome;

constexpr memory::Format kToyFormat{0x31594f54'52554d4dULL, 1, 7, 4096};

// An object with nothing but a header, and a companion if asked for.
struct Toy {
    std::optional<memory::Mapping> mapping;
    std::atomic<std::uint32_t> damage{0};
    File companion;
    static Outcome<memory::ObjectHeader*> build(void* context, int fd) {
        auto& toy = *static_cast<Toy*>(context);
        auto mapping = memory::Mapping::create(fd, 4096, 4096, &toy.damage);
        if (!mapping) return mapping.fault();
        toy.mapping.emplace(std::move(*mapping));
        memory::fill_header(toy.mapping->header(), kToyFormat, 4096);
        toy.mapping->publish_ready();
        return &toy.mapping->header();
    }
    static int companion_of(void* context) { return static_cast<Toy*>(context)->companion.fd(); }
};

class SysvRegistryTest : public ::testing::Test {
protected:
    SysvRegistryTest() {
        char path[] = "/dev/shm/muster-registry-XXXXXX";
        root_ = mkdtemp(path);
        domain_.emplace(std::move(*Domain::open(root_.c_str(), false)));
        registry_.emplace(*domain_);
    }
    ~SysvRegistryTest() override { std::filesystem::remove_all(root_); }

    // The identifier, or -errno.
    int get(std::uint32_t key, int flags, std::uint64_t most = 100, bool with_companion = false) {
        Toy toy;
        SysvMaker maker{&Toy::build, nullptr, nullptr, &toy};
        if (with_companion) {
            toy.companion = std::move(*registry_->create_nameless());
            maker.companion = &Toy::companion_of;
        }
        auto found = registry_->get(SysvKind::sem, key, flags, most, maker);
        return found ? found->id : -found.fault().errno_value;
    }
    int opens(int id) {
        auto file = registry_->open(SysvKind::sem, id);
        return file ? file->id : -file.fault().errno_value;
    }
    void remove(int id, bool only_mark = false) {
        auto file = registry_->open(SysvKind::sem, id);
        ASSERT_TRUE(file);
        std::atomic<std::uint32_t> damage{0};
        auto mapping = memory::Mapping::open(file->file.fd(), kToyFormat, &damage);
        ASSERT_TRUE(mapping);
        SysvRegistry::mark_removed(mapping->header());
        if (!only_mark) registry_->remove_names(SysvKind::sem, id, mapping->header().key.load_relaxed());
    }
    std::size_t names(const char* directory) {
        std::size_t count = 0;
        for_each_entry(domain_->directory(), directory, [&](const char* name) {
            count += name[0] != '.';
            return true;
        });
        return count;
    }

    std::string root_;
    std::optional<Domain> domain_;
    std::optional<SysvRegistry> registry_;
};

TEST_F(SysvRegistryTest, KeysLeadToOneObject) {
    EXPECT_EQ(get(0x42, 0), -ENOENT);
    const int id = get(0x42, IPC_CREAT | 0600);
    ASSERT_GE(id, 0);
    EXPECT_EQ(get(0x42, 0600), id);
    EXPECT_EQ(get(0x42, IPC_CREAT | 0600), id);
    EXPECT_EQ(get(0x42, IPC_CREAT | IPC_EXCL | 0600), -EEXIST);
    EXPECT_NE(get(0x43, IPC_CREAT | 0600), id);
    EXPECT_EQ(opens(id), id);
    remove(id);
    EXPECT_EQ(get(0x42, 0), -ENOENT);
    EXPECT_EQ(opens(id), -EINVAL);
}

TEST_F(SysvRegistryTest, IdentifiersAreNotSoonReused) {
    std::vector<int> seen;
    for (int i = 0; i < 300; ++i) {
        const int id = get(0, 0600);
        ASSERT_GE(id, 0);
        ASSERT_EQ(std::count(seen.begin(), seen.end(), id), 0);
        for (const int old : seen) ASSERT_EQ(opens(old), -EINVAL);
        seen.push_back(id);
        remove(id);
    }
    EXPECT_EQ(names("sysv"), 0u);
    EXPECT_EQ(registry_->highest_index(SysvKind::sem), -1);
}

TEST_F(SysvRegistryTest, LimitIsExactAndIndexesStayBelow) {
    std::vector<int> ids;
    for (int i = 0; i < 10; ++i) ids.push_back(get(0, 0600, 10));
    EXPECT_TRUE(std::all_of(ids.begin(), ids.end(), [](int id) { return id >= 0 && sysv_index(id) < 10; }));
    EXPECT_EQ(get(0, 0600, 10), -ENOSPC);
    EXPECT_EQ(registry_->count(SysvKind::sem), 10u);
    EXPECT_EQ(registry_->highest_index(SysvKind::sem), 9);
    remove(ids[4]);
    const int id = get(0, 0600, 10);
    EXPECT_EQ(sysv_index(id), 4u);
    EXPECT_NE(id, ids[4]);
    EXPECT_EQ(get(0, 0600, 0), -ENOSPC);
}

TEST_F(SysvRegistryTest, LostHintsAreRebuilt) {
    const int one = get(0, 0600), two = get(5, IPC_CREAT | 0600);
    ASSERT_EQ(unlink((root_ + "/sysv/.sem").c_str()), 0);
    SysvRegistry other(*domain_);
    EXPECT_EQ(other.highest_index(SysvKind::sem), 1);
    EXPECT_EQ(other.count(SysvKind::sem), 2u);
    registry_.emplace(*domain_);
    const int three = get(0, 0600);
    EXPECT_NE(sysv_index(three), sysv_index(one));
    EXPECT_NE(sysv_index(three), sysv_index(two));
    EXPECT_EQ(get(5, 0), two);
}

// A hint file that is none, or cut short, costs time and nothing else.
TEST_F(SysvRegistryTest, DamagedHintsDoNoHarm) {
    const int one = get(0, 0600);
    const std::string hints = root_ + "/sysv/.sem";
    ASSERT_EQ(truncate(hints.c_str(), 0), 0);
    EXPECT_GE(get(0, 0600), 0);  // through the mapping that lost its pages
    SysvRegistry other(*domain_);
    EXPECT_GE(other.highest_index(SysvKind::sem), 1);
    EXPECT_EQ(opens(one), one);
}

TEST_F(SysvRegistryTest, RemovedObjectNeverBlocksItsKey) {
    const int first = get(0x99, IPC_CREAT | 0600, 100, true);
    remove(first, true);  // as if killed right after the mark
    EXPECT_EQ(opens(first), -EINVAL);
    EXPECT_EQ(get(0x99, 0600), -ENOENT);
    const int second = get(0x99, IPC_CREAT | IPC_EXCL | 0600);
    EXPECT_GE(second, 0);
    EXPECT_NE(second, first);
    EXPECT_EQ(get(0x99, 0), second);
}

TEST_F(SysvRegistryTest, CreatorsRaceForOneKey) {
    for (int round = 0; round < 30; ++round) {
        const std::uint32_t key = 0x1000u + static_cast<std::uint32_t>(round);
        std::vector<pid_t> children;
        for (int i = 0; i < 4; ++i) {
            const pid_t child = fork();
            if (child == 0) _exit(get(key, IPC_CREAT | IPC_EXCL | 0600) >= 0 ? 1 : 0);
            children.push_back(child);
        }
        int winners = 0;
        for (const pid_t child : children) {
            int status = 0;
            waitpid(child, &status, 0);
            winners += WEXITSTATUS(status);
        }
        ASSERT_EQ(winners, 1);
    }
    EXPECT_EQ(names("sysv"), 30u);
    EXPECT_EQ(names("key"), 30u);
}

#ifdef MUSTER_TESTING
const char* die_at = nullptr;
void die(const char* name) {
    if (std::string(name) == die_at) kill(getpid(), SIGKILL);
}

class SysvRegistryCrash : public SysvRegistryTest, public ::testing::WithParamInterface<const char*> {};

// Killed at the point, while making, removing, freeing the key or clearing after another: afterwards the key makes or finds one
// live object, identifiers lead to their own objects, and nothing is left once all are removed.
TEST_P(SysvRegistryCrash, LeavesKeyAndIndexUsable) {
    const int before = get(0x77, IPC_CREAT | 0600);
    ASSERT_GE(before, 0);
    const pid_t child = fork();
    if (child == 0) {
        die_at = GetParam();
        testing::crash_point_hook = &die;
        const int id = get(0x55, IPC_CREAT | 0600, 100, true);
        remove(id);
        remove(get(0x56, IPC_CREAT | 0600), true);
        registry_->clear_leftover(SysvKind::sem, 2);
        registry_->release_key(SysvKind::sem, before, 0x77);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << "the point was not reached";
    const int id = get(0x55, IPC_CREAT | 0600);
    ASSERT_GE(id, 0);
    EXPECT_EQ(get(0x55, 0600), id);
    EXPECT_EQ(opens(id), id);
    EXPECT_EQ(opens(before), before);
    remove(id);
    const int again = get(0x55, IPC_CREAT | IPC_EXCL | 0600);
    ASSERT_GE(again, 0);
    remove(again);
    remove(before);
    // Whatever holds an index now is a leftover, and goes when the indexes are needed.
    for (std::uint32_t index = 0; index < 100; ++index) registry_->clear_leftover(SysvKind::sem, index);
    EXPECT_EQ(names("sysv"), 0u);
    EXPECT_EQ(get(0x55, 0), -ENOENT);
    EXPECT_EQ(get(0x56, 0), -ENOENT);
    EXPECT_EQ(names("key"), 0u);
}
INSTANTIATE_TEST_SUITE_P(Points, SysvRegistryCrash,
                         ::testing::Values("sysv.index_linked", "sysv.companion_linked", "sysv.key_linked", "sysv.live",
                                           "sysv.marked", "sysv.key_unlinked", "sysv.companion_unlinked", "sysv.index_unlinked",
                                           "sysv.key_cleared", "sysv.leftover_key_unlinked"));
#endif

}  // namespace
}  // namespace muster::objects
