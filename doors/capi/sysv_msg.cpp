#include "sysv_msg.hpp"
#include "process_domain.hpp"

namespace muster::capi {

constinit MessageTable message_table;

void tell_pollers_of(objects::Queue& queue) {
    queue.set_fifo_opener(
        [](objects::Queue& polled) {
            auto domain = process_domain(false);
            return domain ? objects::open_fifo(**domain, polled, false) : -1;
        },
        false);
}

void unmap_queue(TypedQueue& queue) {
    queue.~TypedQueue();
    new (&queue) TypedQueue();
}

std::uint64_t message_max() {
    objects::SysvLimits limits;
    if (auto domain = process_domain(false); domain) limits = objects::SysvLimits::of(**domain);
    return limits.msgmax < objects::kTypedMessageBytesMax ? limits.msgmax : objects::kTypedMessageBytesMax;
}

}  // namespace muster::capi
