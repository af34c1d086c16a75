// fstat and its kin: a queue's descriptor shows what the kernel's queues show. The file behind it has other bits (whoever
// may read or write needs its control block, so its mode is a fence) and the size of all that the queue may ever hold.
//
// The next call answers first. What it tells as the file has it is replaced; what another preloaded library has made of
// it, a faked owner say, stays.
#include <dlfcn.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "descriptor_calls.hpp"
#include "export.hpp"
#include "platform/file.hpp"
#include "process_domain.hpp"
#include "watching.hpp"

using namespace muster;

static_assert(sizeof(struct stat) == sizeof(struct stat64), "one form for both names");

namespace {

constexpr std::uint64_t kShownBytes = 80;  // SOURCE the kernel's FILENT_SIZE: what read() could give at most

using FstatCall = int (*)(int, struct stat*);
using FxstatCall = int (*)(int, int, struct stat*);
using FstatatCall = int (*)(int, const char*, struct stat*, int);
using FxstatatCall = int (*)(int, int, const char*, struct stat*, int);
using StatxCall = int (*)(int, const char*, int, unsigned, struct statx*);

struct NextStat {
    FstatCall fstat, fstat64;
    FxstatCall fxstat, fxstat64;
    FstatatCall fstatat, fstatat64;
    FxstatatCall fxstatat, fxstatat64;
    StatxCall statx;
};
constinit NextStat next{};

template <class Call>
void find(Call& call, const char* name) {
    call = reinterpret_cast<Call>(dlsym(RTLD_NEXT, name));
}

__attribute__((constructor(101))) void find_next_stat() {
    find(next.fstat, "fstat");
    find(next.fstat64, "fstat64");
    find(next.fxstat, "__fxstat");
    find(next.fxstat64, "__fxstat64");
    find(next.fstatat, "fstatat");
    find(next.fstatat64, "fstatat64");
    find(next.fxstatat, "__fxstatat");
    find(next.fxstatat64, "__fxstatat64");
    find(next.statx, "statx");
}

struct Shown {
    struct stat file;  // what the kernel says of the file
    std::uint32_t mode, uid, gid;
};

// False if the descriptor is no queue. Those that came over a socket or an exec are known by their file system.
bool shown_of(int descriptor, std::uint64_t device, unsigned mode, Shown& shown) {
    if (__builtin_expect(!capi::is_known_queue(descriptor), 1)) {
        if (!S_ISREG(mode) || device != capi::domain_device() || !capi::is_queue(descriptor)) return false;
    }
    const capi::QueueHold queue = capi::hold_checked(descriptor);
    if (!queue || platform::file_status(descriptor, &shown.file) < 0) return false;
    const objects::Permission permission = queue->queue.permission();
    shown.mode = S_IFREG | (permission.mode & 07777);
    shown.uid = permission.owner_uid;
    shown.gid = permission.owner_gid;
    return true;
}

int show(int descriptor, struct stat* status, int result) {
    Shown shown;
    if (result != 0 || !shown_of(descriptor, status->st_dev, status->st_mode, shown)) return result;
    if (status->st_mode == shown.file.st_mode) status->st_mode = shown.mode;
    if (status->st_uid == shown.file.st_uid) status->st_uid = shown.uid;
    if (status->st_gid == shown.file.st_gid) status->st_gid = shown.gid;
    status->st_size = kShownBytes;
    status->st_blocks = 0;
    return 0;
}

int show(int descriptor, struct statx* status, int result) {
    Shown shown;
    if (result != 0 || !shown_of(descriptor, makedev(status->stx_dev_major, status->stx_dev_minor), status->stx_mode, shown)) return result;
    if (status->stx_mode == shown.file.st_mode) status->stx_mode = static_cast<std::uint16_t>(shown.mode);
    if (status->stx_uid == shown.file.st_uid) status->stx_uid = shown.uid;
    if (status->stx_gid == shown.file.st_gid) status->stx_gid = shown.gid;
    status->stx_size = kShownBytes;
    status->stx_blocks = 0;
    return 0;
}

// Whether a successful call with these was about the descriptor itself. (Newer kernels take NULL for the empty path.)
bool about_descriptor(const char* path, int flags) {
    if (__builtin_expect((flags & AT_EMPTY_PATH) == 0, 1)) return false;
    asm("" : "+r"(path));  // declared nonnull where it comes from
    return path == nullptr || *path == 0;
}

int fstat_by(FstatCall call, int descriptor, struct stat* status) {
    if (call == nullptr) return show(descriptor, status, static_cast<int>(capi::finish(platform::system_call(SYS_fstat, descriptor, status))));
    return show(descriptor, status, call(descriptor, status));
}

int fstatat_by(FstatatCall call, int directory, const char* path, struct stat* status, int flags) {
    const int result = call != nullptr ? call(directory, path, status, flags)
                                       : static_cast<int>(capi::finish(platform::system_call(SYS_newfstatat, directory, path, status, flags)));
    return result == 0 && about_descriptor(path, flags) ? show(directory, status, result) : result;
}

}  // namespace

