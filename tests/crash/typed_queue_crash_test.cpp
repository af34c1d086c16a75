// A process is killed (SIGKILL) at every crash point of the queue engine that a typed queue's operations pass, sleepers
// present. Proved after each death: the operation in flight is wholly done or not at all, on the side that the table says;
// whoever sleeps is served without anybody's help once his message, or his space, is there; typed_state() counts exactly
// the messages and bytes that are there, in order; everything is received exactly once, whole; a removal reaches everybody;
// the budget can be used up again to the last byte, and no slot, actor, lane or list entry is lost.
//
// How: each scenario runs once with the victim alive while its crash points are noted, then once for each of them.
#include <gtest/gtest.h>
#include <atomic>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include "support/child.hpp"
#include "support/crash_points.hpp"
#include "support/queue_audit.hpp"
#include "support/typed_queue.hpp"
#include "typed_queue_scenarios.hpp"

namespace {

namespace objects = muster::objects;
namespace platform = muster::platform;
using namespace muster::test;
using objects::Selector;
using namespace muster::test::typed;
using platform::kForever;
using platform::kNoWait;

constexpr Fate B = Fate::before, A = Fate::after, E = Fate::either;

struct PointRow {
    const char* point;
    Fate send, receive, change, remove;
};
// One row for each crash point that a typed queue can pass.
constexpr PointRow kPoints[] = {
    {"queue.actor.begun", E, E, E, E},
    {"queue.actor.send_locked", E, E, E, E},
    {"queue.actor.both_locked", E, E, E, E},
    {"queue.actor.receive_unlocked", E, E, E, E},
    {"queue.actor.ending", E, E, E, E},
    {"queue.send.intent", B, B, E, E},
    {"queue.send.filling", B, B, E, E},
    {"queue.send.filled", B, B, E, E},
    {"queue.send.committed", A, B, E, E},  // in a receive: of a sleeping sender's message
    {"queue.send.published", A, B, E, E},
    {"queue.send.staged", B, B, E, E},
    {"queue.send.staged_filled", B, B, E, E},
    {"queue.send.slow_filled", B, B, E, E},
    {"queue.send.registered", B, B, E, E},
    {"queue.spare.listed", B, B, E, E},
    {"queue.handover.begun", B, B, E, E},
    {"queue.handover.woken", B, B, E, E},
    {"queue.handover.committed", A, B, E, E},
    {"queue.handover.given", A, B, E, E},
    {"queue.give.unlinked", B, B, E, E},
    {"queue.give.noticed", B, B, E, E},
    {"queue.give.begun", B, B, E, E},
    {"queue.give.committed", A, B, E, E},
    {"queue.give.given", A, B, E, E},
    {"queue.give.unlocked", A, B, E, E},
    {"queue.give.taking_back", A, B, E, E},
    {"queue.give.taken_back", A, B, E, E},
    {"queue.drain.marked", B, B, E, E},
    {"queue.drain.indexed", B, B, E, E},
    {"queue.refill.popped", B, B, E, E},
    {"queue.return.freed", B, A, E, E},
    {"queue.return.pushed", B, A, E, E},
    {"queue.promote_typed.begun", E, B, E, E},
    {"queue.promote_typed.woken", E, B, E, E},
    {"queue.promote_typed.filled", E, B, E, E},
    {"queue.promote_typed.given", E, B, E, E},
    {"queue.receive.copied", E, B, E, E},
    {"queue.receive.committed", E, A, E, E},
    {"queue.receive.counted", E, A, E, E},
    {"queue.receive.direct_copied", E, B, E, E},
    {"queue.receive.direct_committed", E, A, E, E},
    {"queue.receive.registered", E, B, E, E},
    {"queue.taken.copied", E, B, E, E},
    {"queue.taken.returned", E, A, E, E},
    {"queue.wait.before_sleep", B, B, E, E},
    {"queue.wait.awake", E, B, E, E},
    {"queue.trim.begun", E, A, E, E},
    {"queue.trim.reset", E, A, E, E},
    {"queue.trim.released", E, A, E, E},
    {"queue.wake_all.told", E, E, B, B},
    {"queue.wake_all.woken", E, E, B, B},
    {"queue.change.woken", E, E, B, E},
    {"queue.change.permitted", E, E, B, E},
    {"queue.change.stored", E, E, A, E},
    {"queue.remove.woken", E, E, E, B},
    {"queue.remove.marked", E, E, E, A},
    {"queue.recover.told", E, E, E, E},
    {"queue.recover_send.intent_settled", E, E, E, E},
    {"queue.recover_send.relinked", E, E, E, E},
    {"queue.recover_receive.inbox_settled", E, E, E, E},
    {"queue.recover_receive.intent_settled", E, E, E, E},
    {"queue.recover_receive.relinked", E, E, E, E},
    {"queue.recover_receive.rebuilt", E, E, E, E},
    {"queue.reap.unlinked", E, E, E, E},
    {"queue.reap.emptied", E, E, E, E},
};

constexpr std::size_t kSleepersMax = 4;
constexpr std::uint64_t kNobodysType = 4711;
constexpr std::uint64_t kVictimId = 900'000, kHelpId = 910'000, kFillerId = 920'000, kProbeId = 930'000, kSleeperId = 940'000, kSecondId = 950'000,
                        kFillUpId = 1'000'000;
constexpr std::uint64_t kFillerTypes[] = {1, 2, 3, 7, 8, 9, 11};  // for each selector of the scenarios there is one

struct Board {
    struct Entry {
        std::atomic<int> done;
        TypedReceived received;  // a sender's too: its error
    } sleepers[kSleepersMax], victim;
    PassedPoints passed;
};

Fate fate_at(const char* point, Op op) {
    for (const PointRow& row : kPoints)
        if (std::strcmp(row.point, point) == 0)
            return op == Op::send ? row.send : op == Op::receive ? row.receive : op == Op::change ? row.change : op == Op::remove ? row.remove : E;
    return E;
}
Fate fate_at(const Kill& at, Op op) { return at.point == nullptr || at.committed ? A : fate_at(at.point, op); }

// A queue, the processes around it, and what must be true of it afterwards.
class Stage {
public:
    // `elsewhere`: sleepers run on another CPU than who wakes them, if there is one.
    explicit Stage(const Scenario& scenario, bool elsewhere = false)
        : elsewhere_(elsewhere), s_(scenario), queue_(scenario.messages_max, scenario.message_bytes_max, scenario.bytes_max) {
        for (int cycle = 0; cycle < s_.cycles; ++cycle) {
            for (std::uint64_t i = 0; i < s_.messages_max; ++i) EXPECT_EQ(queue_.send(i, kBodyBytes, 1 + i % 3), 0);
            for (std::uint64_t i = 0; i < s_.messages_max; ++i) EXPECT_EQ(queue_.receive().error, 0);
        }
    }

