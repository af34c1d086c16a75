// Operations of System V message queues that exist: msgsnd, msgrcv, msgctl in each state of the queue. True after each: who slept and
// who comes next goes on; every message whose msgsnd returned is received exactly once, whole, one in flight at most once; msg_qnum
// and msg_cbytes are what is then received; the budget of bytes can be used up again; a removed queue is gone for all.
#include <gtest/gtest.h>
#include <algorithm>
#include <map>
#include "operations.hpp"
#include "support/queue_audit.hpp"
#include "support/test_queue.hpp"

namespace muster::test {
namespace {

enum class Act { none, send, receive, stat, set, remove };
constexpr std::uint64_t kLength = 64, kVictim = 1000, kFiller = 2000, kSleeper = 3000, kHelp = 4000;

struct State {
    const char* name;
    Act act;
    long type = 1;  // its message's, or what it asks for
    std::vector<long> queued = {};
    int receivers = 0, senders = 0;  // asleep before it, both of type 7
    bool blocking = false;           // it may sleep; somebody then helps it on
    int flags = 0;
    std::uint64_t buffer_bytes = 256;
    bool refused = false;
    Act earlier = Act::none;
    std::uint64_t messages_max = 4;
};
const std::vector<State>& states() {
    static const std::vector<long> full = {1, 2, 3, 1};
    static const std::vector<long> many = [] {
        std::vector<long> types;
        for (long i = 0; i < 60; ++i) types.push_back(1 + i * 7 % 23);
        return types;
    }();
    static const std::vector<State> all = {
        {.name = "msgsnd/empty", .act = Act::send},
        {.name = "msgsnd/partly full", .act = Act::send, .queued = {1, 2}},
        {.name = "msgsnd/full", .act = Act::send, .queued = full, .refused = true},
        {.name = "msgsnd/sleeping receiver", .act = Act::send, .type = 7, .queued = {1}, .receivers = 1},
        {.name = "msgsnd/past a sleeping receiver", .act = Act::send, .receivers = 1},
        {.name = "msgsnd/full and sleeps", .act = Act::send, .queued = full, .blocking = true},
        {.name = "msgsnd/deep", .act = Act::send, .type = 5, .queued = many, .messages_max = 64},
        {.name = "msgsnd/sender died", .act = Act::send, .queued = {1, 2}, .earlier = Act::send},
        {.name = "msgsnd/full, receiver died", .act = Act::send, .queued = full, .earlier = Act::receive},
        {.name = "msgsnd/sender died, sleeping receiver", .act = Act::send, .type = 7, .queued = {1}, .receivers = 1, .earlier = Act::send},
        {.name = "msgrcv/empty", .act = Act::receive, .type = 0, .refused = true},
        {.name = "msgrcv/the only one", .act = Act::receive, .type = 0, .queued = {3}},
        {.name = "msgrcv/by type", .act = Act::receive, .type = 2, .queued = {1, 2, 1, 2}},
        {.name = "msgrcv/the lowest", .act = Act::receive, .type = -2, .queued = {3, 2, 1, 1}},
        {.name = "msgrcv/all but a type", .act = Act::receive, .type = 1, .queued = {1, 1, 3, 2}, .flags = MSG_EXCEPT},
        {.name = "msgrcv/a copy", .act = Act::receive, .type = 1, .queued = {1, 2, 3}, .flags = MSG_COPY},
        {.name = "msgrcv/too long", .act = Act::receive, .type = 0, .queued = {1, 2}, .buffer_bytes = 32, .refused = true},
        {.name = "msgrcv/cut short", .act = Act::receive, .type = 0, .queued = {1, 2}, .flags = MSG_NOERROR, .buffer_bytes = 32},
        {.name = "msgrcv/none of its type", .act = Act::receive, .type = 9, .queued = {1, 2}, .refused = true},
        {.name = "msgrcv/sleeping sender", .act = Act::receive, .type = 0, .queued = full, .senders = 1},
        {.name = "msgrcv/sleeping sender and receiver", .act = Act::receive, .type = 0, .queued = full, .receivers = 1, .senders = 1},
        {.name = "msgrcv/empty and sleeps", .act = Act::receive, .type = 7, .queued = {1}, .blocking = true},
        {.name = "msgrcv/deep", .act = Act::receive, .type = -9, .queued = many, .messages_max = 64},
        {.name = "msgrcv/sender died", .act = Act::receive, .type = 0, .queued = {1, 2}, .earlier = Act::send},
        {.name = "msgrcv/receiver died", .act = Act::receive, .type = 0, .queued = {1, 2, 3}, .earlier = Act::receive},
        {.name = "msgrcv/deep, receiver died", .act = Act::receive, .type = -9, .queued = many, .earlier = Act::receive, .messages_max = 64},
        {.name = "msgrcv/receiver died, sleeping sender", .act = Act::receive, .type = 0, .queued = full, .senders = 1, .earlier = Act::receive},
        {.name = "msgctl IPC_STAT/partly full", .act = Act::stat, .queued = {1, 2}},
        {.name = "msgctl IPC_STAT/receiver died", .act = Act::stat, .queued = {1, 2, 3}, .earlier = Act::receive},
        {.name = "msgctl IPC_SET/partly full", .act = Act::set, .queued = {1, 2}},
        {.name = "msgctl IPC_SET/sleeping receiver", .act = Act::set, .receivers = 1},
        {.name = "msgctl IPC_SET/sleeping sender", .act = Act::set, .queued = full, .senders = 1},
        {.name = "msgctl IPC_SET/sender died", .act = Act::set, .queued = {1, 2}, .earlier = Act::send},
        {.name = "msgctl IPC_RMID/full", .act = Act::remove, .queued = full},
        {.name = "msgctl IPC_RMID/sleeping receiver", .act = Act::remove, .receivers = 1},
        {.name = "msgctl IPC_RMID/sleeping sender", .act = Act::remove, .queued = full, .senders = 1},
        {.name = "msgctl IPC_RMID/receiver died", .act = Act::remove, .queued = {1, 2, 3}, .earlier = Act::receive},
        {.name = "msgsnd/IPC_SET died, sleeping receiver", .act = Act::send, .type = 7, .receivers = 1, .earlier = Act::set},
        {.name = "msgrcv/IPC_SET died, sleeping sender", .act = Act::receive, .type = 0, .queued = full, .senders = 1, .earlier = Act::set},
        {.name = "msgctl IPC_SET/IPC_SET died", .act = Act::set, .queued = {1, 2}, .earlier = Act::set},
        {.name = "msgsnd/IPC_RMID died, sleeping receiver", .act = Act::send, .type = 7, .receivers = 1, .earlier = Act::remove},
        {.name = "msgrcv/IPC_RMID died, sleeping sender", .act = Act::receive, .type = 0, .queued = full, .senders = 1, .earlier = Act::remove},
        {.name = "msgctl IPC_RMID/IPC_RMID died", .act = Act::remove, .queued = full, .earlier = Act::remove},
    };
    return all;
}

struct Text {
    long type;
    unsigned char body[256];
};

class MsgOperation : public Operation {
public:
    explicit MsgOperation(const State& state) : s_(state) {
        has_earlier_ = s_.earlier != Act::none;
        refused_ = s_.refused && !has_earlier_;
        varies_ = sleepers() != 0 || s_.blocking || has_earlier_;
        one_commits_ = !varies_ && (s_.act == Act::send || (s_.act == Act::receive && (s_.flags & MSG_COPY) == 0));
    }
    bool held() override {
        return header_->send_lock.load_acquire() != 0 || header_->receive_lock.load_acquire() != 0 || header_->send.filling.load_acquire() != 0 ||
               header_->receive.taking.load_acquire() != 0;
    }

private:
    bool make() override {
        id_ = library().msgget(IPC_PRIVATE, IPC_CREAT | 0600);
        msqid_ds state{};
        if (id_ < 0 || library().msgctl(id_, IPC_STAT, &state) != 0) return false;
        state.msg_qbytes = budget();
        if (library().msgctl(id_, IPC_SET, &state) != 0) return false;
        const std::string path = domain_path() + "/sysv/msg-" + std::to_string(id_ % 32768);
        file_ = open(path.c_str(), O_RDWR | O_CLOEXEC);
        slots_ = open((path + ".data").c_str(), O_RDWR | O_CLOEXEC);
        if (file_ < 0 || slots_ < 0) return false;
        header_ = static_cast<objects::QueueHeader*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file_, 0));
        for (std::uint64_t id = 0; id < 40; ++id) {  // the path that is learnt is that of a queue in use
            send(id, 1 + static_cast<long>(id % 3));
            receive(0);
        }
        return true;
    }
    void drop() override {
        forget();
        library().msgctl(id_, IPC_RMID, nullptr);
    }
    void forget() {
        munmap(header_, 4096);
        close(file_);
        close(slots_);
    }
    bool is(Act act) const { return s_.act == act || s_.earlier == act; }
    std::uint64_t budget() const { return s_.messages_max * kLength; }

