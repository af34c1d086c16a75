// A System V shared memory segment: its control block. What a process has mapped where is segment_attachments.hpp.
// The protocol is docs/protocols/segment.md.
#pragma once
#include <atomic>
#include <cstdint>
#include <optional>
#include "memory/mapping.hpp"
#include "objects/permission.hpp"
#include "objects/segment_layout.hpp"
#include "objects/segment_life.hpp"
#include "objects/sysv_registry.hpp"
#include "platform/thread.hpp"
#include "sync/robust_lock.hpp"

namespace muster::objects {

class Findings;

struct SegmentOptions {
    std::uint64_t size_bytes;
    std::uint32_t flags;  // kSegmentHuge, kSegmentUnreserved
};

struct SegmentStatus {
    int id;
    std::uint32_t key;
    Permission permission;
    std::uint32_t flags;  // kSegmentDestroy, kSegmentLocked
    std::uint64_t size_bytes;
    std::uint64_t attachments;
    std::uint32_t creator_pid, last_pid;
    std::uint64_t attached_s, detached_s, changed_s;
};

// What a change of the number of mappings was, for the times.
struct MapsChange {
    std::int32_t maps;
    bool attached;
    bool detached;
};

class Segment {
public:
    Segment() = default;
    Segment(const Segment&) = delete;

    // Makes the control block in the nameless file `fd` for a data file that is complete.
    platform::Outcome<> create(int fd, const SegmentOptions& options, const struct stat& data);
    // Maps the control block of an opened object.
    platform::Outcome<> open(const SysvFile& opened);
    void close() {
        mapping_.reset();
        damage_.store(0, std::memory_order_relaxed);
    }

    int id() const { return id_; }
    bool is_live() const { return mapping_ && SysvRegistry::is_live(control().header, id_); }
    memory::ObjectHeader& header() const { return mapping_->header(); }
    Permission permission() const { return Permission::of(control().header); }
    std::uint64_t size_bytes() const { return size_bytes_; }
    std::uint64_t data_bytes() const { return data_bytes_; }
    bool is_huge() const { return (control().flags.load_relaxed() & kSegmentHuge) != 0; }
    // Whether an opened companion is this segment's data.
    bool owns(const struct stat& data) const { return data.st_ino == data_inode_ && data.st_dev == data_device_; }

    // A record for `maps` mappings of a life, whose number comes back. Errors: EIDRM destroyed meanwhile, ENOMEM.
    platform::Outcome<std::uint32_t> take_record(platform::ThreadState& thread, std::uint64_t life, std::uint32_t pid,
                                                 MapsChange change, LifeWatch& watch);
    // Changes the record's count. A record that comes to 0 is given back (kNoRecord from then on). True: the segment was to be
    // destroyed after its last detach, and is now: the caller removes its names.
    static constexpr std::uint32_t kNoRecord = ~0u;
    platform::Outcome<bool> change_maps(platform::ThreadState& thread, std::uint32_t& record, std::uint64_t life,
                                        std::uint32_t pid, MapsChange change, LifeWatch& watch);
    // The record goes over to another life and process: a descriptor was lost and the life with it, or the child has come to be.
    void renew_record(std::uint32_t record, std::uint64_t old_life, std::uint64_t new_life, std::uint32_t pid);

    // IPC_STAT. Forgets the dead. Errors: EIDRM.
    platform::Outcome<SegmentStatus> status(platform::ThreadState& thread, LifeWatch& watch);
    // The same of a segment that we may not write to: without the lock, forgetting nobody.
    static platform::Outcome<SegmentStatus> peek(const SysvFile& opened, LifeWatch& watch);
    // For tools: each process image that has it attached, in how many mappings; read from the file, so for readers as well.
    struct User {
        std::uint32_t pid, maps;
        bool alive;
    };
    using SeeUser = void (*)(void* context, const User& user);
    static platform::Outcome<> look(const SysvFile& opened, LifeWatch& watch, SeeUser see, void* context);
    // IPC_RMID: the caller has checked the rights. True: destroyed, the caller removes the names; false: marked, and `key`
    // is the one to release. Errors: EIDRM.
    platform::Outcome<bool> mark_for_destruction(platform::ThreadState& thread, LifeWatch& watch, std::uint32_t& key);
    // Destroys a marked segment that nobody living has attached, names and all. True: it is gone.
    bool bury_if_deserted(platform::ThreadState& thread, LifeWatch& watch, SysvRegistry& registry);
    // SHM_LOCK, SHM_UNLOCK; IPC_SET. Errors: EIDRM, EINVAL.
    platform::Outcome<> set_locked(platform::ThreadState& thread, bool locked);
    platform::Outcome<> set_permission(platform::ThreadState& thread, int fd, int data_fd, std::uint32_t uid, std::uint32_t gid,
                                       std::uint32_t mode);

    // Compares the records with the processes that there are, and the rest with what can be; with `mend` what follows from
    // elsewhere is made anew. `inode`: of the control file, as /proc shows it. Errors: EIDRM; EBADMSG pages of it are gone.
    platform::Outcome<> check(platform::ThreadState& thread, LifeWatch& watch, std::uint64_t inode, bool mend, Findings& findings);

    // Writes what of the control file's header follows from the data file. True: something was wrong. Errors: EBADMSG.
    static platform::Outcome<bool> mend_header(int fd, const struct stat& data);

private:
    SegmentControl& control() const { return *reinterpret_cast<SegmentControl*>(mapping_->start()); }
    AttachmentRecord& record_at(std::uint32_t number) const {
        return reinterpret_cast<AttachmentRecord*>(mapping_->start() + sizeof(SegmentControl))[number];
    }
    platform::Outcome<sync::ThreadLock> hold(platform::ThreadState& thread);
    std::uint32_t records_used() const;
    std::uint64_t count_living(LifeWatch& watch);  // lock held; forgets the dead
    bool free_record(AttachmentRecord& record, std::uint64_t life);  // lock held; false: it is of another life by now
    bool destroy_now(LifeWatch& watch);  // lock held
    platform::Outcome<> reserve_records(std::uint32_t wanted);

    std::optional<memory::Mapping> mapping_;
    std::atomic<std::uint32_t> damage_{0};
    int id_ = -1;
    std::uint64_t size_bytes_ = 0, data_bytes_ = 0, data_inode_ = 0, data_device_ = 0;  // our checked copies
};

// shmget. Errors: EINVAL, ENOENT, EEXIST, EACCES, ENOSPC, ENOMEM, as the kernel's.
platform::Outcome<int> get_segment(const Domain& domain, SysvRegistry& registry, std::uint32_t key, std::uint64_t size_bytes,
                                   int flags);

// Destroys what is marked for destruction and deserted, since its last user was killed.
void sweep_segments(const Domain& domain, SysvRegistry& registry, const Life* own);

// Sums over all segments, for SHM_INFO.
struct SegmentTotals {
    std::uint32_t segments;
    std::uint64_t pages, resident_pages;
};
SegmentTotals segment_totals(const Domain& domain, SysvRegistry& registry);

}  // namespace muster::objects
