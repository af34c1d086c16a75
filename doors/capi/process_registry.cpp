#include "process_registry.hpp"
#include <new>
#include "private_lock.hpp"
#include "process_domain.hpp"

namespace muster::capi {
namespace {

// Never destroyed: programs remove their objects in their last handlers. A domain that was opened anew, because the program
// had closed its descriptor, gets a registry of its own; some thread may still be using the one before.
struct Registered {
    explicit Registered(objects::Domain& its_domain) : domain(&its_domain), registry(its_domain) {}
    objects::Domain* domain;
    objects::SysvRegistry registry;
};
constexpr unsigned kKept = 64;
alignas(Registered) unsigned char storage[kKept][sizeof(Registered)];
unsigned made = 0;
constinit std::atomic<Registered*> current{nullptr};
PrivateLock making;

}  // namespace

objects::SysvRegistry& registry_of(objects::Domain& domain) {
    Registered* known = current.load(std::memory_order_acquire);
    if (known != nullptr && known->domain == &domain) return known->registry;
    const PrivateLock::Hold hold(making);
    known = current.load(std::memory_order_acquire);
    if (known == nullptr || known->domain != &domain) {
        known = new (storage[made++ % kKept]) Registered(domain);
        current.store(known, std::memory_order_release);
    }
    return known->registry;
}

platform::Outcome<objects::SysvRegistry*> process_registry(bool create) {
    auto domain = process_domain(create);
    if (!domain) return domain.fault();
    return &registry_of(**domain);
}

}  // namespace muster::capi
