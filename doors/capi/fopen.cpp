// fopen: some files of /proc show the domain (proc_view.hpp). The open inside the C library's own passes open() by.
#include <dlfcn.h>
#include <fcntl.h>
#include <cstdio>
#include "export.hpp"
#include "next_calls.hpp"
#include "platform/file.hpp"
#include "proc_view.hpp"

using namespace muster;
using namespace muster::capi;

namespace {

// SOURCE fopen(3). The C library has accepted the mode already.
int flags_of(const char* mode) {
    int flags = *mode == 'r' ? O_RDONLY : O_WRONLY;
    for (++mode; *mode != 0 && *mode != ','; ++mode) {
        if (*mode == '+') flags = O_RDWR;
        if (*mode == 'e') flags |= O_CLOEXEC;
    }
    return flags;
}

// What fopen said of a path that may be a view's. Its stream keeps the mode, but for appending: a limit is written at its
// beginning.
FILE* stream_instead(FILE* opened, const char* path, const char* mode, int errno_before) {
    const int flags = flags_of(mode);
    if (!is_view(path, flags)) return opened;
    if (opened != nullptr) fclose(opened);
    const int fd = open_view(path, flags);
    if (fd < 0) {
        errno = -fd;
        return nullptr;
    }
    const int access = flags & O_ACCMODE;
    FILE* stream = fdopen(fd, access == O_RDONLY ? "r" : access == O_WRONLY ? "w" : "r+");
    if (stream == nullptr)
        platform::close_file(fd);
    else
        errno = errno_before;
    return stream;
}

using FopenCall = FILE* (*)(const char*, const char*);

FILE* fopen_by(FopenCall next, const char* name, const char* path, const char* mode) {
    // Earlier than our constructors; the C library has one, whatever is preloaded.
    if (next == nullptr) next = reinterpret_cast<FopenCall>(dlsym(RTLD_NEXT, name));
    const int before = errno;
    FILE* opened = next(path, mode);
    if (__builtin_expect(!was_looked_up(opened != nullptr) || !may_be_view(path), 1)) return opened;
    return stream_instead(opened, path, mode, before);
}

}  // namespace

MUSTER_EXPORT FILE* fopen(const char* path, const char* mode) {
    return fopen_by(next_calls.fopen, "fopen", path, mode);
}
MUSTER_EXPORT FILE* fopen64(const char* path, const char* mode) {
    return fopen_by(next_calls.fopen64, "fopen64", path, mode);
}
