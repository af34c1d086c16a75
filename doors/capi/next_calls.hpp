// The C library's own calls behind those that we take over: what is not about a queue goes there, so that it stays
// a cancellation point and passes whatever else is preloaded behind us.
//
// They are looked up once, when the library is loaded. Earlier calls (constructors of other libraries) find null and
// go to the kernel themselves: there are no threads to cancel then.
#pragma once
#include <poll.h>
#include <signal.h>
#include <sys/select.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <cstdio>
#include <ctime>

namespace muster::capi {

struct NextCalls {
    int (*open)(const char*, int, ...);
    int (*open64)(const char*, int, ...);
    int (*openat)(int, const char*, int, ...);
    int (*openat64)(int, const char*, int, ...);
    int (*open_2)(const char*, int);
    int (*openat_2)(int, const char*, int);
    FILE* (*fopen)(const char*, const char*);
    FILE* (*fopen64)(const char*, const char*);
    int (*close)(int);
    int (*fcntl)(int, int, ...);
    ssize_t (*read)(int, void*, size_t);
    ssize_t (*pread)(int, void*, size_t, off_t);
    ssize_t (*readv)(int, const iovec*, int);
    ssize_t (*preadv)(int, const iovec*, int, off_t);
    ssize_t (*write)(int, const void*, size_t);
    ssize_t (*pwrite)(int, const void*, size_t, off_t);
    ssize_t (*writev)(int, const iovec*, int);
    ssize_t (*pwritev)(int, const iovec*, int, off_t);
    int (*poll)(pollfd*, nfds_t, int);
    int (*ppoll)(pollfd*, nfds_t, const timespec*, const sigset_t*);
    int (*select)(int, fd_set*, fd_set*, fd_set*, timeval*);
    int (*pselect)(int, fd_set*, fd_set*, fd_set*, const timespec*, const sigset_t*);
};
extern constinit NextCalls next_calls;

}  // namespace muster::capi

// How the C library ends a checked call whose buffer is too small for what was asked.
extern "C" [[noreturn]] void __chk_fail();
