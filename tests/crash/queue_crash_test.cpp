// A process is killed (SIGKILL) at every crash point of the queue engine, in every operation and state that reaches
// it, sleepers present. Proved after each death: the message in flight is wholly in or wholly out, on the side that
// the table says; every other message is received exactly once, whole and in order; sleepers and newcomers proceed;
// the count is right; the queue takes exactly messages_max again, and no slot, actor or list entry is lost.
//
// How: each scenario runs once with the victim alive while its crash points are noted, then once for each of them.
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <atomic>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <regex>
#include <set>
#include <sstream>
#include "support/child.hpp"
#include "support/crash_points.hpp"
#include "support/queue_audit.hpp"
#include "support/test_queue.hpp"

namespace {

namespace objects = muster::objects;
namespace platform = muster::platform;
using namespace muster::test;
using platform::kForever;
using platform::kNoWait;

constexpr Fate B = Fate::before, A = Fate::after, E = Fate::either;

struct PointRow {
    const char* point;
    Fate send, receive;
};
// One row for each crash point of the sources.
constexpr PointRow kPoints[] = {
    {"queue.actor.begun", B, B},
    {"queue.actor.send_locked", E, E},
    {"queue.actor.both_locked", E, E},
    {"queue.actor.receive_unlocked", E, E},
    {"queue.actor.ending", E, E},
    {"queue.send.intent", B, E},
    {"queue.send.filling", B, E},
    {"queue.send.filled", B, E},
    {"queue.send.committed", A, E},
    {"queue.send.published", A, E},
    {"queue.send.staged", B, E},
    {"queue.send.staged_filled", B, E},
    {"queue.send.slow_filled", B, E},
    {"queue.send.registered", B, E},
    {"queue.spare.listed", B, B},
    {"queue.handover.begun", B, E},
    {"queue.handover.woken", B, E},
    {"queue.handover.committed", A, E},
    {"queue.handover.given", A, E},
    {"queue.give.unlinked", B, E},
    {"queue.give.noticed", B, E},
    {"queue.give.begun", B, E},
    {"queue.give.committed", A, E},
    {"queue.give.given", A, E},
    {"queue.give.unlocked", A, E},
    {"queue.give.taking_back", A, E},
    {"queue.give.taken_back", A, E},
    {"queue.drain.marked", B, B},
    {"queue.drain.indexed", B, B},
    {"queue.refill.popped", B, B},
    {"queue.return.freed", B, A},
    {"queue.return.pushed", B, A},
    {"queue.promote.unlinked", E, B},
    {"queue.promote.named", E, B},
    {"queue.promote.noticed", E, B},
    {"queue.promote.space_given", E, B},
    {"queue.promote.unlocked", E, A},
    {"queue.promote.begun", E, B},
    {"queue.promote.woken", E, B},
    {"queue.promote.committed", E, B},
    {"queue.promote.given", E, B},
    {"queue.receive.copied", E, B},
    {"queue.receive.committed", E, A},
    {"queue.receive.counted", E, A},
    {"queue.receive.direct_copied", E, B},
    {"queue.receive.direct_committed", E, A},
    {"queue.receive.long_claimed", E, B},
    {"queue.receive.long_taken", E, B},
    {"queue.receive.registered", E, B},
    {"queue.taken.copied", E, B},
    {"queue.taken.returned", E, A},
    {"queue.wait.before_sleep", B, B},
    {"queue.wait.awake", E, B},
    {"queue.trim.begun", E, A},
    {"queue.trim.reset", E, A},
    {"queue.trim.released", E, A},
    {"queue.notify.filled", E, E},
    {"queue.notify.fired", B, E},
    {"queue.recover.told", E, E},
    {"queue.recover_send.intent_settled", E, E},
    {"queue.recover_send.relinked", E, E},
    {"queue.recover_receive.inbox_settled", E, E},
    {"queue.recover_receive.intent_settled", E, E},
    {"queue.recover_receive.relinked", E, E},
    {"queue.recover_receive.rebuilt", E, E},
    {"queue.reap.unlinked", E, E},
    {"queue.reap.emptied", E, E},
};

enum class Op { send, receive, recover, watch, unwatch, poll, poll_in_passing };
enum class Help { none, send, receive, interrupt };  // what the parent does once the victim sleeps
enum class Wait { never, briefly, forever };
enum class Cycle { none, once, often };  // how often the queue has been filled and emptied before

struct Scenario {
    const char* name;
    std::uint32_t messages_max, message_bytes_max;
    Op op;
    std::uint32_t queued = 0;  // messages in the queue before
    std::uint32_t length = 64;
    int receivers = 0, senders = 0;  // asleep before
    Wait wait = Wait::never;
    Help help = Help::none;
    Cycle cycle = Cycle::none;
    bool polled = false, watched = false, bad_pointer = false;
    int stopped = 0;        // so many of the sleepers, the longest waiting first, are stopped (SIGSTOP) meanwhile
    int error = 0;          // what the operation gives
    std::uint32_t priorities = 3;
    std::uint32_t left = 0;  // of the messages queued so many are left, if not 0
};

constexpr std::uint32_t kKiB = 1024;
const Scenario kScenarios[] = {
    {.name = "send_to_empty", .messages_max = 8, .message_bytes_max = 512, .op = Op::send},
    {.name = "send_to_partly_full", .messages_max = 8, .message_bytes_max = 512, .op = Op::send, .queued = 3},
    {.name = "send_to_full_at_once", .messages_max = 8, .message_bytes_max = 512, .op = Op::send, .queued = 8, .error = EAGAIN},
    {.name = "send_to_full_timed", .messages_max = 4, .message_bytes_max = 512, .op = Op::send, .queued = 4, .wait = Wait::briefly, .error = ETIMEDOUT},
    {.name = "send_to_full_sleeping", .messages_max = 4, .message_bytes_max = 512, .op = Op::send, .queued = 4, .wait = Wait::forever, .help = Help::receive},
    {.name = "send_to_full_of_one", .messages_max = 1, .message_bytes_max = 512, .op = Op::send, .queued = 1, .wait = Wait::forever, .help = Help::receive},
    {.name = "send_to_full_interrupted", .messages_max = 4, .message_bytes_max = 512, .op = Op::send, .queued = 4, .wait = Wait::forever, .help = Help::interrupt, .error = EINTR},
    {.name = "send_to_full_behind_sender", .messages_max = 4, .message_bytes_max = 512, .op = Op::send, .queued = 4, .senders = 1, .wait = Wait::briefly, .error = ETIMEDOUT},
    {.name = "send_to_one_receiver", .messages_max = 8, .message_bytes_max = 512, .op = Op::send, .receivers = 1},
    {.name = "send_to_two_receivers", .messages_max = 8, .message_bytes_max = 512, .op = Op::send, .receivers = 2},
    {.name = "send_to_stopped_receiver", .messages_max = 8, .message_bytes_max = 512, .op = Op::send, .receivers = 2, .stopped = 1},
    {.name = "send_from_bad_pointer", .messages_max = 8, .message_bytes_max = 512, .op = Op::send, .queued = 2, .bad_pointer = true, .error = EFAULT},
    {.name = "send_to_full_inbox", .messages_max = 1100, .message_bytes_max = 64, .op = Op::send, .queued = 1024},
    {.name = "send_refilling", .messages_max = 1100, .message_bytes_max = 64, .op = Op::send, .queued = 1024, .cycle = Cycle::often},
    {.name = "send_region", .messages_max = 300, .message_bytes_max = 5000, .op = Op::send, .queued = 2, .length = 5000},
    {.name = "send_long_to_empty", .messages_max = 8, .message_bytes_max = 200 * kKiB, .op = Op::send, .length = 100 * kKiB},
    {.name = "send_long_to_partly_full", .messages_max = 8, .message_bytes_max = 200 * kKiB, .op = Op::send, .queued = 3, .length = 100 * kKiB},
    {.name = "send_long_to_one_receiver", .messages_max = 8, .message_bytes_max = 200 * kKiB, .op = Op::send, .length = 100 * kKiB, .receivers = 1},
    {.name = "send_long_to_two_receivers", .messages_max = 8, .message_bytes_max = 200 * kKiB, .op = Op::send, .length = 100 * kKiB, .receivers = 2},
    {.name = "send_long_to_full_timed", .messages_max = 3, .message_bytes_max = 400 * kKiB, .op = Op::send, .queued = 3, .length = 100 * kKiB, .wait = Wait::briefly, .error = ETIMEDOUT},
    {.name = "send_long_to_full_sleeping", .messages_max = 3, .message_bytes_max = 400 * kKiB, .op = Op::send, .queued = 3, .length = 100 * kKiB, .wait = Wait::forever, .help = Help::receive},
    {.name = "send_long_from_bad_pointer", .messages_max = 3, .message_bytes_max = 400 * kKiB, .op = Op::send, .length = 100 * kKiB, .bad_pointer = true, .error = EFAULT},
    {.name = "send_polled_to_empty", .messages_max = 4, .message_bytes_max = 512, .op = Op::send, .polled = true},
    {.name = "send_polled_to_partly_full", .messages_max = 4, .message_bytes_max = 512, .op = Op::send, .queued = 2, .polled = true},
    {.name = "send_polled_to_nearly_full", .messages_max = 4, .message_bytes_max = 512, .op = Op::send, .queued = 3, .polled = true},
    {.name = "send_polled_to_one_receiver", .messages_max = 4, .message_bytes_max = 512, .op = Op::send, .receivers = 1, .polled = true},
    {.name = "send_polled_from_bad_pointer", .messages_max = 4, .message_bytes_max = 512, .op = Op::send, .polled = true, .bad_pointer = true, .error = EFAULT},
    {.name = "send_polled_refilling", .messages_max = 1100, .message_bytes_max = 64, .op = Op::send, .queued = 1024, .cycle = Cycle::often, .polled = true},
    {.name = "send_watched_to_empty", .messages_max = 4, .message_bytes_max = 512, .op = Op::send, .watched = true},
    {.name = "send_watched_to_partly_full", .messages_max = 4, .message_bytes_max = 512, .op = Op::send, .queued = 1, .watched = true},
    {.name = "send_watched_to_one_receiver", .messages_max = 4, .message_bytes_max = 512, .op = Op::send, .receivers = 1, .watched = true},
    {.name = "receive_from_empty_at_once", .messages_max = 8, .message_bytes_max = 512, .op = Op::receive, .error = EAGAIN},
    {.name = "receive_from_empty_timed", .messages_max = 8, .message_bytes_max = 512, .op = Op::receive, .wait = Wait::briefly, .error = ETIMEDOUT},
    {.name = "receive_from_empty_sleeping", .messages_max = 8, .message_bytes_max = 512, .op = Op::receive, .wait = Wait::forever, .help = Help::send},
    {.name = "receive_from_empty_interrupted", .messages_max = 8, .message_bytes_max = 512, .op = Op::receive, .wait = Wait::forever, .help = Help::interrupt, .error = EINTR},
    {.name = "receive_from_empty_behind_receiver", .messages_max = 8, .message_bytes_max = 512, .op = Op::receive, .receivers = 1, .wait = Wait::briefly, .error = ETIMEDOUT},
    {.name = "receive_the_only_one", .messages_max = 8, .message_bytes_max = 512, .op = Op::receive, .queued = 1},
    {.name = "receive_from_partly_full", .messages_max = 8, .message_bytes_max = 512, .op = Op::receive, .queued = 3},
    {.name = "receive_from_full", .messages_max = 8, .message_bytes_max = 512, .op = Op::receive, .queued = 8},
    {.name = "receive_from_full_of_one", .messages_max = 1, .message_bytes_max = 512, .op = Op::receive, .queued = 1},
    {.name = "receive_beside_one_sender", .messages_max = 4, .message_bytes_max = 512, .op = Op::receive, .queued = 4, .senders = 1},
    {.name = "receive_beside_two_senders", .messages_max = 4, .message_bytes_max = 512, .op = Op::receive, .queued = 4, .senders = 2},
    {.name = "receive_beside_stopped_sender", .messages_max = 4, .message_bytes_max = 512, .op = Op::receive, .queued = 4, .senders = 2, .stopped = 1},
    {.name = "receive_of_one_beside_sender", .messages_max = 1, .message_bytes_max = 512, .op = Op::receive, .queued = 1, .senders = 1},
    {.name = "receive_to_bad_pointer", .messages_max = 4, .message_bytes_max = 512, .op = Op::receive, .queued = 3, .bad_pointer = true, .error = EFAULT},
    {.name = "receive_sleeping_to_bad_pointer", .messages_max = 4, .message_bytes_max = 512, .op = Op::receive, .wait = Wait::forever, .help = Help::send, .bad_pointer = true, .error = EFAULT},
    {.name = "receive_after_full_inbox", .messages_max = 1100, .message_bytes_max = 64, .op = Op::receive, .queued = 1024},
    {.name = "receive_to_full_ring", .messages_max = 1100, .message_bytes_max = 64, .op = Op::receive, .queued = 40, .cycle = Cycle::once},
    {.name = "receive_region", .messages_max = 300, .message_bytes_max = 5000, .op = Op::receive, .queued = 2, .length = 5000},
    {.name = "receive_long", .messages_max = 8, .message_bytes_max = 200 * kKiB, .op = Op::receive, .queued = 2, .length = 100 * kKiB},
    {.name = "receive_long_sleeping", .messages_max = 8, .message_bytes_max = 200 * kKiB, .op = Op::receive, .length = 100 * kKiB, .wait = Wait::forever, .help = Help::send},
    {.name = "receive_long_beside_sender", .messages_max = 3, .message_bytes_max = 400 * kKiB, .op = Op::receive, .queued = 3, .length = 100 * kKiB, .senders = 1},
    {.name = "receive_long_to_bad_pointer", .messages_max = 8, .message_bytes_max = 200 * kKiB, .op = Op::receive, .queued = 2, .length = 100 * kKiB, .bad_pointer = true, .error = EFAULT},
    {.name = "receive_polled_the_only_one", .messages_max = 4, .message_bytes_max = 512, .op = Op::receive, .queued = 1, .polled = true},
    {.name = "receive_polled_from_full", .messages_max = 4, .message_bytes_max = 512, .op = Op::receive, .queued = 4, .polled = true},
    {.name = "receive_polled_beside_sender", .messages_max = 4, .message_bytes_max = 512, .op = Op::receive, .queued = 4, .senders = 1, .polled = true},
    {.name = "receive_polled_long", .messages_max = 8, .message_bytes_max = 200 * kKiB, .op = Op::receive, .queued = 2, .length = 100 * kKiB, .polled = true},
    {.name = "receive_trimming_slots", .messages_max = 40000, .message_bytes_max = 64, .op = Op::receive, .queued = 34000, .priorities = 1, .left = 1},
    {.name = "receive_trimming_regions", .messages_max = 8, .message_bytes_max = 2048 * kKiB, .op = Op::receive, .queued = 3, .length = 2048 * kKiB, .left = 1},
    {.name = "watch", .messages_max = 4, .message_bytes_max = 512, .op = Op::watch},
    {.name = "watch_again", .messages_max = 4, .message_bytes_max = 512, .op = Op::watch, .queued = 1, .watched = true, .error = EBUSY},
    {.name = "unwatch", .messages_max = 4, .message_bytes_max = 512, .op = Op::unwatch, .watched = true},
    {.name = "poll_in_passing", .messages_max = 4, .message_bytes_max = 512, .op = Op::poll_in_passing, .queued = 2},
    {.name = "start_polling", .messages_max = 4, .message_bytes_max = 512, .op = Op::poll, .queued = 2},
    {.name = "recover_nothing", .messages_max = 4, .message_bytes_max = 512, .op = Op::recover, .queued = 2},
};

constexpr int kSleepersMax = 4;
constexpr std::uint64_t kVictimId = 900'000, kHelpId = 910'000, kFillerId = 920'000, kProbeId = 930'000, kSleeperId = 940'000, kSecondId = 950'000, kFillUpId = 1'000'000;

void PrintTo(const Scenario& scenario, std::ostream* out) { *out << scenario.name; }

struct Board {
    struct Entry {
        std::atomic<int> done;
        int error;
        Received received;
    } sleepers[kSleepersMax], victim;
    PassedPoints passed;
};

Fate fate_at(const char* point, Op op) {
    for (const PointRow& row : kPoints)
        if (std::strcmp(row.point, point) == 0) return op == Op::send ? row.send : op == Op::receive ? row.receive : E;
    return E;
}
Fate fate_at(const Kill& at, Op op) { return at.point == nullptr || at.committed ? A : fate_at(at.point, op); }

// A queue, the processes around it, and what must be true of it afterwards.
class Stage {
public:
    // `elsewhere`: sleepers run on another CPU than who wakes them, if there is one.
    explicit Stage(const Scenario& scenario, bool elsewhere = false) : elsewhere_(elsewhere), s_(scenario), queue_(scenario.messages_max, scenario.message_bytes_max) {
        if (s_.polled || s_.op == Op::poll || s_.op == Op::poll_in_passing) {
            char name[] = "/tmp/queue-fifo-XXXXXX";
            if (mkdtemp(name) == nullptr) return;
            const std::string path = std::string(name) + "/fifo";
            if (mkfifo(path.c_str(), 0600) == 0) fifo_ = open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
            unlink(path.c_str());
            rmdir(name);
        }
        if (s_.polled && !queue_.queue().start_polling(platform::current_thread(), queue_.fd(), fifo_, false)) ADD_FAILURE() << "start_polling";
        const int cycles = s_.cycle == Cycle::none ? 0 : s_.cycle == Cycle::once ? 1 : 60;  // often enough that every slot has been used
        for (int cycle = 0; cycle < cycles; ++cycle) fill_and_drain(s_.messages_max, kBodyBytes);
    }
    ~Stage() {
        if (fifo_ >= 0) close(fifo_);
    }