    int send(std::uint64_t id, long type, bool blocking = false) {
        Text text{type, {}};
        write_body(text.body, id, kLength, static_cast<std::uint32_t>(type));
        return library().msgsnd(id_, &text, kLength, blocking ? 0 : IPC_NOWAIT) == 0 ? 0 : errno;
    }
    // The message received, or -errno.
    std::int64_t receive(long type, bool blocking = false) {
        Text text{};
        const ssize_t got = library().msgrcv(id_, &text, sizeof text.body, type, blocking ? 0 : IPC_NOWAIT);
        if (got < 0) return -errno;
        if (const char* wrong = wrong_body(text.body, static_cast<std::size_t>(got), static_cast<std::uint32_t>(text.type))) {
            ADD_FAILURE() << wrong;
            return -EBADMSG;
        }
        std::uint64_t id = 0;
        std::memcpy(&id, text.body, sizeof id);
        return static_cast<std::int64_t>(id);
    }
    int waiting() const { return static_cast<int>(header_->sent.receivers_waiting.load_acquire() + header_->receive.senders_waiting.load_acquire()); }
    int sleepers() const { return s_.receivers + s_.senders; }

    bool set_state() override {
        helped_ = false;
        taken_ = -1;
        sleepers_.clear();
        if (is(Act::set)) {
            msqid_ds state{};
            if (library().msgctl(id_, IPC_STAT, &state) != 0) return false;
            state.msg_perm.mode = 0600;
            if (library().msgctl(id_, IPC_SET, &state) != 0) return false;
        }
        for (std::size_t i = 0; i < s_.queued.size(); ++i)
            if (send(i, s_.queued[i]) != 0) return false;
        for (int i = 0; i < sleepers(); ++i) {
            Board::Sleeper& entry = board_->sleepers[i];
            entry.done = 0;
            sleepers_.emplace_back([&, receives = i < s_.receivers] {
                const std::int64_t got = receives ? receive(7, true) : -send(kSleeper + static_cast<std::uint64_t>(i), 7, true);
                entry.error = got < 0 ? static_cast<int>(-got) : 0;
                entry.received = got;
                entry.done = 1;
            });
            if (!eventually([&] { return waiting() == i + 1 && sleepers_.back().asleep(); })) return false;
        }
        return true;
    }
    void before_call(int victim) override {
        text_.type = victim == 0 ? s_.type : 1;
        write_body(text_.body, kVictim + static_cast<std::uint64_t>(victim), kLength, static_cast<std::uint32_t>(text_.type));
        wanted_ = {};
        wanted_.msg_qbytes = budget();
        wanted_.msg_perm.uid = geteuid();
        wanted_.msg_perm.gid = getegid();
        wanted_.msg_perm.mode = 0640;
    }
    int call(int victim) override {
        const int flags = s_.blocking && victim == 0 ? 0 : IPC_NOWAIT;
        switch (victim == 0 ? s_.act : s_.earlier) {
            case Act::send: return library().msgsnd(id_, &text_, kLength, flags) == 0 ? 0 : errno;
            case Act::receive: {
                const bool main = victim == 0;
                if (library().msgrcv(id_, &text_, main ? s_.buffer_bytes : 256, main ? s_.type : 0, flags | (main ? s_.flags : 0)) < 0) return errno;
                std::int64_t id = -1;
                std::memcpy(&id, text_.body, sizeof id);
                board_->victims[victim].received = id;
                return 0;
            }
            case Act::stat: return library().msgctl(id_, IPC_STAT, &wanted_) == 0 ? 0 : errno;
            case Act::set: return library().msgctl(id_, IPC_SET, &wanted_) == 0 ? 0 : errno;
            case Act::remove: return library().msgctl(id_, IPC_RMID, nullptr) == 0 ? 0 : errno;
            case Act::none: break;
        }
        return 0;
    }
    void help_it() override {
        if (!s_.blocking || helped_ || waiting() != 1) return;
        helped_ = true;
        if (s_.act == Act::send) taken_ = receive(0, true);
        else EXPECT_EQ(send(kHelp, s_.type, true), 0);
    }

