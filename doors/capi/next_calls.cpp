#include "next_calls.hpp"
#include <dlfcn.h>

namespace muster::capi {

constinit NextCalls next_calls{};

namespace {

template <class Call>
void find(Call*& call, const char* name) {
    call = reinterpret_cast<Call*>(dlsym(RTLD_NEXT, name));
}

__attribute__((constructor(101))) void find_next_calls() {
    find(next_calls.open, "open");
    find(next_calls.open64, "open64");
    find(next_calls.openat, "openat");
    find(next_calls.openat64, "openat64");
    find(next_calls.open_2, "__open_2");
    find(next_calls.openat_2, "__openat_2");
    find(next_calls.fopen, "fopen");
    find(next_calls.fopen64, "fopen64");
    find(next_calls.close, "close");
    find(next_calls.fcntl, "fcntl64");
    find(next_calls.read, "read");
    find(next_calls.pread, "pread64");
    find(next_calls.readv, "readv");
    find(next_calls.preadv, "preadv64");
    find(next_calls.write, "write");
    find(next_calls.pwrite, "pwrite64");
    find(next_calls.writev, "writev");
    find(next_calls.pwritev, "pwritev64");
    find(next_calls.poll, "poll");
    find(next_calls.ppoll, "ppoll");
    find(next_calls.select, "select");
    find(next_calls.pselect, "pselect");
}

}  // namespace
}  // namespace muster::capi
