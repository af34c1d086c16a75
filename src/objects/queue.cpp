#include "objects/queue.hpp"
#include <bit>
#include <cstdio>
#include "objects/domain.hpp"
#include "objects/queue_acting.hpp"
#include "platform/file.hpp"
#include "platform/process.hpp"

namespace muster::objects {
using platform::Fault;
using platform::Outcome;

namespace {
constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kInlineLeast = 96;             // with the header, two cache lines
constexpr std::uint64_t kAllInlineBytesMax = 1 << 20;  // queues up to this size keep every message in its slot
constexpr std::uint32_t kActors = 4096;                // threads that may wait at one queue
constexpr std::uint32_t kSpareSlots = kActors + 8;     // one for what each of them holds
constexpr std::uint32_t kRingEntriesMax = 1024;

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t to) { return (value + to - 1) / to * to; }

constexpr memory::Format kFormat{kQueueMagic, kQueueFormat, kQueueFingerprint, sizeof(QueueHeader)};

}  // namespace

QueueGeometry plan_queue(std::uint64_t messages_max, std::uint64_t message_bytes_max, QueueFace face, std::uint64_t& file_bytes) {
    const bool typed = face == QueueFace::types;
    const std::uint64_t beside = sizeof(Slot) + (typed ? sizeof(TypeLane) : 0);  // the message in a slot
    QueueGeometry g{};
    g.face = static_cast<std::uint32_t>(face);
    g.messages_max = messages_max;
    g.message_bytes_max = message_bytes_max;
    g.slots = static_cast<std::uint32_t>(messages_max) + kSpareSlots;
    const bool all_inline = message_bytes_max <= kInlineLeast || messages_max * (message_bytes_max + beside) <= kAllInlineBytesMax;
    const std::uint64_t inline_wanted = all_inline && message_bytes_max > kInlineLeast ? message_bytes_max : kInlineLeast;
    g.slot_stride = static_cast<std::uint32_t>(round_up(inline_wanted + beside, 64));
    g.inline_bytes = g.slot_stride - static_cast<std::uint32_t>(beside);
    g.ring_entries = std::bit_ceil(static_cast<std::uint32_t>(messages_max < kRingEntriesMax ? messages_max + 16 : kRingEntriesMax));
    if (g.ring_entries > kRingEntriesMax) g.ring_entries = kRingEntriesMax;
    g.actors = kActors;
    g.region_stride = all_inline ? 0 : round_up(message_bytes_max, kPage);
    g.lanes_offset = round_up(sizeof(QueueHeader) + 8ull * g.ring_entries, 64);
    g.actors_offset = round_up(g.lanes_offset + (typed ? 0 : kLaneBlocks * sizeof(LaneBlock)), kPage);
    g.slots_offset = round_up(g.actors_offset + kActors * sizeof(sync::Actor), kPage);
    g.regions_offset = round_up(g.slots_offset + std::uint64_t{g.slots} * g.slot_stride, kPage);
    file_bytes = round_up(g.regions_offset + std::uint64_t{g.slots} * g.region_stride, kPage);
    return g;
}

namespace {
// The second file of a typed queue, as the first one names it.
Outcome<> look_at_slots_file(int slots_fd, QueueGeometry& geometry) {
    struct stat status;
    if (const int rc = platform::file_status(slots_fd, &status); rc < 0) return Fault{-rc};
    geometry.slots_inode = status.st_ino;
    geometry.slots_device = status.st_dev;
    return platform::done();
}
}  // namespace

