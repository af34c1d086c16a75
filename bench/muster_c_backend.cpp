// Muster's C door, loaded at run time, so that it and the kernel meet in one process.
#include <dlfcn.h>
#include <fcntl.h>
#include <mqueue.h>
#include <optional>

#include "sysv_calls.hpp"

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

struct SysvCalls {
    struct {
        int (*msgget)(key_t, int);
        int (*msgsnd)(int, const void*, std::size_t, int);
        ssize_t (*msgrcv)(int, void*, std::size_t, long, int);
        int (*msgctl)(int, int, msqid_ds*);
        int (*semget)(key_t, int, int);
        int (*semop)(int, sembuf*, std::size_t);
        int (*semctl)(int, int, int, ...);
        int (*shmget)(key_t, std::size_t, int);
        void* (*shmat)(int, const void*, int);
        int (*shmdt)(const void*);
        int (*shmctl)(int, int, shmid_ds*);
    } own{};

    static long outcome(long result) { return result < 0 ? -errno : result; }
    long msgget(int key, int flags) const { return outcome(own.msgget(key, flags)); }
    long msgsnd(int id, const void* message, std::size_t size, int flags) const {
        return outcome(own.msgsnd(id, message, size, flags));
    }
    long msgrcv(int id, void* message, std::size_t size, long type, int flags) const {
        return outcome(own.msgrcv(id, message, size, type, flags));
    }
    long msgctl(int id, int command) const { return outcome(own.msgctl(id, command, nullptr)); }
    long semget(int key, unsigned semaphores, int flags) const {
        return outcome(own.semget(key, static_cast<int>(semaphores), flags));
    }
    long semop(int id, sembuf* operations, std::size_t count) const { return outcome(own.semop(id, operations, count)); }
    long semctl(int id, int number, int command, unsigned short* values) const {
        return outcome(own.semctl(id, number, command, values));
    }
    long shmget(int key, std::size_t size_bytes, int flags) const { return outcome(own.shmget(key, size_bytes, flags)); }
    void* shmat(int id) const {
        void* const start = own.shmat(id, nullptr, 0);
        return start == reinterpret_cast<void*>(-1) ? nullptr : start;
    }
    long shmdt(void* start) const { return outcome(own.shmdt(start)); }
    long shmctl(int id, int command) const { return outcome(own.shmctl(id, command, nullptr)); }
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
        SysvCalls sysv;
        find(handle, "msgget", sysv.own.msgget);
        find(handle, "msgsnd", sysv.own.msgsnd);
        find(handle, "msgrcv", sysv.own.msgrcv);
        find(handle, "msgctl", sysv.own.msgctl);
        find(handle, "semget", sysv.own.semget);
        find(handle, "semop", sysv.own.semop);
        find(handle, "semctl", sysv.own.semctl);
        find(handle, "shmget", sysv.own.shmget);
        find(handle, "shmat", sysv.own.shmat);
        find(handle, "shmdt", sysv.own.shmdt);
        find(handle, "shmctl", sysv.own.shmctl);
        sysv_.emplace(sysv);
    }

    const char* key() const override { return "muster-c"; }
    const char* title() const override { return "Muster C"; }

    bool offers(Kind) const override { return true; }
    std::unique_ptr<Queue> create(const Shape& shape) override {
        if (shape.kind == Kind::sysv_queue) return sysv_->create_queue(shape);
        mq_attr attributes{};
        attributes.mq_maxmsg = static_cast<long>(shape.depth);
        attributes.mq_msgsize = static_cast<long>(shape.message_bytes);
        const mqd_t d = calls_.open(("/" + shape.name).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attributes);
        if (d < 0 && (errno == EINVAL || errno == EMFILE)) throw Refused(std::strerror(errno));
        return opened(d);
    }
    std::unique_ptr<Queue> open(const Shape& shape) override {
        if (shape.kind == Kind::sysv_queue) return sysv_->open_queue(shape);
        return opened(calls_.open(("/" + shape.name).c_str(), O_RDWR | O_CLOEXEC));
    }
    void unlink(const Shape& shape) override {
        if (shape.kind == Kind::posix_queue)
            calls_.unlink(("/" + shape.name).c_str());
        else
            sysv_->unlink(shape);
    }
    std::unique_ptr<Semaphores> create_semaphores(const Shape& shape) override { return sysv_->create_semaphores(shape); }
    std::unique_ptr<Semaphores> open_semaphores(const Shape& shape) override { return sysv_->open_semaphores(shape); }
    void live_and_die(const Shape& shape) override { sysv_->live_and_die(shape); }

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
    std::optional<SysvObjects<SysvCalls>> sysv_;
};

}  // namespace

std::unique_ptr<Backend> make_muster_c_backend(const std::string& library) {
    return std::make_unique<MusterCBackend>(library);
}

}  // namespace muster::bench
