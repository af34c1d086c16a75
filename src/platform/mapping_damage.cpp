#include "platform/mapping_damage.hpp"
#include <sys/uio.h>
#include "platform/file.hpp"
#include "platform/signals.hpp"

namespace muster::platform {

namespace {

// One mapping. `start` says what the slot is: 0 free, kClaimed being filled or emptied, else the mapping's first byte.
//
// INVARIANT A reader that finds the same `start` before and after it read the other fields has read a matching set.
struct Slot {
    std::atomic<std::uintptr_t> start;
    std::atomic<std::size_t> bytes;
    std::atomic<std::atomic<std::uint32_t>*> damaged;
};
constexpr std::uintptr_t kClaimed = 1;

// Hash tables of growing size, never moved and never given back: a reader needs no lock. A mapping lies in one of a
// few neighbouring slots of one of the tables.
constexpr unsigned kTables = 8;
constexpr unsigned kFirstTableBits = 8;
constexpr unsigned kProbes = 8;
constexpr unsigned table_bits(unsigned table) {
    return kFirstTableBits + 2 * table;
}
constexpr std::size_t table_slots(unsigned table) {
    return std::size_t{1} << table_bits(table);
}

constinit Slot first_table[table_slots(0)] = {};
constinit std::atomic<Slot*> tables[kTables] = {first_table};
constinit std::atomic<unsigned> largest_table = 0;

Slot& probe(Slot* slots, unsigned table, std::uintptr_t start, unsigned step) {
    const std::uint64_t hash = (static_cast<std::uint64_t>(start) >> 12) * 0x9e3779b97f4a7c15u;
    return slots[((hash >> (64 - table_bits(table))) + step) & (table_slots(table) - 1)];
}

bool insert(unsigned table, std::uintptr_t start, std::size_t bytes, std::atomic<std::uint32_t>* damaged) {
    Slot* slots = tables[table].load(std::memory_order_acquire);
    for (unsigned step = 0; step < kProbes; ++step) {
        Slot& slot = probe(slots, table, start, step);
        std::uintptr_t expected = 0;
        if (slot.start.load(std::memory_order_relaxed) != 0 ||
            !slot.start.compare_exchange_strong(expected, kClaimed, std::memory_order_acquire))
            continue;
        slot.bytes.store(bytes, std::memory_order_relaxed);
        slot.damaged.store(damaged, std::memory_order_relaxed);
        // SYNC mapping_damage.slot (release half). Carries: the slot's other fields. Pairs with find_damage_word().
        slot.start.store(start, std::memory_order_release);
        return true;
    }
    return false;
}

// Makes the next table, or finds that somebody has. False without memory.
bool grow(unsigned table) {
    if (tables[table].load(std::memory_order_acquire) == nullptr) {
        const std::size_t bytes = table_slots(table) * sizeof(Slot);
        const long mapped = map_private_zeroes(bytes);
        if (mapped < 0 && mapped > -4096) return false;
        Slot* expected = nullptr;
        if (!tables[table].compare_exchange_strong(expected, reinterpret_cast<Slot*>(mapped), std::memory_order_acq_rel))
            unmap(reinterpret_cast<void*>(mapped), bytes);
    }
    unsigned largest = largest_table.load(std::memory_order_relaxed);
    while (largest < table && !largest_table.compare_exchange_weak(largest, table, std::memory_order_release)) {
    }
    return true;
}

// A page that another thread has just replaced had better not be replaced again, although an object in that state
// is lost whatever is stored there.
bool is_there(std::uintptr_t address) {
    char byte;
    iovec here{&byte, 1};
    iovec there{reinterpret_cast<void*>(address), 1};
    return system_call(SYS_process_vm_readv, system_call(SYS_getpid), &here, 1, &there, 1, 0) == 1;
}

}  // namespace

bool register_shared_mapping(void* start, std::size_t bytes, std::atomic<std::uint32_t>* damaged) {
    if (__builtin_expect(!fault_handlers_installed(), 0)) install_fault_handlers();
    const auto address = reinterpret_cast<std::uintptr_t>(start);
    // Largest first: that is where there is room.
    const unsigned largest = largest_table.load(std::memory_order_acquire);
    for (unsigned table = largest + 1; table-- > 0;)
        if (insert(table, address, bytes, damaged)) return true;
    for (unsigned table = largest + 1; table < kTables; ++table) {
        if (!grow(table)) return false;
        if (insert(table, address, bytes, damaged)) return true;
    }
    return false;
}

void unregister_shared_mapping(void* start) {
    const auto address = reinterpret_cast<std::uintptr_t>(start);
    if (address <= kClaimed) return;
    for (unsigned table = largest_table.load(std::memory_order_acquire) + 1; table-- > 0;) {
        Slot* slots = tables[table].load(std::memory_order_acquire);
        for (unsigned step = 0; step < kProbes; ++step) {
            Slot& slot = probe(slots, table, address, step);
            std::uintptr_t expected = address;
            if (slot.start.load(std::memory_order_relaxed) != address ||
                !slot.start.compare_exchange_strong(expected, kClaimed, std::memory_order_acquire))
                continue;
            slot.damaged.store(nullptr, std::memory_order_relaxed);
            slot.start.store(0, std::memory_order_release);
            return;
        }
    }
}

std::atomic<std::uint32_t>* find_damage_word(std::uintptr_t address) {
    for (unsigned table = 0; table < kTables; ++table) {
        Slot* slots = tables[table].load(std::memory_order_acquire);
        if (slots == nullptr) break;
        for (std::size_t i = 0; i < table_slots(table); ++i) {
            // SYNC mapping_damage.slot (acquire half). Pairs with insert().
            const std::uintptr_t start = slots[i].start.load(std::memory_order_acquire);
            if (start <= kClaimed || address < start) continue;
            const std::size_t bytes = slots[i].bytes.load(std::memory_order_relaxed);
            std::atomic<std::uint32_t>* damaged = slots[i].damaged.load(std::memory_order_acquire);
            if (address - start < bytes && damaged != nullptr && slots[i].start.load(std::memory_order_relaxed) == start)
                return damaged;
        }
    }
    return nullptr;
}

bool replace_lost_page(std::uintptr_t address) {
    if (is_there(address)) return true;
    // The smallest page a kernel may have is asked for first; one with larger pages refuses the odd address.
    for (std::uintptr_t page_bytes = 4096; page_bytes <= 65536; page_bytes *= 4) {
        const std::uintptr_t page = address & ~(page_bytes - 1);
        const long mapped =
            system_call(SYS_mmap, page, page_bytes, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped == static_cast<long>(page)) return true;
    }
    return false;
}

}  // namespace muster::platform
