// semop of the built library, killed (SIGKILL) after each of its instructions: one operation, quick and locked, with and without
// SEM_UNDO; four at once; wait for zero; refused; beside sleepers that it lets go, or that its death lets go; asleep itself and
// woken. Proved after each death: the operations are all in or all out, and those with SEM_UNDO out once the process is dead;
// the next semop and semctl answer at once; whoever can go goes, without anybody looking; GETNCNT and GETZCNT are 0 at the end,
// every value is what was performed.
//
// By default some states are sampled; MUSTER_EVERY_INSTRUCTION=1 goes through all of everything.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <vector>
#include "objects/semaphore_set_layout.hpp"
#include "support/child.hpp"
#if defined(__x86_64__)
#include "support/stepping.hpp"
#endif

#if defined(__x86_64__) && defined(MUSTER_POSIX_LIBRARY)

namespace {

using namespace muster::test;
using Ops = std::vector<sembuf>;
using Values = std::vector<int>;

constexpr int kSemaphores = 4;
constexpr short U = SEM_UNDO, N = IPC_NOWAIT;
constexpr std::size_t kSleepersMax = 2;

// The library's calls, not the C library's.
struct Library {
    decltype(&semget) get;
    decltype(&semop) op;
    int (*ctl)(int, int, int, ...);
};

const Library& library() {
    static const Library loaded = [] {
        static char domain[] = "/dev/shm/muster-stepped-sem-XXXXXX";
        if (mkdtemp(domain) == nullptr) std::abort();
        setenv("MUSTER_DOMAIN", domain, 1);
        void* handle = dlopen(MUSTER_POSIX_LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) {
            std::fprintf(stderr, "%s\n", dlerror());
            std::abort();
        }
        Library found{};
        const auto load = [&](auto& pointer, const char* name) {
            pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(dlsym(handle, name));
            if (pointer == nullptr) std::abort();
        };
        load(found.get, "semget");
        load(found.op, "semop");
        load(found.ctl, "semctl");
        return found;
    }();
    return loaded;
}

struct State {
    const char* name;
    Ops victim;
    std::vector<unsigned short> values;
    std::vector<Ops> sleepers = {};
    Ops help = {};            // the victim sleeps: somebody then does this
    std::size_t stride = 1;   // 1: every instruction
    bool refused = false;
    bool quick = false;       // one compare-and-swap is to be enough
    bool first_time = false;  // the process's first operation on the set
};

// Quick states come to them with nothing but the word needed; the others find the semaphores under the lock.
const std::vector<State>& states() {
    static const std::vector<State> all = {
        {.name = "take_quick", .victim = {{0, -1, 0}}, .values = {2, 0, 0, 0}, .quick = true},
        {.name = "post_quick", .victim = {{0, 1, 0}}, .values = {0, 0, 0, 0}, .quick = true},
        {.name = "zero_quick", .victim = {{0, 0, 0}}, .values = {0, 0, 0, 0}, .quick = true},
        {.name = "take_quick_first_time", .victim = {{0, -1, 0}}, .values = {2, 0, 0, 0}, .quick = true, .first_time = true},
        {.name = "take_locked", .victim = {{0, -1, 0}}, .values = {2, 0, 0, 0}},
        {.name = "zero_locked", .victim = {{0, 0, 0}}, .values = {0, 0, 0, 0}},
        {.name = "take_refused", .victim = {{0, -1, N}}, .values = {0, 0, 0, 0}, .refused = true},
        {.name = "zero_refused", .victim = {{0, 0, N}}, .values = {3, 0, 0, 0}, .refused = true},
        {.name = "take_with_undo", .victim = {{0, -1, U}}, .values = {2, 0, 0, 0}},
        {.name = "post_with_undo", .victim = {{0, 1, U}}, .values = {0, 0, 0, 0}},
        {.name = "take_with_undo_first_time", .victim = {{0, -1, U}}, .values = {2, 0, 0, 0}, .first_time = true},
        {.name = "four", .victim = {{0, -1, 0}, {1, 1, 0}, {2, -1, 0}, {3, 1, 0}}, .values = {1, 1, 1, 1}},
        {.name = "four_with_undo", .victim = {{0, -1, U}, {1, 1, 0}, {2, -1, U}, {3, 1, U}}, .values = {1, 1, 1, 1}},
        {.name = "post_to_sleeper", .victim = {{0, 1, 0}}, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, 0}}}},
        {.name = "post_to_undo_sleeper", .victim = {{0, 1, 0}}, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, U}}}},
        {.name = "post_two_to_two", .victim = {{0, 2, 0}}, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, 0}}, {{0, -1, 0}}}, .stride = 7},
        {.name = "undo_post_to_sleeper", .victim = {{0, 1, U}}, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, 0}}}, .stride = 3},
        {.name = "take_lets_zero_sleeper_go", .victim = {{0, -1, 0}}, .values = {1, 0, 0, 0}, .sleepers = {{{0, 0, 0}}}, .stride = 3},
        {.name = "four_to_vector_sleeper", .victim = {{0, 1, 0}, {1, 1, 0}, {2, 1, 0}, {3, 1, 0}}, .values = {0, 0, 0, 0},
         .sleepers = {{{0, -1, 0}, {3, -1, 0}}}, .stride = 7},
        // Its death gives semaphore 0 back, and with 1 that is what the sleeper waits for.
        {.name = "death_lets_sleeper_go", .victim = {{0, -1, U}, {1, 1, 0}}, .values = {1, 0, 0, 0},
         .sleepers = {{{0, -1, 0}, {1, -1, 0}}}},
        {.name = "take_and_sleep", .victim = {{0, -1, 0}}, .values = {0, 0, 0, 0}, .help = {{0, 1, 0}}, .stride = 3},
        {.name = "zero_and_sleep", .victim = {{0, 0, 0}}, .values = {1, 0, 0, 0}, .help = {{0, -1, 0}}, .stride = 7},
        {.name = "take_with_undo_and_sleep", .victim = {{0, -1, U}}, .values = {0, 0, 0, 0}, .help = {{0, 1, 0}}, .stride = 7},
        {.name = "four_and_sleep", .victim = {{0, -1, 0}, {1, 1, 0}, {2, -1, U}, {3, 1, 0}}, .values = {0, 0, 1, 0},
         .help = {{0, 1, 0}}, .stride = 7},
    };
    return all;
}

