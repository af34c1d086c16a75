// Operations of POSIX message queues that are open: sending and receiving in each state of the queue, attributes, notification.
// True after each: who slept and who comes next goes on; every message whose mq_send returned is received exactly once, whole and
// in order, one in flight at most once; mq_curmsgs is right; the queue takes exactly mq_maxmsg messages again; its memory is as it
// should be.
#include <gtest/gtest.h>
#include <algorithm>
#include <map>
#include "operations.hpp"
#include "support/queue_audit.hpp"
#include "support/test_queue.hpp"

namespace muster::test {
namespace {

enum class Act { none, send, receive, timedsend, timedreceive, getattr, setattr, start_notify, stop_notify, close };

struct State {
    const char* name;
    Act act;                     // the call
    long queued = 0;             // messages before it
    int receivers = 0, senders = 0;  // asleep before it
    bool blocking = false;       // it may sleep; somebody then helps it on
    std::uint32_t length = 48;   // of each message
    Act earlier = Act::none;     // in the middle of this somebody died just before
    unsigned priorities = 2;
    long maxmsg = 4, msgsize = 256;
    bool watched = false;        // somebody is registered for notification
};
constexpr State kStates[] = {
    {"mq_send/empty", Act::send},
    {"mq_send/partly full", Act::send, 2},
    {"mq_send/full", Act::send, 4},
    {"mq_send/sleeping receiver", Act::send, 0, 1},
    {"mq_send/two sleeping receivers", Act::send, 0, 2},
    {"mq_send/full and sleeps", Act::send, 4, 0, 0, true},
    {"mq_send/long", Act::send, 1, 0, 0, false, 70'000, Act::none, 2, 4, 400'000},
    {"mq_send/long to sleeping receiver", Act::send, 0, 1, 0, false, 70'000, Act::none, 2, 4, 400'000},
    {"mq_send/deep", Act::send, 60, 0, 0, false, 48, Act::none, 20, 64},
    {"mq_send/sender died", Act::send, 2, 0, 0, false, 48, Act::send},
    {"mq_send/full, receiver died", Act::send, 4, 0, 0, false, 48, Act::receive},
    {"mq_send/receiver died, sleeping sender", Act::send, 4, 0, 1, false, 48, Act::receive},
    {"mq_send/sender died, sleeping receiver", Act::send, 0, 1, 0, false, 48, Act::send},
    {"mq_send/long sender died", Act::send, 1, 0, 0, false, 70'000, Act::send, 2, 4, 400'000},
    {"mq_send/somebody is to be told", Act::send, 0, 0, 0, false, 48, Act::none, 2, 4, 256, true},
    {"mq_receive/empty", Act::receive},
    {"mq_receive/the only one", Act::receive, 1},
    {"mq_receive/partly full", Act::receive, 2},
    {"mq_receive/full", Act::receive, 4},
    {"mq_receive/sleeping sender", Act::receive, 4, 0, 1},
    {"mq_receive/two sleeping senders", Act::receive, 4, 0, 2},
    {"mq_receive/empty and sleeps", Act::receive, 0, 0, 0, true},
    {"mq_receive/long", Act::receive, 2, 0, 0, false, 70'000, Act::none, 2, 4, 400'000},
    {"mq_receive/deep", Act::receive, 60, 0, 0, false, 48, Act::none, 20, 64},
    {"mq_receive/receiver died", Act::receive, 3, 0, 0, false, 48, Act::receive},
    {"mq_receive/sender died", Act::receive, 2, 0, 0, false, 48, Act::send},
    {"mq_receive/sender died, sleeping receiver", Act::receive, 0, 1, 0, false, 48, Act::send},
    {"mq_receive/receiver died, sleeping sender", Act::receive, 4, 0, 1, false, 48, Act::receive},
    {"mq_receive/deep, receiver died", Act::receive, 60, 0, 0, false, 48, Act::receive, 20, 64},
    {"mq_receive/long receiver died", Act::receive, 2, 0, 0, false, 70'000, Act::receive, 2, 4, 400'000},
    {"mq_timedsend/partly full", Act::timedsend, 2},
    {"mq_timedsend/full, too late", Act::timedsend, 4},
    {"mq_timedsend/full and sleeps", Act::timedsend, 4, 0, 0, true},
    {"mq_timedreceive/partly full", Act::timedreceive, 2},
    {"mq_timedreceive/empty, too late", Act::timedreceive},
    {"mq_timedreceive/empty and sleeps", Act::timedreceive, 0, 0, 0, true},
    {"mq_getattr/partly full", Act::getattr, 2},
    {"mq_getattr/receiver died", Act::getattr, 3, 0, 0, false, 48, Act::receive},
    {"mq_setattr/partly full", Act::setattr, 2},
    {"mq_notify/register, empty", Act::start_notify},
    {"mq_notify/register, sleeping receiver", Act::start_notify, 0, 1},
    {"mq_notify/register, sender died", Act::start_notify, 1, 0, 0, false, 48, Act::send},
    {"mq_notify/unregister, partly full", Act::stop_notify, 2},
    {"mq_close/partly full", Act::close, 2},
    {"mq_close/registered", Act::close, 1, 0, 0, false, 48, Act::none, 2, 4, 256, true},
};

constexpr std::uint64_t kVictim = 1000, kFiller = 2000, kSleeper = 3000, kHelp = 4000;
constexpr char kName[] = "/proved";

bool sends(Act act) { return act == Act::send || act == Act::timedsend; }
bool receives(Act act) { return act == Act::receive || act == Act::timedreceive; }

class MqOperation : public Operation {
public:
    explicit MqOperation(const State& state) : s_(state) {
        has_earlier_ = s_.earlier != Act::none;
        refused_ = !s_.blocking && !has_earlier_ && ((sends(s_.act) && s_.queued == s_.maxmsg) || (receives(s_.act) && s_.queued == 0));
        varies_ = s_.receivers + s_.senders != 0 || s_.blocking || has_earlier_ || s_.watched;
        one_commits_ = !varies_ && (sends(s_.act) || receives(s_.act));
    }
    bool held() override {
        return header_->send_lock.load_acquire() != 0 || header_->receive_lock.load_acquire() != 0 || header_->send.filling.load_acquire() != 0 ||
               header_->receive.taking.load_acquire() != 0;
    }

private:
    bool make() override {
        mq_attr attributes{};
        attributes.mq_maxmsg = s_.maxmsg;
        attributes.mq_msgsize = s_.msgsize;
        library().mq_unlink(kName);
        blocking_ = library().mq_open(kName, O_CREAT | O_EXCL | O_RDWR, 0600, &attributes);
        at_once_ = library().mq_open(kName, O_RDWR | O_NONBLOCK);
        file_ = open((domain_path() + "/mq" + kName).c_str(), O_RDWR | O_CLOEXEC);
        if (blocking_ < 0 || at_once_ < 0 || file_ < 0) return false;
        header_ = static_cast<objects::QueueHeader*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file_, 0));
        buffer_.resize(static_cast<std::size_t>(s_.msgsize));
        for (std::uint64_t id = 0; id < 40; ++id) {  // the path that is learnt is that of a queue in use
            send(id);
            receive();
        }
        return true;
    }
    void drop() override {
        munmap(header_, 4096);
        close(file_);
        library().mq_close(blocking_);
        library().mq_close(at_once_);
        library().mq_unlink(kName);
    }

