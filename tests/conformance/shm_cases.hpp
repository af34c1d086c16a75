// What the cases about shared memory segments share.
#pragma once
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include <string>

#include "case.hpp"

namespace conformance {

constexpr size_t kPage = 4096;

// A key of this run's own.
inline key_t own_key(int number = 0) {
    unsigned run = 0;
    for (const char* c = name(); *c; ++c)
        if (*c >= '0' && *c <= '9') run = run * 10 + static_cast<unsigned>(*c - '0');
    return static_cast<key_t>(0x5a000000u | (run & 0xfffffu) << 4 | static_cast<unsigned>(number));
}

inline shmid_ds look(int id) {
    shmid_ds now{};
    if (shmctl(id, IPC_STAT, &now) != 0) give_up("IPC_STAT: " + error_name(errno));
    return now;
}
inline long attachments(int id) {
    shmid_ds now{};
    return shmctl(id, IPC_STAT, &now) == 0 ? static_cast<long>(now.shm_nattch) : -1;
}
inline char* attach(int id, const void* address = nullptr, int flags = 0) {
    void* at = shmat(id, address, flags);
    return at == reinterpret_cast<void*>(-1) ? nullptr : static_cast<char*>(at);
}
// shmat as a step: 0 or -1.
inline long tries(int id, const void* address = nullptr, int flags = 0) {
    void* at = shmat(id, hidden(address), flags);
    if (at == reinterpret_cast<void*>(-1)) return -1;
    return shmdt(at);
}
inline int make(size_t size = 8 * kPage, int mode = 0600) {
    const int id = shmget(IPC_PRIVATE, size, IPC_CREAT | mode);
    if (id < 0) give_up("shmget: " + error_name(errno));
    return id;
}
inline int removed(int id) {
    return shmctl(id, IPC_RMID, nullptr);
}
inline std::string mode_of(int id) {
    char text[16];
    std::snprintf(text, sizeof text, "%o", static_cast<unsigned>(look(id).shm_perm.mode));
    return text;
}
// Room in the address space where nothing else will be mapped: the middle of a reservation.
inline char* room(size_t pages) {
    void* at = mmap(nullptr, pages * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) give_up("mmap: " + error_name(errno));
    return static_cast<char*>(at);
}

}  // namespace conformance