    // The points that the last victim reached, if it lived.
    std::vector<const char*> reached() const { return board_->passed.list(); }
    std::vector<Kill> kills(Op op) const {
        return kills_of(reached(), [op](const char* point) { return fate_at(point, op); });
    }

    // One death (or two, the second one in `second_op`), and the proof.
    void run(const Kill& at, bool recover_first, const Op* second_op = nullptr, const Kill& second = {}) {
        SCOPED_TRACE(std::string(s_.name) + " killed at " + at.text() +
                     (second_op ? ", then " + std::to_string(static_cast<int>(*second_op)) + " at " + second.text() : ""));
        expected_.clear();
        rank_.clear();
        sleepers_.clear();
        board_->passed.count.store(0);
        for (auto& entry : board_->sleepers) entry.done.store(0);
        if (!prepare()) return;
        first_victim(at);
        if (HasFatalFailure() || HasStuck()) return;
        if (second_op != nullptr) {
            second_victim(*second_op, second);
            if (HasStuck()) return;
        }
        settle(at, second_op, recover_first);
        if (!HasStuck()) check_capacity();
    }
    bool HasStuck() const { return stuck_; }

private:
    static bool HasFatalFailure() { return testing::Test::HasFatalFailure(); }

    void expect(std::uint64_t id, Fate fate) {
        expected_[id] = fate;
        if (rank_.find(id) == rank_.end()) rank_[id] = rank_.size();
    }

