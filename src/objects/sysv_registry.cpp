#include "objects/sysv_registry.hpp"
#include <sys/ipc.h>
#include <sys/resource.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include "memory/mapping.hpp"
#include "objects/permission.hpp"
#include "objects/sysv_registry_inner.hpp"
#include "platform/crash_point.hpp"
#include "platform/mutant.hpp"
#include "platform/mapping_damage.hpp"
#include "platform/process.hpp"

namespace muster::objects {
using memory::ObjectHeader;
using platform::Fault;
using platform::File;
using platform::Outcome;
using namespace sysv;

namespace {

constexpr std::uint64_t kPageBytes = 4096;
constexpr unsigned kGenerationsMax = 1024;
constexpr int kTries = 1000;

// Bytes of an object's file that are locked, beyond any file's end.
constexpr std::int64_t kNamesByte = (std::int64_t{1} << 62) + 1;  // by who unlinks its names, or links a generation above it
constexpr std::int64_t kMakerByte = (std::int64_t{1} << 62) + 2;  // by its maker, until it is live

// A lock of the open description: gone when its holder is.
int lock_byte(int fd, std::int64_t byte, short type) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = byte;
    lock.l_len = 1;
    return static_cast<int>(platform::system_call(SYS_fcntl, fd, F_OFD_SETLK, &lock));
}

// Holds the names of one file against everybody else who would change them.
class NamesLock {
public:
    explicit NamesLock(int fd) : fd_(fd) {
        for (int tries = 0; tries < 4 * kTries; ++tries) {
            const int rc = lock_byte(fd, kNamesByte, F_WRLCK);
            held_ = rc == 0;
            if (rc != -EAGAIN && rc != -EACCES) return;
            platform::sleep_ns(tries < 100 ? 10'000 : 500'000);  // its holder makes three system calls; it may be stopped there
        }
    }
    ~NamesLock() {
        if (held_) lock_byte(fd_, kNamesByte, F_UNLCK);
    }
    NamesLock(const NamesLock&) = delete;
    explicit operator bool() const { return held_; }

private:
    int fd_;
    bool held_ = false;
};

bool names_file(const Domain& domain, const char* name, int fd) {
    struct stat named, opened;
    return platform::file_status_at(domain.directory(), name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           platform::file_status(fd, &opened) == 0 && named.st_ino == opened.st_ino && named.st_dev == opened.st_dev;
}

bool read_header(int fd, ObjectHeader& header) {
    return platform::read_at(fd, &header, sizeof header, 0) == static_cast<long>(sizeof header);
}

// The header of a file, for the rare writes of those who have not mapped the object.
class HeaderPage {
public:
    explicit HeaderPage(int fd) {
        struct stat status;
        if (platform::file_status(fd, &status) < 0 || status.st_size < static_cast<off_t>(sizeof(ObjectHeader))) return;
        const long at = platform::map_shared(fd, kPageBytes, true);
        if (at > 0 || at < -4095) start_ = reinterpret_cast<ObjectHeader*>(at);
        if (start_ != nullptr) platform::register_shared_mapping(start_, kPageBytes, &damaged_);
    }
    ~HeaderPage() {
        if (start_ == nullptr) return;
        platform::unregister_shared_mapping(start_);
        platform::unmap(start_, kPageBytes);
    }
    HeaderPage(const HeaderPage&) = delete;
    ObjectHeader* get() const { return start_; }

private:
    ObjectHeader* start_ = nullptr;
    std::atomic<std::uint32_t> damaged_{0};
};

bool change_state(ObjectHeader& header, std::uint32_t from, std::uint32_t to) {
    return header.removed.compare_exchange(from, to);
}

}  // namespace

// ---- descriptors ----

// SOURCE the kernel's calls need no descriptor: a process that has used up its own still makes and finds objects.
void SysvRegistry::keep_spares() const {
    for (std::atomic<int>& spare : spares_) {
        if (spare.load(std::memory_order_relaxed) >= 0) continue;
        rlimit limit;
        const bool known = platform::system_call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &limit) == 0;
        const long most = known && limit.rlim_cur < 65536 ? static_cast<long>(limit.rlim_cur) : 65536;
        const int fd = platform::file_control(domain_.directory(), F_DUPFD_CLOEXEC, most > 64 ? most - 48 : 3);
        int none = -1;
        if (fd >= 0 && !spare.compare_exchange_strong(none, fd)) platform::close_file(fd);
    }
}

