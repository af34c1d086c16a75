#include "doctor_checks.hpp"
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include "output.hpp"
#include "text.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

using Found = std::vector<Advice>;

bool is_shared(const Domain& domain) {
    struct stat status {};
    return ::stat(domain.path().c_str(), &status) == 0 && (status.st_mode & 0022) != 0;
}

// ---- the domain and its file system ----

Found check_domain(const Patient& patient) {
    if (!patient.domain)
        return {{"domain", patient.why_not, "without its directory there are no objects",
                 "muster --domain test domain      (another one; or mend the directory as said)"}};
    const std::string& path = patient.domain->path();
    Found found;
    if (::access(path.c_str(), W_OK | X_OK) != 0)
        found.push_back({"domain", fmt::format("{}: {}", path, std::strerror(errno)), "nothing can be made there",
                         fmt::format("chmod u+rwx {}", path)});
    return found;
}

Found check_space(const Patient& patient) {
    constexpr std::uint64_t kSmallBytes = 128ull << 20, kFullBytes = 16ull << 20, kInodesFew = 1000;
    struct statfs status {};
    if (!patient.domain || ::statfs(patient.domain->path().c_str(), &status) != 0) return {};
    const std::string& path = patient.domain->path();
    const auto block = static_cast<std::uint64_t>(status.f_bsize);
    const std::uint64_t size = status.f_blocks * block, left = status.f_bavail * block;
    Found found;
    if (static_cast<unsigned long>(status.f_type) != TMPFS_MAGIC)
        found.push_back({"file-system", fmt::format("{} is not in tmpfs", path),
                         "every change is written to a disk some time, and objects outlive a restart though their users do not",
                         "muster --domain NAME …      (a bare name lies in /dev/shm)"});
    else if (size != 0 && size < kSmallBytes)
        found.push_back(
            {"space", fmt::format("{}: the file system has {} in all, {} free", path, human_bytes(size), human_bytes(left)),
             "all objects share it, and what does not fit fails with ENOSPC; containers are given 64 MiB unless told otherwise",
             "mount -o remount,size=1G /dev/shm      (Docker: docker run --shm-size=1g)"});
    if (size != 0 && left < std::min(kFullBytes, size / 10))
        found.push_back({"space", fmt::format("{}: only {} are free", path, human_bytes(left)),
                         "sends and new objects will fail with ENOSPC", "muster gc; muster ls --kernel"});
    if (status.f_files != 0 && status.f_ffree < kInodesFew)
        found.push_back({"inodes", fmt::format("{}: only {} more files are possible", path, status.f_ffree),
                         "every object is a file or two", "mount -o remount,nr_inodes=1M /dev/shm"});
    return found;
}

