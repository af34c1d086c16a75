// Giving memory back. A queue takes pages as messages come; once it is empty again it keeps only a few.
#include "objects/queue.hpp"
#include "objects/queue_acting.hpp"
#include "objects/queue_inline.hpp"
#include "platform/crash_point.hpp"
#include "platform/file.hpp"

namespace muster::objects {

namespace {
constexpr std::uint64_t kKeptBytes = 64 << 10;  // of slots
}

// The send side's half: every slot is fresh again. Done again by recover_send() should we die.
void Queue::reset_free_slots() {
    QueueSend& s = header_->send;
    header_->sent.returned_head.store_release(header_->received.returned_tail.load_acquire());
    s.spare.store_release(0);
    s.fresh.store_release(0);
    const auto kept = static_cast<std::uint32_t>(kKeptBytes / slots_.stride_bytes);
    if (s.slots_reserved.load_relaxed() > kept) s.slots_reserved.store_release(kept);
    MUSTER_CRASH_POINT("queue.trim.reset");
}

int Queue::reserve(int fd, std::uint64_t offset, std::uint64_t bytes) {
    if (fd >= 0) return platform::reserve_bytes(fd, offset, bytes);
    const int rc = platform::populate_mapping(mapping_.start() + offset, bytes);
    return rc == -EFAULT ? -ENOSPC : rc;
}

void Queue::give_back(int fd, std::uint64_t offset, std::uint64_t bytes) {
    if (fd >= 0) platform::release_bytes(fd, offset, bytes);
    else platform::remove_mapped(mapping_.start() + offset, bytes);
}

void Queue::trim_if_idle(platform::ThreadState& thread, int fd) {
    if (header_->shared.excess.load_relaxed() == 0 || count() != 0) return;
    Acting me(*this, thread);
    if (!me.begin(fd, ActorKind::keeper)) return;
    if (!me.lock_both()) return;
    QueueSend& s = header_->send;
    bool idle = header_->sent.sent.load_relaxed() == header_->received.drained.load_relaxed() && header_->received.indexed.load_relaxed() == 0;
    const std::uint32_t high = header_->shared.actors_high.load_acquire();
    for (std::uint32_t number = 0; idle && number < high && number < actors_.count; ++number) idle = actor(number).slot.load_acquire() == 0;
    if (idle) {
        s.trimming.store_release(1);  // from here on recovery finishes it, each side its own half
        MUSTER_CRASH_POINT("queue.trim.begun");
        header_->receive.stack.store_release(0);
        if (typed_) types_.clear();
        reset_free_slots();
        const std::uint32_t kept = s.slots_reserved.load_relaxed();
        header_->shared.region_pages.store_release(0);
        const std::uint64_t kept_end = (slots_offset_ + std::uint64_t{kept} * slots_.stride_bytes + 4095) & ~4095ull;
        // Their headers stay, up to the last one on the pages that stay.
        const std::uint64_t stay = (kept_end - slots_offset_ + slots_.stride_bytes - 1) / slots_.stride_bytes;
        for (std::uint32_t number = 0; number < stay && number < slots_.count; ++number) slot(number).region_pages.store_release(0);
        if (kept_end < regions_offset_) give_back(fd, kept_end, regions_offset_ - kept_end);
        if (region_stride_ != 0) give_back(fd, regions_offset_, mapping_.bytes() - regions_offset_);
        header_->shared.excess.store_release(0);
        MUSTER_CRASH_POINT("queue.trim.released");
        s.trimming.store_release(0);
    }
    me.unlock_both();
}

}  // namespace muster::objects
