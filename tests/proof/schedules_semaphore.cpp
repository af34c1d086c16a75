// Scenarios on semaphore sets. Proved of them: what was done adds up, with every end of a process's adjustments; nobody sleeps
// whose operations could be performed; who holds a semaphore of one alone, holds it alone; a removal ends every sleep, and
// nothing is done after it.
#include <sys/mman.h>
#include <unistd.h>
#include <cstring>
#include <set>
#include <stdexcept>
#include "objects/semaphore_set.hpp"
#include "objects/sysv_registry.hpp"
#include "tests/proof/schedules_queue.hpp"

namespace muster::test {
namespace {

using objects::SemaphoreHeader;
using objects::SemaphoreOp;
using objects::SemaphoreSet;
using simulated::Machine;
using simulated::machine;
using Vector = std::vector<SemaphoreOp>;

constexpr std::int16_t kUndo = 0x1000, kNoWait = 04000;
constexpr unsigned kSemaphores = 2;

struct Shape {
    const char* name;
    std::uint16_t first[kSemaphores];            // values at the start
    std::vector<std::vector<Vector>> processes;  // none: IPC_RMID; of kChange: IPC_SET
    bool exclusive;  // a process is inside between its first operation and its second, its third and its fourth, …
    Dangers dangers;
};

const Vector kPost{{0, 1, 0}}, kTake{{0, -1, 0}}, kTry{{0, -1, kNoWait}}, kZero{{0, 0, 0}};
const Vector kEnter{{0, -1, kUndo}}, kLeave{{0, 1, kUndo}};
const Vector kBoth{{0, -1, 0}, {1, -1, 0}}, kPostOther{{1, 1, 0}}, kEnterBoth{{0, -1, kUndo}, {1, -1, kUndo}},
    kLeaveBoth{{0, 1, kUndo}, {1, 1, kUndo}};
const Vector kRemove{}, kChange{{99, 0, 0}};

const std::vector<Shape>& shapes() {
    static const std::vector<Shape> all{
        {"sem_posts", {0, 0}, {{kPost, kPost}, {kPost, kTry}, {kTake, kTake}, {kTake}}, false, {}},
        {"sem_zero", {2, 0}, {{kTake, kPost}, {kTake, kZero}, {kZero}, {kTry, kTake}}, false, {}},
        {"sem_vectors", {0, 0}, {{kPost, kPostOther}, {kBoth, kPost}, {kPostOther, kBoth}, {kPost, kTake}}, false, {}},
        {"sem_lock", {1, 0}, {{kEnter, kLeave, kEnter, kLeave}, {kEnter, kLeave}, {kEnter, kLeave}}, true, {}},
        {"sem_posts_deaths", {1, 0}, {{kPost, kPost}, {kPost, kTry}, {kTake, kTake}, {kTake}}, false, {2, 0, 0, 0}},
        {"sem_lock_deaths", {1, 0}, {{kEnter, kLeave, kEnter, kLeave}, {kEnter, kLeave}, {kEnter, kLeave}}, true, {2, 0, 0, 0}},
        {"sem_vectors_deaths",
         {1, 1},
         {{kEnterBoth, kLeaveBoth}, {kEnterBoth, kLeaveBoth}, {kTake, kPost}, {kPostOther}},
         false,
         {2, 0, 0, 0}},
        {"sem_pair", {1, 0}, {{kEnter, kLeave, kPost}, {kTake, kEnter, kLeave}}, false, {}},
        // Nobody but who removes lets these go; then others come and go meanwhile, with adjustments and without.
        {"sem_removal", {1, 0}, {{kBoth}, {kTake, kTake}, {kZero, kTry}, {kChange, kRemove, kPost}}, false, {}},
        {"sem_removal_deaths",
         {1, 0},
         {{kEnter, kLeave, kRemove}, {kBoth, kTry}, {kPost, kTake, kTake}, {kChange, kRemove, kTake}},
         false,
         {2, 0, 0, 0}},
        {"sem_removal_blows", {0, 0}, {{kTake, kTry}, {kEnterBoth}, {kPostOther, kTake}, {kPost, kRemove}}, false, {1, 2, 0, 2}},
        {"sem_blows", {1, 0}, {{kPost, kTake}, {kTake, kPost}, {kTake}, {kZero, kPost}}, false, {1, 2, 0, 2}},
    };
    return all;
}

class SemaphoreScenario : public Scenario {
public:
    explicit SemaphoreScenario(const Shape& shape)
        : Scenario(shape.name, shape.dangers), shape_(shape), fd_(memfd_create("set", MFD_CLOEXEC)) {
        if (!set_.create(fd_, kSemaphores, shape.first)) throw std::runtime_error("no set");
        set_.publish_ready();
        header_ = reinterpret_cast<SemaphoreHeader*>(&set_.object());
        start_ = reinterpret_cast<std::byte*>(header_);
        semaphores_ = reinterpret_cast<objects::Semaphore*>(start_ + sizeof(SemaphoreHeader));
        image_.add(start_, 4096);
        image_.add(start_ + header_->logs_offset, 256);
        image_.add(start_ + header_->logs_offset + offsetof(objects::SemaphoreLogs, given), 128);
        image_.add(start_ + header_->actors_offset, 32 * sizeof(sync::Actor));
        image_.add(start_ + header_->waiters_offset, 32 * sizeof(objects::SemaphoreWaiter));
        image_.add(start_ + header_->undos_offset, 16 * header_->undo_stride_bytes);
        image_.add(simulated::lives, sizeof simulated::lives);
        std::memset(static_cast<void*>(simulated::lives), 0, sizeof simulated::lives);
        image_.take();
        std::memcpy(&kept_, static_cast<const void*>(&set_), sizeof(SemaphoreSet));
    }
    ~SemaphoreScenario() override { close(fd_); }