    std::vector<Kill> kills(Op op) const {
        return kills_of(board_->passed.list(), [op](const char* point) { return fate_at(point, op); });
    }
    std::vector<const char*> passed() const { return board_->passed.list(); }

    // One death (or two, the second one in `second_op`), and the proof.
    void run(const Kill& at, bool recover_first, const Op* second_op = nullptr, const Kill& second = {}) {
        SCOPED_TRACE(std::string(s_.name) + (elsewhere_ ? " elsewhere" : "") + " killed at " + at.text() +
                     (second_op ? ", then " + std::to_string(static_cast<int>(*second_op)) + " at " + second.text() : ""));
        facts_.clear();
        certain_.clear();
        order_.clear();
        seen_.clear();
        sleepers_.clear();
        taken_by_parent_ = 0;
        missed_ = false;
        board_->passed.count.store(0);
        for (auto& entry : board_->sleepers) {
            entry.done.store(0);
            entry.received = {};
        }
        if (!prepare()) return;
        first_victim(at);
        if (stuck_) return;
        twice_ = second_op != nullptr;
        if (twice_) second_victim(*second_op, second);
        if (!stuck_) settle(at, second_op, recover_first);
        if (!stuck_ && !gone_) check_capacity();
    }
    bool stuck() const { return stuck_; }
    bool gone() const { return gone_; }

private:
    struct Fact {
        std::uint64_t type;
        std::uint32_t length;
    };

