// The simulated machine's memory: loads, stores that become visible late, and what waits for them. See machine.hpp.
#include "machine.hpp"

namespace muster::simulated {

const Pending* Machine::find_pending(const Process& process, std::uintptr_t address) const {
    for (unsigned i = process.buffered; i-- > 0;)
        if (process.buffer[i].address == address) return &process.buffer[i];
    return nullptr;
}

void Machine::make_visible(Process& process, unsigned index) {
    const Pending done = process.buffer[index];
    for (unsigned i = index + 1; i < process.buffered; ++i) process.buffer[i - 1] = process.buffer[i];
    --process.buffered;
    switch (done.bytes) {
        case 1:
            *reinterpret_cast<volatile std::uint8_t*>(done.address) = static_cast<std::uint8_t>(done.value);
            break;
        case 2:
            *reinterpret_cast<volatile std::uint16_t*>(done.address) = static_cast<std::uint16_t>(done.value);
            break;
        case 4:
            *reinterpret_cast<volatile std::uint32_t*>(done.address) = static_cast<std::uint32_t>(done.value);
            break;
        default:
            *reinterpret_cast<volatile std::uint64_t*>(done.address) = done.value;
            break;
    }
    if (index != 0) {
        ++counters.late_stores;
        if (tracing)
            traced_.push_back({step_,
                               done.value,
                               reinterpret_cast<void*>(done.address),
                               nullptr,
                               "visible before its elders:",
                               static_cast<std::uint8_t>(process.number),
                               0,
                               {}});
    }
}

void Machine::flush(Process& process) {
    while (process.buffered != 0) make_visible(process, 0);
}

// One of those that may become visible now, any of them.
bool Machine::make_some_visible(Process& process) {
    if (process.buffered == 0) return false;
    unsigned index = random_.below(process.buffered);
    for (;; --index) {
        const Pending& each = process.buffer[index];
        bool may = index == 0 || !each.release;
        for (unsigned i = 0; may && i < index; ++i) may = process.buffer[i].address != each.address;
        if (may) break;
    }
    make_visible(process, index);
    return true;
}

void Machine::make_late_stores_visible() {
    for (unsigned i = 0; i < count_; ++i)
        while (processes_[i].buffered != 0 && random_.below(256) < plan_.visible_in_256) make_some_visible(processes_[i]);
}

template <class T>
T Machine::load(const T* address, const void* site) {
    if (current_ == nullptr) return *const_cast<const volatile T*>(address);
    point();
    T value = *const_cast<const volatile T*>(address);
    if (current_->buffered != 0)
        if (const Pending* own = find_pending(*current_, reinterpret_cast<std::uintptr_t>(address)))
            value = static_cast<T>(own->value);
    if (__builtin_expect(tracing, 0)) record("load", address, value, sizeof(T), site);
    return value;
}

template <class T>
void Machine::store(T* address, T value, bool release, const void* site) {
    if (current_ == nullptr) {
        *const_cast<volatile T*>(address) = value;
        return;
    }
    point();
    if (__builtin_expect(tampered, 0) && tampering.forgets && tampering.forgets(address)) return;
    if (__builtin_expect(tampered, 0) && release && tampering.weakens && tampering.weakens(address)) release = false;
    if (__builtin_expect(tracing, 0)) record(release ? "store, release" : "store", address, value, sizeof(T), site);
    if (plan_.weak) {
        Process& mine = *current_;
        if (mine.buffered == Process::kBuffered) make_some_visible(mine);
        mine.buffer[mine.buffered++] = {reinterpret_cast<std::uintptr_t>(address), value, sizeof(T), release};
    } else {
        *const_cast<volatile T*>(address) = value;
    }
    point();
}

template <class T>
T Machine::modify(T* address, Modify how, T operand, bool release, const void* site) {
    auto* at = const_cast<volatile T*>(address);
    T before = *at;
    const auto after = [&]() -> T {
        switch (how) {
            case Modify::add:
                return static_cast<T>(before + operand);
            case Modify::bit_or:
                return static_cast<T>(before | operand);
            case Modify::bit_and:
                return static_cast<T>(before & operand);
            default:
                return operand;
        }
    };
    if (current_ == nullptr) {
        *at = after();
        return before;
    }
    point();
    if (__builtin_expect(tampered, 0) && tampering.forgets && tampering.forgets(address)) return before;
    if (__builtin_expect(tampered, 0) && tampering.weakens && tampering.weakens(address)) release = false;
    Process& mine = *current_;
    // Without release, only what was stored to this very word must come first.
    if (release || find_pending(mine, reinterpret_cast<std::uintptr_t>(address)) != nullptr) flush(mine);
    before = *at;
    const T value = after();
    *at = value;
    if (__builtin_expect(tracing, 0)) record("modify", address, value, sizeof(T), site);
    point();
    return before;
}

template <class T>
bool Machine::compare_exchange(T* address, T& expected, T desired, const void* site) {
    auto* at = const_cast<volatile T*>(address);
    if (current_ == nullptr) {
        if (*at == expected) {
            *at = desired;
            return true;
        }
        expected = *at;
        return false;
    }
    point();
    Process& mine = *current_;
    if (*at != expected || mine.buffered != 0) {
        const Pending* own = find_pending(mine, reinterpret_cast<std::uintptr_t>(address));
        const T seen = own != nullptr ? static_cast<T>(own->value) : *at;
        if (seen != expected) {
            expected = seen;
            if (__builtin_expect(tracing, 0)) record("compare, unequal", address, seen, sizeof(T), site);
            return false;
        }
        if (own != nullptr || !(tampered && tampering.weakens && tampering.weakens(address))) flush(mine);
    }
    *at = desired;
    if (__builtin_expect(tracing, 0)) record("compare and swap", address, desired, sizeof(T), site);
    point();
    return true;
}

template <class T>
T load(const T* address) {
    return machine().load(address, __builtin_return_address(0));
}
template <class T>
void store(T* address, T value, bool release) {
    machine().store(address, value, release, __builtin_return_address(0));
}
template <class T>
T modify(T* address, Modify how, T operand, bool release) {
    return machine().modify(address, how, operand, release, __builtin_return_address(0));
}
template <class T>
bool compare_exchange(T* address, T& expected, T desired) {
    return machine().compare_exchange(address, expected, desired, __builtin_return_address(0));
}

#define MUSTER_ATOM_OF(T)                      \
    template T load<T>(const T*);              \
    template void store<T>(T*, T, bool);       \
    template T modify<T>(T*, Modify, T, bool); \
    template bool compare_exchange<T>(T*, T&, T);
MUSTER_ATOM_OF(std::uint8_t)
MUSTER_ATOM_OF(std::uint16_t)
MUSTER_ATOM_OF(std::uint32_t)
MUSTER_ATOM_OF(std::uint64_t)
#undef MUSTER_ATOM_OF

}  // namespace muster::simulated
