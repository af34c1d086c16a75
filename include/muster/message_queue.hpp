// muster/message_queue.hpp: named, priority-ordered queues of byte messages.
//
// Contract  POSIX.1-2017 mq_*(3). Where Linux and POSIX differ we follow Linux;
//           the full list is docs/deviations.md. The same objects are reached with
//           mq_open() through libmuster_posix and with the muster command.
// Threads   every member may be called at once from any thread of any process.
// Crashes   a message is wholly in the queue or wholly absent, wherever its
//           sender or receiver is killed, and nobody waits for the dead.
// Signals   not to be called from signal handlers; the C calls may be.
// Not here  notification on arrival: use fd() in an event loop, or mq_notify(3).
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>
#include "deadline.hpp"
#include "domain.hpp"
#include "result.hpp"

namespace muster {

struct QueueOptions {
    std::uint64_t messages_max = 10;            // capacity, 1 .. limit msg_max (1 000 000)
    std::uint64_t message_size_bytes_max = 8192;  // 1 .. limit msgsize_max (16 MiB)
    std::uint32_t mode = 0600;                  // permission bits; the process's umask applies
};

struct QueueStatus {
    std::uint64_t messages, messages_max, message_size_bytes_max;
    std::uint64_t bytes_allocated;              // tmpfs memory in use
    std::uint32_t receivers_waiting, senders_waiting;
    std::uint32_t owner_uid, owner_gid, mode;
    std::chrono::system_clock::time_point created;
    std::int32_t last_send_pid, last_receive_pid;                            // 0: never
    std::int32_t notify_pid;                                                 // 0: nobody registered
};

// One who sleeps at a queue.
struct QueueWaiter {
    std::int32_t pid, thread_id;
    bool sends;  // waits for room; else for a message
    std::chrono::system_clock::time_point since;
};

// What receive() found: its size in the buffer, and its priority.
struct Received {
    std::size_t size_bytes;
    std::uint32_t priority;
};

struct Message {
    std::vector<std::byte> bytes;
    std::uint32_t priority;
    std::string_view text() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
};

class MessageQueue {
public:
    static constexpr std::uint32_t kPriorityMax = 32767;

    // Makes a new queue. `name` is "/jobs": one leading slash, no other, at most 255 bytes after it.
    //
    // Errors:
    //   EEXIST        there is one already
    //   EINVAL        the name has no leading slash; a capacity or size is 0 or above the domain's limit
    //   EACCES        another slash in the name, or "/." or "/.."; no right to create in the domain
    //   ENAMETOOLONG  more than 255 bytes after the slash
    //   ENOSPC        the file system is full, or the domain has queues_max queues
    static Result<MessageQueue> create(std::string_view name, const QueueOptions& options = {});
    static Result<MessageQueue> create(const Domain& domain, std::string_view name, const QueueOptions& options = {});

    // Opens an existing queue for sending and receiving.
    //
    // Errors: ENOENT, EACCES, EINVAL, ENAMETOOLONG as above, and
    //   EBADMSG  the file in the domain is no queue of this format, or is damaged; hint() says which
    static Result<MessageQueue> open(std::string_view name);
    static Result<MessageQueue> open(const Domain& domain, std::string_view name);

    // Opens the queue, making it first if there is none; `options` matter only then.
    static Result<MessageQueue> open_or_create(std::string_view name, const QueueOptions& options = {});
    static Result<MessageQueue> open_or_create(const Domain& domain, std::string_view name, const QueueOptions& options = {});

    // Takes the name away at once; those who have the queue open keep it. Errors: ENOENT, EACCES.
    static Result<> remove(std::string_view name);
    static Result<> remove(const Domain& domain, std::string_view name);

    MessageQueue(MessageQueue&&) noexcept;
    MessageQueue& operator=(MessageQueue&&) noexcept;
    ~MessageQueue();  // closes; the queue and its messages stay

    // Adds one message behind all those of equal or higher priority.
    //
    //   message   at most status().message_size_bytes_max bytes; may be empty; copied before return
    //   priority  0..kPriorityMax, larger is delivered first
    //   deadline  when to give up waiting for space; Deadline::now() never waits
    //
    // Errors, after all of which the queue is as it was before the call:
    //   EMSGSIZE   message is too long
    //   EINVAL     priority is out of range
    //   EAGAIN     the queue is full and deadline is now()
    //   ETIMEDOUT  it was still full at the deadline
    //   EINTR      a signal handler without SA_RESTART ran while waiting
    //   ENOSPC     the file system has no room for the message
    //   EBADMSG    the queue's file is damaged; every later call says so too
    Result<> send(std::span<const std::byte> message, std::uint32_t priority = 0, Deadline deadline = Deadline::never());
    Result<> send(std::string_view message, std::uint32_t priority = 0, Deadline deadline = Deadline::never());
    Result<> try_send(std::span<const std::byte> message, std::uint32_t priority = 0) { return send(message, priority, Deadline::now()); }
    Result<> try_send(std::string_view message, std::uint32_t priority = 0) { return send(message, priority, Deadline::now()); }

