// Keys and identifiers of the System V objects in a domain, for all three kinds. The format is docs/formats/sysv.md.
//
//   domain/sysv/sem-INDEX         the object's file; its link claims the index
//   domain/sysv/shm-INDEX.data    a segment's bytes
//   domain/key/sem-HHHHHHHH[.G]   the same file under its key (hexadecimal), generation G
//   domain/sysv/.sem              hints: which indexes are used; can be rebuilt from the names
//
// An identifier is sequence * 32768 + index, as the kernel's; the object's header holds it. Whoever opens by identifier
// gets that very object or an error. Two creators of one key are told apart by the link in key/, which fails for the second:
// that link is the COMMIT, and until then nobody sees the object.
//
// What a kind's own code does:
//   create   SysvMaker::build makes the object complete in a nameless file; the registry writes the ids, the owner, the key
//            and the names, and calls nothing back after the object can be found.
//   open     open() checks the identifier in the file. The kind then maps it (memory::Mapping::open validates the rest) and looks
//            at is_live() of the mapped header, at first and whenever it has waited: a removed object stays mapped.
//   remove   under the kind's own lock: mark_removed() (COMMIT: from here on everybody says EIDRM), wake the sleepers, unlock;
//            then remove_names(). Somebody killed between the two leaves names that the next caller of get() or open() clears.
//   file     everybody may read it, so that *_STAT_ANY and a key's identifier are everybody's, as they are the kernel's; what is not
//            for everybody's eyes is in the companion. Who may write it, by its mode, may map it.
//   rights   Permission::of(header).allows(...) at every call; the file's mode is only the outer fence. An open that the fence
//            refuses is EACCES; the ctl commands that ask for ownership turn it into EPERM.
//
// No libc allocation, no lock held while naming; may be called by several threads and after fork.
#pragma once
#include <atomic>
#include <cstdint>
#include "memory/object_layout.hpp"
#include "objects/domain.hpp"
#include "objects/permission.hpp"
#include "platform/file.hpp"
#include "platform/outcome.hpp"

namespace muster::objects {

enum class SysvKind : std::uint32_t { msg = 0, sem = 1, shm = 2 };

inline constexpr std::uint32_t kSysvIndexes = 32768;    // per kind, SOURCE the kernel's IPCMNI
inline constexpr std::uint32_t kSysvSequences = 65536;  // an identifier is a non-negative int
constexpr std::uint32_t sysv_index(int id) {
    return static_cast<std::uint32_t>(id) % kSysvIndexes;
}
constexpr std::uint32_t sysv_sequence(int id) {
    return static_cast<std::uint32_t>(id) / kSysvIndexes;
}

// What ObjectHeader::removed says of a System V object.
inline constexpr std::uint32_t kSysvLive = 0;
inline constexpr std::uint32_t kSysvRemoved = 1;
inline constexpr std::uint32_t kSysvPending = 2;  // its key is not linked yet: nobody but its maker knows it

// The identifier's place in the header: the first of the reserved words.
inline memory::ShmU32& sysv_id_word(memory::ObjectHeader& header) {
    return reinterpret_cast<memory::ShmU32&>(header.reserved[0]);
}
inline int sysv_id(const memory::ObjectHeader& header) {
    return static_cast<int>(reinterpret_cast<const memory::ShmU32&>(header.reserved[0])
                                .load_relaxed());  // relaxed: written before its object was published
}

// Limits as /proc/sys/kernel shows them: files in domain/limits (limits.hpp), else the kernel's defaults.
struct SysvLimits {
    std::uint64_t msgmax = 8192;
    std::uint64_t msgmnb = 16384;
    std::uint64_t msgmni = 32000;
    std::uint64_t semmsl = 32000;
    std::uint64_t semmns = 1'024'000'000;
    std::uint64_t semopm = 500;
    std::uint64_t semmni = 32000;
    std::uint64_t shmmax = UINT64_MAX - (1ull << 24);
    std::uint64_t shmall = UINT64_MAX - (1ull << 24);
    std::uint64_t shmmni = 4096;
    static SysvLimits of(const Domain& domain);
};

struct SysvFound {
    int id;
    bool created;
};

// An object's file, opened and found to be the one asked for: for reading and writing if its mode allows that, else for reading
// alone if that is allowed (mapping it is then EACCES).
struct SysvFile {
    platform::File file;
    memory::ObjectHeader header;  // a private copy, taken at the opening; the object's own code validates the rest
    int id;
};

// How get() makes an object and judges an existing one.
struct SysvMaker {
    // Makes the object in the nameless file `fd`: size, memory, memory::fill_header(), contents, Mapping::publish_ready().
    // The result points to the mapped header, which must stay mapped until get() returns. Not to be filled: owner, creator, mode,
    // key, removed, identifier. Errors go to the caller of get().
    platform::Outcome<memory::ObjectHeader*> (*build)(void* context, int fd);
    // Whether the existing object will do (a set with too few semaphores is EINVAL). Asked before the rights; null: always.
    platform::Outcome<> (*fits)(void* context, const SysvFile& existing);
    // A second nameless file that lives and dies with the object ("shm-INDEX.data"); null: none. Called after build.
    int (*companion)(void* context);
    void* context;
};

class SysvRegistry {
public:
    // `domain` must outlive the registry. Touches nothing yet.
    explicit SysvRegistry(const Domain& domain) : domain_(domain) {}
    SysvRegistry(const SysvRegistry&) = delete;
    ~SysvRegistry();

