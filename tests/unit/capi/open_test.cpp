// open, openat, their fortified and 64-bit names, creat, fopen, syscall(SYS_open): /proc/sysvipc shows the domain byte for byte
// as the kernel shows its own objects, and without a domain nothing, making none; files of limits read as the kernel's, take what
// the kernel's take and refuse what they refuse (EINVAL, ERANGE, EBADF), through copies of the descriptor, other processes,
// appending and stdio, and hold for the next call (semop E2BIG, semget ENOSPC); what makes no sense, or nothing, changes nothing.
// The lowest number, close-on-exec, EMFILE; other paths and flags are the kernel's, EFAULT included; errno only on failure.
#include <sched.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <filesystem>
#include <fstream>
#include "two_sides.hpp"

extern "C" {
int __open_2(const char*, int);
int __open64_2(const char*, int);
int __openat_2(int, const char*, int);
int __openat64_2(int, const char*, int);
int __open(const char*, int, ...);
}

namespace {
using namespace muster::capi_tests;

const std::string kKernel = "/proc/sys/kernel/";

std::string all_of(int fd) {
    std::string text;
    char piece[4096];
    for (long got; (got = ::read(fd, piece, sizeof piece)) > 0;) text.append(piece, static_cast<size_t>(got));
    return text;
}

std::string text_of(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY);
    if (fd < 0) return "errno " + std::to_string(errno);
    const std::string text = all_of(fd);
    close(fd);
    return text;
}

std::string text_in_kernel(const std::string& path) {
    const int fd = static_cast<int>(Side::raw(SYS_openat, AT_FDCWD, path.c_str(), O_RDONLY));
    if (fd < 0) return "errno " + std::to_string(errno);
    const std::string text = all_of(fd);
    close(fd);
    return text;
}

// What a write of the text gives: bytes, or a negated errno.
long put(const std::string& path, const std::string& text, int flags = O_WRONLY | O_TRUNC) {
    const int fd = open(path.c_str(), flags);
    if (fd < 0) return -1000 - errno;
    errno = 0;
    const long done = ::write(fd, text.data(), text.size());
    const long result = done < 0 ? -errno : done;
    close(fd);
    return result;
}

long put_in_kernel(const std::string& path, const std::string& text) {
    const int fd = static_cast<int>(Side::raw(SYS_openat, AT_FDCWD, path.c_str(), O_WRONLY | O_TRUNC));
    if (fd < 0) return -1000 - errno;
    const long done = Side::raw(SYS_write, fd, text.data(), text.size());
    const long result = done < 0 ? -errno : done;
    close(fd);
    return result;
}

// Runs `body` in a child with objects and limits of the kernel's that are nobody else's. False: not to be had here.
template <class Body>
bool in_own_namespace(Body body) {
    const pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWIPC) != 0) _exit(77);
        body();
        _exit(testing::Test::HasFailure() ? 1 : 0);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_NE(WEXITSTATUS(status), 1);
    return WEXITSTATUS(status) != 77;
}

// Before anything makes the domain.
TEST(OpenView, WithoutDomainNothing) {
    const std::string domain = std::getenv("MUSTER_DOMAIN");
    if (std::filesystem::exists(domain)) GTEST_SKIP() << "another test made the domain";
    for (const char* kind : {"sem", "shm", "msg"}) {
        const std::string path = std::string("/proc/sysvipc/") + kind, shown = text_of(path), kernels = text_in_kernel(path);
        EXPECT_EQ(shown, kernels.substr(0, kernels.find('\n') + 1)) << kind;
    }
    EXPECT_EQ(text_of(kKernel + "shmmni"), "4096\n");
    EXPECT_EQ(text_of(kKernel + "sem"), "32000\t1024000000\t500\t32000\n");
    EXPECT_EQ(text_of("/proc/sys/fs/mqueue/msg_max"), "1000000\n");
    EXPECT_FALSE(std::filesystem::exists(domain));
}

