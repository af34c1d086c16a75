#include "objects/segment_life.hpp"
#include <sys/resource.h>
#include "platform/process.hpp"

namespace muster::objects {
using platform::Fault;
using platform::File;
using platform::Outcome;

namespace {

constexpr const char* kLifeName = "sysv/.life";
constexpr std::uint64_t kNumbers = std::uint64_t{1} << 62;

int byte_lock(int fd, int command, std::uint64_t number, short& type) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = static_cast<off_t>(number);
    lock.l_len = 1;
    const int rc = static_cast<int>(platform::system_call(SYS_fcntl, fd, command, &lock));
    type = lock.l_type;
    return rc;
}

int open_life(const Domain& domain) {
    return platform::open_at(domain.directory(), kLifeName, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
}

Outcome<File> open_or_make(const Domain& domain) {
    for (int tries = 0; tries < 100; ++tries) {
        const int fd = open_life(domain);
        if (fd >= 0) return File(fd);
        const bool other = fd == -ELOOP || fd == -EISDIR || fd == -ENXIO;
        if (fd != -ENOENT) return Fault{other ? EACCES : platform::forbidden(fd), "the domain's life file cannot be opened"};
        if (auto made = domain.ensure_directory("sysv"); !made) return made.fault();
        unsigned granted = 0;
        auto file = domain.create_nameless(0600, &granted);
        if (!file) return file.fault();
        if (domain.shared()) platform::change_mode(file->fd(), 0666);
        if (auto published = domain.publish(file->fd(), kLifeName); !published && published.fault().errno_value != EEXIST)
            return published.fault();
    }
    return Fault{EAGAIN, "the domain's life file is removed again and again"};
}

// Out of the way of the program's own descriptors, which get the lowest free numbers.
File move_high(File file) {
    rlimit limit;
    if (platform::system_call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &limit) != 0 || limit.rlim_cur <= 64) return file;
    const long most = limit.rlim_cur > 65536 ? 65536 : static_cast<long>(limit.rlim_cur);
    const int moved = platform::file_control(file.fd(), F_DUPFD_CLOEXEC, most - 32);
    return moved < 0 ? std::move(file) : File(moved);
}

}  // namespace

Outcome<Life> Life::begin(const Domain& domain) {
    auto file = open_or_make(domain);
    if (!file) return file.fault();
    Life life;
    life.file_ = move_high(std::move(*file));
    struct stat status;
    if (const int rc = platform::file_status(life.fd(), &status); rc < 0) return Fault{-rc};
    if (!S_ISREG(status.st_mode)) return Fault{EACCES, "something else is in the place of the domain's life file"};
    life.inode_ = status.st_ino;
    for (int tries = 0; tries < 100; ++tries) {
        std::uint64_t number = 0;
        if (platform::system_call(SYS_getrandom, &number, sizeof number, 0) != static_cast<long>(sizeof number))
            number = static_cast<std::uint64_t>(platform::realtime_ns()) * 2654435761u + platform::process_id();
        number %= kNumbers;
        if (number == 0) continue;
        short type = F_WRLCK;
        const int rc = byte_lock(life.fd(), F_OFD_SETLK, number, type);
        if (rc == 0) {
            life.number_ = number;
            return life;
        }
        if (rc != -EAGAIN && rc != -EACCES) return Fault{rc == -ENOLCK ? ENOMEM : -rc, "the file system of the domain does not lock"};
    }
    return Fault{EAGAIN, "the domain's life file is locked as a whole"};
}

void Life::end() {
    short type = F_UNLCK;
    byte_lock(fd(), F_OFD_SETLK, number_, type);
    number_ = 0;
    file_ = platform::File();
}

bool Life::still_held() const {
    struct stat status;
    return number_ != 0 && platform::file_status(fd(), &status) == 0 && status.st_ino == inode_ && S_ISREG(status.st_mode);
}

bool LifeWatch::is_alive(std::uint64_t number) {
    if (own_ != nullptr && *own_ && own_->number() == number) return true;
    int fd = own_ != nullptr && *own_ ? own_->fd() : -1;
    if (fd < 0) {
        if (!opened_) file_ = File(open_life(domain_));
        opened_ = true;
        fd = file_.fd();
    }
    if (fd < 0) return fd != -ENOENT;
    if (number == 0 || number >= kNumbers) return false;
    short type = F_WRLCK;
    return byte_lock(fd, F_OFD_GETLK, number, type) != 0 || type != F_UNLCK;
}

}  // namespace muster::objects