void PrintTo(const State& state, std::ostream* out) { *out << state.name; }

struct Board {
    struct Entry {
        std::atomic<int> done;
        int error;
    } sleepers[kSleepersMax];
};

void add(Values& to, const Ops& ops, bool undone_too = true) {
    for (const sembuf& op : ops)
        if (undone_too || (op.sem_flg & SEM_UNDO) == 0) to[op.sem_num] += op.sem_op;
}
bool has_undo(const Ops& ops) {
    return std::any_of(ops.begin(), ops.end(), [](const sembuf& op) { return (op.sem_flg & SEM_UNDO) != 0; });
}

class EveryInstructionOfSemop : public testing::TestWithParam<State>, public Stepped {
protected:
    void SetUp() override {
        stay_on_one_cpu();
        make_queue();
    }
    void TearDown() override { drop_queue(); }
    static void TearDownTestSuite() {
        if (const char* domain = getenv("MUSTER_DOMAIN")) std::filesystem::remove_all(domain);
    }

    void make_queue() override {
        id_ = library().get(IPC_PRIVATE, kSemaphores, 0600);
        ASSERT_GE(id_, 0) << errno;
        const std::string path = std::string(getenv("MUSTER_DOMAIN")) + "/sysv/sem-" + std::to_string(id_ % 32768);
        const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
        ASSERT_GE(file, 0);
        header_ = static_cast<muster::objects::SemaphoreHeader*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file, 0));
        close(file);
    }
    void drop_queue() override {
        if (header_ != nullptr) munmap(header_, 4096);
        header_ = nullptr;
        EXPECT_EQ(library().ctl(id_, 0, IPC_RMID), 0);
    }

    // 0 or the errno value.
    int operate(Ops ops) const { return library().op(id_, ops.data(), ops.size()) == 0 ? 0 : errno; }
    Values values() const {
        unsigned short now[kSemaphores] = {};
        EXPECT_EQ(library().ctl(id_, 0, GETALL, now), 0);
        return {now, now + kSemaphores};
    }
    unsigned sleeping() const { return header_->sleepers.load_acquire(); }
    bool is_free(int number) const {
        const auto* first = reinterpret_cast<const muster::objects::Semaphore*>(header_ + 1);
        return (first[number].word.load_acquire() & muster::objects::kFree) != 0;
    }
    bool all_gone() const {
        return std::all_of(board_->sleepers, board_->sleepers + sleepers_.size(), [](const Board::Entry& each) { return each.done != 0; });
    }
    // Those that sleep on with nothing changing.
    bool quiet() {
        return eventually([&] {
            for (int look = 0; look < 3; ++look)
                for (std::size_t i = 0; i < sleepers_.size(); ++i)
                    if (board_->sleepers[i].done == 0 && !sleepers_[i].asleep()) return false;
            return true;
        });
    }

    bool prepare() override {
        const State& s = GetParam();
        helped_ = false;
        auto start = s.values;
        if (library().ctl(id_, 0, SETALL, start.data()) != 0) return false;
        for (int tries = 0; s.quick && !is_free(0); ++tries)
            if (tries == 100 || operate({{0, 1, N}}) != 0 || operate({{0, -1, N}}) != 0) return false;
        sleepers_.clear();
        for (const Ops& ops : s.sleepers) {
            const std::size_t i = sleepers_.size();
            Board::Entry& entry = board_->sleepers[i];
            entry.done = 0;
            sleepers_.emplace_back([&] {
                entry.error = operate(ops);
                entry.done = 1;
                for (;;) pause();  // what it took with undo it keeps
            });
            if (!eventually([&] { return sleeping() == i + 1 && sleepers_.back().asleep(); })) return false;
        }
        return true;
    }

    // Found by the address of its instructions: one copy of it.
    __attribute__((noinline)) void victim_body() override {
        const State& s = GetParam();
        Ops ops = s.victim;
        if (!s.first_time) {  // semaphore 3 is nobody's but in `four`: the process comes with all it needs
            const short flags = static_cast<short>(N | (has_undo(ops) ? U : 0));
            (void)operate({{3, 1, flags}});
            (void)operate({{3, -1, flags}});
        }
        muster_steps_begin();
        library().op(id_, ops.data(), ops.size());
        muster_steps_end();
    }

    void help() override {
        const State& s = GetParam();
        if (s.help.empty() || helped_ || sleeping() != 1) return;
        helped_ = true;
        EXPECT_EQ(operate(s.help), 0);
    }

    bool fail_stuck(const char* what) {
        ADD_FAILURE() << what << ": lock " << std::hex << header_->lock.load_relaxed() << ", sleepers " << sleeping() << ", values "
                      << testing::PrintToString(values());
        stuck_ = true;
        return false;
    }

    bool verify(bool finished) override {
        const State& s = GetParam();
        // Nobody looks: whoever can go has gone by itself, at once, or when it asks again.
        EXPECT_TRUE(quiet());
        const auto gone_by_itself = [&] {
            return std::count_if(board_->sleepers, board_->sleepers + sleepers_.size(), [](const Board::Entry& each) { return each.done != 0; });
        };
        const auto gone = gone_by_itself();
        Values found = values();
        EXPECT_TRUE(quiet());
        if (gone_by_itself() != gone) ++late_;

        Values out(s.values.begin(), s.values.end());
        if (helped_) add(out, s.help);
        for (std::size_t i = 0; i < sleepers_.size(); ++i)
            if (board_->sleepers[i].done != 0) add(out, s.sleepers[i]);
        Values in = out;
        add(in, s.victim, false);
        // SOURCE the kernel's exit_sem: what is taken back stops at zero.
        if (has_undo(s.victim))
            for (Values* each : {&in, &out})
                for (int& value : *each) value = std::max(value, 0);
        if (s.refused) in = out;
        EXPECT_TRUE(found == in || (found == out && !finished))
            << testing::PrintToString(found) << " is neither " << testing::PrintToString(in) << " nor " << testing::PrintToString(out)
            << (finished ? "; it had returned" : "");
        const bool operated = found == in && !s.refused;

        // Nobody sleeps beside what he waits for; then they are given it.
        for (std::size_t i = 0; i < sleepers_.size(); ++i) {
            if (board_->sleepers[i].done != 0) continue;
            Values trial = found;
            bool can_go = true;
            for (const sembuf& op : s.sleepers[i]) {
                if (op.sem_op == 0 ? trial[op.sem_num] != 0 : trial[op.sem_num] + op.sem_op < 0) can_go = false;
                trial[op.sem_num] = static_cast<short>(trial[op.sem_num] + op.sem_op);
            }
            if (can_go) return fail_stuck("a sleeper sleeps on");
            Ops wanted;
            for (const sembuf& op : s.sleepers[i]) {
                const short more = static_cast<short>(op.sem_op == 0 ? -trial[op.sem_num] : -op.sem_op);
                if (more != 0) wanted.push_back({op.sem_num, more, N});
            }
            EXPECT_EQ(operate(wanted), 0);
            add(found, wanted);
            if (!eventually([&] { return board_->sleepers[i].done != 0; })) return fail_stuck("a sleeper sleeps for ever");
            add(found, s.sleepers[i]);
        }
        for (std::size_t i = 0; i < sleepers_.size(); ++i) EXPECT_EQ(board_->sleepers[i].error, 0);
        EXPECT_EQ(values(), found);
        for (int number = 0; number < kSemaphores; ++number) {
            EXPECT_EQ(library().ctl(id_, number, GETNCNT), 0) << number;
            EXPECT_EQ(library().ctl(id_, number, GETZCNT), 0) << number;
        }
        // The next proceed.
        for (const short flags : {N, static_cast<short>(N | U)})
            for (unsigned short number = 0; number < kSemaphores; ++number) {
                EXPECT_EQ(operate({{number, 1, flags}}), 0);
                EXPECT_EQ(operate({{number, -1, flags}}), 0);
            }
        EXPECT_EQ(operate({{0, 1, N}, {1, 1, N}, {2, 1, N}, {3, 1, N}}), 0);
        EXPECT_EQ(operate({{0, -1, N}, {1, -1, N}, {2, -1, N}, {3, -1, N}}), 0);
        // The sleepers end, and give back what they held.
        for (std::size_t i = 0; i < sleepers_.size(); ++i) {
            sleepers_[i].kill(SIGKILL);
            EXPECT_TRUE(sleepers_[i].ends());
            for (const sembuf& op : s.sleepers[i])
                if ((op.sem_flg & SEM_UNDO) != 0) found[op.sem_num] -= op.sem_op;
        }
        EXPECT_EQ(values(), found);
        EXPECT_EQ(sleeping(), 0u);
        return operated || (finished && !s.refused);
    }

    int id_ = -1;
    muster::objects::SemaphoreHeader* header_ = nullptr;
    std::vector<Child> sleepers_;
    Shared<Board> board_;
    bool helped_ = false;
    unsigned late_ = 0;  // deaths after which somebody went only when looked at: who asks again every few milliseconds may be caught so
};