    std::uint32_t priority_of(std::uint64_t id) const { return static_cast<std::uint32_t>(id % s_.priorities) * 40; }

    void send_expected(std::uint64_t id, std::uint32_t length) {
        const int error = queue_.send(id, length, priority_of(id), in_seconds(20));
        EXPECT_EQ(error, 0) << "message " << id;
        if (error != 0) stuck_ = true;
        else expect(id, A);
    }

    void fill_and_drain(std::uint32_t count, std::uint32_t length) {
        for (std::uint32_t i = 0; i < count; ++i) EXPECT_EQ(queue_.send(i, length, priority_of(i)), 0);
        for (std::uint32_t i = 0; i < count; ++i) EXPECT_EQ(queue_.receive().error, 0);
    }

    bool prepare() {
        for (std::uint32_t i = 0; i < s_.queued; ++i) {
            EXPECT_EQ(queue_.send(i, s_.length, priority_of(i)), 0) << i;
            expect(i, A);
        }
        if (s_.watched) {
            auto watched = queue_.queue().set_notify(platform::current_thread(), queue_.fd(), {SIGEV_SIGNAL, 0, 0, true});
            if (!watched && watched.fault().errno_value != EBUSY) ADD_FAILURE() << "set_notify: " << watched.fault().errno_value;
        }
        while (s_.left != 0 && expected_.size() > s_.left) expected_.erase(queue_.receive().id);
        for (int i = 0; i < s_.receivers + s_.senders; ++i) {
            const std::uint64_t id = kSleeperId + static_cast<std::uint64_t>(i);
            Board::Entry& entry = board_->sleepers[i];
            const bool receives = i < s_.receivers;
            sleepers_.emplace_back([&] {
                run_on(elsewhere_ ? 1 : 0);
                if (receives) entry.received = queue_.receive(kForever);
                else entry.error = queue_.send(id, s_.length, priority_of(id), kForever);
                entry.done.store(1);
            });
            if (!receives) expect(id, A);
            const bool slept = eventually([&] {
                const objects::QueueState state = queue_.queue().state();
                return state.receivers_waiting + state.senders_waiting == static_cast<std::uint32_t>(i + 1) && sleepers_.back().asleep();
            });
            EXPECT_TRUE(slept) << "sleeper " << i << " never slept";
            if (!slept) stuck_ = true;
        }
        for (int i = 0; i < s_.stopped; ++i) {
            sleepers_[static_cast<std::size_t>(i)].kill(SIGSTOP);
            EXPECT_TRUE(eventually([&] { return process_state(sleepers_[static_cast<std::size_t>(i)].pid()) == 'T'; }));
        }
        return !stuck_;
    }

