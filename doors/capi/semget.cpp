// SOURCE semget(2).
#include "process_domain.hpp"
#include "sysv_sem.hpp"

namespace muster::capi {
namespace {

struct Wanted {
    std::uint32_t semaphores;
    OpenSet* made;
    const objects::Domain* domain;
    objects::SysvRegistry* registry;
    const objects::SysvLimits* limits;
};

platform::Outcome<memory::ObjectHeader*> build(void* context, int fd) {
    auto* wanted = static_cast<Wanted*>(context);
    if (wanted->semaphores == 0) return platform::Fault{EINVAL, "a new set needs at least one semaphore"};
    if (wanted->limits->semmns < objects::SysvLimits{}.semmns && objects::SemaphoreSet::count_all(*wanted->registry) + wanted->semaphores > wanted->limits->semmns)
        return platform::Fault{ENOSPC, "the domain's limit of semaphores is reached"};
    if (wanted->made == nullptr) wanted->made = set_table.make();
    if (wanted->made == nullptr) return platform::Fault{ENOMEM};
    if (auto created = wanted->made->object.create(fd, wanted->semaphores); !created) return created.fault();
    wanted->made->object.publish_ready();
    return &wanted->made->object.object();
}

platform::Outcome<> fits(void* context, const objects::SysvFile& existing) {
    const auto* wanted = static_cast<Wanted*>(context);
    std::uint32_t semaphores = 0;
    if (platform::read_at(existing.file.fd(), &semaphores, sizeof semaphores, offsetof(objects::SemaphoreHeader, semaphores)) != sizeof semaphores)
        return platform::Fault{EINVAL, "the set's file is damaged"};
    if (wanted->semaphores > semaphores) return platform::Fault{EINVAL, "the existing set has fewer semaphores"};
    return platform::done();
}

}  // namespace
}  // namespace muster::capi

MUSTER_EXPORT int semget(key_t key, int semaphores, int flags) noexcept {
    using namespace muster;
    using namespace muster::capi;
    const int saved = errno;
    auto registry = semaphore_registry(true);
    if (!registry) return fail_sem(registry.fault().errno_value);
    auto domain = process_domain(true);
    if (!domain) return fail_sem(domain.fault().errno_value);
    const objects::SysvLimits limits = objects::SysvLimits::of(**domain);
    if (semaphores < 0 || static_cast<std::uint64_t>(semaphores) > limits.semmsl) return fail_sem(EINVAL);
    Wanted wanted{static_cast<std::uint32_t>(semaphores), nullptr, *domain, *registry, &limits};
    const objects::SysvMaker maker{&build, &fits, nullptr, &wanted};
    auto found = (*registry)->get(objects::SysvKind::sem, static_cast<std::uint32_t>(key), flags, limits.semmni, maker);
    if (found && found->created && wanted.made != nullptr) set_table.enter(wanted.made, found->id);
    else set_table.discard(wanted.made);
    if (!found) return fail_sem(found.fault().errno_value);
    errno = saved;
    return found->id;
}
