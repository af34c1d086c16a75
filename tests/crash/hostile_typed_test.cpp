// System V message queues whose files somebody scribbled over, met through msgsnd, msgrcv and msgctl of the library. Proved:
// a call ends by itself, with success or an errno that these calls know; the program that made it lives; a queue that stood
// beside the damaged one does not notice; and the damaged one can be removed, and its key be used again.
//
// Every damage is done to files that start from the same image, and met by a process of its own. Words that name threads
// name only such as cannot exist: a word that names a living stranger is waited for, as it must be.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/falloc.h>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>
#include "objects/queue_layout.hpp"
#include "support/child.hpp"

#ifdef MUSTER_POSIX_LIBRARY

namespace {

namespace objects = muster::objects;
namespace sync = muster::sync;
using namespace muster::test;

constexpr unsigned kSeed = 20240611;
constexpr std::uint32_t kNoSuchThread = 1u << 22;  // PID_MAX_LIMIT: no thread id has this bit
constexpr std::size_t kPage = 4096;
constexpr std::uint32_t kFrontBytes = 8192, kSlotsBytes = 16 * kPage;  // what is made again at will
constexpr key_t kVictimKey = 0x51, kNeighbourKey = 0x52;

// The library's calls, not the C library's.
struct Library {
    decltype(&msgget) get;
    decltype(&msgsnd) send;
    decltype(&msgrcv) receive;
    decltype(&msgctl) control;
};
bool comes_later = false;  // into the domain that the first process made

const Library& library() {
    static const Library loaded = [] {
        static char domain[] = "/dev/shm/muster-hostile-typed-XXXXXX";
        if (!comes_later && (mkdtemp(domain) == nullptr || setenv("MUSTER_DOMAIN", domain, 1) != 0)) std::abort();
        void* handle = dlopen(MUSTER_POSIX_LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) std::abort();
        const auto symbol = [&](auto& pointer, const char* name) {
            pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(dlsym(handle, name));
        };
        Library found{};
        symbol(found.get, "msgget");
        symbol(found.send, "msgsnd");
        symbol(found.receive, "msgrcv");
        symbol(found.control, "msgctl");
        return found;
    }();
    return loaded;
}

struct Text {
    long type;
    char text[8192];
};

class HostileTyped : public testing::Test {
protected:
    void SetUp() override {
        neighbour_ = make(kNeighbourKey);
        victim_ = make(kVictimKey);
        front_ = open_file(".data", false);
        slots_ = open_file(".data", true);
        ASSERT_GE(front_, 0);
        ASSERT_GE(slots_, 0);
        front_image_.resize(kFrontBytes);
        ASSERT_GT(pread(front_, front_image_.data(), front_image_.size(), 0), 0);
        slots_image_.resize(kSlotsBytes);
        ASSERT_GT(pread(slots_, slots_image_.data(), slots_image_.size(), 0), 0);
        std::memcpy(&geometry_, front_image_.data() + offsetof(objects::QueueHeader, geometry), sizeof geometry_);
    }
    void TearDown() override {
        restore();
        // Whatever happened to the other: a queue that stood before works, a new one can be made, the damaged one goes.
        works(neighbour_);
        EXPECT_EQ(library().control(neighbour_, IPC_RMID, nullptr), 0);
        EXPECT_EQ(library().control(victim_, IPC_RMID, nullptr), 0) << errno;
        const int again = make(kVictimKey);
        works(again);
        EXPECT_EQ(library().control(again, IPC_RMID, nullptr), 0);
        close(front_);
        close(slots_);
    }
    static void TearDownTestSuite() { std::filesystem::remove_all(getenv("MUSTER_DOMAIN")); }

