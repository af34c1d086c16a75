// Bad pointers: EFAULT, never a crash, in every pointer argument, for NULL, pages without access, and ranges that run into one.
#include <sys/mman.h>

#include <csetjmp>

#include "case.hpp"

namespace {

struct Pages {
    char* good;       // one page that may be read and written
    char* end;        // its end, behind which nothing may be touched
    char* read_only;  // one page that may only be read
    char* none = hidden<char>(nullptr);
    char* kernel = hidden(reinterpret_cast<char*>(0xffff800000000000UL));
};

Pages pages() {
    constexpr size_t kPage = 4096;
    char* base = static_cast<char*>(mmap(nullptr, 4 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base, kPage, PROT_READ | PROT_WRITE);
    mprotect(base + 2 * kPage, kPage, PROT_READ);
    Pages p;
    p.good = base;
    p.end = base + kPage;
    p.read_only = base + 2 * kPage;
    return p;
}

template <class T>
T* as(char* at) {
    return hidden(reinterpret_cast<T*>(at));
}

int received(long n) {
    return static_cast<int>(n);
}

}  // namespace

// mq_send's message: EFAULT and nothing is queued. Empty messages touch no pointer. Errors of size and descriptor come first.
CASE(pointers_send) {
    const mqd_t queue = OPENS(create('a', 2, 8192, O_RDWR | O_NONBLOCK));
    const Pages p = pages();
    for (char* bad : {p.none, p.end, p.end - 1, p.end - 9, p.kernel}) FAILS(EFAULT, mq_send(queue, bad, 10, 0));
    FAILS(EFAULT, mq_send(queue, p.end - 4000, 8192, 0));
    FAILS(EFAULT, mq_timedsend(queue, p.none, 1, 0, &kPast));
    SHOWS("2/8192/0/nonblock", state(queue));
    OK(mq_send(queue, p.none, 0, 1));
    SHOWS("1:", take(queue));
    std::memcpy(p.end - 5, "whole", 5);
    OK(mq_send(queue, p.end - 5, 5, 0));
    SHOWS("0:whole", take(queue));
    OK(mq_send(queue, p.read_only, 3, 0));
    GIVES(3 + 2, static_cast<long>(take(queue).size()));
    FAILS(EMSGSIZE, mq_send(queue, p.none, 8193, 0));
    FAILS(EBADF, mq_send(-1, p.none, 1, 0));
    FAILS(EINVAL, mq_send(queue, p.none, 1, 32768));
}

// The message is read before the queue is found full: EFAULT, not EAGAIN or ETIMEDOUT.
CASE(pointers_send_to_full) {
    const mqd_t queue = OPENS(create('a', 1, 16));
    const mqd_t other = OPENS(mq_open(name(), O_WRONLY | O_NONBLOCK));
    const Pages p = pages();
    OK(send(queue, "full"));
    FAILS(EFAULT, mq_send(other, p.none, 1, 0));
    FAILS(EFAULT, mq_send(queue, p.none, 1, 0));
    FAILS(EFAULT, mq_timedsend(queue, p.none, 1, 0, &kPast));
    SHOWS("1/16/1/0", state(queue));
}

// mq_receive's buffer and priority: EFAULT when a message is there, EAGAIN when none is. (Whether the message then is lost,
// as with the kernel, or kept, is left open: the queue is emptied after each step.)
CASE(pointers_receive) {
    const mqd_t queue = OPENS(create('a', 2, 64, O_RDWR | O_NONBLOCK));
    const Pages p = pages();
    FAILS(EAGAIN, received(mq_receive(queue, p.none, 64, nullptr)));
    const auto try_buffer = [&](char* buffer, char* priority) {
        (void)send(queue, "0123456789", 3);
        const long got = mq_receive(queue, buffer, 64, as<unsigned>(priority));
        const int error = errno;
        while (take(queue) != "EAGAIN") continue;
        errno = error;
        return static_cast<int>(got);
    };
    for (char* bad : {p.none, p.end, p.end - 1, p.end - 9, p.read_only, p.kernel}) FAILS(EFAULT, try_buffer(bad, p.none));
    for (char* bad : {p.end, p.end - 1, p.read_only, p.kernel}) FAILS(EFAULT, try_buffer(p.good, bad));
    HOLDS(try_buffer(p.end - 10, p.none) == 10);  // the message fits although the buffer as announced would not
    HOLDS(try_buffer(p.good, p.end - 4) == 10);
    HOLDS(std::memcmp(p.end - 10, "012345", 6) == 0);
    FAILS(EMSGSIZE, received(mq_receive(queue, p.none, 63, nullptr)));
    FAILS(EBADF, received(mq_receive(-1, p.none, 64, nullptr)));
    OK(mq_send(queue, "", 0, 5));
    OK(received(mq_receive(queue, p.none, 64, nullptr)));
    SHOWS("2/64/0/nonblock", state(queue));
}

// A sleeping receiver with a bad buffer gets EFAULT when its message comes.
CASE(pointers_receive_asleep) {
    const mqd_t queue = OPENS(create());
    const pid_t child = start([queue] {
        const Pages p = pages();
        shared().word[0] = 1;
        FAILS(EFAULT, received(mq_receive(queue, p.end - 1, 64, nullptr)));
    });
    await("the child calls", [] { return shared().word[0] == 1; });
    await_sleep(child);
    OK(send(queue, "too long"));
    SHOWS("exit 0", finish(child));
}

// Deadlines: EFAULT before any other error, even when no waiting is needed.
CASE(pointers_deadline) {
    const mqd_t queue = OPENS(create('a', 1, 16));
    const Pages p = pages();
    char buffer[16];
    for (char* bad : {p.end, p.end - 8, p.kernel}) {
        const auto* at = as<const timespec>(bad);
        FAILS(EFAULT, mq_timedsend(queue, "x", 1, 0, at));
        FAILS(EFAULT, received(mq_timedreceive(queue, buffer, 16, nullptr, at)));
        FAILS(EFAULT, mq_timedsend(-1, "x", 1, 0, at));
        FAILS(EFAULT, received(mq_timedreceive(-1, buffer, 16, nullptr, at)));
        FAILS(EFAULT, mq_timedsend(queue, "x", 1, 32768, at));
        FAILS(EFAULT, mq_timedsend(queue, "x", 99, 0, at));
    }
    SHOWS("1/16/0/0", state(queue));
    std::memcpy(p.end - sizeof kPast, &kPast, sizeof kPast);
    OK(mq_timedsend(queue, "x", 1, 0, as<const timespec>(p.end - sizeof kPast)));
    OK(received(mq_timedreceive(queue, buffer, 16, nullptr, as<const timespec>(p.end - sizeof kPast))) - 1);
}

// mq_attr: of mq_open when it creates, of mq_getattr and mq_setattr. The new attributes are read before the descriptor is
// looked at; a bad place for the old ones is found after the change was made. mq_getattr takes NULL.
CASE(pointers_attributes) {
    const Pages p = pages();
    for (char* bad : {p.end, p.end - 8, p.kernel}) {
        FAILS(EFAULT, mq_open(name('b'), O_RDWR | O_CREAT, 0600, as<mq_attr>(bad)));
        FAILS(ENOENT, mq_open(name('b'), O_RDWR));
    }
    const mqd_t queue = OPENS(create('a', 2, 16));
    OK(mq_close(OPENS(mq_open(name(), O_RDWR, 0600, as<mq_attr>(p.end)))));  // not looked at without O_CREAT
    FAILS(EFAULT, mq_open(name(), O_RDWR | O_CREAT, 0600, as<mq_attr>(p.end)));
    FAILS(EFAULT, mq_open(name(), O_RDWR | O_CREAT | O_EXCL, 0600, as<mq_attr>(p.end)));
    for (char* bad : {p.end, p.end - 8, p.read_only, p.kernel}) FAILS(EFAULT, mq_getattr(queue, as<mq_attr>(bad)));
    OK(mq_getattr(queue, as<mq_attr>(p.none)));
    FAILS(EBADF, mq_getattr(-1, as<mq_attr>(p.end)));
    FAILS(EFAULT, mq_setattr(queue, as<mq_attr>(p.end), nullptr));
    FAILS(EFAULT, mq_setattr(-1, as<mq_attr>(p.end), nullptr));
    mq_attr wanted{}, old{};
    OK(mq_setattr(queue, as<mq_attr>(p.none), &old));
    GIVES(2, old.mq_maxmsg);
    wanted.mq_flags = O_NONBLOCK;
    FAILS(EFAULT, mq_setattr(queue, &wanted, as<mq_attr>(p.end)));
    SHOWS("2/16/0/nonblock", state(queue));
    OK(mq_getattr(queue, as<mq_attr>(p.end - sizeof(mq_attr))));
    FAILS(EFAULT, mq_getattr(queue, as<mq_attr>(p.end - sizeof(mq_attr) + 8)));
}

// sigevent of mq_notify: EFAULT before EBADF.
CASE(pointers_notify) {
    const mqd_t queue = OPENS(create());
    const Pages p = pages();
    sigevent none{};
    none.sigev_notify = SIGEV_NONE;
    // The C library reads sigev_notify itself, so only pages whose rest is missing can be tried.
    std::memcpy(p.end - 16, &none, 16);
    FAILS(EFAULT, mq_notify(queue, as<sigevent>(p.end - 16)));
    FAILS(EFAULT, mq_notify(-1, as<sigevent>(p.end - 16)));
    OK(mq_notify(queue, &none));
}

// Names: one that runs into a page without access is EFAULT; one that ends right before it is good. (The first character is
// read by the C library.)
CASE(pointers_name) {
    const Pages p = pages();
    std::memcpy(p.end - 3, "/ab", 3);
    FAILS(EFAULT, mq_open(p.end - 3, O_RDWR));
    FAILS(EFAULT, mq_open(p.end - 3, O_RDWR | O_CREAT, 0600, nullptr));
    FAILS(EFAULT, mq_unlink(p.end - 3));
    const size_t length = std::strlen(name()) + 1;
    std::memcpy(p.end - length, name(), length);
    FAILS(ENOENT, mq_unlink(p.end - length));
    mq_attr wanted{};
    wanted.mq_maxmsg = wanted.mq_msgsize = 1;
    OPENS(mq_open(p.end - length, O_RDWR | O_CREAT, 0600, &wanted));
    OK(mq_unlink(p.end - length));
}

static sigjmp_buf out;
static std::atomic<int> own_faults{0};
static void on_fault(int, siginfo_t* info, void*) {
    own_faults += info->si_code == SEGV_ACCERR ? 1 : 100;
    siglongjmp(out, 1);
}

// The program's own SIGSEGV handler sees its own faults and none of the calls', whether installed before or after them;
// also when SIGSEGV is blocked a bad pointer is EFAULT.
CASE(pointers_and_own_handler) {
    const mqd_t queue = OPENS(create('a', 2, 16));
    const Pages p = pages();
    FAILS(EFAULT, mq_send(queue, p.end, 1, 0));
    struct sigaction action {
    }, old{};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO;
    OK(sigaction(SIGSEGV, &action, &old));
    HOLDS(old.sa_handler == SIG_DFL);
    for (int round = 0; round < 3; ++round) {
        FAILS(EFAULT, mq_send(queue, p.end, 1, 0));
        GIVES(round, own_faults.load());
        if (sigsetjmp(out, 1) == 0) *static_cast<volatile char*>(p.end) = 1;
        GIVES(round + 1, own_faults.load());
    }
    OK(sigaction(SIGSEGV, nullptr, &old));
    HOLDS(old.sa_sigaction == on_fault && (old.sa_flags & SA_SIGINFO) != 0);
    sigset_t mask, seen;
    sigemptyset(&mask);
    sigaddset(&mask, SIGSEGV);
    sigaddset(&mask, SIGBUS);
    OK(sigprocmask(SIG_BLOCK, &mask, nullptr));
    FAILS(EFAULT, mq_send(queue, p.end, 1, 0));
    OK(sigprocmask(SIG_UNBLOCK, &mask, &seen));
    HOLDS(sigismember(&seen, SIGSEGV) == 1);
    GIVES(3, own_faults.load());
    // ignored: a fault of the program's own would kill it, a call's is EFAULT still
    HOLDS(signal(SIGSEGV, SIG_IGN) != SIG_ERR);
    FAILS(EFAULT, mq_send(queue, p.end, 1, 0));
    SHOWS("2/16/0/0", state(queue));
    HOLDS(signal(SIGSEGV, SIG_DFL) == SIG_IGN);
    const pid_t child = start([&p] { *static_cast<volatile char*>(p.end) = 1; });
    SHOWS("signal SEGV", finish(child));
}
