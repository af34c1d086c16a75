// A queue that only copies, within one process: what stamping, checking, two calls
// and two copies cost. It is contained in every figure and never subtracted.
#include "loops.hpp"

namespace muster::bench {
namespace {

class CopyOnlyQueue final : public QueueLoops<CopyOnlyQueue> {
public:
    [[gnu::noinline]] int send(const void* data, std::size_t size_bytes, unsigned priority) override {
        if (size_bytes > sizeof slot_) return EMSGSIZE;
        std::memcpy(slot_, data, size_bytes);
        size_bytes_ = size_bytes;
        priority_ = priority;
        return 0;
    }
    [[gnu::noinline]] long receive(void* data, std::size_t size_bytes, unsigned* priority) override {
        if (size_bytes < size_bytes_) return -EMSGSIZE;
        std::memcpy(data, slot_, size_bytes_);
        *priority = priority_;
        return static_cast<long>(size_bytes_);
    }
    int try_send(const void* data, std::size_t size_bytes, unsigned priority) override {
        return send(data, size_bytes, priority);
    }
    long try_receive(void* data, std::size_t size_bytes, unsigned* priority) override {
        return receive(data, size_bytes, priority);
    }

private:
    alignas(64) char slot_[64] = {};
    std::size_t size_bytes_ = 0;
    unsigned priority_ = 0;
};

}  // namespace

std::unique_ptr<Queue> make_copy_only_queue() {
    return std::make_unique<CopyOnlyQueue>();
}

}  // namespace muster::bench
