// Muster's C++ classes.
#include "sysv_calls.hpp"

#if defined(MUSTER_BENCH_CPP)
#include <optional>
#include <span>

#include "muster/message_queue.hpp"
#include "muster/segment.hpp"
#include "muster/semaphore_set.hpp"
#include "muster/typed_queue.hpp"

namespace muster::bench {
namespace {

std::span<const std::byte> bytes(const void* data, std::size_t size_bytes) {
    return {static_cast<const std::byte*>(data), size_bytes};
}
std::span<std::byte> room(void* data, std::size_t size_bytes) {
    return {static_cast<std::byte*>(data), size_bytes};
}

template <class T>
T must(Result<T> result) {
    if (result) return std::move(*result);
    if (result.error() == EINVAL || result.error() == ENOSPC) throw Refused(result.error().message());
    throw Failure(result.error().message());
}

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
    static long outcome(const Result<Received>& got, unsigned* priority) {
        if (!got) return -got.error().errno_value();
        *priority = got->priority;
        return static_cast<long>(got->size_bytes);
    }

    MessageQueue queue_;
};

class MusterCppTypedQueue final : public SysvQueueLoops<MusterCppTypedQueue> {
public:
    explicit MusterCppTypedQueue(TypedQueue queue) : queue_(std::move(queue)) {}

    int send(const void* data, std::size_t size_bytes, unsigned priority) override {
        return send_type(data, size_bytes, 1 + long{priority});
    }
    long receive(void* data, std::size_t size_bytes, unsigned* priority) override {
        return outcome(queue_.receive(room(data, size_bytes)), priority);
    }
    int try_send(const void* data, std::size_t size_bytes, unsigned priority) override {
        const auto sent = queue_.try_send(bytes(data, size_bytes), 1 + long{priority});
        return sent ? 0 : sent.error().errno_value();
    }
    long try_receive(void* data, std::size_t size_bytes, unsigned* priority) override {
        return outcome(queue_.receive(room(data, size_bytes), Selector::any(), Deadline::now()), priority);
    }
    int send_type(const void* data, std::size_t size_bytes, long type) {
        const auto sent = queue_.send(bytes(data, size_bytes), type);
        return sent ? 0 : sent.error().errno_value();
    }
    long receive_picked(void* data, std::size_t size_bytes, Pick pick, long* type) {
        const auto got = queue_.receive(room(data, size_bytes), selector_of(pick));
        if (!got) return -got.error().errno_value();
        *type = got->type;
        return static_cast<long>(got->size_bytes);
    }

private:
    static long outcome(const Result<TypedReceived>& got, unsigned* priority) {
        if (!got) return -got.error().errno_value();
        *priority = static_cast<unsigned>(got->type - 1);
        return static_cast<long>(got->size_bytes);
    }
    static Selector selector_of(Pick pick) {
        switch (pick.by) {
            case Pick::By::type:
                return Selector::type(pick.type);
            case Pick::By::lowest:
                return Selector::up_to(pick.type);
            case Pick::By::all_but:
                return Selector::except(pick.type);
        }
        return Selector::any();
    }

    TypedQueue queue_;
};

class MusterCppSemaphores final : public SemaphoreLoops<MusterCppSemaphores> {
public:
    explicit MusterCppSemaphores(SemaphoreSet set) : set_(std::move(set)) {}

    long value(unsigned number) override {
        const auto value = set_.value(static_cast<std::uint16_t>(number));
        return value ? static_cast<long>(*value) : -value.error().errno_value();
    }
    int take(Use use) override {
        switch (use) {
            case Use::undo:
                return outcome(set_.operate({{0, -1, true}}));
            case Use::four:
                return outcome(set_.operate({{0, -1}, {1, -1}, {2, -1}, {3, -1}}));
            default:
                return wait(0);
        }
    }
    int give(Use use) override {
        switch (use) {
            case Use::undo:
                return outcome(set_.operate({{0, 1, true}}));
            case Use::four:
                return outcome(set_.operate({{0, 1}, {1, 1}, {2, 1}, {3, 1}}));
            default:
                return post(0);
        }
    }
    int wait(unsigned number) override { return outcome(set_.wait(static_cast<std::uint16_t>(number))); }
    int post(unsigned number) override { return outcome(set_.post(static_cast<std::uint16_t>(number))); }

private:
    static int outcome(const Result<>& done) { return done ? 0 : done.error().errno_value(); }

    SemaphoreSet set_;
};

class MusterCppBackend final : public Backend {
public:
    const char* key() const override { return "muster-cpp"; }
    const char* title() const override { return "Muster C++"; }

    bool offers(Kind) const override { return true; }
    std::unique_ptr<Queue> create(const Shape& shape) override {
        if (shape.kind == Kind::sysv_queue) return typed(TypedQueue::create(domain(), key_of(shape)));
        QueueOptions options;
        options.messages_max = shape.depth;
        options.message_size_bytes_max = shape.message_bytes;
        return opened(MessageQueue::create("/" + shape.name, options));
    }
    std::unique_ptr<Queue> open(const Shape& shape) override {
        if (shape.kind == Kind::sysv_queue) return typed(TypedQueue::open(domain(), key_of(shape)));
        return opened(MessageQueue::open("/" + shape.name));
    }
    std::unique_ptr<Semaphores> create_semaphores(const Shape& shape) override {
        return std::make_unique<MusterCppSemaphores>(must(SemaphoreSet::create(domain(), key_of(shape), {1, 1, 1, 1})));
    }
    std::unique_ptr<Semaphores> open_semaphores(const Shape& shape) override {
        return std::make_unique<MusterCppSemaphores>(must(SemaphoreSet::open(domain(), key_of(shape))));
    }
    void unlink(const Shape& shape) override {
        if (shape.kind == Kind::posix_queue) {
            (void)MessageQueue::remove("/" + shape.name);
            return;
        }
        const ObjectKind kind = shape.kind == Kind::sysv_queue ? ObjectKind::typed_queue
                                : shape.kind == Kind::segment  ? ObjectKind::segment
                                                               : ObjectKind::semaphore_set;
        if (const auto identifier = domain().identifier(kind, key_of(shape))) (void)domain().remove(kind, *identifier);
    }
    void live_and_die(const Shape& shape) override {
        if (shape.kind == Kind::sysv_queue) {
            must(must(TypedQueue::create(domain(), key_of(shape))).remove());
        } else if (shape.kind == Kind::segment) {
            Segment segment = must(Segment::create(domain(), key_of(shape), shape.message_bytes));
            Attachment attachment = must(segment.attach());
            touch_segment(attachment.data(), attachment.size());
            must(attachment.detach());
            must(segment.remove());
        } else {
            must(must(SemaphoreSet::create(domain(), key_of(shape), {0})).remove());
        }
    }

private:
    static Key key_of(const Shape& shape) { return Key(sysv_key(shape.name)); }
    static std::unique_ptr<Queue> opened(Result<MessageQueue> queue) {
        return std::make_unique<MusterCppQueue>(must(std::move(queue)));
    }
    static std::unique_ptr<Queue> typed(Result<TypedQueue> queue) {
        return std::make_unique<MusterCppTypedQueue>(must(std::move(queue)));
    }
    // Opened when first asked for: this run's domain is not yet there when the backends are made.
    const Domain& domain() {
        if (!domain_) domain_.emplace(must(Domain::open_default()));
        return *domain_;
    }

    std::optional<Domain> domain_;
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
