// select and pselect: the kernel waits for the queues' FIFOs in the queues' place.
//
// FIFOs have high numbers, so the sets given to the kernel are longer than the program's. It is still the kernel's
// select: poll would tell of hang-ups that nobody asked for.
#include <sys/select.h>
#include <algorithm>
#include <bit>
#include <cstring>
#include "descriptor_calls.hpp"
#include "export.hpp"
#include "next_calls.hpp"
#include "platform/fault_copy.hpp"
#include "scratch.hpp"
#include "watching.hpp"

using namespace muster;
using namespace muster::capi;

namespace {

constexpr int kSets = 3;
constexpr int kBits = 64;
constexpr int kMost = 1 << 20;  // descriptors, the program's and ours
using Word = std::uint64_t;

// A queue in the program's sets, and what stands for it.
struct Stand {
    int descriptor;
    int fifo;
};

// What most calls need is on the stack, which may be small; the rest is mapped.
constexpr int kStandsOnStack = 16;
constexpr std::size_t kWordsOnStack = 512;

struct Asked {
    int count;               // of descriptors, as the program says
    fd_set* sets[kSets];     // the program's; null: none
    int set_count() const { return (sets[0] != nullptr) + (sets[1] != nullptr) + (sets[2] != nullptr); }
};

inline int words_of(int count) { return (count + kBits - 1) / kBits; }
inline bool has(const Word* set, int bit) { return (set[bit / kBits] >> (bit % kBits) & 1) != 0; }
inline void put(Word* set, int bit) { set[bit / kBits] |= Word{1} << (bit % kBits); }
inline void take(Word* set, int bit) { set[bit / kBits] &= ~(Word{1} << (bit % kBits)); }

// The bits below `count` of a word of a set.
inline Word below(Word word, int at, int count) {
    const int left = count - at * kBits;
    return left >= kBits ? word : word & ((Word{1} << left) - 1);
}

// Calls visit(descriptor) for each queue in any of the sets, until it returns false. False if a set cannot be read: that
// is the kernel's to refuse.
template <class Visit>
bool for_each_queue(platform::ThreadState& thread, const Asked& asked, Visit visit) {
    for (int at = 0; at < words_of(asked.count); ++at) {
        Word any = 0;
        for (const fd_set* set : asked.sets) {
            Word word = 0;
            if (set != nullptr && !platform::fault_load(thread, word, reinterpret_cast<const Word*>(set) + at)) return false;
            any |= word;
        }
        for (any = below(any, at, asked.count); any != 0; any &= any - 1) {
            const int descriptor = at * kBits + std::countr_zero(any);
            if (is_queue(descriptor) && !visit(descriptor)) return true;
        }
    }
    return true;
}

// The sets that the kernel is given: the program's, with FIFOs in the queues' place.
class Replaced {
public:
    Replaced(const Asked& asked, Stand* stands, int stand_count, int end, Word* memory)
        : asked_(asked), stands_(stands), stand_count_(stand_count), end_(end) {
        for (int s = 0; s < kSets; ++s)
            if (asked.sets[s] != nullptr) {
                sets_[s] = memory;
                memory += words_of(end);
            }
    }
    // `memory` for them, all zero.
    static std::size_t words_needed(const Asked& asked, int end) {
        return static_cast<std::size_t>(asked.set_count()) * static_cast<std::size_t>(words_of(end));
    }

    int count() const { return end_; }
    fd_set* set(int s) const { return reinterpret_cast<fd_set*>(sets_[s]); }

    // 0 or -EFAULT.
    int fill(platform::ThreadState& thread) {
        const int words = words_of(asked_.count);
        for (int s = 0; s < kSets; ++s) {
            if (sets_[s] == nullptr) continue;
            if (!platform::fault_copy(thread, sets_[s], asked_.sets[s], static_cast<std::size_t>(words) * sizeof(Word))) return -EFAULT;
            sets_[s][words - 1] = below(sets_[s][words - 1], words - 1, asked_.count);
            for (int i = 0; i < stand_count_; ++i)
                if (has(sets_[s], stands_[i].descriptor)) {
                    take(sets_[s], stands_[i].descriptor);
                    put(sets_[s], stands_[i].fifo);
                }
        }
        return 0;
    }

