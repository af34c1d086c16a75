// Operations of semaphore sets that exist: semop of one, of several, with SEM_UNDO, refused, asleep, beside sleepers; semctl. True
// after each: the operations are all in or all out, and those with SEM_UNDO out once their process is dead; whoever can go goes, without
// anybody looking; GETNCNT and GETZCNT are 0 at the end, every value is what was performed; a removed set is gone for all.
#include <gtest/gtest.h>
#include <algorithm>
#include "objects/semaphore_set_layout.hpp"
#include "operations.hpp"

namespace muster::test {
namespace {

using Ops = std::vector<sembuf>;
using Values = std::vector<int>;
constexpr int kSemaphores = 4;
constexpr short U = SEM_UNDO, N = IPC_NOWAIT;

enum class Act { none, operate, timed, set_value, set_all, get_all, set_mode, remove };

struct State {
    const char* name;
    Act act;
    std::vector<unsigned short> values;
    Ops ops = {};
    std::vector<Ops> sleepers = {};
    Ops help = {};            // the call sleeps: somebody then does this
    bool refused = false;
    bool quick = false;       // one compare-and-swap is to be enough
    bool first_time = false;  // the process's first operation on the set
    Ops earlier = {};         // in the middle of these somebody died just before
    Act earlier_act = Act::none;  // or of this
    unsigned short value = 2;  // what SETVAL (of semaphore 0) and SETALL store
};

// Quick states come to them with nothing but the word needed; the others find the semaphores under the lock.
const std::vector<State>& states() {
    static const Ops four_posts = {{0, 1, 0}, {1, 1, 0}, {2, 1, 0}, {3, 1, 0}};
    static const std::vector<State> all = {
        {.name = "semop/take, quick", .act = Act::operate, .values = {2, 0, 0, 0}, .ops = {{0, -1, 0}}, .quick = true},
        {.name = "semop/post, quick", .act = Act::operate, .values = {0, 0, 0, 0}, .ops = {{0, 1, 0}}, .quick = true},
        {.name = "semop/zero, quick", .act = Act::operate, .values = {0, 0, 0, 0}, .ops = {{0, 0, 0}}, .quick = true},
        {.name = "semop/take, quick, first time", .act = Act::operate, .values = {2, 0, 0, 0}, .ops = {{0, -1, 0}}, .quick = true, .first_time = true},
        {.name = "semop/take", .act = Act::operate, .values = {2, 0, 0, 0}, .ops = {{0, -1, 0}}},
        {.name = "semop/zero", .act = Act::operate, .values = {0, 0, 0, 0}, .ops = {{0, 0, 0}}},
        {.name = "semop/take refused", .act = Act::operate, .values = {0, 0, 0, 0}, .ops = {{0, -1, N}}, .refused = true},
        {.name = "semop/zero refused", .act = Act::operate, .values = {3, 0, 0, 0}, .ops = {{0, 0, N}}, .refused = true},
        {.name = "semop/take with undo", .act = Act::operate, .values = {2, 0, 0, 0}, .ops = {{0, -1, U}}},
        {.name = "semop/post with undo", .act = Act::operate, .values = {0, 0, 0, 0}, .ops = {{0, 1, U}}},
        {.name = "semop/take with undo, first time", .act = Act::operate, .values = {2, 0, 0, 0}, .ops = {{0, -1, U}}, .first_time = true},
        {.name = "semop/four", .act = Act::operate, .values = {1, 1, 1, 1}, .ops = {{0, -1, 0}, {1, 1, 0}, {2, -1, 0}, {3, 1, 0}}},
        {.name = "semop/four with undo", .act = Act::operate, .values = {1, 1, 1, 1}, .ops = {{0, -1, U}, {1, 1, 0}, {2, -1, U}, {3, 1, U}}},
        {.name = "semop/post to sleeper", .act = Act::operate, .values = {0, 0, 0, 0}, .ops = {{0, 1, 0}}, .sleepers = {{{0, -1, 0}}}},
        {.name = "semop/post to undo sleeper", .act = Act::operate, .values = {0, 0, 0, 0}, .ops = {{0, 1, 0}}, .sleepers = {{{0, -1, U}}}},
        {.name = "semop/post two to two", .act = Act::operate, .values = {0, 0, 0, 0}, .ops = {{0, 2, 0}}, .sleepers = {{{0, -1, 0}}, {{0, -1, 0}}}},
        {.name = "semop/undo post to sleeper", .act = Act::operate, .values = {0, 0, 0, 0}, .ops = {{0, 1, U}}, .sleepers = {{{0, -1, 0}}}},
        {.name = "semop/take lets zero sleeper go", .act = Act::operate, .values = {1, 0, 0, 0}, .ops = {{0, -1, 0}}, .sleepers = {{{0, 0, 0}}}},
        {.name = "semop/four to vector sleeper", .act = Act::operate, .values = {0, 0, 0, 0}, .ops = four_posts, .sleepers = {{{0, -1, 0}, {3, -1, 0}}}},
        // Its death gives semaphore 0 back, and with 1 that is what the sleeper waits for.
        {.name = "semop/death lets sleeper go", .act = Act::operate, .values = {1, 0, 0, 0}, .ops = {{0, -1, U}, {1, 1, 0}},
         .sleepers = {{{0, -1, 0}, {1, -1, 0}}}},
        {.name = "semop/take and sleep", .act = Act::operate, .values = {0, 0, 0, 0}, .ops = {{0, -1, 0}}, .help = {{0, 1, 0}}},
        {.name = "semop/zero and sleep", .act = Act::operate, .values = {1, 0, 0, 0}, .ops = {{0, 0, 0}}, .help = {{0, -1, 0}}},
        {.name = "semop/take with undo and sleep", .act = Act::operate, .values = {0, 0, 0, 0}, .ops = {{0, -1, U}}, .help = {{0, 1, 0}}},
        {.name = "semop/four and sleep", .act = Act::operate, .values = {0, 0, 1, 0}, .ops = {{0, -1, 0}, {1, 1, 0}, {2, -1, U}, {3, 1, 0}},
         .help = {{0, 1, 0}}},
        {.name = "semop/take, poster died", .act = Act::operate, .values = {2, 0, 0, 0}, .ops = {{0, -1, 0}}, .earlier = {{0, 1, U}, {1, 1, 0}}},
        {.name = "semop/four, taker died", .act = Act::operate, .values = {2, 2, 2, 2}, .ops = four_posts, .earlier = {{0, -1, 0}, {2, -1, U}}},
        {.name = "semop/post to sleeper, poster died", .act = Act::operate, .values = {0, 0, 0, 0}, .ops = {{0, 1, 0}}, .sleepers = {{{0, -1, 0}}},
         .earlier = {{0, 1, 0}, {1, 1, 0}}},
        {.name = "semop/take with undo, taker died", .act = Act::operate, .values = {3, 0, 0, 0}, .ops = {{0, -1, U}}, .earlier = {{0, -1, U}}},
        {.name = "semtimedop/take", .act = Act::timed, .values = {2, 0, 0, 0}, .ops = {{0, -1, 0}}},
        {.name = "semtimedop/too late", .act = Act::timed, .values = {0, 0, 0, 0}, .ops = {{0, -1, 0}}, .refused = true},
        {.name = "semtimedop/take and sleep", .act = Act::timed, .values = {0, 0, 0, 0}, .ops = {{0, -1, 0}}, .help = {{0, 1, 0}}},
        {.name = "semctl SETVAL/nobody about", .act = Act::set_value, .values = {1, 0, 0, 0}},
        {.name = "semctl SETVAL/sleeper", .act = Act::set_value, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, 0}}}},
        {.name = "semctl SETVAL/poster died", .act = Act::set_value, .values = {1, 0, 0, 0}, .earlier = {{0, 1, 0}, {1, 1, 0}}, .value = 7},
        {.name = "semctl SETALL/nobody about", .act = Act::set_all, .values = {1, 0, 3, 0}},
        {.name = "semctl SETALL/two sleepers", .act = Act::set_all, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, 0}}, {{1, -1, 0}, {2, -2, 0}}}},
        {.name = "semctl GETALL/nobody about", .act = Act::get_all, .values = {1, 0, 3, 0}},
        {.name = "semctl GETALL/taker died", .act = Act::get_all, .values = {2, 0, 3, 0}, .earlier = {{0, -1, U}, {2, -1, 0}}},
        {.name = "semctl IPC_SET/nobody about", .act = Act::set_mode, .values = {1, 0, 0, 0}},
        {.name = "semctl IPC_SET/sleeper", .act = Act::set_mode, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, 0}}}},
        {.name = "semctl IPC_RMID/nobody about", .act = Act::remove, .values = {1, 0, 0, 0}},
        {.name = "semctl IPC_RMID/two sleepers", .act = Act::remove, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, U}}, {{1, -1, 0}, {2, -2, 0}}}},
        {.name = "semctl IPC_RMID/poster died", .act = Act::remove, .values = {1, 0, 0, 0}, .earlier = {{0, 1, U}, {1, 1, 0}}},
        {.name = "semop/take, four with undo died", .act = Act::operate, .values = {2, 0, 1, 0}, .ops = {{0, -1, 0}},
         .earlier = {{0, -1, U}, {1, 1, 0}, {2, -1, U}, {3, 1, 0}}},
        {.name = "semop/post to sleeper, SETVAL died", .act = Act::operate, .values = {0, 0, 0, 0}, .ops = {{0, 1, 0}}, .sleepers = {{{0, -1, 0}}},
         .earlier_act = Act::set_value},
        {.name = "semop/four, SETALL died, two sleepers", .act = Act::operate, .values = {0, 0, 0, 0}, .ops = four_posts,
         .sleepers = {{{0, -1, 0}}, {{1, -1, 0}, {2, -2, 0}}}, .earlier_act = Act::set_all},
        {.name = "semop/take, IPC_RMID died", .act = Act::operate, .values = {1, 0, 0, 0}, .ops = {{0, -1, 0}}, .sleepers = {{{1, -1, 0}}},
         .earlier_act = Act::remove},
        {.name = "semctl IPC_RMID/IPC_RMID died", .act = Act::remove, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, U}}, {{1, -1, 0}, {2, -2, 0}}},
         .earlier_act = Act::remove},
    };
    return all;
}

