#include <stdexcept>
#include "tests/proof/schedules_queue_scenario.hpp"

namespace muster::test {

using objects::Queue;
using objects::QueueHeader;
using simulated::Machine;
using simulated::machine;

namespace {
constexpr std::uint64_t kTooMuchForSlots = 2 << 20;  // so long may messages be that slots have no room for them
}

QueueScenario::QueueScenario(const QueueShape& shape)
    : Scenario(shape.name, shape.dangers),
      shape_(shape),
      fd_(memfd_create("queue", MFD_CLOEXEC)),
      slots_fd_(shape.typed ? memfd_create("slots", MFD_CLOEXEC) : -1) {
    const std::uint64_t messages_max = std::max(shape.messages_max, shape.changed);
    objects::QueueOptions options{messages_max, shape.regions ? kTooMuchForSlots : shape.body_bytes, 0600};
    if (shape.typed) {
        options.face = objects::QueueFace::types;
        options.bytes_max = shape.changed != 0 ? shape.messages_max * shape.body_bytes : kBytesMax;
    }
    if (!queue_.create(fd_, options, slots_fd_)) throw std::runtime_error("no queue");
    queue_.publish_ready();
    queue_.set_fifo_opener([](Queue&) { return Machine::kFifo; });
    header_ = reinterpret_cast<QueueHeader*>(&queue_.object());
    start_ = reinterpret_cast<std::byte*>(header_);
    const auto& g = header_->geometry;
    actors_ = reinterpret_cast<sync::Actor*>(start_ + g.actors_offset);
    // The first pages' memory, so that no schedule has to ask for it.
    for (std::uint64_t id = 1; id <= shape.messages_max; ++id) (void)send(queue_, id, 1, false);
    std::uint64_t id = 0, key = 0;
    for (std::uint64_t i = 0; i < shape.messages_max; ++i) (void)receive(queue_, false, {}, id, key);
    // What stands in a ring's place that is not in use is anybody's guess.
    auto* rings = reinterpret_cast<memory::ShmU32*>(start_ + sizeof(QueueHeader));
    for (std::uint32_t i = 0; i < 2 * g.ring_entries; ++i) rings[i].store_relaxed(g.slots + 7);
    const std::uint32_t ring_mask = g.ring_entries - 1;
    for (std::uint32_t at = header_->sent.returned_head.load_relaxed(), next = 0;
         at != header_->received.returned_tail.load_relaxed(); ++at, ++next)
        rings[g.ring_entries + (at & ring_mask)].store_relaxed(next);
    image_.add(start_, (g.lanes_offset + sizeof(objects::LaneBlock) + 63) & ~63ull);
    image_.add(actors_, kActorsShown * sizeof(sync::Actor));
    image_.add(start_ + g.slots_offset, kSlotsShown * g.slot_stride);
    image_.take();
    // Each process has a Queue of its own, all of them on one mapping: what is of a process in it must not be shared.
    std::memcpy(&kept_, static_cast<const void*>(&queue_), sizeof(Queue));
}

QueueScenario::~QueueScenario() {
    close(fd_);
    if (slots_fd_ >= 0) close(slots_fd_);
}

std::vector<std::function<void()>> QueueScenario::begin(std::uint64_t seed) {
    image_.restore();
    ++schedules_;
    operations_.clear();
    operations_.reserve(32);
    std::vector<std::function<void()>> bodies;
    for (unsigned number = 0; number < shape_.processes.size(); ++number) {
        std::memcpy(&queues_[number], &kept_, sizeof(Queue));
        bodies.emplace_back([this, number, seed] {
            for (const char* letter = shape_.processes[number]; *letter != 0; ++letter) (void)perform(number, *letter, seed);
        });
    }
    return bodies;
}

std::string QueueScenario::judge(Machine::Ending ending) {
    Machine& m = machine();
    if (std::string stranded = find_stranded(); !stranded.empty()) return stranded;
    const auto settle = [&] {
        for (Operation& op : operations_) {
            const auto& process = m.process(op.process);
            if (op.open() && (process.killed || process.cancelled)) op.undone = true;
        }
    };
    settle();
    unsigned deaths = 0;
    for (unsigned i = 0; i < shape_.processes.size(); ++i) deaths += m.process(i).killed ? 1 : 0;
    for (unsigned i = 0; i < shape_.processes.size(); ++i)
        if (m.process(i).signals != 0 && deaths == 0) return "P" + std::to_string(i) + " is notified twice";
    // Somebody comes later and takes what is there, which must be what nobody got.
    const auto drainer = static_cast<unsigned>(shape_.processes.size());
    std::memcpy(&queues_[drainer], &kept_, sizeof(Queue));
    const bool drained = m.run_alone([this, drainer] {
        for (bool more = true; more && operations_.size() < 30;) more = perform(drainer, 'r', 0) == 0;
    });
    if (!m.failure().empty()) return m.failure();
    if (!drained) return "who comes later cannot take what is there";
    settle();
    if (std::string stranded = find_stranded(); !stranded.empty()) return stranded + ", after the queue was emptied";
    if ((header_->shared.flags.load_relaxed() & objects::kQueueDamaged) != 0) return "the queue says that it is damaged";
    if (ending == Machine::Ending::finished && deaths == 0 && !removed() &&
        header_->sent.sent.load_relaxed() != header_->received.freed.load_relaxed())
        return "the emptied queue counts messages";
    const std::uint64_t changed = shape_.changed != 0 ? shape_.changed : shape_.messages_max;
    const QueueModel model{shape_.messages_max, shape_.typed, deaths + m.stops(), changed, deaths != 0};
    if (std::string unexplained = explain(model, operations_); !unexplained.empty()) return unexplained;
    if (!m.run_alone([&] { (void)queue_of(drainer).recover(platform::current_thread(), fd_); }))
        return "who repairs comes to no end";
    return removed() ? "" : audit();
}

const std::vector<QueueShape>& queue_shapes() {
    static const std::vector<QueueShape> shapes{
        {"ring", false, 2, {"ss", "ss", "rrr"}, {}},
        {"ring_two", false, 2, {"ss", "ss", "rr", "rr"}, {}},
        {"receivers_sleep", false, 2, {"SS", "S", "R", "RR"}, {}},
        {"senders_sleep", false, 1, {"SS", "SS", "RRRR"}, {}},
        {"two_of_each", false, 1, {"SS", "SS", "RR", "RR"}, {}},
        {"some_wait", false, 1, {"sS", "SR", "rR", "Sr"}, {}},
        {"ring_deaths", false, 2, {"sss", "ss", "rr", "rr"}, {2, 0, 0, 0}},
        {"receivers_deaths", false, 2, {"SS", "S", "R", "RR"}, {2, 0, 0, 0}},
        {"senders_deaths", false, 1, {"SS", "SS", "RRR"}, {2, 0, 0, 0}},
        {"all_deaths", false, 1, {"SS", "SsS", "RR", "RrR"}, {3, 0, 0, 0}},
        {"all_blows", false, 1, {"SS", "SS", "RR", "RR"}, {1, 2, 1, 2}},
        {"typed_ring", true, 2, {"ss", "ss", "rr", "rr"}, {}},
        {"typed_sleep", true, 1, {"SS", "SS", "RR", "RR"}, {}},
        {"typed_deaths", true, 1, {"SS", "Ss", "RR", "Rr"}, {2, 0, 0, 0}},
        {"typed_blows", true, 1, {"SS", "SS", "RR", "RR"}, {1, 2, 1, 2}},
        {"typed_changes", true, 1, {"Sc", "SSc", "RR", "cR"}, {1, 0, 0, 1}},
        // IPC_SET that makes room for more, and IPC_RMID, beside sleepers.
        {"typed_grows", true, 1, {"SS", "SSr", "cr", "Rr"}, {1, 0, 0, 1}, 16, false, 3},
        {"removal", true, 1, {"SSS", "sd", "RR", "rR"}, {}},
        {"removal_deaths", true, 1, {"SSr", "Sd", "RRs", "sdr"}, {2, 0, 0, 0}},
        {"removal_blows", true, 1, {"SS", "dS", "RRR", "Rs"}, {1, 2, 1, 2}},
        // Messages that are copied outside the locks, in their slots and in regions.
        {"long", false, 1, {"SS", "sS", "RR", "rR"}, {}, 80},
        {"long_deaths", false, 2, {"SS", "Ss", "RR", "Rr"}, {2, 0, 0, 0}, 80},
        {"long_blows", false, 1, {"SS", "SS", "RR", "RR"}, {1, 2, 1, 2}, 80},
        {"regions_deaths", false, 1, {"SS", "sS", "RR", "rR"}, {2, 0, 0, 0}, 160, true},
        {"typed_long_deaths", true, 1, {"SS", "sS", "RR", "rR"}, {2, 0, 0, 0}, 80},
        // Pollers, and who is registered.
        {"polls", false, 1, {"sS", "pr", "qs", "rr"}, {}},
        {"polls_two", false, 2, {"sss", "pr", "qs", "rp"}, {}},
        {"polls_deaths", false, 1, {"sS", "prq", "qsp", "rR"}, {2, 0, 0, 0}},
        {"polls_blows", false, 1, {"SS", "pR", "qS", "Rr"}, {1, 2, 1, 2}},
        {"polls_long_deaths", false, 2, {"sS", "prq", "qsp", "rR"}, {2, 0, 0, 0}, 80},
        {"notifies", false, 2, {"ssr", "n", "rn", "s"}, {}},
        {"notifies_by_word", false, 2, {"ssr", "N", "rn", "s"}, {}},
        {"notifies_by_words", false, 2, {"ssr", "N", "rN", "s"}, {}},
        {"notifies_deaths", false, 2, {"ss", "n", "rnr", "sN"}, {2, 0, 0, 0}},
        // For enumeration.
        {"pair", false, 1, {"ss", "rr"}, {}},
        {"pair_waits", false, 1, {"SS", "RR"}, {}},
        {"pair_removal", true, 1, {"SS", "rd"}, {}},
        {"pair_long", false, 1, {"S", "R"}, {}, 80},
        {"pair_polls", false, 1, {"ss", "pr"}, {}},
        {"pair_notifies", false, 1, {"ss", "n"}, {}},
    };
    return shapes;
}

std::unique_ptr<Scenario> make_queue_scenario(const QueueShape& shape) {
    return std::make_unique<QueueScenario>(shape);
}

}  // namespace muster::test
