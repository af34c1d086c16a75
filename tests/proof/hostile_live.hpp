// A crowd at work on objects that somebody attacks: processes that use blocking calls with time-outs, watched from outside.
#pragma once
#include <sys/time.h>
#include <atomic>
#include <chrono>
#include <string>
#include <vector>
#include "proof/hostile_controls.hpp"
#include "proof/hostile_library.hpp"
#include "support/child.hpp"
#include "support/proof.hpp"

namespace muster::test::hostile {

inline constexpr key_t kVictimKey = 0x51ab;
inline constexpr const char* kVictimName = "/victim";
inline constexpr std::size_t kVictimSegmentBytes = 16384;

struct Worker {
    std::atomic<std::uint64_t> calls{0}, refused{0}, rounds{0};
    std::atomic<std::uint64_t> since_us{0};  // of the call under way, 0 none
    std::atomic<const char*> call{nullptr};
};
struct Crowd {
    static constexpr unsigned kWorkers = 8;
    Worker workers[kWorkers];
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> flips{0}, restores{0}, renewals{0};
    std::atomic<std::uint64_t> longest_us{0};
};

inline std::uint64_t now_us() {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch()).count());
}

// Makes the objects that are to be attacked, where they are missing; in this process. False: one cannot be made.
bool make_victims();
// Takes them away by name and key; what is too damaged for that, by its files, as an administrator does.
void remove_victims(const std::string& domain);
// One worker's life until `stop`: POSIX queue, typed queue, set, segment, by its number.
void work(Crowd& crowd, unsigned number);
// Paths of the victims' files as they are now.
std::vector<std::string> victim_files(const std::string& domain);
// Whether every worker is alive and none has been in one call for longer than the patience; else what is wrong.
std::string look_after(std::vector<Child>& workers, const Crowd& crowd, std::chrono::seconds patience);

}  // namespace muster::test::hostile
