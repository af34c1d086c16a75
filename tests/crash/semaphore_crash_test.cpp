// A process is killed (SIGKILL) at every crash point of the semaphore engine, in every operation and state that reaches it, sleepers present.
// Proved after each death: the operation in flight is wholly in or wholly out (with undo: out); nobody who can go sleeps on; nobody is
// counted who does not sleep; values are the sum of what was performed; newcomers proceed; the set can be removed under those who still sleep.
//
// How: each scenario runs once with the victim alive while its crash points are noted, then once for each of them.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>
#include "objects/semaphore_set.hpp"
#include "platform/crash_point.hpp"
#include "support/child.hpp"

namespace {

namespace objects = muster::objects;
namespace platform = muster::platform;
using namespace muster::test;
using objects::SemaphoreOp;

constexpr std::int16_t kUndo = 0x1000;
constexpr std::int16_t kNoWaitFlag = 04000;
constexpr std::uint32_t kSemaphores = 4;

// One row for each crash point of the sources. `either`: whether the operation counts depends on which of several changes it is in.
enum class Fate { before, after, either };
constexpr Fate B = Fate::before, A = Fate::after, E = Fate::either;
struct PointRow {
    const char* point;
    Fate fate;
};
constexpr PointRow kPoints[] = {
    {"lock.sleepers_free", E},
    {"semaphore.actor.begun", B},       {"semaphore.actor.ending", E},       {"semaphore.actor.locked", E},
    {"semaphore.alone.words", A},       {"semaphore.alone.applied", A},
    {"semaphore.alone.committed", A},   {"semaphore.alone.staged", B},       {"semaphore.applied", E},
    {"semaphore.apply.adjustments", E}, {"semaphore.apply.cleared", E},      {"semaphore.apply.given", E},
    {"semaphore.apply.words", E},       {"semaphore.change.committed", E},   {"semaphore.change.staged", E},
    {"semaphore.forget.unlinked", E},   {"semaphore.lives.armed", B},        {"semaphore.lives.claimed", B},
    {"semaphore.lives.vouched", B},
    {"semaphore.locked", B},            {"semaphore.nudge.marked", E},       {"semaphore.operated", E},
    {"semaphore.recover.applied", B},
    {"semaphore.recover.relinked", B},  {"semaphore.recover.served", B},     {"semaphore.remove.called", B},
    {"semaphore.remove.marked", A},     {"semaphore.serve.called", E},       {"semaphore.serve.handover", E},
    {"semaphore.sleep.awake", E},       {"semaphore.sleep.before", E},       {"semaphore.sleep.linked", B},
    {"semaphore.sleep.ready", B},       {"semaphore.undo.filled", B},        {"semaphore.undo.made", B},
    {"semaphore.undo.staged", E},
};

enum class Act { operate, set_value, set_all, remove, count };
struct Scenario {
    const char* name;
    std::vector<SemaphoreOp> victim = {};
    std::vector<std::uint16_t> values = {};
    std::vector<std::vector<SemaphoreOp>> sleepers = {};
    Act act = Act::operate;
    bool victim_sleeps = false;           // the parent posts `help` once it does
    std::vector<SemaphoreOp> help = {};
    std::vector<SemaphoreOp> dead_holder = {};  // a process performed this and was killed before
    std::vector<std::vector<SemaphoreOp>> dead_sleepers = {};  // they were killed before
    const char* orphaned_at = nullptr;     // a process performing `orphan` was killed there before
    std::vector<SemaphoreOp> orphan = {};
};

const std::vector<Scenario>& scenarios() {
    static const std::vector<Scenario> all = {
        {.name = "post_alone", .victim = {{0, 1, 0}}, .values = {0, 0, 0, 0}},
        {.name = "vector_alone", .victim = {{0, 1, 0}, {1, -1, 0}, {0, 1, 0}}, .values = {0, 3, 0, 0}},
        {.name = "undo_alone", .victim = {{0, -1, kUndo}}, .values = {2, 0, 0, 0}},
        {.name = "undo_vector_alone", .victim = {{0, -1, kUndo}, {1, 2, kUndo}, {0, -1, kUndo}, {2, 1, 0}}, .values = {2, 0, 0, 0}},
        {.name = "post_to_one", .victim = {{0, 1, 0}}, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, 0}}}},
        {.name = "post_two_to_two", .victim = {{0, 2, 0}}, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, 0}}, {{0, -1, 0}}, {{0, -1, 0}}}},
        {.name = "post_to_undo_sleepers", .victim = {{0, 1, 0}}, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, kUndo}}, {{0, -1, kUndo}}}},
        {.name = "undo_post_to_two", .victim = {{0, 2, kUndo}}, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, 0}}, {{0, -2, 0}}}},
        {.name = "post_to_chain", .victim = {{0, 1, 0}}, .values = {0, 0, 0, 0},
         .sleepers = {{{2, -1, 0}, {3, 1, 0}}, {{1, -1, 0}, {2, 1, 0}}, {{0, -1, 0}, {1, 1, 0}}}},
        {.name = "zero_to_two", .victim = {{0, -1, 0}}, .values = {1, 0, 0, 0}, .sleepers = {{{0, 0, 0}}, {{0, 0, 0}, {1, 1, 0}}, {{0, 0, 0}, {2, 0, 0}}}},
        {.name = "five_to_one", .victim = {{0, 1, 0}}, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, 0}, {1, 1, 0}, {2, 1, 0}, {3, 1, 0}, {1, 1, 0}}}},
        {.name = "take_with_undo_beside_sleeper", .victim = {{0, -1, kUndo}}, .values = {1, 0, 0, 0}, .sleepers = {{{0, -2, 0}}}},
        {.name = "sleep_and_go", .victim = {{0, -1, 0}}, .values = {0, 0, 0, 0}, .victim_sleeps = true, .help = {{0, 1, 0}}},
        {.name = "sleep_and_go_vector", .victim = {{0, -1, 0}, {1, 1, 0}, {2, 1, 0}, {3, 1, 0}, {1, 1, 0}}, .values = {0, 0, 0, 0}, .victim_sleeps = true, .help = {{0, 1, 0}}},
        {.name = "sleep_and_go_undo", .victim = {{0, -1, kUndo}}, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, kUndo}}}, .victim_sleeps = true, .help = {{0, 2, 0}}},
        {.name = "set_value", .victim = {{0, 2, 0}}, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, 0}}, {{0, -2, 0}}}, .act = Act::set_value},
        {.name = "set_all", .victim = {{0, 2, 0}}, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, 0}}, {{0, -1, 0}, {1, 0, 0}}}, .act = Act::set_all},
        {.name = "remove", .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, 0}}, {{0, -1, kUndo}, {1, -1, 0}}}, .act = Act::remove},
        {.name = "dead_holder", .victim = {{0, -1, kNoWaitFlag}}, .values = {1, 0, 0, 0}, .dead_holder = {{0, -1, kUndo}}},
        {.name = "dead_holder_with_sleepers", .victim = {{0, 0, kNoWaitFlag}}, .values = {0, 3, 0, 0}, .sleepers = {{{2, -1, 0}}}, .dead_holder = {{0, 1, kUndo}, {1, -2, kUndo}}},
        {.name = "dead_sleeper", .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, 0}}}, .act = Act::count, .dead_sleepers = {{{0, -1, 0}}}},
        {.name = "post_past_dead_sleeper", .victim = {{0, 1, 0}}, .values = {0, 0, 0, 0},
         .sleepers = {{{0, -1, 0}}}, .dead_sleepers = {{{0, -1, 0}}}},
        {.name = "orphan_uncommitted", .victim = {{1, 1, 0}}, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, 0}, {2, 1, 0}}}, .orphaned_at = "semaphore.locked", .orphan = {{0, 1, 0}}},
        {.name = "orphan_beside_dead_sleepers", .victim = {{3, 1, 0}}, .values = {0, 0, 0, 0}, .sleepers = {{{0, -1, 0}, {1, -1, 0}}},
         .dead_sleepers = {{{0, -1, 0}, {1, -1, 0}}, {{0, -1, 0}, {1, -1, 0}}}, .orphaned_at = "semaphore.locked", .orphan = {{3, 1, 0}, {2, 1, 0}}},
        {.name = "orphan_committed", .victim = {{1, 1, 0}}, .values = {5, 0, 0, 0}, .orphaned_at = "semaphore.alone.committed", .orphan = {{0, 1, 0}, {3, 1, 0}}},
        {.name = "orphan_half_applied", .victim = {{1, 1, 0}}, .values = {5, 0, 0, 0}, .orphaned_at = "semaphore.alone.words", .orphan = {{0, -1, kUndo}, {3, 1, kUndo}}},
    };
    return all;
}

