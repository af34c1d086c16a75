// The kernel's own POSIX queues, by raw system calls: they stay the kernel's even
// when a library that replaces mq_open() or syscall() is preloaded.
#include <fcntl.h>
#include <mqueue.h>

#include "loops.hpp"
#include "platform/syscall.hpp"

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

class KernelBackend final : public Backend {
public:
    const char* key() const override { return "kernel"; }
    const char* title() const override { return "kernel"; }

    std::unique_ptr<Queue> create(const Shape& shape) override {
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
        return opened(system_call(SYS_mq_open, shape.name.c_str(), O_RDWR | O_CLOEXEC, 0, 0));
    }
    void unlink(const std::string& name) override { system_call(SYS_mq_unlink, name.c_str()); }

private:
    static std::unique_ptr<Queue> opened(long descriptor) {
        if (descriptor < 0) throw Failure(std::string("mq_open: ") + std::strerror(static_cast<int>(-descriptor)));
        return std::make_unique<KernelQueue>(static_cast<int>(descriptor));
    }
};

}  // namespace

std::unique_ptr<Backend> make_kernel_backend() {
    return std::make_unique<KernelBackend>();
}

}  // namespace muster::bench
