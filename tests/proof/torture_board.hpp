// What the torturer and the tortured share: the objects, and the memory in which each says what it is doing and what it was promised.
//
// A message's body carries an id, the place of its *promise*. Its sender notes there that it begins, and how the send returned; its
// receiver that it came. A receiver's buffer lies in the shared memory too: what a killed receiver had been given is seen in it.
#pragma once
#include <semaphore.h>
#include <sys/sem.h>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>
#include "support/child.hpp"
#include "support/proof.hpp"
#include "support/test_queue.hpp"

namespace muster::test::torture {

// The queues. A steady one has one receiver, whom nobody touches: what it gets must be in order without exception.
struct QueueKind {
    const char* name;  // of a POSIX queue; null: a typed one
    long messages, message_bytes;
    unsigned lanes;  // priorities 0 to n - 1, or types 1 to n
    bool steady;
    bool typed() const { return name == nullptr; }
};
inline constexpr QueueKind kQueues[] = {
    {"/keep-small", 4, 64, 2, false},      {"/keep-plain", 10, 2048, 4, false}, {"/keep-long", 48, 160'000, 2, false},
    {"/keep-deep", 2000, 256, 64, false},  {nullptr, 0, 512, 4, false},         {nullptr, 0, 160'000, 3, false},
    {"/keep-steady", 10, 256, 3, true},    {nullptr, 0, 512, 3, true},
};
inline constexpr unsigned kQueueCount = sizeof kQueues / sizeof kQueues[0];
inline constexpr long kLongestBytes = 160'000;

inline constexpr unsigned kSegments = 4, kPages = 8, kSegmentBytes = kPages * 4096;
inline const std::vector<unsigned short> kFirstValues = {3, 3, 2, 1, 0};  // the last one is a lock that waits for zero

// What the parent made and everybody inherits.
struct Objects {
    int queue[kQueueCount];  // descriptor or identifier
    int set = -1;
    std::vector<int> segments;
    sem_t* tokens = nullptr;
};

enum class Sending : std::uint8_t { unused, begun, promised, refused };
struct Promise {
    std::atomic<Sending> sending;
    std::atomic<std::uint8_t> received;
    std::uint16_t queue;
    std::uint32_t sender;    // a thread, of one life
    std::uint32_t sequence;  // its messages, counted
    std::uint32_t lane;      // priority or type
};
inline constexpr std::uint32_t kPromises = 1 << 18;  // of a round

// A thread that sends and receives.
inline constexpr std::uint32_t kQueueMask = 0xff, kReceiving = 0x100, kSending = 0x200, kSelective = 0x400;
struct Post {
    std::atomic<std::uint32_t> doing;  // queue + 1 and what, while inside a call
    std::atomic<std::int32_t> thread;
    std::atomic<std::uint32_t> paused, over;
    std::atomic<std::uint64_t> done;
    alignas(8) unsigned char bytes[kLongestBytes + 64];  // a type, then a body
    unsigned char* body() { return bytes + 8; }
};
inline constexpr unsigned kPosts = 2;

// A worker process.
struct Desk {
    std::atomic<std::uint64_t> done;
    std::atomic<int> error;
    char complaint[200];
    std::atomic<int> paused, anew;
    std::atomic<int> pieces[kSegments];
    std::atomic<int> at_tokens;  // 1 inside sem_post, 2 inside a wait
    Post posts[kPosts];
};

inline constexpr unsigned kWorkers = 16;
struct Board {
    Desk desks[kWorkers];
    std::atomic<int> pause, witness;
    std::atomic<std::uint32_t> round, used, senders;
    std::atomic<std::int64_t> tokens;
    std::atomic<std::uint64_t> messages, bytes, thread_exits, cancels, execs, handlers, forks, names;
    // Why a message may come to somebody after a later one: it was put back, once for each of these.
    std::atomic<std::uint64_t> put_backs[kQueueCount], late[kQueueCount];
    Promise promises[kPromises];
};

// What a worker is given.
struct Place {
    const Objects& objects;
    Board& board;
    Desk& desk;
    std::uint64_t seed;

    // Ends the process: something came out as it must not.
    [[noreturn]] void fail(const char* what, long number = 0) const;
    // Until the pause is over; true if there was one.
    bool rest(std::atomic<int>& paused) const;
};

// Executes this program again. "undo ID NUMBER AMOUNT ..." gives back, "attach SEED ID ..." attaches, "nothing" ends;
// "care ..." is take_care() of the scene.
// `itself`: the worker does, not a child of it.
[[noreturn]] void start_anew(const Place& place, const std::string& text, bool itself = true);

// The trades, for ever.
void borrow_for_ever(const Place& place);
void attach_for_ever(const Place& place);
void carry_for_ever(const Place& place);
void carry_with_threads(const Place& place);
void receive_steadily(const Place& place, unsigned queue);
void name_for_ever(const Place& place);
// So many of them, for what must be there before anybody counts.
void name_some(const Place& place, unsigned times);

inline constexpr const char* kAnew = "MUSTER_TORTURE_ANEW";  // the variable that says so

void count_handler(int);  // the program's handler of SIGUSR1
inline std::atomic<std::uint64_t>* handler_count = nullptr;

}  // namespace muster::test::torture
