// The queue engine: messages between processes. It has two faces: POSIX queues give the highest priority first, oldest
// first within it; typed queues, System V's, give the oldest, or the oldest of some types.
//
// docs/protocols/queue.md tells how it works and why it survives. In short: senders and receivers
// have a lock each and meet only in two rings; who must wait becomes an actor; a message is in the
// queue from one store of its slot's state to another.
//
// Every call takes the calling thread's state, and the descriptor of the queue's file: memory for
// messages is taken when it is first needed. A typed queue needs no descriptor (-1) and does it through the mapping.
#pragma once
#include <atomic>
#include "memory/mapping.hpp"
#include "objects/permission.hpp"
#include "objects/priority_index.hpp"
#include "objects/queue_layout.hpp"
#include "objects/type_index.hpp"
#include "platform/futex.hpp"
#include "sync/robust_lock.hpp"

namespace muster::objects {

class Acting;
class Findings;
struct QueueView;
struct Wait;

enum class ActorKind : std::uint32_t { none = 0, receiver = 1, sender = 2, keeper = 3 };

// How long a call may wait. `descriptor` >= 0: not at all if O_NONBLOCK is set there, which is asked only
// when there is cause to wait.
struct Patience {
    platform::DeadlineNs deadline_ns = platform::kForever;
    int descriptor = -1;
    // The descriptor that was last found blocking, and after how many changes: asking costs a system call.
    std::atomic<std::uint64_t>* known_blocking = nullptr;
};

struct ReceivedMessage {
    std::size_t length;      // as copied
    std::uint64_t priority;  // or type
};

// Where a message goes to.
struct PlainBuffer {
    void* buffer;
};
// The same for a typed queue, and what is wanted.
struct TypedBuffer : PlainBuffer {
    std::size_t capacity;
    Selector selector;
    bool truncate;       // what is too long is cut; else it is E2BIG, and the message stays
    std::int64_t* type;  // where the type goes; may be null
};

inline constexpr std::uint64_t kQueueMessagesMost = 16'000'000;
inline constexpr std::uint64_t kQueueMessageBytesMost = 1ull << 30;
// Where everything goes, and the length of both files; the one place that decides, so that an opener can check it all by deciding again.
QueueGeometry plan_queue(std::uint64_t messages_max, std::uint64_t message_bytes_max, QueueFace face, std::uint64_t& file_bytes);

struct QueueOptions {
    std::uint64_t messages_max;
    std::uint64_t message_bytes_max;
    std::uint32_t mode;  // permission bits as granted, umask applied
    QueueFace face = QueueFace::priorities;
    std::uint64_t bytes_max = 0;  // of a typed queue
};

// All of a typed queue's bookkeeping at one moment.
struct TypedState {
    std::uint64_t messages, bytes, bytes_max;
    std::uint32_t last_send_pid, last_receive_pid;
    std::uint64_t sent_s, received_s, changed_s;
    std::uint32_t receivers_waiting, senders_waiting;
};

struct QueueState {
    std::uint64_t messages, messages_max, message_bytes_max;
    std::uint32_t receivers_waiting, senders_waiting;
    std::uint32_t last_send_pid, last_receive_pid, notify_pid;
    std::uint64_t created_ns;
    bool polled;
};

// Someone who is told when a message comes to the empty queue. `kind` is a SIGEV_ constant.
struct NotifyRequest {
    int kind;
    int signal;
    std::uint64_t value;
    bool by_word;  // wake the helper thread that watches the word instead of sending a signal
    std::uint32_t* word = nullptr;  // where the word goes, as it is at registration: an earlier one's end is none of its helper's
};

class Queue {
public:
    // Makes the queue in an empty file; it is not ready() yet. Errors: ENOSPC, ENOMEM, EFBIG, EOVERFLOW.
    // `slots_fd`: a second empty file, for the slots, of a typed queue: the first one is for everybody's eyes.
    platform::Outcome<> create(int fd, const QueueOptions& options, int slots_fd = -1);
    // Maps an existing queue. Errors: EBADMSG with the reason; nothing is written.
    // `even_damaged`: also one that somebody found damaged, for check() and repair().
    // A typed queue has `slots_fd`, its second file.
    platform::Outcome<> open(int fd, bool even_damaged = false, int slots_fd = -1);
    Queue() = default;
    Queue(const Queue&) = delete;

