#include "objects/segment.hpp"
#include <sys/ipc.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/statfs.h>
#include "platform/crash_point.hpp"
#include "platform/mutant.hpp"
#include "platform/process.hpp"

namespace muster::objects {
using platform::Fault;
using platform::File;
using platform::Outcome;

namespace {
constexpr memory::Format kFormat{kSegmentMagic, kSegmentFormat, kSegmentFingerprint, kSegmentControlBytes};
constexpr Fault kGone{EIDRM, "the segment was removed"};
// Whoever looks at a record may find its life over because a child has gone over from the one it was given to one of its own. That
// happens once; more changes under one's eyes are damage.
constexpr int kLivesOfRecord = 4;

std::uint64_t now_s() {
    return static_cast<std::uint64_t>(platform::realtime_coarse_s());
}

SegmentStatus describe(const SegmentControl& c, int id, std::uint64_t size_bytes) {
    SegmentStatus status{};
    status.id = id;
    status.key = c.header.key.load_relaxed();  // relaxed, all: one look, as the kernel's
    status.permission = Permission::of(c.header);
    status.flags = c.flags.load_relaxed() & kSegmentShown;
    status.size_bytes = size_bytes;
    status.creator_pid = c.creator_pid;
    status.last_pid = c.last_pid.load_relaxed();
    status.attached_s = c.attached_s.load_relaxed();
    status.detached_s = c.detached_s.load_relaxed();
    status.changed_s = c.changed_s.load_relaxed();
    return status;
}
}  // namespace

Outcome<> Segment::create(int fd, const SegmentOptions& options, const struct stat& data) {
    auto mapping = memory::Mapping::create(fd, kSegmentControlBytes, kSegmentPageBytes, &damage_);
    if (!mapping) return mapping.fault();
    mapping_.emplace(std::move(*mapping));
    SegmentControl& c = control();
    memory::fill_header(c.header, kFormat, kSegmentControlBytes);
    c.size_bytes = size_bytes_ = options.size_bytes;
    c.data_bytes = data_bytes_ = static_cast<std::uint64_t>(data.st_size);
    c.data_inode = data_inode_ = data.st_ino;
    c.data_device = data_device_ = data.st_dev;
    c.flags.store_relaxed(options.flags);  // relaxed, here and below: published by `ready`
    c.creator_pid = platform::process_id();
    c.changed_s.store_relaxed(now_s());
    c.records_reserved.store_relaxed(records_in_pages(1));
    mapping_->publish_ready();
    return platform::done();
}

Outcome<> Segment::open(const SysvFile& opened) {
    auto mapping = memory::Mapping::open(opened.file.fd(), kFormat, &damage_);
    if (!mapping) return mapping.fault();
    mapping_.emplace(std::move(*mapping));
    const SegmentControl& c = control();
    id_ = opened.id;
    size_bytes_ = c.size_bytes;
    data_bytes_ = c.data_bytes;
    data_inode_ = c.data_inode;
    data_device_ = c.data_device;
    const bool sound = size_bytes_ != 0 && data_bytes_ >= size_bytes_ && data_bytes_ <= INT64_MAX;
    const bool live = is_live();
    if (sound && live) return platform::done();
    close();
    return live ? Fault{EBADMSG, "the segment's sizes contradict each other"} : kGone;
}

Outcome<sync::ThreadLock> Segment::hold(platform::ThreadState& thread) {
    if (damage_.load(std::memory_order_relaxed) != 0) return Fault{EBADMSG, "the segment's control file was cut short"};
    // No repair after a death: see the layout's last invariant.
    auto lock = sync::ThreadLock::acquire(thread, control().lock, sync::ActorTable{nullptr, 0});
    if (lock && !is_live()) return kGone;
    return lock;
}

std::uint32_t Segment::records_used() const {
    const std::uint32_t used = control().records_used.load_acquire(), reserved = control().records_reserved.load_relaxed();
    const std::uint32_t most = reserved < kAttachmentRecords ? reserved : kAttachmentRecords;
    return used < most ? used : most;
}

bool Segment::free_record(AttachmentRecord& record, std::uint64_t life) {
    if (MUSTER_MUTANT(forget_by_store)) record.life.store_release(0);
    else if (!record.life.compare_exchange(life, 0)) return false;
    MUSTER_CRASH_POINT("segment.record_freed");
    record.maps.store_release(0);
    return true;
}

std::uint64_t Segment::count_living(LifeWatch& watch) {
    std::uint64_t sum = 0;
    const std::uint32_t used = records_used();
    for (std::uint32_t number = 0; number < used; ++number) {
        AttachmentRecord& record = record_at(number);
        std::uint64_t life = record.life.load_acquire();
        bool alive = false;
        for (int changes = 0; changes < kLivesOfRecord && life != 0; ++changes) {
            MUSTER_CRASH_POINT("segment.life_read");
            alive = watch.is_alive(life) || MUSTER_MUTANT(dead_stay_attached);
            if (alive) break;
            const std::uint32_t pid = record.pid.load_relaxed();
            if (free_record(record, life)) {
                control().last_pid.store_relaxed(pid);  // relaxed: lock held
                control().detached_s.store_relaxed(now_s());
                break;
            }
            life = record.life.load_acquire();  // it has gone over to another meanwhile
        }
        if (alive) sum += record.maps.load_relaxed();
    }
    return sum;
}

bool Segment::destroy_now(LifeWatch& watch) {
    if ((control().flags.load_relaxed() & kSegmentDestroy) == 0 || count_living(watch) != 0) return false;
    MUSTER_CRASH_POINT("segment.deserted");
    SysvRegistry::mark_removed(control().header);
    return true;
}

Outcome<> Segment::reserve_records(std::uint32_t wanted) {
    SegmentControl& c = control();
    const std::uint32_t reserved = c.records_reserved.load_relaxed();
    if (wanted <= reserved) return platform::done();
    if (wanted > kAttachmentRecords) return Fault{ENOMEM, "no more processes can attach this segment"};
    // The control file's descriptor is not kept: the pages get their memory through the mapping.
    const std::uint64_t end = sizeof(SegmentControl) + std::uint64_t{reserved} * sizeof(AttachmentRecord);
    const long rc =
        platform::system_call(SYS_madvise, mapping_->start() + end, kSegmentPageBytes, 23 /* MADV_POPULATE_WRITE, Linux 5.14 */);
    if (rc == -EFAULT || rc == -ENOMEM || rc == -EHWPOISON) return Fault{ENOMEM, "the file system of the domain is full"};
    c.records_reserved.store_release(reserved + kSegmentPageBytes / static_cast<std::uint32_t>(sizeof(AttachmentRecord)));
    return platform::done();
}

Outcome<std::uint32_t> Segment::take_record(platform::ThreadState& thread, std::uint64_t life, std::uint32_t pid,
                                            MapsChange change, LifeWatch& watch) {
    auto lock = hold(thread);
    if (!lock) return lock.fault();
    SegmentControl& c = control();
    std::uint32_t used = records_used(), number = 0;
    const auto find_free = [&] {
        for (number = 0; number < used && record_at(number).life.load_relaxed() != 0;) ++number;
    };
    find_free();
    if (number == used && used % 256 == 240) {  // before taking another page
        count_living(watch);
        find_free();
    }
    if (number == used) {
        if (auto reserved = reserve_records(number + 1); !reserved) return reserved.fault();
        record_at(number).life.store_relaxed(0);
        c.records_used.store_release(++used);
    }
    AttachmentRecord& record = record_at(number);
    record.pid.store_relaxed(pid);  // relaxed: lock held
    if (!MUSTER_MUTANT(attach_without_count)) record.maps.store_relaxed(static_cast<std::uint32_t>(change.maps));
    MUSTER_CRASH_POINT("segment.record_filled");
    record.life.store_release(life);  // COMMIT: it counts
    MUSTER_CRASH_POINT("segment.record_taken");
    if (change.attached) {
        c.attached_s.store_relaxed(now_s());
        c.last_pid.store_relaxed(pid);
    }
    return number;
}

Outcome<bool> Segment::change_maps(platform::ThreadState& thread, std::uint32_t& number, std::uint64_t life, std::uint32_t pid,
                                   MapsChange change, LifeWatch& watch) {
    auto lock = hold(thread);
    if (!lock) return lock.fault();
    SegmentControl& c = control();
    if (number >= records_used() || record_at(number).life.load_relaxed() != life) {
        // The record is not ours: damage, or the life was declared over. Nothing to give back.
        number = kNoRecord;
    } else {
        AttachmentRecord& record = record_at(number);
        const std::int64_t maps = static_cast<std::int64_t>(record.maps.load_relaxed()) + change.maps;
        if (maps > 0) {
            record.maps.store_release(static_cast<std::uint32_t>(maps));  // COMMIT
        } else {
            free_record(record, life);
            number = kNoRecord;
        }
    }
    MUSTER_CRASH_POINT("segment.maps_changed");
    if (change.attached) c.attached_s.store_relaxed(now_s());
    if (change.detached) c.detached_s.store_relaxed(now_s());
    if (change.attached || change.detached) c.last_pid.store_relaxed(pid);
    return change.maps < 0 && destroy_now(watch);
}

void Segment::renew_record(std::uint32_t number, std::uint64_t old_life, std::uint64_t new_life, std::uint32_t pid) {
    if (number >= records_used() || !record_at(number).life.compare_exchange(old_life, new_life)) return;
    record_at(number).pid.store_relaxed(pid);  // relaxed: told to tools only
}

Outcome<SegmentStatus> Segment::status(platform::ThreadState& thread, LifeWatch& watch) {
    auto lock = hold(thread);
    if (!lock) return lock.fault();
    const std::uint64_t living = count_living(watch);  // first: it may change the times
    SegmentStatus status = describe(control(), id_, size_bytes_);
    status.attachments = living;
    return status;
}

Outcome<SegmentStatus> Segment::peek(const SysvFile& opened, LifeWatch& watch) {
    alignas(SegmentControl) std::byte bytes[sizeof(SegmentControl)];
    if (platform::read_at(opened.file.fd(), bytes, sizeof bytes, 0) != static_cast<long>(sizeof bytes))
        return Fault{EBADMSG, "the segment's control file was cut short"};
    const auto& c = *reinterpret_cast<const SegmentControl*>(bytes);
    if (auto checked = memory::check_header(c.header, kFormat, kSegmentControlBytes); !checked) return checked.fault();
    SegmentStatus status = describe(c, opened.id, c.size_bytes);
    const auto add = [](void* sum, const User& user) {
        if (user.alive) *static_cast<std::uint64_t*>(sum) += user.maps;
    };
    if (auto looked = look(opened, watch, add, &status.attachments); !looked) return looked.fault();
    return status;
}

Outcome<> Segment::look(const SysvFile& opened, LifeWatch& watch, SeeUser see, void* context) {
    const int fd = opened.file.fd();
    std::uint32_t used = 0;
    if (platform::read_at(fd, &used, sizeof used, offsetof(SegmentControl, records_used)) != static_cast<long>(sizeof used))
        return Fault{EBADMSG, "the segment's control file was cut short"};
    if (used > kAttachmentRecords) used = kAttachmentRecords;
    AttachmentRecord part[64];
    for (std::uint32_t at = 0; at < used; at += 64) {
        const std::uint32_t count = used - at < 64 ? used - at : 64;
        const auto wanted = static_cast<long>(count * sizeof(AttachmentRecord));
        if (platform::read_at(fd, part, static_cast<std::size_t>(wanted),
                              sizeof(SegmentControl) + at * sizeof(AttachmentRecord)) != wanted)
            break;
        for (std::uint32_t i = 0; i < count; ++i) {
            AttachmentRecord& record = part[i];
            std::uint64_t life = record.life.load_relaxed();  // relaxed, here and below: a private copy
            bool alive = false;
            for (int changes = 0; changes < kLivesOfRecord && life != 0; ++changes) {
                alive = watch.is_alive(life);
                if (alive) break;
                const std::uint64_t place = sizeof(SegmentControl) + (at + i) * sizeof record, before = life;
                if (platform::read_at(fd, &record, sizeof record, place) != static_cast<long>(sizeof record)) break;
                life = record.life.load_relaxed();
                if (life == before) break;
            }
            if (life != 0) see(context, {record.pid.load_relaxed(), record.maps.load_relaxed(), alive});
        }
    }
    return platform::done();
}

Outcome<bool> Segment::mark_for_destruction(platform::ThreadState& thread, LifeWatch& watch, std::uint32_t& key) {
    auto lock = hold(thread);
    if (!lock) return lock.fault();
    SegmentControl& c = control();
    key = c.header.key.load_relaxed();
    c.flags.or_release(kSegmentDestroy);  // COMMIT
    MUSTER_CRASH_POINT("segment.marked");
    if (destroy_now(watch)) return true;
    c.header.key.store_release(0);
    return false;
}

bool Segment::bury_if_deserted(platform::ThreadState& thread, LifeWatch& watch, SysvRegistry& registry) {
    if ((control().flags.load_acquire() & kSegmentDestroy) == 0) return false;
    {
        auto lock = hold(thread);
        if (!lock) return lock.fault().errno_value == EIDRM;
        if (!destroy_now(watch)) return false;
    }
    registry.remove_names(SysvKind::shm, id_, control().header.key.load_relaxed());
    return true;
}

Outcome<> Segment::set_locked(platform::ThreadState& thread, bool locked) {
    auto lock = hold(thread);
    if (!lock) return lock.fault();
    if (is_huge()) return platform::done();  // as the kernel: such memory is never swapped
    if (locked)
        control().flags.or_release(kSegmentLocked);
    else
        control().flags.and_release(~kSegmentLocked);
    return platform::done();
}

Outcome<> Segment::set_permission(platform::ThreadState& thread, int fd, int data_fd, std::uint32_t uid, std::uint32_t gid,
                                  std::uint32_t mode) {
    auto lock = hold(thread);
    if (!lock) return lock.fault();
    if (auto set = SysvRegistry::set_permission(SysvKind::shm, fd, data_fd, control().header, uid, gid, mode); !set) return set;
    control().changed_s.store_relaxed(now_s());
    return platform::done();
}

// ---- shmget ----

namespace {

struct Making {
    const Domain& domain;
    SysvRegistry& registry;
    std::uint64_t size_bytes;
    int flags;
    SysvLimits limits;
    File data;
    Segment segment;
};

// Whether the machine has such huge pages, and enough: it is asked with a mapping of its own that is given back at once.
Outcome<> probe_huge_pages(std::uint64_t size_bytes, int flags) {
    const int log = static_cast<int>(static_cast<unsigned>(flags) >> 26 & 0x3f);
    const int map_flags =
        MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | log << 26 | ((flags & SHM_NORESERVE) != 0 ? MAP_NORESERVE : 0);
    const long at = platform::system_call(SYS_mmap, 0, size_bytes, PROT_READ | PROT_WRITE, map_flags, -1, 0);
    if (at < 0 && at > -4096) return Fault{static_cast<int>(-at), "the machine has no such huge pages to give"};
    // The kernel rounds the length up itself, but munmap takes whole huge pages only.
    std::uint64_t rounded = size_bytes;
    for (int bits = log != 0 ? log : 21; bits < 40; ++bits) {
        rounded = (size_bytes + (std::uint64_t{1} << bits) - 1) >> bits << bits;
        if (platform::unmap(reinterpret_cast<void*>(at), rounded) == 0) break;
    }
    return platform::done();
}

// Gives the file its memory now, so that touching it is never a SIGBUS.
Outcome<> reserve_all(int fd, std::uint64_t bytes) {
    struct statfs space {};
    constexpr Fault kFull{ENOMEM, "the file system of the domain has no room for the segment"};
    if (platform::system_call(SYS_fstatfs, fd, &space) == 0 && space.f_blocks != 0 &&
        static_cast<std::uint64_t>(space.f_bavail) < (bytes - 1) / static_cast<std::uint64_t>(space.f_bsize) + 1)
        return kFull;
    const int rc = platform::reserve_bytes(fd, 0, bytes);
    if (rc < 0) return rc == -ENOSPC ? kFull : Fault{rc == -EFBIG ? ENOMEM : -rc};
    return platform::done();
}

Outcome<> make_data(Making& making) {
    auto data = making.registry.create_nameless();
    if (!data) return data.fault();
    const auto mode = static_cast<unsigned>(making.flags) & 0777;
    if (mode != 0600)
        if (const int rc = platform::change_mode(data->fd(), mode | 0600); rc < 0) return Fault{-rc};
    rlimit limit;
    if (platform::system_call(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, &limit) == 0 && limit.rlim_cur < making.size_bytes)
        return Fault{ENOMEM, "the segment is larger than the file size limit of this process (ulimit -f)"};
    if (const int rc = platform::truncate_file(data->fd(), making.size_bytes); rc < 0) return Fault{rc == -EFBIG ? EINVAL : -rc};
    if ((making.flags & SHM_NORESERVE) == 0) {
        auto reserved = reserve_all(data->fd(), making.size_bytes);
        if (!reserved && reserved.fault().errno_value == ENOMEM) {
            sweep_segments(making.domain, making.registry, nullptr);
            reserved = reserve_all(data->fd(), making.size_bytes);
        }
        if (!reserved) return reserved.fault();
    }
    making.data = std::move(*data);
    return platform::done();
}

Outcome<memory::ObjectHeader*> build(void* context, int fd) {
    Making& making = *static_cast<Making*>(context);
    const std::uint64_t size = making.size_bytes;
    if (size == 0 || size > making.limits.shmmax || size > INT64_MAX)
        return Fault{EINVAL, "the size is not one that this domain allows"};
    const std::uint64_t pages = (size - 1) / kSegmentPageBytes + 1;
    if (making.limits.shmall < SysvLimits{}.shmall) {
        const std::uint64_t taken = segment_totals(making.domain, making.registry).pages;
        if (taken > making.limits.shmall || pages > making.limits.shmall - taken)
            return Fault{ENOSPC, "the limit of shared memory is reached (shmall)"};
    }
    std::uint32_t kept_flags = (making.flags & SHM_NORESERVE) != 0 ? kSegmentUnreserved : 0;
    if ((making.flags & SHM_HUGETLB) != 0) {
        if (auto possible = probe_huge_pages(size, making.flags); !possible) return possible.fault();
        kept_flags |= kSegmentHuge;
    }
    if (auto made = make_data(making); !made) return made.fault();
    struct stat status;
    if (const int rc = platform::file_status(making.data.fd(), &status); rc < 0) return Fault{-rc};
    if (auto made = making.segment.create(fd, SegmentOptions{size, kept_flags}, status); !made)
        return Fault{made.fault().errno_value == EFBIG ? ENOSPC : made.fault().errno_value, made.fault().rule};
    return &making.segment.header();
}

Outcome<> fits(void* context, const SysvFile& existing) {
    const Making& making = *static_cast<Making*>(context);
    std::uint64_t size_bytes = 0;
    const long got = platform::read_at(existing.file.fd(), &size_bytes, sizeof size_bytes, offsetof(SegmentControl, size_bytes));
    if (got != static_cast<long>(sizeof size_bytes)) return Fault{EINVAL, "the segment is damaged"};
    if (size_bytes < making.size_bytes) return Fault{EINVAL, "the segment is smaller than that"};
    return platform::done();
}

int companion(void* context) {
    return static_cast<Making*>(context)->data.fd();
}

}  // namespace

Outcome<int> get_segment(const Domain& domain, SysvRegistry& registry, std::uint32_t key, std::uint64_t size_bytes, int flags) {
    Making making{domain, registry, size_bytes, flags, SysvLimits::of(domain), {}, {}};
    if (key == 0 || (flags & IPC_CREAT) != 0) sweep_segments(domain, registry, nullptr);
    auto found =
        registry.get(SysvKind::shm, key, flags, making.limits.shmmni, SysvMaker{&build, &fits, &companion, &making});
    if (!found) return found.fault();
    return found->id;
}

void sweep_segments(const Domain& domain, SysvRegistry& registry, const Life* own) {
    for (int index = registry.next_marked(SysvKind::shm, 0); index >= 0;
         index = registry.next_marked(SysvKind::shm, static_cast<std::uint32_t>(index) + 1)) {
        const auto place = static_cast<std::uint32_t>(index);
        if (registry.clear_leftover(SysvKind::shm, place)) {
            registry.unmark(SysvKind::shm, place);
            continue;
        }
        auto file = registry.open_index(SysvKind::shm, place);
        if (!file) continue;
        Segment segment;
        if (auto opened = segment.open(*file); !opened) continue;
        LifeWatch watch(domain, own);
        segment.bury_if_deserted(platform::current_thread(), watch, registry);
    }
}

SegmentTotals segment_totals(const Domain&, SysvRegistry& registry) {
    SegmentTotals totals{};
    for (int index = registry.highest_index(SysvKind::shm); index >= 0; --index) {
        const auto place = static_cast<std::uint32_t>(index);
        auto file = registry.open_index(SysvKind::shm, place);
        if (!file) continue;
        ++totals.segments;
        std::uint64_t size_bytes = 0;
        if (platform::read_at(file->file.fd(), &size_bytes, sizeof size_bytes, offsetof(SegmentControl, size_bytes)) ==
                static_cast<long>(sizeof size_bytes) &&
            size_bytes != 0)
            totals.pages += (size_bytes - 1) / kSegmentPageBytes + 1;
        auto data = registry.open_companion(SysvKind::shm, place, O_PATH);
        struct stat status;
        if (data && platform::file_status(data->fd(), &status) == 0)
            totals.resident_pages += static_cast<std::uint64_t>(status.st_blocks) / (kSegmentPageBytes / 512);
    }
    return totals;
}

}  // namespace muster::objects