    std::uint32_t priority_of(std::uint64_t id) const { return static_cast<std::uint32_t>(id % s_.priorities) * 100; }
    // 0 or an errno value.
    int send(std::uint64_t id, std::uint32_t length = 32, bool blocking = false) {
        write_body(buffer_.data(), id, length, priority_of(id));
        return library().mq_send(blocking ? blocking_ : at_once_, text(), length, priority_of(id)) == 0 ? 0 : errno;
    }
    // The id received, or -errno.
    std::int64_t receive(bool blocking = false) {
        unsigned priority = 0;
        const ssize_t got = library().mq_receive(blocking ? blocking_ : at_once_, text(), buffer_.size(), &priority);
        return got < 0 ? -errno : id_of(got, priority);
    }
    std::int64_t id_of(ssize_t length, unsigned priority) {
        if (const char* wrong = wrong_body(buffer_.data(), static_cast<std::size_t>(length), priority)) {
            ADD_FAILURE() << wrong;
            return -EBADMSG;
        }
        Body body;
        std::memcpy(&body, buffer_.data(), sizeof body);
        return static_cast<std::int64_t>(body.id);
    }
    char* text() { return reinterpret_cast<char*>(buffer_.data()); }
    long count() {
        mq_attr attributes{};
        library().mq_getattr(at_once_, &attributes);
        return attributes.mq_curmsgs;
    }
    int waiting() const { return static_cast<int>(header_->sent.receivers_waiting.load_acquire() + header_->receive.senders_waiting.load_acquire()); }
    int sleepers() const { return s_.receivers + s_.senders; }