    using Found = SysvFound;
    // SOURCE msgget(2), semget(2), shmget(2). `flags` as theirs: IPC_CREAT, IPC_EXCL and nine mode bits; key 0 is IPC_PRIVATE.
    // `objects_max` is the kind's limit of objects. Errors, in the kernel's order: ENOENT, EEXIST, what fits() says, EACCES
    // for an existing object; what build() says, ENOSPC for a new one. EMFILE, ENFILE, ENOMEM.
    platform::Outcome<Found> get(SysvKind kind, std::uint32_t key, int flags, std::uint64_t objects_max, const SysvMaker& maker);

    // The object of that identifier. Errors: EINVAL there is none, or another by now; EACCES.
    platform::Outcome<SysvFile> open(SysvKind kind, int id) const;
    // The object at an index, for the *_STAT commands. Errors: EINVAL none there, EACCES.
    platform::Outcome<SysvFile> open_index(SysvKind kind, std::uint32_t index) const;
    // The companion of the object at `index`; the caller compares its inode. `flags` says the access mode.
    platform::Outcome<platform::File> open_companion(SysvKind kind, std::uint32_t index, int flags) const;

    // Whether limits/sem may differ from the built-in numbers: two loads once the hints are mapped.
    bool semaphore_limits_set();
    // To be called by who made or changed limits/sem.
    static void note_semaphore_limits(const Domain& domain);

    // The highest index in use, -1 if there is none; and how many are in use.
    int highest_index(SysvKind kind);
    std::uint32_t count(SysvKind kind);

    // A nameless file of mode 0600 in the domain, also when the process has no descriptor left but the registry's spare ones.
    platform::Outcome<platform::File> create_nameless() const;

    // Whether the mapped object still is that of `id`. False: EIDRM.
    static bool is_live(const memory::ObjectHeader& header, int id) {
        // SYNC sysv.removed (acquire half). Pairs with mark_removed().
        return header.removed.load_acquire() == kSysvLive && sysv_id(header) == id;
    }
    // COMMIT of a removal. The object's lock held, so that nobody starts anew on it; wake its sleepers afterwards.
    static void mark_removed(memory::ObjectHeader& header) {
        // SYNC sysv.removed (release half). Carries: nothing but itself.
        header.removed.store_release(kSysvRemoved);
    }
    // Takes a removed object's names away. Nothing is returned: what could not be removed (another user's file in a sticky
    // directory) is never taken for an object, and cleared by whoever can.
    void remove_names(SysvKind kind, int id, std::uint32_t key);
    // Removes an object that cannot be opened any more, its header alone being sound: mark and names, nobody's lock.
    // Errors: EINVAL there is none of that identifier; EPERM neither owner, creator nor root; EACCES.
    platform::Outcome<> discard(SysvKind kind, int id);
    // Takes the names of a file away that stands at an index and is no object any more (Place::foreign), its key's too.
    // Errors: ENOENT nothing is there; EINVAL an object is; EACCES, EPERM; EISDIR.
    platform::Outcome<> discard_foreign(SysvKind kind, std::uint32_t index);
    // Only the key: the object lives on by its identifier (a segment after IPC_RMID). The caller has set header.key to 0 before,
    // its object's lock held; `key` is what stood there.
    void release_key(SysvKind kind, int id, std::uint32_t key);

