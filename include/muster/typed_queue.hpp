// muster/typed_queue.hpp: queues of messages that have a type each, taken by age or by type.
//
// Contract  POSIX.1-2017 and Linux msgop(2), msgctl(2): the same queues as msgget() reaches through libmuster_posix by the same
//           key, and the muster command as "msg:0x1234" or "msg:id=5". Where we differ: docs/deviations.md.
// Threads   every member may be called at once from any thread of any process, except moving and destroying.
// Crashes   a message is wholly in the queue or wholly absent, wherever its sender or receiver is killed; one that was on its
//           way to a receiver that died goes back to its place; nobody waits for the dead.
// Signals   not to be called from signal handlers; the C calls may be.
// Costs     taking a message by type, by lowest type or by exclusion costs the same however many others are in the queue.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>
#include "deadline.hpp"
#include "domain.hpp"
#include "key.hpp"
#include "result.hpp"

namespace muster {

struct TypedQueueOptions {
    std::uint32_t mode = 0600;  // read and write bits for owner, group, others; literally: the umask is not System V's
};

// Which message receive() takes; of those that match always the oldest. SOURCE msgrcv(2): its msgtyp and MSG_EXCEPT.
class Selector {
public:
    enum class Kind { any, type, except, up_to };
    static constexpr Selector any() { return {Kind::any, 0}; }
    static constexpr Selector type(std::int64_t type) { return {Kind::type, type}; }      // that type alone
    static constexpr Selector except(std::int64_t type) { return {Kind::except, type}; }  // any other type
    static constexpr Selector up_to(std::int64_t type) { return {Kind::up_to, type}; }    // the lowest type there is, if not above `type`
    constexpr Kind kind() const { return kind_; }
    constexpr std::int64_t value() const { return value_; }

private:
    constexpr Selector(Kind kind, std::int64_t value) : kind_(kind), value_(value) {}
    Kind kind_;
    std::int64_t value_;
};

// What receive() found: its size in the buffer, and its type.
struct TypedReceived {
    std::size_t size_bytes;
    std::int64_t type;
};

struct TypedMessage {
    std::vector<std::byte> bytes;
    std::int64_t type;
    std::string_view text() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
};

// One who sleeps at a typed queue.
struct TypedQueueWaiter {
    std::int32_t pid, thread_id;
    bool sends;          // waits for room; else for a message
    Selector selector;   // of a receiver
    std::chrono::system_clock::time_point since;
};

struct TypedQueueStatus {
    std::uint64_t messages, bytes;
    std::uint64_t bytes_max;               // msg_qbytes: neither bytes nor messages go beyond it
    std::uint64_t message_size_bytes_max;
    std::uint64_t bytes_allocated;         // tmpfs memory in use
    std::uint32_t receivers_waiting, senders_waiting;
    std::uint32_t owner_uid, owner_gid, creator_uid, creator_gid, mode;
    std::int32_t last_send_pid, last_receive_pid;  // 0: never
    std::chrono::system_clock::time_point created;
    std::chrono::system_clock::time_point last_send, last_receive;  // the epoch: never
    std::chrono::system_clock::time_point last_change;              // of owner, mode or bytes_max
};

class TypedQueue {
public:
    // Makes a new queue; it holds the domain's limit msgmnb (16384) bytes, in messages of at most msgmax (8192) bytes.
    // `key` Key::none(): a queue of its own, found by identifier() alone.
    //
    // Errors, after all of which nothing was made:
    //   EEXIST  there is a queue of that key already
    //   ENOSPC  the file system is full, or the domain has as many queues as its limit msgmni allows
    //   EMFILE, ENFILE, EACCES  no file can be made in the domain
    static Result<TypedQueue> create(const Domain& domain, Key key, const TypedQueueOptions& options = {});

    // Opens an existing queue, by its key or by its identifier.
    //
    // Errors:
    //   ENOENT   there is none (any more)
    //   EINVAL   Key::none(), which many queues have
    //   EACCES   the mode gives this user no right at all
    //   EBADMSG  the file is no queue of this format, or is damaged; hint() says which
    static Result<TypedQueue> open(const Domain& domain, Key key);
    static Result<TypedQueue> open(const Domain& domain, std::int32_t identifier);