struct Report {
    std::atomic<int> reached;      // crash points noted
    char names[400][48];
    std::atomic<int> done[8];      // of each sleeper: 1 about to call, 2 performed, 3 another end
    std::atomic<int> error[8];
    std::atomic<int> victim_done;
    std::atomic<int> holder_done;
};
Report* report = nullptr;
const char* kill_at = nullptr;
int kill_nth = 0;

void note_point(const char* name) {
    const int place = report->reached++;
    if (place < 400) std::snprintf(report->names[place], sizeof report->names[place], "%s", name);
}
void kill_at_point(const char* name) {
    if (std::strcmp(name, kill_at) == 0 && kill_nth-- == 0) kill(getpid(), SIGKILL);
}

class SemaphoreCrash : public testing::Test {
protected:
    void SetUp() override {
        char path[] = "/dev/shm/muster-sem-crash-XXXXXX";
        ASSERT_NE(mkdtemp(path), nullptr);
        directory_ = path;
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    // One run of a scenario; the victim notes its points (`at` null) or is killed at the nth time it comes to `at`.
    void run(const Scenario& scenario, const char* at, int nth);

    std::string directory_;
    std::set<std::string> seen_;
};

platform::Outcome<> perform(objects::SemaphoreSet& set, objects::ProcessLives& lives, const std::vector<SemaphoreOp>& ops, std::int64_t timeout_ns) {
    return set.operate(platform::current_thread(), ops.data(), static_cast<std::uint32_t>(ops.size()), timeout_ns, lives);
}

// Those that stay asleep with nothing changing.
bool quiet(const std::vector<Child>& children) {
    return eventually([&] {
        for (int look = 0; look < 4; ++look) {
            for (std::size_t i = 0; i < children.size(); ++i)
                if (report->done[i] == 1 && !children[i].asleep()) return false;
            usleep(1000);
        }
        return true;
    });
}

void SemaphoreCrash::run(const Scenario& scenario, const char* at, int nth) {
    SCOPED_TRACE(std::string(scenario.name) + " killed at " + (at != nullptr ? at : "nothing") + " " + std::to_string(nth));
    std::filesystem::remove_all(directory_ + "/d");
    auto domain = objects::Domain::open((directory_ + "/d").c_str(), true);
    ASSERT_TRUE(domain);
    unsigned granted = 0;
    auto file = domain->create_nameless(0600, &granted);
    ASSERT_TRUE(file);
    // Never destroyed in a child that is killed; the parent's goes with the mapping.
    auto set = std::make_unique<objects::SemaphoreSet>();
    ASSERT_TRUE(set->create(file->fd(), kSemaphores));
    set->publish_ready();
    objects::ProcessLives lives;
    lives.attach(*domain);
    auto& thread = platform::current_thread();
    ASSERT_TRUE(set->set_values(thread, lives, scenario.values.data()));
    new (report) Report();

    std::vector<Child> sleepers;
    const auto sleep_on = [&](std::size_t slot, const std::vector<SemaphoreOp>& ops) {
        sleepers.push_back(Child([&, slot] {
            report->done[slot] = 1;
            auto done = perform(*set, lives, ops, platform::kForever);
            report->error[slot] = done ? 0 : done.fault().errno_value;
            report->done[slot] = done ? 2 : 3;
            for (;;) pause();  // what it holds with undo it keeps
        }));
        ASSERT_TRUE(eventually([&] { return report->done[slot] == 1; }));
    };
    for (std::size_t i = 0; i < scenario.sleepers.size(); ++i) {
        sleep_on(i, scenario.sleepers[i]);
        ASSERT_TRUE(quiet(sleepers));
    }
    std::vector<Child> dead;
    for (const auto& ops : scenario.dead_sleepers) {
        dead.push_back(Child([&] { (void)perform(*set, lives, ops, platform::kForever); }));
        ASSERT_TRUE(eventually([&] { return set->sleepers() == dead.size() + scenario.sleepers.size() && dead.back().asleep(); }));
    }
    for (Child& each : dead) {
        each.kill(SIGKILL);
        ASSERT_TRUE(each.ends());
    }
    if (!scenario.dead_holder.empty()) {
        Child holder([&] {
            (void)perform(*set, lives, scenario.dead_holder, 0);
            report->holder_done = 1;
            for (;;) pause();
        });
        ASSERT_TRUE(eventually([&] { return report->holder_done == 1; }));
        holder.kill(SIGKILL);
        ASSERT_TRUE(holder.ends());
    }
    std::vector<int> sum(scenario.values.begin(), scenario.values.end());
    const auto add = [&](const std::vector<SemaphoreOp>& ops, bool also_undone) {
        for (const SemaphoreOp& op : ops)
            if (also_undone || !op.has_undo()) sum[op.number] += op.amount;
    };
    bool orphan_counts = false;
    if (scenario.orphaned_at != nullptr) {
        kill_at = scenario.orphaned_at;
        kill_nth = 0;
        Child orphan([&] {
            muster::testing::crash_point_hook = &kill_at_point;
            (void)perform(*set, lives, scenario.orphan, 0);
        });
        ASSERT_TRUE(orphan.ends());
        ASSERT_TRUE(orphan.killed());
        orphan_counts = std::string(scenario.orphaned_at) != "semaphore.locked";
    }

    kill_at = at;
    kill_nth = nth;
    Child victim([&] {
        muster::testing::crash_point_hook = at != nullptr ? &kill_at_point : &note_point;
        report->victim_done = 1;
        switch (scenario.act) {
            case Act::operate: (void)perform(*set, lives, scenario.victim, scenario.victim_sleeps ? platform::kForever : 0); break;
            case Act::set_value: (void)set->set_value(platform::current_thread(), lives, 0, 2); break;
            case Act::set_all: {
                const std::uint16_t values[kSemaphores] = {2, 0, 0, 0};
                (void)set->set_values(platform::current_thread(), lives, values);
                break;
            }
            case Act::remove:
                (void)set->remove(
                    platform::current_thread(), [](void*, muster::memory::ObjectHeader& header) { header.removed.store_release(1); }, nullptr);
                break;
            case Act::count: (void)set->waiting(platform::current_thread(), lives, 0, false); break;
        }
        report->victim_done = 2;
    });
    if (scenario.victim_sleeps) {
        const bool ended_early = eventually([&] { return victim.ended() || (report->victim_done == 1 && victim.asleep()); });
        ASSERT_TRUE(ended_early);
        usleep(20'000);  // it may only have waited for something shorter: then the help comes early, which is a case as well
        ASSERT_TRUE(perform(*set, lives, scenario.help, 0));
        add(scenario.help, true);
    }
    ASSERT_TRUE(victim.ends());
    const bool killed = victim.killed();
    if (at != nullptr && !killed) return;  // this time it did not come there that often
    const bool returned = report->victim_done == 2;

    // Nothing but the deaths has happened since: whoever can go must have gone by itself.
    ASSERT_TRUE(quiet(sleepers));
    const bool gone = set->object().removed.load_acquire() != 0;
    if (gone) {
        ASSERT_TRUE(eventually([&] { return std::all_of(report->done, report->done + sleepers.size(), [](auto& each) { return each == 3; }); }));
        for (std::size_t i = 0; i < sleepers.size(); ++i) EXPECT_EQ(report->error[i], EIDRM);
        EXPECT_EQ(perform(*set, lives, {{0, 1, 0}}, 0).fault().errno_value, EIDRM);
        return;
    }
    if (orphan_counts) add(scenario.orphan, false);
    std::set<std::vector<int>> possible;
    for (std::size_t i = 0; i < sleepers.size(); ++i) {
        EXPECT_NE(report->done[i], 3) << report->error[i];
    }
    std::vector<std::uint16_t> now(kSemaphores);
    ASSERT_TRUE(set->values(thread, lives, now.data()));
    // What looking found out may have let somebody go.
    ASSERT_TRUE(quiet(sleepers));
    ASSERT_TRUE(set->values(thread, lives, now.data()));
    const std::vector<int> values(now.begin(), now.end());
    for (std::size_t i = 0; i < sleepers.size(); ++i)
        if (report->done[i] == 2) add(scenario.sleepers[i], true);
    // SOURCE the kernel's exit_sem: what is taken back stops at zero.
    const bool clamps = std::any_of(scenario.victim.begin(), scenario.victim.end(), [](const SemaphoreOp& op) { return op.has_undo(); });
    const auto clamped = [&](std::vector<int> from) {
        for (int& each : from) each = clamps ? std::max(each, 0) : each;
        return from;
    };
    possible.insert(clamped(sum));
    {
        // The victim's operation: in, without what is undone at its end.
        std::vector<int> with = sum;
        if (scenario.act == Act::operate)
            for (const SemaphoreOp& op : scenario.victim)
                if (!op.has_undo()) with[op.number] += op.amount;
        if (scenario.act == Act::set_value || scenario.act == Act::set_all) with[0] += 2;
        const PointRow* row = at != nullptr ? std::find_if(std::begin(kPoints), std::end(kPoints), [&](const PointRow& r) { return std::strcmp(r.point, at) == 0; }) : nullptr;
        const bool changes = scenario.act != Act::count && scenario.name != std::string("dead_holder_with_sleepers");
        if (row == nullptr && returned && changes) possible = {clamped(with)};
        else if (row != nullptr && row->fate == Fate::after && changes) possible = {clamped(with)};
        else if (row == nullptr || row->fate == Fate::either) possible.insert(clamped(with));
    }
    EXPECT_TRUE(possible.count(values)) << testing::PrintToString(values) << " is none of " << testing::PrintToString(possible);
    // Nobody sleeps who could go; everybody who sleeps is counted, and nobody else.
    std::uint32_t asleep = 0, counted = 0;
    for (std::size_t i = 0; i < sleepers.size(); ++i) {
        if (report->done[i] != 1) continue;
        ++asleep;
        std::vector<int> trial = values;
        bool can_go = true;
        for (const SemaphoreOp& op : scenario.sleepers[i]) {
            if (op.amount == 0 ? trial[op.number] != 0 : trial[op.number] + op.amount < 0) can_go = false;
            trial[op.number] += op.amount;
        }
        EXPECT_FALSE(can_go) << "sleeper " << i << " sleeps on";
    }
    for (std::uint32_t number = 0; number < kSemaphores; ++number) counted += *set->waiting(thread, lives, number, false) + *set->waiting(thread, lives, number, true);
    EXPECT_EQ(counted, asleep);
    // Newcomers proceed.
    EXPECT_TRUE(perform(*set, lives, {{3, 1, 0}}, 0));
    EXPECT_TRUE(perform(*set, lives, {{3, -1, kUndo}, {2, 1, 0}}, 0));
    // Who sleeps goes when he is given what he waits for.
    const auto sleeping = [&] { return std::count_if(report->done, report->done + sleepers.size(), [](auto& each) { return each == 1; }); };
    for (long left = sleeping(); left != 0; left = sleeping()) {
        const auto i = static_cast<std::size_t>(std::find(report->done, report->done + sleepers.size(), 1) - report->done);
        ASSERT_TRUE(set->values(thread, lives, now.data()));
        for (const SemaphoreOp& op : scenario.sleepers[i]) {
            const int more = op.amount == 0 ? -static_cast<int>(now[op.number]) : -op.amount;
            if (more == 0) continue;
            EXPECT_TRUE(perform(*set, lives, {{op.number, static_cast<std::int16_t>(more), 0}}, 0));
        }
        ASSERT_TRUE(eventually([&] { return sleeping() < left; })) << "sleeper " << i << " sleeps for ever";
    }
    ASSERT_TRUE(set->remove(
        thread, [](void*, muster::memory::ObjectHeader& header) { header.removed.store_release(1); }, nullptr));
    for (std::size_t i = 0; i < sleepers.size(); ++i) EXPECT_TRUE(eventually([&] { return report->done[i] != 1; })) << "told of the removal";
}

TEST_F(SemaphoreCrash, AtEveryPointOfEveryScenario) {
    Shared<Report> shared;
    report = &*shared;
    std::set<std::string> reached;
    for (const Scenario& scenario : scenarios()) {
        run(scenario, nullptr, 0);
        if (HasFatalFailure()) return;
        std::map<std::string, int> points;
        const int count = std::min(report->reached.load(), 400);
        for (int i = 0; i < count; ++i) ++points[report->names[i]];
        for (const auto& [point, times] : points) {
            reached.insert(point);
            for (int nth = 0; nth < times && nth < 4; ++nth) {
                const std::string name = point;
                run(scenario, name.c_str(), nth);
                if (HasFatalFailure()) return;
            }
        }
    }
    for (const PointRow& row : kPoints) EXPECT_TRUE(reached.count(row.point)) << row.point << " is reached by no scenario";
    for (const std::string& point : reached)
        EXPECT_TRUE(std::any_of(std::begin(kPoints), std::end(kPoints), [&](const PointRow& row) { return point == row.point; })) << point << " has no row";
}

}  // namespace
