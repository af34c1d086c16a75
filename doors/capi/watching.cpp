#include "watching.hpp"
#include <sys/resource.h>
#include <cstdio>
#include "descriptor_calls.hpp"
#include "platform/file.hpp"
#include "process_domain.hpp"

namespace muster::capi {

namespace {

// What is noted about a descriptor, in one word.
constexpr std::uint32_t kPlain = 1u << 31;          // looked at: no queue
constexpr std::uint32_t kWatch = 1u << 30;          // stands in for a queue descriptor in epoll
constexpr std::uint32_t kWatchNumber = kWatch - 1;  // 1 + the descriptor's watch

constexpr unsigned kNotesPerPage = 4096 / sizeof(std::uint32_t);
constexpr unsigned kPages = 1024;  // over a million descriptors
struct Page {
    std::atomic<std::uint32_t> notes[kNotesPerPage];
};
std::atomic<Page*> pages[kPages];

std::atomic<std::uint32_t>* notes_of(int descriptor, bool make) {
    if (descriptor < 0 || static_cast<unsigned>(descriptor) >= kPages * kNotesPerPage) return nullptr;
    std::atomic<Page*>& place = pages[static_cast<unsigned>(descriptor) / kNotesPerPage];
    Page* page = place.load(std::memory_order_acquire);
    if (page == nullptr) {
        if (!make) return nullptr;
        const long memory = platform::map_private_zeroes(sizeof(Page));
        if (memory < 0 && memory > -4096) return nullptr;
        Page* mine = reinterpret_cast<Page*>(memory);
        if (place.compare_exchange_strong(page, mine, std::memory_order_acq_rel)) page = mine;
        else platform::unmap(mine, sizeof(Page));
    }
    return &page->notes[static_cast<unsigned>(descriptor) % kNotesPerPage];
}

std::uint32_t noted(int descriptor) {
    const std::atomic<std::uint32_t>* notes = notes_of(descriptor, false);
    return notes != nullptr ? notes->load(std::memory_order_acquire) : 0;
}

bool same_file(int one, int other) {
    struct stat first, second;
    return platform::file_status(one, &first) == 0 && platform::file_status(other, &second) == 0 && first.st_ino == second.st_ino &&
           first.st_dev == second.st_dev;
}

// Closes a watch, unless its number has become something else.
void close_watch(int watch) {
    std::atomic<std::uint32_t>* notes = notes_of(watch, false);
    if (notes != nullptr && (notes->fetch_and(~kWatch, std::memory_order_acq_rel) & kWatch) != 0) platform::close_file(watch);
}

// Another open file of the FIFO, out of the way of the program's numbers; or a negated errno.
int open_watch(int fifo) {
    char path[40];
    std::snprintf(path, sizeof path, "/proc/self/fd/%d", fifo);
    rlimit limit{};
    platform::system_call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &limit);
    const long high = limit.rlim_cur > 65536 ? 32768 : static_cast<long>(limit.rlim_cur / 2);
    const platform::File opened(platform::open_at(AT_FDCWD, path, O_RDWR | O_NONBLOCK | O_CLOEXEC));
    // Without /proc, or without the right to open it anew: a copy does, but keeps being watched after its close.
    const int source = opened.fd() >= 0 && same_file(opened.fd(), fifo) ? opened.fd() : fifo;
    int watch = platform::file_control(source, F_DUPFD_CLOEXEC, high);
    if (watch == -EINVAL || watch == -EMFILE) watch = platform::file_control(source, F_DUPFD_CLOEXEC, 0);
    return watch;
}

}  // namespace

bool queues_possible() { return platform::fault_handlers_installed() || domain_device() != 0; }

bool is_queue(int descriptor) {
    if (is_known_queue(descriptor)) return true;
    if (descriptor < 0 || (noted(descriptor) & kPlain) != 0) return false;
    const std::uint64_t device = domain_device();
    struct stat status;
    if (device == 0 || platform::file_status(descriptor, &status) < 0) return false;
    if (S_ISREG(status.st_mode) && status.st_dev == device && hold(descriptor)) return true;
    if (std::atomic<std::uint32_t>* notes = notes_of(descriptor, true)) notes->fetch_or(kPlain, std::memory_order_acq_rel);
    return false;
}

int polled_in_place(int descriptor, PassingPolls& passing) {
    const QueueHold held = hold_checked(descriptor);
    if (!held) return -1;
    const bool ends = passing.count < PassingPolls::kMost;
    auto fifo = polling_descriptor(platform::current_thread(), descriptor, *held, ends);
    if (!fifo) return -ENOMEM;  // the one error that poll and select know
    if (ends) passing.descriptors[passing.count++] = descriptor;
    return *fifo;
}

void PassingPolls::end() {
    for (; count > 0; --count)
        if (const QueueHold held = hold_known(descriptors[count - 1])) held->queue.stop_polling(platform::current_thread(), descriptors[count - 1]);
}

int watch_of(int descriptor) {
    const QueueHold held = is_known_queue(descriptor) ? hold_checked(descriptor) : hold(descriptor);
    if (!held) return -EPERM;
    auto fifo = polling_descriptor(platform::current_thread(), descriptor, *held, false);
    if (!fifo) return fifo.fault().errno_value == ENOSPC ? -ENOSPC : -ENOMEM;
    std::atomic<std::uint32_t>* notes = notes_of(descriptor, true);
    if (notes == nullptr) return -ENOMEM;
    for (;;) {
        std::uint32_t before = notes->load(std::memory_order_acquire);
        const int known = static_cast<int>(before & kWatchNumber) - 1;
        if (known >= 0 && is_watch(known) && same_file(known, *fifo)) return known;
        const int fresh = open_watch(*fifo);
        if (fresh < 0) return -ENOMEM;
        std::atomic<std::uint32_t>* of_fresh = notes_of(fresh, true);
        if (of_fresh == nullptr) {
            platform::close_file(fresh);
            return -ENOMEM;
        }
        of_fresh->store(kWatch, std::memory_order_release);
        if (notes->compare_exchange_strong(before, static_cast<std::uint32_t>(fresh) + 1, std::memory_order_acq_rel)) {
            if (known >= 0) close_watch(known);  // of a queue that had this number before
            return fresh;
        }
        close_watch(fresh);
    }
}

bool is_watch(int descriptor) { return (noted(descriptor) & kWatch) != 0; }

bool has_notes(int descriptor) { return noted(descriptor) != 0; }

void drop_notes(int descriptor) {
    std::atomic<std::uint32_t>* notes = notes_of(descriptor, false);
    if (notes == nullptr) return;
    std::uint32_t before = notes->load(std::memory_order_acquire);
    while ((before & ~kWatch) != 0)
        if (notes->compare_exchange_weak(before, before & kWatch, std::memory_order_acq_rel)) break;
    if ((before & kWatchNumber) != 0) close_watch(static_cast<int>(before & kWatchNumber) - 1);
}

void drop_notes_range(unsigned first, unsigned last) {
    for (unsigned page = first / kNotesPerPage; page < kPages && page <= last / kNotesPerPage; ++page) {
        if (pages[page].load(std::memory_order_acquire) == nullptr) continue;
        for (unsigned at = 0; at < kNotesPerPage; ++at) {
            const unsigned descriptor = page * kNotesPerPage + at;
            if (descriptor >= first && descriptor <= last) drop_notes(static_cast<int>(descriptor));
        }
    }
}

}  // namespace muster::capi
