// Files that no sound process left: other people's files under a queue's name, headers and tables with bytes that
// cannot be, files cut short while mapped. Proved: a call says EBADMSG or goes on, it never crashes and never hangs;
// what is refused is not written to; the domain's other queues do not notice.
//
// Every damage is done in a file that starts from the same image, and met by a process of its own. Words that name
// threads name only such as cannot exist: a word that names a living stranger is waited for, as it must be.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>
#include "objects/domain.hpp"
#include "platform/signals.hpp"
#include "support/child.hpp"
#include "support/queue_audit.hpp"
#include "support/test_queue.hpp"

namespace {

namespace objects = muster::objects;
namespace platform = muster::platform;
namespace sync = muster::sync;
using namespace muster::test;
using platform::kNoWait;

constexpr unsigned kSeed = 20240611;
constexpr std::uint32_t kNoSuchThread = 1u << 22;  // PID_MAX_LIMIT: no thread id has this bit
constexpr std::size_t kPage = 4096, kBufferBytes = 8192;

struct Shape {
    const char* name;
    std::uint64_t messages_max, message_bytes_max;
    std::uint32_t length;  // of each message
};
constexpr Shape kInline{"inline", 8, 512, 300};
constexpr Shape kRegions{"regions", 1000, 8192, 6000};

// The pages of a file that are not zero, and its length: made again at will.
struct Image {
    std::uint64_t bytes = 0;
    std::vector<std::pair<std::uint64_t, std::array<char, kPage>>> pages;