bool SysvRegistry::give_spare() const {
    for (std::atomic<int>& spare : spares_) {
        const int kept = spare.exchange(-1);
        struct stat ours, theirs;  // a program that closes what it does not know may have the number now
        if (kept >= 0 && platform::file_status(kept, &ours) == 0 && platform::file_status(domain_.directory(), &theirs) == 0 &&
            ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev)
            return platform::close_file(kept) == 0;
    }
    return false;
}

Outcome<File> SysvRegistry::create_nameless() const {
    unsigned granted = 0;
    for (;;) {
        auto file = domain_.create_nameless(0600, &granted);
        if (file || file.fault().errno_value != EMFILE || !give_spare()) {
            // The umask is not System V's: a mode that it took from is set anew.
            if (file && granted != 0600) platform::change_mode(file->fd(), 0600);
            return file;
        }
    }
}

Outcome<File> SysvRegistry::open_name(const char* name, int flags) const {
    for (;;) {
        // Not waiting: somebody may have put a FIFO there.
        const int fd = platform::open_at(domain_.directory(), name, O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | flags);
        if (fd >= 0) return File(fd);
        if (fd != -EMFILE || !give_spare()) return Fault{fd == -ELOOP || fd == -EISDIR || fd == -ENXIO ? EINVAL : platform::forbidden(fd)};
    }
}

Outcome<File> SysvRegistry::open_readable(const char* name) const {
    auto file = open_name(name, O_RDWR);
    return !file && file.fault().errno_value == EACCES ? open_name(name, O_RDONLY) : std::move(file);
}

// ---- keys ----
//
// A key's links form a chain of generations: 0, 1, 2, … without a hole. Nearly always there is generation 0 or none. Only a
// removed object's link that its remover may not unlink (another user's file in a sticky directory) stays, and the next
// object of the key gets the next generation. Two rules keep the chain whole, both under the names lock of the file at g:
// who links g + 1 has seen the name g still lead to that file; who unlinks g has seen no name g + 1.

struct SysvRegistry::KeyPlace {
    unsigned generation = 0;
    File below;  // the removed object's file at the generation below
};

Outcome<SysvRegistry::Found> SysvRegistry::find_key(SysvKind kind, std::uint32_t key, int flags, const SysvMaker& maker,
                                                    KeyPlace& place) {
    place.below = File();
    for (unsigned generation = 0; generation < kGenerationsMax; ++generation) {
        const Name name = key_name(kind, key, generation);
        auto file = open_readable(name.text);
        if (!file) {
            if (file.fault().errno_value == ENOENT) {
                place.generation = generation;
                return Fault{ENOENT, "there is no object of that key"};
            }
            if (file.fault().errno_value == EACCES && (flags & (IPC_CREAT | IPC_EXCL)) == (IPC_CREAT | IPC_EXCL))
                return Fault{EEXIST, "there is an object of that key already"};
            return file.fault();
        }
        SysvFile found{std::move(*file), {}, -1};
        const int fd = found.file.fd();
        if (!read_header(fd, found.header)) return Fault{EINVAL, "the file of that key is no object"};
        if (found.header.removed.load_relaxed() == kSysvPending) {  // relaxed, here and below: a private copy
            // Its maker committed it with this very link and has not come further: help.
            HeaderPage page(fd);
            if (page.get() != nullptr) {
                change_state(*page.get(), kSysvPending, kSysvLive);
                return Fault{EAGAIN};
            }
        }
        if (found.header.removed.load_relaxed() != kSysvRemoved && found.header.key.load_relaxed() == key) {
            found.id = sysv_id(found.header);
            if ((flags & (IPC_CREAT | IPC_EXCL)) == (IPC_CREAT | IPC_EXCL))
                return Fault{EEXIST, "there is an object of that key already"};
            // Whoever may write the object may have written another's identifier into it.
            if (found.id < 0 || !names_file(domain_, index_name(kind, sysv_index(found.id)).text, fd)) {
                ObjectHeader again;
                const bool lives = read_header(fd, again) && again.removed.load_relaxed() != kSysvRemoved && again.key.load_relaxed() == key;
                return lives ? Fault{EINVAL, "the object says that it is another one: it is damaged"} : Fault{EAGAIN};  // else it went just now
            }
            if (maker.fits != nullptr)
                if (auto fits = maker.fits(maker.context, found); !fits) return fits.fault();
            const auto wanted = static_cast<std::uint32_t>(flags >> 6 | flags >> 3 | flags) & 7;
            if (!Permission::of(found.header).allows(wanted)) return Fault{EACCES, "the object's mode does not allow that"};
            return Found{found.id, false};
        }
        // A removed object's: away with the name, or past it.
        {
            NamesLock lock(fd);
            if (!lock) return Fault{EACCES, "a removed object's name is in the way, and somebody else's"};
            if (!names_file(domain_, name.text, fd)) return Fault{EAGAIN};
            if (!name_exists(domain_, key_name(kind, key, generation + 1).text) && domain_.remove(name.text))
                return Fault{EAGAIN};
        }
        place.below = std::move(found.file);
    }
    return Fault{ENOSPC, "the key has too many removed objects; run `muster gc` as the domain's owner"};
}