    void fail_stuck(const std::string& what) {
        ADD_FAILURE() << what << "\n" << audit_queue(queue_.fd(), queue_.slots_fd()).text();
        stuck_ = true;
    }
    std::size_t receivers() const {
        return static_cast<std::size_t>(std::count_if(s_.sleepers.begin(), s_.sleepers.end(), [](const Sleeper& s) { return s.receives; }));
    }
    void note(std::uint64_t id, Message message, bool certain) {
        facts_[id] = {message.type, message.length};
        if (certain) certain_.insert(id);
    }
    std::uint32_t waiting() { return queue_.queue().state().receivers_waiting + queue_.queue().state().senders_waiting; }

    bool prepare() {
        for (std::uint32_t i = 0; i < s_.copies * s_.queued.size(); ++i) {
            const Message& message = s_.queued[i % s_.queued.size()];
            // Who looks in vain takes over what the inbox holds.
            if (s_.last_in_inbox && i + 1 == s_.copies * s_.queued.size()) {
                EXPECT_EQ(queue_.receive(equal(kNobodysType)).error, EAGAIN);
            }
            if (queue_.send(i, message.length, message.type) != 0) ADD_FAILURE() << "message " << i;
            note(i, message, true);
            order_.push_back(i);
        }
        while (s_.left != 0 && order_.size() > s_.left) {
            certain_.erase(queue_.receive().id);
            order_.erase(order_.begin());
        }
        for (std::size_t i = 0; i < s_.sleepers.size(); ++i) {
            const Sleeper& sleeper = s_.sleepers[i];
            const std::uint64_t id = kSleeperId + i;
            Board::Entry& entry = board_->sleepers[i];
            if (!sleeper.receives) note(id, sleeper.message, false);
            sleepers_.emplace_back([&] {
                run_on(elsewhere_ ? 1 : 0);
                if (!sleeper.receives) entry.received.error = queue_.send(id, sleeper.message.length, sleeper.message.type, kForever);
                else if (sleeper.capacity != kAnyLength) entry.received = queue_.receive(sleeper.wanted, kForever, sleeper.capacity, false);
                else entry.received = queue_.receive(sleeper.wanted, kForever);
                entry.done.store(1);
            });
            if (!eventually([&] { return waiting() == i + 1 && sleepers_.back().asleep(); })) {
                fail_stuck("sleeper " + std::to_string(i) + " never slept");
                return false;
            }
        }
        for (int i = 0; i < s_.stopped; ++i) {
            const Child& sleeper = sleepers_[static_cast<std::size_t>(i)];
            sleeper.kill(SIGSTOP);
            EXPECT_TRUE(eventually([&] { return process_state(sleeper.pid()) == 'T'; }));
        }
        return true;
    }

    // In the victim.
    int perform(Op op, std::uint64_t id, platform::DeadlineNs deadline_ns, bool bad_pointer) {
        std::vector<unsigned char> buffer(s_.message_bytes_max);
        void* data = bad_pointer ? reinterpret_cast<void*>(64) : buffer.data();
        switch (op) {
            case Op::send:
                write_body(buffer.data(), id, s_.message.length, static_cast<std::uint32_t>(s_.message.type));
                return queue_.send_from(data, s_.message.length, s_.message.type, deadline_ns);
            case Op::receive:
                return queue_.receive_to(data, s_.wanted, deadline_ns, s_.capacity == kAnyLength ? buffer.size() : s_.capacity, s_.truncate).error;
            case Op::change: return queue_.change(s_.new_bytes_max);
            case Op::remove: return queue_.remove();
            case Op::recover: return queue_.recover();
            case Op::state: return queue_.state().messages == order_.size() ? 0 : -1;
            case Op::copy: return queue_.copy(order_.size() - 1).error;
        }
        return -1;
    }

