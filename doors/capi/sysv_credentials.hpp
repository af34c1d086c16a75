// When this process's user or groups last changed, so that rights need not be asked of the kernel at every call.
#pragma once
#include <atomic>
#include <cstdint>

namespace muster::capi {

// Counts the calls that may have changed the effective user, group or the supplementary groups.
extern constinit std::atomic<std::uint32_t> credential_changes;
// What it stays at once a thread has changed its own alone, by syscall(): each thread then has its own, and is asked at every call.
inline constexpr std::uint32_t kCredentialsDiffer = 0xffffffff;

inline void note_credential_change() {
    std::uint32_t changes = credential_changes.load(std::memory_order_relaxed);
    while (changes != kCredentialsDiffer &&
           !credential_changes.compare_exchange_weak(changes, changes + 1 == kCredentialsDiffer ? 1 : changes + 1, std::memory_order_release)) {
    }
}
inline void note_credentials_differ() { credential_changes.store(kCredentialsDiffer, std::memory_order_release); }

}  // namespace muster::capi