MUSTER_EXPORT int fstat(int descriptor, struct stat* status) noexcept { return fstat_by(next.fstat, descriptor, status); }
MUSTER_EXPORT int fstat64(int descriptor, struct stat64* status) noexcept {
    return fstat_by(next.fstat64, descriptor, reinterpret_cast<struct stat*>(status));
}

// What programs built before glibc 2.33 call: `version` tells the form of the structure.
MUSTER_EXPORT int __fxstat(int version, int descriptor, struct stat* status) noexcept {
    if (next.fxstat == nullptr) return fstat_by(nullptr, descriptor, status);
    return show(descriptor, status, next.fxstat(version, descriptor, status));
}
MUSTER_EXPORT int __fxstat64(int version, int descriptor, struct stat64* status64) noexcept {
    auto* status = reinterpret_cast<struct stat*>(status64);
    if (next.fxstat64 == nullptr) return fstat_by(nullptr, descriptor, status);
    return show(descriptor, status, next.fxstat64(version, descriptor, status));
}

MUSTER_EXPORT int fstatat(int directory, const char* path, struct stat* status, int flags) noexcept {
    return fstatat_by(next.fstatat, directory, path, status, flags);
}
MUSTER_EXPORT int fstatat64(int directory, const char* path, struct stat64* status, int flags) noexcept {
    return fstatat_by(next.fstatat64, directory, path, reinterpret_cast<struct stat*>(status), flags);
}

MUSTER_EXPORT int __fxstatat(int version, int directory, const char* path, struct stat* status, int flags) noexcept {
    if (next.fxstatat == nullptr) return fstatat_by(nullptr, directory, path, status, flags);
    const int result = next.fxstatat(version, directory, path, status, flags);
    return result == 0 && about_descriptor(path, flags) ? show(directory, status, result) : result;
}
MUSTER_EXPORT int __fxstatat64(int version, int directory, const char* path, struct stat64* status64, int flags) noexcept {
    auto* status = reinterpret_cast<struct stat*>(status64);
    if (next.fxstatat64 == nullptr) return fstatat_by(nullptr, directory, path, status, flags);
    const int result = next.fxstatat64(version, directory, path, status, flags);
    return result == 0 && about_descriptor(path, flags) ? show(directory, status, result) : result;
}

MUSTER_EXPORT int statx(int directory, const char* path, int flags, unsigned mask, struct statx* status) noexcept {
    const int result = next.statx != nullptr ? next.statx(directory, path, flags, mask, status)
                                             : static_cast<int>(capi::finish(platform::system_call(SYS_statx, directory, path, flags, mask, status)));
    return result == 0 && about_descriptor(path, flags) ? show(directory, status, result) : result;
}
