// Shared-memory layout of a message queue, format 1. The protocol is docs/protocols/queue.md.
//
// A queue has two sides that seldom meet. What senders need is on the send side, guarded by send.lock;
// what receivers need is on the receive side, guarded by receive.lock; two one-way rings connect them.
//
//   offset  size  what                        written by
//        0   128  memory::ObjectHeader
//      128   128  geometry                    creator, once
//      256    64  shared: flags, hints        any, rarely
//      320    64  reserved, zero
//      384    64  send.lock                   sync::robust_lock
//      448   192  send side, private          a sender, send.lock held
//      640    64  send side, published        a sender, send.lock held; receivers read it
//      704    64  reserved, zero
//      768    64  receive.lock                sync::robust_lock
//      832   192  receive side, private       a receiver, receive.lock held
//     1024    64  receive side, published     a receiver, receive.lock held; senders read it
//     1088   960  reserved, zero
//     2048     -  inbox ring, returned ring: u32[ring_entries] each
//              -  at the offsets the geometry gives: lanes, actors, slots, regions. Their memory is taken
//                 when they are first used, so that an idle queue is one page.
//
// A slot is 32 bytes of header and inline_bytes of message, and a TypeLane if the queue is typed; a longer message lies in the slot's region,
// message_bytes_max long, whose memory is taken and given back page by page.
//
// INVARIANT queue.slots: a message is in the queue if and only if its slot's state says inbox or indexed.
//           Rings, lanes and counts can be rebuilt from the slots.
// INVARIANT queue.count: messages in the queue == send.sent - receive.freed (modular).
// INVARIANT queue.bytes: bytes in a typed queue == sent.sent_bytes - received.freed_bytes (modular).
// INVARIANT queue.ticket: receivers are in the waiting list only while no message matches them, senders
//           only while there is no room for their message.
//
// Nothing here is trusted: readers copy a field once, check the copy, then use the copy.
#pragma once
#include "memory/object_layout.hpp"
#include "sync/actor_layout.hpp"

