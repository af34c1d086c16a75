// The domain: one directory in tmpfs whose files are the objects. Its entries are the registry;
// there is no central table and no lock to hold while naming.
//
//   domain/mq/NAME      POSIX message queues
//   domain/poll/UUID    FIFOs of the queues that somebody polls
//   domain/limits/NAME  limits that differ from the built-in ones (limits.hpp)
//   domain/sysv, key, shm, sem   see docs/formats/domain.md
//
// Objects are built complete in a nameless file and then published by a link, which fails for the
// loser of a race: nothing half-made is ever visible.
#pragma once
#include <cstdint>
#include "platform/file.hpp"
#include "platform/outcome.hpp"

namespace muster::objects {

struct DomainLimits {
    std::uint64_t msg_default = 10;
    std::uint64_t msgsize_default = 8192;
    std::uint64_t msg_max = 1'000'000;
    std::uint64_t msgsize_max = 16ull << 20;
    std::uint64_t queues_max = 1'000'000;
};

class Domain {
public:
    static constexpr std::size_t kPathBytesMax = 3072;

    // The path of the process's domain: MUSTER_DOMAIN (not in setuid programs), else /dev/shm/muster-<euid>.
    // A bare name N stands for /dev/shm/muster-<euid>-N.
    static void default_path(char (&path)[kPathBytesMax]);
    static bool path_of(const char* path_or_name, char (&path)[kPathBytesMax]);

    // Opens the directory, making it if `create`: mode 0700, or 1777 if root makes it.
    // Errors: ENOENT; EACCES it belongs to somebody else, or others may write to it and it is not sticky; ENOTDIR; ENOSPC.
    static platform::Outcome<Domain> open(const char* path, bool create);

    Domain(Domain&&) = default;
    Domain& operator=(Domain&&) = default;

    // The descriptor stays the domain's; it is a high number so that programs get the low ones.
    int directory() const { return directory_.fd(); }
    // Whether the descriptor still is the directory: programs close descriptors they do not know.
    bool still_open() const;
    bool shared() const { return shared_; }  // other users may make objects here
    std::uint64_t device() const { return device_; }
    // Whether a directory of it has no entries, if that can be told by its size alone.
    bool is_surely_empty(const struct stat& directory) const { return in_tmpfs_ && directory.st_size <= kTmpfsEmptyBytes; }
    void abandon() { directory_.release(); }  // the descriptor is somebody else's by now

    // A nameless file with the permission bits that `mode` and the umask leave; they come back in `granted`.
    // Errors: ENOSPC, EMFILE, EACCES.
    platform::Outcome<platform::File> create_nameless(unsigned mode, unsigned* granted, int flags = 0) const;
    // Gives the file its name, e.g. "mq/jobs". Errors: EEXIST, ENOSPC, ENAMETOOLONG, EACCES.
    platform::Outcome<> publish(int fd, const char* name) const;
    platform::Outcome<platform::File> open_object(const char* name, int flags = 0) const;
    platform::Outcome<> remove(const char* name) const;
    // Makes the subdirectory if there is none; in a shared domain with that mode.
    platform::Outcome<> ensure_directory(const char* name, unsigned shared_mode = 01777) const;

    // How many entries a subdirectory has.
    std::uint64_t count(const char* subdirectory) const;

    // The limits of POSIX queues; those of System V are SysvLimits::of().
    DomainLimits limits() const;
    // Sets one number by its name: "msg_max", "semopm". Errors: EINVAL no such limit, out of range; EACCES, ENOSPC.
    static platform::Outcome<> set_limit(const Domain& domain, const char* name, std::uint64_t value);

private:
    Domain(platform::File directory, bool shared, bool in_tmpfs, std::uint64_t device, std::uint64_t inode)
        : directory_(std::move(directory)), shared_(shared), in_tmpfs_(in_tmpfs), device_(device), inode_(inode) {}
    static constexpr long kTmpfsEmptyBytes = 40;  // SOURCE mm/shmem.c: 20 for each entry, "." and ".." among them
    platform::File directory_;
    bool shared_;
    bool in_tmpfs_;
    std::uint64_t device_;
    std::uint64_t inode_;
};

// Calls `visit(name)` for each entry of a subdirectory ("mq") until it returns false.
template <class Visit>
void for_each_entry(int directory, const char* subdirectory, Visit visit) {
    platform::File list(platform::open_at(directory, subdirectory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (list.fd() < 0) return;
    struct Entry {  // SOURCE getdents64(2)
        std::uint64_t inode;
        std::int64_t offset;
        unsigned short bytes;
        unsigned char type;
        char name[5];  // and more: the entry's `bytes` tell
    };
    alignas(8) char buffer[4096];
    for (;;) {
        const long got = platform::read_directory(list.fd(), buffer, sizeof buffer);
        if (got <= 0) return;
        for (long at = 0; at < got;) {
            auto* entry = reinterpret_cast<Entry*>(buffer + at);
            at += entry->bytes;
            const char* name = &entry->name[0];
            if (name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0))) continue;
            if (!visit(name)) return;
        }
    }
}

}  // namespace muster::objects