    bool set_state() override {
        helped_ = false;
        taken_ = -1;
        sleepers_.clear();
        watcher_ = Child();
        for (long i = 0; i < s_.queued; ++i)
            if (const int wrong = send(static_cast<std::uint64_t>(i), s_.length); wrong != 0) {
                std::printf("message %ld cannot be sent: errno %d; %ld are there\n%s\n", i, wrong, count(), state_of_queue().c_str());
                return false;
            }
        for (int i = 0; i < sleepers(); ++i) {
            Board::Sleeper& entry = board_->sleepers[i];
            entry.done = 0;
            entry.error = 0;
            sleepers_.emplace_back([&, receives = i < s_.receivers] {
                const std::int64_t got = receives ? receive(true) : -send(kSleeper + static_cast<std::uint64_t>(i), s_.length, true);
                entry.error = got < 0 ? static_cast<int>(-got) : 0;
                entry.received = got;
                entry.done = 1;
            });
            if (!eventually([&] { return waiting() == i + 1 && sleepers_.back().asleep(); })) {
                std::printf("sleeper %d does not sleep: %d wait, errno %d\n%s\n", i, waiting(), entry.error.load(), state_of_queue().c_str());
                return false;
            }
        }
        return !s_.watched || watch();
    }
    // Somebody registers, and counts what he is told.
    bool watch() {
        Shared<std::atomic<int>> ready;
        watcher_ = Child([&] {
            sigset_t told;
            sigemptyset(&told);
            sigaddset(&told, SIGUSR1);
            sigprocmask(SIG_BLOCK, &told, nullptr);
            *ready = start_notify(SIGUSR1) == 0 ? 1 : 2;
            for (;;)
                if (sigwaitinfo(&told, nullptr) == SIGUSR1) ++board_->told;
        });
        return eventually([&] { return *ready == 1; });
    }
    int start_notify(int sig) {
        sigevent event{};
        event.sigev_notify = sig != 0 ? SIGEV_SIGNAL : SIGEV_NONE;
        event.sigev_signo = sig;
        return library().mq_notify(at_once_, &event) == 0 ? 0 : errno;
    }

