// Who may do what: owner or creator, else group, else others, and nobody by a class that is not his; root always; and the file
// bits behind an object's mode. The users are tried as root only.
#include "objects/permission.hpp"
#include <grp.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include "support/child.hpp"

namespace muster::objects {
namespace {

constexpr std::uint32_t kOwner = 60001, kCreator = 60002, kStranger = 60003;
constexpr std::uint32_t kGroup = 61001, kCreatorGroup = 61002, kOther = 61003;

// Whether a process of this user, group and supplementary group is granted exactly `granted`, and is an owner or not.
bool grants(std::uint32_t user, std::uint32_t group, std::uint32_t supplementary, std::uint32_t mode, std::uint32_t granted, bool owner) {
    test::Child child([=] {
        const gid_t groups[] = {supplementary};
        if (setgroups(1, groups) != 0 || setresgid(group, group, group) != 0 || setresuid(user, user, user) != 0) _exit(2);
        const Permission permission{kOwner, kGroup, kCreator, kCreatorGroup, mode};
        for (std::uint32_t wanted = 0; wanted < 8; ++wanted)
            if (permission.allows(wanted) != ((wanted & ~granted) == 0)) _exit(1);
        _exit(permission.owned_by_us() == owner ? 0 : 3);
    });
    return child.ends() && child.exited();
}

TEST(Permission, ClassesAsTheKernelHasThem) {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    for (const std::uint32_t user : {kOwner, kCreator}) {
        EXPECT_TRUE(grants(user, kOther, kOther, 0642, 6, true));
        EXPECT_TRUE(grants(user, kOther, kOther, 0400, 4, true));
        EXPECT_TRUE(grants(user, kGroup, kOther, 0066, 0, true));  // the owner's bits alone count
    }
    for (const std::uint32_t group : {kGroup, kCreatorGroup}) {
        EXPECT_TRUE(grants(kStranger, group, kOther, 0642, 4, false));
        EXPECT_TRUE(grants(kStranger, kOther, group, 0642, 4, false));
        EXPECT_TRUE(grants(kStranger, group, kOther, 0606, 0, false));  // the group's bits alone count
    }
    EXPECT_TRUE(grants(kStranger, kOther, kOther, 0642, 2, false));
    EXPECT_TRUE(grants(kStranger, kOther, kOther, 0660, 0, false));
    EXPECT_TRUE(grants(0, kOther, kOther, 0000, 7, true));
}

TEST(Permission, ComesFromTheHeader) {
    memory::ObjectHeader header{};
    header.owner_uid.store_relaxed(1);
    header.owner_gid.store_relaxed(2);
    header.creator_uid.store_relaxed(3);
    header.creator_gid.store_relaxed(4);
    header.mode.store_relaxed(0640);
    const Permission p = Permission::of(header);
    EXPECT_EQ(p.owner_uid, 1u);
    EXPECT_EQ(p.owner_gid, 2u);
    EXPECT_EQ(p.creator_uid, 3u);
    EXPECT_EQ(p.creator_gid, 4u);
    EXPECT_EQ(p.mode, 0640u);
}

TEST(Permission, FileBitsAreWidenedToReadAndWrite) {
    EXPECT_EQ(fence_mode(0000), 0600u);
    EXPECT_EQ(fence_mode(0400), 0600u);
    EXPECT_EQ(fence_mode(0640), 0660u);
    EXPECT_EQ(fence_mode(0620), 0660u);
    EXPECT_EQ(fence_mode(0604), 0606u);
    EXPECT_EQ(fence_mode(0642), 0666u);
    EXPECT_EQ(fence_mode(0711), 0600u);  // to execute is nothing
}

}  // namespace
}  // namespace muster::objects
