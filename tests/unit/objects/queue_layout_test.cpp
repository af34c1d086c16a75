// The format of a queue's file: the first page of a fresh queue (10 messages of 64 bytes) is byte for byte the one in
// golden/queue_format_1.hex, and that of a fresh typed queue the one in golden/typed_queue_format_1.hex, but for what differs
// from one queue to the next: uuid, pid namespace, time, owner and creator, second file. So is a typed queue's lane of a type.
//
// If this fails, programs of two builds would read the same file in two ways: give the changed layout a new format number
// (kQueueFormat), and only then make the image anew, under its new name:
//   MUSTER_GOLDEN_MAKE=1 unit_objects_queue_layout_test
#include "objects/queue_layout.hpp"
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include "objects/queue.hpp"

namespace muster::objects {
namespace {

constexpr std::size_t kImageBytes = 4096;

std::string golden_path(const char* name) {
    const std::string here = __FILE__;
    return here.substr(0, here.rfind('/') + 1) + "golden/" + name + "_format_" + std::to_string(kQueueFormat) + ".hex";
}

// Sixteen bytes a line behind their offset; lines of zeroes are left out.
std::string hex_of(const unsigned char* bytes) {
    std::string text;
    for (std::size_t at = 0; at < kImageBytes; at += 16) {
        static constexpr unsigned char zeroes[16] = {};
        if (std::memcmp(bytes + at, zeroes, 16) == 0) continue;
        char part[16];
        std::snprintf(part, sizeof part, "%04zx:", at);
        text += part;
        for (std::size_t i = 0; i < 16; ++i) {
            std::snprintf(part, sizeof part, " %02x", bytes[at + i]);
            text += part;
        }
        text += '\n';
    }
    return text;
}

std::string image_of(int fd) {
    unsigned char image[kImageBytes] = {};
    if (pread(fd, image, sizeof image, 0) <= 0) return "no image";
    std::memset(image + 16, 0, 16);  // uuid
    std::memset(image + 40, 0, 16);  // pid_namespace, created_ns
    std::memset(image + 64, 0, 16);  // owner and creator
    std::memset(image + offsetof(QueueHeader, geometry.slots_inode), 0, 16);  // and slots_device
    std::memset(image + offsetof(QueueHeader, send.changed_s), 0, 8);
    return hex_of(image);
}

std::string fresh_queue() {
    const int fd = memfd_create("queue", MFD_CLOEXEC);
    Queue queue;
    const bool made = static_cast<bool>(queue.create(fd, {10, 64, 0600}));
    if (made) queue.publish_ready();
    const std::string image = made ? image_of(fd) : "no queue";
    close(fd);
    return image;
}

// The first file, and the first page of the second once a message of type 0x1122334455 has come through the index.
std::string fresh_typed_queue() {
    const int fd = memfd_create("queue", MFD_CLOEXEC), slots_fd = memfd_create("slots", MFD_CLOEXEC);
    Queue queue;
    const QueueOptions options{10, 64, 0600, QueueFace::types, 320};
    const bool made = static_cast<bool>(queue.create(fd, options, slots_fd));
    std::string images = "no queue";
    if (made) {
        queue.publish_ready();
        images = image_of(fd);
        platform::ThreadState& thread = platform::current_thread();
        const bool sent = queue.send_typed(thread, "a message", 9, 0x11'2233'4455, {platform::kNoWait, -1}) &&
                          queue.copy_typed(thread, {{nullptr}, 0, {}, false, nullptr}, 0).fault().errno_value == E2BIG;
        unsigned char page[kImageBytes] = {};
        const ssize_t got = pread(slots_fd, page, sizeof page, 0);
        images += sent && got > 0 ? "slots\n" + hex_of(page) : "no message";
    }
    close(fd);
    close(slots_fd);
    return images;
}

void expect_golden(const std::string& image, const char* name) {
    if (std::getenv("MUSTER_GOLDEN_MAKE") != nullptr) std::ofstream(golden_path(name)) << image;
    std::ifstream file(golden_path(name));
    ASSERT_TRUE(file) << golden_path(name);
    const std::string golden{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(image, golden) << "the layout of queues has changed: it needs a new format number";
}

TEST(QueueLayout, FreshQueueIsTheGoldenImage) { expect_golden(fresh_queue(), "queue"); }

TEST(QueueLayout, FreshTypedQueueIsTheGoldenImage) { expect_golden(fresh_typed_queue(), "typed_queue"); }

// Uuid and time, which the image leaves out, are there and differ.
TEST(QueueLayout, EveryQueueIsItself) {
    memory::ObjectHeader headers[2];
    for (auto& header : headers) {
        const int fd = memfd_create("queue", MFD_CLOEXEC);
        Queue queue;
        ASSERT_TRUE(queue.create(fd, {10, 64, 0600}));
        ASSERT_EQ(pread(fd, &header, sizeof header, 0), static_cast<ssize_t>(sizeof header));
        close(fd);
        EXPECT_EQ(header.ready.load_relaxed(), 0u);
        EXPECT_EQ(header.owner_uid.load_relaxed(), geteuid());
        EXPECT_EQ(header.creator_gid.load_relaxed(), getegid());
        EXPECT_NE(header.created_ns, 0u);
    }
    EXPECT_NE(std::memcmp(headers[0].uuid, headers[1].uuid, sizeof headers[0].uuid), 0);
}

// Every header that contradicts itself is refused, and nothing is mapped by it: EBADMSG.
TEST(QueueLayout, DamagedGeometryIsRefused) {
    for (std::size_t at = 128; at < 256; at += 4) {
        const int fd = memfd_create("queue", MFD_CLOEXEC);
        {
            Queue queue;
            ASSERT_TRUE(queue.create(fd, {10, 64, 0600}));
            queue.publish_ready();
        }
        for (const std::uint32_t flip : {1u, 0x80000000u, 0xffffffffu}) {
            if (at == offsetof(QueueHeader, geometry.message_bytes_max) && flip == 1) continue;  // a sound queue of 65 bytes has the same plan
            std::uint32_t word = 0;
            ASSERT_EQ(pread(fd, &word, 4, static_cast<off_t>(at)), 4);
            const std::uint32_t damaged = word ^ flip;
            ASSERT_EQ(pwrite(fd, &damaged, 4, static_cast<off_t>(at)), 4);
            Queue queue;
            auto opened = queue.open(fd);
            ASSERT_FALSE(opened) << "offset " << at;
            EXPECT_EQ(opened.fault().errno_value, EBADMSG);
            ASSERT_EQ(pwrite(fd, &word, 4, static_cast<off_t>(at)), 4);
        }
        Queue queue;
        EXPECT_TRUE(queue.open(fd));
        close(fd);
    }
}

}  // namespace
}  // namespace muster::objects
