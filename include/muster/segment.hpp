// muster/segment.hpp: shared memory by key or identifier, with a count of who has it attached.
//
// Contract  POSIX.1-2017 and Linux shmget(2), shmop(2), shmctl(2): the same segments as those calls reach through
//           libmuster_posix, and the muster command as "shm:0x1234" or "shm:id=5".
// Threads   every member may be called at once from any thread, except moving and destroying. The bytes are the program's
//           own to guard, with a SemaphoreSet for instance.
// Crashes   the count of attachments is that of the processes which live: whoever is killed no longer counts before
//           its parent hears of it. A removed segment lives until the last one has gone.
// Fork      a child has its parent's attachments, each counted, and detaches them by itself.
// Signals   not to be called from signal handlers.
// Limits    the domain's shmmax, shmall, shmmni ("muster limits" and docs/formats/sysv.md); memory is what tmpfs has, and is
//           reserved when the segment is made: touching it is never a SIGBUS.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>
#include "domain.hpp"
#include "key.hpp"
#include "result.hpp"

namespace muster {

struct SegmentOptions {
    std::uint32_t mode = 0600;  // read and write bits for owner, group, others; literally: the umask is not System V's
    bool reserve = true;        // false: memory comes when first touched, and a full file system is then a SIGBUS
};

struct SegmentStatus {
    std::uint64_t size_bytes;
    std::uint64_t attachments;  // mappings in living processes
    std::uint32_t owner_uid, owner_gid, creator_uid, creator_gid, mode;
    std::int32_t creator_pid, last_pid;  // last_pid: who attached or detached last; 0 nobody
    std::chrono::system_clock::time_point created;
    std::chrono::system_clock::time_point last_attach, last_detach, last_change;  // the epoch: never
    bool removed_at_last_detach;  // it was removed, and lives as long as somebody has it attached
    bool locked;                  // SHM_LOCK was asked for
};

// A process that has it attached.
struct SegmentUser {
    std::int32_t pid;
    std::uint32_t attachments;
};

enum class Access { read_write, read_only };

class Attachment;

class Segment {
public:
    // Makes a new segment of zeroes.
    //
    //   key         Key::none(): a segment of its own, found by identifier() alone
    //   size_bytes  1 to the domain's limit shmmax; takes whole pages
    //
    // Errors, after all of which nothing was made:
    //   EEXIST  there is a segment of that key already
    //   EINVAL  the size is 0 or above the limit
    //   ENOMEM  the file system has no room for it, or RLIMIT_FSIZE is below the size
    //   ENOSPC  the domain has as many segments, or as much shared memory, as its limits allow
    //   EMFILE, ENFILE, EACCES  no file can be made in the domain
    static Result<Segment> create(const Domain& domain, Key key, std::uint64_t size_bytes, const SegmentOptions& options = {});

    // Opens an existing segment, by its key or by its identifier. One that was removed while others have it attached is found by
    // identifier alone.
    //
    // Errors:
    //   ENOENT   there is none (any more)
    //   EINVAL   Key::none(), which many segments have
    //   EACCES   the mode gives this user no right at all
    //   EBADMSG  the file is no segment of this format, or is damaged; hint() says which
    static Result<Segment> open(const Domain& domain, Key key);
    static Result<Segment> open(const Domain& domain, std::int32_t identifier);

    // Opens the segment of that key, making it first if there is none; `options` matter only then.
    // Errors: as create() and open(); EINVAL also if the existing one is smaller than size_bytes.
    static Result<Segment> open_or_create(const Domain& domain, Key key, std::uint64_t size_bytes,
                                          const SegmentOptions& options = {});

    Segment(Segment&&) noexcept;
    Segment& operator=(Segment&&) noexcept;
    ~Segment();  // attachments stay as they are

    // Maps the segment into this process.
    //
    //   access   read_only: writing to it is a SIGSEGV
    //   address  null: where the kernel likes; else exactly there, a multiple of the page size, nothing mapped there yet
    //
    // Errors, after all of which nothing is mapped and the count is as before:
    //   EACCES  the mode does not allow that access
    //   EINVAL  the address is no multiple of the page size, or something is mapped there already
    //   EIDRM   it was removed and is gone
    //   ENOMEM  no room in the address space
    //   EMFILE, ENFILE  the first attachment in a domain needs a descriptor
    Result<Attachment> attach(Access access = Access::read_write, void* address = nullptr) const;

    std::uint64_t size_bytes() const;  // as it was asked for
    std::int32_t identifier() const;   // as shmget(2) returns it
    Key key() const;                   // as of the opening; a removed segment has none
    const std::string& name() const;   // "shm:0x1234", or "shm:id=5" without a key

    // Errors: EIDRM it is gone; EACCES the mode does not let this user look.
    Result<SegmentStatus> status() const;
    // For tools: who has it attached, in no particular order.
    Result<std::vector<SegmentUser>> users() const;

    // Takes the key away at once; the memory goes with the last attachment, and until then identifier() still leads to it.
    // Errors: EIDRM it is gone already; EPERM not owner, creator or root.
    Result<> remove();

    struct Implementation;

private:
    explicit Segment(std::shared_ptr<Implementation> implementation);
    std::shared_ptr<Implementation> implementation_;
};

// The segment's bytes in this process, from Segment::attach() to the end of this object.
class Attachment {
public:
    Attachment(Attachment&&) noexcept;
    Attachment& operator=(Attachment&&) noexcept;  // detaches what it had before
    ~Attachment();                                 // detaches

    std::byte* data() const { return data_; }  // null after detach()
    std::size_t size() const { return size_bytes_; }
    bool writable() const { return writable_; }
    std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }
    std::span<std::byte> writable_bytes() const { return {data_, writable_ ? size_bytes_ : 0}; }  // empty if read-only

    // The T that lies `offset` bytes from the start; null if it does not fit there, or not at such an address.
    template <class T>
    T* at(std::size_t offset = 0) const {
        static_assert(std::is_trivially_destructible_v<T>, "what processes share belongs to none of them");
        if (data_ == nullptr || offset > size_bytes_ || size_bytes_ - offset < sizeof(T) || offset % alignof(T) != 0) return nullptr;
        return reinterpret_cast<T*>(data_ + offset);
    }

    // Unmaps it now. Nothing to do, and no error, if that was done before. Errors: EINVAL somebody else has unmapped it.
    Result<> detach();

private:
    friend class Segment;
    Attachment(std::shared_ptr<Segment::Implementation> segment, void* data, std::size_t size_bytes, bool writable);
    std::shared_ptr<Segment::Implementation> segment_;
    std::byte* data_;
    std::size_t size_bytes_;
    bool writable_;
};

}  // namespace muster
