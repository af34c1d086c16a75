// Which of the process's descriptors are message queues.
//
// An mqd_t is a descriptor of the queue's own file, so the kernel keeps what belongs to the open
// description (O_NONBLOCK, sharing over fork, passing over sockets) and the file's life. What only we know
// is here: a table by descriptor number, of queues that several descriptors may share.
//
// Async-signal-safe and free of locks for those who look up; queues live in memory that is never unmapped,
// so a stale pointer is found out, not followed.
#pragma once
#include <sys/single_threaded.h>
#include <atomic>
#include <cstdint>
#include "objects/queue.hpp"
#include "platform/outcome.hpp"
#include "platform/thread.hpp"

namespace muster::capi {

inline constexpr std::uint32_t kAccessRead = 1;
inline constexpr std::uint32_t kAccessWrite = 2;

// One queue that this process has open through one or more descriptors.
struct OpenQueue {
    objects::Queue queue;
    std::uint64_t device;
    std::uint64_t inode;
    std::atomic<std::uint32_t> references;   // descriptors and calls under way; 0 free to be used anew
    std::atomic<std::uint32_t> notify_mine;  // this process's registration for notification, or 0
    std::atomic<std::uint32_t> notify_generation;  // of the process that made it: a forked child has none
    std::atomic<std::uint64_t> known_blocking;  // see objects::Patience
    std::atomic<int> fifo;                   // the FIFO's descriptor once this process polls or must tell pollers, -1
    int notify_guard;                        // a descriptor that ends the registration at exec, or -1
};

// The table: an entry is a queue's address with the access mode in its low bits, 0 for what is no queue.
inline constexpr std::uintptr_t kAccessMask = 3;
inline constexpr unsigned kEntriesPerPage = 4096 / sizeof(std::atomic<std::uintptr_t>);
inline constexpr unsigned kTablePages = 2048;  // over a million descriptors, the kernel's default fs.nr_open
struct TablePage {
    std::atomic<std::uintptr_t> entries[kEntriesPerPage];
};
extern std::atomic<TablePage*> table_pages[kTablePages];

inline std::atomic<std::uintptr_t>* table_entry(int descriptor) {
    const auto number = static_cast<unsigned>(descriptor);
    if (__builtin_expect(number >= kTablePages * kEntriesPerPage, 0)) return nullptr;
    TablePage* page = table_pages[number / kEntriesPerPage].load(std::memory_order_acquire);
    return page != nullptr ? &page->entries[number % kEntriesPerPage] : nullptr;
}

// One more reference, unless the last is gone.
inline bool hold_reference(OpenQueue& queue) {
    std::uint32_t count = queue.references.load(std::memory_order_relaxed);
    if (__libc_single_threaded) {  // no other thread: plain arithmetic is enough, handlers balance what they do
        if (count == 0) return false;
        queue.references.store(count + 1, std::memory_order_relaxed);
        return true;
    }
    while (count != 0)
        if (queue.references.compare_exchange_weak(count, count + 1, std::memory_order_acquire)) return true;
    return false;
}
void note_guard(int descriptor);  // a descriptor that is_hidden() must know of
void release_last(OpenQueue* queue);
inline void release(OpenQueue* queue) {
    if (__libc_single_threaded) {
        const std::uint32_t count = queue->references.load(std::memory_order_relaxed);
        queue->references.store(count - 1, std::memory_order_relaxed);
        if (__builtin_expect(count == 1, 0)) release_last(queue);
    } else if (__builtin_expect(queue->references.fetch_sub(1, std::memory_order_acq_rel) == 1, 0)) {
        release_last(queue);
    }
}

// A queue held for the length of a call; empty: the descriptor is no message queue.
class QueueHold {
public:
    QueueHold() = default;
    QueueHold(OpenQueue* queue, std::uint32_t access) : queue_(queue), access_(access) {}
    QueueHold(QueueHold&& o) noexcept : queue_(o.queue_), access_(o.access_) { o.queue_ = nullptr; }
    QueueHold& operator=(QueueHold&&) = delete;
    ~QueueHold() {
        if (queue_ != nullptr) release(queue_);
    }
    explicit operator bool() const { return queue_ != nullptr; }
    OpenQueue* operator->() const { return queue_; }
    OpenQueue& operator*() const { return *queue_; }
    std::uint32_t access() const { return access_; }

private:
    OpenQueue* queue_ = nullptr;
    std::uint32_t access_ = 0;
};

// True if the descriptor is known to be a queue. Two loads; what read() and close() of every program pay.
inline bool is_known_queue(int descriptor) {
    const std::atomic<std::uintptr_t>* place = table_entry(descriptor);
    return place != nullptr && place->load(std::memory_order_acquire) != 0;
}

// The queue behind a known descriptor.
inline QueueHold hold_known(int descriptor) {
    const std::atomic<std::uintptr_t>* place = table_entry(descriptor);
    if (place == nullptr) return {};
    for (;;) {
        const std::uintptr_t entry = place->load(std::memory_order_acquire);
        if (entry == 0) return {};
        auto* queue = reinterpret_cast<OpenQueue*>(entry & ~kAccessMask);
        if (!hold_reference(*queue)) continue;  // being closed: the entry is about to change
        if (__builtin_expect(place->load(std::memory_order_acquire) == entry, 1))
            return QueueHold(queue, static_cast<std::uint32_t>(entry & kAccessMask));
        release(queue);
    }
}

// The queue behind any descriptor: one that came over a socket, by dup in ways we did not see, or from
// before is adopted now. Empty if it is no message queue.
QueueHold adopt(int descriptor);
inline QueueHold hold(int descriptor) {
    QueueHold known = hold_known(descriptor);
    return __builtin_expect(static_cast<bool>(known), 1) ? std::move(known) : adopt(descriptor);
}

// A place for that descriptor: entering it will not fail. Errors: ENOMEM.
platform::Outcome<> make_room_for(int descriptor);

// Enters a descriptor of the queue's file; consumes one reference of `queue`.
platform::Outcome<> enter(int descriptor, OpenQueue* queue, std::uint32_t access);

// Makes `copy` what `original` is, after a dup; nothing if `original` is no queue.
void enter_copy(int original, int copy);

// Forgets the descriptor, which is about to be closed or replaced. Undoes a notification registered by this process.
void forget(int descriptor);
// The same for all from `first` to `last`.
void forget_range(unsigned first, unsigned last);

// The FIFO that stands for the queue in poll, select and epoll; made, primed and opened when first asked for.
// `passing`: for one call of poll or select, which ends with queue.stop_polling(). Errors: EMFILE, ENFILE, ENOSPC.
platform::Outcome<int> polling_descriptor(platform::ThreadState& thread, int descriptor, OpenQueue& queue, bool passing);
// Whether a descriptor is one of these FIFOs: programs that close what they do not know must not close it.
bool is_hidden(int descriptor);

// Flags that mark the access mode on the open description itself, for whoever gets it over a socket.
inline constexpr int kMarkReadOnly = 02000;    // O_APPEND
inline constexpr int kMarkWriteOnly = 020000;  // O_ASYNC
std::uint32_t access_from_flags(int file_flags);

// A free OpenQueue with one reference, or the one that has this file open already.
platform::Outcome<OpenQueue*> new_queue();
OpenQueue* find_queue(std::uint64_t device, std::uint64_t inode);

}  // namespace muster::capi
