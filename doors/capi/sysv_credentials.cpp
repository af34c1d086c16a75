// SOURCE credentials(7). The calls are the C library's, which tells all threads; here they are only noticed.
#include "sysv_credentials.hpp"
#include <dlfcn.h>
#include <grp.h>
#include <unistd.h>
#include <cerrno>
#include "export.hpp"

namespace muster::capi {
constinit std::atomic<std::uint32_t> credential_changes{1};
}  // namespace muster::capi

namespace {

template <class... Arguments>
int pass_on(std::atomic<void*>& known, const char* name, Arguments... arguments) {
    void* next = known.load(std::memory_order_relaxed);
    if (next == nullptr) {
        next = dlsym(RTLD_NEXT, name);
        if (next == nullptr) {
            errno = ENOSYS;
            return -1;
        }
        known.store(next, std::memory_order_relaxed);
    }
    const int result = reinterpret_cast<int (*)(Arguments...)>(next)(arguments...);
    muster::capi::note_credential_change();
    return result;
}

constinit std::atomic<void*> next_call[10]{};

}  // namespace

MUSTER_EXPORT int setuid(uid_t user) noexcept { return pass_on(next_call[0], "setuid", user); }
MUSTER_EXPORT int seteuid(uid_t user) noexcept { return pass_on(next_call[1], "seteuid", user); }
MUSTER_EXPORT int setreuid(uid_t real, uid_t effective) noexcept { return pass_on(next_call[2], "setreuid", real, effective); }
MUSTER_EXPORT int setresuid(uid_t real, uid_t effective, uid_t saved) noexcept { return pass_on(next_call[3], "setresuid", real, effective, saved); }
MUSTER_EXPORT int setgid(gid_t group) noexcept { return pass_on(next_call[4], "setgid", group); }
MUSTER_EXPORT int setegid(gid_t group) noexcept { return pass_on(next_call[5], "setegid", group); }
MUSTER_EXPORT int setregid(gid_t real, gid_t effective) noexcept { return pass_on(next_call[6], "setregid", real, effective); }
MUSTER_EXPORT int setresgid(gid_t real, gid_t effective, gid_t saved) noexcept { return pass_on(next_call[7], "setresgid", real, effective, saved); }
MUSTER_EXPORT int setgroups(size_t count, const gid_t* groups) noexcept { return pass_on(next_call[8], "setgroups", count, groups); }
MUSTER_EXPORT int initgroups(const char* user, gid_t group) { return pass_on(next_call[9], "initgroups", user, group); }