    std::vector<std::function<void()>> begin(std::uint64_t) override {
        image_.restore();
        std::vector<std::function<void()>> bodies;
        inside_ = kNobody;
        for (unsigned number = 0; number < shape_.processes.size(); ++number) {
            std::memcpy(&sets_[number], &kept_, sizeof(SemaphoreSet));
            progress_[number] = {};
            bodies.emplace_back([this, number] { process(number); });
        }
        return bodies;
    }

    std::string judge(Machine::Ending) override {
        Machine& m = machine();
        // Somebody comes later and looks, which settles what the dead left.
        const auto later = static_cast<unsigned>(shape_.processes.size());
        std::memcpy(&sets_[later], &kept_, sizeof(SemaphoreSet));
        // First without: the sleepers must not need anybody to come.
        if (std::string stranded = find_stranded(); !stranded.empty()) return stranded;
        std::uint16_t values[kSemaphores] = {};
        const bool looked = m.run_alone([&] {
            auto got = set(later).values(platform::current_thread(), lives_, values);
            if (!got && !(removed() && got.fault().errno_value == EIDRM)) m.fail("the values cannot be had");
        });
        if (!m.failure().empty()) return m.failure();
        if (!looked) return "who comes later cannot look";
        if (std::string stranded = find_stranded(); !stranded.empty()) return stranded;
        if (std::string late = find_late(); !late.empty()) return late;
        return add_up();
    }
    bool is_lock(const void* address) const override { return address == header_->lock.address(); }
    std::string name_of(const void* address) const override;

private:
    static constexpr unsigned kNobody = ~0u;
    struct Progress {
        unsigned begun = 0, ended = 0;
        std::vector<int> errors;
        std::vector<std::uint64_t> began_at, ended_at;
    };
    bool removed() const { return header_->object.removed.load_acquire() != 0; }
    SemaphoreSet& set(unsigned number) { return *reinterpret_cast<SemaphoreSet*>(&sets_[number]); }

    void process(unsigned number) {
        Machine& m = machine();
        auto& thread = platform::current_thread();
        for (const Vector& ops : shape_.processes[number]) {
            Progress& mine = progress_[number];
            const bool leaves = shape_.exclusive && mine.begun % 2 == 1;
            if (leaves) inside_ = kNobody;
            ++mine.begun;
            mine.began_at.push_back(m.now());
            const int error = removed() ? EIDRM : perform(number, ops, thread);  // a door asks before it asks the set
            if (m.tracing) m.note("is told errno " + std::to_string(error));
            mine.errors.push_back(error);
            mine.ended_at.push_back(m.now());
            ++mine.ended;
            m.operation_done();
            const bool tries = !ops.empty() && ops[0].must_not_wait();
            if (error != 0 && !(error == EAGAIN && tries) && error != EINTR && error != EIDRM)
                m.fail("an operation failed with errno " + std::to_string(error));
            if (shape_.exclusive && !leaves && error == 0) {
                if (inside_ != kNobody && !m.process(inside_).killed) m.fail("two are inside");
                inside_ = number;
            }
        }
    }