Outcome<> Queue::create(int fd, const QueueOptions& options, int slots_fd) {
    if (options.messages_max == 0 || options.message_bytes_max == 0 || options.messages_max > kQueueMessagesMost ||
        options.message_bytes_max > kQueueMessageBytesMost)
        return Fault{EINVAL, "a queue holds 1 to 16000000 messages of 1 byte to 1 GiB"};
    std::uint64_t file_bytes = 0;
    const bool typed = options.face == QueueFace::types;
    QueueGeometry geometry = plan_queue(options.messages_max, options.message_bytes_max, options.face, file_bytes);
    const std::uint64_t behind_bytes = typed ? file_bytes - geometry.slots_offset : 0;
    if (typed) {
        file_bytes = geometry.slots_offset;
        if (auto long_enough = memory::set_length(slots_fd, behind_bytes); !long_enough) return long_enough;
        if (auto looked = look_at_slots_file(slots_fd, geometry); !looked) return looked;
    }
    // One page, or three for deep queues, is all that an idle queue takes.
    // (And the first actors of a typed one: whoever removes it is one.)
    const std::uint64_t reserved = typed ? geometry.actors_offset + kPage : round_up(geometry.lanes_offset + sizeof(LaneBlock), kPage);
    auto mapping = memory::Mapping::create(fd, file_bytes, reserved, &mapping_damaged_, behind_bytes);
    if (!mapping) return mapping.fault();
    if (typed)
        if (auto appended = mapping->append(slots_fd); !appended) return appended;
    mapping_.~Mapping();  // a queue made in vain just before: somebody else took its key or its index
    new (&mapping_) memory::Mapping(std::move(*mapping));
    header_ = reinterpret_cast<QueueHeader*>(mapping_.start());
    memory::fill_header(header_->object, kFormat, file_bytes);
    const std::uint32_t user = platform::effective_user(), group = platform::effective_group();
    header_->object.owner_uid.store_relaxed(user);  // relaxed, all of it: published by publish_ready()
    header_->object.creator_uid.store_relaxed(user);
    header_->object.owner_gid.store_relaxed(group);
    header_->object.creator_gid.store_relaxed(group);
    header_->object.mode.store_relaxed(options.mode);
    header_->geometry = geometry;
    if (typed) {
        header_->shared.bytes_max.store_relaxed(options.bytes_max);
        header_->shared.actors_reserved.store_relaxed(kPage / sizeof(sync::Actor));
        header_->send.changed_s.store_relaxed(platform::realtime_s());
    } else {
        header_->shared.lanes_reserved.store_relaxed((1ull << ((reserved - round_up(geometry.lanes_offset - kPage + 1, kPage)) / kPage)) - 1);
    }
    header_->sent.cpu.store_relaxed(~0u);
    header_->received.cpu.store_relaxed(~0u);
    attach(geometry);
    return platform::done();
}

Outcome<> Queue::open(int fd, bool even_damaged, int slots_fd) {
    const bool typed = slots_fd >= 0;
    struct stat slots{};
    if (typed)
        if (const int rc = platform::file_status(slots_fd, &slots); rc < 0) return Fault{-rc};
    if (typed && (!S_ISREG(slots.st_mode) || slots.st_nlink > 1)) return Fault{EBADMSG, "the queue's second file is another's"};
    const auto behind_bytes = static_cast<std::uint64_t>(slots.st_size);
    auto mapping = memory::Mapping::open(fd, kFormat, &mapping_damaged_, behind_bytes);
    if (!mapping) return mapping.fault();
    if (typed)
        if (auto appended = mapping->append(slots_fd); !appended) return appended;
    const std::uint64_t file_bytes = mapping->bytes();
    auto* header = reinterpret_cast<QueueHeader*>(mapping->start());
    const QueueGeometry geometry = header->geometry;  // our copy
    if (auto checked = check_geometry(geometry, file_bytes); !checked) return checked;
    if (typed != (geometry.face == static_cast<std::uint32_t>(QueueFace::types))) return Fault{EBADMSG, "the queue is one of another kind (POSIX or System V)"};
    if (typed && (geometry.slots_inode != slots.st_ino || geometry.slots_device != slots.st_dev || file_bytes - behind_bytes != geometry.slots_offset))
        return Fault{EBADMSG, "the queue's second file is another queue's"};
    if (!even_damaged && (header->shared.flags.load_relaxed() & kQueueDamaged) != 0)
        return Fault{EBADMSG, "the queue was found damaged before; `muster fsck` says more"};
    new (&mapping_) memory::Mapping(std::move(*mapping));
    header_ = header;
    attach(geometry);
    return platform::done();
}

