// The kernel's own POSIX queues and System V objects, by raw system calls: they stay the kernel's
// even when a library that replaces mq_open() or syscall() is preloaded.
#include <fcntl.h>
#include <mqueue.h>

#include "platform/syscall.hpp"
#include "sysv_calls.hpp"

namespace muster::bench {
namespace {

using platform::system_call;

// Long past: a timed call with it never waits.
constexpr timespec kPast{0, 0};

int would_block(int error) {
    return error == ETIMEDOUT ? EAGAIN : error;
}

class KernelQueue final : public QueueLoops<KernelQueue> {
public:
    explicit KernelQueue(int descriptor) : descriptor_(descriptor) {}
    ~KernelQueue() override { system_call(SYS_close, descriptor_); }

    int send(const void* data, std::size_t size_bytes, unsigned priority) override {
        return static_cast<int>(-system_call(SYS_mq_timedsend, descriptor_, data, size_bytes, priority, 0));
    }
    long receive(void* data, std::size_t size_bytes, unsigned* priority) override {
        return system_call(SYS_mq_timedreceive, descriptor_, data, size_bytes, priority, 0);
    }
    int try_send(const void* data, std::size_t size_bytes, unsigned priority) override {
        return would_block(static_cast<int>(-system_call(SYS_mq_timedsend, descriptor_, data, size_bytes, priority, &kPast)));
    }
    long try_receive(void* data, std::size_t size_bytes, unsigned* priority) override {
        const long got = system_call(SYS_mq_timedreceive, descriptor_, data, size_bytes, priority, &kPast);
        return got < 0 ? -would_block(static_cast<int>(-got)) : got;
    }

private:
    int descriptor_;
};

struct KernelCalls {
    static long msgget(int key, int flags) { return system_call(SYS_msgget, key, flags); }
    static long msgsnd(int id, const void* message, std::size_t size, int flags) {
        return system_call(SYS_msgsnd, id, message, size, flags);
    }
    static long msgrcv(int id, void* message, std::size_t size, long type, int flags) {
        return system_call(SYS_msgrcv, id, message, size, type, flags);
    }
    static long msgctl(int id, int command) { return system_call(SYS_msgctl, id, command, 0); }
    static long semget(int key, unsigned semaphores, int flags) { return system_call(SYS_semget, key, semaphores, flags); }
    static long semop(int id, sembuf* operations, std::size_t count) { return system_call(SYS_semop, id, operations, count); }
    static long semctl(int id, int number, int command, unsigned short* values) {
        return system_call(SYS_semctl, id, number, command, values);
    }
    static long shmget(int key, std::size_t size_bytes, int flags) { return system_call(SYS_shmget, key, size_bytes, flags); }
    static void* shmat(int id) {
        const long start = system_call(SYS_shmat, id, 0, 0);
        return start < 0 && start > -4096 ? nullptr : reinterpret_cast<void*>(start);
    }
    static long shmdt(void* start) { return system_call(SYS_shmdt, start); }
    static long shmctl(int id, int command) { return system_call(SYS_shmctl, id, command, 0); }
};

class KernelBackend final : public Backend {
public:
    const char* key() const override { return "kernel"; }
    const char* title() const override { return "kernel"; }

    bool offers(Kind) const override { return true; }
    std::unique_ptr<Queue> create(const Shape& shape) override {
        if (shape.kind == Kind::sysv_queue) return sysv_.create_queue(shape);
        mq_attr attributes{};
        attributes.mq_maxmsg = static_cast<long>(shape.depth);
        attributes.mq_msgsize = static_cast<long>(shape.message_bytes);
        const long d = system_call(SYS_mq_open, shape.name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attributes);
        // EINVAL: above msg_max or msgsize_max. EMFILE: above RLIMIT_MSGQUEUE.
        if (d == -EINVAL) throw Refused("above fs.mqueue.msg_max or msgsize_max");
        if (d == -EMFILE) throw Refused("above RLIMIT_MSGQUEUE");
        return opened(d);
    }
    std::unique_ptr<Queue> open(const Shape& shape) override {
        if (shape.kind == Kind::sysv_queue) return sysv_.open_queue(shape);
        return opened(system_call(SYS_mq_open, shape.name.c_str(), O_RDWR | O_CLOEXEC, 0, 0));
    }
    void unlink(const Shape& shape) override {
        if (shape.kind == Kind::posix_queue)
            system_call(SYS_mq_unlink, shape.name.c_str());
        else
            sysv_.unlink(shape);
    }
    std::unique_ptr<Semaphores> create_semaphores(const Shape& shape) override { return sysv_.create_semaphores(shape); }
    std::unique_ptr<Semaphores> open_semaphores(const Shape& shape) override { return sysv_.open_semaphores(shape); }
    void live_and_die(const Shape& shape) override { sysv_.live_and_die(shape); }

private:
    static std::unique_ptr<Queue> opened(long descriptor) {
        if (descriptor < 0) throw Failure(std::string("mq_open: ") + std::strerror(static_cast<int>(-descriptor)));
        return std::make_unique<KernelQueue>(static_cast<int>(descriptor));
    }

    SysvObjects<KernelCalls> sysv_{KernelCalls{}};
};

}  // namespace

std::unique_ptr<Backend> make_kernel_backend() {
    return std::make_unique<KernelBackend>();
}

}  // namespace muster::bench
