#include "platform/process.hpp"
#include "platform/file.hpp"

namespace muster::platform {

bool in_group(std::uint32_t group) {
    if (effective_group() == group) return true;
    gid_t groups[256];
    const long count = system_call(SYS_getgroups, 256, groups);
    if (count == -22 /* EINVAL: more than that */) {
        const long all = system_call(SYS_getgroups, 0, 0);
        const long page = map_private_zeroes(static_cast<std::uint64_t>(all) * sizeof(gid_t));
        if (page < 0 && page > -4096) return false;
        auto* many = reinterpret_cast<gid_t*>(page);
        const long got = system_call(SYS_getgroups, all, many);
        bool found = false;
        for (long i = 0; i < got; ++i) found = found || many[i] == group;
        unmap(many, static_cast<std::uint64_t>(all) * sizeof(gid_t));
        return found;
    }
    for (long i = 0; i < count; ++i)
        if (groups[i] == group) return true;
    return false;
}

std::uint64_t pid_namespace() {
    struct stat status;
    return file_status_at(AT_FDCWD, "/proc/self/ns/pid", &status, 0) == 0 ? status.st_ino : 0;
}

}  // namespace muster::platform
