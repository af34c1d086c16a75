#include "identity.hpp"
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

namespace muster::cli {
namespace {

struct StatLine {
    char state;
    std::uint64_t start_time;
};

// /proc/PID/stat: the name in parentheses may hold anything, so what counts is the last ')'.
// SOURCE proc(5): field 3 is the state, field 22 the start time.
std::optional<StatLine> read_stat(std::uint32_t pid) {
    std::ifstream file(fmt::format("/proc/{}/stat", pid));
    std::string line;
    if (!std::getline(file, line)) return {};
    std::size_t at = line.rfind(')');
    if (at == line.npos || at + 2 >= line.size()) return {};
    StatLine result{line[at + 2], 0};
    at += 2;
    for (int field = 3; field < 22; ++field) {
        at = line.find(' ', at);
        if (at == line.npos) return {};
        ++at;
    }
    const auto parsed = std::from_chars(line.data() + at, line.data() + line.size(), result.start_time);
    if (parsed.ec != std::errc{}) return {};
    return result;
}

std::uint64_t own_pid_namespace() {
    struct stat status {};
    return ::stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

}  // namespace

ProcessIdentity this_process() {
    ProcessIdentity me;
    me.pid = static_cast<std::uint32_t>(::getpid());
    if (const auto stat = read_stat(me.pid)) {
        me.start_time = stat->start_time;
        me.pid_namespace = own_pid_namespace();
    }
    return me;
}

Life life_of(const ProcessIdentity& process) {
    if (process.pid == 0 || process.pid > INT32_MAX || process.start_time == 0 || process.pid_namespace == 0)
        return Life::unknown;
    if (process.pid_namespace != own_pid_namespace()) return Life::unknown;
    if (const auto stat = read_stat(process.pid)) {
        if (stat->start_time != process.start_time) return Life::dead;
        return stat->state == 'Z' || stat->state == 'X' ? Life::dead : Life::alive;
    }
    // Nothing in /proc: only the kernel's word that there is no such process counts (hidepid hides the living).
    return ::kill(static_cast<pid_t>(process.pid), 0) != 0 && errno == ESRCH ? Life::dead : Life::unknown;
}

}  // namespace muster::cli