Outcome<> SysvRegistry::link_key(SysvKind kind, int fd, std::uint32_t key, KeyPlace& place) {
    const Name name = key_name(kind, key, place.generation);
    if (place.generation == 0) return domain_.publish(fd, name.text);
    NamesLock lock(place.below.fd());
    if (!lock || !names_file(domain_, key_name(kind, key, place.generation - 1).text, place.below.fd())) return Fault{EEXIST};
    return domain_.publish(fd, name.text);
}

bool SysvRegistry::key_is_linked(SysvKind kind, int fd, std::uint32_t key) const {
    for (unsigned generation = 0; generation < kGenerationsMax; ++generation) {
        const Name name = key_name(kind, key, generation);
        if (names_file(domain_, name.text, fd)) return true;
        if (!name_exists(domain_, name.text)) return false;
    }
    return false;
}

void SysvRegistry::unlink_key(SysvKind kind, int id, std::uint32_t key) {
    if (key == 0) return;
    for (unsigned generation = 0; generation < kGenerationsMax; ++generation) {
        const Name name = key_name(kind, key, generation);
        auto file = open_name(name.text, O_RDWR);
        if (!file && file.fault().errno_value != EACCES) return;
        ObjectHeader header;
        if (!file || !read_header(file->fd(), header) || sysv_id(header) != id) continue;
        NamesLock lock(file->fd());
        if (lock && names_file(domain_, name.text, file->fd()) && !name_exists(domain_, key_name(kind, key, generation + 1).text))
            (void)domain_.remove(name.text);
        return;
    }
}

void SysvRegistry::release_key(SysvKind kind, int id, std::uint32_t key) {
    MUSTER_CRASH_POINT("sysv.key_cleared");
    unlink_key(kind, id, key);
}

// ---- identifiers ----

Outcome<SysvFile> SysvRegistry::open_index(SysvKind kind, std::uint32_t index) const {
    constexpr Fault kNone{EINVAL, "there is no object of that identifier"};
    if (index >= kSysvIndexes) return kNone;
    auto file = open_readable(index_name(kind, index).text);
    if (!file) {
        const int wrong = file.fault().errno_value;
        return wrong == ENOENT || wrong == ENOTDIR || wrong == EBADMSG ? kNone : file.fault();
    }
    SysvFile found{std::move(*file), {}, -1};
    if (!read_header(found.file.fd(), found.header) || found.header.removed.load_relaxed() != kSysvLive) return kNone;
    found.id = sysv_id(found.header);
    if (found.id < 0 || sysv_index(found.id) != index) return kNone;
    return found;
}