    void first_victim(const Kill& at) {
        Child victim([&] {
            run_on(0);
            struct sigaction action {};
            action.sa_handler = [](int) {};
            sigaction(SIGUSR1, &action, nullptr);
            arm(at, board_->passed);
            const platform::DeadlineNs deadline = s_.wait == WaitFor::never ? kNoWait : s_.wait == WaitFor::briefly ? in_seconds(0.003) : kForever;
            board_->victim.received.error = perform(s_.op, kVictimId, deadline, s_.bad_pointer);
            board_->victim.done.store(1);
        });
        if (s_.help != Help::none) help(victim);
        if (!victim.ends()) return fail_stuck("the victim is stuck");
        if (at.point == nullptr) {
            EXPECT_TRUE(victim.exited()) << victim.status();
            EXPECT_EQ(board_->victim.received.error, s_.error);
        } else {
            EXPECT_TRUE(victim.killed() || victim.exited()) << victim.status();
            missed_ = !victim.killed();  // beside stopped sleepers the way there may vary
            EXPECT_TRUE(!missed_ || s_.stopped != 0) << "the point was not reached again";
        }
    }
    void help(Child& victim) {
        bool ended = false;
        EXPECT_TRUE(eventually([&] {
            ended = victim.ended();
            return ended || (victim.asleep() && waiting() == s_.sleepers.size() + 1);
        })) << "the victim neither slept nor died";
        if (s_.help == Help::send) {
            EXPECT_EQ(queue_.send(kHelpId, s_.helps.length, s_.helps.type, in_seconds(20)), 0);
            note(kHelpId, s_.helps, true);
        } else if (s_.help == Help::receive) {
            take(queue_.receive(kAny, in_seconds(20)), "the helper");
            ++taken_by_parent_;
        } else {
            // A signal may come just before the sleep; it is sent until it has done its work.
            EXPECT_TRUE(eventually([&] {
                if (!victim.ended()) victim.kill(SIGUSR1);
                return victim.ended();
            }));
        }
    }

    void second_victim(Op op, const Kill& at) {
        board_->passed.count.store(0);
        if (op == Op::send) note(kSecondId, s_.message, false);
        Child victim([&] {
            arm(at, board_->passed);
            perform(op, kSecondId, kNoWait, false);
        });
        if (!victim.ends()) fail_stuck("the second victim is stuck");
        // Whether it was killed depends on what the sleepers did meanwhile: they recover too.
    }

    void take(const TypedReceived& got, const char* who) {
        EXPECT_EQ(got.error, 0) << who;
        if (got.error != 0) return;
        EXPECT_EQ(got.wrong, nullptr) << who << " got message " << got.id << ": " << got.wrong;
        EXPECT_TRUE(seen_.insert(got.id).second) << "message " << got.id << " came twice";
        const auto fact = facts_.find(got.id);
        if (fact == facts_.end()) ADD_FAILURE() << who << " got message " << got.id << " from nowhere";
        else EXPECT_TRUE(fact->second.type == got.type && fact->second.length == got.length) << who << " got message " << got.id << " as another";
    }
    bool done(std::size_t sleeper) const { return board_->sleepers[sleeper].done.load() != 0; }

    // Who of the sleepers is served by the operation alone, in a queue that is simple enough to say.
    std::vector<std::size_t> served() const {
        struct Held {
            std::uint64_t type;
            std::uint64_t length;
        };
        std::vector<std::size_t> result;
        std::vector<Held> held;
        std::uint64_t bytes = 0;
        const auto deliver = [&](const Message& message) {
            for (std::size_t i = 0; i < s_.sleepers.size(); ++i) {
                const Sleeper& r = s_.sleepers[i];
                if (!r.receives || !r.wanted.matches(message.type) || std::count(result.begin(), result.end(), i) != 0) continue;
                result.push_back(i);
                if (message.length <= r.capacity) return;
            }
            held.push_back({message.type, message.length});
            bytes += message.length;
        };
        for (const std::uint64_t id : order_) {
            held.push_back({facts_.at(id).type, facts_.at(id).length});
            bytes += facts_.at(id).length;
        }
        if (s_.op == Op::send) deliver(s_.message);
        if (s_.op == Op::receive) {
            std::size_t best = held.size();
            for (std::size_t i = 0; i < held.size(); ++i)
                if (s_.wanted.matches(held[i].type) &&
                    (best == held.size() || (s_.wanted.kind == Selector::lowest && held[i].type < held[best].type)))
                    best = i;
            if (best == held.size()) return {};
            bytes -= held[best].length;
            held.erase(held.begin() + static_cast<std::ptrdiff_t>(best));
            for (std::size_t i = 0; i < s_.sleepers.size(); ++i) {
                const Sleeper& sleeper = s_.sleepers[i];
                if (sleeper.receives || held.size() >= s_.messages_max || bytes + sleeper.message.length > s_.bytes_max) continue;
                result.push_back(i);
                deliver(sleeper.message);
            }
        }
        return result;
    }