    int perform(unsigned number, const Vector& ops, platform::ThreadState& thread) {
        Machine& m = machine();
        const auto told = [](const platform::Outcome<>& done) { return done ? 0 : done.fault().errno_value; };
        if (ops.empty()) {
            if (m.tracing) m.note("removes the set");
            const auto mark = [](void*, memory::ObjectHeader& header) { objects::SysvRegistry::mark_removed(header); };
            return told(set(number).remove(thread, mark, nullptr));
        }
        if (is_change(ops)) {
            if (m.tracing) m.note("changes the rights");
            return told(set(number).administer(
                thread, [](void*, memory::ObjectHeader&) { return platform::done(); }, nullptr));
        }
        if (m.tracing) m.note("operates: " + std::to_string(ops[0].amount) + (ops.size() > 1 ? ", …" : ""));
        if (ops.size() == 1 && !ops[0].has_undo() &&
            set(number).operate_quickly(ops[0].number, ops[0].amount, thread.thread_id, 1))
            return 0;
        return told(set(number).operate(thread, ops.data(), static_cast<std::uint32_t>(ops.size()), platform::kForever, lives_));
    }
    static bool is_change(const Vector& ops) { return ops.size() == 1 && ops[0].number >= kSemaphores; }

    int value(unsigned number) const { return static_cast<int>(objects::value_of(semaphores_[number].word.load_relaxed())); }

    std::string find_stranded() const {
        for (unsigned number = 0; number < shape_.processes.size(); ++number) {
            const auto& process = machine().process(number);
            if (process.state != simulated::Process::State::asleep) continue;
            const std::string who = "P" + std::to_string(number) + " sleeps for ever ";
            if (is_lock(process.sleeps[0].address)) return who + "on the lock";
            if (removed()) return who + "at a removed set";
            const sync::ActorState told = sync::state_of(*const_cast<volatile std::uint32_t*>(process.sleeps[0].address));
            if (told == sync::ActorState::done || told == sync::ActorState::retry) return who + "beside what it was given";
            const Vector& ops = shape_.processes[number][progress_[number].begun - 1];
            bool can = true;
            for (const SemaphoreOp& op : ops)
                can = can && (op.amount == 0 ? value(op.number) == 0 : value(op.number) + op.amount >= 0);
            if (can) return who + "although it could go on";
        }
        return {};
    }

    // Everything is done before the removal, or told of it: nothing succeeds that began after somebody had heard of it, and
    // nobody hears of what nobody has begun.
    std::string find_late() const {
        std::uint64_t first_told = ~0ull, first_begun = ~0ull;
        unsigned removals = 0;
        const auto each = [&](auto visit) {
            for (unsigned number = 0; number < shape_.processes.size(); ++number)
                for (unsigned i = 0; i < progress_[number].begun; ++i) visit(number, i, shape_.processes[number][i].empty());
        };
        each([&](unsigned number, unsigned i, bool removes) {
            const Progress& done = progress_[number];
            if (removes) first_begun = std::min(first_begun, done.began_at[i]);
            if (i >= done.ended || (!removes && done.errors[i] != EIDRM)) return;
            first_told = std::min(first_told, done.ended_at[i]);
            if (removes && done.errors[i] == 0) ++removals;
        });
        if (removals > 1) return "two have removed the set";
        if (first_told < first_begun) return "somebody is told of a removal that nobody has begun";
        std::string wrong;
        each([&](unsigned number, unsigned i, bool removes) {
            const Progress& done = progress_[number];
            if (!removes && i < done.ended && done.errors[i] != EIDRM && done.began_at[i] > first_told)
                wrong = "P" + std::to_string(number) + " gets on after the set was removed";
        });
        return wrong;
    }