    platform::DeadlineNs deadline() const {
        return s_.wait == Wait::never ? kNoWait : s_.wait == Wait::briefly ? in_seconds(0.003) : kForever;
    }

    // In the victim.
    int perform(Op op, std::uint64_t id, platform::DeadlineNs deadline_ns, bool bad_pointer) {
        platform::ThreadState& thread = platform::current_thread();
        objects::Queue& queue = queue_.queue();
        std::vector<unsigned char> buffer(s_.message_bytes_max);
        void* data = bad_pointer ? reinterpret_cast<void*>(64) : buffer.data();
        switch (op) {
            case Op::send: {
                write_body(buffer.data(), id, s_.length, priority_of(id));
                auto sent = queue.send(thread, queue_.fd(), data, s_.length, priority_of(id), {deadline_ns, -1});
                return sent ? 0 : sent.fault().errno_value;
            }
            case Op::receive: {
                auto received = queue.receive(thread, queue_.fd(), data, buffer.size(), {deadline_ns, -1});
                return received ? 0 : received.fault().errno_value;
            }
            case Op::recover: {
                auto recovered = queue.recover(thread, queue_.fd());
                return recovered ? 0 : recovered.fault().errno_value;
            }
            case Op::watch: {
                auto set = queue.set_notify(thread, queue_.fd(), {SIGEV_SIGNAL, 0, 0, true});
                return set ? 0 : set.fault().errno_value;
            }
            case Op::unwatch: {
                auto cleared = queue.clear_notify(thread, queue_.fd());
                return cleared ? 0 : cleared.fault().errno_value;
            }
            case Op::poll_in_passing: {
                auto started = queue.start_polling(thread, queue_.fd(), fifo_, true);
                queue.stop_polling(thread, queue_.fd());
                return started ? 0 : started.fault().errno_value;
            }
            case Op::poll: {
                auto started = queue.start_polling(thread, queue_.fd(), fifo_, false);
                return started ? 0 : started.fault().errno_value;
            }
        }
        return -1;
    }

