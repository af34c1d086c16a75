#include "objects/segment_attachments.hpp"
#include <sys/shm.h>
#include "platform/crash_point.hpp"
#include "platform/process.hpp"

namespace muster::objects {
using platform::Fault;
using platform::File;
using platform::Outcome;
using platform::ThreadState;

namespace {

constexpr std::uintptr_t kPageBytes = 4096;
constexpr std::uint32_t kFirstPieces = 64;
constexpr int kFixedNoReplace = 0x100000;                  // MAP_FIXED_NOREPLACE, Linux 4.17
constexpr int kHugePageAdvice = 14;                        // MADV_HUGEPAGE
constexpr int kMoveFixed = 2, kKeepOld = 4;  // MREMAP_FIXED, MREMAP_DONTUNMAP

std::uintptr_t round_up(std::uintptr_t bytes) {
    return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}
bool failed(long result) {
    return result < 0 && result > -4096;
}

}  // namespace

// ---- the lock ----

Attachments::Hold::Hold(Attachments& table) : table_(table), thread_(platform::current_thread()) {
    platform::enter_section(thread_);
    const std::uint64_t mine = std::uint64_t{thread_.generation} << 32 | thread_.thread_id;
    std::uint64_t seen = table_.holder_.load(std::memory_order_relaxed);
    for (;;) {
        if (seen == mine && table_.forking_ != 0) {  // a handler that came while this thread forks
            nested_ = true;
            return;
        }
        if (seen != 0 && seen >> 32 == thread_.generation) {
            platform::system_call(SYS_sched_yield);
            seen = table_.holder_.load(std::memory_order_relaxed);
        } else if (table_.holder_.compare_exchange_weak(seen, mine, std::memory_order_acquire)) {
            return;  // free, or held by a thread that does not exist in this child
        }
    }
}

Attachments::Hold::~Hold() {
    if (!nested_) table_.holder_.store(0, std::memory_order_release);
    platform::leave_section(thread_);
}

// ---- the table ----

Attachments::Attached* Attachments::entry(std::uint32_t number) const {
    std::uint32_t chunk = 0, first = 0;
    while (number - first >= kFirstChunk << chunk) first += kFirstChunk << chunk++;
    return chunks_[chunk] + (number - first);
}

template <class Act>
void Attachments::for_each_attached(Act act) {
    for (std::uint32_t number = 0; number < entries_; ++number)
        if (Attached* attached = entry(number); attached->pieces != 0) act(*attached);
}

Attachments::Attached* Attachments::find(int id, std::uint32_t& number) const {
    for (number = 0; number < entries_; ++number) {
        Attached* attached = entry(number);
        if (attached->pieces != 0 && attached->segment.id() == id && attached->segment.is_live()) return attached;
    }
    return nullptr;
}

// A free entry with the segment's control block in it.
Outcome<std::uint32_t> Attachments::open_segment(Domain& domain, SysvRegistry& registry, int id, ThreadState& thread) {
    std::uint32_t number = 0;
    while (number < entries_ && entry(number)->pieces != 0) ++number;
    if (number == entries_) {
        std::uint32_t chunk = 0, first = 0;
        while (chunk < kChunks && number - first >= kFirstChunk << chunk) first += kFirstChunk << chunk++;
        if (chunk == kChunks) return Fault{EMFILE, "the process has too many segments attached"};
        if (chunks_[chunk] == nullptr) {
            const long memory = platform::map_private_zeroes(sizeof(Attached) * (kFirstChunk << chunk));
            if (failed(memory)) return Fault{ENOMEM};
            chunks_[chunk] = reinterpret_cast<Attached*>(memory);
            for (std::uint32_t i = 0; i < kFirstChunk << chunk; ++i) new (chunks_[chunk] + i) Attached;
        }
        ++entries_;
    }
    Attached* attached = entry(number);
    attached->segment.close();
    attached->record = attached->child_record = Segment::kNoRecord;
    {
        auto file = registry.open(SysvKind::shm, id);
        if (!file) return file.fault();
        if (auto opened = attached->segment.open(*file); !opened) return opened.fault();
    }
    LifeWatch watch(domain, &life_);
    if (attached->segment.bury_if_deserted(thread, watch, registry)) {
        attached->segment.close();
        return Fault{EINVAL, "the segment was removed"};
    }
    return number;
}

bool Attachments::make_room(std::uint32_t more) {
    if (pieces_count_ + more <= pieces_room_) return true;
    const std::uint32_t room = pieces_room_ == 0 ? kFirstPieces : 2 * pieces_room_;
    const long memory = platform::map_private_zeroes(sizeof(Piece) * room);
    if (failed(memory)) return false;
    auto* pieces = reinterpret_cast<Piece*>(memory);
    for (std::uint32_t i = 0; i < pieces_count_; ++i) pieces[i] = pieces_[i];
    if (pieces_ != nullptr) platform::unmap(pieces_, sizeof(Piece) * pieces_room_);
    pieces_ = pieces;
    pieces_room_ = room;
    return true;
}

void Attachments::add_piece(const Piece& piece) {
    pieces_[pieces_count_++] = piece;
    ++entry(piece.segment)->pieces;
}

void Attachments::drop_piece(std::uint32_t at) {
    --entry(pieces_[at].segment)->pieces;
    pieces_[at] = pieces_[--pieces_count_];
}

void Attachments::update_range() {
    std::uintptr_t first = kNowhere, last = 0;
    for (std::uint32_t i = 0; i < pieces_count_; ++i) {
        if (pieces_[i].start < first) first = pieces_[i].start;
        if (pieces_[i].end > last) last = pieces_[i].end;
    }
    first_address_.store(first, std::memory_order_relaxed);
    last_address_.store(last, std::memory_order_relaxed);
}

// ---- lives ----

Outcome<> Attachments::prepare(Domain& domain, ThreadState& thread) {
    const bool strange = generation_ != 0 && generation_ != thread.generation;  // a child that no fork handler ran in
    if (!strange && life_.still_held()) {
        generation_ = thread.generation;
        return platform::done();
    }
    const std::uint64_t old_number = life_.number();
    auto fresh = Life::begin(domain);
    if (!fresh) return fresh.fault();
    if (!strange) life_.abandon();  // the descriptor was closed and may be the program's own by now
    life_ = std::move(*fresh);
    life_fd_.store(life_.fd(), std::memory_order_relaxed);
    generation_ = thread.generation;
    const std::uint32_t pid = platform::process_id_of(thread);
    LifeWatch watch(domain, &life_);
    for_each_attached([&](Attached& attached) {
        if (!strange) {
            attached.segment.renew_record(attached.record, old_number, life_.number(), pid);
            return;
        }
        auto record = attached.segment.take_record(thread, life_.number(), pid,
                                                   MapsChange{static_cast<std::int32_t>(attached.pieces), false, false}, watch);
        attached.record = record ? *record : Segment::kNoRecord;
    });
    return platform::done();
}

void Attachments::prepare_if_forked(ThreadState& thread) {
    if (generation_ == thread.generation || generation_ == 0) return;
    if (auto domain = find_domain()) (void)prepare(**domain, thread);
}

// Tells the segment what happened to its mappings; the last one of a marked segment takes it away.
void Attachments::recount(std::uint32_t number, MapsChange change, ThreadState& thread) {
    Attached* attached = entry(number);
    auto domain = find_domain();
    if (domain && attached->record != Segment::kNoRecord) {
        LifeWatch watch(**domain, &life_);
        auto destroyed = attached->segment.change_maps(thread, attached->record, life_.number(), platform::process_id_of(thread),
                                                       change, watch);
        if (destroyed && *destroyed)
            registry_of(**domain).remove_names(SysvKind::shm, attached->segment.id(),
                                                    attached->segment.header().key.load_relaxed());
    }
    if (attached->pieces == 0) attached->segment.close();
}

// ---- attach and detach ----

Outcome<long> Attachments::map_data(const SysvRegistry& registry, const Segment& segment, std::uintptr_t address, int flags) {
    const bool fixed = (flags & MAP_FIXED) != 0;
    const bool read_only = (flags & SHM_RDONLY) != 0;
    auto data = registry.open_companion(SysvKind::shm, sysv_index(segment.id()), read_only ? O_RDONLY : O_RDWR);
    if (!data) return data.fault();
    struct stat status;
    if (const int rc = platform::file_status(data->fd(), &status); rc < 0) return Fault{-rc};
    if (!segment.owns(status)) return Fault{EIDRM, "the segment was removed"};
    if (static_cast<std::uint64_t>(status.st_size) < segment.size_bytes())
        return Fault{EINVAL, "the segment's data file was cut short"};
    const int protection = PROT_READ | (read_only ? 0 : PROT_WRITE) | ((flags & SHM_EXEC) != 0 ? PROT_EXEC : 0);
    int map_flags = MAP_SHARED | (flags & kFixedNoReplace);
    if (fixed) map_flags |= MAP_FIXED;
    const long at = platform::system_call(SYS_mmap, address, segment.size_bytes(), protection, map_flags, data->fd(), 0);
    if (at == -EEXIST) return Fault{EINVAL, "something is mapped there already"};
    if (failed(at))
        return Fault{at == -EPERM && (flags & SHM_EXEC) != 0 ? EACCES : static_cast<int>(-at), "the segment cannot be mapped"};
    if ((flags & kFixedNoReplace) != 0 && static_cast<std::uintptr_t>(at) != address) {  // an older kernel takes it for a hint
        platform::unmap(reinterpret_cast<void*>(at), segment.size_bytes());
        return Fault{EINVAL, "something is mapped there already"};
    }
    if (segment.is_huge()) platform::system_call(SYS_madvise, at, segment.size_bytes(), kHugePageAdvice);
    return at;
}

Outcome<void*> Attachments::attach(int id, std::uintptr_t address, int flags) {
    if (id < 0) return Fault{EINVAL};
    int how = flags & (SHM_RDONLY | SHM_EXEC);
    if (address != 0) {
        if (address % kPageBytes != 0) {
            if ((flags & SHM_RND) == 0) return Fault{EINVAL, "the address is no multiple of SHMLBA"};
            address -= address % kPageBytes;
            if (address == 0 && (flags & SHM_REMAP) != 0) return Fault{EINVAL};
        }
        how |= (flags & SHM_REMAP) != 0 || address == 0 ? MAP_FIXED : kFixedNoReplace;
    } else if ((flags & SHM_REMAP) != 0) {
        return Fault{EINVAL, "SHM_REMAP needs an address"};
    }
    static_assert(((SHM_RDONLY | SHM_EXEC) & (MAP_FIXED | kFixedNoReplace)) == 0);

    auto domain = find_domain();
    if (!domain) return Fault{domain.fault().errno_value == ENOENT ? EINVAL : domain.fault().errno_value};
    SysvRegistry& registry = registry_of(**domain);
    const Hold hold(*this);
    ThreadState& thread = hold.thread();
    std::uint32_t number = 0;
    if (find(id, number) == nullptr) {
        auto opened = open_segment(**domain, registry, id, thread);
        if (!opened) return opened.fault();
        number = *opened;
    }
    Attached& attached = *entry(number);
    const auto give_up = [&](Fault fault) {
        if (attached.pieces == 0) attached.segment.close();
        return fault;
    };
    const std::uint32_t wanted = kMayRead | ((flags & SHM_RDONLY) != 0 ? 0 : kMayWrite) | ((flags & SHM_EXEC) != 0 ? 1u : 0u);
    if (!attached.segment.permission().allows(wanted)) return give_up(Fault{EACCES, "the segment's mode does not allow that"});
    // SOURCE do_shmat() of the kernel: the size is not rounded. What is in the way goes before what is too large to be mapped at all,
    // and that has this very stack in its way.
    const std::uintptr_t size = attached.segment.size_bytes(), bytes = round_up(size);
    const auto here = reinterpret_cast<std::uintptr_t>(&size);
    if (address != 0 && (flags & SHM_REMAP) == 0 && (address + size < address || here - address < size))
        return give_up(Fault{EINVAL, "something is mapped there already"});
    if (!make_room(3)) return give_up(Fault{ENOMEM});
    if (auto ready = prepare(**domain, thread); !ready) return give_up(ready.fault());

    // Counted before it exists: dead in between, the count is forgotten with the life.
    const std::uint32_t pid = platform::process_id_of(thread);
    LifeWatch watch(**domain, &life_);
    if (attached.record == Segment::kNoRecord) {
        auto record = attached.segment.take_record(
            thread, life_.number(), pid, MapsChange{static_cast<std::int32_t>(attached.pieces) + 1, false, false}, watch);
        if (!record) return give_up(record.fault());
        attached.record = *record;
    } else if (auto counted =
                   attached.segment.change_maps(thread, attached.record, life_.number(), pid, MapsChange{1, false, false}, watch);
               !counted) {
        return give_up(counted.fault());
    }
    MUSTER_CRASH_POINT("segment.counted");
    auto at = map_data(registry, attached.segment, address, how);
    MUSTER_CRASH_POINT("segment.mapped");
    if (!at) {
        recount(number, MapsChange{-1, false, false}, thread);
        return at.fault();
    }
    const auto start = static_cast<std::uintptr_t>(*at);
    const auto protection = static_cast<std::uint32_t>(PROT_READ | ((flags & SHM_RDONLY) != 0 ? 0 : PROT_WRITE) |
                                                       ((flags & SHM_EXEC) != 0 ? PROT_EXEC : 0));
    ++attached.pieces;  // keeps the entry while what stood there is cut
    if ((flags & SHM_REMAP) != 0) cut(start, start + bytes, thread);
    --attached.pieces;
    add_piece(Piece{start, start + bytes, 0, ++attaches_, number, protection});
    recount(number, MapsChange{0, true, false}, thread);
    update_range();
    return reinterpret_cast<void*>(start);
}

// SOURCE ksys_shmdt() of the kernel: the lowest piece that lies where it would if its segment began at `address`, and the
// others of the same attach that do.
Outcome<> Attachments::detach(std::uintptr_t address) {
    constexpr Fault kNothing{EINVAL, "no segment is attached at that address"};
    if (address % kPageBytes != 0 || first_address_.load(std::memory_order_relaxed) == kNowhere) return kNothing;
    const Hold hold(*this);
    prepare_if_forked(hold.thread());
    const Piece* lowest = nullptr;
    for (std::uint32_t i = 0; i < pieces_count_; ++i) {
        const Piece& piece = pieces_[i];
        if (piece.start >= address && piece.start - address == piece.offset && (lowest == nullptr || piece.start < lowest->start))
            lowest = &piece;
    }
    if (lowest == nullptr) return kNothing;
    const Piece first = *lowest;
    const std::uintptr_t bytes = round_up(entry(first.segment)->segment.size_bytes());
    std::int32_t maps = 0;
    for (std::uint32_t i = 0; i < pieces_count_;) {
        const Piece piece = pieces_[i];
        const bool goes = piece.start == first.start || (piece.attach == first.attach && piece.start >= address &&
                                                         piece.start - address == piece.offset && piece.end - address <= bytes);
        if (!goes) {
            ++i;
            continue;
        }
        platform::unmap(reinterpret_cast<void*>(piece.start), piece.end - piece.start);
        MUSTER_CRASH_POINT("segment.unmapped");
        drop_piece(i);
        --maps;
    }
    update_range();
    recount(first.segment, MapsChange{maps, false, true}, hold.thread());
    return platform::done();
}

// ---- what the other calls do to mappings ----

// [start, end) was unmapped or mapped over. There is room for one more piece.
void Attachments::cut(std::uintptr_t start, std::uintptr_t end, ThreadState& thread) {
    for (std::uint32_t i = 0; i < pieces_count_;) {
        Piece& piece = pieces_[i];
        if (piece.end <= start || piece.start >= end) {
            ++i;
            continue;
        }
        const std::uint32_t number = piece.segment;
        // SOURCE mm/vma.c: the kernel splits first, which counts as an attach, then unmaps the whole piece.
        if (piece.start >= start && piece.end <= end) {
            drop_piece(i);
            recount(number, MapsChange{-1, false, true}, thread);
            continue;
        }
        if (piece.start < start && piece.end > end) {
            Piece rest = piece;
            rest.start = end;
            rest.offset += end - piece.start;
            piece.end = start;
            add_piece(rest);
            recount(number, MapsChange{1, true, true}, thread);
        } else {
            if (piece.start < start) {
                piece.end = start;
            } else {
                piece.offset += end - piece.start;
                piece.start = end;
            }
            recount(number, MapsChange{0, true, true}, thread);
        }
        ++i;
    }
    update_range();
}

long Attachments::unmap(std::uintptr_t start, std::size_t bytes) {
    const Hold hold(*this);
    prepare_if_forked(hold.thread());
    if (!make_room(1)) return -ENOMEM;
    const long rc = platform::system_call(SYS_munmap, start, bytes);
    if (rc == 0) cut(start, start + round_up(bytes), hold.thread());
    return rc;
}

long Attachments::map_over(std::uintptr_t start, std::size_t bytes, int protection, int flags, int fd, std::int64_t offset) {
    const Hold hold(*this);
    prepare_if_forked(hold.thread());
    if (!make_room(1)) return -ENOMEM;
    const long at = platform::system_call(SYS_mmap, start, bytes, protection, flags, fd, offset);
    if (!failed(at)) cut(start, start + round_up(bytes), hold.thread());
    return at;
}

// SOURCE do_mprotect_pkey() of the kernel: what lies below the first hole, or below the first mapping that may not be so, has
// changed though the call failed. Asked for again, that succeeds and changes nothing.
std::uintptr_t Attachments::protected_until(std::uintptr_t start, std::uintptr_t end, int protection) const {
    const auto refused = [&](std::uintptr_t low, std::uintptr_t high) {
        return low < high && platform::system_call(SYS_mprotect, low, high - low, protection) != 0;
    };
    while (start < end) {
        const Piece* next = nullptr;  // the lowest piece from `start` on
        for (std::uint32_t i = 0; i < pieces_count_; ++i)
            if (pieces_[i].end > start && pieces_[i].start < end && (next == nullptr || pieces_[i].start < next->start))
                next = &pieces_[i];
        if (next == nullptr || refused(start, next->start)) return start;
        const std::uintptr_t low = next->start > start ? next->start : start, high = next->end < end ? next->end : end;
        if (refused(low, high)) return low;
        start = high;
    }
    return end;
}

// SOURCE vma_modify() of the kernel: a piece that changes as a whole stays one; a part of it joins a neighbour of the same attach
// that has the new protection already; otherwise it is split. Pieces never merge, since a segment's mappings are counted.
long Attachments::protect(std::uintptr_t start, std::size_t bytes, int protection) {
    const Hold hold(*this);
    prepare_if_forked(hold.thread());
    if (!make_room(2)) return -ENOMEM;
    const long rc = platform::system_call(SYS_mprotect, start, bytes, protection);
    std::uintptr_t end = start + round_up(bytes);
    if (rc != 0) end = protected_until(start, end, protection);
    const auto wanted = static_cast<std::uint32_t>(protection & (PROT_READ | PROT_WRITE | PROT_EXEC));
    for (std::uintptr_t from = start; from < end;) {
        std::uint32_t at = pieces_count_;  // the lowest piece from `from` on
        for (std::uint32_t i = 0; i < pieces_count_; ++i)
            if (pieces_[i].end > from && pieces_[i].start < end && (at == pieces_count_ || pieces_[i].start < pieces_[at].start))
                at = i;
        if (at == pieces_count_) break;
        Piece& piece = pieces_[at];
        const Piece whole = piece;
        from = whole.end;
        if (whole.protection == wanted) continue;
        const std::uintptr_t low = whole.start > start ? whole.start : start, high = whole.end < end ? whole.end : end;
        const auto neighbour = [&](bool below) -> Piece* {
            for (std::uint32_t i = 0; i < pieces_count_; ++i) {
                Piece& other = pieces_[i];
                if (other.attach != whole.attach || other.protection != wanted) continue;
                if (below ? other.end == whole.start && other.offset + (other.end - other.start) == whole.offset
                          : other.start == whole.end && whole.offset + (whole.end - whole.start) == other.offset)
                    return &other;
            }
            return nullptr;
        };
        if (low == whole.start && high == whole.end) {
            piece.protection = wanted;
            continue;
        }
        if (low == whole.start) {
            Piece* below = neighbour(true);
            piece.start = high;
            piece.offset += high - low;
            if (below != nullptr) {
                below->end = high;
                continue;
            }
        } else if (high == whole.end) {
            Piece* above = neighbour(false);
            piece.end = low;
            if (above != nullptr) {
                above->start = low;
                above->offset -= high - low;
                continue;
            }
        } else {
            piece.end = low;
            Piece rest = whole;
            rest.start = high;
            rest.offset += high - whole.start;
            add_piece(rest);
        }
        Piece part = whole;
        part.start = low;
        part.end = high;
        part.offset += low - whole.start;
        part.protection = wanted;
        add_piece(part);
        recount(whole.segment, MapsChange{low != whole.start && high != whole.end ? 2 : 1, true, false}, hold.thread());
        if (!make_room(2)) break;  // the next piece is counted as if it had not changed
    }
    update_range();
    return rc;
}

long Attachments::remap(std::uintptr_t start, std::size_t old_bytes, std::size_t new_bytes, int flags, std::uintptr_t wanted) {
    const Hold hold(*this);
    ThreadState& thread = hold.thread();
    prepare_if_forked(thread);
    if (!make_room(4)) return -ENOMEM;
    const std::uintptr_t old_end = start + round_up(old_bytes);
    // SOURCE mremap(2): EFAULT across mappings. Ours of one segment may be one to the kernel, which would move them all.
    for (std::uint32_t i = 0; i < pieces_count_; ++i) {
        const Piece& piece = pieces_[i];
        const bool touched = piece.start < old_end && piece.end > start;
        if (touched && (piece.start > start || piece.end < old_end)) return -EFAULT;
    }
    const long at = platform::system_call(SYS_mremap, start, old_bytes, new_bytes, flags, wanted);
    if (failed(at)) return at;
    const auto to = static_cast<std::uintptr_t>(at);
    const std::uintptr_t to_end = to + round_up(new_bytes);
    if ((flags & kMoveFixed) != 0) cut(to, to_end, thread);
    std::uint32_t source = 0;
    while (source < pieces_count_ && !pieces_[source].holds(start)) ++source;
    if (to == start && (flags & kMoveFixed) == 0) {
        if (to_end < old_end)
            cut(to_end, old_end, thread);
        else if (source < pieces_count_ && pieces_[source].end == old_end)
            pieces_[source].end = to_end;
        update_range();
        return at;
    }
    if (source == pieces_count_) return at;
    Piece moved = pieces_[source];
    moved.offset += start - moved.start;
    moved.start = to;
    moved.end = to_end;
    add_piece(moved);
    recount(moved.segment, MapsChange{1, true, false}, thread);
    if (old_bytes != 0 && (flags & kKeepOld) == 0) cut(start, old_end, thread);
    update_range();
    return at;
}

// ---- fork and the end ----

void Attachments::before_fork() {
    if (first_address_.load(std::memory_order_relaxed) == kNowhere) return;
    auto domain = find_domain();
    {
        Hold hold(*this);
        ThreadState& thread = hold.thread();
        if (domain && prepare(**domain, thread)) {
            if (auto life = Life::begin(**domain)) {
                child_life_ = std::move(*life);
                child_fd_.store(child_life_.fd(), std::memory_order_relaxed);
            }
        }
        if (child_life_) {
            MUSTER_CRASH_POINT("segment.child_life");
            LifeWatch watch(**domain, &life_);
            const std::uint32_t pid = platform::process_id_of(thread);
            for_each_attached([&](Attached& attached) {
                attached.child_maps = attached.pieces;
                auto record =
                    attached.segment.take_record(thread, child_life_.number(), pid,
                                                 MapsChange{static_cast<std::int32_t>(attached.pieces), true, false}, watch);
                attached.child_record = record ? *record : Segment::kNoRecord;
            });
            MUSTER_CRASH_POINT("segment.child_counted");
        }
        forking_ = 1;
        hold.keep();
    }
}

void Attachments::after_fork_in_parent() {
    if (forking_ == 0) return;
    // The child has the description too; without a child the kernel drops the lock now, and the records are forgotten.
    child_fd_.store(-1, std::memory_order_relaxed);
    child_life_ = Life();
    forking_ = 0;
    holder_.store(0, std::memory_order_release);
}

void Attachments::after_fork_in_child() {
    if (forking_ == 0) return;
    forking_ = 0;
    holder_.store(0, std::memory_order_release);
    child_fd_.store(-1, std::memory_order_relaxed);
    if (!child_life_) return;  // no descriptor was to be had: prepare_if_forked() tries again
    const Hold hold(*this);
    ThreadState& thread = hold.thread();
    generation_ = thread.generation;
    life_ = std::move(child_life_);  // closes the parent's, whose end must not wait for ours
    child_life_.abandon();
    // The parent may not have closed its copy of this life's description when we end, by exec at once perhaps: so one that nobody
    // else has a copy of, if there is a descriptor to be had, takes its place.
    const std::uint64_t given = life_.number();
    Life own;
    if (auto domain = find_domain(); domain)
        if (auto begun = Life::begin(**domain)) own = std::move(*begun);
    const std::uint64_t lasting = own ? own.number() : given;
    const std::uint32_t pid = platform::process_id_of(thread);
    for (std::uint32_t number = 0; number < entries_; ++number) {
        Attached* attached = entry(number);
        if (attached->pieces == 0) continue;
        attached->record = attached->child_record;
        attached->segment.renew_record(attached->record, given, lasting, pid);
        MUSTER_CRASH_POINT("segment.child_renewed");
    }
    if (own) {
        life_.end();
        life_ = std::move(own);
    }
    life_fd_.store(life_.fd(), std::memory_order_relaxed);
    // A handler may have attached or detached while the parent forked.
    for (std::uint32_t number = 0; number < entries_; ++number) {
        const Attached* attached = entry(number);
        if (attached->pieces == 0) continue;
        const auto more = static_cast<std::int32_t>(attached->pieces) - static_cast<std::int32_t>(attached->child_maps);
        if (more != 0) recount(number, MapsChange{more, false, false}, thread);
    }
}

void Attachments::leave() {
    if (first_address_.load(std::memory_order_relaxed) == kNowhere) return;
    const Hold hold(*this);
    prepare_if_forked(hold.thread());
    for (std::uint32_t number = 0; number < entries_; ++number) {
        const auto pieces = static_cast<std::int32_t>(entry(number)->pieces);
        if (pieces != 0) recount(number, MapsChange{-pieces, false, true}, hold.thread());
    }
}

}  // namespace muster::objects
