// Files and directories by raw system calls; failures are negated errno values.
#pragma once
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include "platform/syscall.hpp"

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif

namespace muster::platform {

// Opening, reading and writing files of the domain is not what a program's signals are to interrupt: msgget has no EINTR to
// return. Begun again until it is done.
template <class... Args>
inline long steady_call(long number, Args... args) {
    long result;
    do result = system_call(number, args...);
    while (result == -EINTR);
    return result;
}

inline int open_at(int directory, const char* path, int flags, unsigned mode = 0) {
    return static_cast<int>(steady_call(SYS_openat, directory, path, flags, mode));
}
inline int close_file(int fd) { return static_cast<int>(system_call(SYS_close, fd)); }
inline int file_status(int fd, struct stat* status) {
#if defined(__x86_64__)
    return static_cast<int>(system_call(SYS_fstat, fd, status));
#else
    return static_cast<int>(system_call(SYS_fstat, fd, status));
#endif
}
inline int file_status_at(int directory, const char* path, struct stat* status, int flags) {
    return static_cast<int>(system_call(SYS_newfstatat, directory, path, status, flags));
}
// What would go beyond RLIMIT_FSIZE is refused here, -EFBIG: the kernel would kill the program with SIGXFSZ.
int truncate_file(int fd, std::uint64_t bytes);
// Makes sure that the bytes have memory behind them: -ENOSPC now rather than SIGBUS later.
int reserve_bytes(int fd, std::uint64_t offset, std::uint64_t bytes);
// The same for a mapping of it, where no descriptor is at hand; -EFAULT: the file system is full. -EINVAL before Linux 5.14.
inline int populate_bytes(void* start, std::uint64_t bytes) {
    return static_cast<int>(system_call(SYS_madvise, start, bytes, 23 /* MADV_POPULATE_WRITE */));
}
// Memory for a mapped part of a file, by whatever the kernel offers; -EFAULT: the file system is full.
int populate_mapping(std::byte* start, std::uint64_t bytes);
// Gives the memory of a mapped part back.
inline int remove_mapped(void* start, std::uint64_t bytes) { return static_cast<int>(system_call(SYS_madvise, start, bytes, 9 /* MADV_REMOVE */)); }
// Gives the memory back; the bytes read as zero afterwards.
inline int release_bytes(int fd, std::uint64_t offset, std::uint64_t bytes) {
    return static_cast<int>(steady_call(SYS_fallocate, fd, 3 /* KEEP_SIZE | PUNCH_HOLE */, offset, bytes));
}
inline long map_shared(int fd, std::uint64_t bytes, bool writable) {
    return system_call(SYS_mmap, 0, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
}
// The same where the program has asked for all its future memory to be locked (mlockall): what is mapped here is sparse, and
// locked page by page as it is touched, not filled at once.
// `over`: in the place of what is mapped there.
long map_shared_sparse(int fd, std::uint64_t bytes, void* over = nullptr);
inline long map_private_zeroes(std::uint64_t bytes) {
    return system_call(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
// Puts a page range of a file, or zeroes that count for nothing until written, in place of what is mapped there.
inline long map_shared_over(void* start, int fd, std::uint64_t offset, std::uint64_t bytes) {
    return system_call(SYS_mmap, start, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, offset);
}
inline long map_zeroes_over(void* start, std::uint64_t bytes) {
    return system_call(SYS_mmap, start, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
}
inline int unmap(void* start, std::uint64_t bytes) { return static_cast<int>(system_call(SYS_munmap, start, bytes)); }
// The errno value of what a directory forbids: EACCES also where it is immutable or read-only, for few calls have EPERM or EROFS.
inline int forbidden(int rc) { return rc == -EPERM || rc == -EROFS ? EACCES : -rc; }

inline long read_at(int fd, void* buffer, std::size_t bytes, std::uint64_t offset) {
    return steady_call(SYS_pread64, fd, buffer, bytes, offset);
}
inline long read_file(int fd, void* buffer, std::size_t bytes) { return steady_call(SYS_read, fd, buffer, bytes); }
inline long write_file(int fd, const void* buffer, std::size_t bytes) { return steady_call(SYS_write, fd, buffer, bytes); }
// -EFBIG beyond RLIMIT_FSIZE, as truncate_file() says it.
long write_at(int fd, const void* buffer, std::size_t bytes, std::uint64_t offset);
inline int make_directory(int directory, const char* path, unsigned mode) {
    return static_cast<int>(system_call(SYS_mkdirat, directory, path, mode));
}
inline int change_mode(int fd, unsigned mode) { return static_cast<int>(system_call(SYS_fchmod, fd, mode)); }
inline int make_fifo(int directory, const char* path, unsigned mode) {
    return static_cast<int>(system_call(SYS_mknodat, directory, path, S_IFIFO | mode, 0));
}
inline int remove_name(int directory, const char* path, int flags = 0) {
    return static_cast<int>(system_call(SYS_unlinkat, directory, path, flags));
}
inline int link_file(int from_directory, const char* from, int directory, const char* to, int flags) {
    return static_cast<int>(system_call(SYS_linkat, from_directory, from, directory, to, flags));
}
// Fails with -EEXIST rather than replace.
inline int rename_new(int from_directory, const char* from, int directory, const char* to) {
    return static_cast<int>(system_call(SYS_renameat2, from_directory, from, directory, to, 1 /* RENAME_NOREPLACE */));
}
// Takes the place of what has the name already.
inline int rename_over(int from_directory, const char* from, int directory, const char* to) {
    return static_cast<int>(system_call(SYS_renameat2, from_directory, from, directory, to, 0));
}
inline int file_control(int fd, int command, long argument = 0) {
    return static_cast<int>(system_call(SYS_fcntl, fd, command, argument));
}
inline long read_directory(int fd, void* buffer, std::size_t bytes) { return system_call(SYS_getdents64, fd, buffer, bytes); }
inline long read_link(int directory, const char* path, char* buffer, std::size_t bytes) {
    return system_call(SYS_readlinkat, directory, path, buffer, bytes);
}

// A descriptor that closes itself.
class File {
public:
    File() = default;
    explicit File(int fd) : fd_(fd) {}
    File(File&& o) noexcept : fd_(o.fd_) { o.fd_ = -1; }
    File& operator=(File&& o) noexcept {
        if (this != &o) {
            if (fd_ >= 0) close_file(fd_);
            fd_ = o.fd_;
            o.fd_ = -1;
        }
        return *this;
    }
    ~File() {
        if (fd_ >= 0) close_file(fd_);
    }
    int fd() const { return fd_; }
    int release() {
        const int fd = fd_;
        fd_ = -1;
        return fd;
    }

private:
    int fd_ = -1;
};

}  // namespace muster::platform