    // Takes the oldest message of the highest priority into `buffer`, which must hold message_size_bytes_max bytes.
    //
    // Errors, after all of which every message is still there:
    //   EMSGSIZE   buffer is shorter than message_size_bytes_max
    //   EAGAIN     the queue is empty and deadline is now()
    //   ETIMEDOUT  it was still empty at the deadline
    //   EINTR      a signal handler without SA_RESTART ran while waiting
    //   EBADMSG    the queue's file is damaged
    Result<Received> receive(std::span<std::byte> buffer, Deadline deadline = Deadline::never());
    Result<Message> receive(Deadline deadline = Deadline::never());
    Result<Message> try_receive() { return receive(Deadline::now()); }

    // A copy of the message that receive() would take now; it stays. Errors: EAGAIN (empty), EBADMSG.
    Result<Message> peek();
    // Copies of all messages, in the order in which they would be received. For tools; takes O(n).
    Result<std::vector<Message>> peek_all();

    // A descriptor for poll, select and epoll: readable while there are messages, writable while there is space.
    // Belongs to the queue object; do not read, write or close it. From the first call on every transition between
    // empty, partly full and full costs a system call, in all processes. Errors: EMFILE, ENFILE, ENOSPC.
    Result<int> fd();

    Result<QueueStatus> status() const;
    // For tools: everyone who sleeps here, the first to come first. Errors: EBADMSG.
    Result<std::vector<QueueWaiter>> waiters() const;
    std::size_t message_size_bytes_max() const;
    const std::string& name() const;

    struct Implementation;

private:
    explicit MessageQueue(std::unique_ptr<Implementation> implementation);
    std::unique_ptr<Implementation> implementation_;
};

// A queue whose messages are all one trivially copyable type; others' messages of another size are EBADMSG and stay out of T.
template <class T>
class MessageQueueOf {
    static_assert(std::is_trivially_copyable_v<T>, "messages are copied byte by byte between processes");

public:
    static Result<MessageQueueOf> create(std::string_view name, QueueOptions options = {}) {
        options.message_size_bytes_max = sizeof(T);
        return wrap(MessageQueue::create(name, options));
    }
    static Result<MessageQueueOf> open(std::string_view name) { return wrap(MessageQueue::open(name)); }
    static Result<MessageQueueOf> open_or_create(std::string_view name, QueueOptions options = {}) {
        options.message_size_bytes_max = sizeof(T);
        return wrap(MessageQueue::open_or_create(name, options));
    }

    Result<> send(const T& message, std::uint32_t priority = 0, Deadline deadline = Deadline::never()) {
        return queue_.send(std::as_bytes(std::span<const T, 1>(&message, 1)), priority, deadline);
    }
    Result<> try_send(const T& message, std::uint32_t priority = 0) { return send(message, priority, Deadline::now()); }

    Result<T> receive(Deadline deadline = Deadline::never()) {
        T message;
        auto got = queue_.receive(std::as_writable_bytes(std::span<T, 1>(&message, 1)), deadline);
        if (!got) return got.error();
        if (got->size_bytes != sizeof(T))
            return Error(EBADMSG, queue_.name(), "a message of another size than the type's was in the queue; it has been taken out");
        return message;
    }
    Result<T> try_receive() { return receive(Deadline::now()); }
    MessageQueue& untyped() { return queue_; }

private:
    explicit MessageQueueOf(MessageQueue queue) : queue_(std::move(queue)) {}
    // A queue of other messages is refused when it is opened, not at the first surprise.
    static Result<MessageQueueOf> wrap(Result<MessageQueue> queue) {
        if (!queue) return queue.error();
        if (queue->message_size_bytes_max() != sizeof(T))
            return Error(EINVAL, queue->name(), "the queue's message size is not the type's; open it untyped, or create another");
        return MessageQueueOf(std::move(*queue));
    }
    MessageQueue queue_;
};

}  // namespace muster