    // Nobody sleeps beside what he waits for, and all counts are right; those who were woken may still be on their way.
    bool sound() {
        if (eventually([&] { return audit_queue(queue_.fd(), queue_.slots_fd()).complaints.empty(); }, std::chrono::seconds(5))) return true;
        fail_stuck("after recovery");
        return false;
    }

    void settle(const Kill& at, const Op* second_op, bool recover_first) {
        const Fate fate = missed_ ? A : s_.error != 0 ? B : fate_at(at, s_.op);
        for (int i = 0; i < s_.stopped; ++i) sleepers_[static_cast<std::size_t>(i)].kill(SIGCONT);
        if (s_.op == Op::remove && settle_removal(fate)) return;
        if (s_.op == Op::send && s_.error == 0) note(kVictimId, s_.message, fate == A && !twice_);
        if (s_.op == Op::change && !twice_ && fate != E) {
            EXPECT_EQ(queue_.queue().bytes_max(), fate == A ? s_.new_bytes_max : s_.bytes_max);
        }

        // What is in goes to a sleeper without anybody's help; so does the space of a message that is out.
        if (!twice_ && fate == A && s_.stopped == 0 && s_.help == Help::none)
            for (const std::size_t sleeper : served())
                if (!eventually([&] { return done(sleeper); })) return fail_stuck("sleeper " + std::to_string(sleeper) + " is not served");

        // The next comer proceeds, sender or keeper; then everything must be in its place.
        if (recover_first && queue_.recover() != 0) ADD_FAILURE() << "recover";
        const std::uint64_t probe_type = kFillerTypes[std::size(kFillerTypes) - 1];
        const int probe = queue_.send(kProbeId, kBodyBytes, probe_type);
        if (probe == 0) note(kProbeId, {probe_type, kBodyBytes}, true);
        else EXPECT_EQ(probe, EAGAIN);
        EXPECT_EQ(queue_.recover(), 0);
        if (!sound()) return;
        if (served_is_all(at)) {
            const std::vector<std::size_t> expected = served();
            for (std::size_t i = 0; i < s_.sleepers.size(); ++i) {
                // The probe may have served those who take anything.
                if (std::count(expected.begin(), expected.end(), i) == 0 && !(s_.sleepers[i].receives && s_.sleepers[i].wanted.matches(probe_type))) {
                    EXPECT_FALSE(done(i)) << "sleeper " << i << " is awake";
                }
            }
        }
        look_at_all();
        EXPECT_EQ(queue_.findings(), "");
        if (recover_first) fill_up();
        if (!finish()) return;
        account(fate, second_op);
    }
    bool served_is_all(const Kill&) const {
        return !twice_ && s_.stopped == 0 && s_.help == Help::none && (s_.op == Op::send || s_.op == Op::receive);
    }

    // A removed queue says so to everybody. True: it is gone.
    bool settle_removal(Fate fate) {
        const bool removed = queue_.queue().object().removed.load_acquire() == 1;
        if (!twice_ && fate != E) {
            EXPECT_EQ(removed, fate == A);
        }
        if (!removed) return false;
        gone_ = true;
        for (std::size_t i = 0; i < sleepers_.size(); ++i) {
            if (!sleepers_[i].ends(std::chrono::seconds(5))) {
                fail_stuck("a sleeper of the removed queue sleeps on");
                return true;
            }
            EXPECT_EQ(board_->sleepers[i].received.error, EIDRM) << "sleeper " << i;
        }
        EXPECT_EQ(queue_.send(kProbeId, kBodyBytes, 1), EIDRM);
        EXPECT_EQ(queue_.receive().error, EIDRM);
        EXPECT_EQ(queue_.copy(0).error, EIDRM);
        EXPECT_EQ(queue_.change(1), EIDRM);
        EXPECT_EQ(queue_.remove(), EIDRM);
        return true;
    }