    void first_victim(const Kill& at) {
        board_->victim.done.store(0);
        Child victim([&] {
            run_on(0);
            struct sigaction action {};
            action.sa_handler = [](int) {};
            sigaction(SIGUSR1, &action, nullptr);
            arm(at, board_->passed);
            board_->victim.error = perform(s_.op, kVictimId, deadline(), s_.bad_pointer);
            board_->victim.done.store(1);
        });
        if (s_.help != Help::none) {
            const auto waiting = [&] {
                const objects::QueueState state = queue_.queue().state();
                return state.receivers_waiting + state.senders_waiting;
            };
            bool ended = false;
            EXPECT_TRUE(eventually([&] {
                ended = victim.ended();
                return ended || (victim.asleep() && waiting() == static_cast<std::uint32_t>(s_.receivers + s_.senders + 1));
            })) << "the victim neither slept nor died";
            if (s_.op == Op::send) expect(kVictimId, A);  // its place in the order; the fate comes later
            if (s_.help == Help::send) {
                send_expected(kHelpId, s_.length);
            } else if (s_.help == Help::receive) {
                const Received got = queue_.receive(in_seconds(20));
                EXPECT_EQ(got.error, 0);
                EXPECT_EQ(got.wrong, nullptr);
                expected_.erase(got.id);
            } else {
                // A signal may come just before the sleep; it is sent until it has done its work.
                EXPECT_TRUE(eventually([&] {
                    if (!ended) victim.kill(SIGUSR1);
                    return ended || victim.ended();
                }));
                ended = true;
            }
        }
        if (!victim.ends()) {
            ADD_FAILURE() << "the victim is stuck";
            stuck_ = true;
            return;
        }
        if (at.point == nullptr) {
            EXPECT_TRUE(victim.exited()) << victim.status();
            EXPECT_EQ(board_->victim.error, s_.error);
        } else {
            EXPECT_TRUE(victim.killed() || victim.exited()) << victim.status();
            missed_ = !victim.killed();  // beside stopped sleepers the way there may vary
            EXPECT_TRUE(!missed_ || s_.stopped != 0) << "the point was not reached again";
        }
    }

