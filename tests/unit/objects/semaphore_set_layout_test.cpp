// The formats of a semaphore set and of the file of lives: the first page of a fresh set of three semaphores, and of one in which a process holds one
// of them with SEM_UNDO also the log and the undo record, are byte for byte golden/semaphore_set_format_1.hex; that process's file of lives is
// golden/lives_format_1.hex. But for what differs from one to the next: uuid and its marks, pid namespace, times, owner, processes.
// A geometry that is not what follows from the number of semaphores is refused: EBADMSG.
//
// If this fails, programs of two builds would read the same file in two ways: give the changed layout a new format number
// (kSemaphoreSetFormat, kLivesFormat), and only then make the image anew, under its new name:
//   MUSTER_GOLDEN_MAKE=1 unit_objects_semaphore_set_layout_test
#include "objects/semaphore_set_layout.hpp"
#include <gtest/gtest.h>
#include <stdlib.h>
#include <filesystem>
#include <optional>
#include <string>
#include "objects/semaphore_set.hpp"
#include "support/golden.hpp"

namespace muster::objects {
namespace {

constexpr std::size_t word_of(std::size_t number) { return sizeof(SemaphoreHeader) + number * sizeof(Semaphore); }

class SemaphoreSetLayout : public testing::Test {
protected:
    SemaphoreSetLayout() {
        char path[] = "/dev/shm/muster-sem-layout-XXXXXX";
        root_ = mkdtemp(path);
        domain_.emplace(std::move(*Domain::open(root_.c_str(), false)));
        lives_.attach(*domain_);
        unsigned granted = 0;
        file_ = std::move(*domain_->create_nameless(0600, &granted));
    }
    ~SemaphoreSetLayout() override { std::filesystem::remove_all(root_); }
    // Of each word pid and mark are left out.
    std::string first_page() const {
        return test::image_of(file_.fd(), 0, 4096,
                              {test::kVaryingInHeader[0], test::kVaryingInHeader[1], test::kVaryingInHeader[2],
                               {offsetof(SemaphoreHeader, changed_s), 8}, {offsetof(SemaphoreHeader, operated_s), 8},
                               {word_of(0) + 3, 5}, {word_of(0) + 8, 8}, {word_of(0) + 19, 5},
                               {word_of(1) + 3, 5}, {word_of(1) + 8, 8}, {word_of(1) + 19, 5},
                               {word_of(2) + 3, 5}, {word_of(2) + 8, 8}, {word_of(2) + 19, 5}});
    }

    std::string root_;
    std::optional<Domain> domain_;
    ProcessLives lives_;
    platform::File file_;
    SemaphoreSet set_;
};

TEST_F(SemaphoreSetLayout, FreshSetHeldSetAndLivesAreTheGoldenImages) {
    const std::uint16_t values[3] = {7, 0, 32767};
    ASSERT_TRUE(set_.create(file_.fd(), 3, values));
    set_.publish_ready();
    std::string images = first_page();

    SemaphoreHeader header;
    ASSERT_EQ(pread(file_.fd(), static_cast<void*>(&header), sizeof header, 0), static_cast<ssize_t>(sizeof header));
    EXPECT_NE(header.changed_s.load_relaxed(), 0u);
    std::uint64_t word = 0;
    ASSERT_EQ(pread(file_.fd(), &word, sizeof word, static_cast<off_t>(word_of(2))), 8);
    EXPECT_EQ(word >> kMarkShift, header.object.uuid[0] & 0xffff);

    // Two of the first and one of the last are taken with SEM_UNDO.
    ASSERT_TRUE(lives_.open(true));
    const SemaphoreOp ops[] = {{0, -2, 0x1000}, {2, -1, 0x1000}, {1, 1, 0}};
    ASSERT_TRUE(set_.operate(platform::current_thread(), ops, 3, 0, lives_));
    images += "held\n" + first_page();
    images += "logs\n" + test::image_of(file_.fd(), header.logs_offset, 64, {});
    images += "undo record\n" + test::image_of(file_.fd(), header.undos_offset, 64, {{header.undos_offset, 4}, {header.undos_offset + 8, 8}});
    test::expect_golden(images, "semaphore_set_format_" + std::to_string(kSemaphoreSetFormat), __FILE__);
    UndoRecord record;
    const auto at = static_cast<off_t>(header.undos_offset);
    ASSERT_EQ(pread(file_.fd(), static_cast<void*>(&record), sizeof record, at), static_cast<ssize_t>(sizeof record));
    EXPECT_EQ(record.pid.load_relaxed(), static_cast<std::uint32_t>(getpid()));
    EXPECT_NE(record.start.load_relaxed(), 0u);

    // The life's word, last in its page, is the id of a thread that would mark it.
    const platform::File lives(platform::open_at(domain_->directory(), "lives", O_RDONLY | O_CLOEXEC));
    std::string image = test::image_of(lives.fd(), 0, 4096, {test::kVaryingInHeader[0], test::kVaryingInHeader[1], test::kVaryingInHeader[2]});
    image += "slots\n" + test::image_of(lives.fd(), kLifeSlotsOffset, 32, {{kLifeSlotsOffset, 4}, {kLifeSlotsOffset + 8, 8}});
    image += "words\n" + test::image_of(lives.fd(), kLifePagesOffset, 4096, {{life_offset(0), 4}});
    test::expect_golden(image, "lives_format_" + std::to_string(kLivesFormat), __FILE__);
    std::uint32_t life = 0;
    ASSERT_EQ(pread(lives.fd(), &life, sizeof life, static_cast<off_t>(life_offset(0))), 4);
    EXPECT_EQ(life, static_cast<std::uint32_t>(gettid()) | FUTEX_WAITERS);
    struct stat status;
    ASSERT_EQ(platform::file_status(lives.fd(), &status), 0);
    EXPECT_EQ(static_cast<std::uint64_t>(status.st_size), kLivesBytes);
}

// Every header that contradicts itself is refused, and nothing is mapped by it.
TEST_F(SemaphoreSetLayout, DamagedGeometryIsRefused) {
    ASSERT_TRUE(set_.create(file_.fd(), 3));
    set_.publish_ready();
    for (std::size_t at = offsetof(SemaphoreHeader, semaphores); at < offsetof(SemaphoreHeader, permission_changes); at += 4)
        for (const std::uint32_t flip : {1u, 64u, 0x80000000u, 0xffffffffu}) {
            if (at == offsetof(SemaphoreHeader, semaphores) && flip == 1) continue;  // a sound set of two semaphores has the same plan
            std::uint32_t word = 0;
            ASSERT_EQ(pread(file_.fd(), &word, 4, static_cast<off_t>(at)), 4);
            const std::uint32_t damaged = word ^ flip;
            ASSERT_EQ(pwrite(file_.fd(), &damaged, 4, static_cast<off_t>(at)), 4);
            SemaphoreSet opened;
            auto result = opened.open(file_.fd());
            EXPECT_TRUE(!result && result.fault().errno_value == EBADMSG) << "offset " << at << " flipped by " << flip;
            ASSERT_EQ(pwrite(file_.fd(), &word, 4, static_cast<off_t>(at)), 4);
        }
    SemaphoreSet sound;
    EXPECT_TRUE(sound.open(file_.fd()));
}

}  // namespace
}  // namespace muster::objects