// Numbers of ten digits are times here, and one process makes all.
std::string without_times(std::string text) {
    size_t digits = 0;
    for (size_t at = 0; at <= text.size(); ++at) {
        if (at < text.size() && text[at] >= '0' && text[at] <= '9') {
            ++digits;
            continue;
        }
        if (digits == 10) text.replace(at - 10, 10, "##########");
        digits = 0;
    }
    return text;
}

TEST(OpenView, ObjectsAsTheKernelShowsThem) {
    const bool possible = in_own_namespace([] {
        const auto raw = [](long number, auto... arguments) { return Side::raw(number, arguments...); };
        for (const bool kernel : {true, false}) {
            const auto get_set = [&](key_t key, int count, int flags) {
                return static_cast<int>(kernel ? raw(SYS_semget, key, count, flags) : semget(key, count, flags));
            };
            const auto get_segment = [&](key_t key, size_t size, int flags) {
                return static_cast<int>(kernel ? raw(SYS_shmget, key, size, flags) : shmget(key, size, flags));
            };
            ASSERT_EQ(get_set(0x1001, 3, IPC_CREAT | 0640), 0);
            const int gap = get_set(0x1002, 1, IPC_CREAT | 0600);
            ASSERT_GE(get_set(IPC_PRIVATE, 250, 0), 0);
            ASSERT_GE(get_set(-5, 1, IPC_CREAT | 0666), 0);
            ASSERT_EQ(kernel ? raw(SYS_semctl, gap, 0, IPC_RMID, 0) : semctl(gap, 0, IPC_RMID), 0);
            sembuf up{0, 1, 0};
            ASSERT_EQ(kernel ? raw(SYS_semop, 0, &up, 1) : semop(0, &up, 1), 0);
            const int queue =
                static_cast<int>(kernel ? raw(SYS_msgget, 0x3001, IPC_CREAT | 0640) : msgget(0x3001, IPC_CREAT | 0640));
            ASSERT_EQ(queue, 0);
            const struct {
                long type;
                char text[9];
            } message{5, "a letter"};
            for (int i = 0; i < 3; ++i)
                ASSERT_EQ(
                    kernel ? raw(SYS_msgsnd, queue, &message, 5 + i, 0) : msgsnd(queue, &message, static_cast<size_t>(5 + i), 0),
                    0);
            ASSERT_GE(kernel ? raw(SYS_msgget, IPC_PRIVATE, 0) : msgget(IPC_PRIVATE, 0), 0);
            const int first = get_segment(0x2001, 8192, IPC_CREAT | 0640), second = get_segment(IPC_PRIVATE, 4096, 0);
            const int third = get_segment(-7, 1, IPC_CREAT | 0606);
            ASSERT_EQ(first, 0);
            for (const int id : {first, third}) {
                auto* bytes = reinterpret_cast<char*>(kernel ? raw(SYS_shmat, id, nullptr, 0)
                                                             : reinterpret_cast<long>(shmat(id, nullptr, 0)));
                bytes[0] = 1;
                if (id == first) bytes[4096] = 1;
            }
            auto* bytes = reinterpret_cast<char*>(kernel ? raw(SYS_shmat, second, nullptr, 0)
                                                         : reinterpret_cast<long>(shmat(second, nullptr, 0)));
            bytes[0] = 1;
            ASSERT_EQ(kernel ? raw(SYS_shmdt, bytes) : shmdt(bytes), 0);
            ASSERT_EQ(kernel ? raw(SYS_shmctl, third, IPC_RMID, nullptr) : shmctl(third, IPC_RMID, nullptr), 0);
        }
        for (const char* path : {"/proc/sysvipc/sem", "/proc/sysvipc/shm", "/proc/sysvipc/msg"})
            EXPECT_EQ(without_times(text_of(path)), without_times(text_in_kernel(path))) << path;
    });
    if (!possible) GTEST_SKIP() << "no ipc namespace of our own to be had";
}