    explicit Image(int fd) {
        struct stat status;
        if (fstat(fd, &status) != 0) return;
        bytes = static_cast<std::uint64_t>(status.st_size);
        std::array<char, kPage> page;
        for (std::uint64_t at = 0; at < bytes; at += kPage) {
            const off_t data = lseek(fd, static_cast<off_t>(at), SEEK_DATA);
            if (data < 0) break;
            at = static_cast<std::uint64_t>(data) / kPage * kPage;
            page.fill(0);
            if (pread(fd, page.data(), kPage, static_cast<off_t>(at)) <= 0) break;
            if (std::any_of(page.begin(), page.end(), [](char c) { return c != 0; })) pages.emplace_back(at, page);
        }
    }
    void restore(int fd) const {
        ASSERT_EQ(ftruncate(fd, 0), 0);
        ASSERT_EQ(ftruncate(fd, static_cast<off_t>(bytes)), 0);
        for (const auto& [at, page] : pages) ASSERT_EQ(pwrite(fd, page.data(), kPage, static_cast<off_t>(at)), static_cast<ssize_t>(kPage));
    }
    bool operator==(const Image&) const = default;
};

class Hostile : public ::testing::Test {
protected:
    Hostile() : path_("/dev/shm/muster-hostile-" + std::to_string(getpid())), domain_(open_fresh(path_)) {
        platform::install_fault_handlers();
        if (!domain_->ensure_directory("mq")) throw std::runtime_error("no mq directory");
        make_queue("neighbour", kInline);
    }
    ~Hostile() override {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    // Whatever happened to the others: a queue that stood before works, and a new one can be made.
    void TearDown() override {
        objects::Queue queue;
        platform::File file = open_file("neighbour");
        ASSERT_TRUE(queue.open(file.fd()));
        expect_works(queue, file.fd(), 3);
        make_queue("newcomer", kInline);
    }

    static std::unique_ptr<objects::Domain> open_fresh(const std::string& path) {
        std::filesystem::remove_all(path);
        auto domain = objects::Domain::open(path.c_str(), true);
        if (!domain) throw std::runtime_error("no domain");
        return std::make_unique<objects::Domain>(std::move(*domain));
    }
    std::string file_path(const std::string& name) const { return path_ + "/mq/" + name; }
    platform::File open_file(const std::string& name) const { return platform::File(open(file_path(name).c_str(), O_RDWR | O_CLOEXEC)); }

    // A queue of three messages: two in the index, one in the inbox, and one slot that was used and is free.
    void make_queue(const std::string& name, const Shape& shape) const {
        unsigned granted = 0;
        auto file = domain_->create_nameless(0600, &granted);
        ASSERT_TRUE(file);
        objects::Queue queue;
        ASSERT_TRUE(queue.create(file->fd(), {shape.messages_max, shape.message_bytes_max, 0600}));
        for (std::uint64_t id = 0; id < 4; ++id) {
            unsigned char text[kBufferBytes];
            const bool taken = id != 3 || queue.receive(platform::current_thread(), file->fd(), text, sizeof text, {kNoWait, -1});
            ASSERT_TRUE(taken);
            write_body(text, id, shape.length, static_cast<std::uint32_t>(id * 70));
            ASSERT_TRUE(queue.send(platform::current_thread(), file->fd(), text, shape.length, id * 70, {kNoWait, -1}));
        }
        queue.publish_ready();
        ASSERT_TRUE(domain_->publish(file->fd(), ("mq/" + name).c_str()));
    }
    static void expect_works(objects::Queue& queue, int fd, unsigned messages) {
        platform::ThreadState& thread = platform::current_thread();
        unsigned char text[kBufferBytes];
        write_body(text, 77, 200, 5);
        EXPECT_TRUE(queue.send(thread, fd, text, 200, 5, {kNoWait, -1}));
        for (unsigned left = messages + 1; left != 0; --left) {
            auto received = queue.receive(thread, fd, text, sizeof text, {kNoWait, -1});
            ASSERT_TRUE(received);
            EXPECT_EQ(wrong_body(text, received->length, received->priority), nullptr);
        }
        const Audit audit = audit_queue(fd);
        EXPECT_TRUE(audit.complaints.empty()) << audit.text();
    }

    // What a door does to open the queue.
    platform::Outcome<> open_queue(const std::string& name, objects::Queue& queue) const {
        auto file = domain_->open_object(("mq/" + name).c_str());
        if (!file) return file.fault();
        return queue.open(file->fd());
    }

    std::string path_;
    std::unique_ptr<objects::Domain> domain_;
};

// Every call that looks into a queue, none of which may wait. Each may fail; the errors are for who asks.
std::vector<int> try_everything(objects::Queue& queue, int fd) {
    platform::ThreadState& thread = platform::current_thread();
    static unsigned char text[kBufferBytes];
    write_body(text, 99, 200, 1);
    std::vector<int> errors;
    const auto note = [&](auto&& outcome) { errors.push_back(outcome ? 0 : outcome.fault().errno_value); };
    (void)queue.state();
    note(queue.send(thread, fd, text, 200, 1, {kNoWait, -1}));
    for (int times = 0; times < 4; ++times) note(queue.receive(thread, fd, text, sizeof text, {kNoWait, -1}));
    const auto visit = [](void* sum, const std::byte* message, std::size_t length, std::uint64_t) {
        for (std::size_t at = 0; at < length; ++at) *static_cast<unsigned*>(sum) += static_cast<unsigned>(message[at]);
        return true;
    };
    unsigned sum = 0;
    note(queue.peek(thread, fd, true, visit, &sum));
    note(queue.check(thread, fd, [](void*, const char*, std::uint64_t) {}, nullptr));
    return errors;
}

template <class T>
void put(int fd, std::uint64_t at, T value) {
    ASSERT_EQ(pwrite(fd, &value, sizeof value, static_cast<off_t>(at)), static_cast<ssize_t>(sizeof value));
}

// As if threads had waited here, and, often, as if whoever held the locks had died: then all is looked at and rebuilt.
void put_dead_holders(int fd, std::mt19937_64& random) {
    using H = objects::QueueHeader;
    put(fd, offsetof(H, shared) + offsetof(objects::QueueShared, actors_high), std::uint32_t{64});
    put(fd, offsetof(H, shared) + offsetof(objects::QueueShared, actors_reserved), std::uint32_t{64});
    for (const std::uint64_t lock : {offsetof(H, send_lock), offsetof(H, receive_lock)})
        if (random() % 2 == 0) put(fd, lock, std::uint32_t{FUTEX_OWNER_DIED | kNoSuchThread});
}

// A process that opens the queue and tries everything; it may be refused.
std::string meet(int fd) {
    Child child([fd] {
        alarm(5);
        objects::Queue queue;
        if (queue.open(fd)) {
            try_everything(queue, fd);
            (void)queue.repair(platform::current_thread(), fd, [](void*, const char*, std::uint64_t) {}, nullptr);
            try_everything(queue, fd);
        }
    });
    if (!child.ends()) return "did not end";
    if (child.exited()) return {};
    return child.killed(SIGALRM) ? "hung" : "was killed by signal " + std::to_string(WTERMSIG(child.status()));
}

// A file under a queue's name that is empty, short, no regular file, noise, or a queue of another format, layout,
// length or pid namespace, or unfinished: EBADMSG, in words wherever a file was looked into; nothing is written.
TEST_F(Hostile, ForeignFilesAreRefusedAndLeftAlone) {
    make_queue("sound", kInline);
    const Image sound(open_file("sound").fd());
    std::mt19937_64 random(kSeed);
    using Header = muster::memory::ObjectHeader;
    struct Row {
        const char* name;
        std::function<void(int fd)> make;
    };
    const auto header_with = [&](auto change) {
        return [&sound, change](int fd) {
            sound.restore(fd);
            Header header;
            ASSERT_EQ(pread(fd, &header, sizeof header, 0), static_cast<ssize_t>(sizeof header));
            change(header);
            put(fd, 0, header);
        };
    };
    const auto noise = [&random](std::size_t bytes) {
        return [&random, bytes](int fd) {
            std::vector<char> text(bytes);
            for (char& c : text) c = static_cast<char>(random());
            ASSERT_EQ(write(fd, text.data(), bytes), static_cast<ssize_t>(bytes));
        };
    };
    const Row rows[] = {
        {"empty", [](int) {}},
        {"one_byte", noise(1)},
        {"hundred_bytes", noise(100)},
        {"noise", noise(40000)},
        {"magic", header_with([](Header& h) { h.magic ^= 1; })},
        {"older", header_with([](Header& h) { h.format = objects::kQueueFormat - 1; })},
        {"newer", header_with([](Header& h) { h.format = objects::kQueueFormat + 1; })},
        {"fingerprint", header_with([](Header& h) { h.fingerprint ^= 0x100; })},
        {"longer_than_it_is", header_with([](Header& h) { h.file_bytes += kPage; })},
        {"huge", header_with([](Header& h) { h.file_bytes = ~std::uint64_t{0}; })},
        {"never_ready", header_with([](Header& h) { h.ready.store_relaxed(0); })},
        {"other_namespace", header_with([](Header& h) { h.pid_namespace ^= 0x55; })},
        {"cut_short", [&](int fd) { sound.restore(fd); ASSERT_EQ(ftruncate(fd, 2 * kPage), 0); }},
    };
    for (const Row& row : rows) {
        SCOPED_TRACE(row.name);
        platform::File file(open(file_path(row.name).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        ASSERT_GE(file.fd(), 0);
        row.make(file.fd());
        const Image before(file.fd());
        objects::Queue queue;
        auto opened = open_queue(row.name, queue);
        ASSERT_FALSE(opened);
        EXPECT_EQ(opened.fault().errno_value, EBADMSG);
        EXPECT_NE(opened.fault().rule, nullptr);
        EXPECT_TRUE(Image(file.fd()) == before);
    }

    ASSERT_EQ(mkdir(file_path("directory").c_str(), 0700), 0);
    ASSERT_EQ(mkfifo(file_path("fifo").c_str(), 0600), 0);
    ASSERT_EQ(symlink("sound", file_path("symlink").c_str()), 0);
    for (const char* name : {"directory", "fifo", "symlink"}) {
        SCOPED_TRACE(name);
        objects::Queue queue;
        auto opened = open_queue(name, queue);
        ASSERT_FALSE(opened);
        EXPECT_EQ(opened.fault().errno_value, EBADMSG);
    }
    EXPECT_TRUE(Image(open_file("sound").fd()) == sound);
}

// Each byte of the header of a queue with messages, changed in its lowest bit and in all bits: calls end, by
// themselves. A lock word is never made to name a thread that lives.
TEST_F(Hostile, EveryByteOfTheHeader) {
    make_queue("victim", kInline);
    const platform::File file = open_file("victim");
    const Image image(file.fd());
    unsigned bad = 0;
    for (unsigned at = 0; at < sizeof(objects::QueueHeader) && bad < 8; ++at)
        for (const int flip : {0x01, 0xff}) {
            image.restore(file.fd());
            unsigned char byte = 0;
            ASSERT_EQ(pread(file.fd(), &byte, 1, at), 1);
            put(file.fd(), at, static_cast<unsigned char>(byte ^ flip));
            const unsigned word_at = at & ~3u;
            if (word_at == offsetof(objects::QueueHeader, send_lock) || word_at == offsetof(objects::QueueHeader, receive_lock))
                put(file.fd(), word_at, static_cast<std::uint32_t>(flip) << 8 * (at & 3) | kNoSuchThread);
            const std::string ended = meet(file.fd());
            bad += !ended.empty();
            EXPECT_EQ(ended, "") << "byte " << at << " xor " << flip;
        }
}

// Several words of the header's two sides at once, set to what is just inside, just outside or far beyond their range:
// calls end, by themselves. The locks stay free.
TEST_F(Hostile, ScribbledHeader) {
    make_queue("victim", kInline);
    const platform::File file = open_file("victim");
    const Image image(file.fd());
    constexpr std::uint64_t kSlots = kInline.messages_max + 4096 + 8;
    constexpr std::uint64_t kValues[] = {0, 1, 2, 3, 16, kSlots - 1, kSlots, kSlots + 1, 4096, 4097, 0x7fffffff, 0x80000000, 0xffffffff};
    unsigned bad = 0;
    for (unsigned round = 0; round < 600 && bad < 4; ++round) {
        std::mt19937_64 random(kSeed + round);
        image.restore(file.fd());
        if (round % 2 != 0) put_dead_holders(file.fd(), random);
        std::string writes;
        for (std::uint64_t times = 2 + random() % 5; times != 0; --times) {
            constexpr std::pair<std::uint64_t, std::uint64_t> kParts[] = {{256, 64}, {448, 80}, {640, 24}, {832, 96}, {1024, 56}};
            const auto [begin, bytes] = kParts[random() % std::size(kParts)];  // not the locks
            const std::uint64_t at = begin + random() % (bytes / 4) * 4;
            const auto value = static_cast<std::uint32_t>(kValues[random() % std::size(kValues)]);
            put(file.fd(), at, value);
            writes += " " + std::to_string(at) + "=" + std::to_string(value);
        }
        const std::string ended = meet(file.fd());
        bad += !ended.empty();
        EXPECT_EQ(ended, "") << "round " << round << writes;
    }
}

// No slot was left that never was used, and the receive side's stack of free slots names one that is none: a send
// gives an error; it does not ask for ever for slots that do not come.
TEST_F(Hostile, NoFreeSlotsAndABrokenStack) {
    make_queue("victim", kInline);
    const platform::File file = open_file("victim");
    constexpr std::uint32_t none = 0xfffffff0, tail = 0;
    put(file.fd(), offsetof(objects::QueueHeader, send) + offsetof(objects::QueueSend, fresh), none);
    put(file.fd(), offsetof(objects::QueueHeader, received) + offsetof(objects::QueueReceivePublished, returned_tail), tail);
    put(file.fd(), offsetof(objects::QueueHeader, sent) + offsetof(objects::QueueSendPublished, returned_head), tail);
    put(file.fd(), offsetof(objects::QueueHeader, receive) + offsetof(objects::QueueReceive, stack), none);
    EXPECT_EQ(meet(file.fd()), "");
}

// Rings, lanes, actors and slots scribbled over with noise, small numbers and single bits: calls end, by themselves.
TEST_F(Hostile, ScribbledTables) {
    unsigned bad = 0;
    for (const Shape& shape : {kInline, kRegions}) {
        make_queue(shape.name, shape);
        const platform::File file = open_file(shape.name);
        const Image image(file.fd());
        objects::QueueHeader header;
        ASSERT_EQ(pread(file.fd(), &header, sizeof header, 0), static_cast<ssize_t>(sizeof header));
        const objects::QueueGeometry& g = header.geometry;
        const std::pair<std::uint64_t, std::uint64_t> sections[] = {
            {sizeof header, 8ull * g.ring_entries},
            {g.lanes_offset, 4 * sizeof(objects::LaneBlock)},  // where the messages are
            {g.lanes_offset, kPage},
            {g.actors_offset, kPage},
            {g.slots_offset, 4ull * g.slot_stride},
            {g.slots_offset, 2 * kPage},
        };
        for (unsigned round = 0; round < 200 && bad < 8; ++round) {
            std::mt19937_64 random(kSeed + round);
            image.restore(file.fd());
            if (round % 3 != 0) put_dead_holders(file.fd(), random);
            std::string writes;
            for (int times = 0; times < 8; ++times) {
                const auto [begin, bytes] = sections[random() % std::size(sections)];
                std::uint64_t at = begin + random() % (bytes / 8) * 8;
                if (begin == g.slots_offset && random() % 2 == 0)  // the slots' own fields, not the messages
                    at = g.slots_offset + random() % (bytes / g.slot_stride) * g.slot_stride + random() % 4 * 8;
                std::uint64_t value = 0;
                ASSERT_EQ(pread(file.fd(), &value, 8, static_cast<off_t>(at)), 8);
                switch (random() % 3) {
                    case 0: value = random(); break;
                    case 1: value = random() % 16 | (random() % 16) << 32; break;
                    default: value ^= std::uint64_t{1} << random() % 64; break;
                }
                const bool life = at >= g.actors_offset && at < g.slots_offset && (at - g.actors_offset) % sizeof(sync::Actor) == 0;
                if (life && (value & FUTEX_TID_MASK) != 0) value |= kNoSuchThread;
                put(file.fd(), at, value);
                writes += " " + std::to_string(at) + "=" + std::to_string(value);
            }
            const std::string ended = meet(file.fd());
            bad += !ended.empty();
            EXPECT_EQ(ended, "") << shape.name << " round " << round << writes;
        }
    }
}

// A file cut down to one page, and to nothing, beneath a process that has it mapped: EBADMSG from the first call that
// needs what is gone and from all after it; never SIGBUS.
TEST_F(Hostile, CutShortWhileMapped) {
    for (const Shape& shape : {kInline, kRegions})
        for (const off_t bytes : {off_t{kPage}, off_t{0}}) {
            SCOPED_TRACE(std::string(shape.name) + " cut to " + std::to_string(bytes));
            const std::string name = std::string(shape.name) + std::to_string(bytes);
            make_queue(name, shape);
            const platform::File file = open_file(name);
            Shared<std::array<int, 16>> errors;
            Child child([&] {
                alarm(5);
                objects::Queue queue;
                if (!queue.open(file.fd()) || ftruncate(file.fd(), bytes) != 0) _exit(2);
                std::size_t at = 0;
                for (const int error : try_everything(queue, file.fd())) (*errors)[at++] = error;
                for (const int error : try_everything(queue, file.fd())) (*errors)[at++] = error;
            });
            ASSERT_TRUE(child.ends());
            ASSERT_TRUE(child.exited()) << "status " << child.status();
            for (std::size_t at = 0; at < 14; ++at) EXPECT_EQ((*errors)[at], EBADMSG) << "call " << at;
            // Whoever comes now is refused as well.
            objects::Queue queue;
            auto opened = queue.open(file.fd());
            EXPECT_TRUE(!opened && opened.fault().errno_value == EBADMSG);
        }
}

}  // namespace
