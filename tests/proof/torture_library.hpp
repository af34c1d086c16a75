// The built library's calls beside the C library's own: loaded by its path, not linked.
#pragma once
#include <dlfcn.h>
#include <mqueue.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <cstdio>
#include <cstdlib>
#include <type_traits>

#ifndef MUSTER_POSIX_LIBRARY
#error "the shared library has to be built"
#endif

namespace muster::test {

#define MUSTER_TORTURE_CALLS(CALL)                                                                                                       \
    CALL(mq_open) CALL(mq_close) CALL(mq_unlink) CALL(mq_send) CALL(mq_receive) CALL(mq_timedsend) CALL(mq_timedreceive) CALL(mq_getattr) \
    CALL(mq_notify) CALL(msgget) CALL(msgsnd) CALL(msgrcv) CALL(msgctl) CALL(semget) CALL(semop) CALL(semtimedop) CALL(semctl)            \
    CALL(shmget) CALL(shmat) CALL(shmdt) CALL(shmctl) CALL(munmap) CALL(shm_open) CALL(shm_unlink) CALL(sem_open) CALL(sem_close)         \
    CALL(sem_unlink) CALL(poll) CALL(sigaction)

struct Library {
#define MUSTER_TORTURE_MEMBER(name) decltype(&::name) name;
    MUSTER_TORTURE_CALLS(MUSTER_TORTURE_MEMBER)
#undef MUSTER_TORTURE_MEMBER
};

inline const Library& library() {
    static const Library loaded = [] {
        void* handle = dlopen(MUSTER_POSIX_LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) {
            std::fprintf(stderr, "%s\n", dlerror());
            std::abort();
        }
        Library found{};
        const auto load = [&](auto& pointer, const char* name) {
            pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(dlsym(handle, name));
            if (pointer == nullptr) std::abort();
        };
#define MUSTER_TORTURE_LOAD(name) load(found.name, #name);
        MUSTER_TORTURE_CALLS(MUSTER_TORTURE_LOAD)
#undef MUSTER_TORTURE_LOAD
        return found;
    }();
    return loaded;
}

}  // namespace muster::test
