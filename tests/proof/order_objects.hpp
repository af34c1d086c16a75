// The objects of a round: making them, calling them through the library (or through libc, for the kernel's own), what processes
// are told to do with them, and what helps sleepers and leaves an object empty.
#pragma once
#include <mqueue.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/types.h>
#include <atomic>
#include <cstdint>
#include <ctime>
#include <vector>
#include "tests/proof/order_history.hpp"
#include "tests/support/proof.hpp"

namespace muster::test::order {

// 0: not at all; 1: lets another process run; more: so many turns of an empty loop.
void rest(int pause);

// The calls under test.
struct Calls {
    mqd_t (*mq_open)(const char*, int, ...);
    int (*mq_close)(mqd_t);
    int (*mq_unlink)(const char*);
    int (*mq_send)(mqd_t, const char*, std::size_t, unsigned);
    ssize_t (*mq_receive)(mqd_t, char*, std::size_t, unsigned*);
    int (*mq_getattr)(mqd_t, mq_attr*);
    int (*msgget)(key_t, int);
    int (*msgsnd)(int, const void*, std::size_t, int);
    ssize_t (*msgrcv)(int, void*, std::size_t, long, int);
    int (*msgctl)(int, int, void*);
    int (*semget)(key_t, int, int);
    int (*semop)(int, sembuf*, std::size_t);
    int (*semctl)(int, int, int, ...);
    int (*shmget)(key_t, std::size_t, int);
    void* (*shmat)(int, const void*, int);
    int (*shmdt)(const void*);
    int (*shmctl)(int, int, shmid_ds*);

    // From the shared object of that path; of libc with none. Null members if something is missing.
    static Calls load(const char* library);
    bool complete() const;
};

// Where the object is. In memory that all processes of a round see.
struct Target {
    Setup setup;
    std::uint32_t epoch = 0;  // raised when a queue is a new one
    std::int32_t identifier = -1;
    std::int32_t key = 0;
    char name[48] = {};
    std::atomic<std::uint64_t> clock{0};
    std::atomic<std::int32_t> last_identity{-1};  // what somebody last found under the key
};

// What one process has open and attached.
class Hands {
public:
    Hands(const Calls& calls, Target& target) : calls_(calls), target_(target) {}
    Hands(const Hands&) = delete;

    // Opens what the round needs, lets go of what an earlier one left.
    void reach();
    // Makes the call, with its moments. Not made at all if there is nothing to be detached.
    void perform(Operation& operation);

private:
    void call_queue(Operation& o);
    void call_typed(Operation& o);
    void call_semaphores(Operation& o);
    void call_segment(Operation& o);
    void call_name(Operation& o);
    int identity_of_key(int flags);

    const Calls& calls_;
    Target& target_;
    std::uint32_t epoch_ = 0;
    mqd_t waiting_ = -1, hasty_ = -1;
    std::vector<void*> attached_;
};

// Makes objects and takes them away; in the process that leads the rounds.
class Maker {
public:
    Maker(const Calls& calls, Target& target, Object object, bool kernel);
    Maker(const Maker&) = delete;
    ~Maker() { remove(); }
    // Another object, or the same one as it was, for the next round. `anew`: in any case another one.
    bool prepare(Random& of_object, Random& of_round, bool anew);

private:
    bool make(Random& random);
    void remove();
    const Calls& calls_;
    Target& target_;
    bool made_ = false;
};

// A seeded choice of what one process does.
std::vector<Operation> make_script(const Setup& setup, int process, int length, Random& random);

// What the helper does next for somebody asleep in `blocked`. `tries` counts its calls of this round. Told whether, if the call
// succeeds (or, for a receive, finds the queue empty), a sleeper has to go on.
struct Help {
    Operation operation;
    bool frees_if_done = false, frees_if_empty = false;
};
Help help_for(const Setup& setup, const Operation& blocked, int tries);

// The helper's calls at the end of a round: everything is taken out, and looked at.
void drain(const Setup& setup, Hands& hands, std::vector<Operation>& record);

}  // namespace muster::test::order
