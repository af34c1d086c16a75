// The hints: which indexes are used, and which are to be looked at again. Wrong ones cost time, never an object.
#include <bit>
#include <cstdlib>
#include <cstring>
#include "objects/sysv_registry_inner.hpp"
#include "platform/mapping_damage.hpp"
#include "platform/process.hpp"

namespace muster::objects {
using memory::ObjectHeader;
using platform::Fault;
using platform::File;
using platform::Outcome;
using namespace sysv;

namespace {

constexpr std::uint64_t kHintMagic = 0x31544e49'4852554dULL;  // "MURHINT1"
constexpr std::uint64_t kHintFileBytes = 12288;
constexpr std::uint32_t kCycleMin = 64;  // SOURCE the kernel's ipc_min_cycle: indexes go round at least that many

}  // namespace

SysvRegistry::~SysvRegistry() {
    for (std::atomic<int>& spare : spares_) {
        const File closed(spare.exchange(-1));
    }
    for (HintPlace& place : hints_) {
        Hints* mapped = place.mapped.load(std::memory_order_acquire);
        if (mapped == nullptr) continue;
        platform::unregister_shared_mapping(mapped);
        platform::unmap(mapped, kHintFileBytes);
    }
}

void SysvRegistry::mark(SysvKind kind, std::uint32_t index) {
    if (Hints* known = hints(kind)) known->marked[index / 64].or_release(std::uint64_t{1} << (index % 64));
}

void SysvRegistry::unmark(SysvKind kind, std::uint32_t index) {
    if (Hints* known = hints(kind)) known->marked[index / 64].and_release(~(std::uint64_t{1} << (index % 64)));
}

int SysvRegistry::next_marked(SysvKind kind, std::uint32_t from) {
    const Hints* known = hints(kind);
    if (known == nullptr) return -1;
    while (from < kSysvIndexes) {
        const std::uint64_t rest =
            known->marked[from / 64].load_relaxed() & (~std::uint64_t{0} << (from % 64));  // relaxed: a hint
        if (rest != 0) return static_cast<int>(from / 64 * 64) + std::countr_zero(rest);
        from = from / 64 * 64 + 64;
    }
    return -1;
}

SysvRegistry::Hints* SysvRegistry::hints(SysvKind kind) {
    HintPlace& place = hints_[static_cast<std::uint32_t>(kind) % 3];
    if (place.damaged.load(std::memory_order_relaxed) != 0) return nullptr;
    Hints* mapped = place.mapped.load(std::memory_order_acquire);
    return mapped != nullptr ? mapped : map_hints(kind);
}

SysvRegistry::Hints* SysvRegistry::map_hints(SysvKind kind) {
    HintPlace& place = hints_[static_cast<std::uint32_t>(kind) % 3];
    const Name name = hint_name(kind);
    auto file = open_name(name.text, O_RDWR);
    const bool fresh = !file && file.fault().errno_value == ENOENT;
    if (fresh) {
        unsigned granted = 0;
        file = domain_.create_nameless(0600, &granted);
        if (!file) return nullptr;
        if (domain_.shared()) platform::change_mode(file->fd(), 0666);
        if (platform::truncate_file(file->fd(), kHintFileBytes) < 0 || platform::reserve_bytes(file->fd(), 0, kHintFileBytes) < 0)
            return nullptr;
    }
    if (!file) return nullptr;
    struct stat status;
    if (platform::file_status(file->fd(), &status) < 0 || !S_ISREG(status.st_mode) ||
        status.st_size != static_cast<off_t>(kHintFileBytes))
        return nullptr;
    const long at = platform::map_shared(file->fd(), kHintFileBytes, true);
    if (at < 0 && at > -4096) return nullptr;
    auto* made = reinterpret_cast<Hints*>(at);
    platform::register_shared_mapping(made, kHintFileBytes, &place.damaged);
    const auto give_up = [made] {
        platform::unregister_shared_mapping(made);
        platform::unmap(made, kHintFileBytes);
        return static_cast<Hints*>(nullptr);
    };
    if (fresh) {
        made->magic = kHintMagic;
        rebuild(kind, *made, false);
        auto published = domain_.publish(file->fd(), name.text);
        if (!published) {
            give_up();
            return published.fault().errno_value == EEXIST ? map_hints(kind) : nullptr;
        }
    } else if (made->magic != kHintMagic) {
        return give_up();
    }
    // After the publishing: who makes limits/sem looks for the hints afterwards, so one of us sees the other's file.
    if (kind == SysvKind::sem && name_exists(domain_, "limits/sem")) made->limits_set.store_release(1);
    Hints* before = nullptr;
    if (place.mapped.compare_exchange_strong(before, made, std::memory_order_acq_rel)) return made;
    give_up();
    return before;
}

bool SysvRegistry::semaphore_limits_set() {
    const Hints* known = hints(SysvKind::sem);
    return known == nullptr || known->limits_set.load_relaxed() != 0;  // relaxed: who is told of a new limit finds it in the file
}

void SysvRegistry::note_semaphore_limits(const Domain& domain) {
    const File file(platform::open_at(domain.directory(), hint_name(SysvKind::sem).text, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    std::uint64_t magic = 0;
    if (platform::read_at(file.fd(), &magic, sizeof magic, 0) != sizeof magic || magic != kHintMagic) return;
    const std::uint32_t set = 1;
    platform::write_at(file.fd(), &set, sizeof set, offsetof(Hints, limits_set));
}

// SYNC-free on purpose: makers set the bit before and after they link, we look again after we cleared it.
void SysvRegistry::free_index(SysvKind kind, Hints& hints, std::uint32_t index) {
    const Name name = index_name(kind, index);
    if (name_exists(domain_, name.text)) return;
    const std::uint64_t bit = std::uint64_t{1} << (index % 64);
    hints.used[index / 64].and_release(~bit);
    if (name_exists(domain_, name.text)) hints.used[index / 64].or_release(bit);
}

void SysvRegistry::rebuild(SysvKind kind, Hints& hints, bool clear_leftovers) {
    std::uint64_t named[kSysvIndexes / 64] = {};
    bool any = false;
    for_each_entry(domain_.directory(), "sysv", [&](const char* name) {
        if (std::strncmp(name, kind_name(kind), 3) != 0 || name[3] != '-' || name[4] < '0' || name[4] > '9') return true;
        char* end = nullptr;
        const unsigned long index = std::strtoul(name + 4, &end, 10);
        if (*end != 0 || index >= kSysvIndexes) return true;
        any = true;
        named[index / 64] |= std::uint64_t{1} << (index % 64);
        return true;
    });
    // Without the old cursor nobody knows which sequences were given out: go on where none was for long.
    if (any && hints.cursor.load_relaxed() == 0)
        hints.cursor.store_release((static_cast<std::uint64_t>(platform::realtime_coarse_s()) % kSysvSequences) << 32);
    for (std::uint32_t index = 0; index < kSysvIndexes; ++index) {
        const std::uint64_t bit = std::uint64_t{1} << (index % 64);
        const bool exists = (named[index / 64] & bit) != 0;
        if (exists && (!clear_leftovers || !clear_leftover(kind, index)))
            hints.used[index / 64].or_release(bit);
        else if ((hints.used[index / 64].load_relaxed() & bit) != 0)
            free_index(kind, hints, index);
    }
}

std::uint32_t SysvRegistry::count(SysvKind kind) {
    std::uint32_t used = 0;
    if (Hints* known = hints(kind)) {
        for (const memory::ShmU64& word : known->used) used += static_cast<std::uint32_t>(std::popcount(word.load_relaxed()));
        return used;
    }
    for (int index = highest_index(kind); index >= 0; --index)
        used += name_exists(domain_, index_name(kind, static_cast<std::uint32_t>(index)).text);
    return used;
}

int SysvRegistry::highest_index(SysvKind kind) {
    Hints local{};
    Hints* known = hints(kind);
    if (known == nullptr) {
        known = &local;
        rebuild(kind, local, false);
    }
    for (std::uint32_t at = kSysvIndexes / 64; at-- > 0;) {
        for (std::uint64_t word = known->used[at].load_relaxed(); word != 0;) {
            const int bit = 63 - std::countl_zero(word);
            const std::uint32_t index = at * 64 + static_cast<std::uint32_t>(bit);
            if (name_exists(domain_, index_name(kind, index).text)) return static_cast<int>(index);
            free_index(kind, *known, index);
            word &= ~(std::uint64_t{1} << bit);
        }
    }
    return -1;
}

namespace {
// The first index from `from` up to `end` whose bit is clear; `end` if there is none.
std::uint32_t first_free(const memory::ShmU64* used, std::uint32_t from, std::uint32_t end) {
    while (from < end) {
        const std::uint64_t free_ones = ~used[from / 64].load_relaxed() & (~std::uint64_t{0} << (from % 64));  // relaxed: a hint
        if (free_ones != 0) {
            const std::uint32_t index = from / 64 * 64 + static_cast<std::uint32_t>(std::countr_zero(free_ones));
            return index < end ? index : end;
        }
        from = from / 64 * 64 + 64;
    }
    return end;
}
}  // namespace

Outcome<int> SysvRegistry::claim_index(SysvKind kind, int fd, ObjectHeader& header, std::uint64_t objects_max) {
    const auto most = static_cast<std::uint32_t>(objects_max < kSysvIndexes ? objects_max : kSysvIndexes);
    Hints local{};
    Hints* known = hints(kind);
    if (known == nullptr) {
        known = &local;
        rebuild(kind, local, false);
    }
    bool rebuilt = false;
    for (std::uint32_t tries = 0; tries < 4 * kSysvIndexes; ++tries) {
        std::uint32_t used = 0;
        for (const memory::ShmU64& word : known->used) used += static_cast<std::uint32_t>(std::popcount(word.load_relaxed()));
        // SOURCE ipc_idr_alloc() of the kernel: indexes go round a little more than as many as are used.
        std::uint32_t span = used + used / 2 > kCycleMin ? used + used / 2 : kCycleMin;
        if (span > most) span = most;
        std::uint64_t cursor = known->cursor.load_acquire();
        const std::uint32_t next = static_cast<std::uint32_t>(cursor) % kSysvIndexes;
        std::uint32_t sequence = static_cast<std::uint32_t>(cursor >> 32) % kSysvSequences;
        std::uint32_t index = used < most ? first_free(known->used, next, span) : span;
        if (index >= span && used < most) index = first_free(known->used, 0, span);
        if (index >= span && used < most) {
            index = first_free(known->used, span, most);
            span = most;
        }
        if (index >= span || used >= most) {
            if (rebuilt) return Fault{ENOSPC, "the limit of objects of this kind is reached"};
            rebuild(kind, *known, true);
            rebuilt = true;
            continue;
        }
        if (index < next) sequence = (sequence + 1) % kSysvSequences;
        if (!known->cursor.compare_exchange(cursor, std::uint64_t{sequence} << 32 | (index + 1))) continue;
        const std::uint64_t bit = std::uint64_t{1} << (index % 64);
        known->used[index / 64].or_release(bit);
        const int id = static_cast<int>(sequence * kSysvIndexes + index);
        sysv_id_word(header).store_release(static_cast<std::uint32_t>(id));
        const Name name = index_name(kind, index);
        auto linked = domain_.publish(fd, name.text);
        if (!linked && linked.fault().errno_value == EEXIST && clear_leftover(kind, index))
            linked = domain_.publish(fd, name.text);
        known->used[index / 64].or_release(bit);
        if (linked) return id;
        if (linked.fault().errno_value != EEXIST) {
            free_index(kind, *known, index);
            return linked.fault();
        }
    }
    return Fault{ENOSPC, "no index can be had"};
}

}  // namespace muster::objects