    void second_victim(Op op, const Kill& at) {
        board_->passed.count.store(0);
        Child victim([&] {
            arm(at, board_->passed);
            board_->victim.error = perform(op, kSecondId, kNoWait, false);
        });
        if (!victim.ends()) {
            ADD_FAILURE() << "the second victim is stuck";
            stuck_ = true;
        }
        // Whether it was killed depends on what the sleepers did meanwhile: they recover too.
    }

    void recover() {
        auto recovered = queue_.queue().recover(platform::current_thread(), queue_.fd());
        if (!recovered) ADD_FAILURE() << "recover: " << recovered.fault().errno_value;
    }

    bool sleepers_done(std::size_t first, std::size_t count, std::size_t wanted) {
        std::size_t done = 0;
        for (std::size_t i = first; i < first + count; ++i) done += board_->sleepers[i].done.load() != 0 ? 1u : 0u;
        return done >= wanted;
    }

    // The message that a receiver would get: the oldest of the highest priority.
    std::vector<std::uint64_t> in_order() const {
        std::vector<std::uint64_t> ids;
        for (const auto& [id, fate] : expected_) ids.push_back(id);
        std::sort(ids.begin(), ids.end(), [&](std::uint64_t a, std::uint64_t b) {
            return priority_of(a) != priority_of(b) ? priority_of(a) > priority_of(b) : rank_.at(a) < rank_.at(b);
        });
        return ids;
    }

    void settle(const Kill& at, const Op* second_op, bool recover_first) {
        const Fate fate = missed_ ? A : fate_at(at, s_.op);
        for (int i = 0; i < s_.stopped; ++i) sleepers_[static_cast<std::size_t>(i)].kill(SIGCONT);
        const auto receivers = static_cast<std::size_t>(s_.receivers), senders = static_cast<std::size_t>(s_.senders);
        std::size_t gone_max = 0;  // messages that victims may have taken with them
        std::size_t gone_min = 0;
        if (s_.op == Op::send) {
            if (s_.error == 0) expect(kVictimId, second_op != nullptr && fate == A ? E : fate);
            else if (s_.help == Help::receive) expected_.erase(kVictimId);
            else expected_.erase(kVictimId);
        } else if (s_.op == Op::receive && s_.error == 0) {
            gone_max += fate != B ? 1 : 0;
            gone_min += fate == A ? 1 : 0;
        }
        if (second_op != nullptr && *second_op == Op::send) expect(kSecondId, E);
        if (second_op != nullptr && *second_op == Op::receive) ++gone_max;

        // A message that is in goes to a sleeper without anybody's help; so does the space of a message that is out.
        if (second_op == nullptr && receivers != 0 && s_.op == Op::send && s_.error == 0 && fate == A && s_.stopped == 0) {
            EXPECT_TRUE(eventually([&] { return sleepers_done(0, receivers, 1); })) << "a message is in, a receiver sleeps on";
            EXPECT_EQ(board_->sleepers[0].done.load(), 1) << "not the longest waiting";
        }
        if (second_op == nullptr && senders != 0 && s_.op == Op::receive && s_.error == 0 && fate == A && s_.stopped == 0) {
            EXPECT_TRUE(eventually([&] { return sleepers_done(receivers, senders, 1); })) << "there is space, a sender sleeps on";
        }

        if (recover_first) recover();
        // The next comer proceeds: a sender.
        const int probe = queue_.send(kProbeId, kBodyBytes, priority_of(kProbeId));
        if (probe == 0) expect(kProbeId, A);
        else EXPECT_EQ(probe, EAGAIN);
        for (std::size_t i = 0; i < receivers; ++i) {
            const std::uint64_t id = kFillerId + i;
            send_expected(id, kBodyBytes);
            if (stuck_) return;
        }
        if (!eventually([&] { return sleepers_done(0, receivers, receivers); })) {
            ADD_FAILURE() << "receivers sleep beside messages\n" << audit_queue(queue_.fd()).text();
            stuck_ = true;
            return;
        }
        std::set<std::uint64_t> seen;
        const auto take = [&](const Received& got, const char* who) {
            EXPECT_EQ(got.error, 0) << who;
            EXPECT_EQ(got.wrong, nullptr) << who << " got message " << got.id << ": " << (got.wrong ? got.wrong : "");
            EXPECT_TRUE(seen.insert(got.id).second) << "message " << got.id << " came twice";
            EXPECT_TRUE(expected_.count(got.id)) << "message " << got.id << " should not be there";
        };
        for (std::size_t i = 0; i < receivers; ++i) take(board_->sleepers[i].received, "a sleeper");
        if (recover_first) fill_up();
        drain(seen, take, receivers, senders);
        if (stuck_) return;
        for (std::size_t i = receivers; i < receivers + senders; ++i) EXPECT_EQ(board_->sleepers[i].error, 0) << "a sleeping sender";
        for (std::size_t i = 0; i < receivers + senders; ++i) {
            const bool ended = sleepers_[i].ends();
            EXPECT_TRUE(ended && sleepers_[i].exited()) << "sleeper " << i << ": " << sleepers_[i].status();
            if (!ended) stuck_ = true;
        }
        // Exactly once, but for what the victims were at.
        std::vector<std::uint64_t> missing;
        std::uint32_t missing_optional = 0;
        for (const std::uint64_t id : in_order())
            if (seen.count(id) == 0) {
                if (expected_.at(id) == A) missing.push_back(id);
                else ++missing_optional;
            } else {
                EXPECT_NE(expected_.at(id), B) << "message " << id << " was not committed and yet is there";
            }
        (void)missing_optional;
        EXPECT_GE(missing.size() + (second_op ? 1 : 0), gone_min) << "the victim's message is there a second time";
        EXPECT_LE(missing.size(), gone_max) << "lost: " << testing::PrintToString(missing);
    }

