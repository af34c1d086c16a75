// muster/semaphore_set.hpp: counting semaphores in sets, with operations on several at once and undo.
//
// Contract  POSIX.1-2017 and Linux semop(2), semctl(2): the same sets as semget() reaches through libmuster_posix by the same
//           key, and the muster command as "sem:0x1234" or "sem:id=5". One thing is better: a set is created with its
//           values, so nobody ever finds one that is not initialised yet.
// Threads   every member may be called at once from any thread of any process, except moving and destroying.
// Crashes   an operation is wholly done or not at all, wherever its process is killed. A process that ends in any way gives back
//           what it took with undo: every Hold, for one. Nobody waits for the dead.
// Fork      a child has no adjustments of its own; a Hold belongs to the process that took it, and does nothing in a child.
// Signals   not to be called from signal handlers; the C calls may be.
// Costs     an operation on one semaphore that need not wait and has no undo is one compare-and-swap. A process keeps four
//           descriptors for each domain in which it has used semaphore sets or segments.
#pragma once
#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>
#include "deadline.hpp"
#include "domain.hpp"
#include "key.hpp"
#include "result.hpp"

namespace muster {

struct SemaphoreSetOptions {
    std::uint32_t mode = 0600;  // read and write bits for owner, group, others; literally: the umask is not System V's
};

// One part of an operation: as sembuf of semop(2).
struct SemaphoreOperation {
    std::uint16_t number = 0;  // which semaphore, from 0
    std::int16_t amount = 0;   // above 0: added. Below: taken, once the value is that high. 0: waits until the value is 0
    bool undo = false;         // given back when the process ends
};

// One who sleeps at a set.
struct SemaphoreWaiter {
    std::int32_t pid, thread_id;
    std::uint16_t number;     // the semaphore that it waits for
    std::int16_t amount;      // what it would do to it; 0: waits for zero
    std::chrono::system_clock::time_point since;
};

// A process at whose end the semaphore changes by `adjustment`: it holds -adjustment less if that is negative.
struct SemaphoreHolder {
    std::int32_t pid;
    std::uint16_t number;
    std::int32_t adjustment;
    std::chrono::system_clock::time_point last_operation;  // on that semaphore, by anybody
};

struct SemaphoreSetStatus {
    std::uint32_t semaphores;
    std::uint32_t owner_uid, owner_gid, creator_uid, creator_gid, mode;
    std::chrono::system_clock::time_point created;
    std::chrono::system_clock::time_point last_operation;  // sem_otime; the epoch: never
    std::chrono::system_clock::time_point last_change;     // sem_ctime: values set, or the owner
};

class SemaphoreSet {
public:
    static constexpr std::uint32_t kValueMax = 32767;
    static constexpr std::size_t kOperationsMax = 500;  // in one call

    // Makes a new set with one semaphore for each value, 0..kValueMax. At no time does anybody see it without them.
    //
    //   key      Key::none(): a set of its own, found by identifier() alone
    //   options  mode
    //
    // Errors, after all of which nothing was made:
    //   EEXIST  there is a set of that key already
    //   EINVAL  no value, or more than the domain's limit (32 000)
    //   ERANGE  a value above kValueMax
    //   ENOSPC  the file system is full, or the domain has as many sets or semaphores as its limits allow
    //   EMFILE, ENFILE, EACCES  no file can be made in the domain
    static Result<SemaphoreSet> create(const Domain& domain, Key key, std::span<const std::uint16_t> values,
                                       const SemaphoreSetOptions& options = {});
    static Result<SemaphoreSet> create(const Domain& domain, Key key, std::initializer_list<std::uint16_t> values,
                                       const SemaphoreSetOptions& options = {}) {
        return create(domain, key, std::span<const std::uint16_t>(values.begin(), values.size()), options);
    }

    // Opens an existing set, by its key or by its identifier.
    //
    // Errors:
    //   ENOENT   there is none (any more)
    //   EINVAL   Key::none(), which many sets have
    //   EACCES   the mode gives this user no right at all
    //   EBADMSG  the file is no set of this format, or is damaged; hint() says which
    static Result<SemaphoreSet> open(const Domain& domain, Key key);
    static Result<SemaphoreSet> open(const Domain& domain, std::int32_t identifier);

    // Opens the set of that key, making it first if there is none; `values` and `options` matter only then.
    // Errors: as create() and open(); EINVAL also if the existing set has fewer semaphores than values are given.
    static Result<SemaphoreSet> open_or_create(const Domain& domain, Key key, std::span<const std::uint16_t> values,
                                               const SemaphoreSetOptions& options = {});
    static Result<SemaphoreSet> open_or_create(const Domain& domain, Key key, std::initializer_list<std::uint16_t> values,
                                               const SemaphoreSetOptions& options = {}) {
        return open_or_create(domain, key, std::span<const std::uint16_t>(values.begin(), values.size()), options);
    }

    SemaphoreSet(SemaphoreSet&&) noexcept;
    SemaphoreSet& operator=(SemaphoreSet&&) noexcept;
    ~SemaphoreSet();  // lets go of the memory; the set and its values stay

    std::uint32_t size() const;         // how many semaphores
    std::int32_t identifier() const;    // as semget(2) returns it
    Key key() const;
    const std::string& name() const;    // "sem:0x1234", or "sem:id=5" without a key

