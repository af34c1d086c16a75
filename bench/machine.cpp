#include "machine.hpp"

#include <gnu/libc-version.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <fmt/format.h>
#include <fstream>

#if defined(MUSTER_BENCH_BOOST)
#include <boost/version.hpp>
#endif

#include "stamp.hpp"

namespace muster::bench {
namespace {

std::string read_line(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

bool write_line(const std::string& path, const std::string& value) {
    std::ofstream file(path);
    file << value << std::flush;
    return file.good();
}

std::string cpu_model() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
    return "unknown CPU";
}

}  // namespace

Machine describe_machine() {
    Machine machine;
    utsname names{};
    uname(&names);
    machine.cpu = cpu_model();
    machine.cpus = allowed_cpus().size();
    machine.kernel = fmt::format("{} {} {}", names.sysname, names.release, names.machine);
#if defined(__clang__)
    machine.compiler = "clang " __clang_version__;
#else
    machine.compiler = "GCC " __VERSION__;
#endif
    machine.flags = MUSTER_BENCH_FLAGS;
    machine.libraries = fmt::format("glibc {}", gnu_get_libc_version());
#if defined(MUSTER_BENCH_BOOST)
    machine.libraries += fmt::format(", Boost {}.{}.{}", BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000, BOOST_VERSION % 100);
#endif
    return machine;
}

const std::vector<int>& allowed_cpus() {
    static const std::vector<int> cpus = [] {
        cpu_set_t set;
        CPU_ZERO(&set);
        std::vector<int> found;
        if (sched_getaffinity(0, sizeof set, &set) != 0) return std::vector<int>{0};
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
            if (CPU_ISSET(static_cast<unsigned>(cpu), &set)) found.push_back(cpu);
        return found;
    }();
    return cpus;
}

void pin_to(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<unsigned>(cpu), &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) throw Failure(fmt::format("cannot run on CPU {}", cpu));
}

KernelLimits::KernelLimits() {
    const bool own_namespace = unshare(CLONE_NEWIPC) == 0;
    const std::string directory = "/proc/sys/fs/mqueue/";
    for (const auto& [name, value] : {std::pair{"msg_max", "16384"}, std::pair{"msgsize_max", "1048576"}}) {
        const std::string before = read_line(directory + name);
        if (write_line(directory + name, value) && !own_namespace) saved_.push_back({directory + name, before});
    }
    rlimit limit{};
    getrlimit(RLIMIT_MSGQUEUE, &limit);
    const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
    if (setrlimit(RLIMIT_MSGQUEUE, &unlimited) != 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_MSGQUEUE, &limit);
    }
    getrlimit(RLIMIT_MSGQUEUE, &limit);
    description_ = fmt::format("msg_max {}, msgsize_max {}, RLIMIT_MSGQUEUE {}{}", read_line(directory + "msg_max"),
                               read_line(directory + "msgsize_max"),
                               limit.rlim_cur == RLIM_INFINITY ? "unlimited" : fmt::format("{} bytes", limit.rlim_cur),
                               own_namespace ? ", in an IPC namespace of its own" : "");
}

KernelLimits::~KernelLimits() {
    for (const Saved& s : saved_) write_line(s.path, s.value);
}

}  // namespace muster::bench