    // Errors as in muster/message_queue.hpp, and EFAULT: `message` cannot be read.
    platform::Outcome<> send(platform::ThreadState& thread, int fd, const void* message, std::size_t length, std::uint64_t priority,
                             const Patience& patience);
    // `buffer` must hold message_bytes_max bytes. EFAULT: it cannot be written; the message stays.
    platform::Outcome<ReceivedMessage> receive(platform::ThreadState& thread, int fd, void* buffer, std::size_t capacity,
                                               const Patience& patience);
    // The typed face. SOURCE msgsnd(2), msgrcv(2), msgctl(2). Never restarted after a handler: EINTR.
    // Errors: EINVAL longer than message_bytes_max; EAGAIN no room, and no patience; EIDRM; EINTR; EFAULT; ENOSPC no memory
    // in the domain; EACCES the rights were taken away while it waited.
    platform::Outcome<> send_typed(platform::ThreadState& thread, const void* text, std::size_t length, std::uint64_t type, const Patience& patience);
    // Errors: EAGAIN nothing matches, and no patience; E2BIG; EIDRM, EINTR, EFAULT, EACCES. In all of them no message is gone.
    platform::Outcome<ReceivedMessage> receive_typed(platform::ThreadState& thread, const TypedBuffer& to, const Patience& patience);
    // Copies the message that `index` others are older than; it stays. Errors: EAGAIN there is none; E2BIG, EFAULT, EIDRM, ENOMEM.
    platform::Outcome<ReceivedMessage> copy_typed(platform::ThreadState& thread, const TypedBuffer& to, std::uint64_t index);
    platform::Outcome<TypedState> typed_state(platform::ThreadState& thread);
    // The same from a file that need not be ours to map: a picture of a moment, zeroes if it cannot be read.
    static TypedState peek_state(int fd);
    // Calls visit(context, sleeper) for everybody who sleeps here, in no order. Both locks are held meanwhile.
    struct Sleeper {
        std::uint32_t process_id, thread_id;
        bool sends;
        Selector selector;  // of a receiver of a typed queue
        std::uint64_t ticket, since_ns;
    };
    using VisitSleeper = void (*)(void* context, const Sleeper& sleeper);
    platform::Outcome<> look_at_sleepers(platform::ThreadState& thread, int fd, VisitSleeper visit, void* context);
    // Calls `change` with both locks held, everybody who sleeps having been told to ask again. `bytes_max` is stored if it succeeds.
    using Change = platform::Outcome<> (*)(void* context, memory::ObjectHeader& header);
    platform::Outcome<> change(platform::ThreadState& thread, Change change, void* context, std::uint64_t bytes_max);
    // The same for the removal, which `mark` commits. Errors: EIDRM somebody else was first.
    using Mark = void (*)(memory::ObjectHeader& header);
    platform::Outcome<> remove(platform::ThreadState& thread, Mark mark);
    // SYNC queue.permission (acquire half).
    std::uint32_t permission_changes() const { return header_->shared.permission_changes.load_acquire(); }
    std::uint64_t bytes_max() const { return header_->shared.bytes_max.load_acquire(); }

    // Calls `visit(visitor, message, length, priority)` for the message next in line, or for all in the order in
    // which they would be received; `message` is shared memory: copy it. Stops when visit returns false.
    using Visit = bool (*)(void* visitor, const std::byte* message, std::size_t length, std::uint64_t priority);
    platform::Outcome<> peek(platform::ThreadState& thread, int fd, bool all, Visit visit, void* visitor);

    // Whether somebody died here whose hold has not been released yet.
    bool has_dead() const { return dead_actors(); }
    bool marked_damaged() const { return (header_->shared.flags.load_acquire() & kQueueDamaged) != 0; }

    QueueState state() const;
    // Messages in the queue now.
    std::uint64_t count() const;
    // The same, after putting right what somebody left who died a moment ago.
    std::uint64_t count_settled(platform::ThreadState& thread, int fd);

    // From now on the FIFO of this queue holds one packet when the queue is partly full, two when it is full.
    // `fifo` is open for reading and writing, non-blocking. `passing`: until stop_polling(), for a call of poll or
    // select; else for good. A caller that dies before it stops leaves the queue polled: slower, never wrong.
    platform::Outcome<> start_polling(platform::ThreadState& thread, int fd, int fifo, bool passing);
    void stop_polling(platform::ThreadState& thread, int fd);
    void set_fifo(int fifo) { fifo_.store(fifo, std::memory_order_release); }
    bool in_epoll() const { return (header_->shared.flags.load_acquire() & kQueueInEpoll) != 0; }
    bool polled() const { return (header_->shared.flags.load_acquire() & kQueuePolled) != 0; }
    // Opens the FIFO in this process when an operation finds that somebody polls; -1 if it cannot.
    using OpenFifo = int (*)(Queue&);
    // `keep`: what it opened stays open for next time; else it is closed after each use.
    void set_fifo_opener(OpenFifo opener, bool keep = true) {
        open_fifo_ = opener;
        keeps_fifo_ = keep;
    }

