#include "tests/proof/schedules_history.hpp"
#include <algorithm>
#include <cerrno>
#include <unordered_set>

namespace muster::test {
namespace {

// Depth first, by turns: which operation comes next? What has been looked at in vain is not looked at again.
class Search {
public:
    Search(const QueueModel& model, const std::vector<Operation>& operations)
        : model_(model), operations_(operations), room_(model.messages_max) {}
    bool run() { return step(); }

private:
    static constexpr unsigned kNobody = ~0u;
    // Has its value again when the search steps back.
    template <class T>
    class Restored {
    public:
        explicit Restored(T& value) : value_(value), was_(value) {}
        Restored(const Restored&) = delete;
        ~Restored() { value_ = was_; }

    private:
        T& value_;
        T was_;
    };
    struct Message {
        std::uint64_t id, key;
        std::uint32_t order;  // of sending
    };

    bool step() {
        bool all = true;
        std::uint64_t earliest_end = ~0ull;
        for (std::size_t i = 0; i < operations_.size(); ++i) {
            if ((done_ & 1u << i) != 0 || operations_[i].ended == ~0ull) continue;
            all = false;
            earliest_end = std::min(earliest_end, operations_[i].ended);
        }
        if (all) return nobody_forgotten();
        if (!seen_.insert(state()).second) return false;
        for (std::size_t i = 0; i < operations_.size(); ++i) {
            const std::uint32_t bit = 1u << i;
            if ((done_ & bit) == 0 && operations_[i].begun <= earliest_end && perform(i)) return true;
            if ((taken_ & bit) != 0 && give_back(i)) return true;
        }
        return false;
    }

    bool perform(std::size_t index) {
        const Operation& op = operations_[index];
        const std::uint32_t bit = 1u << index;
        const bool open = op.open();
        if (!open && op.error == EIDRM) return removed_ && then(bit);
        if (removed_) return false;
        if (op.kind == Operation::Kind::send) {
            if (!open && op.error == EAGAIN) return !op.waits && queue_.size() >= room_ && then(bit);
            if (!open && op.error != 0) return then(bit);  // interrupted: nothing happened
            if (queue_.size() >= room_ + model_.excess) return false;
            const Restored watched(watcher_), due(due_);
            if (queue_.empty() && watcher_ != kNobody) due_ |= 1u << watcher_, watcher_ = kNobody;
            queue_.push_back({op.id, op.key, sends_++});
            if (then(bit)) return true;
            queue_.pop_back();
            --sends_;
            return false;
        }
        if (op.kind != Operation::Kind::receive) return perform_other(op, bit);
        if (!open && op.error != 0 && op.error != EAGAIN) return then(bit);
        const std::size_t best = choose(op);
        if (!open && op.error == EAGAIN) return best == queue_.size() && then(bit);
        if (best == queue_.size()) return false;
        const Message message = queue_[best];
        if (!open && (message.id != op.id || message.key != op.key)) return false;
        queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(best));
        if (op.undone) {
            taken_ |= bit;
            held_.push_back({index, message});
        }
        if (then(bit)) return true;
        if (op.undone) {
            taken_ &= ~bit;
            held_.pop_back();
        }
        queue_.insert(queue_.begin() + static_cast<std::ptrdiff_t>(best), message);
        return false;
    }

    bool perform_other(const Operation& op, std::uint32_t bit) {
        const Restored removed(removed_);
        const Restored room(room_);
        const Restored watched(watcher_), due(due_);
        const std::uint32_t mine = 1u << op.process;
        switch (op.kind) {
            case Operation::Kind::change:
                room_ = model_.messages_max_changed;
                break;
            case Operation::Kind::remove:
                removed_ = true;
                break;
            case Operation::Kind::poll_message:
                if (op.open() || (queue_.empty() && !model_.deaths)) return false;
                break;
            case Operation::Kind::poll_room:
                if (op.open() || (queue_.size() >= room_ && !model_.deaths)) return false;
                break;
            case Operation::Kind::watch: {
                const bool stands = watcher_ != kNobody && !is_dead(watcher_);
                if (!op.open() && op.error == EBUSY) return (stands || model_.deaths) && then(bit);
                // Somebody killed may have told the other one, of nothing, and used its registration up.
                if (stands && !model_.deaths) return false;
                if (stands) due_ |= 1u << watcher_;
                watcher_ = op.process;
                break;
            }
            default:
                if (op.open()) return false;
                if ((due_ & mine) == 0 && (!model_.deaths || watcher_ != op.process)) return false;
                if ((due_ & mine) == 0) watcher_ = kNobody;
                due_ &= ~mine;
                break;
        }
        return then(bit);
    }

