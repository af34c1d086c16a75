// What hostile_domain_test does to the parts of a domain's directory, and the process that goes on using it.
#pragma once
#include <atomic>
#include <functional>
#include <string>
#include <vector>
#include "proof/hostile_controls.hpp"
#include "proof/hostile_library.hpp"
#include "support/child.hpp"
#include "support/proof.hpp"

namespace muster::test::hostile {

enum Family : unsigned { kMq = 1, kMsg = 2, kSem = 4, kShm = 8, kPosixShm = 16, kPosixSem = 32, kLimits = 64, kAllFamilies = 127 };
inline constexpr const char* kFamilyNames[] = {"POSIX queues", "System V queues", "semaphore sets", "segments", "shm_open", "sem_open", "limits"};

// A part of the domain, by its path from there ("*": any name), and whose calls have to do with it.
struct Part {
    std::string path;
    unsigned families;
    bool directory;
};
// Those that a domain has after stage().
const std::vector<Part>& domain_parts();
std::string path_of(const std::string& domain, const Part& part);

struct Surroundings {
    std::string domain, neighbour, aside;  // aside: where what is taken away goes
    uid_t user, stranger;                  // who uses the domain, and somebody else
};
struct Attack {
    const char* name;
    enum Where { anything, directories, files } where;
    bool needs_root;
    // Whether it could be made.
    std::function<bool(const std::string& path, const Part& part, const Surroundings& around)> make;
    std::function<void(const std::string& path)> undo = {};  // what removing the files does not
};
const std::vector<Attack>& domain_attacks();
// All of it, whatever its modes.
void remove_tree(const std::string& path);

// What a user of the domain is doing, as the test sees it.
struct Deeds {
    std::atomic<const char*> call{nullptr};  // in the image that both have
    std::atomic<std::uint64_t> calls{0}, refused{0}, longest_us{0}, since_us{0}, rounds{0};
    std::atomic<const char*> longest_call{nullptr};
    std::atomic<unsigned> refused_families{0};
    std::atomic<int> refused_error{0};
    std::atomic<const char*> refused_call{nullptr};  // the first of the families that are meant to be left alone
    std::atomic<unsigned> watched_families{0};
    std::atomic<bool> ready{false}, go{false}, stop{false};
    std::atomic<unsigned> surprises{0};
    struct Surprise {
        const char* call;
        int error;
    } surprise[16] = {};
    std::atomic<int> descriptors_leaked{0}, mappings_leaked{0};
};

// One of each kind under well-known names, by the calling process; false: not all could be made.
bool stage();
// Opens what there is, says `ready`, waits for `go`, then makes all calls three times, the last one `removes` what there is. Looks for leaks.
void use_domain(Deeds& deeds, bool beforehand, bool removes);
// The same calls, again and again until `stop`.
void use_domain_on_and_on(Deeds& deeds);

}  // namespace muster::test::hostile
