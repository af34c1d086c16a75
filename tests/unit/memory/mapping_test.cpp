// Mappings: every reason for which a header is refused (EBADMSG); create and open; EFBIG under a file size limit, without a
// signal; a file cut short is refused by an opener, and noticed by who has it mapped instead of killing it.
#include "memory/mapping.hpp"
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cstring>
#include <set>
#include <string>
#include "support/child.hpp"

namespace muster::memory {
namespace {

constexpr Format kFormat{0x1122334455667788, 3, 0xabcdef01, 256};
constexpr std::uint64_t kBytes = 16 * 4096;

class MappingTest : public ::testing::Test {
protected:
    ~MappingTest() override { close(fd_); }
    int fd_ = memfd_create("object", MFD_CLOEXEC);
    std::atomic<std::uint32_t> damage_{0};
};

TEST_F(MappingTest, CreateThenOpen) {
    auto made = Mapping::create(fd_, kBytes, 4096, &damage_);
    ASSERT_TRUE(made);
    struct stat status;
    ASSERT_EQ(fstat(fd_, &status), 0);
    EXPECT_EQ(status.st_size, static_cast<off_t>(kBytes));
    EXPECT_EQ(status.st_blocks, 8);
    fill_header(made->header(), kFormat, kBytes);
    auto early = Mapping::open(fd_, kFormat, &damage_);
    ASSERT_FALSE(early);
    EXPECT_EQ(early.fault().errno_value, EBADMSG);
    made->publish_ready();
    auto opened = Mapping::open(fd_, kFormat, &damage_);
    ASSERT_TRUE(opened);
    EXPECT_NE(opened->start(), made->start());
    EXPECT_EQ(opened->bytes(), kBytes);
    made->start()[5000] = std::byte{42};
    EXPECT_EQ(opened->start()[5000], std::byte{42});
    Mapping moved = std::move(*opened);
    EXPECT_EQ(opened->start(), nullptr);
    EXPECT_EQ(moved.start()[5000], std::byte{42});
    EXPECT_EQ(damage_.load(), 0u);
}

TEST_F(MappingTest, EachReasonForRefusal) {
    ObjectHeader good{};
    fill_header(good, kFormat, kBytes);
    good.ready.store_relaxed(1);
    ASSERT_TRUE(check_header(good, kFormat, kBytes));
    std::set<std::string> reasons;
    auto refused = [&](auto change, std::uint64_t file_bytes = kBytes) {
        ObjectHeader header = good;
        change(header);
        auto checked = check_header(header, kFormat, file_bytes);
        if (checked) return false;
        EXPECT_EQ(checked.fault().errno_value, EBADMSG);
        if (checked.fault().rule == nullptr) return false;
        reasons.insert(checked.fault().rule);
        return true;
    };
    EXPECT_TRUE(refused([](auto& h) { h.magic ^= 1; }));
    EXPECT_TRUE(refused([](auto& h) { --h.format; }));
    EXPECT_TRUE(refused([](auto& h) { ++h.format; }));
    EXPECT_TRUE(refused([](auto& h) { h.fingerprint ^= 1; }));
    EXPECT_TRUE(refused([](auto& h) { h.ready.store_relaxed(0); }));
    EXPECT_TRUE(refused([](auto& h) { h.file_bytes += 4096; }));
    EXPECT_EQ(reasons.size(), 6u);
    EXPECT_TRUE(refused([](auto& h) { h.ready.store_relaxed(2); }));
    EXPECT_TRUE(refused([](auto&) {}, kBytes - 1));
    EXPECT_TRUE(refused([](auto& h) { h.file_bytes = 255; }, 255));  // shorter than the format's least
    EXPECT_EQ(reasons.size(), 6u);
    if (good.pid_namespace != 0) {
        EXPECT_TRUE(refused([](auto& h) { ++h.pid_namespace; }));
        EXPECT_EQ(reasons.size(), 7u);
    }
    EXPECT_FALSE(refused([](auto& h) { h.pid_namespace = 0; }));  // unknown is good
}

TEST_F(MappingTest, ShortFilesAreRefused) {
    for (const off_t bytes : {0, 1, 127}) {
        ASSERT_EQ(ftruncate(fd_, bytes), 0);
        auto opened = Mapping::open(fd_, kFormat, &damage_);
        ASSERT_FALSE(opened);
        EXPECT_EQ(opened.fault().errno_value, EBADMSG);
        EXPECT_NE(opened.fault().rule, nullptr);
    }
}

TEST_F(MappingTest, CutShortIsNoticed) {
    auto made = Mapping::create(fd_, kBytes, kBytes, &damage_);
    ASSERT_TRUE(made);
    fill_header(made->header(), kFormat, kBytes);
    made->publish_ready();
    made->start()[kBytes - 1] = std::byte{42};
    ASSERT_EQ(ftruncate(fd_, 4096), 0);
    EXPECT_EQ(damage_.load(), 0u);
    volatile std::byte* gone = made->start() + kBytes - 1;
    const std::byte read = *gone;
    EXPECT_EQ(read, std::byte{0});
    EXPECT_EQ(damage_.load(), 1u);
    EXPECT_EQ(made->header().magic, kFormat.magic);  // the rest is still there
    auto opened = Mapping::open(fd_, kFormat, &damage_);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.fault().errno_value, EBADMSG);
}

TEST_F(MappingTest, FileSizeLimitIsAnErrorAndNoSignal) {
    test::Child child([&] {
        const rlimit limit{4096, 4096};
        setrlimit(RLIMIT_FSIZE, &limit);
        auto made = Mapping::create(fd_, kBytes, 4096, &damage_);
        _exit(!made && made.fault().errno_value == EFBIG ? 0 : 1);
    });
    EXPECT_TRUE(child.ends() && child.exited());
}

}  // namespace
}  // namespace muster::memory
