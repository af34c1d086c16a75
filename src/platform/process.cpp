#include "platform/process.hpp"
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

bool thread_exists(std::uint32_t thread_id) {
    if (system_call(SYS_tkill, thread_id, 0) == -ESRCH) return false;
    char path[32] = "/proc/";  // then the number and "/stat"
    char digits[12];
    int count = 0;
    for (std::uint32_t rest = thread_id; count == 0 || rest != 0; rest /= 10) digits[count++] = static_cast<char>('0' + rest % 10);
    char* at = path + 6;
    while (count > 0) *at++ = digits[--count];
    for (const char* tail = "/stat"; (*at++ = *tail) != 0; ++tail) {}
    File file(open_at(AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
    char text[512];
    const long got = file.fd() >= 0 ? read_file(file.fd(), text, sizeof text) : 0;
    // "pid (name) S …": the name may hold anything, the state follows the last parenthesis.
    long close = got - 1;
    while (close >= 0 && text[close] != ')') --close;
    if (close < 0 || close + 2 >= got) return true;  // no /proc: nothing says that it is dead
    return text[close + 2] != 'Z' && text[close + 2] != 'X';
}

}  // namespace muster::platform
