// semget and semctl of the linked library: a set that was removed leaves next to no address space and in the end no mapping behind in the processes that used it.
#include <gtest/gtest.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <unistd.h>
#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include "own_domain.hpp"

namespace {

std::uint64_t addresses_bytes() {
    std::uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    return pages * static_cast<std::uint64_t>(getpagesize());
}

TEST(SemTest, RemovedSetsGiveTheirAddressesBack) {
    constexpr int kSets = 200;
    constexpr std::uint64_t kEachMost = 256 << 10;  // a set takes 34 MB as long as it is there
    std::uint64_t before = 0;
    for (int i = 0; i <= kSets; ++i) {
        const int set = semget(IPC_PRIVATE, 4, 0600);
        ASSERT_GE(set, 0);
        sembuf post{0, 1, 0};
        ASSERT_EQ(semop(set, &post, 1), 0);
        ASSERT_EQ(semctl(set, 0, IPC_RMID), 0);
        EXPECT_EQ(semop(set, &post, 1), -1);
        if (i == 0) before = addresses_bytes();
    }
    EXPECT_LT(addresses_bytes(), before + kSets * kEachMost);
}

std::size_t mappings() {
    std::ifstream maps("/proc/self/maps");
    return static_cast<std::size_t>(std::count(std::istreambuf_iterator<char>(maps), {}, '\n'));
}

// The kernel gives a process 65530 mappings (vm.max_map_count) and no more, however long it lives.
TEST(SemTest, MakingAndRemovingSetsNeedsNoMoreMappingsInTheEnd) {
    const auto rounds = [](int sets) {
        for (int i = 0; i < sets; ++i) {
            const int set = semget(IPC_PRIVATE, 4, 0600);
            if (set < 0 || semctl(set, 0, IPC_RMID) != 0) return false;
        }
        return true;
    };
    ASSERT_TRUE(rounds(5000));  // some thousand are left for threads that come late
    const std::size_t before = mappings();
    ASSERT_TRUE(rounds(3000));
    EXPECT_LT(mappings(), before + 300);
}

}  // namespace
