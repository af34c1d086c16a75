// The formats of a segment's control file and of the registry's hints: those of a fresh segment of 5000 bytes, once attached, are byte for byte
// golden/segment_format_1.hex and golden/hints_format_1.hex, but for what differs from one to the next: uuid, pid namespace, times, owner,
// processes, the data file's inode, the life. Sizes that contradict each other, and other formats, are refused: EBADMSG.
//
// If this fails, programs of two builds would read the same file in two ways: give the changed layout a new format number
// (kSegmentFormat; the hints' is in their magic), and only then make the image anew, under its new name:
//   MUSTER_GOLDEN_MAKE=1 unit_objects_segment_layout_test
#include "objects/segment_layout.hpp"
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <filesystem>
#include <optional>
#include <string>
#include "objects/segment_attachments.hpp"
#include "support/golden.hpp"

namespace muster::objects {
namespace {

class SegmentLayout : public testing::Test {
protected:
    SegmentLayout() {
        char path[] = "/dev/shm/muster-segment-layout-XXXXXX";
        root_ = mkdtemp(path);
        domain_.emplace(std::move(*Domain::open(root_.c_str(), false)));
        registry_.emplace(*domain_);
    }
    ~SegmentLayout() override { std::filesystem::remove_all(root_); }
    platform::File open(const char* name) const {
        return platform::File(platform::open_at(domain_->directory(), name, O_RDWR | O_CLOEXEC));
    }

    std::string root_;
    std::optional<Domain> domain_;
    std::optional<SysvRegistry> registry_;
};

TEST_F(SegmentLayout, FreshSegmentAndHintsAreTheGoldenImages) {
    auto id = get_segment(*domain_, *registry_, 0x1234, 5000, 0640 | IPC_CREAT);
    ASSERT_TRUE(id);
    Attachments attachments(*domain_, *registry_);
    auto at = attachments.attach(*id, 0, 0);
    ASSERT_TRUE(at);
    const platform::File file = open("sysv/shm-0"), hints = open("sysv/.shm");
    constexpr std::size_t kRecord = sizeof(SegmentControl);
    std::string images = test::image_of(file.fd(), 0, kSegmentPageBytes,
                                        {test::kVaryingInHeader[0],
                                         test::kVaryingInHeader[1],
                                         test::kVaryingInHeader[2],
                                         {offsetof(SegmentControl, data_inode), 16},  // and data_device
                                         {offsetof(SegmentControl, creator_pid), 8},  // and last_pid
                                         {offsetof(SegmentControl, attached_s), 24},  // detached_s, changed_s
                                         {kRecord + offsetof(AttachmentRecord, life), 8},
                                         {kRecord + offsetof(AttachmentRecord, pid), 4}});
    test::expect_golden(images, "segment_format_" + std::to_string(kSegmentFormat), __FILE__);
    SegmentControl control;
    ASSERT_EQ(pread(file.fd(), static_cast<void*>(&control), sizeof control, 0), static_cast<ssize_t>(sizeof control));
    EXPECT_EQ(control.creator_pid, static_cast<std::uint32_t>(getpid()));
    EXPECT_EQ(control.last_pid.load_relaxed(), static_cast<std::uint32_t>(getpid()));
    EXPECT_NE(control.attached_s.load_relaxed(), 0u);
    EXPECT_EQ(control.detached_s.load_relaxed(), 0u);
    EXPECT_NE(control.changed_s.load_relaxed(), 0u);
    EXPECT_NE(control.data_inode, 0u);
    // Detached: the record is free, and nothing else but times has changed.
    EXPECT_TRUE(attachments.detach(reinterpret_cast<std::uintptr_t>(*at)));
    AttachmentRecord record;
    ASSERT_EQ(pread(file.fd(), static_cast<void*>(&record), sizeof record, kRecord), static_cast<ssize_t>(sizeof record));
    EXPECT_EQ(record.life.load_relaxed(), 0u);
    EXPECT_EQ(record.maps.load_relaxed(), 0u);

    // Index 2 is used and to be looked at again.
    ASSERT_TRUE(get_segment(*domain_, *registry_, 0, 1, 0600));
    ASSERT_TRUE(get_segment(*domain_, *registry_, 0, 1, 0600));
    registry_->mark(SysvKind::shm, 2);
    struct stat status;
    ASSERT_EQ(platform::file_status(hints.fd(), &status), 0);
    EXPECT_EQ(status.st_size, 12288);
    test::expect_golden(test::image_of(hints.fd(), 0, 12288, {}), "hints_format_1", __FILE__);
}

// `at` of the control block is written over by `value`: what opening it says.
TEST_F(SegmentLayout, DamageIsRefused) {
    auto id = get_segment(*domain_, *registry_, 0, 5000, 0600);
    ASSERT_TRUE(id);
    const platform::File file = open("sysv/shm-0");
    const auto opened_with = [&](std::size_t at, std::uint64_t value, std::size_t bytes) {
        std::uint64_t before = 0;
        EXPECT_EQ(pread(file.fd(), &before, bytes, static_cast<off_t>(at)), static_cast<ssize_t>(bytes));
        EXPECT_EQ(pwrite(file.fd(), &value, bytes, static_cast<off_t>(at)), static_cast<ssize_t>(bytes));
        int error = 0;
        auto found = registry_->open(SysvKind::shm, *id);
        if (!found) error = found.fault().errno_value;
        else {
            Segment segment;
            if (auto opened = segment.open(*found); !opened) error = opened.fault().errno_value;
        }
        EXPECT_EQ(pwrite(file.fd(), &before, bytes, static_cast<off_t>(at)), static_cast<ssize_t>(bytes));
        return error;
    };
    EXPECT_EQ(opened_with(offsetof(SegmentControl, size_bytes), 0, 8), EBADMSG);
    EXPECT_EQ(opened_with(offsetof(SegmentControl, size_bytes), 8193, 8), EBADMSG);
    EXPECT_EQ(opened_with(offsetof(SegmentControl, data_bytes), 4999, 8), EBADMSG);
    EXPECT_EQ(opened_with(offsetof(SegmentControl, data_bytes), 1ull << 63, 8), EBADMSG);
    EXPECT_EQ(opened_with(offsetof(memory::ObjectHeader, format), 2, 4), EBADMSG);
    EXPECT_EQ(opened_with(offsetof(memory::ObjectHeader, fingerprint), 1, 4), EBADMSG);
    EXPECT_EQ(opened_with(offsetof(memory::ObjectHeader, file_bytes), 4096, 8), EBADMSG);
    // More records than there can be: those beyond are not looked at.
    EXPECT_EQ(opened_with(offsetof(SegmentControl, records_used), ~0u, 4), 0);
    const std::uint32_t too_many = ~0u;
    ASSERT_EQ(pwrite(file.fd(), &too_many, 4, offsetof(SegmentControl, records_used)), 4);
    Segment segment;
    auto found = registry_->open(SysvKind::shm, *id);
    ASSERT_TRUE(found);
    ASSERT_TRUE(segment.open(*found));
    LifeWatch watch(*domain_, nullptr);
    auto shown = segment.status(platform::current_thread(), watch);
    ASSERT_TRUE(shown);
    EXPECT_EQ(shown->attachments, 0u);
}

}  // namespace
}  // namespace muster::objects