    // typed_state() counts what copy_typed() shows, the oldest first; once those who were told to ask again have done so.
    void look_at_all() {
        objects::TypedState state{};
        std::uint64_t bytes = 0;
        std::vector<std::uint64_t> ids;
        const bool agree = eventually([&] {
            state = queue_.state();
            bytes = 0;
            ids.clear();
            const std::uint64_t looked = std::min<std::uint64_t>(state.messages, 40);  // each look sorts them all
            for (std::uint64_t i = 0; i < looked; ++i) {
                const TypedReceived shown = queue_.copy(i);
                if (shown.error != 0) return false;
                EXPECT_EQ(shown.wrong, nullptr) << shown.wrong;
                bytes += shown.length;
                if (certain_.count(shown.id) != 0 && shown.id < kVictimId) ids.push_back(shown.id);
            }
            return looked < state.messages || (bytes == state.bytes && queue_.copy(looked).error == EAGAIN);
        });
        EXPECT_TRUE(agree) << state.messages << " messages of " << state.bytes << " bytes are counted, " << bytes << " bytes shown";
        EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end())) << "out of order";
        EXPECT_EQ(state.bytes_max, queue_.queue().bytes_max());
    }

    // What is free right after the death and its repair can be used at once, to the last byte.
    void fill_up() {
        for (std::uint64_t id = kFillUpId;; ++id) {
            if (queue_.send(id, kBodyBytes, 11) != 0) break;
            note(id, {11, kBodyBytes}, true);
        }
        const objects::TypedState state = queue_.state();
        if (state.messages < std::min<std::uint64_t>(s_.messages_max, state.bytes_max)) {
            EXPECT_GT(state.bytes + kBodyBytes, state.bytes_max) << "full is not full\n" << audit_queue(queue_.fd(), queue_.slots_fd()).text();
        }
    }

    // Until nobody sleeps any more and nothing is left.
    bool finish() {
        if (queue_.queue().bytes_max() != s_.bytes_max && (queue_.change(s_.bytes_max) != 0 || !sound())) return false;
        std::uint64_t filler = kFillerId;
        const auto drain = [&] {
            for (;;) {
                const TypedReceived got = queue_.receive();
                if (got.error != 0) {
                    EXPECT_EQ(got.error, EAGAIN);
                    return;
                }
                take(got, "the parent");
            }
        };
        const auto all_done = [&](bool receives) {
            for (std::size_t i = 0; i < s_.sleepers.size(); ++i)
                if (s_.sleepers[i].receives == receives && !done(i)) return false;
            return true;
        };
        if (!eventually([&] { drain(); return all_done(false); })) {
            fail_stuck("senders sleep beside space");
            return false;
        }
        drain();
        for (std::size_t i = 0; i < s_.sleepers.size(); ++i) {
            if (!s_.sleepers[i].receives || done(i)) continue;
            for (const std::uint64_t type : kFillerTypes) {
                if (!s_.sleepers[i].wanted.matches(type)) continue;
                EXPECT_EQ(queue_.send(filler, kBodyBytes, type), 0);
                note(filler++, {type, kBodyBytes}, true);
                break;
            }
        }
        if (!eventually([&] { return all_done(true); })) {
            fail_stuck("receivers sleep beside messages");
            return false;
        }
        drain();
        for (std::size_t i = 0; i < s_.sleepers.size(); ++i) {
            const TypedReceived& received = board_->sleepers[i].received;
            if (!s_.sleepers[i].receives) {
                EXPECT_EQ(received.error, 0) << "sleeping sender " << i;
                if (received.error == 0) certain_.insert(kSleeperId + i);
            } else if (received.error != 0) {
                EXPECT_EQ(received.error, E2BIG) << "sleeping receiver " << i;
                EXPECT_NE(s_.sleepers[i].capacity, kAnyLength);
            } else {
                take(received, "a sleeper");
                EXPECT_TRUE(s_.sleepers[i].wanted.matches(received.type)) << "sleeper " << i << " did not ask for type " << received.type;
            }
            const bool ended = sleepers_[i].ends();
            EXPECT_TRUE(ended && sleepers_[i].exited()) << "sleeper " << i << ": " << sleepers_[i].status();
            if (!ended) stuck_ = true;
        }
        return !stuck_;
    }

    // Exactly once, but for what the victims were at.
    void account(Fate fate, const Op* second_op) {
        if (s_.op == Op::send && !twice_ && fate == B) {
            EXPECT_EQ(seen_.count(kVictimId), 0u) << "the victim's message was not committed and yet is there";
        }
        std::vector<std::uint64_t> missing;
        for (const std::uint64_t id : certain_)
            if (seen_.count(id) == 0) missing.push_back(id);
        std::size_t gone_max = 0, gone_min = 0;
        if (s_.op == Op::receive && s_.error == 0) {
            gone_max += fate != B ? 1 : 0;
            gone_min += fate == A && !twice_ ? 1 : 0;
        }
        if (second_op != nullptr && *second_op == Op::receive) ++gone_max;
        EXPECT_GE(missing.size(), gone_min) << "the victim's message is there a second time";
        EXPECT_LE(missing.size(), gone_max) << "lost: " << testing::PrintToString(missing);
        for (const std::uint64_t id : missing) EXPECT_TRUE(s_.wanted.matches(facts_.at(id).type)) << "another message is gone: " << id;
    }

    // Full is exactly full, empty is empty, and every slot is where it belongs.
    void check_capacity() {
        const std::uint64_t fit = std::min(s_.messages_max, s_.bytes_max / kBodyBytes);
        std::uint64_t id = 0;
        while (id <= fit && queue_.send(id, kBodyBytes, 1 + id % 5) == 0) ++id;
        EXPECT_EQ(id, fit) << "capacity";
        const objects::TypedState full = queue_.state();
        EXPECT_EQ(full.messages, id);
        EXPECT_EQ(full.bytes, id * kBodyBytes);
        const Audit there = audit_queue(queue_.fd(), queue_.slots_fd());
        EXPECT_TRUE(there.complaints.empty()) << "full:\n" << there.text();
        while (id != 0 && queue_.receive().error == 0) --id;
        EXPECT_EQ(id, 0u);
        EXPECT_EQ(queue_.recover(), 0);
        const objects::TypedState empty = queue_.state();
        EXPECT_EQ(empty.messages + empty.bytes + empty.receivers_waiting + empty.senders_waiting, 0u);
        const Audit audit = audit_queue(queue_.fd(), queue_.slots_fd());
        EXPECT_TRUE(audit.complaints.empty()) << "empty:\n" << audit.text();
        EXPECT_EQ(audit.free_slots, audit.slots);
    }

    const bool elsewhere_;
    const Scenario& s_;
    TypedTestQueue queue_;
    Shared<Board> board_;
    bool stuck_ = false, missed_ = false, gone_ = false, twice_ = false;
    std::size_t taken_by_parent_ = 0;
    std::vector<Child> sleepers_;
    std::map<std::uint64_t, Fact> facts_;       // of every message that may be there
    std::set<std::uint64_t> certain_, seen_;    // of those: must come, have come
    std::vector<std::uint64_t> order_;          // queued before
};