Outcome<> Queue::check_geometry(const QueueGeometry& geometry, std::uint64_t file_bytes) const {
    if (geometry.messages_max == 0 || geometry.messages_max > kQueueMessagesMost || geometry.message_bytes_max == 0 || geometry.message_bytes_max > kQueueMessageBytesMost)
        return Fault{EBADMSG, "the queue's capacity or message size is out of range; its header is damaged"};
    std::uint64_t planned_bytes = 0;
    if (geometry.face > static_cast<std::uint32_t>(QueueFace::types)) return Fault{EBADMSG, "the queue's header names a face that is none; it is damaged"};
    QueueGeometry planned = plan_queue(geometry.messages_max, geometry.message_bytes_max, static_cast<QueueFace>(geometry.face), planned_bytes);
    if (geometry.face == static_cast<std::uint32_t>(QueueFace::types)) {  // zero in a queue of one file
        planned.slots_inode = geometry.slots_inode;
        planned.slots_device = geometry.slots_device;
    }
    if (__builtin_memcmp(&planned, &geometry, sizeof planned) != 0 || planned_bytes != file_bytes)
        return Fault{EBADMSG, "the queue's header contradicts itself; it is damaged"};
    return platform::done();
}

// From the checked numbers: the same plan that the creator made.
void Queue::attach(const QueueGeometry& g) {
    std::uint64_t file_bytes = 0;
    typed_ = g.face == static_cast<std::uint32_t>(QueueFace::types);
    const QueueGeometry planned = plan_queue(g.messages_max, g.message_bytes_max, typed_ ? QueueFace::types : QueueFace::priorities, file_bytes);
    std::byte* start = mapping_.start();
    messages_max_ = planned.messages_max;
    message_bytes_max_ = planned.message_bytes_max;
    inline_bytes_ = planned.inline_bytes;
    ring_mask_ = planned.ring_entries - 1;
    inbox_ = reinterpret_cast<memory::ShmU32*>(start + sizeof(QueueHeader));
    returned_ = inbox_ + planned.ring_entries;
    slots_ = {start + planned.slots_offset, planned.slots, planned.slot_stride};
    slots_offset_ = planned.slots_offset;
    region_stride_ = planned.region_stride;
    regions_offset_ = planned.regions_offset;
    lanes_offset_ = planned.lanes_offset;
    actors_offset_ = planned.actors_offset;
    actors_ = {reinterpret_cast<sync::Actor*>(start + planned.actors_offset), planned.actors};
    index_ = PriorityIndex(&header_->receive, reinterpret_cast<LaneBlock*>(start + planned.lanes_offset), slots_);
    types_ = TypeIndex(&header_->receive.types, slots_);
}

int open_fifo(const Domain& domain, const Queue& queue, bool create) {
    char name[kFifoNameBytes];
    fifo_name(queue.object(), name);
    for (int tries = 0; tries < 3; ++tries) {
        const int fd = platform::open_at(domain.directory(), name, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0) {
            struct stat status;
            if (platform::file_status(fd, &status) == 0 && S_ISFIFO(status.st_mode)) {
                platform::file_control(fd, F_SETPIPE_SZ, 8192);  // two packets fill it
                return fd;
            }
            platform::close_file(fd);
            return -EBADMSG;
        }
        if (fd != -ENOENT || !create) return fd;
        if (auto made = domain.ensure_directory("poll"); !made) return -made.fault().errno_value;
        // Whoever may use the queue may use its FIFO; the umask has no say.
        const unsigned mode = fence_mode(queue.permission().mode);
        const int rc = platform::make_fifo(domain.directory(), name, mode);
        if (rc < 0 && rc != -EEXIST) return rc;
        if (rc != 0) continue;
        // It belongs to the queue's owner, whoever polls first; where that is not allowed, to everybody.
        const Permission owner = queue.permission();
        const bool given = platform::system_call(SYS_fchownat, domain.directory(), static_cast<const char*>(name), owner.owner_uid, owner.owner_gid, AT_SYMLINK_NOFOLLOW) == 0;
        platform::system_call(SYS_fchmodat, domain.directory(), static_cast<const char*>(name), given ? mode : 0666u);
    }
    return -ENOENT;
}

Outcome<> Queue::may_wait(const Patience& patience) const {
    if (patience.deadline_ns == platform::kNoWait) return Fault{EAGAIN, nullptr};
    if (patience.descriptor < 0) return platform::done();
    const std::uint64_t now = static_cast<std::uint64_t>(patience.descriptor) << 32 | header_->shared.nonblock_changes.load_acquire();
    if (patience.known_blocking != nullptr && patience.known_blocking->load(std::memory_order_relaxed) == now) return platform::done();
    const int flags = platform::file_control(patience.descriptor, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK) != 0) return Fault{EAGAIN, nullptr};
    if (flags >= 0 && patience.known_blocking != nullptr) patience.known_blocking->store(now, std::memory_order_relaxed);
    return platform::done();
}