TEST_P(EveryInstructionOfSemop, MayBeTheLast) {
    const State& s = GetParam();
    const bool alters = std::any_of(s.victim.begin(), s.victim.end(),
                                    [](const sembuf& op) { return op.sem_op != 0 && (op.sem_flg & SEM_UNDO) == 0; });
    step_through(*this, {s.name, s.stride, !s.refused, alters && s.sleepers.empty() && s.help.empty(), s.first_time});
    EXPECT_LE(late_, 5u) << "sleepers go when somebody looks, not by themselves";
}

// Killed while it sleeps, with nobody helping.
TEST_P(EveryInstructionOfSemop, TheSleepMayBeTheLast) {
    const State& s = GetParam();
    if (s.help.empty()) return;
    for (int death = 0; death < 20; ++death) {
        ASSERT_TRUE(prepare());
        {
            Child victim([&] { operate(s.victim); });
            ASSERT_TRUE(eventually([&] { return sleeping() == 1 && victim.asleep(); }));
            victim.kill(SIGKILL);
            ASSERT_TRUE(victim.ends());
        }
        verify(false);
        // What it waited for is the next one's.
        ASSERT_TRUE(prepare());
        EXPECT_EQ(operate(s.help), 0);
        Ops at_once = s.victim;
        for (sembuf& op : at_once) op.sem_flg = N;
        EXPECT_EQ(operate(at_once), 0);
        ASSERT_FALSE(HasFailure());
    }
}

INSTANTIATE_TEST_SUITE_P(States, EveryInstructionOfSemop, testing::ValuesIn(states()), [](const auto& info) { return std::string(info.param.name); });

}  // namespace

#else
TEST(EveryInstructionOfSemop, MayBeTheLast) { GTEST_SKIP() << "single-stepping is written for x86-64 and the shared library"; }
#endif