Outcome<SysvFile> SysvRegistry::open(SysvKind kind, int id) const {
    if (id < 0) return Fault{EINVAL, "identifiers are not negative"};
    auto found = open_index(kind, sysv_index(id));
    // SOURCE ipc_obtain_object_check() of the kernel: EIDRM is for those who had found the object before it went.
    if (found && found->id != id) return Fault{EINVAL, "the object of that identifier was removed"};
    return found;
}

Outcome<File> SysvRegistry::open_companion(SysvKind kind, std::uint32_t index, int flags) const {
    auto file = open_name(companion_name(kind, index).text, flags);
    if (!file && file.fault().errno_value == ENOENT) return Fault{EIDRM, "the object was removed"};
    return file;
}

// Removes the index's names if they still are those of the file `fd`, which nobody else has locked by this descriptor.
bool SysvRegistry::unlink_index(SysvKind kind, int fd, std::uint32_t index) {
    const Name name = index_name(kind, index);
    NamesLock lock(fd);
    if (!lock || !names_file(domain_, name.text, fd)) return false;
    // The companion first: while the index is taken nobody else can put one there.
    const auto companion = domain_.remove(companion_name(kind, index).text);
    if (!companion && companion.fault().errno_value != ENOENT) return false;
    MUSTER_CRASH_POINT("sysv.companion_unlinked");
    return static_cast<bool>(domain_.remove(name.text));
}

// What holds an index without being an object: a removed one's name, or one whose maker died before it was live.
bool SysvRegistry::clear_leftover(SysvKind kind, std::uint32_t index) {
    auto file = open_name(index_name(kind, index).text, O_RDWR);
    if (!file) return file.fault().errno_value == ENOENT;
    const int fd = file->fd();
    ObjectHeader header;
    if (!read_header(fd, header)) return false;
    if (header.removed.load_relaxed() == kSysvPending) {
        if (lock_byte(fd, kMakerByte, F_WRLCK) != 0) return false;  // being made
        HeaderPage page(fd);
        if (page.get() == nullptr) return false;
        const std::uint32_t key = header.key.load_relaxed();
        if (key != 0 && key_is_linked(kind, fd, key)) {
            change_state(*page.get(), kSysvPending, kSysvLive);
            return false;
        }
        if (!change_state(*page.get(), kSysvPending, kSysvRemoved)) return false;
        return unlink_index(kind, fd, index);
    }
    if (header.removed.load_relaxed() != kSysvRemoved) return false;
    unlink_key(kind, sysv_id(header), header.key.load_relaxed());
    MUSTER_CRASH_POINT("sysv.leftover_key_unlinked");
    return unlink_index(kind, fd, index);
}

SysvRegistry::Place SysvRegistry::judge(const char* path, int* id) const {
    auto file = open_readable(path);
    if (!file) {
        const int wrong = file.fault().errno_value;
        return wrong == ENOENT || wrong == ENOTDIR ? Place::free : wrong == EACCES ? Place::closed : Place::foreign;
    }
    ObjectHeader header;
    if (!read_header(file->fd(), header)) return Place::foreign;
    if (id != nullptr) *id = sysv_id(header);
    const std::uint32_t state = header.removed.load_relaxed();  // relaxed: a private copy
    if (state == kSysvLive) return sysv_id(header) >= 0 ? Place::live : Place::foreign;
    if (state == kSysvRemoved) return Place::removed;
    if (state != kSysvPending) return Place::foreign;
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = kMakerByte;
    lock.l_len = 1;
    const bool known = platform::system_call(SYS_fcntl, file->fd(), F_OFD_GETLK, &lock) == 0;
    return known && lock.l_type == F_UNLCK ? Place::abandoned : Place::being_made;
}

SysvRegistry::Place SysvRegistry::judge_place(SysvKind kind, std::uint32_t index) const {
    int id = -1;
    const Place place = judge(index_name(kind, index).text, &id);
    return place == Place::live && sysv_index(id) != index ? Place::foreign : place;
}