    // What is free right after the death and its repair can be used at once.
    void fill_up() {
        for (std::uint64_t id = kFillUpId;; ++id) {
            const int error = queue_.send(id, kBodyBytes, priority_of(id));
            if (error != 0) {
                EXPECT_EQ(error, EAGAIN);
                break;
            }
            expect(id, A);
        }
        EXPECT_EQ(queue_.queue().state().messages, s_.messages_max) << "full is not full\n" << audit_queue(queue_.fd()).text();
    }

    template <class Take>
    void drain(std::set<std::uint64_t>&, Take take, std::size_t receivers, std::size_t senders) {
        recover();
        std::vector<std::uint64_t> order;
        std::uint64_t count = queue_.queue().state().messages;
        const bool count_known = senders == 0;
        const bool drained = eventually([&] {
            for (;;) {
                const Received got = queue_.receive();
                if (got.error != 0) {
                    EXPECT_EQ(got.error, EAGAIN);
                    break;
                }
                take(got, "the parent");
                order.push_back(got.id);
            }
            return sleepers_done(receivers, senders, senders);
        });
        for (;;) {  // what the last sender to wake put in
            const Received got = queue_.receive();
            if (got.error != 0) break;
            take(got, "the parent");
            order.push_back(got.id);
        }
        if (!drained) {
            ADD_FAILURE() << "senders sleep beside space\n" << audit_queue(queue_.fd()).text();
            stuck_ = true;
            return;
        }
        if (count_known) {
            EXPECT_EQ(count, std::min<std::uint64_t>(order.size(), s_.messages_max)) << "the count was wrong";
        }
        if (senders == 0) {
            auto sorted = order;
            std::stable_sort(sorted.begin(), sorted.end(), [&](std::uint64_t a, std::uint64_t b) {
                if (expected_.count(a) == 0 || expected_.count(b) == 0) return false;
                return priority_of(a) != priority_of(b) ? priority_of(a) > priority_of(b) : rank_.at(a) < rank_.at(b);
            });
            EXPECT_EQ(order, sorted) << "out of order";
        }
        EXPECT_EQ(queue_.queue().count(), 0u);
    }

