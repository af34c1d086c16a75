// The simulated kernel: futexes, and what it does at a thread's death. See machine.hpp.
#include <cerrno>
#include <ctime>
#include "machine.hpp"

namespace muster::simulated {
namespace {
std::uint32_t now_in(const std::uint32_t* word) {
    return *const_cast<const volatile std::uint32_t*>(word);
}
}  // namespace

long Machine::sleep(const Process::Sleep* on, unsigned count, bool timed, std::int64_t deadline_ns) {
    Process& mine = *current_;
    for (;;) {
        for (unsigned i = 0; i < count; ++i)
            if (now_in(on[i].address) != on[i].expected) return -EAGAIN;
        if (mine.recheck_address == on[0].address) {
            if (mine.recheck_expected == on[0].expected)
                ++mine.in_vain;
            else if (rescued)
                rescued(mine.number, mine.recheck_address, mine.recheck_changed);
            mine.recheck_address = nullptr;
        }
        ++counters.sleeps;
        for (unsigned i = 0; i < count; ++i) mine.sleeps[i] = {on[i].address, on[i].expected, ++orders_};
        mine.sleeping_on = count;
        mine.timed = timed;
        mine.deadline_ns = deadline_ns;
        mine.state = Process::State::asleep;
        reschedule();
        if (mine.result == -ERESTART) continue;  // it was stopped and continued
        return mine.result;
    }
}

long Machine::wake(std::uint32_t* word, int count, bool by_the_dead) {
    if (__builtin_expect(tampered, 0) && tampering.loses_wake && !by_the_dead && tampering.loses_wake(word)) return 0;
    long woken = 0;
    while (woken < count) {
        Process* first = nullptr;
        unsigned index = 0;
        std::uint64_t order = ~0ull;
        for (unsigned i = 0; i < count_; ++i) {
            Process& each = processes_[i];
            if (each.state != Process::State::asleep) continue;
            for (unsigned k = 0; k < each.sleeping_on; ++k)
                if (each.sleeps[k].address == word && each.sleeps[k].order < order) {
                    first = &each;
                    index = k;
                    order = each.sleeps[k].order;
                }
        }
        if (first == nullptr) break;
        become_ready(*first, index);
        ++woken;
    }
    return woken;
}

long Machine::requeue(std::uint32_t* word, long most, std::uint32_t* to) {
    if (__builtin_expect(tampered, 0) && tampering.loses_requeue && to != word && tampering.loses_requeue(word)) return 0;
    long moved = 0;
    while (moved < most) {
        Process::Sleep* first = nullptr;
        for (unsigned i = 0; i < count_; ++i) {
            Process& each = processes_[i];
            if (each.state != Process::State::asleep) continue;
            for (unsigned k = 0; k < each.sleeping_on; ++k)
                if (each.sleeps[k].address == word && (first == nullptr || each.sleeps[k].order < first->order))
                    first = &each.sleeps[k];
        }
        if (first == nullptr) break;
        ++moved;
        if (to == word) break;  // counted, and left where it is
        first->address = to;
        first->order = ++orders_;
    }
    return moved;
}

// SOURCE futex(2), for the operations that Muster uses.
long Machine::futex(std::uint32_t* word, int operation, long value, long fourth, std::uint32_t* second, long value3) {
    point();
    flush(*current_);
    long result = -ENOSYS;
    switch (operation & ~FUTEX_CLOCK_REALTIME) {
        case FUTEX_WAIT:
        case FUTEX_WAIT_BITSET: {
            const auto* time = reinterpret_cast<const timespec*>(fourth);
            std::int64_t deadline = time != nullptr ? time->tv_sec * 1'000'000'000 + time->tv_nsec : 0;
            if (time != nullptr && (operation & ~FUTEX_CLOCK_REALTIME) == FUTEX_WAIT) deadline += now_ns_;
            const Process::Sleep on{word, static_cast<std::uint32_t>(value), 0};
            record("futex: wait", word, static_cast<std::uint32_t>(value), 4, nullptr);
            result = sleep(&on, 1, time != nullptr, deadline);
            break;
        }
        case FUTEX_WAKE:
            result = wake(word, static_cast<int>(value));
            record("futex: wake", word, static_cast<std::uint64_t>(result), 0, nullptr);
            break;
        case FUTEX_REQUEUE:
        case FUTEX_CMP_REQUEUE:
            if ((operation & ~FUTEX_CLOCK_REALTIME) == FUTEX_CMP_REQUEUE && now_in(word) != static_cast<std::uint32_t>(value3))
                result = -EAGAIN;
            else
                result = wake(word, static_cast<int>(value)) + requeue(word, fourth, second);
            record("futex: requeue", word, static_cast<std::uint64_t>(result), 0, nullptr);
            break;
        default:
            fail("a futex operation that the simulated kernel does not know");
            break;
    }
    point();
    return result;
}

// SOURCE futex_waitv(2); `entries` as platform::WaitEntry.
long Machine::wait_any(const void* entries, unsigned count, const timespec* until) {
    struct Entry {
        std::uint64_t expected, address;
        std::uint32_t flags, reserved;
    };
    point();
    flush(*current_);
    if (count > Process::kSleeps) {
        fail("more words to sleep on than the simulated kernel has room for");
        return -EINVAL;
    }
    Process::Sleep on[Process::kSleeps];
    for (unsigned i = 0; i < count; ++i) {
        const Entry& entry = static_cast<const Entry*>(entries)[i];
        on[i] = {reinterpret_cast<std::uint32_t*>(entry.address), static_cast<std::uint32_t>(entry.expected), 0};
        record("futex: wait, any", on[i].address, on[i].expected, 4, nullptr);
    }
    const long result = sleep(on, count, until != nullptr, until != nullptr ? until->tv_sec * 1'000'000'000 + until->tv_nsec : 0);
    point();
    return result;
}

// SOURCE kernel/futex/core.c: handle_futex_death().
void Machine::handle_futex_death(Process& dead, std::uint32_t* word, bool pending) {
    const std::uint32_t seen = now_in(word), owner = seen & FUTEX_TID_MASK;
    if (pending && owner == 0) {
        // It may have let go of the word and not woken anybody yet, or have been woken and not taken it.
        if (!tampering.no_death_wake) wake(word, 1, true);
        return;
    }
    if (owner != dead.thread.thread_id || tampering.no_death_mark) return;
    *const_cast<volatile std::uint32_t*>(word) = (seen & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
    record("the kernel marks", word, now_in(word), 4, nullptr);
    if ((seen & FUTEX_WAITERS) != 0 && !tampering.no_death_wake) wake(word, 1, true);
}

// SOURCE kernel/futex/core.c: exit_robust_list().
void Machine::exit_thread(Process& process) {
    record("is gone:", nullptr, process.number, 0, nullptr);
    for (std::uint32_t* word : process.robust_words) handle_futex_death(process, word, false);
    if (const robust_list* pending = process.robust.list_op_pending; pending != nullptr)
        handle_futex_death(process,
                           reinterpret_cast<std::uint32_t*>(reinterpret_cast<std::uintptr_t>(pending) +
                                                            static_cast<std::uintptr_t>(process.robust.futex_offset)),
                           true);
    process.exists = process.locks_record = false;
    look_again();
}

}  // namespace muster::simulated