    // Remembers that the object at `index` is to be looked at again (a segment to be destroyed after its last detach).
    void mark(SysvKind kind, std::uint32_t index);
    void unmark(SysvKind kind, std::uint32_t index);
    // The first marked index from `from` on, -1 if there is none. Marks are hints: some may be lost, some stale.
    int next_marked(SysvKind kind, std::uint32_t from);
    // Clears the names of what holds an index without being an object: a removed one, or one whose maker died before it was
    // live. True: the index is free.
    bool clear_leftover(SysvKind kind, std::uint32_t index);
    // What an index's name leads to, for tools; `foreign`: a file that is no object, `closed`: one that may not be read.
    enum class Place { free, live, being_made, abandoned, removed, foreign, closed };
    Place judge_place(SysvKind kind, std::uint32_t index) const;
    // What a name of key/, such as "sem-00001234.1", leads to; kind and key come back. `removed` also if the object has that
    // key no longer.
    Place judge_key(const char* name, SysvKind& kind, std::uint32_t& key) const;

    // IPC_SET: the new owner and the low nine mode bits, and the file's fence with them. The object's lock held; the caller has
    // checked Permission::owned_by_us(). `companion_fd` is the second file's descriptor or -1. Errors: EINVAL ids of -1.
    static platform::Outcome<> set_permission(SysvKind kind, int fd, int companion_fd, memory::ObjectHeader& header, std::uint32_t owner_uid,
                                              std::uint32_t owner_gid, std::uint32_t mode);
    // The mode of a companion's file: of a segment, whose bytes its users map as they are allowed to, exactly what was asked for.
    static std::uint32_t companion_mode(SysvKind kind, std::uint32_t mode) {
        return kind == SysvKind::shm ? (mode & 0777) | 0600 : fence_mode(mode);
    }

private:
    struct Hints;
    struct KeyPlace;  // where in a key's chain of generations a new link belongs
    struct HintPlace {
        std::atomic<Hints*> mapped{nullptr};
        std::atomic<std::uint32_t> damaged{0};
    };
    platform::Outcome<Found> find_key(SysvKind kind, std::uint32_t key, int flags, const SysvMaker& maker, KeyPlace& place);
    platform::Outcome<Found> make(SysvKind kind, std::uint32_t key, int flags, std::uint64_t objects_max, const SysvMaker& maker,
                                  KeyPlace& place);
    platform::Outcome<int> claim_index(SysvKind kind, int fd, memory::ObjectHeader& header, std::uint64_t objects_max);
    platform::Outcome<> link_key(SysvKind kind, int fd, std::uint32_t key, KeyPlace& place);
    bool unlink_index(SysvKind kind, int fd, std::uint32_t index);
    void unlink_key(SysvKind kind, int id, std::uint32_t key);
    bool key_is_linked(SysvKind kind, int fd, std::uint32_t key) const;
    Place judge(const char* path, int* id = nullptr) const;
    Hints* hints(SysvKind kind);
    Hints* map_hints(SysvKind kind);
    void free_index(SysvKind kind, Hints& hints, std::uint32_t index);
    void rebuild(SysvKind kind, Hints& hints, bool clear_leftovers);

    // Opens a name of the domain; one of the spare descriptors makes room when the process has no other left.
    platform::Outcome<platform::File> open_name(const char* name, int flags) const;
    platform::Outcome<platform::File> open_readable(const char* name) const;
    void keep_spares() const;
    bool give_spare() const;

    const Domain& domain_;
    HintPlace hints_[3];
    mutable std::atomic<int> spares_[2] = {-1, -1};
};

}  // namespace muster::objects