Found check_nameless_files(const Patient& patient) {
    if (!patient.domain) return {};
    const Descriptor file(::open(patient.domain->path().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (file.get() >= 0 || (errno != EOPNOTSUPP && errno != EISDIR)) return {};
    return {{"file-system", fmt::format("{}: the file system has no O_TMPFILE", patient.domain->path()),
             "objects are made without a name first, so that nobody sees half of one",
             "muster --domain NAME …      (a bare name lies in /dev/shm)"}};
}

Found check_objects(const Patient& patient) {
    if (!patient.domain) return {};
    const auto objects = patient.domain->list();
    if (!objects) return {};
    Found found;
    for (const ObjectInfo& object : *objects) {
        if (object.problem.empty()) continue;
        const bool ours = object.owner_uid == ::geteuid() || ::geteuid() == 0;
        if (!ours) continue;
        found.push_back({"objects", fmt::format("{}: {}", escaped(object.name), escaped(object.problem)),
                         "nobody can use it: it is damaged, or of another version of Muster",
                         object.name.front() == '/' ? fmt::format("muster fsck --repair {0}; muster rm {0}", escaped(object.name))
                                                    : fmt::format("rm {}", escaped(object.path))});
    }
    return found;
}

// ---- the system ----

// The last value of `key` in the [Login] files, as systemd reads them; empty: none says anything.
std::string logind_setting(const std::string& root, const std::string& key) {
    std::vector<std::filesystem::path> files{root + "/usr/lib/systemd/logind.conf", root + "/etc/systemd/logind.conf"};
    std::vector<std::filesystem::path> parts;
    for (const char* directory : {"/usr/lib/systemd/logind.conf.d", "/run/systemd/logind.conf.d", "/etc/systemd/logind.conf.d"}) {
        std::error_code error;
        for (const auto& entry : std::filesystem::directory_iterator(root + directory, error))
            if (entry.path().extension() == ".conf") parts.push_back(entry.path());
    }
    std::sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.filename() < b.filename(); });
    files.insert(files.end(), parts.begin(), parts.end());
    std::string value;
    for (const auto& path : files) {
        std::ifstream file(path);
        for (std::string line; std::getline(file, line);) {
            std::erase_if(line, [](unsigned char c) { return std::isspace(c) != 0; });
            if (line.rfind(key + "=", 0) == 0) value = line.substr(key.size() + 1);
        }
    }
    std::transform(value.begin(), value.end(), value.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return value;
}

// SOURCE logind.conf(5): when a user's last session ends, what that user owns in /dev/shm is removed; system users are spared.
Found check_remove_ipc(const Patient& patient) {
    constexpr uid_t kSystemUsers = 1000;
    if (!patient.domain || patient.domain->path().rfind("/dev/shm/", 0) != 0) return {};
    const uid_t user = ::geteuid();
    if (user < kSystemUsers && !is_shared(*patient.domain)) return {};
    std::error_code error;
    if (std::filesystem::exists(patient.root + "/var/lib/systemd/linger/" + user_name(user), error)) return {};
    const std::string value = logind_setting(patient.root, "RemoveIPC");
    const bool running = std::filesystem::exists(patient.root + "/run/systemd/system", error);
    const bool on = value.empty() ? running : value == "yes" || value == "true" || value == "on" || value == "1";
    if (!on) return {};
    return {
        {"remove-ipc", fmt::format("RemoveIPC={} in logind.conf", value.empty() ? "yes, as it is unless set," : value),
         "when a user's last session ends, logind removes the files which that user owns in /dev/shm, objects in use among them",
         user < kSystemUsers ? "mkdir -p /etc/systemd/logind.conf.d && printf '[Login]\\nRemoveIPC=no\\n' "
                               ">/etc/systemd/logind.conf.d/muster.conf && systemctl restart systemd-logind"
                             : fmt::format("loginctl enable-linger {}", user_name(user))}};
}

// SOURCE proc_sys_fs(5). protected_hardlinks and protected_symlinks do no harm: only one's own files are linked, and no link is
// followed.
Found check_protected_regular(const Patient& patient) {
    if (!patient.domain || !is_shared(*patient.domain)) return {};
    int value = 0;
    std::ifstream(patient.root + "/proc/sys/fs/protected_regular") >> value;
    const auto objects = patient.domain->list();
    if (value == 0 || !objects) return {};
    const bool any = std::any_of(objects->begin(), objects->end(), [](const ObjectInfo& object) {
        return (object.kind == ObjectKind::posix_shared_memory || object.kind == ObjectKind::posix_semaphore) &&
               (object.mode & 0022) != 0;
    });
    if (!any) return {};
    return {{"protected-regular", fmt::format("fs.protected_regular is {}", value),
             "in a domain of several users, shm_open and sem_open with O_CREAT of another user's object say EACCES, though its "
             "mode allows it",
             "sysctl fs.protected_regular=0      (or let programs open without O_CREAT first)"}};
}

Found check_limits(const Patient&) {
    constexpr std::uint64_t kFileBytesLeast = 64ull << 20, kDescriptorsLeast = 256, kAddressesLeast = 1ull << 30;
    Found found;
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < kFileBytesLeast)
        found.push_back({"file-size", fmt::format("files may have {} at most (ulimit -f)", human_bytes(limit.rlim_cur)),
                         "objects are sparse files: a semaphore set has 34 MiB of addresses though it takes a page of memory",
                         "ulimit -f unlimited"});
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < kDescriptorsLeast)
        found.push_back({"descriptors", fmt::format("a process may have {} descriptors (ulimit -n)", limit.rlim_cur),
                         "each open message queue is one, and the library keeps a handful", "ulimit -n 1024"});
    if (::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur < kAddressesLeast)
        found.push_back({"addresses", fmt::format("a process may map {} (ulimit -v)", human_bytes(limit.rlim_cur)),
                         "every open object is mapped as a whole, however little memory it takes", "ulimit -v unlimited"});
    return found;
}

