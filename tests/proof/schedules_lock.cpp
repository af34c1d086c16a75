// Scenarios on the robust lock alone, held by thread.
#include <sys/mman.h>
#include <stdexcept>
#include "sync/robust_lock.hpp"
#include "tests/proof/schedules_queue.hpp"

namespace muster::test {
namespace {

using simulated::Machine;
using simulated::machine;

struct Shape {
    const char* name;
    unsigned processes, turns;
    Dangers dangers;
};
constexpr Shape kShapes[] = {
    {"lock", 3, 2, {}},
    {"lock_pair", 2, 2, {}},
    {"lock_deaths", 4, 2, {2, 0, 0, 0}},
};

// What the lock guards is stored with no order of its own: whoever takes the lock must see all of it.
struct Guarded {
    memory::ShmU32 lock;
    memory::ShmU32 reserved[15];
    memory::ShmU64 count;
    memory::ShmU64 reserved1[7];
    memory::ShmU64 again;
};

class LockScenario : public Scenario {
public:
    explicit LockScenario(const Shape& shape) : Scenario(shape.name, shape.dangers), shape_(shape) {
        void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED) throw std::runtime_error("no memory");
        guarded_ = static_cast<Guarded*>(page);
        image_.add(page, sizeof(Guarded));
        image_.take();
    }
    ~LockScenario() override { munmap(guarded_, 4096); }

    std::vector<std::function<void()>> begin(std::uint64_t) override {
        image_.restore();
        inside_ = kNobody;
        done_ = 0;
        std::vector<std::function<void()>> bodies;
        for (unsigned i = 0; i < shape_.processes; ++i) bodies.emplace_back([this] { process(); });
        return bodies;
    }

    std::string judge(Machine::Ending ending) override {
        if (ending != Machine::Ending::finished) return "somebody waits for ever";
        if ((guarded_->lock.load_relaxed() & FUTEX_TID_MASK) != 0) return "the lock names somebody who is gone";
        return {};
    }
    bool is_lock(const void* address) const override { return address == guarded_->lock.address(); }
    std::string name_of(const void* address) const override {
        if (is_lock(address)) return "lock";
        return address == guarded_->count.address() ? "count" : "again";
    }

private:
    static constexpr unsigned kNobody = ~0u;

    void process() {
        Machine& m = machine();
        for (unsigned turn = 0; turn < shape_.turns; ++turn) {
            {
                auto lock = sync::ThreadLock::acquire(platform::current_thread(), guarded_->lock, {nullptr, 0});
                if (!lock) return m.fail("the lock was refused");
                if (inside_ != kNobody && !m.process(inside_).killed) m.fail("two are inside");
                const bool died = inside_ != kNobody;
                inside_ = m.self();
                // One who was killed between taking the lock and saying so here is told of, too; one who had let go is not.
                if (died && !lock->owner_died()) m.fail("a death is not told");
                if (lock->owner_died() && !died && !any_killed()) m.fail("a death is told that was none");
                const std::uint64_t count = guarded_->count.load_relaxed(), again = guarded_->again.load_relaxed();
                if (count != again && !lock->owner_died()) m.fail("what the lock guards was seen half-way");
                if (!any_killed() && count != done_) m.fail("what the last holder wrote was not seen");
                guarded_->count.store_relaxed(count + 1);
                guarded_->again.store_relaxed(count + 1);
                ++done_;
                inside_ = kNobody;
            }
            m.operation_done();
        }
    }
    bool any_killed() const {
        for (unsigned i = 0; i < shape_.processes; ++i)
            if (machine().process(i).killed) return true;
        return false;
    }

    Shape shape_;
    Guarded* guarded_ = nullptr;
    Image image_;
    unsigned inside_ = kNobody;
    std::uint64_t done_ = 0;
};

}  // namespace

std::vector<std::string> lock_scenario_names() {
    std::vector<std::string> names;
    for (const Shape& shape : kShapes) names.emplace_back(shape.name);
    return names;
}

std::unique_ptr<Scenario> make_lock_scenario(const std::string& name) {
    for (const Shape& shape : kShapes)
        if (name == shape.name) return std::make_unique<LockScenario>(shape);
    return nullptr;
}

}  // namespace muster::test
