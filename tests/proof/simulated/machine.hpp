// A simulated machine: a handful of processes that share memory, one of which runs at a time, and a kernel for their
// futexes, clocks and deaths. The sources of src/ run on it as they are, compiled with the headers in include/ before their
// own, so that every access to shared memory and every system call is a *point* at which another process may go on, or one
// may be killed, stopped or interrupted. A seed decides, so that what happened happens again.
//
// Processes are fibers of one thread: a switch costs some nanoseconds, a schedule some microseconds.
//
// Memory: each process has a buffer of stores that others do not see yet. They become visible late and in any order, but those
// of one word in theirs, and a release store only after all that came before it. What comes *after* a release store may
// become visible before it. A successful read-modify-write and a system call wait until the buffer is empty. Loads are
// never early: that side of the memory model is not simulated. Nor are the compiler's liberties: who is killed has issued
// all its stores up to that point.
#pragma once
#include <linux/futex.h>
#include <fcntl.h>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>
#include "memory/atom.hpp"
#include "platform/thread.hpp"
#include "support/proof.hpp"

namespace muster::simulated {

inline constexpr unsigned kProcessesMax = 8;
inline constexpr std::uint32_t kFirstThreadId = 1000;

// What may happen to a process from outside, beside losing the CPU.
enum class Blow { preempt, visible, kill, interrupt, cancel, stop };

// How one schedule goes.
struct Plan {
    // priorities: whoever has the highest runs until it sleeps; at a few points the running one's becomes the lowest (SOURCE
    // Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", 2010) random: anyone, from point
    // to point given: one process after the other, but for the switches that are listed
    enum class Kind { priorities, random, given } kind = Kind::priorities;
    std::uint64_t seed = 0;
    unsigned length = 100;     // points among which blows are spread
    unsigned preemptions = 2;  // priorities
    unsigned mean_run = 10;    // random: points from switch to switch
    unsigned kills = 0, interrupts = 0, cancels = 0, stops = 0;
    bool weak = true;              // stores become visible late
    unsigned visible_in_256 = 64;  // how likely a store becomes visible at a switch
    bool pauses_yield = false;     // who pauses in a loop lets others run
    enum class Cpus { one, several, wandering, unknown } cpus = Cpus::one;
    unsigned first = 0;  // given: who begins
    struct Switch {
        std::uint64_t step;
        unsigned to;  // 256 + n: process n is killed instead
    };
    std::vector<Switch> switches;  // given
};

// What is broken on purpose, to see whether it is found.
struct Tampering {
    std::function<bool(const void* address)> weakens;     // a release there orders nothing
    std::function<bool(const void* address)> loses_wake;  // FUTEX_WAKE there wakes nobody
    std::function<bool(const void* address)> loses_requeue;
    std::function<bool(const void* address)> forgets;  // a store there is not done
    bool no_death_mark = false;                        // the kernel does not look at the dead's word
    bool no_death_wake = false;                        // it marks, but wakes nobody
    bool any() const { return weakens || loses_wake || loses_requeue || forgets || no_death_mark || no_death_wake; }
};

struct Counters {
    std::uint64_t schedules = 0, points = 0, switches = 0, kills = 0, interrupts = 0, cancels = 0, stops = 0, late_stores = 0;
    std::uint64_t sleeps = 0, rechecks = 0;
};

struct Pending {
    std::uintptr_t address;
    std::uint64_t value;
    unsigned bytes;
    bool release;
};

struct Process {
    enum class State { none, ready, asleep, stopped, dying, gone, finished };
    void* stack_pointer = nullptr;
    std::byte* stack = nullptr;
    unsigned number = 0;
    State state = State::none;
    bool idle = false;    // has yielded
    bool exists = false;  // as far as others can tell
    bool killed = false;
    std::int64_t priority = 0;
    std::uint32_t cpu = 0;
    platform::ThreadState thread{};
    robust_list_head robust{};
    std::vector<std::uint32_t*> robust_words;  // what its robust list names beside the pending word
    std::function<void()> body;

    static constexpr unsigned kBuffered = 32;
    Pending buffer[kBuffered];
    unsigned buffered = 0;

    struct Sleep {
        std::uint32_t* address;
        std::uint32_t expected;
        std::uint64_t order;
    };
    static constexpr unsigned kSleeps = 24;
    Sleep sleeps[kSleeps];
    unsigned sleeping_on = 0;
    bool timed = false;
    std::int64_t deadline_ns = 0;
    long result = 0;
    bool interrupted = false, cancelled = false;
    // A sleep that ended by its time-out, when nothing else could run: what comes of it?
    std::uint32_t* recheck_address = nullptr;
    std::uint32_t recheck_expected = 0;
    bool recheck_changed = false;
    unsigned in_vain = 0;
    std::uint32_t signals = 0;  // that came and were not waited for yet
    bool locks_record = false;  // the one that a registration lasts as long as
};

class Machine {
public:
    Machine();
    Machine(const Machine&) = delete;

