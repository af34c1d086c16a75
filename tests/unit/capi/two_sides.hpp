// The same steps on the kernel's own queues, by raw system calls, and on Muster's, by the C calls: what each step gave
// is written down on both sides and compared.
#pragma once
#include <fcntl.h>
#include <gtest/gtest.h>
#include <mqueue.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>
#include <functional>
#include <string>
#include "own_domain.hpp"
#include "src/platform/syscall.hpp"

namespace muster::capi_tests {

// A value that the compiler does not know: it refuses to compile calls that it sees to be wrong.
template <class T>
T opaque(T value) {
    asm volatile("" : "+r"(value));
    return value;
}

// The kernel's queues are everybody's: tests that run at the same time have names of their own.
inline const std::string own_suffix = "-" + std::to_string(getpid());

// The calls of one side. A failure is -1 and errno.
struct Side {
    bool is_kernel;

    template <class... Args>
    static long raw(long number, Args... arguments) {
        const long result = platform::system_call(number, arguments...);
        if (result >= 0) return result;
        errno = static_cast<int>(-result);
        return -1;
    }

    // The kernel's call takes the name without its slash.
    static std::string kernel_name(const char* name) { return name + 1 + own_suffix; }
    int open(const char* name, int flags, unsigned mode = 0, const mq_attr* attributes = nullptr) const {
        return is_kernel ? static_cast<int>(raw(SYS_mq_open, kernel_name(name).c_str(), flags, mode, attributes)) : mq_open(name, flags, mode, attributes);
    }
    int unlink(const char* name) const { return is_kernel ? static_cast<int>(raw(SYS_mq_unlink, kernel_name(name).c_str())) : mq_unlink(name); }
    int send(int queue, const void* text, size_t length, unsigned priority = 0) const {
        return is_kernel ? static_cast<int>(raw(SYS_mq_timedsend, queue, text, length, priority, nullptr))
                         : mq_send(queue, static_cast<const char*>(text), length, priority);
    }
    long receive(int queue, char* buffer, size_t capacity) const {
        return is_kernel ? raw(SYS_mq_timedreceive, queue, buffer, capacity, nullptr, nullptr) : mq_receive(queue, buffer, capacity, nullptr);
    }
    int notify(int queue, const sigevent* event) const {
        return is_kernel ? static_cast<int>(raw(SYS_mq_notify, queue, event)) : mq_notify(queue, event);
    }
    int close(int fd) const { return is_kernel ? static_cast<int>(raw(SYS_close, fd)) : ::close(fd); }
    int dup(int fd) const { return is_kernel ? static_cast<int>(raw(SYS_dup, fd)) : ::dup(fd); }
    int dup2(int fd, int to) const { return is_kernel ? static_cast<int>(raw(SYS_dup2, fd, to)) : ::dup2(fd, to); }
    int dup3(int fd, int to, int flags) const { return is_kernel ? static_cast<int>(raw(SYS_dup3, fd, to, flags)) : ::dup3(fd, to, flags); }
    int fcntl(int fd, int command, long argument = 0) const {
        return is_kernel ? static_cast<int>(raw(SYS_fcntl, fd, command, argument)) : ::fcntl(fd, command, argument);
    }
    int close_range(unsigned first, unsigned last, int flags) const {
        return is_kernel ? static_cast<int>(raw(SYS_close_range, first, last, flags)) : ::close_range(first, last, flags);
    }
    long read(int fd, void* buffer, size_t bytes) const { return is_kernel ? raw(SYS_read, fd, buffer, bytes) : ::read(fd, opaque(buffer), opaque(bytes)); }
    long pread(int fd, void* buffer, size_t bytes, long offset) const {
        return is_kernel ? raw(SYS_pread64, fd, buffer, bytes, offset) : ::pread(fd, opaque(buffer), opaque(bytes), offset);
    }
    long readv(int fd, const iovec* pieces, int count) const {
        return is_kernel ? raw(SYS_readv, fd, pieces, count) : ::readv(fd, opaque(pieces), opaque(count));
    }
    long preadv(int fd, const iovec* pieces, int count, long offset) const {
        return is_kernel ? raw(SYS_preadv, fd, pieces, count, offset, 0) : ::preadv(fd, opaque(pieces), opaque(count), offset);
    }
    long write(int fd, const void* bytes, size_t length) const {
        return is_kernel ? raw(SYS_write, fd, bytes, length) : ::write(fd, opaque(bytes), opaque(length));
    }
    long pwrite(int fd, const void* bytes, size_t length, long offset) const {
        return is_kernel ? raw(SYS_pwrite64, fd, bytes, length, offset) : ::pwrite(fd, opaque(bytes), opaque(length), offset);
    }
    long writev(int fd, const iovec* pieces, int count) const {
        return is_kernel ? raw(SYS_writev, fd, pieces, count) : ::writev(fd, opaque(pieces), opaque(count));
    }
    int poll(pollfd* entries, nfds_t count, int timeout_ms) const {
        return is_kernel ? static_cast<int>(raw(SYS_poll, entries, count, timeout_ms)) : ::poll(opaque(entries), opaque(count), timeout_ms);
    }
    int select(int count, fd_set* in, fd_set* out, fd_set* except, timeval* timeout) const {
        return is_kernel ? static_cast<int>(raw(SYS_select, count, in, out, except, timeout)) : ::select(count, in, out, except, timeout);
    }
    int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) const {
        return is_kernel ? static_cast<int>(raw(SYS_epoll_ctl, epoll, operation, fd, event)) : ::epoll_ctl(epoll, operation, fd, event);
    }

    // A new queue of four messages of 64 bytes.
    int create(const char* name, int flags = O_RDWR) const {
        unlink(name);
        mq_attr attributes{};
        attributes.mq_maxmsg = 4;
        attributes.mq_msgsize = 64;
        return open(name, flags | O_CREAT | O_EXCL, 0600, &attributes);
    }
};

// What the steps of one side gave.
class Transcript {
public:
    // Runs a step with errno at a value that success must leave alone.
    template <class Step>
    long step(const char* text, Step step) {
        errno = 4000;
        const long result = static_cast<long>(step());
        const int error = errno;
        text_ += std::string(text) + " = " + std::to_string(result);
        if (result < 0) text_ += std::string(" ") + strerrorname_np(error);
        else if (error != 4000) text_ += " with errno touched: " + std::to_string(error);
        text_ += '\n';
        return result;
    }
    void note(const std::string& line) { text_ += line + '\n'; }
    const std::string& text() const { return text_; }

private:
    std::string text_;
};

// In a scenario: `STEP(side.read(q, b, 1))`.
#define STEP(...) t.step(#__VA_ARGS__, [&] { return __VA_ARGS__; })

inline void expect_same(const std::function<void(const Side&, Transcript&)>& scenario) {
    Transcript muster, kernel;
    scenario(Side{false}, muster);
    const Side real{true};
    const int probe = real.create("/muster-capi-probe");
    real.unlink("/muster-capi-probe");
    if (probe < 0) GTEST_SKIP() << "the kernel has no queues to compare with; Muster gave\n" << muster.text();
    real.close(probe);
    scenario(real, kernel);
    EXPECT_EQ(kernel.text(), muster.text()) << "(the kernel's first)";
}

}  // namespace muster::capi_tests