    void before_call(int victim) override {
        const Act act = victim == 0 ? s_.act : s_.earlier;
        if (act == Act::stop_notify) (void)start_notify(0);
        write_body(buffer_.data(), kVictim + static_cast<std::uint64_t>(victim), s_.length, priority_of(kVictim + static_cast<std::uint64_t>(victim)));
        deadline_ = {s_.blocking ? 4'000'000'000 : 1, 0};
    }
    int call(int victim) override {
        const mqd_t queue = s_.blocking && victim == 0 ? blocking_ : at_once_;
        const std::uint32_t priority = priority_of(kVictim + static_cast<std::uint64_t>(victim));
        switch (victim == 0 ? s_.act : s_.earlier) {
            case Act::send: return library().mq_send(queue, text(), s_.length, priority) == 0 ? 0 : errno;
            case Act::timedsend: return library().mq_timedsend(blocking_, text(), s_.length, priority, &deadline_) == 0 ? 0 : errno;
            case Act::receive: return received(victim, library().mq_receive(queue, text(), buffer_.size(), nullptr));
            case Act::timedreceive:
                return received(victim, library().mq_timedreceive(blocking_, text(), buffer_.size(), nullptr, &deadline_));
            case Act::getattr: {
                mq_attr attributes{};
                return library().mq_getattr(queue, &attributes) == 0 ? 0 : errno;
            }
            case Act::setattr: {
                mq_attr attributes{};
                return library().mq_setattr(at_once_, &attributes, nullptr) == 0 ? 0 : errno;
            }
            case Act::start_notify: return start_notify(SIGUSR1);
            case Act::stop_notify: return library().mq_notify(at_once_, nullptr) == 0 ? 0 : errno;
            case Act::close: return library().mq_close(at_once_) == 0 ? 0 : errno;
            case Act::none: break;
        }
        return 0;
    }
    int received(int victim, ssize_t length) {
        if (length < 0) return errno;
        std::int64_t id = -1;
        std::memcpy(&id, text(), sizeof id);
        board_->victims[victim].received = id;
        return 0;
    }

    void help_it() override {
        if (!s_.blocking || helped_ || waiting() != 1) return;
        helped_ = true;
        if (sends(s_.act)) taken_ = receive(true);
        else EXPECT_EQ(send(kHelp, s_.length, true), 0);
    }

    bool all_done() const {
        return std::all_of(board_->sleepers, board_->sleepers + sleepers(), [](const Board::Sleeper& each) { return each.done != 0; });
    }
    bool drain() {
        for (;;) {
            const std::int64_t id = receive();
            if (id < 0) {
                EXPECT_EQ(id, -EAGAIN);
                return all_done();
            }
            order_.push_back(static_cast<std::uint64_t>(id));
        }
    }
    std::string state_of_queue() const { return audit_queue(file_).text(); }

    Found look(End end) override;
    Found judge(End end, const std::vector<std::uint64_t>& expected);
    void see_attributes(End end);
    void see_registration();
    void see_it_whole();

    const State s_;
    mqd_t blocking_ = -1, at_once_ = -1;
    int file_ = -1;
    objects::QueueHeader* header_ = nullptr;
    std::vector<unsigned char> buffer_;
    std::vector<Child> sleepers_;
    Child watcher_;
    std::vector<std::uint64_t> order_;  // what verification received
    timespec deadline_{};
    bool helped_ = false;
    std::int64_t taken_ = -1;
};

Found MqOperation::look(End end) {
    if (s_.act == Act::setattr) see_attributes(end);
    order_.clear();
    std::vector<std::uint64_t> expected;  // in their order
    for (long i = 0; i < s_.queued; ++i) expected.push_back(static_cast<std::uint64_t>(i));
    for (int i = s_.receivers; i < sleepers(); ++i) expected.push_back(kSleeper + static_cast<std::uint64_t>(i));
    if (helped_ && receives(s_.act)) expected.push_back(kHelp);
    if (taken_ >= 0) std::erase(expected, static_cast<std::uint64_t>(taken_));
    for (int i = 0; i < s_.receivers; ++i) {
        const std::uint64_t id = kFiller + static_cast<std::uint64_t>(i);
        EXPECT_EQ(timed([&] { return send(id, 32, true); }), 0);
        expected.push_back(id);
    }
    if (s_.receivers != 0 && !timed([&] { return eventually([&] { return all_done(); }); }))
        return give_up("a receiver sleeps beside messages\n" + state_of_queue());
    // A sender comes next.
    if (timed([&] { return send(kFiller + 10); }) == 0) expected.push_back(kFiller + 10);
    const long counted = count();
    if (!timed([&] { return eventually([&] { return drain(); }); })) return give_up("a sender sleeps beside space\n" + state_of_queue());
    drain();
    for (int i = 0; i < sleepers(); ++i) EXPECT_EQ(board_->sleepers[i].error, 0);
    const Found found = judge(end, expected);
    // (What the dead had been handed comes back to its place when somebody looks for it, which these calls need not do at once.)
    if (s_.senders == 0 && !(s_.blocking && receives(s_.act))) {
        EXPECT_EQ(counted, std::min(static_cast<long>(order_.size()), s_.maxmsg)) << "mq_curmsgs";
        const auto rank = [](std::uint64_t id) { return id == kFiller + 10 ? 1 : 0; };
        auto sorted = order_;
        std::stable_sort(sorted.begin(), sorted.end(), [&](std::uint64_t a, std::uint64_t b) {
            if (priority_of(a) != priority_of(b)) return priority_of(a) > priority_of(b);
            return rank(a) != rank(b) ? rank(a) < rank(b) : a < b;
        });
        EXPECT_EQ(order_, sorted);
    }
    for (Child& sleeper : sleepers_) EXPECT_TRUE(sleeper.ends());
    see_registration();
    see_it_whole();
    return found;
}

// Everything exactly once, but for what the victims did.
Found MqOperation::judge(End end, const std::vector<std::uint64_t>& expected) {
    std::map<std::uint64_t, int> got;
    for (const std::uint64_t id : order_) ++got[id];
    for (int i = 0; i < s_.receivers; ++i) ++got[static_cast<std::uint64_t>(board_->sleepers[i].received.load())];
    for (const Board::Victim& victim : board_->victims)
        if (victim.received != -1) ++got[static_cast<std::uint64_t>(victim.received.load())];
    const Act acts[] = {s_.act, s_.earlier};
    long takers = 0, in_flight = 0;
    for (int victim = 0; victim < kVictims; ++victim) {
        const bool may = may_be_done(victim, end) && (victim == 1 || !refused_);
        if (receives(acts[victim])) takers += may ? 1 : 0;
        if (!sends(acts[victim])) continue;
        const int times = got[kVictim + static_cast<std::uint64_t>(victim)];
        EXPECT_LE(times, may ? 1 : 0) << "the message in flight of victim " << victim;
        in_flight += may && times == 0 ? 1 : 0;
    }
    // What is missing was next: the most important, the oldest.
    std::vector<std::uint64_t> there;
    for (const std::uint64_t id : expected)
        if (id < kFiller || id >= kSleeper) there.push_back(id);
    std::stable_sort(there.begin(), there.end(), [&](std::uint64_t a, std::uint64_t b) { return priority_of(a) > priority_of(b); });
    there.resize(std::min(there.size(), static_cast<std::size_t>(takers)));
    long missing = 0;
    for (const std::uint64_t id : expected) {
        const int times = got[id];
        if (times == 0 && std::find(there.begin(), there.end(), id) != there.end()) ++missing;
        else EXPECT_EQ(times, 1) << "message " << id;
    }
    for (const auto& [id, times] : got) {
        const bool a_victims = (id == kVictim && sends(s_.act)) || (id == kVictim + 1 && sends(s_.earlier));
        const bool known = a_victims || std::find(expected.begin(), expected.end(), id) != expected.end();
        EXPECT_TRUE(times == 0 || known) << "message " << id << " from nowhere";
    }
    if (sends(s_.act)) return got[kVictim] == 1 ? Found::done : Found::undone;
    if (!receives(s_.act)) return Found::either;
    if (board_->victims[0].received != -1) return Found::done;
    if (sends(s_.earlier) && in_flight != 0) return missing != 0 ? Found::done : Found::either;
    if (receives(s_.earlier)) return missing == 0 ? Found::undone : missing == 2 ? Found::done : Found::either;
    return missing != 0 ? Found::done : Found::undone;
}

// The flags are the descriptor's, which the victim shared with us.
void MqOperation::see_attributes(End end) {
    mq_attr now{}, wanted{};
    EXPECT_EQ(library().mq_getattr(at_once_, &now), 0);
    EXPECT_TRUE((now.mq_flags == 0 && end != End::failed) || (now.mq_flags == O_NONBLOCK && end != End::succeeded)) << now.mq_flags;
    wanted.mq_flags = O_NONBLOCK;
    EXPECT_EQ(library().mq_setattr(at_once_, &wanted, nullptr), 0);
}

// Who registered is dead, or dies now: the next may. Who was registered had been told of a message that came.
void MqOperation::see_registration() {
    if (s_.act != Act::start_notify && s_.act != Act::stop_notify && !s_.watched) return;
    const bool came = s_.watched && std::find(order_.begin(), order_.end(), kVictim) != order_.end();
    EXPECT_TRUE(!came || eventually([&] { return board_->told == 1; })) << "told " << board_->told << " times";
    watcher_ = Child();
    Child next([&] { _exit(start_notify(0)); });
    EXPECT_TRUE(timed([&] { return next.ends(); }));
    EXPECT_TRUE(next.exited(0)) << "the next cannot register: status " << next.status();
}

// Full is full, and its memory is right.
void MqOperation::see_it_whole() {
    long filled = 0;
    while (filled <= s_.maxmsg && send(static_cast<std::uint64_t>(filled)) == 0) ++filled;
    EXPECT_EQ(filled, s_.maxmsg);
    EXPECT_EQ(count(), s_.maxmsg);
    while (receive() >= 0) --filled;
    EXPECT_EQ(filled, 0);
    Audit audit = audit_queue(file_);
    std::erase_if(audit.complaints, [](const std::string& c) {
        return c.find("is dead and still there") != std::string::npos || c.find("actor's hands") != std::string::npos;
    });
    EXPECT_TRUE(audit.complaints.empty()) << audit.text();
}

}  // namespace

void add_mq_operations(OperationTable& table) {
    for (const State& state : kStates) table.add("mq", state.name, [&state] { return std::make_unique<MqOperation>(state); });
}

}  // namespace muster::test
