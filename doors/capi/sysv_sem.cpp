#include "sysv_sem.hpp"
#include "objects/limits.hpp"
#include "process_domain.hpp"

namespace muster::capi {
using platform::Outcome;

constinit SetTable set_table;
objects::ProcessLives process_lives;

namespace {

// The registry last used: to be asked without a system call.
constinit std::atomic<objects::SysvRegistry*> last_registry{nullptr};

// The undo of this process belongs to it, whatever program it executes: the end of this one has to be noticed as well.
__attribute__((constructor)) void resume_lives() {
    auto domain = process_domain(false);
    if (!domain) return;
    process_lives.attach(**domain);
    if (process_lives.open(false)) process_lives.resume(platform::current_thread());
}

}  // namespace

Outcome<objects::SysvRegistry*> semaphore_registry(bool create) {
    auto domain = process_domain(create);
    if (!domain) return domain.fault();
    process_lives.attach(**domain);
    auto names = process_registry(create);
    if (names) last_registry.store(*names, std::memory_order_release);
    return names;
}

std::uint32_t operations_max() {
    objects::SysvRegistry* names = last_registry.load(std::memory_order_acquire);
    if (names == nullptr) {
        auto found = semaphore_registry(false);
        if (!found) return objects::kSemaphoreOpsMax;
        names = *found;
    }
    if (!names->semaphore_limits_set()) return objects::kSemaphoreOpsMax;
    auto domain = process_domain(false);
    const objects::LimitFile* limit = objects::find_limit_file("sem");
    return domain && limit != nullptr ? static_cast<std::uint32_t>(objects::read_limit(**domain, *limit).number[2]) : objects::kSemaphoreOpsMax;
}

Outcome<SetHold> hold_set(int id) {
    if (auto names = semaphore_registry(false); !names) return platform::Fault{EINVAL, "there is no such semaphore set"};
    return set_table.hold(id);
}

}  // namespace muster::capi
