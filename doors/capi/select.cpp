// select and pselect: the kernel waits for the queues' FIFOs in the queues' place.
//
// FIFOs have high numbers, so the sets given to the kernel are longer than the program's. It is still the kernel's
// select: poll would tell of hang-ups that nobody asked for.
#include <sys/select.h>
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
constexpr std::size_t kSetWords = kMost / kBits;

// A queue in the program's sets, and what stands for it.
struct Stand {
    int descriptor;
    int fifo;
};

// Most of it is never touched.
struct Work {
    Word sets[kSets][kSetWords];
    Stand stands[kMost];
};

inline int words_of(int count) { return (count + kBits - 1) / kBits; }
inline bool has(const Word* set, int bit) { return (set[bit / kBits] >> (bit % kBits) & 1) != 0; }
inline void put(Word* set, int bit) { set[bit / kBits] |= Word{1} << (bit % kBits); }
inline void take(Word* set, int bit) { set[bit / kBits] &= ~(Word{1} << (bit % kBits)); }

// The bits below `count` of a word of a set.
inline Word asked(Word word, int at, int count) {
    const int left = count - at * kBits;
    return left >= kBits ? word : word & ((Word{1} << left) - 1);
}

// Whether any queue is in the sets. Sets that cannot be read are the kernel's to refuse.
bool queues_in(platform::ThreadState& thread, int count, fd_set* const (&given)[kSets]) {
    for (int at = 0; at < words_of(count); ++at) {
        Word any = 0;
        for (fd_set* set : given) {
            Word word = 0;
            if (set != nullptr && !platform::fault_load(thread, word, reinterpret_cast<const Word*>(set) + at)) return false;
            any |= word;
        }
        for (any = asked(any, at, count); any != 0; any &= any - 1)
            if (is_queue(at * kBits + std::countr_zero(any))) return true;
    }
    return false;
}

// Copies the sets, queues replaced. How many queues there were, or a negated errno; `end` is one above the highest bit.
int prepare(platform::ThreadState& thread, Work& work, int count, fd_set* const (&given)[kSets], int& end) {
    int stands = 0;
    const int words = words_of(count);
    for (int s = 0; s < kSets; ++s) {
        if (given[s] == nullptr) continue;
        if (!platform::fault_copy(thread, work.sets[s], given[s], static_cast<std::size_t>(words) * sizeof(Word))) return -EFAULT;
        work.sets[s][words - 1] = asked(work.sets[s][words - 1], words - 1, count);
    }
    end = count;
    for (int at = 0; at < words; ++at) {
        for (Word any = work.sets[0][at] | work.sets[1][at] | work.sets[2][at]; any != 0; any &= any - 1) {
            const int descriptor = at * kBits + std::countr_zero(any);
            if (!is_queue(descriptor)) continue;
            const int fifo = polled_in_place(descriptor);
            if (fifo == -1) continue;
            if (fifo < 0 || fifo >= kMost) return -ENOMEM;
            work.stands[stands++] = {descriptor, fifo};
            if (fifo >= end) end = fifo + 1;
        }
    }
    for (auto& set : work.sets)
        for (int i = 0; i < stands; ++i)
            if (has(set, work.stands[i].descriptor)) {
                take(set, work.stands[i].descriptor);
                put(set, work.stands[i].fifo);
            }
    return stands;
}

// Gives the results back; `was` are the program's own sets, still as it gave them. How many bits are set.
int give_back(platform::ThreadState& thread, Work& work, int stands, int count, fd_set* const (&given)[kSets]) {
    const int words = words_of(count);
    int ready = 0;
    for (int s = 0; s < kSets; ++s) {
        if (given[s] == nullptr) continue;
        Word* set = work.sets[s];
        // First what is told of FIFOs, then the FIFOs out of the way, whose numbers may be low.
        for (int i = 0; i < stands; ++i) {
            const Stand& stand = work.stands[i];
            Word was = 0;
            if (!platform::fault_load(thread, was, reinterpret_cast<const Word*>(given[s]) + stand.descriptor / kBits)) return -EFAULT;
            work.stands[i].descriptor = has(set, stand.fifo) && (was >> (stand.descriptor % kBits) & 1) != 0 ? stand.descriptor : ~stand.descriptor;
        }
        for (int i = 0; i < stands; ++i) take(set, work.stands[i].fifo);
        for (int i = 0; i < stands; ++i) {
            int& descriptor = work.stands[i].descriptor;
            if (descriptor >= 0) put(set, descriptor);
            else descriptor = ~descriptor;
        }
        for (int at = 0; at < words; ++at) {
            ready += std::popcount(asked(set[at], at, count));
            if (!platform::fault_store(thread, reinterpret_cast<Word*>(given[s]) + at, set[at])) return -EFAULT;
        }
    }
    return ready;
}

// `wait` is the C library's call on some sets.
template <class Wait>
int select_queues(int count, fd_set* in, fd_set* out, fd_set* except, Wait wait) {
    if (count <= 0 || count > kMost || !queues_possible()) return wait(count, in, out, except);
    platform::ThreadState& thread = platform::current_thread();
    fd_set* const given[kSets] = {in, out, except};
    if (!queues_in(thread, count, given)) return wait(count, in, out, except);
    Scratch scratch;
    if (!get_scratch(scratch, sizeof(Work))) return static_cast<int>(finish(-ENOMEM));
    auto& work = *static_cast<Work*>(scratch.start);
    int end = count;
    const int stands = prepare(thread, work, count, given, end);
    int result = stands;
    if (stands >= 0) {
        const auto set = [&](int s) { return given[s] != nullptr ? reinterpret_cast<fd_set*>(work.sets[s]) : nullptr; };
        auto waiting = [&] { return wait(end, set(0), set(1), set(2)); };
        result = wait_with_scratch(scratch, waiting);
        if (result >= 0) result = static_cast<int>(finish(give_back(thread, work, stands, count, given)));
    } else {
        result = static_cast<int>(finish(stands));
    }
    drop_scratch(&scratch);
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
