// syscall(): the mq_ numbers and those about descriptors act on Muster's objects with the kernel's own conventions (names
// without a slash), all others reach the kernel with six arguments; errno only on failure.
#include <sys/mman.h>
#include <sys/stat.h>
#include <filesystem>
#include "two_sides.hpp"

namespace {
using namespace muster::capi_tests;

struct BySyscall {
    bool is_kernel;
    template <class... Args>
    long operator()(long number, Args... arguments) const {
        return is_kernel ? Side::raw(number, arguments...) : ::syscall(number, arguments...);
    }
};

TEST(Syscall, Queues) {
    expect_same([](const Side& side, Transcript& t) {
        const BySyscall call{side.is_kernel};
        mq_attr attributes{};
        attributes.mq_maxmsg = 4;
        attributes.mq_msgsize = 64;
        call(SYS_mq_unlink, "sys");
        STEP(call(SYS_mq_open, "sys", O_RDWR, 0, nullptr));
        STEP(call(SYS_mq_open, "/sys", O_RDWR | O_CREAT, 0600, nullptr));
        STEP(call(SYS_mq_open, "", O_RDWR, 0, nullptr));
        STEP(call(SYS_mq_open, ".", O_RDWR, 0, nullptr));
        STEP(call(SYS_mq_open, nullptr, O_RDWR, 0, nullptr));
        STEP(call(SYS_mq_open, std::string(255, 'x').c_str(), O_RDWR, 0, nullptr));
        STEP(call(SYS_mq_open, std::string(256, 'x').c_str(), O_RDWR, 0, nullptr));
        STEP(call(SYS_mq_open, std::string(3000, 'x').c_str(), O_RDWR, 0, nullptr));
        const int queue = static_cast<int>(call(SYS_mq_open, "sys", O_RDWR | O_CREAT | O_NONBLOCK, 0600, &attributes));
        ASSERT_GE(queue, 0);
        const std::string file = std::string(std::getenv("MUSTER_DOMAIN")) + "/mq/sys";
        EXPECT_EQ(!side.is_kernel, std::filesystem::exists(file));
        char text[64];
        unsigned priority = 0;
        STEP(call(SYS_mq_timedsend, queue, "hello", 5, 9, nullptr));
        STEP(call(SYS_mq_timedsend, queue, "hello", 65, 9, nullptr));
        mq_attr now{}, next{};
        STEP(call(SYS_mq_getsetattr, queue, &next, &now));
        t.note(std::to_string(now.mq_curmsgs) + " " + std::to_string(now.mq_flags));
        STEP(call(SYS_mq_getsetattr, queue, nullptr, &now));
        t.note(std::to_string(now.mq_flags));
        const timespec past{1, 0};
        STEP(call(SYS_mq_timedreceive, queue, text, 64, &priority, &past));
        t.note(std::to_string(priority));
        STEP(call(SYS_mq_timedreceive, queue, text, 64, &priority, &past));
        sigevent event{};
        event.sigev_notify = SIGEV_NONE;
        STEP(call(SYS_mq_notify, queue, &event));
        STEP(call(SYS_mq_notify, queue, &event));
        STEP(call(SYS_mq_notify, queue, nullptr));
        STEP(call(SYS_mq_notify, queue, reinterpret_cast<sigevent*>(8)));
        STEP(call(SYS_dup2, queue, 300));
        STEP(call(SYS_mq_timedsend, 300, "hello", 5, 9, nullptr));
        STEP(call(SYS_dup3, queue, 301, O_CLOEXEC));
        STEP(side.send(301, "x", 1));
        STEP(call(SYS_fcntl, 301, F_GETFL, 0));
        STEP(call(SYS_close, queue));
        STEP(side.send(queue, "x", 1));
        STEP(call(SYS_dup, 300) == queue ? 0 : -1);
        STEP(side.send(queue, "x", 1));
        STEP(call(SYS_close_range, 300, 301, 0));
        STEP(side.send(300, "x", 1));
        STEP(call(SYS_mq_unlink, "sys"));
        STEP(call(SYS_mq_unlink, "sys"));
        STEP(call(SYS_mq_unlink, "/sys"));
        STEP(call(SYS_mq_unlink, nullptr));
        side.close(queue);
    });
}

TEST(Syscall, OthersReachTheKernel) {
    expect_same([](const Side& side, Transcript& t) {
        const BySyscall call{side.is_kernel};
        STEP(call(SYS_getpid));
        STEP(call(SYS_mmap, nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 4096) > 0 ? 0 : -1);
        STEP(call(SYS_mmap, nullptr, 4096, PROT_READ, MAP_PRIVATE, 999, 0));  // the fifth argument
        STEP(call(SYS_mmap, nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 1));  // the sixth
        STEP(call(100'000));
        STEP(call(-1));
        STEP(call(511));
        STEP(call(512));
    });
}

}  // namespace
