// Shared-memory layout of a semaphore set. docs/formats/semaphore_set.md draws it, docs/protocols/semaphore_set.md tells
// how it is used.
//
//   offset          what                                   memory reserved
//        0          SemaphoreHeader, 512 bytes             at creation
//      512          Semaphore x semaphores                 at creation
//   logs_offset     SemaphoreLogs                          with the first actor or undo record
//   actors_offset   sync::Actor x actors                   by pages, when first needed
//   waiters_offset  SemaphoreWaiter x actors               likewise
//   vectors_offset  4096 bytes x actors                    when a sleeper has more than four operations
//   undos_offset    undo_stride_bytes x undos              when a process first asks for undo
//
// INVARIANT set.free: while a semaphore's word has kFree set, its value may be changed by a compare-and-swap of the word
// alone; then nobody sleeps on it and nobody has an adjustment for it. While the bit is clear only the holder of `lock` writes the word.
// INVARIANT set.change: everything else that the lock guards is changed in three steps: the new words are staged, the journal's state
// says committed (COMMIT), the staged is applied. Who takes the lock from the dead applies what was committed, and forgets the rest.
#pragma once
#include <cstddef>
#include "memory/object_layout.hpp"
#include "sync/actor_layout.hpp"

namespace muster::objects {

inline constexpr std::uint32_t kSemaphoreValueMax = 32767;     // SEMVMX
inline constexpr int kSemaphoreAdjustMax = 32767;              // SEMAEM
inline constexpr std::uint32_t kSemaphoresMax = 32000;         // the kernel's default SEMMSL; the format's own limit is 65535
inline constexpr std::uint32_t kSemaphoreOpsMax = 500;         // SEMOPM: a vector's page and the logs have room for that many
inline constexpr std::uint32_t kSemaphoreActors = 8192;        // sleepers at one time
inline constexpr std::uint32_t kSemaphoreUndos = 8192;         // processes with adjustments at one time
inline constexpr std::uint32_t kLogEntriesMax = 1024;

// A semaphore's word: value, flags, the process that last operated on it, and a mark of the set it belongs to (of its uuid).
inline constexpr std::uint64_t kValueMask = 0xffff;
inline constexpr std::uint64_t kFree = 1ull << 16;             // INVARIANT set.free
inline constexpr std::uint64_t kAdjustStaged = 1ull << 17;     // in staged words only: the log has an adjustment for it
inline constexpr unsigned kPidShift = 24;
inline constexpr std::uint64_t kPidMask = 0xffffffull << kPidShift;
inline constexpr unsigned kMarkShift = 48;

constexpr std::uint32_t value_of(std::uint64_t word) { return static_cast<std::uint32_t>(word & kValueMask); }
constexpr std::uint32_t pid_of(std::uint64_t word) { return static_cast<std::uint32_t>((word & kPidMask) >> kPidShift); }
constexpr std::uint64_t with_value(std::uint64_t word, std::uint32_t value) { return (word & ~kValueMask) | value; }
constexpr std::uint64_t with_pid(std::uint64_t word, std::uint32_t pid) {
    return (word & ~kPidMask) | (static_cast<std::uint64_t>(pid) << kPidShift & kPidMask);
}

//   offset size field            written by
//      0    8  word             who holds the lock; anyone while kFree is set
//      8    8  operated_s       whoever operates: when, in seconds; 0 never
//     16    8  staged           lock: what the word becomes if the journal commits
//     24    4  stage            lock: the number of the change that `staged` belongs to
//     28    4  logged           lock: entry of the journal's list of staged semaphores (this one's index is the entry's number)
//     32    4  first            lock: its sleepers with one operation (1 + actor, 0 none), oldest first
//     36    4  last             lock
//     40    4  holders          lock: how many processes have an adjustment for it
//     44    4  holder           lock: the last of them (1 + record)
//     48    4  quiet            lock: operations since the last that needed the lock
//     52    4  sleepers         lock: how many sleepers' operations name it
//     56    8  reserved         zero
struct Semaphore {
    memory::ShmU64 word;
    memory::ShmU64 operated_s;
    memory::ShmU64 staged;
    memory::ShmU32 stage;
    memory::ShmU32 logged;
    memory::ShmU32 first;
    memory::ShmU32 last;
    memory::ShmU32 holders;
    memory::ShmU32 holder;
    memory::ShmU32 quiet;
    memory::ShmU32 sleepers;
    std::uint64_t reserved;
};
static_assert(memory::ShmLayout<Semaphore>);
static_assert(sizeof(Semaphore) == 64 && offsetof(Semaphore, first) == 32 && offsetof(Semaphore, sleepers) == 52);

// What an actor sleeps for; beside its sync::Actor. Written by its thread while it registers, lock held.
//
//      0    4  operations       how many
//      4    4  record           undo record (1 + number, 0 none)
//      8    4  blocking         lock: index of the operation that it waits for, as of the last look
//     12    4  ahead            lock: the undo record (1 + number) of the sleeper before it whose life it watches
//     16    4  next             lock: in its semaphore's list (1 + actor, 0 none)
//     20    4  previous         lock
//     24    4  alters           1 an operation changes a value, 0 all wait for zero
//     28    4  result           lock: the errno value it is to return, 0 success; before that, in hand-over, the giver's CPU,
//                              or kAnswered from its own thread: it is awake and has seen it
//     32   32  inline_ops       up to four operations; more are in the actor's vector page
struct SemaphoreWaiter {
    memory::ShmU32 operations;
    memory::ShmU32 record;
    memory::ShmU32 blocking;
    memory::ShmU32 ahead;
    memory::ShmU32 next;
    memory::ShmU32 previous;
    memory::ShmU32 alters;
    memory::ShmU32 result;
    memory::ShmU64 inline_ops[4];
};
static_assert(memory::ShmLayout<SemaphoreWaiter>);
static_assert(sizeof(SemaphoreWaiter) == 64 && offsetof(SemaphoreWaiter, inline_ops) == 32);
inline constexpr std::uint32_t kInlineOps = 4;
inline constexpr std::uint32_t kAnswered = 0xfffffffe;
// Or'ed to the giver's CPU while it asks. No result looks like it, so an answer that comes late changes nothing.
inline constexpr std::uint32_t kAsking = 0xc0000000;

// One process's adjustments, to be added at its end. Identity is (pid, start); pid 0: free, all adjustments zero. Lock held.
//
//      0    4  pid
//      4    4  life             slot in the domain's file of lives, 1 + number; 0 none
//      8    8  start            the process's start time, clock ticks since boot; 0 unknown
//     16    4  active           how many adjustments are not zero
//     20   12  reserved         zero
//     32   2n  adjust           two's complement
struct UndoRecord {
    memory::ShmU32 pid;
    memory::ShmU32 life;
    memory::ShmU64 start;
    memory::ShmU32 active;
    std::uint32_t reserved[3];
};
static_assert(memory::ShmLayout<UndoRecord>);
static_assert(sizeof(UndoRecord) == 32);

// What a change of several words consists of.
struct SemaphoreLogs {
    memory::ShmU64 adjust[kLogEntriesMax];  // adjustment (16 bits) | semaphore << 16 | record << 32
    memory::ShmU32 given[kLogEntriesMax];   // actor | errno value << 16: sleepers whose operations are part of the change
};
static_assert(memory::ShmLayout<SemaphoreLogs>);
static_assert(sizeof(SemaphoreLogs) == 12288 && kSemaphoreActors <= 65536);

inline constexpr std::uint32_t kJournalIdle = 0;
inline constexpr std::uint32_t kJournalCommitted = 1;
inline constexpr std::uint32_t kClearNothing = 0;
inline constexpr std::uint32_t kClearSemaphore = 1;  // every process's adjustment for semaphore `clear_which` becomes zero
inline constexpr std::uint32_t kClearAll = 2;        // every process's for all
inline constexpr std::uint32_t kClearRecord = 3;     // record `clear_which` is given up

//   offset size field             written by
//      0  128  object            see object_layout.hpp
//    128    4  semaphores        creator, once; likewise the next eight
//    132    4  actors
//    136    4  undos
//    140    4  undo_stride_bytes
//    144    8  logs_offset
//    152    8  actors_offset
//    160    8  waiters_offset
//    168    8  vectors_offset
//    176    8  undos_offset
//    184    4  permission_changes  lock: counts IPC_SETs, so that remembered rights are found stale
//    188   68  reserved
//    256    4  lock              robust lock word
//    260    4  sleepers          lock: how many
//    264    4  complex           lock: those of them with several operations
//    268    4  complex_alter     lock: those of these that change a value
//    272    4  first             lock: all sleepers, oldest first (1 + actor, 0 none)
//    276    4  last              lock
//    280    4  actors_high       anyone, upwards: no actor at or above it was ever used
//    284    4  undos_high        lock
//    288    8  tickets           lock: arrivals of sleepers
//    296    8  changed_s         lock: sem_ctime
//    304    4  logs_reserved     anyone: 1 the logs have memory
//    308    4  actors_reserved   anyone, upwards: records that have memory
//    312    4  undos_reserved    lock: records that have memory
//    316    4  reserved
//    320    4  state             lock: kJournalIdle, kJournalCommitted (COMMIT)
//    324    4  change            lock: the number of the current change
//    328    4  staged            lock: how many semaphores it stages
//    332    4  adjusted          lock: how many adjustments it logs
//    336    4  given             lock: how many sleepers
//    340    4  clear             lock: kClear…
//    344    4  clear_which       lock
//    348    4  operated          lock: the semaphore whose operated_s is set, 1 + index; 0 none
//    352    8  operated_s        lock
//    360  152  reserved
struct SemaphoreHeader {
    memory::ObjectHeader object;
    std::uint32_t semaphores;
    std::uint32_t actors;
    std::uint32_t undos;
    std::uint32_t undo_stride_bytes;
    std::uint64_t logs_offset;
    std::uint64_t actors_offset;
    std::uint64_t waiters_offset;
    std::uint64_t vectors_offset;
    std::uint64_t undos_offset;
    memory::ShmU32 permission_changes;
    std::uint32_t reserved1[17];
    memory::ShmU32 lock;
    memory::ShmU32 sleepers;
    memory::ShmU32 complex;
    memory::ShmU32 complex_alter;
    memory::ShmU32 first;
    memory::ShmU32 last;
    memory::ShmU32 actors_high;
    memory::ShmU32 undos_high;
    memory::ShmU64 tickets;
    memory::ShmU64 changed_s;
    memory::ShmU32 logs_reserved;
    memory::ShmU32 actors_reserved;
    memory::ShmU32 undos_reserved;
    std::uint32_t reserved2;
    memory::ShmU32 state;
    memory::ShmU32 change;
    memory::ShmU32 staged;
    memory::ShmU32 adjusted;
    memory::ShmU32 given;
    memory::ShmU32 clear;
    memory::ShmU32 clear_which;
    memory::ShmU32 operated;
    memory::ShmU64 operated_s;
    std::uint64_t reserved3[19];
};
static_assert(memory::ShmLayout<SemaphoreHeader>);
static_assert(sizeof(SemaphoreHeader) == 512 && offsetof(SemaphoreHeader, lock) == 256 && offsetof(SemaphoreHeader, state) == 320);

inline constexpr std::uint64_t kSemaphoreSetMagic = 0x31746573'6d65734dull;  // "Msemset1"
inline constexpr std::uint32_t kSemaphoreSetFormat = 1;
inline constexpr std::uint32_t kSemaphoreSetFingerprint = memory::fingerprint_of(
    {sizeof(SemaphoreHeader), sizeof(Semaphore), sizeof(SemaphoreWaiter), sizeof(UndoRecord), sizeof(SemaphoreLogs), sizeof(sync::Actor),
     kPidShift, kMarkShift, kInlineOps, offsetof(SemaphoreHeader, lock), offsetof(SemaphoreHeader, state), offsetof(Semaphore, holders)});

// The domain's file of process lives ("lives"): a life word for each process that has adjustments anywhere, so placed that the
// robust list of one of its threads can name it. See docs/protocols/semaphore_set.md, "Lives".
//
//      0  128  object
//    128    4  high             anyone, upwards: no slot at or above it was ever used
//   4096   16n LifeSlot x kLifeSlots
//   then      pages of three life words each, in the last 24 bytes of the page, 8 bytes apart
struct LifeSlot {
    memory::ShmU32 pid;   // 0 free; taken by compare-and-swap
    memory::ShmU32 told;  // 1: whoever sleeps on the word has been told that it changed
    memory::ShmU64 start;
};
static_assert(memory::ShmLayout<LifeSlot> && sizeof(LifeSlot) == 16);
struct LivesHeader {
    memory::ObjectHeader object;
    memory::ShmU32 high;
    std::uint32_t reserved[31];
};
static_assert(memory::ShmLayout<LivesHeader> && sizeof(LivesHeader) == 256);
inline constexpr std::uint32_t kLifeSlots = 24576;
inline constexpr std::uint32_t kLivesPerPage = 3;
inline constexpr std::uint64_t kLifeSlotsOffset = 4096;
inline constexpr std::uint64_t kLifePagesOffset = kLifeSlotsOffset + kLifeSlots * sizeof(LifeSlot);
inline constexpr std::uint64_t kLivesBytes = kLifePagesOffset + kLifeSlots / kLivesPerPage * 4096;
static_assert(kLifePagesOffset % 4096 == 0);
inline constexpr std::uint64_t kLivesMagic = 0x31736576'694c754dull;  // "MuLives1"
inline constexpr std::uint32_t kLivesFormat = 1;
inline constexpr std::uint32_t kLivesFingerprint = memory::fingerprint_of({sizeof(LifeSlot), sizeof(LivesHeader), kLifeSlots, kLivesPerPage});

// Where in the file a slot's word lies.
constexpr std::uint64_t life_offset(std::uint32_t slot) {
    return kLifePagesOffset + slot / kLivesPerPage * 4096ull + 4096 - 8 * kLivesPerPage + slot % kLivesPerPage * 8ull;
}

}  // namespace muster::objects
