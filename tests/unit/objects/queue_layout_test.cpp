// The format of a queue's file: the first page of a fresh queue (10 messages of 64 bytes) is byte for byte the one in
// golden/queue_format_1.hex, but for what differs from one queue to the next: uuid, pid namespace, time, owner and creator.
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

std::string golden_path() {
    const std::string here = __FILE__;
    return here.substr(0, here.rfind('/') + 1) + "golden/queue_format_" + std::to_string(kQueueFormat) + ".hex";
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

std::string fresh_queue() {
    const int fd = memfd_create("queue", MFD_CLOEXEC);
    unsigned char image[kImageBytes] = {};
    {
        Queue queue;
        if (!queue.create(fd, {10, 64, 0600})) return "no queue";
        queue.publish_ready();
    }
    const ssize_t got = pread(fd, image, sizeof image, 0);
    close(fd);
    if (got != static_cast<ssize_t>(sizeof image)) return "no image";
    std::memset(image + 16, 0, 16);  // uuid
    std::memset(image + 40, 0, 16);  // pid_namespace, created_ns
    std::memset(image + 64, 0, 16);  // owner and creator
    return hex_of(image);
}

TEST(QueueLayout, FreshQueueIsTheGoldenImage) {
    const std::string image = fresh_queue();
    if (std::getenv("MUSTER_GOLDEN_MAKE") != nullptr) std::ofstream(golden_path()) << image;
    std::ifstream file(golden_path());
    ASSERT_TRUE(file) << golden_path();
    const std::string golden{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(image, golden) << "the layout of queues has changed: it needs a new format number";
}

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