TEST(OpenLimit, TakesWhatTheKernelTakes) {
    const bool possible = in_own_namespace([] {
        const struct {
            const char* name;
            std::initializer_list<std::string> texts;
        } kCases[] = {
            {"msgmni",
             {"5",
              "7\n",
              "  8 \n",
              "abc",
              "",
              "\n",
              " ",
              "5abc",
              "-1",
              "0x10",
              "010",
              "0",
              "08",
              "32768",
              "32769",
              "+5",
              "99999999999999999999999",
              std::string("5\0", 2),
              "5,",
              "3.5",
              "\t9\t"}},
            {"msgmax", {"-1", "0", "2147483647", "2147483648", "100\n"}},
            {"msgmnb", {"-1", "2147483648", "0", "77\n"}},
            {"shmmni", {"40000", "0", "-1", "100\n"}},
            {"shmmax", {"-1", "0", "18446744073709551615", "18446744073709551616", "5", "4096\n"}},
            {"shmall", {"18446744073709551615", "5\n"}},
            {"sem", {"250\n", "251 32000", "250\t32000 100\t128\n", "250\n32001\n", "1 2 x 4", "1 2 3 40000", "9 8 7 6\n"}},
        };
        for (const auto& limit : kCases) {
            const std::string path = kKernel + limit.name;
            put(path, text_in_kernel(path));
            for (const std::string& text : limit.texts) {
                if (text == "1 2 x 4" || text == "1 2 3 40000") {  // the kernel takes the numbers before the wrong one
                    EXPECT_EQ(put_in_kernel(path, text), put(path, text));
                    continue;
                }
                EXPECT_EQ(put(path, text), put_in_kernel(path, text)) << limit.name << ' ' << text;
                if (std::strcmp(limit.name, "sem") == 0) put_in_kernel(path, text_of(path));
                EXPECT_EQ(text_of(path), text_in_kernel(path)) << limit.name << ' ' << text;
            }
        }
    });
    if (!possible) GTEST_SKIP() << "no ipc namespace of our own to be had";
}

TEST(OpenLimit, NonsenseChangesNothingWhoeverWritesIt) {
    const std::string path = kKernel + "msgmni";
    ASSERT_EQ(put(path, "44\n"), 3);
    for (const char* text : {"abc\n", "", "99999", "-1", "\n"}) {
        const int fd = open(path.c_str(), O_WRONLY | O_TRUNC);
        ASSERT_GE(fd, 0);
        EXPECT_EQ(text_of(path), "44\n");
        Side::raw(SYS_write, fd, text, std::strlen(text));  // as stdio's write, which passes us by
        EXPECT_EQ(text_of(path), "44\n") << text;
        close(fd);
        EXPECT_EQ(text_of(path), "44\n") << text;
    }
    const std::string much(5000, ' ');
    EXPECT_EQ(put(path, much + "3"), -EINVAL);
    EXPECT_EQ(put(path, "45\n" + much), 5003);
    EXPECT_EQ(text_of(path), "45\n");
}

