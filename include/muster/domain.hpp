// muster/domain.hpp: the directory that holds a group of objects.
//
// Contract  a domain is one directory in tmpfs. Objects in different domains never meet.
//           The default is /dev/shm/muster-<effective uid>, or what the environment's
//           MUSTER_DOMAIN names (ignored in setuid programs).
// Threads   every member may be called from any thread.
// Crashes   a process killed anywhere leaves the domain usable; gc() removes what it left.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>
#include "key.hpp"
#include "result.hpp"

namespace muster {

enum class ObjectKind { message_queue, typed_queue, semaphore_set, segment, posix_shared_memory, posix_semaphore, poll_fifo, unknown };

// "mq", "msg", "sem", "shm", "posix-shm", "posix-sem", "fifo", "unknown": the words of the command line.
std::string_view to_string(ObjectKind kind);

// One object as a listing shows it, of whatever kind; the fields that its kind does not have, or that it could not tell, are 0.
struct ObjectInfo {
    ObjectKind kind = ObjectKind::unknown;
    // As the command takes it: "/jobs"; "sem:0x1234" by its key or "sem:id=5" if it has none; "posix-shm:/cache".
    std::string name;
    std::string path;                      // the file behind it
    std::uint32_t owner_uid = 0, owner_gid = 0;
    std::uint32_t mode = 0;                // permission bits that were asked for
    std::int32_t id = -1;                  // System V only
    std::int32_t key = 0;                  // System V only; 0 is IPC_PRIVATE
    std::uint64_t messages = 0, messages_max = 0, message_size_bytes_max = 0;  // queues
    std::uint64_t bytes_max = 0;           // typed queues: how many bytes they hold at most; size_bytes are there now
    std::uint32_t receivers_waiting = 0, senders_waiting = 0;
    std::uint32_t semaphores = 0;          // how many a set has
    std::vector<std::uint32_t> values;     // the first 16 of them; the one of a named semaphore
    std::uint32_t waiting = 0;             // who sleeps at a set
    std::uint64_t size_bytes = 0;          // shared memory: what was asked for
    std::uint64_t attachments = 0;         // mappings of a segment in living processes
    bool removed_at_last_detach = false, locked = false;  // segments
    std::uint64_t bytes_allocated = 0;     // tmpfs memory in use
    std::chrono::system_clock::time_point created{};  // of POSIX shared memory and semaphores: the last change of name or size
    std::string problem;                   // empty, or why the object cannot be opened
};

// Something wrong, or left behind by the dead, that fsck or gc found.
struct Finding {
    std::string path;
    std::string what;                // "the message in slot 17 is in neither the inbox nor the index"
    std::uint64_t bytes_at_stake = 0;
    bool repaired = false;
    // From here on: fsck's.
    std::string object = {};         // as the command takes it: "/jobs", "sem:0x1234"; empty: the file is no object's
    std::string remedy = {};         // what repair does, or did, about it; or why it cannot
    std::uint64_t messages_at_stake = 0;
    bool repairable = false;
    bool harmless = false;           // worth knowing; nothing behaves differently for it
};

// What salvage() is given and what it finds.
struct SalvageOptions {
    // Of the queue, if they are known and the file does not tell: see salvage(). 0: to be found out.
    std::uint64_t messages_max = 0, message_size_bytes_max = 0;
    // unknown: what the file's header, its name or its contents say it is.
    ObjectKind kind = ObjectKind::unknown;
};
struct SalvagedMessage {
    std::span<const std::byte> bytes;  // good during the call
    std::uint64_t label;               // priority, or type
    std::uint64_t sequence;            // order of sending
};
struct SalvagedValue {
    std::uint32_t number, value;
    std::int32_t last_pid;
    bool sound;                        // the word looks as the set's words do
};
struct SalvageReport {
    ObjectKind kind = ObjectKind::unknown;
    std::string how;                   // how it was found where things are
    std::uint64_t messages = 0;        // or semaphores
    std::uint64_t bytes = 0;           // of those, or of the segment
    std::uint64_t broken = 0, bytes_lost = 0;  // messages that cannot be had, and their bytes as far as those are known
    std::uint64_t doubles = 0;         // copies of messages that were left out
    std::uint64_t unfinished = 0;      // messages that were being sent: they had never been in the queue
    std::vector<Finding> findings;     // which slots, and why; at most 100
};
// Where salvaged things go; each returns false to stop. Those that are not set are left out.
struct SalvageSink {
    std::function<bool(const SalvagedMessage&)> message;              // of a queue, oldest first
    std::function<bool(const SalvagedValue&)> value;                  // of a semaphore set
    std::function<bool(std::span<const std::byte>)> bytes;            // of a segment or shared memory, from its begin
};

// The names that set_limit() takes stand behind.
struct Limits {
    std::uint64_t messages_default;            // msg_default
    std::uint64_t message_size_bytes_default;  // msgsize_default
    std::uint64_t messages_max;                // msg_max
    std::uint64_t message_size_bytes_max;      // msgsize_max
    std::uint64_t queues_max;                  // queues_max
    // System V
    std::uint64_t typed_queues_max;            // msgmni
    std::uint64_t typed_message_bytes_max;     // msgmax
    std::uint64_t typed_queue_bytes_default;   // msgmnb
    std::uint64_t semaphores_per_set_max;      // semmsl
    std::uint64_t semaphores_max;              // semmns
    std::uint64_t operations_per_call_max;     // semopm
    std::uint64_t semaphore_sets_max;          // semmni
    std::uint64_t segments_max;                // shmmni
    std::uint64_t segment_bytes_max;           // shmmax
    std::uint64_t segment_pages_max;           // shmall
};

class Domain {
public:
    // The domain of this process: MUSTER_DOMAIN or the default; created if need be.
    //
    // Errors:
    //   EACCES   the directory belongs to somebody else or is open to others though it should not be
    //   ENOTDIR  the path names something that is no directory
    //   ENOSPC   no room in the file system
    static Result<Domain> open_default();

