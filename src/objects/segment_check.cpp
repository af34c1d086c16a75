// Looking whether a segment's records are those of living processes that have it attached.
#include <optional>
#include "objects/findings.hpp"
#include "objects/lock_check.hpp"
#include "objects/segment.hpp"
#include "platform/process.hpp"

namespace muster::objects {
using platform::Outcome;

namespace {
// SOURCE segment_life.cpp: lives are random 62-bit numbers.
constexpr std::uint64_t kLifeMost = (std::uint64_t{1} << 62) - 1;
// SOURCE Documentation/admin-guide/sysctl/vm.rst: no process has more mappings, unless told so.
constexpr std::uint32_t kMapsMost = 1u << 22;
}  // namespace

Outcome<bool> Segment::mend_header(int fd, const struct stat& data) {
    constexpr memory::Format kFormat{kSegmentMagic, kSegmentFormat, kSegmentFingerprint, kSegmentControlBytes};
    auto mended = memory::mend_header(fd, kFormat, kSegmentControlBytes);
    if (!mended) return mended;
    SegmentControl c;
    if (platform::read_at(fd, &c, sizeof c, 0) != static_cast<long>(sizeof c)) return platform::Fault{EBADMSG, "the segment's control file was cut short"};
    const auto length = static_cast<std::uint64_t>(data.st_size);
    // The length that was asked for is at most the file's, and stands nowhere else.
    const std::uint64_t right[4] = {c.size_bytes == 0 || c.size_bytes > length ? length : c.size_bytes, length, data.st_ino, data.st_dev};
    if (__builtin_memcmp(right, &c.size_bytes, sizeof right) == 0) return mended;
    if (platform::write_at(fd, right, sizeof right, offsetof(SegmentControl, size_bytes)) != static_cast<long>(sizeof right))
        return platform::Fault{EACCES, "the header cannot be written"};
    return true;
}

Outcome<> Segment::check(platform::ThreadState& thread, LifeWatch& watch, std::uint64_t inode, bool mend, Findings& findings) {
    SegmentControl& c = control();
    const LockVerdict lock_word = judge_lock(c.lock, nullptr, 0, inode);
    if (lock_word.state != LockState::usable) {
        const bool damaged = lock_word.state == LockState::damaged;
        findings.say({0, 0, damaged}, damaged ? "the lock is held by nobody who could let go of it (thread %u)" : "thread %u holds the lock and has not let go of it for two seconds",
                     lock_word.holder);
        if (!damaged || !mend || !declare_orphaned(c.lock, lock_word.word)) return platform::done();
    }
    std::optional<sync::ThreadLock> lock;
    const auto take_lock = [&]() -> Outcome<> {
        auto held = hold(thread);
        if (!held) return held.fault();
        lock.emplace(std::move(*held));
        return platform::done();
    };
    if (auto taken = take_lock(); !taken) return taken;
    // Who attaches counts before it maps, who detaches unmaps before it counts: only what stays so is wrong. Whoever is stopped in
    // between is not judged.
    int patience = 20;
    const auto stays_baseless = [&](const AttachmentRecord& record, std::uint64_t life, std::uint32_t pid) -> Outcome<bool> {
        for (int looks = patience; looks > 0; --looks) {
            lock.reset();
            platform::sleep_ns(10'000'000);
            if (auto taken = take_lock(); !taken) return taken.fault();
            if (record.life.load_acquire() != life || count_mappings(pid, data_inode_) != 0 || platform::thread_stopped(pid)) return false;
        }
        patience = 2;  // others had that time too
        return true;
    };
    const std::uint32_t used = c.records_used.load_acquire(), reserved = c.records_reserved.load_relaxed();
    if (used > reserved || reserved > kAttachmentRecords) {
        findings.say({}, "it says that %u records of attachments were used and %u have memory, of %u", used, reserved, kAttachmentRecords);
        if (mend && reserved > kAttachmentRecords) c.records_reserved.store_release(kAttachmentRecords);
        if (mend && used > reserved) c.records_reserved.store_release(used < kAttachmentRecords ? used : kAttachmentRecords);
        if (mend && used > kAttachmentRecords) c.records_used.store_release(kAttachmentRecords);
    }
    // Records behind the last one: a life that lasts there is a count that was lost.
    std::uint32_t last = 0;
    const std::uint32_t most = reserved < kAttachmentRecords ? reserved : kAttachmentRecords;
    for (std::uint32_t number = 0; number < most; ++number) {
        AttachmentRecord& record = record_at(number);
        const std::uint64_t life = record.life.load_acquire();
        if (life == 0) continue;
        const std::uint32_t maps = record.maps.load_relaxed(), pid = record.pid.load_relaxed();
        if (life > kLifeMost) {
            findings.say({}, "record %u names a process that cannot be", number);
            if (mend) free_record(record, life);
            continue;
        }
        if (!watch.is_alive(life)) continue;  // gc's business: it counts for nothing
        last = number + 1;
        // The bytes' mappings are those of the data file: a process without any holds a record for nothing.
        const std::int64_t there = count_mappings(pid, data_inode_);
        if (there == 0) {
            auto baseless = stays_baseless(record, life, pid);
            if (!baseless) return baseless.fault();
            if (!*baseless) continue;
        }
        if (maps == 0 || maps > kMapsMost || there == 0) {
            findings.say({}, "process %u is said to have it attached %u times, and has it %lld times", pid, maps, static_cast<long long>(there));
            if (!mend || there < 0) continue;
            if (there == 0) free_record(record, life);
            else record.maps.store_release(static_cast<std::uint32_t>(there));
        }
    }
    if (last > used) {
        findings.say({}, "%u processes have it attached that do not count, since their records lie behind the last one", last - used);
        if (mend) c.records_used.store_release(last);
    }
    const std::uint64_t now_s = platform::realtime_s();
    for (memory::ShmU64* time : {&c.attached_s, &c.detached_s, &c.changed_s}) {
        if (time->load_relaxed() <= now_s + 1) continue;
        findings.say({}, "it was last %s in the future", time == &c.attached_s ? "attached" : time == &c.detached_s ? "detached" : "changed");
        if (mend) time->store_relaxed(now_s);
    }
    constexpr std::uint32_t kKnown = kSegmentShown | kSegmentHuge | kSegmentUnreserved;
    if ((c.flags.load_relaxed() & ~kKnown) != 0) {
        // A word that cannot be is not believed when it says that the segment is to be destroyed.
        findings.say({}, "it has flags that mean nothing (0x%x)", c.flags.load_relaxed() & ~kKnown);
        if (mend) c.flags.and_release(kKnown & ~kSegmentDestroy);
    }
    if ((c.header.mode.load_relaxed() & ~0777u) != 0) {
        findings.say({}, "its mode is none (0%o)", c.header.mode.load_relaxed());
        if (mend) c.header.mode.and_release(0777);
    }
    if (damage_.load(std::memory_order_relaxed) != 0) return platform::Fault{EBADMSG, "the segment's control file was cut short or its memory is gone"};
    return platform::done();
}

}  // namespace muster::objects