    // Registers this process. Errors: EBUSY another registration stands.
    platform::Outcome<> set_notify(platform::ThreadState& thread, int fd, const NotifyRequest& request);
    // Ends this process's registration, if it is the one that stands.
    platform::Outcome<> clear_notify(platform::ThreadState& thread, int fd);
    std::uint32_t* notify_word() const { return header_->send.notify_word.address(); }
    std::uint32_t notify_sender_pid() const { return header_->send.notify_sender_pid.load_acquire(); }
    std::uint32_t notify_sender_uid() const { return header_->send.notify_sender_uid.load_acquire(); }

    // O_NONBLOCK of one of the queue's descriptors was set or cleared.
    void note_nonblock_change() { header_->shared.nonblock_changes.add_release(1); }

    // Looks for what dead processes left and puts it right. How many things were found.
    platform::Outcome<unsigned> recover(platform::ThreadState& thread, int fd);

    // What fsck finds: the parts of the queue are compared with each other. Changes nothing but what any operation would
    // put right that follows a death. Errors: ENOSPC, ENOMEM, EIDRM; EBADMSG pages of it are gone.
    platform::Outcome<> check(platform::ThreadState& thread, int fd, Findings& findings);
    // Tells the same and rebuilds lists, rings, indexes and counts from the slots that the evidence says hold messages. Messages
    // whose slots are damaged are dropped and told. Errors: as of check(); EAGAIN a living thread does not let go of a lock.
    platform::Outcome<> repair(platform::ThreadState& thread, int fd, Findings& findings);
    // The same for who wants no more than the words.
    using Tell = void (*)(void* context, const char* what, std::uint64_t bytes);
    platform::Outcome<> check(platform::ThreadState& thread, int fd, Tell tell, void* context);
    platform::Outcome<> repair(platform::ThreadState& thread, int fd, Tell tell, void* context);

    std::uint64_t messages_max() const { return messages_max_; }
    std::uint64_t message_bytes_max() const { return message_bytes_max_; }
    Permission permission() const { return Permission::of(header_->object); }
    memory::ObjectHeader& object() const { return header_->object; }
    void publish_ready() { mapping_.publish_ready(); }

private:
    friend class Acting;
    friend struct Wait;
    enum class Quick { done, failed, slow, drain, refill, none };
    // A message in the index, and where: its priority, or its type's lane.
    struct Choice {
        static constexpr std::uint32_t kNone = PriorityIndex::kNone;
        std::uint32_t slot;
        std::uint32_t place;
    };
    static_assert(PriorityIndex::kNone == TypeIndex::kNone);

    void attach(const QueueGeometry& checked);
    template <class Changed>
    bool look_for_peer(std::uint32_t peer_cpu, Changed changed);
    platform::Outcome<> check_geometry(const QueueGeometry& geometry, std::uint64_t file_bytes) const;
    Slot& slot(std::uint32_t number) const { return slots_[number]; }
    std::byte* inline_payload(std::uint32_t number) const { return reinterpret_cast<std::byte*>(&slots_[number]) + sizeof(Slot); }
    std::byte* payload(std::uint32_t number, std::size_t length) const {
        return length <= inline_bytes_ ? inline_payload(number) : mapping_.start() + regions_offset_ + std::uint64_t{number} * region_stride_;
    }
    sync::Actor& actor(std::uint32_t number) const { return actors_.first[number]; }
    platform::Fault damaged(const char* what) const;
    platform::Outcome<> usable() const;  // EBADMSG once damage was found
    // Whether a call may wait at all. Errors: EAGAIN.
    platform::Outcome<> may_wait(const Patience& patience) const;
    // Memory for a part of the file, or back from it; negated errno values.
    int reserve(int fd, std::uint64_t offset, std::uint64_t bytes);
    void give_back(int fd, std::uint64_t offset, std::uint64_t bytes);
    bool is_key(std::uint64_t key) const { return typed_ ? key - 1 < INT64_MAX : key < kPriorities; }
    bool is_length(std::uint64_t length) const { return length <= message_bytes_max_ && (length <= inline_bytes_ || region_stride_ != 0); }

