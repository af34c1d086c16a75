#include "platform/process.hpp"
#include <linux/capability.h>
#include <cerrno>
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

namespace {
// The state letter of /proc/<id>/stat; 0 where there is none to read. No snprintf: this runs inside critical sections.
char thread_state(std::uint32_t thread_id) {
    char path[32] = "/proc/";
    char digits[12];
    int count = 0;
    for (std::uint32_t rest = thread_id; count == 0 || rest != 0; rest /= 10) digits[count++] = static_cast<char>('0' + rest % 10);
    char* at = path + 6;
    while (count > 0) *at++ = digits[--count];
    for (const char* tail = "/stat"; (*at++ = *tail) != 0; ++tail) {}
    File file(open_at(AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
    if (file.fd() < 0) return 0;
    char text[64];  // "id (name of at most 15 characters) S": the name may hold anything, the state follows its end
    const long got = read_file(file.fd(), text, sizeof text);
    long close = got - 1;
    while (close >= 0 && text[close] != ')') --close;
    return close >= 0 && close + 2 < got ? text[close + 2] : static_cast<char>(0);
}
}  // namespace

bool thread_exists(std::uint32_t thread_id) {
    if (system_call(SYS_tkill, thread_id, 0) == -ESRCH) return false;
    const char state = thread_state(thread_id);
    return state != 'Z' && state != 'X';
}

bool thread_stopped(std::uint32_t thread_id) {
    const char state = thread_state(thread_id);
    return state == 'T' || state == 't' || state == 'Z' || state == 'X' || state == 0;
}

bool may_exceed_limits() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2] = {};
    if (system_call(SYS_capget, &header, data) != 0) return effective_user() == 0;
    return (data[0].effective & 1u << CAP_SYS_RESOURCE) != 0;
}

}  // namespace muster::platform