    static void send(int id, long type, std::size_t length) {
        Text text{type, {}};
        std::memset(text.text, static_cast<int>('a' + type), length);
        ASSERT_EQ(library().send(id, &text, length, IPC_NOWAIT), 0) << errno;
    }
    // A queue of messages of several types, some in the index, one in the inbox, one slot used and free.
    static int make(key_t key) {
        const int id = library().get(key, IPC_CREAT | IPC_EXCL | 0600);
        if (id < 0) ADD_FAILURE() << "msgget: " << errno;
        for (const long type : {3, 1, 3, 2}) send(id, type, static_cast<std::size_t>(100 * type));
        Text text{};
        EXPECT_EQ(library().receive(id, &text, sizeof text.text, 2, IPC_NOWAIT), 200);
        send(id, 5, 2000);
        return id;
    }
    static void works(int id) {
        send(id, 9, 50);
        Text text{};
        for (const ssize_t length : {300, 100, 300, 2000, 50})
            EXPECT_EQ(library().receive(id, &text, sizeof text.text, 0, IPC_NOWAIT), length) << errno;
        EXPECT_EQ(library().receive(id, &text, sizeof text.text, 0, IPC_NOWAIT), -1);
        EXPECT_EQ(errno, ENOMSG);
    }
    // The first or the second file of the victim: the one whose identifier it is.
    int open_file(const char* suffix, bool second) const {
        const unsigned index = static_cast<unsigned>(victim_) % 32768;
        const std::string path = std::string(getenv("MUSTER_DOMAIN")) + "/sysv/msg-" + std::to_string(index) + (second ? suffix : "");
        return open(path.c_str(), O_RDWR | O_CLOEXEC);
    }
    void restore() const {
        struct stat status;
        ASSERT_EQ(fstat(slots_, &status), 0);
        ASSERT_EQ(pwrite(front_, front_image_.data(), front_image_.size(), 0), static_cast<ssize_t>(front_image_.size()));
        ASSERT_EQ(fallocate(front_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kFrontBytes,
                            static_cast<off_t>(geometry_.actors_offset + 4096 * sizeof(sync::Actor) - kFrontBytes)),
                  0);
        ASSERT_EQ(fallocate(slots_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kSlotsBytes, status.st_size - static_cast<off_t>(kSlotsBytes)), 0);
        ASSERT_EQ(pwrite(slots_, slots_image_.data(), slots_image_.size(), 0), static_cast<ssize_t>(slots_image_.size()));
    }
    template <class T>
    static void put(int fd, std::uint64_t at, T value) {
        ASSERT_EQ(pwrite(fd, &value, sizeof value, static_cast<off_t>(at)), static_cast<ssize_t>(sizeof value));
    }
    // As if threads had waited here, and, often, as if whoever held the locks had died: then all is looked at and rebuilt.
    void put_dead_holders(std::mt19937_64& random) const {
        using H = objects::QueueHeader;
        put(front_, offsetof(H, shared) + offsetof(objects::QueueShared, actors_high), std::uint32_t{64});
        put(front_, offsetof(H, shared) + offsetof(objects::QueueShared, actors_reserved), std::uint32_t{64});
        for (const std::uint64_t lock : {offsetof(H, send_lock), offsetof(H, receive_lock)})
            if (random() % 2 == 0) put(front_, lock, std::uint32_t{FUTEX_OWNER_DIED | kNoSuchThread});
    }

    // Every call, none of which may wait. -1 with an errno that msgop(2) and msgctl(2) know, or success.
    static void try_everything(int id) {
        const auto judge = [](ssize_t result, std::initializer_list<int> errors) {
            if (result >= 0 || std::count(errors.begin(), errors.end(), errno) != 0) return;
            std::fprintf(stderr, "errno %d\n", errno);
            _exit(3);
        };
        Text text{7, {}};
        for (const long type : {7, 1}) {
            text.type = type;
            judge(library().send(id, &text, 100, IPC_NOWAIT), {EINVAL, EIDRM, EAGAIN, ENOMEM, EACCES});
        }
        for (const long type : {2L, 0L, -4L, 7L})
            judge(library().receive(id, &text, sizeof text.text, type, IPC_NOWAIT), {EINVAL, EIDRM, ENOMSG, ENOMEM, EACCES});
        judge(library().receive(id, &text, sizeof text.text, 3, IPC_NOWAIT | MSG_EXCEPT), {EINVAL, EIDRM, ENOMSG, ENOMEM, EACCES});
        judge(library().receive(id, &text, 10, 0, IPC_NOWAIT | MSG_NOERROR), {EINVAL, EIDRM, ENOMSG, ENOMEM, EACCES});
        judge(library().receive(id, &text, 0, 0, IPC_NOWAIT), {EINVAL, EIDRM, ENOMSG, E2BIG, ENOMEM, EACCES});
        judge(library().receive(id, &text, sizeof text.text, 1, IPC_NOWAIT | MSG_COPY), {EINVAL, EIDRM, ENOMSG, E2BIG, ENOMEM, EACCES});
        msqid_ds state{};
        const ssize_t told = library().control(id, IPC_STAT, &state);
        judge(told, {EINVAL, EIDRM, EACCES});
        if (told == 0) judge(library().control(id, IPC_SET, &state), {EINVAL, EIDRM, EPERM, EACCES, ENOMEM});
        msginfo info{};
        judge(library().control(0, MSG_INFO, reinterpret_cast<msqid_ds*>(&info)), {EINVAL});
    }
    // A process that has the queue open already, or opens it now, and tries everything; it may be refused.
    std::string meet(bool known) const {
        Child child([&] {
            alarm(5);
            if (!known) {
                // As a program that comes later: nothing of the queue is mapped here. A child keeps what its parent had.
                execl("/proc/self/exe", "hostile", "--meet", std::to_string(victim_).c_str(), nullptr);
                _exit(4);
            }
            try_everything(victim_);
        });
        if (!child.ends()) return "did not end";
        if (child.exited()) return {};
        if (child.exited(3)) return "an errno that is none of these calls";
        return child.killed(SIGALRM) ? "hung" : "was killed, status " + std::to_string(child.status());
    }

public:
    // In that process.
    static int meet_later(int id) {
        try_everything(id);
        return 0;
    }

protected:

    int neighbour_ = -1, victim_ = -1, front_ = -1, slots_ = -1;
    std::vector<unsigned char> front_image_, slots_image_;
    objects::QueueGeometry geometry_{};
};

// Each byte of the header of a queue with messages, changed in its lowest bit and in all bits: calls end, by themselves,
// in a process that had the queue open and in one that comes now. A lock word is never made to name a thread that lives.
TEST_F(HostileTyped, EveryByteOfTheHeader) {
    unsigned bad = 0;
    for (unsigned at = 0; at < sizeof(objects::QueueHeader) && bad < 8; ++at)
        for (const int flip : {0x01, 0xff}) {
            // (What one part in sixteen of the bytes does to late-comers is told by sampling: each is a program's start.)
            for (const bool known : {true, false}) {
                if (!known && (at ^ at >> 4) % 16 != static_cast<unsigned>(flip) % 16) continue;
                restore();
                put(front_, at, static_cast<unsigned char>(front_image_[at] ^ flip));
                const unsigned word_at = at & ~3u;
                if (word_at == offsetof(objects::QueueHeader, send_lock) || word_at == offsetof(objects::QueueHeader, receive_lock))
                    put(front_, word_at, static_cast<std::uint32_t>(flip) << 8 * (at & 3) | kNoSuchThread);
                const std::string ended = meet(known);
                bad += !ended.empty();
                EXPECT_EQ(ended, "") << "byte " << at << " xor " << flip << (known ? "" : ", come to later");
            }
        }
}

// Several words of the header's two sides at once, set to what is just inside, just outside or far beyond their range.
TEST_F(HostileTyped, ScribbledHeader) {
    const std::uint64_t slots = geometry_.slots;
    const std::uint64_t values[] = {0, 1, 2, 3, 16, slots - 1, slots, slots + 1, 4096, 4097, 0xffffff, 0x7fffffff, 0x80000000, 0xffffffff};
    unsigned bad = 0;
    for (unsigned round = 0; round < 800 && bad < 4; ++round) {
        std::mt19937_64 random(kSeed + round);
        restore();
        if (round % 2 != 0) put_dead_holders(random);
        std::string writes;
        for (std::uint64_t times = 2 + random() % 5; times != 0; --times) {
            constexpr std::pair<std::uint64_t, std::uint64_t> kParts[] = {{256, 64}, {448, 192}, {640, 64}, {832, 192}, {944, 24}, {1024, 64}};
            const auto [begin, bytes] = kParts[random() % std::size(kParts)];  // not the locks
            const std::uint64_t at = begin + random() % (bytes / 4) * 4;
            const auto value = static_cast<std::uint32_t>(values[random() % std::size(values)]);
            put(front_, at, value);
            writes += " " + std::to_string(at) + "=" + std::to_string(value);
        }
        const std::string ended = meet(true);
        bad += !ended.empty();
        EXPECT_EQ(ended, "") << "round " << round << writes;
    }
}

// Rings, actors, slots and the index in them scribbled over with noise, small numbers and single bits.
TEST_F(HostileTyped, ScribbledTables) {
    unsigned bad = 0;
    const std::uint64_t stride = geometry_.slot_stride;
    for (unsigned round = 0; round < 800 && bad < 4; ++round) {
        std::mt19937_64 random(kSeed + round);
        restore();
        if (round % 3 != 0) put_dead_holders(random);
        std::string writes;
        for (int times = 0; times < 8; ++times) {
            int fd = slots_;
            std::uint64_t at = 0;
            switch (random() % 5) {
                case 0: fd = front_, at = sizeof(objects::QueueHeader) + random() % (geometry_.ring_entries) * 8; break;
                case 1: fd = front_, at = geometry_.actors_offset + random() % 512 * 8; break;
                case 2: at = random() % 8 * stride + random() % (sizeof(objects::Slot) / 8) * 8; break;
                case 3: at = (1 + random() % 8) * stride - sizeof(objects::TypeLane) + random() % (sizeof(objects::TypeLane) / 8) * 8; break;
                default: at = random() % (8 * stride / 8) * 8; break;
            }
            std::uint64_t value = 0;
            ASSERT_EQ(pread(fd, &value, 8, static_cast<off_t>(at)), 8);
            switch (random() % 3) {
                case 0: value = random(); break;
                case 1: value = random() % 16 | (random() % 16) << 32; break;
                default: value ^= std::uint64_t{1} << random() % 64; break;
            }
            const bool life = fd == front_ && at >= geometry_.actors_offset && (at - geometry_.actors_offset) % sizeof(sync::Actor) == 0;
            if (life && (value & FUTEX_TID_MASK) != 0) value |= kNoSuchThread;
            put(fd, at, value);
            writes += std::string(" ") + (fd == front_ ? "" : "s") + std::to_string(at) + "=" + std::to_string(value);
        }
        const std::string ended = meet(true);
        bad += !ended.empty();
        EXPECT_EQ(ended, "") << "round " << round << writes;
    }
}

// Found damaged, a queue can be removed all the same: its identifier is gone, its key is free.
TEST_F(HostileTyped, ADamagedQueueCanBeRemoved) {
    put(front_, offsetof(objects::QueueHeader, received) + offsetof(objects::QueueReceivePublished, drained), std::uint64_t{1} << 40);
    Text text{};
    EXPECT_EQ(library().receive(victim_, &text, sizeof text.text, 0, IPC_NOWAIT), -1);
    EXPECT_TRUE(errno == EIDRM || errno == EINVAL) << errno;
    EXPECT_EQ(library().control(victim_, IPC_RMID, nullptr), 0) << errno;
    EXPECT_EQ(library().get(kVictimKey, 0), -1);
    EXPECT_EQ(errno, ENOENT);
    const int again = make(kVictimKey);
    EXPECT_GE(again, 0);
    close(front_);
    close(slots_);
    victim_ = again;
    front_ = open_file(".data", false);
    slots_ = open_file(".data", true);
    ASSERT_GT(pread(front_, front_image_.data(), front_image_.size(), 0), 0);
    ASSERT_GT(pread(slots_, slots_image_.data(), slots_image_.size(), 0), 0);
}

// Both files cut down beneath a process that has them mapped: an errno, never SIGBUS.
TEST_F(HostileTyped, CutShortWhileMapped) {
    struct stat front, slots;
    ASSERT_EQ(fstat(front_, &front), 0);
    ASSERT_EQ(fstat(slots_, &slots), 0);
    for (const bool second : {true, false})
        for (const off_t bytes : {off_t{0}, off_t{kPage}}) {
            ASSERT_EQ(ftruncate(second ? slots_ : front_, bytes), 0);
            EXPECT_EQ(meet(true), "") << (second ? "second" : "first") << " file cut to " << bytes;
            ASSERT_EQ(ftruncate(front_, front.st_size), 0);
            ASSERT_EQ(ftruncate(slots_, slots.st_size), 0);
            restore();
        }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 3 && std::string(argv[1]) == "--meet") {
        comes_later = true;
        return HostileTyped::meet_later(std::atoi(argv[2]));
    }
    testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}

#else
TEST(HostileTyped, EveryByteOfTheHeader) { GTEST_SKIP() << "for the shared library"; }
#endif