TEST(OpenLimit, ShorterAndAppendedAndTwice) {
    const std::string path = kKernel + "msgmax";
    ASSERT_EQ(put(path, "123456\n"), 7);
    EXPECT_EQ(put(path, "5", O_WRONLY), 1);
    EXPECT_EQ(text_of(path), "5\n");
    EXPECT_EQ(put(path, "17\n", O_WRONLY | O_APPEND), 3);
    EXPECT_EQ(text_of(path), "17\n");
    EXPECT_EQ(put(path, "18\n", O_WRONLY | O_CREAT | O_TRUNC), 3);
    EXPECT_EQ(put(path, "19\n", O_RDWR), 3);
    EXPECT_EQ(text_of(path), "19\n");
    // Only what is written at the beginning counts.
    const int fd = open(path.c_str(), O_WRONLY);
    EXPECT_EQ(::write(fd, "20", 2), 2);
    EXPECT_EQ(::write(fd, "1", 1), 1);
    EXPECT_EQ(text_of(path), "20\n");
    EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
    EXPECT_EQ(::write(fd, "7", 1), 1);
    EXPECT_EQ(text_of(path), "7\n");
    EXPECT_EQ(::write(fd, opaque(reinterpret_cast<const char*>(8)), 0), 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
    EXPECT_EQ(::write(fd, opaque(reinterpret_cast<const char*>(8)), 5), -1);
    EXPECT_EQ(errno, EFAULT);
    close(fd);
    for (const int made : {creat(path.c_str(), 0), creat64(path.c_str(), 0)}) {
        EXPECT_GE(made, 0);
        close(made);
    }
    EXPECT_EQ(text_of(path), "7\n");
}

// A shell's way: a copy of the descriptor, and a program that inherits it. In a namespace of its own: a program without the
// library would set the kernel's limit.
TEST(OpenLimit, CopiesAndOtherProcesses) {
    const bool possible = in_own_namespace([] {
        const std::string path = kKernel + "msgmnb";
        int fd = open(path.c_str(), O_WRONLY | O_TRUNC);
        const int copy = dup2(fd, 200);
        close(fd);
        EXPECT_EQ(::write(copy, "x", 1), -1);
        EXPECT_EQ(errno, EINVAL);
        EXPECT_EQ(::write(copy, "31\n", 3), 3);
        EXPECT_EQ(text_of(path), "31\n");
        close(copy);
        fd = open(path.c_str(), O_WRONLY);
        ASSERT_EQ(fd, dup2(fd, fd));
        EXPECT_EQ(std::system(("/bin/echo 33 >&" + std::to_string(fd)).c_str()), 0);
        close(fd);
        EXPECT_EQ(text_of(path), "33\n");
#ifndef __SANITIZE_ADDRESS__  // which cannot be preloaded into a shell that was built without
        setenv("LD_PRELOAD", MUSTER_POSIX_LIBRARY, 1);
        EXPECT_EQ(std::system(("echo 32 > " + path + " && test $(cat " + path + ") = 32").c_str()), 0);
        EXPECT_EQ(text_of(path), "32\n");
#endif
        EXPECT_EQ(text_in_kernel(path), "16384\n");
    });
    if (!possible) GTEST_SKIP() << "no ipc namespace of our own to be had";
}

TEST(OpenLimit, HoldsForTheNextCall) {
    const std::string path = kKernel + "sem";
    ASSERT_GT(put(path, "32000 1024000000 500 32000\n"), 0);
    const int set = semget(IPC_PRIVATE, 4, 0600);
    ASSERT_GE(set, 0);
    sembuf ops[3] = {{0, 1, 0}, {1, 1, 0}, {2, 1, 0}};
    EXPECT_EQ(semop(set, ops, 3), 0);
    EXPECT_EQ(put(path, "250 32000 2 1\n"), 14);
    EXPECT_EQ(semop(set, ops, 3), -1);
    EXPECT_EQ(errno, E2BIG);
    EXPECT_EQ(semop(set, ops, 2), 0);
    EXPECT_EQ(semop(set, ops, 1), 0);
    EXPECT_EQ(semget(IPC_PRIVATE, 4, 0600), -1);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(semget(0x77, 251, 0600 | IPC_CREAT), -1);
    EXPECT_EQ(errno, EINVAL);
    seminfo info{};
    EXPECT_GE(semctl(0, 0, IPC_INFO, &info), 0);
    EXPECT_EQ(info.semopm, 2);
    EXPECT_EQ(info.semmni, 1);
    EXPECT_EQ(put(path, "250 32000 3 2\n"), 14);
    EXPECT_EQ(semop(set, ops, 3), 0);
    EXPECT_EQ(semctl(set, 0, IPC_RMID), 0);
}

TEST(OpenView, DescriptorsAsOpenPromises) {
    const auto lowest = [] {
        const int fd = dup(0);
        close(fd);
        return fd;
    };
    int (*const calls[])(const char*) = {
        [](const char* path) { return open(path, O_RDONLY); },
        [](const char* path) { return open64(path, O_RDONLY); },
        [](const char* path) { return openat(AT_FDCWD, path, O_RDONLY); },
        [](const char* path) { return openat64(-7, path, O_RDONLY); },
        [](const char* path) { return __open(path, O_RDONLY); },
        [](const char* path) { return __open_2(path, O_RDONLY); },
        [](const char* path) { return __open64_2(path, O_RDONLY); },
        [](const char* path) { return __openat_2(AT_FDCWD, path, O_RDONLY); },
        [](const char* path) { return __openat64_2(AT_FDCWD, path, O_RDONLY); },
        [](const char* path) { return static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0)); },
        [](const char* path) { return static_cast<int>(syscall(SYS_open, path, O_RDONLY, 0)); },
        [](const char* path) { return open(path, O_RDONLY | O_CLOEXEC); },
    };
    const int free_one = lowest();
    for (const char* path : {"/proc/sysvipc/sem", "/proc/sys/kernel/sem", "/proc/sys/fs/mqueue/msg_max"}) {
        const std::string text = text_of(path);
        for (const auto& call : calls) {
            const int expected = lowest();
            errno = 12345;
            const int fd = call(path);
            EXPECT_EQ(errno, 12345);
            EXPECT_EQ(fd, expected);
            EXPECT_EQ(fcntl(fd, F_GETFD), &call == &calls[11] ? FD_CLOEXEC : 0);
            EXPECT_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
            EXPECT_EQ(all_of(fd), text);
            EXPECT_EQ(::write(fd, "1", 1), -1);
            EXPECT_EQ(errno, EBADF);
            EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
            EXPECT_EQ(all_of(fd), text);
            close(fd);
        }
    }
    errno = 12345;
    const int writing = open("/proc/sys/kernel/shmmni", O_WRONLY | O_CLOEXEC);
    EXPECT_EQ(writing, free_one);
    EXPECT_EQ(errno, 12345);
    EXPECT_EQ(fcntl(writing, F_GETFD), FD_CLOEXEC);
    close(writing);
    rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    const rlimit none{static_cast<rlim_t>(free_one), limit.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    for (const char* path : {"/proc/sysvipc/sem", "/proc/sys/kernel/sem"}) {
        EXPECT_EQ(open(path, O_RDONLY), -1);
        EXPECT_EQ(errno, EMFILE);
        EXPECT_EQ(fopen(path, "r"), nullptr);
        EXPECT_EQ(errno, EMFILE);
    }
    const rlimit one{static_cast<rlim_t>(free_one) + 1, limit.rlim_max};  // no second one for the way there
    setrlimit(RLIMIT_NOFILE, &one);
    const int last = open("/proc/sys/kernel/shmmni", O_RDONLY);
    EXPECT_EQ(last, free_one);
    EXPECT_FALSE(all_of(last).empty());
    EXPECT_EQ(::write(last, "1", 1), -1);
    close(last);
    setrlimit(RLIMIT_NOFILE, &limit);
}

