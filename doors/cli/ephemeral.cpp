#include "ephemeral.hpp"
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include "failure.hpp"
#include "identity.hpp"
#include "output.hpp"

namespace muster::cli {
namespace {

constexpr const char* kRecord = "/ephemeral";

std::optional<ProcessIdentity> recorded_owner(const std::string& directory) {
    std::ifstream file(directory + kRecord);
    ProcessIdentity owner;
    std::string pid, start, pidns;
    if (!(file >> pid >> owner.pid >> start >> owner.start_time >> pidns >> owner.pid_namespace)) return {};
    if (pid != "pid" || start != "start" || pidns != "pidns") return {};
    return owner;
}

std::uint64_t allocated_bytes(const std::string& directory) {
    std::uint64_t total = 0;
    std::error_code error;
    for (auto entry = std::filesystem::recursive_directory_iterator(directory, error);
         entry != std::filesystem::recursive_directory_iterator(); entry.increment(error)) {
        struct stat status {};
        if (error) break;
        if (::lstat(entry->path().c_str(), &status) == 0 && S_ISREG(status.st_mode))
            total += static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    return total;
}

}  // namespace

void record_owner(const Domain& domain) {
    const ProcessIdentity me = this_process();
    const std::string path = domain.path() + kRecord, fresh = path + ".new";
    const std::string text = fmt::format("pid {}\nstart {}\npidns {}\n", me.pid, me.start_time, me.pid_namespace);
    const Descriptor file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    int error = file.get() < 0 ? errno : write_all(file.get(), text);
    if (error == 0 && ::rename(fresh.c_str(), path.c_str()) != 0) error = errno;
    if (error != 0) {
        ::unlink(fresh.c_str());
        fail(kError, fmt::format("{}: {}", path, std::strerror(error)));
    }
}

Result<> remove_ephemeral(const Domain& domain) {
    const std::string directory = domain.path();
    const auto removed = domain.remove();
    struct stat status {};
    if (::lstat(directory.c_str(), &status) != 0) return ok();
    // The record and the link to the library are this command's files, so the library may have left the directory for their sake.
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
        const std::string name = entry.path().filename().string();
        if (name == "ephemeral.new" || name.rfind(".muster-", 0) == 0) ::unlink(entry.path().c_str());
    }
    ::unlink((directory + kRecord).c_str());
    if (::rmdir(directory.c_str()) == 0 || errno == ENOENT) return ok();
    return removed ? Result<>(Error(errno, directory, "")) : removed;
}

std::vector<Finding> collect_ephemeral(bool remove) {
    std::vector<Finding> findings;
    const std::string prefix = fmt::format("muster-{}-e-", ::geteuid());
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/dev/shm", error)) {
        const std::string path = entry.path().string();
        struct stat status {};
        if (entry.path().filename().string().rfind(prefix, 0) != 0 || ::lstat(path.c_str(), &status) != 0) continue;
        if (!S_ISDIR(status.st_mode) || status.st_uid != ::geteuid()) continue;
        Finding finding{path, "", allocated_bytes(path), false};
        const auto owner = recorded_owner(path);
        if (!owner) {
            finding.what = "ephemeral domain of an unknown owner; left alone, remove it if you know that nobody uses it";
            findings.push_back(std::move(finding));
            continue;
        }
        const Life life = life_of(*owner);
        if (life == Life::alive) continue;
        if (life == Life::unknown) {
            finding.what = fmt::format(
                "ephemeral domain of process {}, which cannot be judged from here (another pid namespace); left alone",
                owner->pid);
        } else {
            finding.what = fmt::format("ephemeral domain of process {}, which is dead", owner->pid);
            if (remove) {
                const auto domain = Domain::open(path);
                const auto removed = domain ? remove_ephemeral(*domain) : Result<>(domain.error());
                finding.repaired = removed.has_value();
                if (!removed) finding.what += "; cannot be removed: " + removed.error().message();
            }
        }
        findings.push_back(std::move(finding));
    }
    std::sort(findings.begin(), findings.end(), [](const Finding& a, const Finding& b) { return a.path < b.path; });
    return findings;
}

}  // namespace muster::cli