    // A domain by name: a path with a slash, or a bare name N for /dev/shm/muster-<euid>-N.
    static Result<Domain> open(std::string_view path_or_name);

    // A new domain with a unique name that nobody else uses; remove() ends it.
    static Result<Domain> create_ephemeral();

    const std::string& path() const;

    // Every object of the domain, by kind, then by name or identifier. What may not be read or is damaged is listed with its problem.
    Result<std::vector<ObjectInfo>> list() const;

    // One System V object: typed_queue, semaphore_set or segment; and the identifier of the one that has a key.
    // Errors: ENOENT there is none; EINVAL the kind has no identifiers, or the key is none.
    Result<ObjectInfo> find(ObjectKind kind, std::int32_t identifier) const;
    Result<std::int32_t> identifier(ObjectKind kind, Key key) const;

    // Removes one object: a System V object by its identifier; a message queue, POSIX shared memory or named semaphore by
    // its name, "/jobs". Who has it open keeps it, except that a semaphore set or typed queue ends for everybody.
    // Of kind `unknown`: a file that damage has left no System V object, by the name that list() shows, "sysv/msg-0".
    // Errors: ENOENT; EPERM, EACCES not the owner; EINVAL no such kind of object; ENOTSUP this version cannot.
    Result<> remove(ObjectKind kind, std::int32_t identifier) const;
    Result<> remove(ObjectKind kind, std::string_view name) const;

    // Makes POSIX shared memory of so many zeroes, and a named semaphore, as shm_open() and sem_open() reach them through
    // libmuster_posix; `mode` is meant literally. Never seen half-made.
    // Errors: EEXIST; EINVAL no good name ("/" and 1 to 255 bytes, of a semaphore 251, no other slash), a value above 2147483647;
    // ENOSPC, EACCES.
    Result<> create_shared_memory(std::string_view name, std::uint64_t size_bytes, std::uint32_t mode = 0600) const;
    Result<> create_named_semaphore(std::string_view name, std::uint32_t value, std::uint32_t mode = 0600) const;

    // What dead processes left behind, of objects of every kind. With `remove` it is released, else only told.
    Result<std::vector<Finding>> gc(bool remove) const;

    // Checks every object and what is between them (names, keys, limits, leftovers), or the object with that ObjectInfo::path.
    // With `repair` what follows from something else is made anew: a queue's lists, indexes and counts from its slots, lists of
    // sleepers and of attachments from living processes, keys from the objects, the fixed part of a header from the file. What
    // stands nowhere else stays, and Finding::remedy says why. Nothing that may hold a user's data is removed. Objects may be in
    // use meanwhile; a lock that is not let go of for two seconds is told, not waited for.
    // A message's own bytes have no checksum: damage of those alone is found by nobody.
    Result<std::vector<Finding>> fsck(bool repair, std::string_view path = {}) const;

    // Takes out of a damaged object's file, wherever it lies, what can still be read: messages, values, bytes. The file is only
    // read, never mapped, and none of its header is trusted that need not be: a queue's slots are found from its header if that
    // agrees with itself, else from the file's length and the slots' own headers, or as `options` says. A typed queue, and
    // a segment, have a second file ".data" beside the one that is named; either may be named.
    // Every message whose slot is intact is handed out once; one that a receiver had in its hands is, too.
    // Errors: ENOENT, EACCES, EISDIR; EINVAL the options make no sense; EBADMSG nothing tells what it is or where the messages are;
    // ECANCELED the sink said so; EIO, ENOMEM.
    static Result<SalvageReport> salvage(const std::string& path, const SalvageOptions& options, const SalvageSink& sink);

    // Values from the domain's limits/ files, or the built-in ones.
    Result<Limits> limits() const;
    // Sets one by its name, "msg_max" say. Errors: EINVAL (no such limit, out of range), EACCES (another user's domain).
    Result<> set_limit(std::string_view name, std::uint64_t value) const;

    // Removes the directory and every object in it. Processes that have objects open keep them.
    Result<> remove() const;

    struct Implementation;
    const std::shared_ptr<Implementation>& implementation() const { return implementation_; }
    explicit Domain(std::shared_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}

private:
    std::shared_ptr<Implementation> implementation_;
};

}  // namespace muster
