// Objects whose bytes are set, one after the other, to every value, and the processes that meet them.
//
// A Subject is one object in one staged state: its files, the tables of bytes in them, and a `meet` that makes all public calls on it.
// sweep() numbers the cases (byte x value, then words x interesting values), and hands them to victims: forked processes, each of which
// takes thousands, so that a case costs microseconds. What a victim does is seen in shared memory; who dies or stops moving is
// accounted for, and the next victim begins behind that case.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>
#include "proof/hostile_image.hpp"
#include "proof/hostile_library.hpp"

namespace muster::test::hostile {

inline constexpr std::uint32_t kNoSuchThread = 1u << 22;  // PID_MAX_LIMIT: no thread id has this bit
inline constexpr std::uint32_t kOwnerDied = 0x4000'0000, kWaiters = 0x8000'0000, kHeldByActor = 1u << 29;

// Bytes in one of the subject's files that belong together. `dense`: all 256 values of each byte; else some of them.
struct Table {
    const char* name;
    unsigned file;
    std::uint64_t at;
    std::uint32_t bytes;
    bool dense = true;
};

// What the victims tell: in memory that they share with who watches them.
struct Progress {
    std::atomic<std::uint64_t> case_number{0};
    std::atomic<std::uint64_t> steps{0};          // moves as long as the victim does
    std::atomic<const char*> call{nullptr};       // in the image that both have
    std::atomic<std::uint64_t> calls{0}, failures{0}, cases{0}, skipped{0};
    std::atomic<std::uint64_t> longest_us{0}, longest_case{0};
    std::atomic<std::uint64_t> errnos[256] = {};
    struct Surprise {
        const char* call;
        int error;
        std::uint64_t case_number, times;
    };
    Surprise surprises[32] = {};  // errnos that the call does not have
    std::atomic<unsigned> surprise_count{0};
};

class Journal {
public:
    explicit Journal(Progress& progress) : progress_(progress) {}
    void begin(std::uint64_t case_number) { progress_.case_number.store(case_number, std::memory_order_relaxed); }
    // Before a call.
    void calling(const char* name) {
        progress_.call.store(name, std::memory_order_relaxed);
        progress_.steps.store(progress_.steps.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
    // After it: -1 only with one of these.
    bool judge(long result, int error, std::initializer_list<int> allowed);
    // A call of the C door in one go.
    template <class Call>
    long call(const char* name, std::initializer_list<int> allowed, Call make) {
        calling(name);
        errno = 0;
        const long result = static_cast<long>(make());
        judge(result, errno, allowed);
        return result;
    }
    // Whether the current case is among those that get what is dear: one in `times`.
    bool once_in(unsigned times) const;

private:
    Progress& progress_;
};

enum class Met { known, late };  // mapped before the damage; opened after it

class Subject {
public:
    virtual ~Subject() = default;
    virtual void begin(Met met) = 0;                       // a new victim, before any damage
    virtual void meet(Journal& journal, Met met) = 0;      // all calls
    virtual void before_late(Journal&) {}                  // the image is sound: let go of what is mapped
    const std::string& name() const { return name_; }

    std::vector<std::unique_ptr<ImageFile>> files;
    std::vector<Table> tables;
    std::vector<Table> also_written;  // by sound calls, and not damaged
    // Lock words, and where the actors that they may name lie: words that name a living stranger are waited for, as they must be.
    std::vector<std::pair<unsigned, std::uint64_t>> locks;
    std::uint64_t actors_at = 0;
    unsigned actors = 0;
    std::vector<std::uint64_t> interesting;  // besides the usual ones

protected:
    explicit Subject(std::string name) : name_(std::move(name)) {}

private:
    std::string name_;
};

struct Effort {
    std::uint64_t cases = 0;  // 0: all
    const char* part = "";
};
// Every case, or so many of them that the seed chooses; fails the running test with what went wrong. Calls made.
void sweep(Subject& subject, Met met, const Effort& effort);

// Guard pages, not accessible, on both sides of every mapping of this process whose file lies in the domain, where nothing else does.
void guard_mappings(const std::string& domain);

std::unique_ptr<Subject> posix_subject(const std::string& domain, const std::string& state);
std::unique_ptr<Subject> typed_subject(const std::string& domain, const std::string& state);
std::unique_ptr<Subject> semaphore_subject(const std::string& domain, const std::string& state);
std::unique_ptr<Subject> lives_subject(const std::string& domain);
std::unique_ptr<Subject> segment_subject(const std::string& domain, const std::string& state);
std::unique_ptr<Subject> hints_subject(const std::string& domain, const std::string& kind);
// The same objects through the C++ library and its checker.
std::unique_ptr<Subject> through_cpp(std::unique_ptr<Subject> staged, const std::string& domain, const std::string& kind);

}  // namespace muster::test::hostile