// A call that must exist and be allowed: answers anything but ENOSYS and EPERM.
bool refused(long result) {
    return result < 0 && (errno == ENOSYS || errno == EPERM);
}

Found check_calls(const Patient& patient) {
    constexpr long kFutexWaitv = 449;  // one number on every architecture
    constexpr const char* kFilter =
        "allow the call in the container's seccomp profile      (Docker: --security-opt seccomp=profile.json)";
    Found found;
    if (refused(::syscall(kFutexWaitv, nullptr, 0, 0, nullptr, 0)))
        found.push_back({"futex-waitv", fmt::format("futex_waitv: {}", std::strerror(errno)),
                         "without it a sleeper learns of a neighbour's death up to 50 ms late",
                         errno == EPERM ? kFilter : "a kernel from 5.16 on"});
    robust_list_head* head = nullptr;
    std::size_t length = 0;
    if (refused(::syscall(SYS_get_robust_list, 0, &head, &length)))
        found.push_back({"robust-list", fmt::format("get_robust_list: {}", std::strerror(errno)),
                         "the death of a process inside an operation would go unnoticed", kFilter});
    char from = 'x', to = 0;
    iovec local{&to, 1}, remote{&from, 1};
    if (refused(::process_vm_readv(::getpid(), &local, 1, &remote, 1, 0)))
        found.push_back({"process-vm", fmt::format("process_vm_readv of one's own memory: {}", std::strerror(errno)),
                         "threads that block SIGSEGV copy through it, so that a bad pointer is EFAULT", kFilter});
    if (!patient.domain) return found;
    const Descriptor file(::open(patient.domain->path().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_len = 1;
    if (file.get() >= 0 && ::fcntl(file.get(), F_OFD_GETLK, &lock) != 0)
        found.push_back({"locks", fmt::format("record locks in {}: {}", patient.domain->path(), std::strerror(errno)),
                         "they tell which processes with segments attached still live",
                         "muster --domain NAME …      (a bare name lies in /dev/shm)"});
    return found;
}

Found check_proc(const Patient& patient) {
    const std::string proc = patient.root + "/proc";
    char target[32] = {};
    if (::readlink((proc + "/self").c_str(), target, sizeof target - 1) <= 0)
        return {{"proc", "/proc is not mounted",
                 "it tells who is dead and who only looks so, and objects get their names through it",
                 "mount -t proc proc /proc"}};
    if (patient.root.empty() && std::to_string(::getpid()) != target)
        return {{"proc", "/proc shows another pid namespace than this process's", "the living would be taken for dead",
                 "mount -t proc proc /proc"}};
    if (patient.domain && is_shared(*patient.domain) && ::geteuid() != 0 && ::access((proc + "/1/stat").c_str(), F_OK) != 0)
        return {{"proc", "/proc hides other users' processes (hidepid)",
                 "in a domain of several users their deaths are found late", "mount -o remount,hidepid=0 /proc"}};
    return {};
}

}  // namespace

Diagnosis examine(const Patient& patient) {
    Diagnosis diagnosis;
    for (const auto check : {check_domain, check_space, check_nameless_files, check_objects, check_remove_ipc,
                             check_protected_regular, check_limits, check_calls, check_proc}) {
        ++diagnosis.checks;
        for (Advice& advice : check(patient)) diagnosis.found.push_back(std::move(advice));
    }
    return diagnosis;
}

}  // namespace muster::cli
