// What the proofs of hostile peers share: the calls of the built library, reached by dlopen and not by the C library's names, and
// a domain of their own that goes with the test.
#pragma once
#include <dlfcn.h>
#include <mqueue.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <type_traits>

namespace muster::test::hostile {

struct Library {
    mqd_t (*mq_open)(const char*, int, ...);
    int (*mq_close)(mqd_t);
    int (*mq_unlink)(const char*);
    int (*mq_send)(mqd_t, const char*, size_t, unsigned);
    int (*mq_timedsend)(mqd_t, const char*, size_t, unsigned, const timespec*);
    ssize_t (*mq_receive)(mqd_t, char*, size_t, unsigned*);
    ssize_t (*mq_timedreceive)(mqd_t, char*, size_t, unsigned*, const timespec*);
    int (*mq_getattr)(mqd_t, mq_attr*);
    int (*mq_setattr)(mqd_t, const mq_attr*, mq_attr*);
    int (*mq_notify)(mqd_t, const sigevent*);
    int (*poll)(pollfd*, nfds_t, int);
    ssize_t (*read)(int, void*, size_t);
    int (*fstat)(int, struct stat*);
    int (*msgget)(key_t, int);
    int (*msgsnd)(int, const void*, size_t, int);
    ssize_t (*msgrcv)(int, void*, size_t, long, int);
    int (*msgctl)(int, int, msqid_ds*);
    int (*semget)(key_t, int, int);
    int (*semop)(int, sembuf*, size_t);
    int (*semtimedop)(int, sembuf*, size_t, const timespec*);
    int (*semctl)(int, int, int, ...);
    int (*shmget)(key_t, size_t, int);
    void* (*shmat)(int, const void*, int);
    int (*shmdt)(const void*);
    int (*shmctl)(int, int, shmid_ds*);
    sem_t* (*sem_open)(const char*, int, ...);
    int (*sem_close)(sem_t*);
    int (*sem_unlink)(const char*);
    int (*shm_open)(const char*, int, mode_t);
    int (*shm_unlink)(const char*);
    int (*open)(const char*, int, ...);
};

// The library as this process has it. A process that wants one of its own asks for it after its fork.
inline const Library& library() {
    static const Library loaded = [] {
        void* handle = dlopen(MUSTER_POSIX_LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) std::abort();
        Library l{};
#define MUSTER_FIND(name)                                                                     \
    l.name = reinterpret_cast<decltype(l.name)>(dlsym(handle, #name)); \
    if (l.name == nullptr) std::abort()
        MUSTER_FIND(mq_open);
        MUSTER_FIND(mq_close);
        MUSTER_FIND(mq_unlink);
        MUSTER_FIND(mq_send);
        MUSTER_FIND(mq_timedsend);
        MUSTER_FIND(mq_receive);
        MUSTER_FIND(mq_timedreceive);
        MUSTER_FIND(mq_getattr);
        MUSTER_FIND(mq_setattr);
        MUSTER_FIND(mq_notify);
        MUSTER_FIND(poll);
        MUSTER_FIND(read);
        MUSTER_FIND(fstat);
        MUSTER_FIND(msgget);
        MUSTER_FIND(msgsnd);
        MUSTER_FIND(msgrcv);
        MUSTER_FIND(msgctl);
        MUSTER_FIND(semget);
        MUSTER_FIND(semop);
        MUSTER_FIND(semtimedop);
        MUSTER_FIND(semctl);
        MUSTER_FIND(shmget);
        MUSTER_FIND(shmat);
        MUSTER_FIND(shmdt);
        MUSTER_FIND(shmctl);
        MUSTER_FIND(sem_open);
        MUSTER_FIND(sem_close);
        MUSTER_FIND(sem_unlink);
        MUSTER_FIND(shm_open);
        MUSTER_FIND(shm_unlink);
        MUSTER_FIND(open);
#undef MUSTER_FIND
        return l;
    }();
    return loaded;
}

struct MessageText {
    long type;
    char text[8192];
};

// A domain in tmpfs that this process's children use by themselves: the environment names it. Gone at the end, with all in it.
class OwnDomain {
public:
    OwnDomain() {
        char name[] = "/dev/shm/muster-hostile-XXXXXX";
        if (mkdtemp(name) == nullptr || setenv("MUSTER_DOMAIN", name, 1) != 0) std::abort();
        path_ = name;
    }
    OwnDomain(const OwnDomain&) = delete;
    ~OwnDomain() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
        std::filesystem::remove_all(path_ + ".keep", ignored);
    }
    const std::string& path() const { return path_; }

private:
    std::string path_;
};

}  // namespace muster::test::hostile