    enum class Ending { finished, quiet, endless };
    // Runs the bodies as processes 0, 1, … until all have ended (finished), nobody can go on any more (quiet), or for too
    // long (endless).
    Ending run(const Plan& plan, const std::vector<std::function<void()>>& bodies);
    // After that: one more process, which has the machine to itself. False: it did not come to its end.
    bool run_alone(const std::function<void()>& body);

    // For what runs in it:
    std::uint64_t now() const { return step_; }
    unsigned self() const { return current_->number; }
    void operation_done();
    void fail(const std::string& what);
    void note(const std::string& what);
    test::Random& random() { return random_; }

    const Process& process(unsigned number) const { return processes_[number]; }
    bool is_alive(unsigned number) const {
        return processes_[number].state != Process::State::gone && !processes_[number].killed;
    }
    unsigned stops() const { return stops_; }
    const std::string& failure() const { return failure_; }
    // Told of each sleep that ended by its time-out, when nothing else could run, and after which the process got on. `changed`:
    // the word was another by then, so that somebody owed it a wake; else it found out something that no wake tells.
    std::function<void(unsigned process, const std::uint32_t* word, bool changed)> rescued;
    std::function<std::string(const void* address)> name_of;

    Tampering tampering;
    bool tampered = false;  // whether tampering is to be asked at all
    bool tracing = false;
    std::string trace() const;
    Counters counters;

    // Below: the machine's own parts.
    template <class T>
    T load(const T* address, const void* site);
    template <class T>
    void store(T* address, T value, bool release, const void* site);
    template <class T>
    T modify(T* address, Modify how, T operand, bool release, const void* site);
    template <class T>
    bool compare_exchange(T* address, T& expected, T desired, const void* site);
    void point() {
        if (__builtin_expect(++step_ >= event_at_, 0)) event();
    }
    bool inside() const { return current_ != nullptr; }
    long futex(std::uint32_t* word, int operation, long value, long fourth, std::uint32_t* second, long value3);
    // files.cpp
    static constexpr int kFifo = 1'000'000;  // its descriptor, in every process
    long call_fifo(long number, long argument);
    void poll_fifo(bool for_room);
    long call_record_lock(int command, struct flock& lock);
    long send_signal(std::uint32_t to);
    void wait_for_signal();
    long wait_any(const void* entries, unsigned count, const timespec* until);
    long yield();
    void pause();
    std::int64_t now_ns() const { return now_ns_; }
    std::uint32_t cpu();
    bool thread_exists(std::uint32_t id) const;
    bool thread_stopped(std::uint32_t id) const;
    void* allocate(std::size_t bytes);
    Process& current() { return *current_; }
    [[noreturn]] void finish();
    void watch_robustly(std::uint32_t* word) { current_->robust_words.push_back(word); }

private:
    struct Event {
        std::uint64_t step;
        Blow blow;
    };
    struct Traced {
        std::uint64_t step, value;
        const void* address;
        const void* site;
        const char* what;
        std::uint8_t process;
        std::uint8_t bytes;
        std::string text;
    };

    void prepare(Process& process, unsigned number, const std::function<void()>& body);
    static void enter();
    void event();
    void strike(Blow blow);
    void kill(Process& victim);
    void forgive_rechecks();
    void look_again();
    void exit_thread(Process& process);
    void handle_futex_death(Process& dead, std::uint32_t* word, bool pending);
    void reschedule();
    Process* choose();
    Process* choose_ready();
    bool wake_by_time();
    void switch_to(Process* next);
    void set_next_event();
    void become_ready(Process& process, long result);
    long sleep(const Process::Sleep* on, unsigned count, bool timed, std::int64_t deadline_ns);
    long wake(std::uint32_t* word, int count, bool by_the_dead = false);
    long requeue(std::uint32_t* word, long most, std::uint32_t* to);
    void flush(Process& process);
    void make_visible(Process& process, unsigned index);
    bool make_some_visible(Process& process);
    void make_late_stores_visible();
    const Pending* find_pending(const Process& process, std::uintptr_t address) const;
    void record(const char* what, const void* address, std::uint64_t value, unsigned bytes, const void* site);

    Process* current_ = nullptr;
    std::uint64_t step_ = 0;
    std::uint64_t event_at_ = ~0ull;
    Process processes_[kProcessesMax];
    unsigned count_ = 0;
    Plan plan_;
    test::Random random_{0};
    std::vector<Event> events_;
    std::size_t next_event_ = 0, next_switch_ = 0;
    std::uint64_t switch_at_ = ~0ull, limit_ = 0;
    bool reconsider_ = false;
    std::int64_t lowest_priority_ = 0;
    unsigned stops_ = 0;  // of this schedule
    std::uint64_t orders_ = 0;
    std::uint32_t packets_ = 0, fifo_changes_ = 0;
    std::int64_t now_ns_ = 0;
    Ending ending_ = Ending::finished;
    void* main_stack_pointer_ = nullptr;
    platform::ThreadState main_thread_{};
    std::uint32_t main_generation_ = 0;
    std::vector<std::byte> arena_;
    std::size_t arena_used_ = 0;
    std::string failure_;
    std::vector<Traced> traced_;
};

// The one that the overlaid headers mean.
Machine& machine();

}  // namespace muster::simulated
