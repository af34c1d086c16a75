// A table of what programs do to objects: operations of the built library (not linked: loaded by its path), each in the states
// that matter, with everything that must be true after it was cut short. Proofs go through it and do something terrible in the
// middle of each call.
//
//   for (const std::string& name : operation_names("mq")) {
//       const auto operation = make_operation(name);   // "mq_send/full"
//       ASSERT_TRUE(operation->begin());               // makes the object
//       ASSERT_TRUE(operation->prepare());             // each time: the state before the call
//       Child victim([&] { operation->run(); });       // the call, between muster_steps_begin() and muster_steps_end()
//       ...                                            // while it sleeps: operation->help()
//       operation->verify(operation->end_of_call());   // what must be true now; complaints are GoogleTest failures
//       operation->finish();
//   }
#pragma once
#include <mqueue.h>
#include <semaphore.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>
#include "support/child.hpp"
#include "support/stepping.hpp"

namespace muster::test {

// The library's calls, not the C library's. A domain of its own is made for this process at the first use and removed at its end.
struct Library {
    decltype(&::mq_open) mq_open;
    decltype(&::mq_close) mq_close;
    decltype(&::mq_unlink) mq_unlink;
    decltype(&::mq_send) mq_send;
    decltype(&::mq_receive) mq_receive;
    decltype(&::mq_timedsend) mq_timedsend;
    decltype(&::mq_timedreceive) mq_timedreceive;
    decltype(&::mq_getattr) mq_getattr;
    decltype(&::mq_setattr) mq_setattr;
    decltype(&::mq_notify) mq_notify;
    decltype(&::msgget) msgget;
    decltype(&::msgsnd) msgsnd;
    decltype(&::msgrcv) msgrcv;
    decltype(&::msgctl) msgctl;
    decltype(&::semget) semget;
    decltype(&::semop) semop;
    decltype(&::semtimedop) semtimedop;
    int (*semctl)(int, int, int, ...);
    decltype(&::shmget) shmget;
    decltype(&::shmat) shmat;
    decltype(&::shmdt) shmdt;
    decltype(&::shmctl) shmctl;
    decltype(&::shm_open) shm_open;
    decltype(&::shm_unlink) shm_unlink;
    decltype(&::sem_open) sem_open;
    decltype(&::sem_close) sem_close;
    decltype(&::sem_unlink) sem_unlink;
    int (*set_handler)(int, const struct sigaction*, struct sigaction*);
};
const Library& library();
const std::string& domain_path();

// How a call ended: its process was killed inside, it returned success, it returned an error.
enum class End { died, succeeded, failed };
// What is then seen of it. Some leave nothing to see: a call that only looks, or one whose effect ends with its process.
enum class Found { undone, done, either };

class Operation {
public:
    virtual ~Operation() = default;
    const std::string& name() const { return name_; }

    // Makes the object and takes stock of the domain's files; takes all of it away.
    bool begin();
    void finish();

    // The state before the call, whatever the last verify() left. Also the death of somebody else's operation just before, if it is
    // one of those (earlier_path() is not empty).
    bool prepare();
    // In a child of the process that prepared.
    void run() { victim_body(0); }
    // The call sleeps, perhaps in the object: somebody does what it waits for. May be called at any time, any number of times.
    void help() { help_it(); }
    // What the call said: nothing means that it did not return.
    std::optional<int> outcome() const;  // 0 or an errno value
    End end_of_call() const { return !outcome() ? End::died : *outcome() == 0 ? End::succeeded : End::failed; }
    // Everything that must be true with nobody inside. A call that succeeded must be found done, one that failed undone.
    Found verify(End end);

    // Whether the call, left alone, is refused (EAGAIN, say).
    bool refused() const { return refused_; }
    // Whether it may take another way each time, or has sleepers about whose state decides it.
    bool varies() const { return varies_; }
    // Whether one of its instructions does it: before that it is found undone, from there on done.
    bool one_commits() const { return one_commits_; }
    // Whether somebody holds a lock, or announced a change, in the object now.
    virtual bool held() { return false; }

