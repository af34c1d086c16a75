#include "muster/domain.hpp"
#include <cstdio>
#include "implementation.hpp"
#include "objects/sysv_registry.hpp"
#include "platform/file.hpp"
#include "platform/process.hpp"

namespace muster {
using cpp::make_error;

namespace {

Result<Domain> open_path(const char* path) {
    auto opened = objects::Domain::open(path, true);
    if (!opened) return make_error(opened.fault(), path);
    return Domain(std::make_shared<Domain::Implementation>(Domain::Implementation{path, std::move(*opened)}));
}

}  // namespace

Result<Domain> Domain::open_default() {
    char path[objects::Domain::kPathBytesMax];
    objects::Domain::default_path(path);
    return open_path(path);
}

Result<Domain> Domain::open(std::string_view path_or_name) {
    char path[objects::Domain::kPathBytesMax];
    const std::string name(path_or_name);
    if (!objects::Domain::path_of(name.c_str(), path)) return make_error(ENAMETOOLONG, name.substr(0, 40) + "...", "the domain's path is too long");
    return open_path(path);
}

Result<Domain> Domain::create_ephemeral() {
    for (int tries = 0; tries < 100; ++tries) {
        std::uint64_t number = 0;
        if (platform::system_call(SYS_getrandom, &number, sizeof number, 0) != static_cast<long>(sizeof number)) number = static_cast<std::uint64_t>(platform::realtime_ns());
        char path[96];
        std::snprintf(path, sizeof path, "/dev/shm/muster-%u-e-%016llx", platform::effective_user(), static_cast<unsigned long long>(number));
        struct stat status;
        if (platform::file_status_at(AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW) == 0) continue;
        return open_path(path);
    }
    return make_error(EEXIST, "/dev/shm", "no free name for a domain could be found");
}

const std::string& Domain::path() const { return implementation_->path; }

Result<Limits> Domain::limits() const {
    const objects::DomainLimits limits = implementation_->domain.limits();
    const objects::SysvLimits sysv = objects::SysvLimits::of(implementation_->domain);
    return Limits{limits.msg_default, limits.msgsize_default, limits.msg_max, limits.msgsize_max, limits.queues_max,
                  sysv.msgmni,        sysv.msgmax,            sysv.msgmnb,    sysv.semmsl,        sysv.semmns,
                  sysv.semopm,        sysv.semmni,            sysv.shmmni,    sysv.shmmax,        sysv.shmall};
}

Result<> Domain::set_limit(std::string_view name, std::uint64_t value) const {
    if (auto set = objects::Domain::set_limit(implementation_->domain, std::string(name).c_str(), value); !set)
        return make_error(set.fault(), std::string(name));
    return ok();
}

Result<> Domain::remove() const {
    const objects::Domain& core = implementation_->domain;
    int first_problem = 0;
    const auto note = [&](int rc) {
        if (rc < 0 && rc != -ENOENT && first_problem == 0) first_problem = -rc;
    };
    for (const std::string& name : cpp::entries(core, ".")) {
        struct stat status {};
        if (platform::file_status_at(core.directory(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) continue;
        if (!S_ISDIR(status.st_mode)) {
            note(platform::remove_name(core.directory(), name.c_str()));
            continue;
        }
        for (const std::string& inner : cpp::entries(core, name.c_str())) note(platform::remove_name(core.directory(), (name + "/" + inner).c_str()));
        note(platform::remove_name(core.directory(), name.c_str(), AT_REMOVEDIR));
    }
    note(platform::remove_name(AT_FDCWD, implementation_->path.c_str(), AT_REMOVEDIR));
    if (first_problem != 0) return make_error(first_problem, implementation_->path, "part of the domain could not be removed");
    return ok();
}

}  // namespace muster