TEST(OpenView, Streams) {
    const std::string path = kKernel + "shmmni", sets = "/proc/sysvipc/sem";
    errno = 12345;
    for (const auto call : {&fopen, &fopen64}) {
        FILE* writing = call(path.c_str(), "we");
        ASSERT_NE(writing, nullptr);
        EXPECT_EQ(fcntl(fileno(writing), F_GETFD), FD_CLOEXEC);
        EXPECT_GT(fprintf(writing, "%d\n", 512), 0);
        EXPECT_EQ(fclose(writing), 0);
        FILE* appending = call(path.c_str(), "a");
        ASSERT_NE(appending, nullptr);
        EXPECT_EQ(text_of(path), "512\n");
        EXPECT_GT(fputs("64", appending), 0);
        EXPECT_EQ(fclose(appending), 0);
        FILE* reading = call(path.c_str(), "r");
        ASSERT_NE(reading, nullptr);
        int value = 0;
        EXPECT_EQ(fscanf(reading, "%d", &value), 1);
        EXPECT_EQ(value, 64);
        EXPECT_EQ(fclose(reading), 0);
        FILE* both = call(path.c_str(), "r+");
        ASSERT_NE(both, nullptr);
        EXPECT_EQ(fscanf(both, "%d", &value), 1);
        EXPECT_EQ(value, 64);
        EXPECT_EQ(fclose(both), 0);
        FILE* view = call(sets.c_str(), "r");
        ASSERT_NE(view, nullptr);
        char line[200];
        EXPECT_STREQ(fgets(line, sizeof line, view),
                     "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n");
        EXPECT_EQ(fclose(view), 0);
    }
    EXPECT_EQ(errno, 12345);
    std::ofstream(path) << 77 << std::endl;
    int value = 0;
    std::ifstream(path) >> value;
    EXPECT_EQ(value, 77);
}