SysvRegistry::Place SysvRegistry::judge_key(const char* name, SysvKind& kind, std::uint32_t& key) const {
    const auto known = std::find_if(std::begin(kKindNames), std::end(kKindNames),
                                    [&](const char* word) { return std::strncmp(name, word, 3) == 0 && name[3] == '-'; });
    char* end = nullptr;
    const int kept = errno;
    key = static_cast<std::uint32_t>(std::strtoul(name + (known != std::end(kKindNames) ? 4 : 0), &end, 16));
    errno = kept;
    if (known == std::end(kKindNames) || end != name + 12 || (*end != 0 && *end != '.')) return Place::foreign;
    kind = static_cast<SysvKind>(known - std::begin(kKindNames));
    char path[64];
    std::snprintf(path, sizeof path, "key/%.40s", name);
    const Place place = judge(path);
    if (place != Place::live) return place;
    auto file = open_readable(path);
    ObjectHeader header;
    return !file || !read_header(file->fd(), header) || header.key.load_relaxed() == key ? place : Place::removed;
}

void SysvRegistry::remove_names(SysvKind kind, int id, std::uint32_t key) {
    MUSTER_CRASH_POINT("sysv.marked");
    unlink_key(kind, id, key);
    MUSTER_CRASH_POINT("sysv.key_unlinked");
    const std::uint32_t index = sysv_index(id);
    // Opened anew: a lock of the open description does not exclude those who share the caller's.
    auto file = open_name(index_name(kind, index).text, O_RDWR);
    ObjectHeader header;
    if (file && read_header(file->fd(), header) && sysv_id(header) == id) unlink_index(kind, file->fd(), index);
    MUSTER_CRASH_POINT("sysv.index_unlinked");
    if (Hints* known = hints(kind)) free_index(kind, *known, index);
    unmark(kind, index);
}

Outcome<> SysvRegistry::discard(SysvKind kind, int id) {
    auto found = open(kind, id);
    if (!found) return found.fault();
    if (!Permission::of(found->header).owned_by_us()) return Fault{EPERM};
    {
        HeaderPage page(found->file.fd());
        if (page.get() == nullptr) return Fault{EACCES, "the object's file cannot be written"};
        if (!change_state(*page.get(), kSysvLive, kSysvRemoved)) return Fault{EINVAL};  // COMMIT
    }
    remove_names(kind, id, found->header.key.load_relaxed());
    return platform::done();
}

Outcome<> SysvRegistry::discard_foreign(SysvKind kind, std::uint32_t index) {
    const Place place = judge_place(kind, index);
    if (place == Place::free) return Fault{ENOENT};
    if (place == Place::closed) return Fault{EACCES, "its file may not be read"};
    if (place != Place::foreign) return Fault{EINVAL, "an object is there: name it by its key or identifier"};
    const Name name = index_name(kind, index);
    if (auto file = open_name(name.text, O_RDWR); file) {
        for_each_entry(domain_.directory(), "key", [&](const char* key) {
            char path[300];
            std::snprintf(path, sizeof path, "key/%s", key);
            if (names_file(domain_, path, file->fd())) (void)domain_.remove(path);
            return true;
        });
        if (!unlink_index(kind, file->fd(), index)) return Fault{EACCES, "its file may not be removed, or is another by now"};
    } else if (auto removed = domain_.remove(name.text); !removed) {
        return removed;
    }
    if (Hints* known = hints(kind)) free_index(kind, *known, index);
    unmark(kind, index);
    return platform::done();
}

// ---- making ----