namespace muster::objects {

inline constexpr std::uint64_t kQueueMagic = 0x31455545'5551524dULL;  // "MRQUEUE1", little-endian
inline constexpr std::uint32_t kQueueFormat = 1;
inline constexpr std::uint32_t kPriorities = 32768;
inline constexpr std::uint32_t kLaneBlocks = kPriorities / 64;

struct QueueGeometry {
    std::uint64_t messages_max;
    std::uint64_t message_bytes_max;
    std::uint32_t slots;             // messages_max and spare ones for messages in somebody's hands
    std::uint32_t inline_bytes;
    std::uint32_t slot_stride;
    std::uint32_t ring_entries;      // a power of two
    std::uint32_t actors;
    std::uint32_t face;              // QueueFace
    std::uint64_t region_stride;     // 0: every message is inline
    std::uint64_t lanes_offset;
    std::uint64_t actors_offset;
    std::uint64_t slots_offset;
    std::uint64_t regions_offset;
    std::uint64_t slots_inode;       // typed: of the second file, which begins at slots_offset
    std::uint64_t slots_device;
    std::uint64_t reserved1[4];
};

// The two faces of the engine: what orders the messages, and what limits them.
enum class QueueFace : std::uint32_t {
    priorities = 0,  // POSIX: highest priority first; messages_max messages
    types = 1,       // System V: by age or by type; shared.bytes_max bytes, and as many messages
};

// Flags. While any is set every operation holds both locks.
inline constexpr std::uint32_t kQueuePolled = 1;    // somebody polls: keep the FIFO's tokens
inline constexpr std::uint32_t kQueueInEpoll = 16;  // beside kQueuePolled: for good, since nobody tells when a watch ends
inline constexpr std::uint32_t kQueueWatched = 8;   // somebody is registered for notification
inline constexpr std::uint32_t kQueueDamaged = 4;   // somebody read what cannot be; every later call says so
inline constexpr std::uint32_t kQueueRemoved = 32;  // a removed typed queue: who had looked before finds it out all the same

struct QueueShared {
    memory::ShmU32 flags;            // both locks held
    memory::ShmU32 actors_high;      // one above the highest actor ever taken; only grows
    memory::ShmU32 actors_reserved;  // actors that have memory
    memory::ShmU32 tokens;           // packets in the FIFO, both locks held
    memory::ShmU64 tickets;          // next order of arrival
    memory::ShmU64 lanes_reserved;   // bit per page of lanes that has memory, send.lock held
    memory::ShmU64 region_pages;     // pages of regions that have memory
    memory::ShmU32 excess;           // more memory than an empty queue should keep
    memory::ShmU32 nonblock_changes; // how often O_NONBLOCK of some descriptor was changed
    memory::ShmU32 pollers;          // calls of poll and select under way, both locks held
    memory::ShmU32 permission_changes;  // typed: how often IPC_SET was done
    memory::ShmU64 bytes_max;        // typed: msg_qbytes, both locks held
};

// An intent tells the next holder what its dead predecessor was at. 0 none, else 1 + slot.
struct QueueSend {
    memory::ShmU32 filling;          // intent: slot being taken, filled and published
    memory::ShmU32 fresh;            // slots never used yet start here
    memory::ShmU64 filling_sent;     // send.sent when the intent was made
    memory::ShmU32 spare;            // 1 + slot: list of slots given back on this side
    memory::ShmU32 slots_reserved;   // slots that have memory
    memory::ShmU64 sequence;         // of the last message
    memory::ShmU64 freed_seen;       // receive.freed when last looked at
    memory::ShmU64 drained_seen;     // receive.drained when last looked at
    memory::ShmU32 first_receiver;   // 1 + actor: sleeping receivers, longest waiting first
    memory::ShmU32 last_receiver;
    memory::ShmU32 trimming;         // intent: slots are all free, memory is being given back; 2: the receive side knows
    memory::ShmU32 notify_kind;      // 0 nobody, else SIGEV_* + 1, and 0x100 if a helper thread of the registrant tells it
    memory::ShmU32 notify_pid;
    memory::ShmU32 notify_signal;
    memory::ShmU64 notify_value;
    memory::ShmU32 notify_word;      // futex of the registrant's helper thread; changes when it fires
    memory::ShmU32 notify_sender_pid;
    memory::ShmU32 notify_sender_uid;
    memory::ShmU32 reserved1;
    memory::ShmU32 last_pid;
    memory::ShmU32 reserved0;
    memory::ShmU64 reserved_line;
    memory::ShmU64 filling_bytes;    // typed: sent.sent_bytes when the intent was made
    memory::ShmU64 freed_bytes_seen; // typed: received.freed_bytes when last looked at
    memory::ShmU64 sent_s;           // typed: seconds since 1970 of the last msgsnd
    memory::ShmU64 changed_s;        // typed: of the creation or the last change
    memory::ShmU64 reserved[6];
};

struct QueueSendPublished {
    memory::ShmU64 sent;             // messages ever put into the inbox (SYNC queue.sent)
    memory::ShmU32 returned_head;    // slots taken out of the returned ring
    memory::ShmU32 receivers_waiting;
    memory::ShmU32 cpu;              // of the last sender
    memory::ShmU32 reserved0;
    memory::ShmU64 sent_bytes;       // typed: bytes ever put into the inbox; stored before `sent`
    memory::ShmU64 reserved[4];
};

// What the index of types keeps beside its lanes.
struct QueueTypes {
    memory::ShmU32 count;            // of distinct types, which is the size of both heaps
    memory::ShmU32 bucket_mask;      // buckets of the hash - 1
    memory::ShmU32 used;             // lanes never used yet start here
    memory::ShmU32 free;             // 1 + lane: list of lanes given back
};

struct QueueReceive {
    memory::ShmU32 taking;           // intent: slot being given back
    memory::ShmU32 taking_tail;      // receive.returned_tail when the intent was made
    memory::ShmU32 stack;            // 1 + slot: free slots that the returned ring had no room for
    memory::ShmU32 first_sender;     // 1 + actor: sleeping senders, longest waiting first
    memory::ShmU32 last_sender;
    memory::ShmU32 senders_waiting;
    memory::ShmU32 summary;          // bit per summary word that is not zero
    memory::ShmU32 last_pid;
    memory::ShmU64 summary_words[8]; // bit per lane block that is occupied
    memory::ShmU64 reserved_line;
    QueueTypes types;
    memory::ShmU64 taking_bytes;     // typed: what received.freed_bytes will be once the intent is done
    memory::ShmU64 received_s;       // typed: seconds since 1970 of the last msgrcv
    memory::ShmU64 reserved[7];
};

struct QueueReceivePublished {
    memory::ShmU64 drained;          // inbox entries taken over into the index
    memory::ShmU64 freed;            // INVARIANT queue.count
    memory::ShmU64 promoted_sequence;  // of the last message put in for a sleeping sender
    memory::ShmU32 returned_tail;    // slots put into the returned ring (SYNC queue.returned)
    memory::ShmU32 cpu;              // of the last receiver
    memory::ShmU64 indexed;          // messages in the index
    memory::ShmU64 freed_bytes;      // INVARIANT queue.bytes
    memory::ShmU64 reserved[2];
};

struct QueueHeader {
    memory::ObjectHeader object;
    QueueGeometry geometry;
    QueueShared shared;
    std::uint64_t reserved0[8];
    memory::ShmU32 send_lock;
    std::uint32_t reserved1[15];
    QueueSend send;
    QueueSendPublished sent;
    std::uint64_t reserved2[8];
    memory::ShmU32 receive_lock;
    std::uint32_t reserved3[15];
    QueueReceive receive;
    QueueReceivePublished received;
    std::uint64_t reserved4[120];
};
static_assert(memory::ShmLayout<QueueHeader>);
static_assert(sizeof(QueueGeometry) == 128 && sizeof(QueueShared) == 64 && sizeof(QueueSend) == 192);
static_assert(sizeof(QueueSendPublished) == 64 && sizeof(QueueReceive) == 192 && sizeof(QueueReceivePublished) == 64);
static_assert(offsetof(QueueHeader, geometry) == 128 && offsetof(QueueHeader, shared) == 256);
static_assert(offsetof(QueueHeader, send_lock) == 384 && offsetof(QueueHeader, send) == 448 && offsetof(QueueHeader, sent) == 640);
static_assert(offsetof(QueueHeader, receive_lock) == 768 && offsetof(QueueHeader, receive) == 832);
static_assert(offsetof(QueueHeader, received) == 1024 && sizeof(QueueHeader) == 2048);

// A slot's state: what it is, and in whose hands. One store of it commits or removes a message.
enum class SlotState : std::uint32_t {
    free = 0,
    filling = 1,  // a sender writes it: the holder of send.lock (holder 0), or an actor outside the locks
    inbox = 2,    // a message, on its way to the receive side
    indexed = 3,  // a message, in the receive side's index
    taken = 4,    // a message in the hands of an actor; comes back if that dies
};
inline constexpr std::uint32_t kSlotStateBits = 4;
constexpr std::uint32_t slot_word(SlotState state, std::uint32_t holder = 0) {  // holder: 1 + actor
    return static_cast<std::uint32_t>(state) | holder << kSlotStateBits;
}
constexpr SlotState slot_state(std::uint32_t word) { return static_cast<SlotState>(word & ((1u << kSlotStateBits) - 1)); }
constexpr std::uint32_t slot_holder(std::uint32_t word) { return word >> kSlotStateBits; }

// Sixty-four neighbouring priorities: which have messages, and the last message of each. The messages of
// one priority are a circle through Slot::next, from the last to the first and on to the last.
struct LaneBlock {
    memory::ShmU64 occupied;
    memory::ShmU32 last[64];       // 1 + slot
};
static_assert(memory::ShmLayout<LaneBlock>);
static_assert(sizeof(LaneBlock) == 264);

struct Slot {
    memory::ShmU32 state;
    memory::ShmU32 next;           // 1 + slot: next in its lane (circular) or list
    memory::ShmU64 sequence;       // order of sending
    memory::ShmU64 key;            // priority or type
    memory::ShmU32 length;         // bytes of the message
    memory::ShmU32 region_pages;   // pages of the slot's region that have memory
};
static_assert(memory::ShmLayout<Slot>);
static_assert(sizeof(Slot) == 32);

// The last bytes of each slot of a typed queue: one lane, one bucket of the hash and one place of either heap, which have
// nothing to do with the message in the slot or with each other, but get their memory with it. See type_index.hpp.
struct TypeLane {
    memory::ShmU64 type;
    memory::ShmU64 head_sequence;  // of the lane's oldest message
    memory::ShmU32 first;          // 1 + slot: its messages, oldest first
    memory::ShmU32 last;
    memory::ShmU32 next;           // 1 + lane: next in its bucket, or in the list of free ones
    memory::ShmU32 by_type_at;     // its place in either heap
    memory::ShmU32 by_age_at;
    memory::ShmU32 bucket;         // 1 + lane: first of the bucket of this number
    memory::ShmU32 by_type;        // the lanes at the places of this number
    memory::ShmU32 by_age;
    memory::ShmU64 reserved[2];
};
static_assert(memory::ShmLayout<TypeLane>);
static_assert(sizeof(TypeLane) == 64);

inline constexpr std::uint32_t kQueueFingerprint = memory::fingerprint_of(
    {sizeof(QueueHeader), sizeof(Slot), sizeof(sync::Actor), offsetof(QueueHeader, send), offsetof(QueueHeader, sent),
     offsetof(QueueHeader, receive), offsetof(QueueHeader, received), kPriorities});

}  // namespace muster::objects