    // Opens the queue of that key, making it first if there is none; `options` matter only then. Errors: as create() and open().
    static Result<TypedQueue> open_or_create(const Domain& domain, Key key, const TypedQueueOptions& options = {});

    TypedQueue(TypedQueue&&) noexcept;
    TypedQueue& operator=(TypedQueue&&) noexcept;
    ~TypedQueue();  // lets go of the memory; the queue and its messages stay

    std::int32_t identifier() const;  // as msgget(2) returns it
    Key key() const;
    const std::string& name() const;  // "msg:0x1234", or "msg:id=5" without a key
    std::size_t message_size_bytes_max() const;

    // Adds one message behind all others.
    //
    //   message   at most message_size_bytes_max() bytes; may be empty; copied before return
    //   type      1 or more
    //   deadline  when to give up waiting for room; Deadline::now() never waits
    //
    // Errors, after all of which the queue is as it was before the call:
    //   EINVAL     type below 1; message too long
    //   EAGAIN     there is no room and deadline is now()
    //   ETIMEDOUT  there was still none at the deadline
    //   EINTR      a signal handler without SA_RESTART ran while waiting
    //   EIDRM      the queue was removed, before or while waiting
    //   EACCES     the mode does not let this user send
    //   ENOSPC     the file system has no memory for the message
    Result<> send(std::span<const std::byte> message, std::int64_t type, Deadline deadline = Deadline::never());
    Result<> send(std::string_view message, std::int64_t type, Deadline deadline = Deadline::never());
    Result<> try_send(std::span<const std::byte> message, std::int64_t type) { return send(message, type, Deadline::now()); }
    Result<> try_send(std::string_view message, std::int64_t type) { return send(message, type, Deadline::now()); }

    // Takes the oldest message that matches into `buffer`.
    //
    //   truncate  a message longer than the buffer is cut to it; else that is E2BIG
    //
    // Errors, after all of which every message is still there:
    //   EAGAIN     none matches and deadline is now()
    //   ETIMEDOUT  none came up to the deadline
    //   E2BIG      the one that matches is longer than the buffer
    //   EINVAL     a selector with a type below 1
    //   EINTR, EIDRM, EACCES  as send()
    Result<TypedReceived> receive(std::span<std::byte> buffer, Selector selector = Selector::any(), Deadline deadline = Deadline::never(),
                                  bool truncate = false);
    Result<TypedMessage> receive(Selector selector = Selector::any(), Deadline deadline = Deadline::never());
    Result<TypedMessage> try_receive(Selector selector = Selector::any()) { return receive(selector, Deadline::now()); }

    // A copy of the message that receive(selector) would take now; it stays. Errors: EAGAIN none matches; EIDRM, EACCES.
    Result<TypedMessage> peek(Selector selector = Selector::any());
    // Copies of all messages, oldest first. For tools; takes O(n log n). Errors: EIDRM, EACCES.
    Result<std::vector<TypedMessage>> peek_all();

    // A descriptor for poll, select and epoll: readable while there are messages, of whatever type; writable while there is room
    // for a byte. Belongs to the queue object; do not read, write or close it. From the first call on every transition between
    // empty, partly full and full costs system calls, in all processes. Errors: EMFILE, ENFILE, ENOSPC, EIDRM.
    Result<int> fd();

    // How many bytes, and how many messages, it holds from now on. Lowering it takes nothing out.
    // Errors: EPERM not owner, creator or root; or above the domain's limit msgmnb without CAP_SYS_RESOURCE. EIDRM.
    Result<> set_bytes_max(std::uint64_t bytes_max);

    // Errors: EIDRM, EACCES.
    Result<TypedQueueStatus> status() const;
    // For tools: everyone who sleeps here, the first to come first.
    Result<std::vector<TypedQueueWaiter>> waiters() const;

    // Ends the queue for everybody: all who wait, and every later call, get EIDRM. Errors: EIDRM; EPERM not owner, creator or root.
    Result<> remove();

    struct Implementation;

private:
    explicit TypedQueue(std::unique_ptr<Implementation> implementation);
    std::unique_ptr<Implementation> implementation_;
};

}  // namespace muster
