// Child processes of a test: started, watched by their state (never by the clock), waited for.
#pragma once
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace muster::test {

// How long anything may take before a test calls it stuck. No outcome depends on it, but a test that is meant to fail need not take
// so long (MUSTER_TEST_PATIENCE, in seconds).
inline const std::chrono::seconds kPatience{std::getenv("MUSTER_TEST_PATIENCE") != nullptr ? std::atoi(std::getenv("MUSTER_TEST_PATIENCE")) : 20};

// Whether `condition` comes true; looked at often at first, then now and then.
template <class Condition>
bool eventually(Condition condition, std::chrono::milliseconds patience = kPatience) {
    const auto end = std::chrono::steady_clock::now() + patience;
    for (unsigned looks = 0;; ++looks) {
        if (condition()) return true;
        if (std::chrono::steady_clock::now() > end) return false;
        if (looks > 20) usleep(looks > 200 ? 1000 : 50);
    }
}

// The state letter of a process or thread in /proc, 0 if there is none.
inline char process_state(pid_t pid) {
    char path[64], text[512];
    std::snprintf(path, sizeof path, "/proc/%d/stat", pid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    const ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    if (got <= 0) return 0;
    text[got] = 0;
    const char* name_end = std::strrchr(text, ')');
    return name_end != nullptr && name_end[1] == ' ' ? name_end[2] : 0;
}

// A child that dies with its parent. Killed and waited for at the end of its scope, if it still runs.
class Child {
public:
    Child() = default;
    template <class Body>
    explicit Child(Body body) {
        std::fflush(nullptr);
        pid_ = fork();
        if (pid_ != 0) return;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        body();
        _exit(0);
    }
    Child(Child&& o) noexcept : pid_(std::exchange(o.pid_, -1)), status_(o.status_) {}
    Child& operator=(Child&& o) noexcept {
        std::swap(pid_, o.pid_);
        std::swap(status_, o.status_);
        return *this;
    }
    ~Child() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
    pid_t pid() const { return pid_; }
    // Nothing, once it has ended: -1 would be everybody.
    void kill(int sig) const {
        if (pid_ > 0) ::kill(pid_, sig);
    }
    bool asleep() const { return process_state(pid_) == 'S'; }
    // Whether it has ended; its status is then kept.
    bool ended() {
        if (pid_ <= 0) return true;
        stopped_ = false;
        if (waitpid(pid_, &status_, WNOHANG) != pid_) return false;
        stopped_ = WIFSTOPPED(status_);  // of a traced one
        if (stopped_) return false;
        pid_ = -1;
        return true;
    }
    // Whether the last look at a traced child found that it had stopped, and by which signal.
    bool stopped() const { return stopped_; }
    int stop_signal() const { return WSTOPSIG(status_); }
    bool ends(std::chrono::milliseconds patience = kPatience) {
        return eventually([this] { return ended(); }, patience);
    }
    int status() const { return status_; }
    bool exited(int code = 0) const { return WIFEXITED(status_) && WEXITSTATUS(status_) == code; }
    bool killed(int sig = SIGKILL) const { return WIFSIGNALED(status_) && WTERMSIG(status_) == sig; }

private:
    pid_t pid_ = -1;
    int status_ = 0;
    bool stopped_ = false;
};

// A zeroed T that children share.
template <class T>
class Shared {
public:
    Shared() : at_(static_cast<T*>(mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
        new (at_) T();
    }
    Shared(const Shared&) = delete;
    ~Shared() { munmap(at_, sizeof(T)); }
    T* operator->() const { return at_; }
    T& operator*() const { return *at_; }

private:
    T* at_;
};

}  // namespace muster::test
