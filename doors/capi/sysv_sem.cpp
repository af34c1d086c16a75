#include "sysv_sem.hpp"
#include <new>
#include "platform/file.hpp"
#include "private_lock.hpp"
#include "process_domain.hpp"

namespace muster::capi {
using platform::Fault;
using platform::Outcome;

constinit std::atomic<OpenSet*> open_sets[objects::kSysvIndexes]{};
objects::ProcessLives process_lives;

namespace {

PrivateLock table_lock;
// Sets given up, oldest first. The youngest are left alone for a while: a thread may just be looking at one.
OpenSet* oldest_free = nullptr;
OpenSet* youngest_free = nullptr;
unsigned free_count = 0;
constexpr unsigned kFreeKept = 64;
std::uint32_t next_swept = 0;

alignas(objects::SysvRegistry) unsigned char registry_storage[sizeof(objects::SysvRegistry)];
std::atomic<objects::SysvRegistry*> registry{nullptr};
std::atomic<objects::Domain*> registry_domain{nullptr};

// Table lock held.
void put_free(OpenSet* set) {
    set->next_free = nullptr;
    (youngest_free != nullptr ? youngest_free->next_free : oldest_free) = set;
    youngest_free = set;
    ++free_count;
}

bool is_live(OpenSet& set, int id) { return objects::SysvRegistry::is_live(set.set.object(), id); }

// Takes a set out of the table; the table's reference goes to the caller.
bool take_out(std::uint32_t index, OpenSet* expected) {
    return open_sets[index].compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel);
}

// A few of those that others removed are given up each time one is opened.
void sweep() {
    for (unsigned looked = 0; looked < 8; ++looked) {
        const std::uint32_t index = next_swept++ % objects::kSysvIndexes;
        OpenSet* open = open_sets[index].load(std::memory_order_acquire);
        if (open == nullptr) continue;
        SetHold held = hold_known_set(open->id.load(std::memory_order_acquire));
        if (held && !is_live(*open, open->id.load(std::memory_order_acquire)) && take_out(index, open)) release_set(open);
    }
}

// The undo of this process belongs to it, whatever program it executes: the end of this one has to be noticed as well.
__attribute__((constructor)) void resume_lives() {
    auto domain = process_domain(false);
    if (!domain) return;
    process_lives.attach(**domain);
    if (process_lives.open(false)) process_lives.resume(platform::current_thread());
}

}  // namespace

// The last reference is gone.
void give_up(OpenSet* set) {
    set->id.store(-1, std::memory_order_release);
    set->set.blank();
    PrivateLock::Hold hold(table_lock);
    put_free(set);
}

Outcome<objects::SysvRegistry*> sysv_sem_registry(bool create) {
    auto domain = process_domain(create);
    if (!domain) return domain.fault();
    objects::SysvRegistry* made = registry.load(std::memory_order_acquire);
    if (made != nullptr) return made;
    PrivateLock::Hold hold(table_lock);
    if (registry.load(std::memory_order_acquire) == nullptr) {
        process_lives.attach(**domain);
        registry.store(new (registry_storage) objects::SysvRegistry(**domain), std::memory_order_release);
    }
    return registry.load(std::memory_order_acquire);
}

OpenSet* new_set() {
    PrivateLock::Hold hold(table_lock);
    OpenSet* set = nullptr;
    if (free_count > kFreeKept) {
        set = oldest_free;
        oldest_free = set->next_free;
        if (oldest_free == nullptr) youngest_free = nullptr;
        --free_count;
    } else {
        static std::byte* chunk = nullptr;
        static std::size_t left = 0;
        if (left < sizeof(OpenSet)) {
            constexpr std::size_t kChunkBytes = 1 << 16;
            const long memory = platform::map_private_zeroes(kChunkBytes);
            if (memory < 0 && memory > -4096) return nullptr;
            chunk = reinterpret_cast<std::byte*>(memory);
            left = kChunkBytes;
        }
        set = reinterpret_cast<OpenSet*>(chunk);
        chunk += sizeof(OpenSet);
        left -= sizeof(OpenSet);
    }
    new (set) OpenSet();
    set->references.store(1, std::memory_order_relaxed);
    return set;
}

void discard_set(OpenSet* set) {
    if (set != nullptr) release_set(set);
}

void enter_set(OpenSet* set, int id) {
    set->id.store(id, std::memory_order_release);
    OpenSet* before = open_sets[objects::sysv_index(id)].exchange(set, std::memory_order_acq_rel);
    if (before != nullptr) release_set(before);
}

void forget_set(int id) {
    SetHold held = hold_known_set(id);
    if (held && take_out(objects::sysv_index(id), held.operator->())) release_set(held.operator->());
}

Outcome<SetHold> hold_set(int id) {
    if (id < 0) return Fault{EINVAL};
    {
        SetHold known = hold_known_set(id);
        if (known && is_live(*known.operator->(), id)) return SetHold(std::move(known));
        if (known) {
            if (take_out(objects::sysv_index(id), known.operator->())) release_set(known.operator->());
            return Fault{EINVAL, "the semaphore set was removed"};
        }
    }
    auto names = sysv_sem_registry(false);
    if (!names) return Fault{EINVAL, "there is no such semaphore set"};
    auto opened = (*names)->open(objects::SysvKind::sem, id);
    if (!opened) return Fault{opened.fault().errno_value == EIDRM ? EINVAL : opened.fault().errno_value};
    OpenSet* set = new_set();
    if (set == nullptr) return Fault{ENOMEM};
    if (auto mapped = set->set.open(opened->file.fd()); !mapped) {
        const int why = mapped.fault().errno_value;
        discard_set(set);
        return Fault{why == EBADMSG ? EINVAL : why, mapped.fault().rule};
    }
    set->references.store(2, std::memory_order_relaxed);  // the table's and ours
    enter_set(set, id);
    sweep();
    return SetHold(set);
}

bool ask_rights(OpenSet& set, std::uint32_t wanted) {
    // Asked again if either changes meanwhile: the numbers are read before.
    const std::uint64_t numbers = static_cast<std::uint64_t>(credential_changes.load(std::memory_order_acquire)) << 32 |
                                  (set.set.permission_changes() & 0xfffffffu) << 4;
    const objects::Permission permission = set.set.permission();
    std::uint64_t granted = 1;
    if (permission.allows(objects::kMayRead)) granted |= objects::kMayRead;
    if (permission.allows(objects::kMayWrite)) granted |= objects::kMayWrite;
    set.rights.store(numbers | granted, std::memory_order_relaxed);
    return (wanted & ~granted & 6) == 0;
}

}  // namespace muster::capi
