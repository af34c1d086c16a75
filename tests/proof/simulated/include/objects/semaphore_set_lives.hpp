// In place of src/objects/semaphore_set_lives.hpp: the lives of the simulated machine's processes, with the same interface and
// the same steps, but in memory of the scenario's instead of a file, and without /proc. So the set's dealing with lives is
// simulated, the file's own making and claiming is not.
#pragma once
#include "memory/mapping.hpp"
#include "objects/domain.hpp"
#include "objects/semaphore_set_layout.hpp"
#include "platform/thread.hpp"

namespace muster::simulated {
// One for each process, shared by all.
struct Life {
    memory::ShmU32 word, told, pid, reserved;
    memory::ShmU64 start;
};
inline constexpr std::uint32_t kLives = 8;
extern Life lives[kLives];
}  // namespace muster::simulated

namespace muster::objects {

struct ProcessIdentity {
    std::uint32_t pid;
    std::uint64_t start;
};
ProcessIdentity own_identity(platform::ThreadState& thread);

enum class Vital { alive, dying, gone };
Vital ask_for(const ProcessIdentity& process);
bool is_runnable(std::uint32_t thread_id);

class ProcessLives {
public:
    platform::Outcome<> open(bool) { return platform::done(); }
    bool is_open() const { return true; }
    platform::Outcome<std::uint32_t> arm(platform::ThreadState& thread);
    bool is_armed(const platform::ThreadState& thread) const;
    memory::ShmU32* word(std::uint32_t slot) const { return slot < simulated::kLives ? &simulated::lives[slot].word : nullptr; }
    bool vouches(std::uint32_t slot, const ProcessIdentity& process) const;
    ProcessIdentity identity_of(std::uint32_t slot) const;
    void tell(std::uint32_t slot) const;
};

}  // namespace muster::objects
