// Shared-memory layout of a shared memory segment's control file, format 1. The protocol is docs/protocols/segment.md.
// The segment's bytes are another file, with the mode that was asked for; whoever may attach at all writes here.
//
//   offset  size  field               written by
//        0   128  memory::ObjectHeader
//      128     8  size_bytes          creator, once: what was asked for
//      136     8  data_bytes          creator, once: the data file's length
//      144     8  data_inode          creator, once
//      152     8  data_device         creator, once
//      160     4  lock                sync::robust_lock, by thread
//      164     4  flags               lock held
//      168     4  creator_pid         creator, once
//      172     4  last_pid            lock held: who attached or detached last
//      176     8  attached_s          lock held: time of the last attach, 0 never
//      184     8  detached_s          lock held
//      192     8  changed_s           lock held
//      200     4  records_used        lock held: no record from here on was ever used
//      204     4  records_reserved    lock held: how many have memory
//      208    48  reserved            zero
//      256    16  record 0 …          lock held
//
// A record says how many mappings one process image has: life (its number in the domain's life file, 0 the record is free), maps,
// pid. `life` is stored last when a record is taken, and first when it is given back. A forked child puts its own life in the place
// of the one it was given without the lock, so a record is given back only by exchanging the life that was found to be over.
//
// INVARIANT segment.count: the number of attachments is the sum of maps over the records whose life still lasts.
// INVARIANT segment.end: a segment marked kSegmentDestroy is marked removed by whoever finds, lock held, that this sum is 0.
// No field needs repair after its writer's death: each step is one store.
//
// Nothing here is trusted: readers copy a field once, check the copy, then use the copy.
#pragma once
#include "memory/object_layout.hpp"

namespace muster::objects {

inline constexpr std::uint64_t kSegmentMagic = 0x31474553'5352554dULL;  // "MURSSEG1"
inline constexpr std::uint32_t kSegmentFormat = 1;

// SOURCE <sys/shm.h>: the numbers that IPC_STAT shows beside the mode.
inline constexpr std::uint32_t kSegmentDestroy = 01000;  // SHM_DEST
inline constexpr std::uint32_t kSegmentLocked = 02000;   // SHM_LOCKED
inline constexpr std::uint32_t kSegmentShown = kSegmentDestroy | kSegmentLocked;
inline constexpr std::uint32_t kSegmentHuge = 1u << 16;        // asked for with SHM_HUGETLB
inline constexpr std::uint32_t kSegmentUnreserved = 1u << 17;  // asked for with SHM_NORESERVE

struct AttachmentRecord {
    memory::ShmU64 life;
    memory::ShmU32 maps;
    memory::ShmU32 pid;
};
static_assert(memory::ShmLayout<AttachmentRecord> && sizeof(AttachmentRecord) == 16);

struct SegmentControl {
    memory::ObjectHeader header;
    std::uint64_t size_bytes;
    std::uint64_t data_bytes;
    std::uint64_t data_inode;
    std::uint64_t data_device;
    memory::ShmU32 lock;
    memory::ShmU32 flags;
    std::uint32_t creator_pid;
    memory::ShmU32 last_pid;
    memory::ShmU64 attached_s;
    memory::ShmU64 detached_s;
    memory::ShmU64 changed_s;
    memory::ShmU32 records_used;
    memory::ShmU32 records_reserved;
    std::uint64_t reserved[6];
};
static_assert(memory::ShmLayout<SegmentControl>);
static_assert(sizeof(SegmentControl) == 256);
static_assert(offsetof(SegmentControl, lock) == 160 && offsetof(SegmentControl, attached_s) == 176 &&
              offsetof(SegmentControl, records_used) == 200);

inline constexpr std::uint64_t kSegmentControlBytes = std::uint64_t{1} << 20;
inline constexpr std::uint32_t kAttachmentRecords = (kSegmentControlBytes - sizeof(SegmentControl)) / sizeof(AttachmentRecord);
inline constexpr std::uint32_t kSegmentPageBytes = 4096;
constexpr std::uint32_t records_in_pages(std::uint32_t pages) {
    return static_cast<std::uint32_t>((std::uint64_t{pages} * kSegmentPageBytes - sizeof(SegmentControl)) /
                                      sizeof(AttachmentRecord));
}

inline constexpr std::uint32_t kSegmentFingerprint = memory::fingerprint_of(
    {sizeof(SegmentControl), sizeof(AttachmentRecord), offsetof(SegmentControl, lock), offsetof(SegmentControl, flags),
     offsetof(SegmentControl, attached_s), offsetof(SegmentControl, records_used), kSegmentControlBytes});

}  // namespace muster::objects
