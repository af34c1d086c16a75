// POSIX queues: opening one that is anything at all, and each call on it; the checker, and the mending.
#include "fuzz_image.hpp"
#include "muster/message_queue.hpp"
#include "objects/queue_layout.hpp"

using namespace muster;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::string path = [] {
        auto queue = MessageQueue::create(fuzz::open_domain(), "/victim", {8, 300, 0600}).value();
        for (unsigned n = 0; n < 4; ++n) queue.try_send("some message", n * 70).value();
        queue.try_receive().value();
        return fuzz::domain_path() + "/mq/victim";
    }();
    static const fuzz::Image image(path, {offsetof(objects::QueueHeader, send_lock), offsetof(objects::QueueHeader, receive_lock)});
    fuzz::Bytes input(data, size);
    const auto what = input.take<std::uint8_t>();
    image.lay_over(input);
    const Domain domain = fuzz::open_domain();
    if (what % 16 == 0) (void)domain.fsck(false);
    if (auto queue = MessageQueue::open(domain, "/victim")) {
        (void)queue->status();
        (void)queue->try_send("another", 5);
        (void)queue->try_receive();
        (void)queue->waiters();
        (void)queue->try_send(std::string(290, 'x'), 32767);
        for (int n = 0; n < 4; ++n) (void)queue->try_receive();
    }
    if (what % 4 == 1) (void)domain.fsck(true, path);
    if (what % 16 == 2) (void)domain.list();
    return 0;
}
