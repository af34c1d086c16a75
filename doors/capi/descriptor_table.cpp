#include "descriptor_table.hpp"
#include <climits>
#include <new>
#include "notify.hpp"
#include "platform/file.hpp"
#include "platform/process.hpp"
#include "private_lock.hpp"
#include "process_domain.hpp"

namespace muster::capi {
using platform::Fault;
using platform::Outcome;

constinit std::atomic<TablePage*> table_pages[kTablePages];

namespace {

constexpr unsigned kQueuesPerChunk = 32;
struct Chunk {
    OpenQueue queues[kQueuesPerChunk];
    Chunk* next;
};
std::atomic<Chunk*> chunks{nullptr};
PrivateLock opening;
std::atomic<int> lowest_hidden{INT_MAX};

void note_hidden(int descriptor) {
    int lowest = lowest_hidden.load(std::memory_order_relaxed);
    while (descriptor < lowest && !lowest_hidden.compare_exchange_weak(lowest, descriptor, std::memory_order_acq_rel)) {}
}

std::atomic<std::uintptr_t>* make_entry(int descriptor) {
    if (descriptor < 0 || static_cast<unsigned>(descriptor) >= kTablePages * kEntriesPerPage) return nullptr;
    std::atomic<TablePage*>& place = table_pages[static_cast<unsigned>(descriptor) / kEntriesPerPage];
    TablePage* page = place.load(std::memory_order_acquire);
    if (page == nullptr) {
        const long memory = platform::map_private_zeroes(sizeof(TablePage));
        if (memory < 0 && memory > -4096) return nullptr;
        auto* mine = reinterpret_cast<TablePage*>(memory);
        if (place.compare_exchange_strong(page, mine, std::memory_order_acq_rel)) page = mine;
        else platform::unmap(mine, sizeof(TablePage));
    }
    return &page->entries[static_cast<unsigned>(descriptor) % kEntriesPerPage];
}

OpenQueue* queue_of(std::uintptr_t entry) { return reinterpret_cast<OpenQueue*>(entry & ~kAccessMask); }

void drop_descriptor(OpenQueue* queue, bool tell) {
    if (tell) end_notification(*queue);
    release(queue);
}

int open_fifo_to_tell(objects::Queue& queue);

}  // namespace

void note_guard(int descriptor) { note_hidden(descriptor); }

void release_last(OpenQueue* queue) {
    PrivateLock::Hold hold(opening);
    // Found anew between the last release and now? Then it lives on.
    if (queue->references.load(std::memory_order_acquire) != 0 || queue->inode == 0) return;
    const int fifo = queue->fifo.exchange(-1, std::memory_order_acq_rel);
    if (fifo >= 0) {
        platform::close_file(fifo);
        remove_orphaned_fifo(queue->queue);
    }
    if (queue->notify_guard >= 0) platform::close_file(queue->notify_guard);
    queue->notify_guard = -1;
    queue->inode = 0;
    queue->queue.~Queue();
}

std::uint32_t access_from_flags(int file_flags) {
    if (file_flags & kMarkReadOnly) return kAccessRead;
    if (file_flags & kMarkWriteOnly) return kAccessWrite;
    return kAccessRead | kAccessWrite;
}

QueueHold adopt(int descriptor) {
    struct stat status;
    if (descriptor < 0 || platform::file_status(descriptor, &status) < 0 || !S_ISREG(status.st_mode)) return {};
    std::uint64_t magic = 0;
    if (platform::read_at(descriptor, &magic, sizeof magic, 0) != static_cast<long>(sizeof magic) || magic != objects::kQueueMagic) return {};
    OpenQueue* queue = find_queue(status.st_dev, status.st_ino);
    if (queue == nullptr) {
        auto fresh = new_queue();
        if (!fresh) return {};
        if (!(*fresh)->queue.open(descriptor)) {
            release(*fresh);
            return {};
        }
        queue = *fresh;
        queue->device = status.st_dev;
        queue->inode = status.st_ino;
    }
    const int flags = platform::file_control(descriptor, F_GETFL);
    if (!enter(descriptor, queue, access_from_flags(flags))) return {};
    return hold_known(descriptor);
}

Outcome<> make_room_for(int descriptor) {
    if (make_entry(descriptor) == nullptr) return Fault{ENOMEM, "no memory for the table of descriptors"};
    return platform::done();
}

Outcome<> enter(int descriptor, OpenQueue* queue, std::uint32_t access) {
    std::atomic<std::uintptr_t>* place = make_entry(descriptor);
    if (place == nullptr) {
        release(queue);
        return Fault{ENOMEM};
    }
    queue->known_blocking.store(~0ull, std::memory_order_relaxed);  // the number may have meant another description
    const std::uintptr_t before = place->exchange(reinterpret_cast<std::uintptr_t>(queue) | access, std::memory_order_acq_rel);
    if (before != 0) drop_descriptor(queue_of(before), false);  // closed behind our back
    return platform::done();
}

void enter_copy(int original, int copy) {
    if (QueueHold held = hold_known(original)) {
        if (!hold_reference(*held)) return;
        (void)enter(copy, &*held, held.access());
    }
}

void forget(int descriptor) {
    std::atomic<std::uintptr_t>* place = table_entry(descriptor);
    if (place == nullptr || place->load(std::memory_order_relaxed) == 0) return;
    const std::uintptr_t before = place->exchange(0, std::memory_order_acq_rel);
    if (before != 0) drop_descriptor(queue_of(before), true);
}

void forget_range(unsigned first, unsigned last) {
    for (unsigned page = first / kEntriesPerPage; page < kTablePages && page <= last / kEntriesPerPage; ++page) {
        if (table_pages[page].load(std::memory_order_acquire) == nullptr) continue;
        for (unsigned at = 0; at < kEntriesPerPage; ++at) {
            const unsigned descriptor = page * kEntriesPerPage + at;
            if (descriptor >= first && descriptor <= last) forget(static_cast<int>(descriptor));
        }
    }
}

Outcome<OpenQueue*> new_queue() {
    PrivateLock::Hold hold(opening);
    for (Chunk* chunk = chunks.load(std::memory_order_acquire);; chunk = chunk->next) {
        if (chunk == nullptr) {
            const long memory = platform::map_private_zeroes(sizeof(Chunk));
            if (memory < 0 && memory > -4096) return Fault{ENOMEM, "no memory for another open queue"};
            chunk = reinterpret_cast<Chunk*>(memory);
            chunk->next = chunks.load(std::memory_order_relaxed);
            chunks.store(chunk, std::memory_order_release);
        }
        for (OpenQueue& queue : chunk->queues) {
            if (queue.references.load(std::memory_order_acquire) != 0 || queue.inode != 0) continue;
            new (&queue.queue) objects::Queue();
            queue.queue.set_fifo_opener(&open_fifo_to_tell);
            queue.device = 0;
            queue.inode = ~0ull;  // taken, and nobody's yet
            queue.notify_mine.store(0, std::memory_order_relaxed);
            queue.notify_generation.store(0, std::memory_order_relaxed);
            queue.known_blocking.store(~0ull, std::memory_order_relaxed);
            queue.notify_guard = -1;
            queue.fifo.store(-1, std::memory_order_relaxed);
            queue.references.store(1, std::memory_order_release);
            return &queue;
        }
    }
}

OpenQueue* find_queue(std::uint64_t device, std::uint64_t inode) {
    PrivateLock::Hold hold(opening);
    for (Chunk* chunk = chunks.load(std::memory_order_acquire); chunk != nullptr; chunk = chunk->next)
        for (OpenQueue& queue : chunk->queues)
            if (queue.inode == inode && queue.device == device && hold_reference(queue)) return &queue;
    return nullptr;
}

namespace {
// The OpenQueue that a queue is part of.
OpenQueue& owner_of(objects::Queue& queue) { return *reinterpret_cast<OpenQueue*>(&queue); }
static_assert(offsetof(OpenQueue, queue) == 0);

int open_fifo_to_tell(objects::Queue& queue) {
    OpenQueue& owner = owner_of(queue);
    if (const int known = owner.fifo.load(std::memory_order_acquire); known >= 0) return known;
    auto domain = process_domain(false);
    if (!domain) return -1;
    const int fifo = open_fifo(**domain, queue, false);
    if (fifo < 0) return -1;
    note_hidden(fifo);
    int expected = -1;
    if (!owner.fifo.compare_exchange_strong(expected, fifo, std::memory_order_acq_rel)) {
        platform::close_file(fifo);
        return expected;
    }
    queue.set_fifo(fifo);
    return fifo;
}
}  // namespace

Outcome<int> polling_descriptor(platform::ThreadState& thread, int descriptor, OpenQueue& queue, bool passing) {
    if (const int known = queue.fifo.load(std::memory_order_acquire); known >= 0 && !passing && queue.queue.in_epoll()) return known;
    auto domain = process_domain(true);
    if (!domain) return domain.fault();
    int fifo = queue.fifo.load(std::memory_order_acquire);
    if (fifo < 0) {
        fifo = open_fifo(**domain, queue.queue, true);
        if (fifo < 0) return Fault{-fifo, "the queue's FIFO cannot be made"};
        note_hidden(fifo);
        int expected = -1;
        if (!queue.fifo.compare_exchange_strong(expected, fifo, std::memory_order_acq_rel)) {
            platform::close_file(fifo);
            fifo = expected;
        }
    }
    if (auto started = queue.queue.start_polling(thread, descriptor, fifo, passing); !started) return started.fault();
    return fifo;
}

bool is_hidden(int descriptor) {
    if (is_domain_descriptor(descriptor)) return true;
    if (descriptor < lowest_hidden.load(std::memory_order_acquire)) return false;  // nearly all of them
    for (Chunk* chunk = chunks.load(std::memory_order_acquire); chunk != nullptr; chunk = chunk->next)
        for (OpenQueue& queue : chunk->queues)
            if ((queue.fifo.load(std::memory_order_acquire) == descriptor || queue.notify_guard == descriptor) && queue.references.load(std::memory_order_acquire) != 0) return true;
    return false;
}

}  // namespace muster::capi