    // After the wait: how many bits are set in the program's sets, or -EFAULT.
    int give_back(platform::ThreadState& thread) {
        int ready = 0;
        for (int s = 0; s < kSets; ++s) {
            if (sets_[s] == nullptr) continue;
            Word* given = reinterpret_cast<Word*>(asked_.sets[s]);
            // The program's set still says what it asked for. FIFOs' own numbers may be low: they are taken out.
            for (int i = 0; i < stand_count_; ++i) {
                int& descriptor = stands_[i].descriptor;
                Word wanted = 0;
                if (!platform::fault_load(thread, wanted, given + descriptor / kBits)) return -EFAULT;
                if ((wanted >> (descriptor % kBits) & 1) == 0 || !has(sets_[s], stands_[i].fifo)) descriptor = ~descriptor;
            }
            for (int i = 0; i < stand_count_; ++i) take(sets_[s], stands_[i].fifo);
            for (int i = 0; i < stand_count_; ++i) {
                int& descriptor = stands_[i].descriptor;
                if (descriptor >= 0) put(sets_[s], descriptor);
                else descriptor = ~descriptor;
            }
            for (int at = 0; at < words_of(asked_.count); ++at) {
                const Word word = below(sets_[s][at], at, asked_.count);
                ready += std::popcount(word);
                if (!platform::fault_store(thread, given + at, word)) return -EFAULT;
            }
        }
        return ready;
    }

private:
    const Asked& asked_;
    Stand* stands_;
    int stand_count_;
    int end_;
    Word* sets_[kSets] = {};
};

template <class Wait>
int wait_replaced(platform::ThreadState& thread, Replaced& sets, Scratch* scratch, Wait wait) {
    if (const int failed = sets.fill(thread); failed != 0) return static_cast<int>(finish(failed));
    auto waiting = [&] { return wait(sets.count(), sets.set(0), sets.set(1), sets.set(2)); };
    const int result = scratch != nullptr ? wait_with_scratch(*scratch, waiting) : waiting();
    return result < 0 ? result : static_cast<int>(finish(sets.give_back(thread)));
}

// `wait` is the C library's call on some sets.
template <class Wait>
int select_queues(int count, fd_set* in, fd_set* out, fd_set* except, Wait wait) {
    if (count <= 0 || count > kMost || !queues_possible()) return wait(count, in, out, except);
    platform::ThreadState& thread = platform::current_thread();
    const Asked asked{count, {in, out, except}};
    int queues = 0;
    const auto count_one = [&](int) {
        ++queues;
        return true;
    };
    if (!for_each_queue(thread, asked, count_one) || queues == 0) return wait(count, in, out, except);

    Stand on_stack[kStandsOnStack];
    Scratch more{};
    Stand* stands = on_stack;
    const auto room = queues;  // another thread may change the sets meanwhile: not our fault, but not our overflow either
    if (room > kStandsOnStack) {
        if (!get_scratch(more, static_cast<std::size_t>(room) * sizeof(Stand))) return static_cast<int>(finish(-ENOMEM));
        stands = static_cast<Stand*>(more.start);
    }
    PassingPolls passing;
    int stand_count = 0, end = count, failed = 0;
    for_each_queue(thread, asked, [&](int descriptor) {
        const int fifo = polled_in_place(descriptor, passing);
        if (fifo < -1 || fifo >= kMost) failed = -ENOMEM;
        if (fifo >= 0 && failed == 0) {
            stands[stand_count++] = {descriptor, fifo};
            end = std::max(end, fifo + 1);
        }
        return failed == 0 && stand_count < room;
    });

    int result = static_cast<int>(finish(failed));
    const std::size_t words = Replaced::words_needed(asked, end);
    if (failed == 0 && more.start == nullptr && words <= kWordsOnStack) {
        Word memory[kWordsOnStack];
        std::memset(memory, 0, words * sizeof(Word));
        Replaced sets(asked, stands, stand_count, end, memory);
        result = wait_replaced(thread, sets, nullptr, wait);
        passing.end();
        return result;
    }
    if (failed == 0) {
        // One mapping for both, so that there is one to give back.
        const std::size_t stand_bytes = static_cast<std::size_t>(room) * sizeof(Stand);
        Scratch all;
        if (get_scratch(all, stand_bytes + words * sizeof(Word))) {
            std::memcpy(all.start, stands, static_cast<std::size_t>(stand_count) * sizeof(Stand));
            if (more.start != nullptr) drop_scratch(&more);
            more = {};
            auto* memory = reinterpret_cast<Word*>(static_cast<std::byte*>(all.start) + stand_bytes);
            Replaced sets(asked, static_cast<Stand*>(all.start), stand_count, end, memory);
            result = wait_replaced(thread, sets, &all, wait);
            drop_scratch(&all);
        } else {
            result = static_cast<int>(finish(-ENOMEM));
        }
    }
    if (more.start != nullptr) drop_scratch(&more);
    passing.end();
    return result;
}

int next_pselect(int count, fd_set* in, fd_set* out, fd_set* except, const timespec* timeout, const sigset_t* mask) {
    if (next_calls.pselect != nullptr) return next_calls.pselect(count, in, out, except, timeout, mask);
    timespec left = timeout != nullptr ? *timeout : timespec{};
    const struct {
        const sigset_t* mask;
        std::size_t bytes;
    } masked{mask, 8};
    return static_cast<int>(finish(platform::system_call(SYS_pselect6, count, in, out, except, timeout != nullptr ? &left : nullptr, &masked)));
}

int next_select(int count, fd_set* in, fd_set* out, fd_set* except, timeval* timeout) {
    if (next_calls.select != nullptr) return next_calls.select(count, in, out, except, timeout);
    const timespec left = timeout != nullptr ? timespec{timeout->tv_sec, timeout->tv_usec * 1000} : timespec{};
    return next_pselect(count, in, out, except, timeout != nullptr ? &left : nullptr, nullptr);
}

}  // namespace

MUSTER_EXPORT int select(int count, fd_set* in, fd_set* out, fd_set* except, timeval* timeout) {
    return select_queues(count, in, out, except,
                         [&](int n, fd_set* i, fd_set* o, fd_set* e) { return next_select(n, i, o, e, timeout); });
}

MUSTER_EXPORT int pselect(int count, fd_set* in, fd_set* out, fd_set* except, const timespec* timeout, const sigset_t* mask) {
    return select_queues(count, in, out, except,
                         [&](int n, fd_set* i, fd_set* o, fd_set* e) { return next_pselect(n, i, o, e, timeout, mask); });
}

MUSTER_EXPORT int __select(int, fd_set*, fd_set*, fd_set*, timeval*) __attribute__((alias("select")));
