#include "tests/proof/schedules_queue.hpp"
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cstring>
#include <stdexcept>
#include "objects/queue.hpp"
#include "tests/proof/schedules_history.hpp"

namespace muster::test {
namespace {

using objects::Queue;
using objects::QueueHeader;
using objects::SlotState;
using simulated::Machine;
using simulated::machine;

constexpr std::size_t kBodyBytes = 16;
constexpr std::uint64_t kBytesMax = 4096;
constexpr unsigned kSlotsShown = 24;
constexpr unsigned kActorsShown = 32;
constexpr std::uint64_t kMixed = 0x9e3779b97f4a7c15u;

class QueueScenario : public Scenario {
public:
    explicit QueueScenario(const QueueShape& shape)
        : Scenario(shape.name, shape.dangers),
          shape_(shape),
          fd_(memfd_create("queue", MFD_CLOEXEC)),
          slots_fd_(shape.typed ? memfd_create("slots", MFD_CLOEXEC) : -1) {
        objects::QueueOptions options{shape.messages_max, kBodyBytes, 0600};
        if (shape.typed) {
            options.face = objects::QueueFace::types;
            options.bytes_max = kBytesMax;
        }
        if (!queue_.create(fd_, options, slots_fd_)) throw std::runtime_error("no queue");
        queue_.publish_ready();
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
    ~QueueScenario() override {
        close(fd_);
        if (slots_fd_ >= 0) close(slots_fd_);
    }

    std::vector<std::function<void()>> begin(std::uint64_t seed) override {
        image_.restore();
        operations_.clear();
        operations_.reserve(32);
        std::vector<std::function<void()>> bodies;
        for (unsigned number = 0; number < shape_.processes.size(); ++number) {
            std::memcpy(&queues_[number], &kept_, sizeof(Queue));
            bodies.emplace_back([this, number, seed] { process(number, seed); });
        }
        return bodies;
    }

    std::string judge(Machine::Ending ending) override {
        Machine& m = machine();
        if (std::string stranded = find_stranded(); !stranded.empty()) return stranded;
        const auto settle = [&] {
            for (Operation& op : operations_) {
                const auto& process = m.process(op.process);
                if (op.ended == ~0ull && (process.killed || process.cancelled)) op.undone = true;
            }
        };
        settle();
        unsigned deaths = 0;
        for (unsigned i = 0; i < shape_.processes.size(); ++i) deaths += m.process(i).killed ? 1 : 0;
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
        if (ending == Machine::Ending::finished && deaths == 0 &&
            header_->sent.sent.load_relaxed() != header_->received.freed.load_relaxed())
            return "the emptied queue counts messages";
        if (std::string unexplained = explain({shape_.messages_max, shape_.typed, deaths + m.stops()}, operations_);
            !unexplained.empty())
            return unexplained;
        if (!m.run_alone([&] { (void)reinterpret_cast<Queue*>(&queues_[drainer])->recover(platform::current_thread(), fd_); }))
            return "who repairs comes to no end";
        return audit();
    }

    bool is_lock(const void* address) const override {
        return address == header_->send_lock.address() || address == header_->receive_lock.address();
    }
    std::string name_of(const void* address) const override;

private:
    int send(Queue& queue, std::uint64_t id, std::uint64_t key, bool waits) {
        const std::uint64_t body[2] = {id, id * kMixed};
        auto& thread = platform::current_thread();
        const objects::Patience patience{waits ? platform::kForever : platform::kNoWait, -1};
        auto sent = shape_.typed ? queue.send_typed(thread, body, sizeof body, key, patience)
                                 : queue.send(thread, fd_, body, sizeof body, key, patience);
        return sent ? 0 : sent.fault().errno_value;
    }
    int receive(Queue& queue, bool waits, objects::Selector wanted, std::uint64_t& id, std::uint64_t& key) {
        std::uint64_t body[2] = {};
        auto& thread = platform::current_thread();
        const objects::Patience patience{waits ? platform::kForever : platform::kNoWait, -1};
        auto got = shape_.typed ? queue.receive_typed(thread, {{body}, sizeof body, wanted, false, nullptr}, patience)
                                : queue.receive(thread, fd_, body, sizeof body, patience);
        if (!got) return got.fault().errno_value;
        id = body[0];
        key = got->priority;
        if (got->length != sizeof body || body[1] != id * kMixed) machine().fail("a message came otherwise than it was sent");
        return 0;
    }

    void process(unsigned number, std::uint64_t seed) {
        for (const char* letter = shape_.processes[number]; *letter != 0; ++letter) (void)perform(number, *letter, seed);
    }

    int change(unsigned number) {
        machine().note("changes the limits");
        auto& queue = *reinterpret_cast<Queue*>(&queues_[number]);
        auto changed = queue.change(
            platform::current_thread(), [](void*, memory::ObjectHeader&) { return platform::done(); }, nullptr, kBytesMax);
        if (!changed) machine().fail("a change was refused");
        machine().operation_done();
        return 0;
    }

    int perform(unsigned number, char letter, std::uint64_t seed) {
        Machine& m = machine();
        if (letter == 'c') return change(number);
        const std::size_t at = operations_.size();
        Random random(seed * 31 + at * 7 + number);
        const bool sends = letter == 's' || letter == 'S';
        Operation op{sends ? Operation::Kind::send : Operation::Kind::receive, letter < 'a', number, at + 1, 0};
        const std::uint64_t low = shape_.typed ? 1 : 0;
        op.key = low + random.below(2);
        if (!sends && shape_.typed && seed != 0 && letter == 'R') {
            op.selector_kind = random.below(4);
            op.selector = 1 + random.below(2);
        } else if (!sends && shape_.typed && letter == 'R') {
            op.selector_kind = 0;
        }
        op.begun = m.now();
        operations_.push_back(op);
        if (m.tracing)
            m.note(std::string(sends ? "sends " : "receives ") + (op.waits ? "waiting " : "") +
                   (sends ? std::to_string(op.id) + " of " + std::to_string(op.key) : ""));
        std::uint64_t id = 0, key = 0;
        Queue& queue = *reinterpret_cast<Queue*>(&queues_[number]);
        const int error =
            sends ? send(queue, op.id, op.key, op.waits)
                  : receive(queue, op.waits, {static_cast<objects::Selector::Kind>(op.selector_kind), op.selector}, id, key);
        Operation& done = operations_[at];
        done.error = error;
        if (!sends) {
            done.id = id;
            done.key = key;
        }
        done.ended = m.now();
        m.operation_done();
        if (m.tracing)
            m.note("is told errno " + std::to_string(error) + (sends || error != 0 ? "" : ", message " + std::to_string(id)));
        const bool expected = error == 0 || (error == EAGAIN && !op.waits) || (error == EINTR && op.waits);
        if (!expected) m.fail("an operation of P" + std::to_string(number) + " failed with errno " + std::to_string(error));
        return error;
    }

    objects::Slot& slot(unsigned number) const {
        return *reinterpret_cast<objects::Slot*>(start_ + header_->geometry.slots_offset +
                                                 number * header_->geometry.slot_stride);
    }
    // Nothing can run any more: nobody may be asleep beside what it waits for.
    std::string find_stranded() const {
        unsigned messages = 0;
        for (unsigned i = 0; i < kSlotsShown; ++i) {
            const SlotState state = objects::slot_state(slot(i).state.load_relaxed());
            if (state == SlotState::inbox || state == SlotState::indexed) ++messages;
        }
        for (const Operation& op : operations_) {
            const auto& process = machine().process(op.process);
            if (op.ended != ~0ull || process.state != simulated::Process::State::asleep) continue;
            const std::string who = "P" + std::to_string(op.process) + " sleeps for ever ";
            if (is_lock(process.sleeps[0].address)) return who + "on a lock";
            // Who was about to give it something may have died: that is nobody's loss. What has been given is.
            const sync::ActorState told = sync::state_of(memory_at(process.sleeps[0].address));
            if (told != sync::ActorState::asleep && told != sync::ActorState::handover && !given_by_the_dead(op.process))
                return who + "beside what it was given";
            if (op.kind == Operation::Kind::send) {
                if (messages < shape_.messages_max) return who + "beside free space";
                continue;
            }
            for (unsigned i = 0; i < kSlotsShown; ++i) {
                const std::uint32_t word = slot(i).state.load_relaxed();
                const SlotState state = objects::slot_state(word);
                const objects::Selector wanted{static_cast<objects::Selector::Kind>(op.selector_kind), op.selector};
                if (shape_.typed && !wanted.matches(slot(i).key.load_relaxed())) continue;
                if (state == SlotState::inbox || state == SlotState::indexed) return who + "beside a message";
                if (state == SlotState::taken && objects::slot_holder(word) != 0 &&
                    (actors_[objects::slot_holder(word) - 1].life.load_relaxed() & FUTEX_OWNER_DIED) != 0)
                    return who + "beside a dead receiver's message";
            }
        }
        return {};
    }

    static std::uint32_t memory_at(const std::uint32_t* word) { return *const_cast<const volatile std::uint32_t*>(word); }
    // Dead before it committed, its notice not yet the sleeper's: whoever takes the lock next tells the sleeper to ask again.
    bool given_by_the_dead(unsigned process) const {
        const std::uint32_t* word = machine().process(process).sleeps[0].address;
        const auto& actor =
            actors_[static_cast<std::size_t>(reinterpret_cast<const std::byte*>(word) - reinterpret_cast<std::byte*>(actors_)) /
                    sizeof(sync::Actor)];
        const bool orphaned =
            ((header_->send_lock.load_relaxed() | header_->receive_lock.load_relaxed()) & FUTEX_OWNER_DIED) != 0;
        const std::uint32_t held = actor.slot.load_relaxed();
        const bool receives = actor.kind.load_relaxed() == static_cast<std::uint32_t>(objects::ActorKind::receiver);
        const bool committed =
            receives ? held != 0 : held == 0 || objects::slot_state(slot(held - 1).state.load_relaxed()) != SlotState::filling;
        return sync::state_of(actor.word.load_relaxed()) == sync::ActorState::given && orphaned && !committed;
    }
    std::string audit() const;

    QueueShape shape_;
    int fd_, slots_fd_;
    Queue queue_;
    QueueHeader* header_ = nullptr;
    std::byte* start_ = nullptr;
    sync::Actor* actors_ = nullptr;
    Image image_;
    struct alignas(Queue) Bytes {
        std::byte bytes[sizeof(Queue)];
    };
    Bytes kept_;
    Bytes queues_[simulated::kProcessesMax];
    std::vector<Operation> operations_;
};

// Every slot that was ever used is in one place, and every record is of somebody who sleeps.
std::string QueueScenario::audit() const {
    const auto& g = header_->geometry;
    const std::uint32_t used = header_->send.fresh.load_relaxed(), mask = g.ring_entries - 1;
    const auto* inbox = reinterpret_cast<const memory::ShmU32*>(start_ + sizeof(QueueHeader));
    const auto* returned = inbox + g.ring_entries;
    unsigned places[kSlotsShown] = {};
    std::string wrong;
    if (used >= kSlotsShown) return "more slots were used than this proof looks at";
    const auto see = [&](std::uint32_t number, SlotState state, const char* where) {
        if (number >= used || ++places[number] > 1)
            wrong = std::string(where) + " names a slot that is none, or elsewhere: " + std::to_string(number);
        else if (objects::slot_state(slot(number).state.load_relaxed()) != state)
            wrong = std::string(where) + " names a slot in another state: " + std::to_string(number);
    };
    for (std::uint32_t at = header_->sent.returned_head.load_relaxed();
         at != header_->received.returned_tail.load_relaxed() && wrong.empty(); ++at)
        see(returned[at & mask].load_relaxed(), SlotState::free, "the returned ring");
    for (std::uint32_t at = header_->send.spare.load_relaxed(); at != 0 && wrong.empty(); at = slot(at - 1).next.load_relaxed())
        see(at - 1, SlotState::free, "the spare list");
    for (std::uint32_t at = header_->receive.stack.load_relaxed(); at != 0 && wrong.empty();
         at = slot(at - 1).next.load_relaxed())
        see(at - 1, SlotState::free, "the stack");
    for (std::uint64_t at = header_->received.drained.load_relaxed(); at != header_->sent.sent.load_relaxed() && wrong.empty();
         ++at)
        see(inbox[at & mask].load_relaxed(), SlotState::inbox, "the inbox");
    std::uint64_t indexed = 0;
    for (std::uint32_t number = 0; number < used && wrong.empty(); ++number) {
        const std::uint32_t word = slot(number).state.load_relaxed();
        const SlotState state = objects::slot_state(word);
        const std::uint32_t holder = objects::slot_holder(word);
        if (state == SlotState::indexed) ++indexed, ++places[number];
        if ((state == SlotState::filling || state == SlotState::taken) && holder != 0 &&
            actors_[holder - 1].life.load_relaxed() != 0)
            ++places[number];
        if (places[number] != 1) wrong = "slot " + std::to_string(number) + " is lost, in state " + std::to_string(word);
    }
    if (wrong.empty() && indexed != header_->received.indexed.load_relaxed()) wrong = "the count of indexed messages is wrong";
    for (unsigned i = 0; i < kActorsShown && wrong.empty(); ++i) {
        const std::uint32_t life = actors_[i].life.load_relaxed(), process = (life & FUTEX_TID_MASK) - simulated::kFirstThreadId;
        if (life != 0 &&
            (process >= shape_.processes.size() || machine().process(process).state != simulated::Process::State::asleep))
            wrong = "actor " + std::to_string(i) + " is nobody's";
    }
    return wrong;
}

std::string QueueScenario::name_of(const void* address) const {
    const auto at = static_cast<std::uint64_t>(static_cast<const std::byte*>(address) - start_);
    const auto& g = header_->geometry;
    char name[64];
    if (at >= 1ull << 40) return "private memory";
    if (at >= g.slots_offset) {
        static constexpr const char* kFields[] = {"state", "next", "sequence", "", "key", "", "length", "region_pages"};
        const std::uint64_t in = (at - g.slots_offset) % g.slot_stride;
        std::snprintf(name, sizeof name, "slot %llu %s", static_cast<unsigned long long>((at - g.slots_offset) / g.slot_stride),
                      in < 32 ? kFields[in / 4] : "bytes");
    } else if (at >= g.actors_offset) {
        static constexpr const char* kFields[] = {"life",  "word",     "thread_id",     "process_id", "kind",     "slot",
                                                  "next",  "previous", "ticket",        "",           "selector", "",
                                                  "since", "",         "selector_kind", "cpu"};
        std::snprintf(name, sizeof name, "actor %llu %s", static_cast<unsigned long long>((at - g.actors_offset) / 64),
                      kFields[(at - g.actors_offset) % 64 / 4]);
    } else if (at >= sizeof(QueueHeader)) {
        const std::uint64_t ring = (at - sizeof(QueueHeader)) / 4;
        if (at >= g.lanes_offset)
            std::snprintf(name, sizeof name, "lanes +%llu", static_cast<unsigned long long>(at - g.lanes_offset));
        else
            std::snprintf(name, sizeof name, ring < g.ring_entries ? "inbox %llu" : "returned %llu",
                          static_cast<unsigned long long>(ring % g.ring_entries));
    } else {
        struct Field {
            std::size_t offset;
            const char* name;
        };
        static constexpr Field kFields[] = {{offsetof(QueueHeader, send_lock), "send_lock"},
                                            {offsetof(QueueHeader, receive_lock), "receive_lock"},
                                            {offsetof(QueueHeader, shared.flags), "flags"},
                                            {offsetof(QueueHeader, shared.actors_high), "actors_high"},
                                            {offsetof(QueueHeader, shared.tickets), "tickets"},
                                            {offsetof(QueueHeader, send.filling), "filling"},
                                            {offsetof(QueueHeader, send.filling_sent), "filling_sent"},
                                            {offsetof(QueueHeader, send.fresh), "fresh"},
                                            {offsetof(QueueHeader, send.spare), "spare"},
                                            {offsetof(QueueHeader, send.freed_seen), "freed_seen"},
                                            {offsetof(QueueHeader, send.drained_seen), "drained_seen"},
                                            {offsetof(QueueHeader, send.first_receiver), "first_receiver"},
                                            {offsetof(QueueHeader, send.last_receiver), "last_receiver"},
                                            {offsetof(QueueHeader, send.sequence), "sequence"},
                                            {offsetof(QueueHeader, sent.sent), "sent"},
                                            {offsetof(QueueHeader, sent.returned_head), "returned_head"},
                                            {offsetof(QueueHeader, sent.receivers_waiting), "receivers_waiting"},
                                            {offsetof(QueueHeader, receive.taking), "taking"},
                                            {offsetof(QueueHeader, receive.taking_tail), "taking_tail"},
                                            {offsetof(QueueHeader, receive.first_sender), "first_sender"},
                                            {offsetof(QueueHeader, receive.last_sender), "last_sender"},
                                            {offsetof(QueueHeader, receive.senders_waiting), "senders_waiting"},
                                            {offsetof(QueueHeader, received.drained), "drained"},
                                            {offsetof(QueueHeader, received.freed), "freed"},
                                            {offsetof(QueueHeader, received.promoted_sequence), "promoted_sequence"},
                                            {offsetof(QueueHeader, received.returned_tail), "returned_tail"},
                                            {offsetof(QueueHeader, received.indexed), "indexed"}};
        for (const Field& field : kFields)
            if (field.offset == at) return field.name;
        std::snprintf(name, sizeof name, "header +%llu", static_cast<unsigned long long>(at));
    }
    return name;
}

}  // namespace

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
        // For enumeration.
        {"pair", false, 1, {"ss", "rr"}, {}},
        {"pair_waits", false, 1, {"SS", "RR"}, {}},
    };
    return shapes;
}

std::unique_ptr<Scenario> make_queue_scenario(const QueueShape& shape) {
    return std::make_unique<QueueScenario>(shape);
}

}  // namespace muster::test