    bool done(int sleeper) const { return board_->sleepers[sleeper].done != 0; }
    bool all_done() const {
        for (int i = 0; i < sleepers(); ++i)
            if (!done(i)) return false;
        return true;
    }
    void drain() {
        std::int64_t id = 0;
        while ((id = receive(0)) >= 0) {
            ++got_[static_cast<std::uint64_t>(id)];
            if (id >= static_cast<std::int64_t>(kVictim)) continue;
            EXPECT_GT(id, newest_) << "out of order";
            newest_ = id;
        }
        EXPECT_EQ(id, -ENOMSG);
    }
    std::string state_of_queue() const { return audit_queue(file_, slots_).text(); }

    Found look(End end) override;
    Found look_at_what_is_left(End end);
    bool empty_it();
    Found judge(End end);
    void see_it_whole();

    const State& s_;
    int id_ = -1, file_ = -1, slots_ = -1;
    objects::QueueHeader* header_ = nullptr;
    std::vector<Child> sleepers_;
    std::map<std::uint64_t, int> expected_, got_;
    Text text_{};
    msqid_ds wanted_{};
    bool helped_ = false;
    std::int64_t taken_ = -1, newest_ = -1;  // newest_: of those that were queued, the last that verification received
};

Found MsgOperation::look(End end) {
    msqid_ds state{};
    const int error = timed([&] { return library().msgctl(id_, IPC_STAT, &state); }) == 0 ? 0 : errno;
    if (is(Act::remove) && error != 0) {  // gone for all
        EXPECT_TRUE(error == EINVAL || error == EIDRM) << error;
        EXPECT_EQ(receive(0), -EINVAL);
        if (!timed([&] { return eventually([&] { return all_done(); }); })) return give_up("somebody sleeps in a removed queue");
        for (int i = 0; i < sleepers(); ++i) EXPECT_EQ(board_->sleepers[i].error, EIDRM);
        forget();
        EXPECT_TRUE(make());
        if (s_.act != Act::remove) return Found::undone;
        return s_.earlier == Act::remove ? Found::either : Found::done;
    }
    EXPECT_EQ(error, 0);
    EXPECT_EQ(state.__msg_cbytes, state.msg_qnum * kLength);
    got_.clear();
    newest_ = -1;
    if (sleepers() == 0) {  // a look puts right what a death left; what it counts is what is there, if nobody is on his way
        drain();
        std::uint64_t came = 0;
        for (const auto& [id, times] : got_) came += static_cast<std::uint64_t>(times);
        EXPECT_EQ(state.msg_qnum, came);
    }
    const Found found = look_at_what_is_left(end);
    if (s_.act == Act::remove) return Found::undone;
    const bool set = state.msg_perm.mode == 0640;
    EXPECT_TRUE(state.msg_perm.mode == 0600 || (set && is(Act::set))) << std::oct << state.msg_perm.mode;
    if (s_.act != Act::set) return found;
    return !set ? Found::undone : s_.earlier == Act::set ? Found::either : Found::done;
}