    // Who sleeps on until it is notified has no message to be notified of.
    bool nobody_forgotten() const {
        for (const Operation& op : operations_)
            if (op.kind == Operation::Kind::told && op.open() && !op.undone && (due_ & 1u << op.process) != 0) return false;
        return true;
    }
    bool is_dead(unsigned process) const {
        for (const Operation& op : operations_)
            if (op.process == process && op.undone) return true;
        return false;
    }

    // What a dead receiver had in its hands comes back to its place.
    bool give_back(std::size_t index) {
        const std::uint32_t bit = 1u << index;
        const auto held = std::find_if(held_.begin(), held_.end(), [&](const auto& each) { return each.first == index; });
        const Message message = held->second;
        const auto at =
            std::find_if(queue_.begin(), queue_.end(), [&](const Message& each) { return each.order > message.order; }) -
            queue_.begin();
        queue_.insert(queue_.begin() + at, message);
        const auto held_before = held_;
        held_.erase(held);
        taken_ &= ~bit;
        if (step()) return true;
        taken_ |= bit;
        held_ = held_before;
        queue_.erase(queue_.begin() + at);
        return false;
    }

    bool then(std::uint32_t bit) {
        done_ |= bit;
        if (step()) return true;
        done_ &= ~bit;
        return false;
    }

    // In the order of sending: the queue is kept in it.
    std::size_t choose(const Operation& op) const {
        std::size_t best = queue_.size();
        for (std::size_t i = 0; i < queue_.size(); ++i) {
            const std::uint64_t key = queue_[i].key;
            if (!model_.typed) {
                if (best == queue_.size() || key > queue_[best].key) best = i;
                continue;
            }
            const bool matches = op.selector_kind == 0 || (op.selector_kind == 1 && key == op.selector) ||
                                 (op.selector_kind == 2 && key != op.selector) || (op.selector_kind == 3 && key <= op.selector);
            if (matches && (best == queue_.size() || (op.selector_kind == 3 && key < queue_[best].key))) best = i;
        }
        return best;
    }

    std::string state() const {
        std::string text(reinterpret_cast<const char*>(&done_), sizeof done_);
        text.append(reinterpret_cast<const char*>(&taken_), sizeof taken_);
        // What else there is follows from the operations performed, but for the order of those on the registration.
        text.append(reinterpret_cast<const char*>(&watcher_), sizeof watcher_);
        text.append(reinterpret_cast<const char*>(&due_), sizeof due_);
        for (const Message& each : queue_) text.append(reinterpret_cast<const char*>(&each.id), sizeof each.id);
        for (const auto& each : held_) text.append(reinterpret_cast<const char*>(&each.second.id), sizeof each.second.id);
        return text;
    }

    const QueueModel& model_;
    const std::vector<Operation>& operations_;
    std::vector<Message> queue_;
    std::vector<std::pair<std::size_t, Message>> held_;
    std::unordered_set<std::string> seen_;
    std::uint32_t done_ = 0, taken_ = 0, sends_ = 0;
    std::size_t room_;
    bool removed_ = false;
    unsigned watcher_ = kNobody;
    std::uint32_t due_ = 0;  // a bit for each process that is to be notified
};

}  // namespace

std::string explain(const QueueModel& model, const std::vector<Operation>& operations) {
    if (operations.size() > 31) return "too many operations to explain";
    if (Search(model, operations).run()) return {};
    std::string text = "no order of the operations explains what they were told:";
    for (const Operation& op : operations) {
        static constexpr const char* kNames[] = {"send",          "receive",   "change", "remove", "poll for a message",
                                                 "poll for room", "mq_notify", "told"};
        text +=
            "\n  P" + std::to_string(op.process) + " " + kNames[static_cast<unsigned>(op.kind)] + (op.waits ? ", waiting" : "");
        if (op.kind == Operation::Kind::receive && model.typed)
            text += " kind " + std::to_string(op.selector_kind) + " of " + std::to_string(op.selector);
        if (op.kind == Operation::Kind::send || (op.kind == Operation::Kind::receive && op.error == 0))
            text += " id " + std::to_string(op.id) + " key " + std::to_string(op.key);
        text += " errno " + std::to_string(op.error) + ", points " + std::to_string(op.begun) + " to " +
                (op.ended == ~0ull ? "none" : std::to_string(op.ended));
    }
    return text;
}

}  // namespace muster::test