Outcome<SysvRegistry::Found> SysvRegistry::make(SysvKind kind, std::uint32_t key, int flags, std::uint64_t objects_max,
                                                const SysvMaker& maker, KeyPlace& place) {
    if (auto made = domain_.ensure_directory("sysv"); !made) return made.fault();
    if (auto made = domain_.ensure_directory("key"); !made) return made.fault();
    auto file = create_nameless();
    if (!file) return file.fault();
    const int fd = file->fd();
    const auto mode = static_cast<std::uint32_t>(flags) & 0777;
    const std::uint32_t fence = fence_mode(mode) | 0044u;
    if (const int rc = platform::change_mode(fd, fence); rc < 0) return Fault{-rc};
    auto built = maker.build(maker.context, fd);
    if (!built) return built.fault();
    ObjectHeader& header = **built;
    header.owner_uid.store_relaxed(platform::effective_user());  // relaxed: the links publish it all
    header.owner_gid.store_relaxed(platform::effective_group());
    header.creator_uid.store_relaxed(header.owner_uid.load_relaxed());
    header.creator_gid.store_relaxed(header.owner_gid.load_relaxed());
    header.mode.store_relaxed(mode);
    header.key.store_relaxed(key);
    const int companion = maker.companion != nullptr ? maker.companion(maker.context) : -1;
    const bool pending = key != 0 || companion >= 0;
    if (pending && !MUSTER_MUTANT(live_before_named)) {
        lock_byte(fd, kMakerByte, F_WRLCK);
        header.removed.store_release(kSysvPending);
    }
    auto id = claim_index(kind, fd, header, objects_max);
    if (!id) return id.fault();
    MUSTER_CRASH_POINT("sysv.index_linked");
    Outcome<> named = platform::done();
    if (companion >= 0) named = domain_.publish(companion, companion_name(kind, sysv_index(*id)).text);
    MUSTER_CRASH_POINT("sysv.companion_linked");
    if (named && key != 0) named = link_key(kind, fd, key, place);  // COMMIT of an object with a key
    MUSTER_CRASH_POINT("sysv.key_linked");
    if (!named) {
        header.removed.store_release(kSysvRemoved);
        unlink_index(kind, fd, sysv_index(*id));
        if (Hints* known = hints(kind)) free_index(kind, *known, sysv_index(*id));
        return named.fault().errno_value == EEXIST && key != 0 ? Fault{EAGAIN} : named.fault();
    }
    if (pending) change_state(header, kSysvPending, kSysvLive);  // COMMIT of one without
    MUSTER_CRASH_POINT("sysv.live");
    return Found{*id, true};
}

Outcome<SysvRegistry::Found> SysvRegistry::get(SysvKind kind, std::uint32_t key, int flags, std::uint64_t objects_max,
                                               const SysvMaker& maker) {
    keep_spares();
    KeyPlace place;
    for (int tries = 0; tries < kTries; ++tries) {
        if (key != 0) {
            auto found = find_key(kind, key, flags, maker, place);
            if (found || (found.fault().errno_value != ENOENT && found.fault().errno_value != EAGAIN)) return found;
            if (found.fault().errno_value == EAGAIN) continue;
            if ((flags & IPC_CREAT) == 0) return found;
        }
        auto made = make(kind, key, flags, objects_max, maker, place);
        if (made || made.fault().errno_value != EAGAIN) return made;
        // Somebody else made the key's object meanwhile.
    }
    return Fault{EAGAIN, "the key changes hands faster than it can be looked up"};
}

// ---- rights ----

Outcome<> SysvRegistry::set_permission(SysvKind kind, int fd, int companion_fd, ObjectHeader& header, std::uint32_t owner_uid,
                                       std::uint32_t owner_gid, std::uint32_t mode) {
    if (owner_uid == ~0u || owner_gid == ~0u) return Fault{EINVAL, "-1 is no user or group"};
    header.owner_uid.store_relaxed(owner_uid);  // relaxed: whoever asks for rights at this moment gets one answer or the other
    header.owner_gid.store_relaxed(owner_gid);
    header.mode.store_release(mode & 0777);
    const std::uint32_t creator_uid = header.creator_uid.load_relaxed(), creator_gid = header.creator_gid.load_relaxed();
    const auto fence = [&](int file, std::uint32_t bits, std::uint32_t to_all) {
        if (platform::effective_user() == 0)
            platform::system_call(SYS_fchown, file, owner_uid, owner_gid);  // else it stays its creator's
        struct stat status;
        if (platform::file_status(file, &status) < 0) return;
        std::uint32_t others = bits & 0007;
        // Whom the file's own owner and group do not let in comes in as one of the others.
        if (status.st_uid != owner_uid || status.st_uid != creator_uid) others |= 0006;
        if (status.st_gid != owner_gid || status.st_gid != creator_gid) others |= bits >> 3 & 0007;
        platform::change_mode(file, (bits & 0770) | others | to_all);
    };
    fence(fd, fence_mode(mode), 0044);
    if (companion_fd >= 0) fence(companion_fd, companion_mode(kind, mode), 0);
    return platform::done();
}

}  // namespace muster::objects