    // What was done, and perhaps by the dead, and what their ends gave back, is what is there.
    std::string add_up() const {
        std::set<std::pair<int, int>> possible{{shape_.first[0], shape_.first[1]}};
        for (unsigned number = 0; number < shape_.processes.size(); ++number) {
            const auto& process = machine().process(number);
            const Progress& done = progress_[number];
            for (unsigned i = 0; i < done.begun; ++i) {
                const bool open = i >= done.ended;
                if (open && !process.killed) continue;  // asleep: not performed
                if (!open && done.errors[i] != 0) continue;
                if (is_change(shape_.processes[number][i])) continue;
                std::set<std::pair<int, int>> then;
                for (auto each : possible) {
                    // The removal may have come before the process's end.
                    auto kept = each;
                    if (open) then.insert(each);
                    for (const SemaphoreOp& op : shape_.processes[number][i]) {
                        // Adjusted at its end, whenever that is; all that have ended normally did so, too.
                        const bool adjusted = op.has_undo() && process.state != simulated::Process::State::asleep;
                        if (!adjusted) (op.number == 0 ? each.first : each.second) += op.amount;
                        (op.number == 0 ? kept.first : kept.second) += op.amount;
                    }
                    then.insert(each);
                    if (removed()) then.insert(kept);
                }
                possible = then;
            }
        }
        if (possible.contains({value(0), value(1)})) return {};
        return "the values are " + std::to_string(value(0)) + " and " + std::to_string(value(1)) + ", which nothing explains";
    }

    Shape shape_;
    int fd_;
    SemaphoreSet set_;
    SemaphoreHeader* header_ = nullptr;
    std::byte* start_ = nullptr;
    objects::Semaphore* semaphores_ = nullptr;
    objects::ProcessLives lives_;
    Image image_;
    struct alignas(SemaphoreSet) Bytes {
        std::byte bytes[sizeof(SemaphoreSet)];
    };
    Bytes kept_;
    Bytes sets_[simulated::kProcessesMax];
    Progress progress_[simulated::kProcessesMax];
    unsigned inside_ = kNobody;
};

std::string SemaphoreScenario::name_of(const void* address) const {
    char name[64];
    const auto lives = static_cast<const std::byte*>(address) - reinterpret_cast<const std::byte*>(simulated::lives);
    if (lives >= 0 && static_cast<std::size_t>(lives) < sizeof simulated::lives) {
        std::snprintf(name, sizeof name, "life %zu +%zu", static_cast<std::size_t>(lives) / sizeof(simulated::Life),
                      static_cast<std::size_t>(lives) % sizeof(simulated::Life));
        return name;
    }
    const auto at = static_cast<std::uint64_t>(static_cast<const std::byte*>(address) - start_);
    const auto show = [&](const char* what, std::uint64_t from, std::uint64_t stride) {
        std::snprintf(name, sizeof name, "%s %llu +%llu", what, static_cast<unsigned long long>((at - from) / stride),
                      static_cast<unsigned long long>((at - from) % stride));
        return std::string(name);
    };
    if (is_lock(address)) return "lock";
    if (at >= 1ull << 40) return "private memory";
    if (at >= header_->undos_offset) return show("undo", header_->undos_offset, header_->undo_stride_bytes);
    if (at >= header_->waiters_offset) return show("waiter", header_->waiters_offset, sizeof(objects::SemaphoreWaiter));
    if (at >= header_->actors_offset) return show("actor", header_->actors_offset, sizeof(sync::Actor));
    if (at >= header_->logs_offset) return show("logs", header_->logs_offset, 8);
    if (at >= sizeof(SemaphoreHeader)) return show("semaphore", sizeof(SemaphoreHeader), sizeof(objects::Semaphore));
    return show("header", 0, 4096);
}

}  // namespace

std::vector<std::string> semaphore_scenario_names() {
    std::vector<std::string> names;
    for (const Shape& shape : shapes()) names.emplace_back(shape.name);
    return names;
}

std::unique_ptr<Scenario> make_semaphore_scenario(const std::string& name) {
    for (const Shape& shape : shapes())
        if (name == shape.name) return std::make_unique<SemaphoreScenario>(shape);
    return nullptr;
}

}  // namespace muster::test