TEST(OpenView, OtherPathsAndFlagsAreTheKernels) {
    expect_same([](const Side& side, Transcript& t) {
        int (*const any_open)(const char*, int, ...) = opaque(&open);  // null is declared to be wrong
        const auto by = [&](const char* path, int flags, unsigned mode = 0) {
            const int fd = side.is_kernel ? static_cast<int>(Side::raw(SYS_openat, AT_FDCWD, path, flags, mode))
                                          : any_open(path, flags, mode);
            if (fd >= 0) side.close(fd);
            return fd;
        };
        for (const char* path : {"/proc/sys", "/proc/sysvipc", "/proc/sysvipc/", "/proc/sysvipc/se", "/proc/sysvipc/semm",
                                 "/proc/sys/kernel/msg_max", "/proc/sys/fs/mqueue/sem", "/proc/sys/kernel/", "/proc/sys/nothing",
                                 "/proc/self/stat", ""})
            STEP(by(opaque(path), O_RDONLY));
        for (const int flags : {O_DIRECTORY, O_PATH, O_CREAT | O_EXCL | O_RDWR, O_TMPFILE | O_RDWR, O_TMPFILE}) {
            STEP(by("/proc/sysvipc/sem", flags, 0600));
            STEP(by("/proc/sys/kernel/sem", flags, 0600));
        }
        for (const auto bad : {0l, 8l, -1l}) {
            STEP(by(opaque(reinterpret_cast<const char*>(bad)), O_RDONLY));
            STEP(by(opaque(reinterpret_cast<const char*>(bad)), O_TMPFILE));
        }
        const std::string file = "/dev/shm/muster-open-test-" + std::to_string(getpid());
        umask(0);
        STEP(by(file.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0641));
        struct stat status {};
        EXPECT_EQ(stat(file.c_str(), &status), 0);
        EXPECT_EQ(status.st_mode & 07777, 0641u);
        unlink(file.c_str());
    });
#ifndef __SANITIZE_ADDRESS__  // whose own fopen looks at the path
    EXPECT_EQ(fopen(opaque(reinterpret_cast<const char*>(8)), "r"), nullptr);
    EXPECT_EQ(errno, EFAULT);
#endif
    EXPECT_EQ(fopen("/proc/sysvipc/sem", opaque("?")), nullptr);
    EXPECT_EQ(errno, EINVAL);
    const int proc = open("/proc", O_PATH);
    const int relative = openat(proc, "self/stat", O_RDONLY);
    EXPECT_GE(relative, 0);
    close(relative);
    close(proc);
}

// Before the last byte of a page that nothing follows.
TEST(OpenView, PathsThatEndWithTheirMemory) {
    const long page = sysconf(_SC_PAGESIZE);
    auto* memory = static_cast<char*>(
        mmap(nullptr, static_cast<size_t>(2 * page), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_EQ(mprotect(memory + page, static_cast<size_t>(page), PROT_NONE), 0);
    for (const char* text : {"", "/", "/proc/sy", "/proc/sys", "/proc/sysvipc/sem"}) {
        char* path = memory + page - std::strlen(text) - 1;
        std::memcpy(path, text, std::strlen(text) + 1);
        const int fd = open(path, O_RDONLY), kernels = static_cast<int>(Side::raw(SYS_openat, AT_FDCWD, path, O_RDONLY));
        EXPECT_EQ(fd >= 0, kernels >= 0) << text;
        close(fd);
        close(kernels);
    }
    munmap(memory, static_cast<size_t>(2 * page));
}

}  // namespace