    // Full is exactly full, empty is empty, and every slot is where it belongs.
    void check_capacity() {
        std::uint64_t id = 0;
        const std::uint32_t length = s_.length > 4096 ? kBodyBytes : s_.length;
        while (id <= s_.messages_max && queue_.send(id, length, priority_of(id)) == 0) ++id;
        EXPECT_EQ(id, s_.messages_max) << "capacity";
        EXPECT_EQ(queue_.queue().state().messages, s_.messages_max);
        const Audit full = audit_queue(queue_.fd());
        EXPECT_TRUE(full.complaints.empty()) << "full:\n" << full.text();
        std::uint64_t got = 0;
        while (queue_.receive().error == 0) ++got;
        EXPECT_EQ(got, id);
        recover();
        const Audit empty = audit_queue(queue_.fd());
        EXPECT_TRUE(empty.complaints.empty()) << "empty:\n" << empty.text();
        EXPECT_EQ(empty.free_slots, empty.slots);
        if (fifo_ >= 0 && s_.polled) {
            int bytes = -1;
            ioctl(fifo_, FIONREAD, &bytes);
            EXPECT_EQ(bytes, 0) << "the FIFO of an empty queue is not empty";
        }
    }
    const bool elsewhere_;
    const Scenario& s_;
    TestQueue queue_;
    Shared<Board> board_;
    int fifo_ = -1;
    bool stuck_ = false, missed_ = false;
    std::vector<Child> sleepers_;
    std::map<std::uint64_t, Fate> expected_;
    std::map<std::uint64_t, std::size_t> rank_;
};

class QueueCrash : public testing::TestWithParam<Scenario> {};

std::string name_of(const testing::TestParamInfo<Scenario>& info) { return info.param.name; }

std::vector<Kill> dry_run(const Scenario& scenario, bool elsewhere = false) {
    Stage stage(scenario, elsewhere);
    stage.run({}, false);
    return stage.kills(scenario.op);
}

TEST_P(QueueCrash, LeavesAMessageInOrOutAndNobodyStuck) {
    const bool goes_on = std::getenv("MUSTER_CRASH_GO_ON") != nullptr;  // to see all failures
    for (const bool elsewhere : {true, false}) {
        const std::vector<Kill> kills = dry_run(GetParam(), elsewhere);
        if (HasFailure()) return;
        ASSERT_TRUE(!kills.empty() || GetParam().error == EAGAIN);  // what is refused at once passes no point
        // The same queue all along: what one death lost would be missed by the next.
        auto stage = std::make_unique<Stage>(GetParam(), elsewhere);
        for (const Kill& at : kills) {
            stage->run(at, elsewhere);
            if (stage->HasStuck() && goes_on) stage = std::make_unique<Stage>(GetParam(), elsewhere);
            else if (stage->HasStuck() || (HasFailure() && !goes_on)) return;
        }
        // A fresh one: memory and records taken for the first time.
        for (const Kill& at : kills) {
            if (GetParam().queued > 2000) break;
            Stage(GetParam(), elsewhere).run(at, !elsewhere);
            if (HasFailure() && !goes_on) return;
        }
    }
}

// Fifty deaths at one point cost no more than one.
TEST_P(QueueCrash, FiftyTimesOver) {
    const Scenario& scenario = GetParam();
    if (scenario.queued > 200 || scenario.length > 4096 || scenario.wait != Wait::never || scenario.receivers + scenario.senders > 1)
        GTEST_SKIP() << "too slow to be repeated; the other case goes through it";
    for (const Kill& at : dry_run(scenario)) {
        Stage stage(scenario);
        for (int round = 0; round < 50; ++round) {
            stage.run(at, round % 2 == 0);
            if (HasFailure()) return;
        }
    }
}
INSTANTIATE_TEST_SUITE_P(Scenarios, QueueCrash, testing::ValuesIn(kScenarios), name_of);

// Those who repair what a first victim left are killed as well, at each point that they reach.
class QueueCrashTwice : public testing::TestWithParam<Scenario> {};

TEST_P(QueueCrashTwice, RecoveryMayDieToo) {
    const bool deep = GetParam().queued > 2000;  // each queue takes a while to make: its own points, and who repairs
    for (const Kill& at : dry_run(GetParam()))
        for (const Op second : {Op::recover, Op::send, Op::receive}) {
            if (deep && (second != Op::recover || std::strncmp(at.point, "queue.trim", 10) != 0)) continue;
            auto stage = std::make_unique<Stage>(GetParam());
            stage->run(at, false, &second);
            const auto kills = stage->kills(second);
            for (const Kill& again : kills) {
                if (again.nth != 1) continue;
                stage->run(at, second == Op::recover, &second, again);
                if (stage->HasStuck() || HasFailure()) return;
            }
        }
}
std::vector<Scenario> named(std::initializer_list<const char*> names) {
    std::vector<Scenario> found;
    for (const char* name : names)
        for (const Scenario& scenario : kScenarios)
            if (std::strcmp(scenario.name, name) == 0) found.push_back(scenario);
    return found;
}
const std::vector<Scenario> kTwice = named(
    {"send_to_partly_full", "send_to_full_sleeping", "send_to_one_receiver", "send_to_two_receivers", "send_to_full_inbox", "send_refilling",
     "send_long_to_partly_full", "send_long_to_two_receivers", "send_long_to_full_sleeping", "send_polled_to_empty", "send_polled_to_nearly_full",
     "receive_from_empty_sleeping", "receive_the_only_one", "receive_from_partly_full", "receive_beside_one_sender",
     "receive_beside_two_senders", "receive_long", "receive_long_sleeping", "receive_long_beside_sender", "receive_polled_beside_sender",
     "receive_to_full_ring", "receive_trimming_slots", "receive_trimming_regions"});
INSTANTIATE_TEST_SUITE_P(Scenarios, QueueCrashTwice, testing::ValuesIn(kTwice), name_of);

// No window of the sources is without a death: every point has a row, every row is reached.
TEST(QueueCrashPoints, EachIsReachedBySomeScenario) {
    std::set<std::string> reached;
    for (const Scenario& scenario : kScenarios) {
        for (const bool elsewhere : {true, false}) {
            Stage stage(scenario, elsewhere);
            stage.run({}, false);
            for (const char* point : stage.reached()) reached.insert(point);
        }
    }
    for (const Scenario& scenario : named({"send_to_partly_full", "send_to_one_receiver", "receive_long_beside_sender"})) {
        const Op recover = Op::recover;
        for (const Kill& at : dry_run(scenario)) {
            Stage stage(scenario);
            stage.run(at, false, &recover);
            for (const char* point : stage.reached()) reached.insert(point);
        }
    }
    for (const PointRow& row : kPoints) EXPECT_TRUE(reached.count(row.point)) << row.point << " is reached by no scenario";
    for (const std::string& point : reached)
        EXPECT_TRUE(std::any_of(std::begin(kPoints), std::end(kPoints), [&](const PointRow& row) { return point == row.point; })) << point << " has no row";
}

}  // namespace