Found MsgOperation::look_at_what_is_left(End end) {
    expected_.clear();
    for (std::size_t i = 0; i < s_.queued.size(); ++i) expected_[i] = 1;
    for (int i = s_.receivers; i < sleepers(); ++i) expected_[kSleeper + static_cast<std::uint64_t>(i)] = 1;
    if (helped_ && s_.act == Act::receive) expected_[kHelp] = 1;
    if (taken_ >= 0) ++got_[static_cast<std::uint64_t>(taken_)];
    if (!timed([&] { return empty_it(); })) return give_up("somebody sleeps on\n" + state_of_queue());
    drain();
    for (int i = 0; i < sleepers(); ++i) {
        EXPECT_EQ(board_->sleepers[i].error, 0);
        if (i < s_.receivers) ++got_[static_cast<std::uint64_t>(board_->sleepers[i].received.load())];
        EXPECT_TRUE(sleepers_[static_cast<std::size_t>(i)].ends());
    }
    const Found found = judge(end);
    see_it_whole();
    return found;
}

// Senders first: space is all they need. Then receivers are sent what they wait for.
bool MsgOperation::empty_it() {
    const bool senders_in = eventually([&] {
        drain();
        for (int i = s_.receivers; i < sleepers(); ++i)
            if (!done(i)) return false;
        return true;
    });
    if (!senders_in) return false;
    for (int i = 0; i < s_.receivers; ++i) {
        if (done(i)) continue;
        const std::uint64_t id = kFiller + static_cast<std::uint64_t>(i);
        EXPECT_EQ(send(id, 7), 0);
        expected_[id] = 1;
    }
    return eventually([&] { return all_done(); });
}

