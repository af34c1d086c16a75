#include "sysv_sem.hpp"
#include "process_domain.hpp"

namespace muster::capi {
using platform::Outcome;

constinit SetTable set_table;
objects::ProcessLives process_lives;

namespace {

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
    return process_registry(create);
}

Outcome<SetHold> hold_set(int id) {
    if (auto names = semaphore_registry(false); !names) return platform::Fault{EINVAL, "there is no such semaphore set"};
    return set_table.hold(id);
}

}  // namespace muster::capi
