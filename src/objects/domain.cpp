#include "objects/domain.hpp"
#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include "platform/process.hpp"

namespace muster::objects {
using platform::Fault;
using platform::File;
using platform::Outcome;

bool Domain::path_of(const char* path_or_name, char (&path)[kPathBytesMax]) {
    if (path_or_name == nullptr || *path_or_name == 0) {
        std::snprintf(path, sizeof path, "/dev/shm/muster-%u", platform::effective_user());
        return true;
    }
    const int length = std::strchr(path_or_name, '/') != nullptr
                           ? std::snprintf(path, sizeof path, "%s", path_or_name)
                           : std::snprintf(path, sizeof path, "/dev/shm/muster-%u-%s", platform::effective_user(), path_or_name);
    return length > 0 && static_cast<std::size_t>(length) < sizeof path;
}

void Domain::default_path(char (&path)[kPathBytesMax]) {
    const bool trusted = getauxval(AT_SECURE) == 0;
    if (!path_of(trusted ? std::getenv("MUSTER_DOMAIN") : nullptr, path)) path_of(nullptr, path);
}

namespace {
// Moves a descriptor out of the way of the program's own, which get the lowest free numbers.
int move_high(int fd) {
    rlimit limit;
    if (platform::system_call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &limit) != 0) return fd;
    const long most = limit.rlim_cur > 65536 ? 65536 : static_cast<long>(limit.rlim_cur);
    const int moved = platform::file_control(fd, F_DUPFD_CLOEXEC, most > 32 ? most - 16 : fd);
    if (moved < 0) return fd;
    platform::close_file(fd);
    return moved;
}

// The subdirectories of a domain that everybody may use belong to its maker, who makes them with it: the owner of a sticky
// directory may remove, and so replace, what others put there.
constexpr struct {
    const char* name;
    unsigned mode;
} kSubdirectories[] = {{"mq", 01777}, {"sysv", 01777}, {"key", 01777}, {"shm", 01777}, {"sem", 01777}, {"poll", 01777}, {"limits", 0755}};
int make_subdirectories(int domain) {
    for (const auto& each : kSubdirectories) {
        if (const int rc = platform::make_directory(domain, each.name, 0700); rc < 0) return rc;
        if (const int rc = static_cast<int>(platform::system_call(SYS_fchmodat, domain, each.name, each.mode)); rc < 0) return rc;
    }
    return 0;
}
void remove_subdirectories(int domain) {
    for (const auto& each : kSubdirectories) platform::remove_name(domain, each.name, AT_REMOVEDIR);
}

// Makes a directory that is never seen with another mode than it keeps: under a name of its own first. A negated errno.
int make_whole_directory(int at, const char* path, unsigned mode, bool with_subdirectories = false) {
    std::size_t parent = std::strlen(path);
    while (parent > 0 && path[parent - 1] == '/') --parent;
    while (parent > 0 && path[parent - 1] != '/') --parent;
    char temporary[Domain::kPathBytesMax + 48];
    for (unsigned attempt = 0;; ++attempt) {
        std::snprintf(temporary, sizeof temporary, "%.*s.new-%u-%u", static_cast<int>(parent), path,
                      static_cast<unsigned>(platform::system_call(SYS_gettid)), attempt);
        const int made = platform::make_directory(at, temporary, 0700);
        if (made == 0) break;
        if (made != -EEXIST || attempt == 64) return made;
        platform::remove_name(at, temporary, AT_REMOVEDIR);  // left by somebody who died; if it is not ours to remove, the next number
    }
    int rc = 0;
    {
        File directory(platform::open_at(at, temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
        rc = directory.fd() < 0 ? directory.fd() : platform::change_mode(directory.fd(), mode);
        if (rc >= 0 && with_subdirectories) rc = make_subdirectories(directory.fd());
        if (rc >= 0) rc = platform::rename_new(at, temporary, at, path);
        if (rc < 0 && directory.fd() >= 0 && with_subdirectories) remove_subdirectories(directory.fd());
    }
    if (rc < 0) platform::remove_name(at, temporary, AT_REMOVEDIR);
    return rc == -EEXIST ? 0 : rc;
}
}  // namespace

Outcome<Domain> Domain::open(const char* path, bool create) {
    int fd = platform::open_at(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd == -ENOENT && create) {
        // Root's domain is everybody's, as the kernel's objects are. Two who make it at once agree on that.
        const bool for_all = platform::effective_user() == 0;
        const int made = make_whole_directory(AT_FDCWD, path, for_all ? 01777 : 0700, for_all);
        if (made < 0) return Fault{-made, "the domain's directory cannot be made; is its parent a tmpfs you may write to?"};
        fd = platform::open_at(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    }
    if (fd == -ENOTDIR) return Fault{ENOTDIR, "the domain's path is no directory, or a symbolic link that somebody put there"};
    if (fd < 0) return Fault{-fd, "the domain's directory cannot be opened"};
    File directory(move_high(fd));
    struct stat status;
    if (const int rc = platform::file_status(directory.fd(), &status); rc < 0) return Fault{-rc};
    const std::uint32_t user = platform::effective_user();
    const bool sticky = (status.st_mode & S_ISVTX) != 0;
    // Somebody else's directory may have been put there to look into what we send. Root may look into anybody's, if asked by name.
    char usual[kPathBytesMax];
    path_of(nullptr, usual);
    const bool ours = status.st_uid == user || status.st_uid == 0 || status.st_uid == platform::real_user();
    if (!ours && (user != 0 || std::strcmp(path, usual) == 0))
        return Fault{EACCES, "the domain's directory belongs to another user; name one of your own with MUSTER_DOMAIN"};
    if ((status.st_mode & 0022) != 0 && !sticky)
        return Fault{EACCES, "others may write to the domain's directory; make it private (chmod 0700) or shared (chmod 1777)"};
    struct statfs system {};
    const bool in_tmpfs = platform::system_call(SYS_fstatfs, directory.fd(), &system) == 0 && system.f_type == TMPFS_MAGIC;
    return Domain(std::move(directory), (status.st_mode & 0077) != 0, in_tmpfs, status.st_dev, status.st_ino);
}

bool Domain::still_open() const {
    struct stat status;
    return platform::file_status(directory_.fd(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_;
}

Outcome<File> Domain::create_nameless(unsigned mode, unsigned* granted, int flags) const {
    const int fd = platform::open_at(directory(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC | flags, mode & 07777);
    if (fd < 0) return Fault{platform::forbidden(fd), fd == -ENOSPC ? "the file system of the domain is full" : "no object can be made in the domain's directory"};
    File file(fd);
    struct stat status;
    if (const int rc = platform::file_status(fd, &status); rc < 0) return Fault{-rc};
    *granted = status.st_mode & 07777;
    const unsigned fence = 0600u | ((*granted & 0060) ? 0060u : 0u) | ((*granted & 0006) ? 0006u : 0u);
    if (fence != *granted)
        if (const int rc = platform::change_mode(fd, fence); rc < 0) return Fault{-rc};
    return file;
}

Outcome<> Domain::publish(int fd, const char* name) const {
    int rc = platform::link_file(fd, "", directory(), name, AT_EMPTY_PATH);  // needs a privilege
    if (rc == -ENOENT || rc == -EPERM) {
        char self[64];
        std::snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
        rc = platform::link_file(AT_FDCWD, self, directory(), name, AT_SYMLINK_FOLLOW);
    }
    if (rc < 0) return Fault{platform::forbidden(rc), rc == -EEXIST ? "there is an object of that name already" : "the object cannot be given its name"};
    return platform::done();
}

Outcome<File> Domain::open_object(const char* name, int flags) const {
    const int fd = platform::open_at(directory(), name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | flags);
    if (fd < 0) return Fault{fd == -ELOOP || fd == -EISDIR || fd == -ENXIO ? EBADMSG : platform::forbidden(fd), nullptr};
    return File(fd);
}

Outcome<> Domain::remove(const char* name) const {
    const int rc = platform::remove_name(directory(), name);
    if (rc < 0) return Fault{rc == -ELOOP || rc == -ENOTDIR ? ENOENT : rc == -EISDIR || rc == -EBUSY ? EACCES : platform::forbidden(rc)};
    return platform::done();
}

Outcome<> Domain::ensure_directory(const char* name, unsigned shared_mode) const {
    struct stat status;
    if (platform::file_status_at(directory(), name, &status, AT_SYMLINK_NOFOLLOW) == 0) {
        if (S_ISDIR(status.st_mode)) return platform::done();
        return Fault{ENOTDIR, "something that is no directory stands in the domain's place for objects of this kind"};
    }
    if (const int rc = make_whole_directory(directory(), name, shared_ ? shared_mode : 0700); rc < 0) return Fault{platform::forbidden(rc)};
    return platform::done();
}

std::uint64_t Domain::count(const char* subdirectory) const {
    std::uint64_t entries = 0;
    for_each_entry(directory(), subdirectory, [&](const char*) {
        ++entries;
        return true;
    });
    return entries;
}

}  // namespace muster::objects
