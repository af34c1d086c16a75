#include "process_domain.hpp"
#include <atomic>
#include <new>
#include "private_lock.hpp"

namespace muster::capi {
namespace {

char path[objects::Domain::kPathBytesMax];
bool path_known = false;
// One after the other: a thread may still look at the one before.
constexpr unsigned kReopenings = 64;
alignas(objects::Domain) unsigned char storage[kReopenings][sizeof(objects::Domain)];
unsigned reopened = 0;
std::atomic<objects::Domain*> domain{nullptr};
PrivateLock opening;

void decide_path() {
    if (!path_known) objects::Domain::default_path(path);
    path_known = true;
}

// Early, so that a program that changes its root or its user keeps its domain.
__attribute__((constructor)) void open_at_start() {
    decide_path();
    (void)process_domain(false);
}

}  // namespace

platform::Outcome<objects::Domain*> process_domain(bool create) {
    objects::Domain* open = domain.load(std::memory_order_acquire);
    if (open != nullptr && open->still_open()) return open;
    PrivateLock::Hold hold(opening);
    open = domain.load(std::memory_order_acquire);
    if (open != nullptr && open->still_open()) return open;
    // What was not there when the library was loaded is made for the user who makes it.
    if (domain.load(std::memory_order_relaxed) == nullptr) path_known = false;
    decide_path();
    auto opened = objects::Domain::open(path, create);
    if (!opened) return opened.fault();
    // A descriptor that the program closed may be its own by now: it is not ours to close.
    if (open != nullptr) open->abandon();
    domain.store(new (storage[reopened++ % kReopenings]) objects::Domain(std::move(*opened)), std::memory_order_release);
    return domain.load(std::memory_order_acquire);
}

bool is_domain_descriptor(int descriptor) {
    objects::Domain* open = domain.load(std::memory_order_acquire);
    return open != nullptr && open->directory() == descriptor && open->still_open();
}

std::uint64_t domain_device() {
    objects::Domain* open = domain.load(std::memory_order_acquire);
    return open != nullptr ? open->device() : 0;
}

}  // namespace muster::capi
