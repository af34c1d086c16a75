// Boost.Interprocess's message_queue: shared memory with priorities, no recovery.
#include "loops.hpp"

#if defined(MUSTER_BENCH_BOOST)
#include <boost/interprocess/ipc/message_queue.hpp>

namespace muster::bench {
namespace {

namespace bi = boost::interprocess;

class BoostQueue final : public QueueLoops<BoostQueue> {
public:
    template <class... Args>
    explicit BoostQueue(Args&&... args) : queue_(std::forward<Args>(args)...) {}

    int send(const void* data, std::size_t size_bytes, unsigned priority) override {
        queue_.send(data, size_bytes, priority);
        return 0;
    }
    long receive(void* data, std::size_t size_bytes, unsigned* priority) override {
        bi::message_queue::size_type got = 0;
        queue_.receive(data, size_bytes, got, *priority);
        return static_cast<long>(got);
    }
    int try_send(const void* data, std::size_t size_bytes, unsigned priority) override {
        return queue_.try_send(data, size_bytes, priority) ? 0 : EAGAIN;
    }
    long try_receive(void* data, std::size_t size_bytes, unsigned* priority) override {
        bi::message_queue::size_type got = 0;
        return queue_.try_receive(data, size_bytes, got, *priority) ? static_cast<long>(got) : -EAGAIN;
    }

private:
    bi::message_queue queue_;
};

class BoostBackend final : public Backend {
public:
    const char* key() const override { return "boost"; }
    const char* title() const override { return "Boost"; }
    std::unique_ptr<Queue> create(const Shape& shape) override {
        return std::make_unique<BoostQueue>(bi::create_only, shape.name.c_str(), shape.depth, shape.message_bytes);
    }
    std::unique_ptr<Queue> open(const Shape& shape) override {
        return std::make_unique<BoostQueue>(bi::open_only, shape.name.c_str());
    }
    void unlink(const Shape& shape) override { bi::message_queue::remove(shape.name.c_str()); }
};

}  // namespace

std::unique_ptr<Backend> make_boost_backend() {
    return std::make_unique<BoostBackend>();
}

}  // namespace muster::bench
#else
namespace muster::bench {
std::unique_ptr<Backend> make_boost_backend() {
    return nullptr;
}
}  // namespace muster::bench
#endif
