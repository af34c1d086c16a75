// One face for every kind of queue, and of semaphores, that is compared.
//
// A Queue is an open descriptor; destroying it closes it. The single calls are
// for set-up and clean-up; whatever is timed is one of the loops below, which
// QueueLoops (loops.hpp) compiles against the concrete class, so that no virtual
// call stands between the clock and the queue. Semaphores are the same (sysv_loops.hpp).
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stamp.hpp"

namespace muster::bench {

enum class Kind { posix_queue, sysv_queue, semaphore, semaphore_set, segment };

struct Shape {
    std::string name;  // without a leading slash; System V objects get a key made of it
    Kind kind = Kind::posix_queue;
    std::size_t depth = 0;          // of a System V queue: 16384 bytes, whatever it says here
    std::size_t message_bytes = 0;  // of a segment: its size
};

// Per writer, what must come next: nothing lost, doubled or overtaken.
class OrderCheck {
public:
    static constexpr std::size_t kWriters = 8;
    void see(Stamp s) {
        if (s.writer >= kWriters || s.sequence != next_[s.writer]) [[unlikely]]
            throw Failure("messages of one writer arrived out of order");
        ++next_[s.writer];
    }
    std::uint32_t seen(std::size_t writer) const { return next_[writer]; }

private:
    std::uint32_t next_[kWriters] = {};
};

struct PingSamples {
    std::vector<std::uint32_t> round_trip_ticks;  // sized and touched beforehand
    std::size_t used = 0;
};

class Queue {
public:
    Queue() = default;
    Queue(const Queue&) = delete;
    Queue& operator=(const Queue&) = delete;
    virtual ~Queue() = default;

    // Blocking. 0 or an errno value; received bytes or a negated errno value.
    virtual int send(const void* data, std::size_t size_bytes, unsigned priority) = 0;
    virtual long receive(void* data, std::size_t size_bytes, unsigned* priority) = 0;
    // The same, but EAGAIN instead of waiting.
    virtual int try_send(const void* data, std::size_t size_bytes, unsigned priority) = 0;
    virtual long try_receive(void* data, std::size_t size_bytes, unsigned* priority) = 0;

    // Send one, receive one.
    virtual void pairs(Buffers& buffers, std::uint64_t count) = 0;
    // `depth` sends, then as many receives; priorities from the table in turn, order verified.
    virtual void fill_and_drain(Buffers& buffers, const std::vector<std::uint16_t>& priorities, std::size_t depth) = 0;
    // Send until `stop` is set; returns how many.
    virtual std::uint32_t send_until(Buffers& buffers, std::uint16_t writer, const std::atomic<std::uint32_t>& stop) = 0;
    virtual void receive_many(Buffers& buffers, OrderCheck& order, std::uint64_t count) = 0;
    // Send here, await the echo in `back`, until the samples are full or the time is over.
    virtual void ping(Queue& back, Buffers& buffers, PingSamples& samples, std::uint64_t budget_ticks) = 0;
    // Send what arrives here into `back`, up to and without a stop message.
    virtual void echo(Queue& back, Buffers& buffers) = 0;
};

// Which message a System V queue is to give.
struct Pick {
    enum class By { type, lowest, all_but } by;
    long type;  // lowest: of the types up to this one
};

class SysvQueue : public Queue {
public:
    // send() and receive() are of type 1 + priority, and of whatever is the oldest.
    // Texts of one byte: `distinct`, each of a type of its own (kOtherTypes and up, in no order), else all of that one.
    virtual void fill_others(std::size_t count, bool distinct) = 0;
    // Send one of `type`, receive it picked out of the others.
    virtual void picked_pairs(Buffers& buffers, long type, Pick pick, std::uint64_t count) = 0;

    static constexpr long kOtherTypes = 1000;  // the others' types when distinct are even
};

enum class Use {
    single,  // one semaphore
    undo,    // one semaphore with SEM_UNDO
    four,    // four semaphores in one operation
};

// Four semaphores, each of them 1.
class Semaphores {
public:
    static constexpr unsigned kCount = 4;
    Semaphores() = default;
    Semaphores(const Semaphores&) = delete;
    Semaphores& operator=(const Semaphores&) = delete;
    virtual ~Semaphores() = default;

    virtual long value(unsigned number) = 0;  // or a negated errno value
    virtual int take(Use use) = 0;            // 0 or an errno value
    virtual int give(Use use) = 0;
    // Blocking, on one semaphore.
    virtual int wait(unsigned number) = 0;
    virtual int post(unsigned number) = 0;

    // Take and give.
    virtual void pairs(Use use, std::uint64_t count) = 0;
    // Post the first, wait for the second, until the samples are full or the time is over.
    virtual void ping(PingSamples& samples, std::uint64_t budget_ticks) = 0;
    // The other side of it; a post after `stop` was set ends it.
    virtual void echo(const std::atomic<std::uint32_t>& stop) = 0;
};

class Backend {
public:
    virtual ~Backend() = default;
    virtual const char* key() const = 0;                            // for options and JSON
    virtual const char* title() const = 0;                          // for people
    virtual std::unique_ptr<Queue> create(const Shape& shape) = 0;  // exclusively; throws Refused
    virtual std::unique_ptr<Queue> open(const Shape& shape) = 0;
    virtual void unlink(const Shape& shape) = 0;  // an absent one is fine

    virtual bool offers(Kind kind) const { return kind == Kind::posix_queue; }
    // What create() and open() give if the shape is a System V queue's is a SysvQueue.
    virtual std::unique_ptr<Semaphores> create_semaphores(const Shape&) { throw Failure("no semaphores here"); }
    virtual std::unique_ptr<Semaphores> open_semaphores(const Shape&) { throw Failure("no semaphores here"); }
    // A System V object is made and removed; a segment in between attached, every page written to, and detached.
    virtual void live_and_die(const Shape&) { throw Failure("no System V objects here"); }
};

std::unique_ptr<Backend> make_kernel_backend();
std::unique_ptr<Backend> make_boost_backend();                               // nullptr when not compiled in
std::unique_ptr<Backend> make_muster_c_backend(const std::string& library);  // throws Refused when it cannot be loaded
std::unique_ptr<Backend> make_muster_cpp_backend();                          // nullptr when not compiled in
std::unique_ptr<Backend> make_glibc_backend();                               // sem_t
std::unique_ptr<Queue> make_copy_only_queue();                               // what the harness itself costs

}  // namespace muster::bench