Outcome<> remove_queue(const Domain& domain, const char* name) {
    auto file = domain.open_object(name);
    if (auto removed = domain.remove(name); !removed) return removed;
    if (!file) return platform::done();
    // Noted in the object for whoever uses its FIFO last. A file that is no sound queue is removed all the same.
    alignas(8) std::byte front[offsetof(QueueHeader, shared) + sizeof(QueueShared)];
    if (platform::read_at(file->fd(), front, sizeof front, 0) != static_cast<long>(sizeof front)) return platform::done();
    const auto& header = *reinterpret_cast<const QueueHeader*>(front);
    if (header.object.magic != kQueueMagic || header.object.format != kQueueFormat) return platform::done();
    const std::uint32_t removed = 1;
    (void)platform::write_at(file->fd(), &removed, sizeof removed, offsetof(memory::ObjectHeader, removed));
    if ((header.shared.flags.load_relaxed() & kQueuePolled) != 0) remove_idle_fifo(domain, header.object);
    return platform::done();
}

void fifo_name(const memory::ObjectHeader& object, char (&name)[kFifoNameBytes]) {
    std::snprintf(name, sizeof name, "poll/%016llx%016llx", static_cast<unsigned long long>(object.uuid[0]),
                  static_cast<unsigned long long>(object.uuid[1]));
}

void remove_idle_fifo(const Domain& domain, const memory::ObjectHeader& object) {
    char name[kFifoNameBytes];
    fifo_name(object, name);
    // Nobody has it open: then nobody polls, and whoever will makes it anew.
    const int fd = platform::open_at(domain.directory(), name, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0) platform::close_file(fd);
    if (fd == -ENXIO) (void)domain.remove(name);
}

Fault Queue::damaged(const char* what) const {
    if ((header_->shared.flags.or_release(kQueueDamaged) & kQueueDamaged) == 0) {
        // Nobody waits for what cannot come any more. Who is about to sleep sees the flag, or is woken.
        const std::uint32_t high = header_->shared.actors_high.load_acquire();
        for (std::uint32_t number = 0; number < high && number < actors_.count; ++number)
            if (actor(number).life.load_acquire() != 0) platform::futex_wake(actor(number).word.address(), 1);
    }
    return Fault{EBADMSG, what};
}

Outcome<> Queue::usable() const {
    const std::uint32_t flags = header_->shared.flags.load_acquire();
    // SYNC sysv.removed (acquire half).
    if (typed_ && header_->object.removed.load_acquire() == 1) return Fault{EIDRM, "the queue has been removed"};
    if (flags & kQueueDamaged) return Fault{EBADMSG, "the queue was found damaged; `muster fsck` says more"};
    if (mapping_damaged_.load(std::memory_order_relaxed) != 0)  // relaxed: set by a handler on this very thread, or soon enough
        return damaged("the queue's file was cut short or its memory is gone");
    return platform::done();
}

std::uint64_t Queue::count() const {
    // Two counters of two sides: the pair is right if neither moved while the other was read.
    for (int tries = 0;; ++tries) {
        const std::uint64_t freed = header_->received.freed.load_acquire();
        const std::uint64_t sent = header_->sent.sent.load_acquire();
        if (header_->received.freed.load_acquire() != freed && tries < 100) continue;
        const std::uint64_t count = sent - freed;
        return count > messages_max_ ? (count > slots_.count ? 0 : messages_max_) : count;
    }
}

QueueState Queue::state() const {
    const QueueHeader& h = *header_;
    QueueState s{};
    s.messages = count();
    s.messages_max = messages_max_;
    s.message_bytes_max = message_bytes_max_;
    s.receivers_waiting = h.sent.receivers_waiting.load_relaxed();  // relaxed: a picture of a moment
    s.senders_waiting = h.receive.senders_waiting.load_relaxed();
    s.last_send_pid = h.send.last_pid.load_relaxed();
    s.last_receive_pid = h.receive.last_pid.load_relaxed();
    s.notify_pid = h.send.notify_kind.load_relaxed() != 0 ? h.send.notify_pid.load_relaxed() : 0;
    s.created_ns = h.object.created_ns;
    s.polled = polled();
    return s;
}

}  // namespace muster::objects
