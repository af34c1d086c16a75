// System V queues, both files: opening, each call, the checker.
#include "fuzz_image.hpp"
#include "muster/typed_queue.hpp"
#include "objects/queue_layout.hpp"

using namespace muster;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::string path = [] {
        auto queue = TypedQueue::create(fuzz::open_domain(), Key(7)).value();
        for (const int type : {3, 1, 3, 2, 9}) queue.try_send("some message", type).value();
        queue.try_receive().value();
        return fuzz::domain_path() + "/sysv/msg-" + std::to_string(queue.identifier() % 32768);
    }();
    static const fuzz::Image front(path, {offsetof(objects::QueueHeader, send_lock), offsetof(objects::QueueHeader, receive_lock)});
    static const fuzz::Image slots(path + ".data");
    fuzz::Bytes input(data, size);
    const auto what = input.take<std::uint8_t>();
    const std::size_t half = input.left() / 2;
    fuzz::Bytes first(input.data(), what % 4 == 0 ? input.left() : half), second(input.data() + half, what % 4 == 0 ? 0 : input.left() - half);
    front.lay_over(first);
    slots.lay_over(second);
    const Domain domain = fuzz::open_domain();
    if (auto queue = TypedQueue::open(domain, Key(7))) {
        (void)queue->status();
        (void)queue->try_send("another", 5);
        (void)queue->peek(Selector::type(3));
        (void)queue->try_receive(Selector::up_to(4));
        (void)queue->try_receive(Selector::except(3));
        (void)queue->waiters();
        (void)queue->peek_all();
        (void)queue->set_bytes_max(1000);
        for (int n = 0; n < 4; ++n) (void)queue->try_receive();
    }
    if (what % 16 == 1) (void)domain.fsck(what % 32 == 1, path);
    if (what % 16 == 2) (void)domain.list();
    return 0;
}