    // Send side; send.lock held.
    bool full();
    bool has_room(std::size_t length);  // either face
    bool has_room_typed(std::size_t length);
    template <bool kTyped>
    bool has_room_as(std::size_t length);
    bool receivers_have_settled() const;
    void begin_filling(std::uint32_t number, bool typed);
    platform::Outcome<> prepare_lane(int fd, std::uint64_t priority);
    Quick pop_free(int fd, std::uint32_t& number, platform::Fault& fault, bool typed);
    platform::Outcome<> prepare_region(int fd, std::uint32_t number, std::size_t length);
    platform::Outcome<> fill(platform::ThreadState& thread, int fd, std::uint32_t number, const void* message, std::size_t length, std::uint64_t priority);
    bool inbox_has_room();
    void commit_to_inbox(std::uint32_t number, bool old, bool typed);
    static constexpr std::uint32_t kNoActor = 0xffffffff;
    static constexpr std::uint32_t kTooLong = 0xfffffffe;  // of give(): somebody must be told E2BIG
    bool matches(const sync::Actor& waiter, std::uint32_t number) const;
    bool is_too_long(const sync::Actor& waiter, std::uint32_t number) const;
    void note_given(const sync::Actor& waiter);
    bool hand_over(std::uint32_t number);
    std::uint32_t give(platform::ThreadState& thread, std::uint32_t number, bool& asleep);
    void wake_given(platform::ThreadState& thread, int fd, std::uint32_t candidate, std::uint32_t number);
    void push_spare(std::uint32_t number);
    void unlink_receiver(std::uint32_t number);
    void recover_send();
    void deliver(int fd, std::uint32_t number);
    void fire_notify(int fd);
    void end_watch();
    template <bool kTyped>
    Quick send_quick(platform::ThreadState& thread, int fd, const void* message, std::size_t length, std::uint64_t priority, platform::Fault& fault);
    template <bool kTyped>
    platform::Outcome<> send_as(platform::ThreadState& thread, int fd, const void* message, std::size_t length, std::uint64_t priority,
                                const Patience& patience);
    platform::Outcome<> send_slow(platform::ThreadState& thread, int fd, const void* message, std::size_t length, std::uint64_t priority,
                                  const Patience& patience, std::uint32_t interruptions);
    platform::Outcome<> help_drain(platform::ThreadState& thread);
    platform::Outcome<> help_refill(platform::ThreadState& thread);

    // Receive side; receive.lock held.
    platform::Outcome<> drain();
    void recover_receive();
    platform::Outcome<> rebuild_index();
    platform::Outcome<> rebuild_index_by_places(std::uint32_t used);
    platform::Outcome<> index_append(std::uint32_t number, bool old);
    void push_returned(std::uint32_t number, bool typed);
    void push_returned(std::uint32_t number) { push_returned(number, typed_); }
    void refill_returned();
    void promote_senders();
    void promote_typed(std::uint64_t leaving_messages, std::uint64_t leaving_bytes);
    void wake_all();
    struct ByAge {
        std::uint32_t* numbers;
        std::uint64_t count, bytes;
    };
    platform::Outcome<ByAge> sorted_by_age();
    void unlink_sender(std::uint32_t number);
    void publish_freed();
    std::uint32_t give_space(platform::ThreadState& thread, bool& asleep);
    std::uint32_t ready_to_promote(std::uint32_t candidate) const;
    void put_in(std::uint32_t candidate, std::uint32_t number);
    template <class To>
    platform::Outcome<Choice> choose(const To& to);
    template <class To>
    bool copy_message(platform::ThreadState& thread, std::uint32_t number, std::uint32_t length, const To& to, ReceivedMessage& received);
    template <class To>
    platform::Outcome<> copy_out(platform::ThreadState& thread, const Choice& best, const To& to, ReceivedMessage& received);
    template <bool kTyped>
    void take_out(const Choice& best);
    template <class To>
    Quick receive_quick(platform::ThreadState& thread, const To& to, ReceivedMessage& received, platform::Fault& fault);
    template <class To>
    platform::Outcome<ReceivedMessage> receive_as(platform::ThreadState& thread, int fd, const To& to, const Patience& patience);
    template <class To>
    platform::Outcome<ReceivedMessage> receive_slow(platform::ThreadState& thread, int fd, const To& to, const Patience& patience, std::uint32_t interruptions);

    // Checking (queue_check.cpp).
    QueueView view() const;
    std::uint32_t slots_present() const;
    std::uint64_t inode(int fd) const;
    bool settle_holders(int fd, bool mend, Findings& findings);
    platform::Outcome<> check_locked(Findings& findings);
    platform::Outcome<> repair_locked(int fd, Findings& findings);
    void check_header(std::uint64_t messages, std::uint64_t message_bytes, std::uint64_t last_sequence, Findings& findings);
    void check_sleepers(ActorKind kind, const memory::ShmU32& first, std::uint32_t counted, Findings& findings);