void add(Values& to, const Ops& ops, bool undone_too = true) {
    for (const sembuf& op : ops)
        if (undone_too || (op.sem_flg & SEM_UNDO) == 0) to[op.sem_num] += op.sem_op;
}
bool has_undo(const Ops& ops) {
    return std::any_of(ops.begin(), ops.end(), [](const sembuf& op) { return (op.sem_flg & SEM_UNDO) != 0; });
}

class SemOperation : public Operation {
public:
    explicit SemOperation(const State& state) : s_(state) {
        has_earlier_ = earlier_act() != Act::none;
        refused_ = s_.refused;
        varies_ = !s_.sleepers.empty() || !s_.help.empty() || s_.first_time || has_earlier_;
        const bool alters = std::any_of(s_.ops.begin(), s_.ops.end(), [](const sembuf& op) { return op.sem_op != 0 && (op.sem_flg & SEM_UNDO) == 0; });
        one_commits_ = !varies_ && (alters || s_.act == Act::set_value || s_.act == Act::set_all);
    }
    Act earlier_act() const { return s_.earlier.empty() ? s_.earlier_act : Act::operate; }
    bool held() override { return header_->lock.load_acquire() != 0; }

private:
    bool make() override {
        id_ = library().semget(IPC_PRIVATE, kSemaphores, 0600);
        if (id_ < 0) return false;
        const std::string path = domain_path() + "/sysv/sem-" + std::to_string(id_ % 32768);
        const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (file < 0) return false;
        header_ = static_cast<objects::SemaphoreHeader*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file, 0));
        close(file);
        return true;
    }
    void drop() override {
        munmap(header_, 4096);
        library().semctl(id_, 0, IPC_RMID);
    }

    // 0 or the errno value.
    int operate(Ops ops) const { return library().semop(id_, ops.data(), ops.size()) == 0 ? 0 : errno; }
    Values values() {
        unsigned short now[kSemaphores] = {};
        EXPECT_EQ(timed([&] { return library().semctl(id_, 0, GETALL, now); }), 0);
        return {now, now + kSemaphores};
    }
    unsigned sleeping() const { return header_->sleepers.load_acquire(); }
    bool is_free(int number) const {
        const auto* first = reinterpret_cast<const objects::Semaphore*>(header_ + 1);
        return (first[number].word.load_acquire() & objects::kFree) != 0;
    }
    bool done(std::size_t sleeper) const { return board_->sleepers[sleeper].done != 0; }
    bool all_done() const {
        for (std::size_t i = 0; i < sleepers_.size(); ++i)
            if (!done(i)) return false;
        return true;
    }
    // Those that sleep on with nothing changing.
    bool quiet() {
        return eventually([&] {
            for (int look = 0; look < 3; ++look)
                for (std::size_t i = 0; i < sleepers_.size(); ++i)
                    if (!done(i) && !sleepers_[i].asleep()) return false;
            return true;
        });
    }

    bool set_state() override {
        helped_ = false;
        auto start = s_.values;
        if (library().semctl(id_, 0, SETALL, start.data()) != 0) return false;
        if (s_.act == Act::set_mode && !set_mode(0600)) return false;
        for (int tries = 0; s_.quick && !is_free(0); ++tries)
            if (tries == 100 || operate({{0, 1, N}}) != 0 || operate({{0, -1, N}}) != 0) return false;
        sleepers_.clear();
        for (const Ops& ops : s_.sleepers) {
            const std::size_t i = sleepers_.size();
            Board::Sleeper& entry = board_->sleepers[i];
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
    bool set_mode(unsigned short mode) const {
        semid_ds wanted{};
        wanted.sem_perm.uid = geteuid();
        wanted.sem_perm.gid = getegid();
        wanted.sem_perm.mode = mode;
        return library().semctl(id_, 0, IPC_SET, &wanted) == 0;
    }

    void before_call(int victim) override {
        ops_ = victim == 0 ? s_.ops : s_.earlier;
        all_.assign(kSemaphores, s_.value);
        if (s_.first_time || ops_.empty() || (has_earlier_ && victim == 0)) return;  // else the process comes with all it needs
        const short flags = static_cast<short>(N | (has_undo(ops_) ? U : 0));
        (void)operate({{3, 1, flags}});
        (void)operate({{3, -1, flags}});
    }
    int call(int victim) override {
        const timespec patience{s_.refused ? 0 : 1'000'000, s_.refused ? 1 : 0};
        switch (victim == 0 ? s_.act : earlier_act()) {
            case Act::operate: return library().semop(id_, ops_.data(), ops_.size()) == 0 ? 0 : errno;
            case Act::timed: return library().semtimedop(id_, ops_.data(), ops_.size(), &patience) == 0 ? 0 : errno;
            case Act::set_value: return library().semctl(id_, 0, SETVAL, int{s_.value}) == 0 ? 0 : errno;
            case Act::set_all: return library().semctl(id_, 0, SETALL, all_.data()) == 0 ? 0 : errno;
            case Act::get_all: return library().semctl(id_, 0, GETALL, all_.data()) == 0 ? 0 : errno;
            case Act::set_mode: return set_mode(0640) ? 0 : errno;
            case Act::remove: return library().semctl(id_, 0, IPC_RMID) == 0 ? 0 : errno;
            case Act::none: break;
        }
        return 0;
    }
    void help_it() override {
        if (s_.help.empty() || helped_ || sleeping() != 1) return;
        helped_ = true;
        EXPECT_EQ(operate(s_.help), 0);
    }

    Found look(End end) override;
    Found look_at_values(End end);
    std::vector<Values> possible(bool main_done) const;
    bool feed_sleepers(Values& found);
    void see_others_proceed();

    const State& s_;
    int id_ = -1;
    objects::SemaphoreHeader* header_ = nullptr;
    std::vector<Child> sleepers_;
    Ops ops_;
    std::vector<unsigned short> all_;
    bool helped_ = false;
};

Found SemOperation::look(End end) {
    semid_ds status{};
    const int error = timed([&] { return library().semctl(id_, 0, IPC_STAT, &status); }) == 0 ? 0 : errno;
    if ((s_.act == Act::remove || s_.earlier_act == Act::remove) && error != 0) {
        EXPECT_TRUE(error == EINVAL || error == EIDRM) << error;
        EXPECT_EQ(operate({{0, 1, N}}), EINVAL);
        if (!timed([&] { return eventually([&] { return all_done(); }); })) return give_up("somebody sleeps in a removed set");
        for (std::size_t i = 0; i < sleepers_.size(); ++i) EXPECT_EQ(board_->sleepers[i].error, EIDRM);
        sleepers_.clear();
        munmap(header_, 4096);
        EXPECT_TRUE(make());
        if (s_.act != Act::remove) return Found::undone;
        return s_.earlier_act == Act::remove ? Found::either : Found::done;
    }
    EXPECT_EQ(error, 0);
    const Found found = look_at_values(end);
    if (s_.act == Act::remove) return Found::undone;
    if (s_.act != Act::set_mode) return found;
    EXPECT_TRUE(status.sem_perm.mode == 0600 || status.sem_perm.mode == 0640) << std::oct << status.sem_perm.mode;
    return status.sem_perm.mode == 0640 ? Found::done : Found::undone;
}

// What the values may be if the call was done, or not: the earlier victim's operations may be in or out.
std::vector<Values> SemOperation::possible(bool main_done) const {
    std::vector<Values> all;
    for (const bool earlier_done : {false, true}) {
        if (earlier_done && !has_earlier_) break;
        Values now(s_.values.begin(), s_.values.end());
        const auto perform = [&](Act act, const Ops& ops) {
            if (act == Act::set_value) now[0] = s_.value;
            if (act == Act::set_all) now.assign(kSemaphores, s_.value);
            add(now, ops, false);
        };
        if (earlier_done) perform(earlier_act(), s_.earlier);
        if (helped_) add(now, s_.help);
        if (main_done) perform(s_.act, s_.ops);
        for (std::size_t i = 0; i < sleepers_.size(); ++i)
            if (done(i)) add(now, s_.sleepers[i]);
        for (int& value : now)  // SOURCE the kernel's exit_sem: what is taken back stops at zero
            if (has_undo(s_.ops) || has_undo(s_.earlier)) value = std::max(value, 0);
        all.push_back(now);
    }
    return all;
}

Found SemOperation::look_at_values(End end) {
    // Nobody looks: whoever can go has gone by itself, at once, or when it asks again.
    EXPECT_TRUE(timed([&] { return quiet(); }));
    Values found = values();
    EXPECT_TRUE(quiet());
    const auto one_of = [&](const std::vector<Values>& all) { return std::find(all.begin(), all.end(), found) != all.end(); };
    const bool in = end != End::failed && !refused_ && one_of(possible(true)), out = one_of(possible(false));
    EXPECT_TRUE(in || out) << testing::PrintToString(found) << " is none of " << testing::PrintToString(possible(true)) << " nor of "
                           << testing::PrintToString(possible(false));
    if (!timed([&] { return feed_sleepers(found); })) {
        return give_up("a sleeper sleeps on: lock " + std::to_string(header_->lock.load_relaxed()) + ", sleepers " + std::to_string(sleeping()) +
                       ", values " + testing::PrintToString(values()));
    }
    for (std::size_t i = 0; i < sleepers_.size(); ++i) EXPECT_EQ(board_->sleepers[i].error, 0);
    EXPECT_EQ(values(), found);
    see_others_proceed();
    // The sleepers end, and give back what they held.
    for (std::size_t i = 0; i < sleepers_.size(); ++i) {
        sleepers_[i].kill(SIGKILL);
        EXPECT_TRUE(sleepers_[i].ends());
        for (const sembuf& op : s_.sleepers[i])
            if ((op.sem_flg & SEM_UNDO) != 0) found[op.sem_num] -= op.sem_op;
    }
    EXPECT_EQ(values(), found);
    EXPECT_EQ(sleeping(), 0u);
    return in == out ? Found::either : in ? Found::done : Found::undone;
}

// Nobody sleeps beside what he waits for; then they are given it.
bool SemOperation::feed_sleepers(Values& found) {
    for (std::size_t i = 0; i < sleepers_.size(); ++i) {
        if (done(i)) continue;
        Values trial = found;
        bool can_go = true;
        for (const sembuf& op : s_.sleepers[i]) {
            if (op.sem_op == 0 ? trial[op.sem_num] != 0 : trial[op.sem_num] + op.sem_op < 0) can_go = false;
            trial[op.sem_num] = static_cast<short>(trial[op.sem_num] + op.sem_op);
        }
        if (can_go) return false;
        Ops wanted;
        for (const sembuf& op : s_.sleepers[i]) {
            const short more = static_cast<short>(op.sem_op == 0 ? -trial[op.sem_num] : -op.sem_op);
            if (more != 0) wanted.push_back({op.sem_num, more, N});
        }
        EXPECT_EQ(operate(wanted), 0);
        add(found, wanted);
        if (!eventually([&] { return done(i); })) return false;
        add(found, s_.sleepers[i]);
    }
    return true;
}

void SemOperation::see_others_proceed() {
    for (int number = 0; number < kSemaphores; ++number) {
        EXPECT_EQ(library().semctl(id_, number, GETNCNT), 0) << number;
        EXPECT_EQ(library().semctl(id_, number, GETZCNT), 0) << number;
    }
    for (const short flags : {N, static_cast<short>(N | U)})
        for (unsigned short number = 0; number < kSemaphores; ++number) {
            EXPECT_EQ(operate({{number, 1, flags}}), 0);
            EXPECT_EQ(operate({{number, -1, flags}}), 0);
        }
    EXPECT_EQ(operate({{0, 1, N}, {1, 1, N}, {2, 1, N}, {3, 1, N}}), 0);
    EXPECT_EQ(operate({{0, -1, N}, {1, -1, N}, {2, -1, N}, {3, -1, N}}), 0);
}

}  // namespace

void add_sem_operations(OperationTable& table) {
    for (const State& state : states()) table.add("sem", state.name, [&state] { return std::make_unique<SemOperation>(state); });
}

}  // namespace muster::test
