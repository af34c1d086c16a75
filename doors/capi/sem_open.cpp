// SOURCE sem_open(3). The file lies in the domain; what is in it is the C library's sem_t, and its calls work on the mapping.
#include "sem_open.hpp"
#include <fcntl.h>
#include <climits>
#include <cstdarg>
#include "platform/file.hpp"
#include "private_lock.hpp"
#include "shm_common.hpp"
#include "shm_names.hpp"

namespace muster::capi {
using platform::Fault;
using platform::File;
using platform::Outcome;

namespace {

struct OpenSemaphore {
    std::uint64_t device, inode;
    sem_t* address;  // null: the entry is free
    std::uint32_t references;
};
constexpr std::uint32_t kFirstRoom = 4096 / sizeof(OpenSemaphore);
OpenSemaphore* table = nullptr;
std::uint32_t table_room = 0;
PrivateLock table_lock;

OpenSemaphore* free_entry() {
    for (std::uint32_t i = 0; i < table_room; ++i)
        if (table[i].address == nullptr) return &table[i];
    const std::uint32_t room = table_room == 0 ? kFirstRoom : 2 * table_room;
    const long memory = platform::map_private_zeroes(room * sizeof(OpenSemaphore));
    if (memory < 0 && memory > -4096) return nullptr;
    auto* grown = reinterpret_cast<OpenSemaphore*>(memory);
    for (std::uint32_t i = 0; i < table_room; ++i) grown[i] = table[i];
    if (table != nullptr) platform::unmap(table, table_room * sizeof(OpenSemaphore));
    table = grown;
    OpenSemaphore* entry = table + table_room;
    table_room = room;
    return entry;
}

Outcome<sem_t*> map_semaphore(int fd) {
    const long at = platform::map_shared(fd, sizeof(sem_t), true);
    if (at < 0 && at > -4096) return Fault{at == -EAGAIN ? ENOMEM : static_cast<int>(-at)};  // EAGAIN: more than may be locked
    return reinterpret_cast<sem_t*>(at);
}

// The address of the semaphore in a file.
Outcome<sem_t*> enter(int fd) {
    struct stat status;
    if (const int rc = platform::file_status(fd, &status); rc < 0) return Fault{-rc};
    if (!S_ISREG(status.st_mode) || status.st_size < static_cast<off_t>(sizeof(sem_t))) return Fault{EINVAL};
    const PrivateLock::Hold hold(table_lock);
    for (std::uint32_t i = 0; i < table_room; ++i) {
        OpenSemaphore& known = table[i];
        if (known.address == nullptr || known.inode != status.st_ino || known.device != status.st_dev) continue;
        if (known.references == UINT32_MAX) return Fault{EMFILE};
        ++known.references;
        return known.address;
    }
    OpenSemaphore* entry = free_entry();
    if (entry == nullptr) return Fault{ENOMEM};
    auto mapped = map_semaphore(fd);
    if (mapped) *entry = {status.st_dev, status.st_ino, *mapped, 1};
    return mapped;
}

// A new semaphore, complete and ours before it has its name.
Outcome<sem_t*> create_new(const objects::Domain& domain, const ObjectName& name, mode_t mode, unsigned value) {
    if (value > SEM_VALUE_MAX) return Fault{EINVAL};
    if (auto made = domain.ensure_directory("sem"); !made) return made.fault();
    const int fd = platform::open_at(domain.directory(), "sem", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
    if (fd < 0) return Fault{platform::forbidden(fd)};
    const File file(fd);
    if (const int rc = platform::truncate_file(fd, sizeof(sem_t)); rc < 0) return Fault{-rc};
    if (const int rc = platform::reserve_bytes(fd, 0, sizeof(sem_t)); rc < 0) return Fault{-rc};
    auto entered = enter(fd);
    if (!entered) return entered.fault();
    sem_init(*entered, 1, value);
    if (auto published = domain.publish(fd, name.path); !published) {
        release_semaphore(*entered);
        return published.fault();
    }
    return *entered;
}

Outcome<sem_t*> open_semaphore(const char* name, int flags, mode_t mode, unsigned value) {
    ObjectName path;
    if (const int wrong = object_name(platform::current_thread(), name, NamedKind::semaphore, path); wrong != 0)
        return Fault{wrong};
    const bool create = (flags & O_CREAT) != 0, exclusive = create && (flags & O_EXCL) != 0;
    auto domain = process_domain(create);
    if (!domain) return domain.fault();
    for (int tries = 0; tries < 1000; ++tries) {
        if (!exclusive) {
            const int fd = platform::open_at((*domain)->directory(), path.path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
            if (fd >= 0) {
                const File file(fd);
                return enter(fd);
            }
            if (fd != -ENOENT || !create) return Fault{fd == -EISDIR || fd == -ENXIO ? EINVAL : platform::forbidden(fd)};
        }
        auto made = create_new(**domain, path, mode, value);
        if (made || made.fault().errno_value != EEXIST || exclusive) return made;
    }
    return Fault{EAGAIN};
}

}  // namespace

int release_semaphore(sem_t* semaphore) {
    const PrivateLock::Hold hold(table_lock);
    for (std::uint32_t i = 0; semaphore != nullptr && i < table_room; ++i) {
        OpenSemaphore& known = table[i];
        if (known.address != semaphore) continue;
        if (--known.references == 0) {
            platform::unmap(known.address, sizeof(sem_t));
            known = {};
        }
        return 0;
    }
    return EINVAL;
}

}  // namespace muster::capi

MUSTER_EXPORT sem_t* sem_open(const char* name, int flags, ...) noexcept {
    mode_t mode = 0;
    unsigned value = 0;
    if ((flags & O_CREAT) != 0) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        value = va_arg(rest, unsigned);
        va_end(rest);
    }
    auto opened = muster::capi::open_semaphore(name, flags, mode, value);
    if (opened) return *opened;
    muster::capi::shm_fail(opened.fault().errno_value);
    return SEM_FAILED;
}
