#include "shm_common.hpp"
#include <pthread.h>
#include "process_registry.hpp"

namespace muster::capi {
namespace {

// Never destroyed: programs detach in their last handlers.
template <class T>
union Kept {
    T object;
    template <class... Arguments>
    constexpr explicit Kept(Arguments... arguments) : object(arguments...) {}
    ~Kept() {}
};
constinit Kept<objects::Attachments> table(&process_domain, &segment_registry);

void before_fork() {
    table.object.before_fork();
}
void in_parent() {
    table.object.after_fork_in_parent();
}
void in_child() {
    table.object.after_fork_in_child();
}

__attribute__((constructor)) void watch_forks() {
    pthread_atfork(&before_fork, &in_parent, &in_child);
}
__attribute__((destructor)) void leave() {
    table.object.leave();
}

}  // namespace

objects::Attachments& attachments() {
    return table.object;
}

objects::SysvRegistry& segment_registry(objects::Domain& domain) {
    return registry_of(domain);
}

bool is_attachment_descriptor(int descriptor) {
    return table.object.is_life_descriptor(descriptor);
}

}  // namespace muster::capi
