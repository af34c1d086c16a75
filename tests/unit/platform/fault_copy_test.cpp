// fault_copy(): copies what memcpy copies for every size and alignment and no byte more; false for a fault at either
// side (page borders, NULL, PROT_NONE, read-only, non-canonical, truncated file), with the signals open and blocked,
// in threads, children and signal handlers; strings end at the page border. Registered mappings: a page that is gone
// reads as zero and sets the object's word; an unregistered one kills with SIGBUS as ever.
#include "platform/fault_copy.hpp"
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>
#include "platform/signals.hpp"

// The sanitizer's own handlers would answer in place of the default action.
#define NO_HANDLERS "handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_abort=0:allow_user_segv_handler=1"
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options() {
    return NO_HANDLERS;
}
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_options() {
    return NO_HANDLERS;
}

namespace {

using namespace muster::platform;

constexpr std::size_t kPage = 4096;

// Pages of which the ones before and after the middle cannot be touched.
struct Fenced {
    explicit Fenced(std::size_t pages = 1, int protection = PROT_READ | PROT_WRITE) : bytes(pages * kPage) {
        base = static_cast<char*>(mmap(nullptr, bytes + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        mprotect(base + kPage, bytes, protection);
    }
    ~Fenced() { munmap(base, bytes + 2 * kPage); }
    char* start() const { return base + kPage; }
    char* end() const { return base + kPage + bytes; }
    char* base;
    std::size_t bytes;
};

// An unlinked file on tmpfs, mapped shared.
struct SharedFile {
    explicit SharedFile(std::size_t pages) : bytes(pages * kPage) {
        fd = memfd_create("muster-test", MFD_CLOEXEC);
        EXPECT_EQ(ftruncate(fd, static_cast<off_t>(bytes)), 0);
        start = static_cast<char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    }
    ~SharedFile() {
        munmap(start, bytes);
        close(fd);
    }
    int fd;
    std::size_t bytes;
    char* start;
};

struct Mask {
    explicit Mask(std::initializer_list<int> blocked) {
        sigset_t set;
        sigemptyset(&set);
        for (int sig : blocked) sigaddset(&set, sig);
        ::pthread_sigmask(SIG_BLOCK, &set, &before);
        current_thread().fault_mask_known = 0;
    }
    ~Mask() {
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        current_thread().fault_mask_known = 0;
    }
    sigset_t before;
};

bool copy(void* to, const void* from, std::size_t bytes) {
    return fault_copy(current_thread(), to, from, bytes);
}

// How a child that runs `body` ended: its exit status, or 1000 + the signal.
template <class Body>
int outcome_of_child(Body body) {
    const pid_t child = fork();
    if (child == 0) {
        body();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

void expect_every_fault() {
    Fenced good(2);
    Fenced bad(2);
    char buffer[2 * kPage];
    for (std::size_t bytes :
         {std::size_t{1}, std::size_t{3}, std::size_t{7}, std::size_t{8}, std::size_t{15}, std::size_t{16}, std::size_t{31},
          std::size_t{33}, std::size_t{64}, std::size_t{100}, std::size_t{128}, std::size_t{129}, std::size_t{200},
          std::size_t{256}, std::size_t{600}, std::size_t{4096}, std::size_t{5000}}) {
        EXPECT_TRUE(copy(good.end() - bytes, buffer, bytes)) << bytes;
        EXPECT_TRUE(copy(buffer, good.end() - bytes, bytes)) << bytes;
        for (std::size_t inside = 0; inside < bytes; inside += 1 + bytes / 40) {
            EXPECT_FALSE(copy(bad.end() - inside, buffer, bytes)) << bytes << " write beyond, inside " << inside;
            EXPECT_FALSE(copy(buffer, bad.end() - inside, bytes)) << bytes << " read beyond, inside " << inside;
            EXPECT_FALSE(copy(bad.start() - (bytes - inside), buffer, bytes)) << bytes << " write before, inside " << inside;
            EXPECT_FALSE(copy(buffer, bad.start() - (bytes - inside), bytes)) << bytes << " read before, inside " << inside;
        }
        EXPECT_FALSE(copy(nullptr, buffer, bytes));
        EXPECT_FALSE(copy(buffer, nullptr, bytes));
        EXPECT_FALSE(copy(bad.base, bad.end(), bytes));
        EXPECT_FALSE(copy(reinterpret_cast<void*>(0xdeadbeef00000000u), buffer, bytes));  // no address at all
        EXPECT_FALSE(copy(buffer, reinterpret_cast<void*>(0xdeadbeef00000000u), bytes));
        EXPECT_FALSE(copy(buffer, reinterpret_cast<void*>(~std::uintptr_t{0} - 3), bytes));
    }
    Fenced read_only(1, PROT_READ);
    EXPECT_TRUE(copy(buffer, read_only.start(), kPage));
    EXPECT_FALSE(copy(read_only.start(), buffer, 64));
}

TEST(FaultCopy, EverySizeAndAlignment) {
    constexpr std::size_t kLargest = 600;
    std::vector<unsigned char> from(kLargest + 128);
    std::mt19937 random(1);
    for (auto& byte : from) byte = static_cast<unsigned char>(random());
    std::vector<unsigned char> to(from.size());
    std::vector<unsigned char> expected(from.size());
    for (std::size_t bytes = 0; bytes <= kLargest; ++bytes)
        for (std::size_t to_offset : {0u, 1u, 2u, 3u, 4u, 7u, 8u, 11u, 15u, 16u, 17u, 31u, 33u, 48u, 63u})
            for (std::size_t from_offset : {0u, 1u, 5u, 8u, 15u, 16u, 30u, 63u}) {
                std::memset(to.data(), 0xa5, to.size());
                std::memset(expected.data(), 0xa5, expected.size());
                std::memcpy(expected.data() + to_offset, from.data() + from_offset, bytes);
                ASSERT_TRUE(copy(to.data() + to_offset, from.data() + from_offset, bytes));
                ASSERT_EQ(to, expected) << bytes << " " << to_offset << " " << from_offset;
            }
}

TEST(FaultCopy, AgainstFencesAtEverySize) {
    // A byte read or written too much would be a fault, and a fault would be told.
    Fenced a(1), b(1);
    for (std::size_t bytes = 0; bytes <= kPage; bytes += bytes < 700 ? 1 : 61) {
        ASSERT_TRUE(copy(a.end() - bytes, b.end() - bytes, bytes)) << bytes;
        ASSERT_TRUE(copy(a.start(), b.start(), bytes)) << bytes;
        ASSERT_TRUE(copy(a.start(), b.end() - bytes, bytes)) << bytes;
    }
}

TEST(FaultCopy, LargeSizes) {
    std::mt19937 random(2);
    for (std::size_t bytes : {std::size_t{4096}, std::size_t{65536}, std::size_t{1 << 20}, std::size_t{(1 << 20) + 77}}) {
        auto from = std::make_unique<std::uint8_t[]>(bytes + 64);
        auto to = std::make_unique<std::uint8_t[]>(bytes + 64);
        for (std::size_t i = 0; i < bytes + 64; ++i) from[i] = static_cast<std::uint8_t>(random());
        for (std::size_t offset : {0u, 1u, 13u, 16u}) {
            ASSERT_TRUE(copy(to.get() + offset, from.get() + 5, bytes));
            ASSERT_EQ(std::memcmp(to.get() + offset, from.get() + 5, bytes), 0);
        }
    }
}

TEST(FaultCopy, FaultsAtEitherSide) {
    expect_every_fault();
}

TEST(FaultCopy, NothingToCopyNeverFaults) {
    EXPECT_TRUE(copy(nullptr, nullptr, 0));
    Mask blocked({SIGSEGV});
    EXPECT_TRUE(copy(nullptr, nullptr, 0));
}

TEST(FaultCopy, FaultsWithSignalsBlocked) {
    for (auto signals : {std::initializer_list<int>{SIGSEGV}, {SIGBUS}, {SIGSEGV, SIGBUS}}) {
        Mask blocked(signals);
        expect_every_fault();
        EXPECT_EQ(current_thread().fault_mask_known, 2u);
    }
    EXPECT_TRUE(copy(nullptr, nullptr, 0));
    EXPECT_EQ(current_thread().fault_mask_known, 1u);
}

TEST(FaultCopy, ContentIsRightWithSignalsBlocked) {
    Mask blocked({SIGSEGV});
    char from[300], to[300];
    for (std::size_t i = 0; i < sizeof from; ++i) from[i] = static_cast<char>(i);
    EXPECT_TRUE(copy(to, from, sizeof to));
    EXPECT_EQ(std::memcmp(to, from, sizeof to), 0);
}

TEST(FaultCopy, FaultsInThreads) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([i] {
            if (i % 2 == 0) {
                expect_every_fault();
            } else {
                Mask blocked({SIGBUS});
                expect_every_fault();
            }
        });
    for (auto& thread : threads) thread.join();
}

TEST(FaultCopy, FaultsInAForkedChild) {
    EXPECT_EQ(outcome_of_child([] {
                  expect_every_fault();
                  _exit(testing::Test::HasFailure() ? 1 : 0);
              }),
              0);
}

TEST(FaultCopy, ErrnoIsLeftAlone) {
    char byte;
    errno = 4711;
    EXPECT_FALSE(copy(&byte, nullptr, 1));
    EXPECT_EQ(errno, 4711);
    Mask blocked({SIGSEGV});
    errno = 4711;
    EXPECT_FALSE(copy(&byte, nullptr, 1));
    EXPECT_EQ(errno, 4711);
}

TEST(FaultCopy, TruncatedFile) {
    SharedFile file(2);
    char buffer[kPage];
    ASSERT_EQ(ftruncate(file.fd, kPage), 0);
    EXPECT_TRUE(copy(buffer, file.start, kPage));
    EXPECT_FALSE(copy(buffer, file.start + kPage - 8, 16));
    EXPECT_FALSE(copy(file.start + kPage, buffer, 1));
    Mask blocked({SIGBUS});
    EXPECT_FALSE(copy(buffer, file.start + kPage - 8, 16));
    EXPECT_FALSE(copy(file.start + kPage, buffer, 1));
}

TEST(FaultCopy, Structures) {
    struct Pair {
        std::uint64_t a, b;
    };
    Pair there{1, 2}, here{};
    ThreadState& thread = current_thread();
    EXPECT_TRUE(fault_load(thread, here, &there));
    EXPECT_EQ(here.b, 2u);
    EXPECT_TRUE(fault_store(thread, &there, Pair{7, 8}));
    EXPECT_EQ(there.a, 7u);
    EXPECT_FALSE(fault_load(thread, here, static_cast<Pair*>(nullptr)));
    EXPECT_FALSE(fault_store(thread, static_cast<Pair*>(nullptr), here));
}

TEST(FaultCopy, Strings) {
    Fenced pages(1);
    ThreadState& thread = current_thread();
    char buffer[300];
    for (std::size_t length : {0u, 1u, 63u, 64u, 65u, 200u, 255u}) {
        char* text = pages.end() - length - 1;
        std::memset(text, 'x', length);
        text[length] = '\0';
        EXPECT_EQ(fault_load_string(thread, buffer, text, sizeof buffer), static_cast<std::ptrdiff_t>(length));
        EXPECT_EQ(std::string(buffer), std::string(length, 'x'));
        text[length] = 'x';
        EXPECT_EQ(fault_load_string(thread, buffer, text, sizeof buffer), -1);
        EXPECT_EQ(fault_load_string(thread, buffer, text, length + 1), static_cast<std::ptrdiff_t>(length + 1));
    }
    EXPECT_EQ(fault_load_string(thread, buffer, nullptr, sizeof buffer), -1);
}

TEST(MappingDamage, LostPageReadsAsZeroAndIsTold) {
    SharedFile file(4);
    std::atomic<std::uint32_t> damaged = 0;
    std::memset(file.start, 'x', file.bytes);
    ASSERT_TRUE(register_shared_mapping(file.start, file.bytes, &damaged));
    ASSERT_EQ(ftruncate(file.fd, kPage), 0);
    auto* memory = static_cast<volatile char*>(file.start);
    EXPECT_EQ(memory[0], 'x');
    EXPECT_EQ(damaged, 0u);
    EXPECT_EQ(memory[2 * kPage + 5], 0);
    EXPECT_EQ(damaged, 1u);
    memory[3 * kPage] = 'y';
    EXPECT_EQ(memory[3 * kPage], 'y');
    EXPECT_EQ(memory[kPage], 0);
    unregister_shared_mapping(file.start);
}

TEST(MappingDamage, AlsoToldWhenTheCopyMeetsIt) {
    SharedFile file(2);
    std::atomic<std::uint32_t> damaged = 0;
    ASSERT_TRUE(register_shared_mapping(file.start, file.bytes, &damaged));
    ASSERT_EQ(ftruncate(file.fd, 0), 0);
    char buffer[64];
    EXPECT_FALSE(copy(buffer, nullptr, sizeof buffer));
    EXPECT_EQ(damaged, 0u);
    EXPECT_FALSE(copy(buffer, file.start, sizeof buffer));
    EXPECT_EQ(damaged, 1u);
    unregister_shared_mapping(file.start);
}

TEST(MappingDamage, UnregisteredMemoryKillsAsEver) {
    EXPECT_EQ(outcome_of_child([] {
                  install_fault_handlers();
                  SharedFile file(1);
                  std::atomic<std::uint32_t> damaged = 0;
                  register_shared_mapping(file.start, file.bytes, &damaged);
                  unregister_shared_mapping(file.start);
                  if (ftruncate(file.fd, 0) != 0) _exit(1);
                  *static_cast<volatile char*>(file.start) = 1;
              }),
              1000 + SIGBUS);
}

TEST(MappingDamage, ManyMappingsFromManyThreads) {
    constexpr unsigned kThreads = 4;
    constexpr unsigned kEach = 10'000;
    std::atomic<std::uint32_t> damaged = 0;
    std::vector<std::thread> threads;
    const auto address = [](unsigned thread, unsigned i) {
        return (std::uintptr_t{0x100000000000} + (std::uintptr_t{thread} * kEach + i) * 3 * kPage);
    };
    for (unsigned thread = 0; thread < kThreads; ++thread)
        threads.emplace_back([&, thread] {
            for (unsigned i = 0; i < kEach; ++i)
                EXPECT_TRUE(register_shared_mapping(reinterpret_cast<void*>(address(thread, i)), 2 * kPage, &damaged));
        });
    for (auto& thread : threads) thread.join();
    threads.clear();
    for (unsigned thread = 0; thread < kThreads; ++thread)
        for (unsigned i = 0; i < kEach; i += 997) {
            EXPECT_EQ(find_damage_word(address(thread, i)), &damaged);
            EXPECT_EQ(find_damage_word(address(thread, i) + 2 * kPage - 1), &damaged);
            EXPECT_EQ(find_damage_word(address(thread, i) + 2 * kPage), nullptr);
        }
    for (unsigned thread = 0; thread < kThreads; ++thread)
        threads.emplace_back([&, thread] {
            for (unsigned i = 0; i < kEach; ++i) unregister_shared_mapping(reinterpret_cast<void*>(address(thread, i)));
        });
    for (auto& thread : threads) thread.join();
    for (unsigned thread = 0; thread < kThreads; ++thread)
        for (unsigned i = 0; i < kEach; i += 997) EXPECT_EQ(find_damage_word(address(thread, i)), nullptr);
}

TEST(MappingDamage, ThreadsMeetingALostPageGoOn) {
    for (int round = 0; round < 100; ++round) {
        SharedFile file(1);
        std::atomic<std::uint32_t> damaged = 0;
        register_shared_mapping(file.start, file.bytes, &damaged);
        ASSERT_EQ(ftruncate(file.fd, 0), 0);
        std::thread other([&] { *static_cast<volatile char*>(file.start + 1) = 1; });
        *static_cast<volatile char*>(file.start + 2) = 2;
        other.join();
        EXPECT_EQ(damaged, 1u);
        unregister_shared_mapping(file.start);
    }
}

}  // namespace