const bool go_on = std::getenv("MUSTER_CRASH_GO_ON") != nullptr;  // to see all failures

std::vector<Kill> dry_run(const Scenario& scenario, bool elsewhere = false) {
    Stage stage(scenario, elsewhere);
    stage.run({}, false);
    return stage.kills(scenario.op);
}

class TypedQueueCrash : public testing::TestWithParam<Scenario> {};

TEST_P(TypedQueueCrash, LeavesItDoneOrUndoneAndNobodyStuck) {
    const Scenario& scenario = GetParam();
    std::size_t deaths = 0;
    for (const bool elsewhere : {true, false}) {
        const std::vector<Kill> kills = dry_run(scenario, elsewhere);
        if (HasFailure()) return;
        ASSERT_TRUE(!kills.empty() || scenario.error != 0);  // what is refused at once may pass no point
        // The same queue all along: what one death lost would be missed by the next.
        auto stage = std::make_unique<Stage>(scenario, elsewhere);
        for (const Kill& at : kills) {
            stage->run(at, elsewhere);
            ++deaths;
            if (HasFailure() && !go_on) return;
            if (stage->stuck() || stage->gone()) stage = std::make_unique<Stage>(scenario, elsewhere);
        }
        // A fresh one: memory and records taken for the first time.
        for (const Kill& at : kills) {
            if (scenario.copies > 1000) break;
            Stage(scenario, elsewhere).run(at, !elsewhere);
            ++deaths;
            if (HasFailure() && !go_on) return;
        }
    }
    RecordProperty("deaths", static_cast<int>(deaths));
}