    // Of operations after somebody's death: the way of that other call, and after which of its instructions it dies (by default in
    // the middle of what it does under a lock).
    bool has_earlier() const { return has_earlier_; }
    const Path& earlier_path() const { return earlier_path_; }
    void let_earlier_die_after(std::size_t instruction) { earlier_at_ = instruction; }

    // Verification found somebody who does not go on: there is no use in trying more.
    bool stuck() const { return stuck_; }
    std::chrono::nanoseconds longest_wait() const { return longest_wait_; }

protected:
    static constexpr int kVictims = 2, kSleepersMax = 2;
    struct Board {  // what children tell
        struct Victim {
            std::atomic<int> outcome;             // -1: it has not returned
            std::atomic<std::int64_t> received;   // the message that it received, or what it was given; -1 none
        } victims[kVictims];
        struct Sleeper {
            std::atomic<int> done;
            std::atomic<int> error;               // its errno value
            std::atomic<std::int64_t> received;
        } sleepers[kSleepersMax];
        std::atomic<int> told;                    // notifications that came
    };

    // Of each kind of object. Victim 0 is the call of the table, victim 1 the one that died earlier.
    virtual bool make() = 0;
    virtual void drop() = 0;
    virtual bool set_state() = 0;
    virtual void before_call(int) {}
    virtual int call(int victim) = 0;  // 0 or an errno value
    virtual void help_it() {}
    virtual Found look(End end) = 0;

    // Somebody waits for something, in verification; the longest is kept.
    template <class Body>
    auto timed(Body body) {
        const auto start = std::chrono::steady_clock::now();
        const auto end = [&] { longest_wait_ = std::max(longest_wait_, std::chrono::nanoseconds(std::chrono::steady_clock::now() - start)); };
        if constexpr (std::is_void_v<decltype(body())>) {
            body();
            end();
        } else {
            auto result = body();
            end();
            return result;
        }
    }
    Found give_up(const std::string& what);
    // Not at all, killed inside (perhaps done all the same), returned.
    bool may_be_done(int victim, End end) const { return victim == 0 ? end != End::failed : has_earlier_; }

    std::string name_;
    bool refused_ = false, varies_ = false, one_commits_ = false, has_earlier_ = false;
    Shared<Board> board_;

private:
    friend class OperationTable;
    __attribute__((noinline)) void victim_body(int victim);
    bool learn_earlier();
    bool prepare_state();
    std::vector<std::string> files() const;
    void sweep();

    std::vector<std::string> files_before_;
    Path earlier_path_;
    std::size_t earlier_at_ = 0;
    bool stuck_ = false;
    std::chrono::nanoseconds longest_wait_{0};
};

// Names, in the table's order: all, or those of a kind ("mq", "msg", "sem", "shm", "posix").
std::vector<std::string> operation_names(const std::string& kind = {});
// A name as a test's name.
std::string as_test_name(const std::string& name);
std::unique_ptr<Operation> make_operation(const std::string& name);

// Each kind's part of the table.
class OperationTable {
public:
    using Maker = std::function<std::unique_ptr<Operation>()>;
    struct Row {
        std::string kind, name;
        Maker maker;
    };
    void add(const char* kind, std::string name, Maker maker) { rows_.push_back({kind, std::move(name), std::move(maker)}); }
    const std::vector<Row>& rows() const { return rows_; }
    static std::unique_ptr<Operation> make(const Row& row) {
        auto made = row.maker();
        made->name_ = row.name;
        return made;
    }

private:
    std::vector<Row> rows_;
};
void add_mq_operations(OperationTable&);
void add_mq_name_operations(OperationTable&);
void add_msg_operations(OperationTable&);
void add_sem_operations(OperationTable&);
void add_shm_operations(OperationTable&);
void add_posix_operations(OperationTable&);
void add_sysv_name_operations(OperationTable&);

}  // namespace muster::test