    // Performs all operations or none, in the order given; waits until all of them can be.
    //
    //   operations  1 to kOperationsMax; a semaphore may come several times
    //   deadline    when to give up waiting; Deadline::now() never waits. Time passes on the monotonic clock once it waits
    //
    // Errors, after all of which every value is as it was before the call:
    //   EAGAIN     it would have to wait and deadline is now()
    //   ETIMEDOUT  it could not be done up to the deadline
    //   EINTR      a signal handler without SA_RESTART ran while waiting
    //   EIDRM      the set was removed, before or while waiting
    //   ERANGE     a value would exceed kValueMax, or an adjustment its limits (-32768..32767)
    //   EINVAL     no operation; a number that is none of the set's semaphores
    //   E2BIG      more than kOperationsMax
    //   EACCES     the mode lets this user look but not change (or not look, if all are waits for zero)
    //   ENOSPC, ENOMEM  no memory for the sleeper or its undo; 8192 sleepers, 8192 processes with undo
    Result<> operate(std::span<const SemaphoreOperation> operations, Deadline deadline = Deadline::never());
    Result<> operate(std::initializer_list<SemaphoreOperation> operations, Deadline deadline = Deadline::never()) {
        return operate(std::span<const SemaphoreOperation>(operations.begin(), operations.size()), deadline);
    }
    Result<> try_operate(std::initializer_list<SemaphoreOperation> operations) { return operate(operations, Deadline::now()); }

    // The same for one semaphore; `amount` is 1..kValueMax, else EINVAL. post() never waits.
    Result<> wait(std::uint16_t number = 0, std::uint16_t amount = 1, Deadline deadline = Deadline::never());
    Result<> try_wait(std::uint16_t number = 0, std::uint16_t amount = 1) { return wait(number, amount, Deadline::now()); }
    Result<> post(std::uint16_t number = 0, std::uint16_t amount = 1);
    // Waits until the value is 0.
    Result<> wait_zero(std::uint16_t number = 0, Deadline deadline = Deadline::never());
    Result<> try_wait_zero(std::uint16_t number = 0) { return wait_zero(number, Deadline::now()); }

    // What was taken from a semaphore, given back at the end of the Hold or of the process, whichever is first.
    class Hold;
    // Errors: as operate().
    Result<Hold> hold(std::uint16_t number = 0, std::uint16_t amount = 1, Deadline deadline = Deadline::never());
    Result<Hold> try_hold(std::uint16_t number = 0, std::uint16_t amount = 1);

    // Values, those of all at one instant. Adjustments of processes that have ended are applied first.
    // Errors: EIDRM; EINVAL no such semaphore; EACCES the mode does not let this user look.
    Result<std::uint32_t> value(std::uint16_t number = 0) const;
    Result<std::vector<std::uint16_t>> values() const;
    // Sets a value, or all; forgets every process's adjustments of those semaphores, and lets go whoever can go on then.
    // Errors: EIDRM; ERANGE above kValueMax; EINVAL no such semaphore, not as many values as semaphores; EACCES.
    Result<> set(std::uint16_t number, std::uint16_t value);
    Result<> set_all(std::span<const std::uint16_t> values);

    // How many wait for an increase of the semaphore, or for it to become zero; who operated on it last (0: nobody).
    // Errors: EIDRM, EINVAL, EACCES.
    Result<std::uint32_t> waiting(std::uint16_t number = 0) const;
    Result<std::uint32_t> waiting_for_zero(std::uint16_t number = 0) const;
    Result<std::int32_t> last_pid(std::uint16_t number = 0) const;

    // For tools: everyone who sleeps here, the first to come first; every process with adjustments. Errors: EIDRM, EACCES.
    Result<std::vector<SemaphoreWaiter>> waiters() const;
    Result<std::vector<SemaphoreHolder>> holders() const;
    Result<SemaphoreSetStatus> status() const;

    // Ends the set for everybody: all who wait, and every later call, get EIDRM. Errors: EIDRM; EPERM not owner, creator or root.
    Result<> remove();

    struct Implementation;

private:
    explicit SemaphoreSet(std::shared_ptr<Implementation> implementation);
    std::shared_ptr<Implementation> implementation_;
};

// Taken by SemaphoreSet::hold(). Keeps the set's memory, so it may outlive the SemaphoreSet. One thread at a time.
class SemaphoreSet::Hold {
public:
    Hold(Hold&&) noexcept;
    Hold& operator=(Hold&&) noexcept;  // releases what it held before
    ~Hold();                           // releases

    // Gives back now. Nothing to do, and no error, if that was done before, or in a child process.
    // Errors: EIDRM the set was removed; ERANGE others have posted so much that there is no room: it is then still held.
    Result<> release();
    explicit operator bool() const { return amount_ != 0; }
    std::uint16_t number() const { return number_; }
    std::uint16_t amount() const { return amount_; }

private:
    friend class SemaphoreSet;
    Hold(std::shared_ptr<Implementation> implementation, std::uint16_t number, std::uint16_t amount);
    std::shared_ptr<Implementation> implementation_;
    std::uint16_t number_, amount_;
    std::int32_t pid_;
};

}  // namespace muster
