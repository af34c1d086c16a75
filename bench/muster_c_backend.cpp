// Muster's C door, loaded at run time, so that it and the kernel meet in one process.
#include <dlfcn.h>
#include <fcntl.h>
#include <mqueue.h>

#include "loops.hpp"

namespace muster::bench {
namespace {

struct Calls {
    mqd_t (*open)(const char*, int, ...) = nullptr;
    int (*close)(mqd_t) = nullptr;
    int (*unlink)(const char*) = nullptr;
    int (*send)(mqd_t, const char*, std::size_t, unsigned) = nullptr;
    ssize_t (*receive)(mqd_t, char*, std::size_t, unsigned*) = nullptr;
    int (*timed_send)(mqd_t, const char*, std::size_t, unsigned, const timespec*) = nullptr;
    ssize_t (*timed_receive)(mqd_t, char*, std::size_t, unsigned*, const timespec*) = nullptr;
};

constexpr timespec kPast{0, 0};

int failed() {
    return errno == ETIMEDOUT ? EAGAIN : errno;
}

class MusterCQueue final : public QueueLoops<MusterCQueue> {
public:
    MusterCQueue(const Calls& calls, mqd_t descriptor) : calls_(calls), descriptor_(descriptor) {}
    ~MusterCQueue() override { calls_.close(descriptor_); }

    int send(const void* data, std::size_t size_bytes, unsigned priority) override {
        return calls_.send(descriptor_, static_cast<const char*>(data), size_bytes, priority) == 0 ? 0 : failed();
    }
    long receive(void* data, std::size_t size_bytes, unsigned* priority) override {
        const ssize_t got = calls_.receive(descriptor_, static_cast<char*>(data), size_bytes, priority);
        return got < 0 ? -failed() : got;
    }
    int try_send(const void* data, std::size_t size_bytes, unsigned priority) override {
        return calls_.timed_send(descriptor_, static_cast<const char*>(data), size_bytes, priority, &kPast) == 0 ? 0 : failed();
    }
    long try_receive(void* data, std::size_t size_bytes, unsigned* priority) override {
        const ssize_t got = calls_.timed_receive(descriptor_, static_cast<char*>(data), size_bytes, priority, &kPast);
        return got < 0 ? -failed() : got;
    }

private:
    const Calls calls_;
    mqd_t descriptor_;
};

class MusterCBackend final : public Backend {
public:
    explicit MusterCBackend(const std::string& library) {
        void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) throw Refused(dlerror());
        find(handle, "mq_open", calls_.open);
        find(handle, "mq_close", calls_.close);
        find(handle, "mq_unlink", calls_.unlink);
        find(handle, "mq_send", calls_.send);
        find(handle, "mq_receive", calls_.receive);
        find(handle, "mq_timedsend", calls_.timed_send);
        find(handle, "mq_timedreceive", calls_.timed_receive);
    }

    const char* key() const override { return "muster-c"; }
    const char* title() const override { return "Muster C"; }

    std::unique_ptr<Queue> create(const Shape& shape) override {
        mq_attr attributes{};
        attributes.mq_maxmsg = static_cast<long>(shape.depth);
        attributes.mq_msgsize = static_cast<long>(shape.message_bytes);
        const mqd_t d = calls_.open(("/" + shape.name).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attributes);
        if (d < 0 && (errno == EINVAL || errno == EMFILE)) throw Refused(std::strerror(errno));
        return opened(d);
    }
    std::unique_ptr<Queue> open(const Shape& shape) override {
        return opened(calls_.open(("/" + shape.name).c_str(), O_RDWR | O_CLOEXEC));
    }
    void unlink(const std::string& name) override { calls_.unlink(("/" + name).c_str()); }

private:
    std::unique_ptr<Queue> opened(mqd_t descriptor) {
        if (descriptor < 0) throw Failure(std::string("mq_open: ") + std::strerror(errno));
        return std::make_unique<MusterCQueue>(calls_, descriptor);
    }
    // A library without its own symbol would answer with libc's: that would be the kernel once more.
    template <class F>
    static void find(void* handle, const char* name, F& call) {
        void* symbol = dlsym(handle, name);
        Dl_info mine{}, base{};
        if (symbol == nullptr || dladdr(symbol, &mine) == 0) throw Refused(std::string("it lacks ") + name);
        if (dladdr(reinterpret_cast<void*>(&std::strerror), &base) != 0 && mine.dli_fbase == base.dli_fbase)
            throw Refused(std::string("it lacks its own ") + name);
        call = reinterpret_cast<F>(symbol);
    }

    Calls calls_;
};

}  // namespace

std::unique_ptr<Backend> make_muster_c_backend(const std::string& library) {
    return std::make_unique<MusterCBackend>(library);
}

}  // namespace muster::bench