    // Either; both locks held by an actor.
    std::uint32_t tokens_for(std::uint64_t messages) {
        return messages == 0 ? 0 : (typed_ ? !has_room(1) : messages >= messages_max_) ? 2 : 1;
    }
    class FifoInUse;
    void set_tokens(std::uint32_t tokens);
    void resync_tokens();
    void make_edge();
    std::uint64_t messages_now() const { return header_->sent.sent.load_relaxed() - header_->received.freed.load_relaxed(); }
    unsigned reap_dead(int fd);
    void reap(int fd, std::uint32_t number);
    void trim_if_idle(platform::ThreadState& thread, int fd);
    void reset_free_slots();
    void link_waiter(std::uint32_t number, std::uint64_t ticket, memory::ShmU32& first, memory::ShmU32& last);
    void unlink_waiter(std::uint32_t number, memory::ShmU32& first, memory::ShmU32& last, memory::ShmU32& waiting);
    std::uint32_t relink(ActorKind kind, memory::ShmU32& first, memory::ShmU32& last);
    bool is_linked(std::uint32_t number, const memory::ShmU32& first) const;
    bool dead_actors() const;
    bool dead_holder(const memory::ShmU32& lock) const;
    void put_back(int fd, std::uint32_t number);
    void return_taken(int fd, std::uint32_t actor_number);                 // both locks held: the message goes back
    bool finish_taken(Acting& me, int fd, const PlainBuffer& to, ReceivedMessage& received);  // false: buffer cannot be written, the message went back
    void drop_filling(Acting& me);                                         // gives back the slot of a send that is not to be

    memory::Mapping mapping_;
    QueueHeader* header_ = nullptr;
    // Checked copies; the shared ones are never read again.
    std::uint64_t messages_max_ = 0;
    std::uint64_t message_bytes_max_ = 0;
    std::uint32_t inline_bytes_ = 0;
    std::uint32_t ring_mask_ = 0;
    memory::ShmU32* inbox_ = nullptr;
    memory::ShmU32* returned_ = nullptr;
    SlotTable slots_{};
    PriorityIndex index_;
    TypeIndex types_;
    bool typed_ = false;
    sync::ActorTable actors_{};
    std::uint64_t region_stride_ = 0;
    std::uint64_t regions_offset_ = 0;
    std::uint64_t lanes_offset_ = 0;
    std::uint64_t actors_offset_ = 0;
    std::uint64_t slots_offset_ = 0;
    std::atomic<std::uint32_t> mapping_damaged_{0};
    std::atomic<std::uint32_t> yields_skipped_{0};   // how many times to sleep without yielding first
    std::atomic<std::uint32_t> yields_in_vain_{0};   // in a row
    std::atomic<int> fifo_{-1};
    std::atomic<std::uint32_t> receives_{0};  // of this process; now and then one looks for the dead
    OpenFifo open_fifo_ = nullptr;
    bool keeps_fifo_ = true;

public:
    ~Queue() = default;
};

// The typed queue that the registry found, with its second file. Errors: EBADMSG, EIDRM, EACCES, EMFILE.
struct SysvFile;
class SysvRegistry;
inline constexpr std::uint64_t kTypedMessageBytesMax = 16 << 20;  // msgmax counts up to here
struct SysvFound;
// SOURCE msgget(2). `place(context)` gives the Queue in which a new one is made, null: ENOMEM. Errors: as SysvRegistry::get().
class Domain;
platform::Outcome<SysvFound> get_typed(const Domain& domain, SysvRegistry& registry, std::uint32_t key, int flags, Queue* (*place)(void* context), void* context);
platform::Outcome<> open_typed(Queue& queue, const SysvFile& file, const SysvRegistry& registry, bool even_damaged = false);

// Whether process `pid` holds a registration for notification on the queue behind `fd`.
bool registration_stands(int fd, std::uint32_t pid);

// Takes away the name ("mq/jobs"); those who hold the queue keep it. Errors: ENOENT, EACCES.
platform::Outcome<> remove_queue(const Domain& domain, const char* name);

// The FIFO that stands for a polled queue, "poll/<uuid>".
inline constexpr std::size_t kFifoNameBytes = 48;
void fifo_name(const memory::ObjectHeader& object, char (&name)[kFifoNameBytes]);
// Removes it if nobody has it open.
void remove_idle_fifo(const Domain& domain, const memory::ObjectHeader& object);
// Opens it for reading and writing, made first if `create`; the descriptor or a negated errno.
int open_fifo(const Domain& domain, const Queue& queue, bool create);

}  // namespace muster::objects