// Thirty deaths at one point cost no more than one.
TEST_P(TypedQueueCrash, ThirtyTimesOver) {
    const Scenario& scenario = GetParam();
    if (scenario.copies > 100 || scenario.message.length > 4096 || scenario.message_bytes_max > 8192 || scenario.wait != WaitFor::never ||
        scenario.sleepers.size() > 1 || scenario.op == Op::remove)
        GTEST_SKIP() << "too slow to be repeated; the other case goes through it";
    for (const Kill& at : dry_run(scenario)) {
        Stage stage(scenario);
        for (int round = 0; round < 30; ++round) {
            stage.run(at, round % 2 == 0);
            if (HasFailure() || stage.stuck()) return;
        }
    }
}
std::string name_of(const testing::TestParamInfo<Scenario>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Scenarios, TypedQueueCrash, testing::ValuesIn(scenarios()), name_of);

// Those who repair what a first victim left are killed as well, at each point that they reach.
class TypedQueueCrashTwice : public testing::TestWithParam<Scenario> {};

TEST_P(TypedQueueCrashTwice, RecoveryMayDieToo) {
    const Scenario& scenario = GetParam();
    const bool deep = scenario.copies > 1000;  // each queue takes a while to make: its own points, and who repairs
    for (const Kill& at : dry_run(scenario))
        for (const Op second : {Op::recover, Op::send, Op::receive, Op::state}) {
            if (deep && (second != Op::recover || std::strncmp(at.point, "queue.trim", 10) != 0)) continue;
            auto stage = std::make_unique<Stage>(scenario);
            stage->run(at, false, &second);
            for (const Kill& again : stage->kills(second)) {
                if (again.nth != 1) continue;
                if (stage->gone()) stage = std::make_unique<Stage>(scenario);
                stage->run(at, second == Op::recover, &second, again);
                if (stage->stuck() || HasFailure()) return;
            }
        }
}
std::vector<Scenario> named(std::initializer_list<const char*> names) {
    std::vector<Scenario> found;
    for (const char* name : names)
        for (const Scenario& scenario : scenarios())
            if (std::strcmp(scenario.name, name) == 0) found.push_back(scenario);
    return found;
}
const std::vector<Scenario> kTwice =
    named({"send_to_partly_full", "send_to_full_sleeping", "send_to_second_receiver", "send_past_small_buffers", "send_to_full_beside_its_receiver",
           "send_refilling", "send_long_to_receiver", "receive_the_only_one_of_its_type", "receive_equal", "receive_sleeping",
           "receive_beside_senders_of_several_lengths", "receive_promoting_to_receiver", "receive_to_full_ring", "receive_trimming_slots",
           "receive_trimming_regions", "change_raising_for_all", "change_raising_to_receiver", "remove_under_both"});
INSTANTIATE_TEST_SUITE_P(Scenarios, TypedQueueCrashTwice, testing::ValuesIn(kTwice), name_of);

// No window is without a death: every row is reached, and nothing is passed that has none.
TEST(TypedQueueCrashPoints, EachIsReachedBySomeScenario) {
    std::set<std::string> reached;
    const auto add = [&](const Stage& stage) {
        for (const char* point : stage.passed()) reached.insert(point);
    };
    for (const Scenario& scenario : scenarios())
        for (const bool elsewhere : {true, false}) {
            Stage stage(scenario, elsewhere);
            stage.run({}, false);
            add(stage);
        }
    for (const Scenario& scenario : named({"send_to_partly_full", "send_to_receiver_of_its_type", "receive_beside_sender"})) {
        const Op recover = Op::recover;
        for (const Kill& at : dry_run(scenario)) {
            Stage stage(scenario);
            stage.run(at, false, &recover);
            add(stage);
        }
    }
    for (const PointRow& row : kPoints) EXPECT_TRUE(reached.count(row.point)) << row.point << " is reached by no scenario";
    for (const std::string& point : reached)
        EXPECT_TRUE(std::any_of(std::begin(kPoints), std::end(kPoints), [&](const PointRow& row) { return point == row.point; }))
            << point << " has no row";
}

}  // namespace