// Everything exactly once, but for the victims' own.
Found MsgOperation::judge(End end) {
    const Act acts[] = {s_.act, s_.earlier};
    unsigned takers = 0, in_flight = 0, missing = 0;
    for (int victim = 0; victim < kVictims; ++victim) {
        const bool may = may_be_done(victim, end) && (victim == 1 || !refused_), copies = victim == 0 && (s_.flags & MSG_COPY) != 0;
        const std::int64_t received = board_->victims[victim].received;
        if (acts[victim] == Act::receive && received != -1 && !copies) ++got_[static_cast<std::uint64_t>(received)];
        if (acts[victim] == Act::receive && may && !copies) ++takers;
        if (acts[victim] != Act::send) continue;
        const std::uint64_t id = kVictim + static_cast<std::uint64_t>(victim);
        EXPECT_LE(got_[id], may ? 1 : 0) << "the message in flight of victim " << victim;
        in_flight += may && got_[id] == 0 ? 1 : 0;
    }
    for (const auto& [id, times] : expected_) {
        EXPECT_LE(got_[id], 1) << "message " << id;
        missing += got_[id] == 0 ? 1 : 0;
    }
    EXPECT_LE(missing, takers) << "lost";
    for (const auto& [id, times] : got_) {
        const bool a_victims = (id == kVictim && s_.act == Act::send) || (id == kVictim + 1 && s_.earlier == Act::send);
        EXPECT_TRUE(times == 0 || a_victims || expected_.count(id) != 0) << "message " << id << " from nowhere";
    }
    if (s_.act == Act::send) return got_[kVictim] == 1 ? Found::done : Found::undone;
    if (s_.act != Act::receive || (s_.flags & MSG_COPY) != 0) return Found::either;
    if (board_->victims[0].received != -1) return Found::done;
    if (s_.earlier == Act::send && in_flight != 0) return missing != 0 ? Found::done : Found::either;
    if (s_.earlier == Act::receive) return missing == 0 ? Found::undone : missing == 2 ? Found::done : Found::either;
    return missing != 0 ? Found::done : Found::undone;
}

// Full is full, and its memory is right.
void MsgOperation::see_it_whole() {
    std::uint64_t filled = 0;
    while (filled <= s_.messages_max && send(filled, 1 + static_cast<long>(filled % 2)) == 0) ++filled;
    EXPECT_EQ(filled, s_.messages_max);
    while (receive(0) >= 0) --filled;
    EXPECT_EQ(filled, 0u);
    const Audit audit = audit_queue(file_, slots_);
    EXPECT_TRUE(audit.complaints.empty()) << audit.text();
}

}  // namespace

void add_msg_operations(OperationTable& table) {
    for (const State& state : states()) table.add("msg", state.name, [&state] { return std::make_unique<MsgOperation>(state); });
}

}  // namespace muster::test
