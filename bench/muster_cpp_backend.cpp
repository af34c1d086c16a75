// Muster's C++ class.
#include "loops.hpp"

#if defined(MUSTER_BENCH_CPP)
#include <span>

#include "muster/message_queue.hpp"

namespace muster::bench {
namespace {

class MusterCppQueue final : public QueueLoops<MusterCppQueue> {
public:
    explicit MusterCppQueue(MessageQueue queue) : queue_(std::move(queue)) {}

    int send(const void* data, std::size_t size_bytes, unsigned priority) override {
        const auto sent = queue_.send(bytes(data, size_bytes), priority);
        return sent ? 0 : sent.error().errno_value();
    }
    long receive(void* data, std::size_t size_bytes, unsigned* priority) override {
        return outcome(queue_.receive(room(data, size_bytes)), priority);
    }
    int try_send(const void* data, std::size_t size_bytes, unsigned priority) override {
        const auto sent = queue_.try_send(bytes(data, size_bytes), priority);
        return sent ? 0 : sent.error().errno_value();
    }
    long try_receive(void* data, std::size_t size_bytes, unsigned* priority) override {
        return outcome(queue_.receive(room(data, size_bytes), Deadline::now()), priority);
    }

private:
    static std::span<const std::byte> bytes(const void* data, std::size_t size_bytes) {
        return {static_cast<const std::byte*>(data), size_bytes};
    }
    static std::span<std::byte> room(void* data, std::size_t size_bytes) { return {static_cast<std::byte*>(data), size_bytes}; }
    static long outcome(const Result<Received>& got, unsigned* priority) {
        if (!got) return -got.error().errno_value();
        *priority = got->priority;
        return static_cast<long>(got->size_bytes);
    }

    MessageQueue queue_;
};

class MusterCppBackend final : public Backend {
public:
    const char* key() const override { return "muster-cpp"; }
    const char* title() const override { return "Muster C++"; }

    std::unique_ptr<Queue> create(const Shape& shape) override {
        QueueOptions options;
        options.messages_max = shape.depth;
        options.message_size_bytes_max = shape.message_bytes;
        return opened(MessageQueue::create("/" + shape.name, options));
    }
    std::unique_ptr<Queue> open(const Shape& shape) override { return opened(MessageQueue::open("/" + shape.name)); }
    void unlink(const std::string& name) override { (void)MessageQueue::remove("/" + name); }

private:
    static std::unique_ptr<Queue> opened(Result<MessageQueue> queue) {
        if (queue) return std::make_unique<MusterCppQueue>(std::move(*queue));
        if (queue.error() == EINVAL || queue.error() == ENOSPC) throw Refused(queue.error().message());
        throw Failure(queue.error().message());
    }
};

}  // namespace

std::unique_ptr<Backend> make_muster_cpp_backend() {
    return std::make_unique<MusterCppBackend>();
}

}  // namespace muster::bench
#else
namespace muster::bench {
std::unique_ptr<Backend> make_muster_cpp_backend() {
    return nullptr;
}
}  // namespace muster::bench
#endif
