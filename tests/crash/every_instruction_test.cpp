// mq_send and mq_receive of the built library, killed (SIGKILL) after each of their instructions, in each state of the
// queue: empty, partly full, full, one message, a sleeping receiver or sender, asleep themselves and woken, long
// messages. Proved after each death: whoever slept and whoever comes next proceeds; every message whose mq_send
// returned is received exactly once, whole and in order; the one in flight at most once, and exactly once from its
// commit on; mq_curmsgs is right; the queue takes exactly mq_maxmsg messages again; its memory is as it should be.
//
// How: a child is single-stepped once to learn its path. To kill it after instruction n it runs to a breakpoint at the
// last address on the way to n that it meets for the first time, steps the rest, and is killed while it is stopped.
// By default the less important states are sampled; MUSTER_EVERY_INSTRUCTION=1 goes through all of everything.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <mqueue.h>
#include <sched.h>
#include <sys/stat.h>
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>
#include "support/child.hpp"
#include "support/queue_audit.hpp"
#include "support/stepping.hpp"
#include "support/test_queue.hpp"

#if defined(__x86_64__) && defined(MUSTER_POSIX_LIBRARY)

namespace {

using namespace muster::test;

// The library's calls, not the C library's.
struct Library {
    decltype(&mq_open) open;
    decltype(&mq_close) close;
    decltype(&mq_unlink) unlink;
    decltype(&mq_send) send;
    decltype(&mq_receive) receive;
    decltype(&mq_getattr) getattr;
};

const Library& library() {
    static const Library loaded = [] {
        static char domain[] = "/dev/shm/muster-stepped-XXXXXX";
        if (mkdtemp(domain) == nullptr) std::abort();
        setenv("MUSTER_DOMAIN", domain, 1);
        void* handle = dlopen(MUSTER_POSIX_LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) {
            std::fprintf(stderr, "%s\n", dlerror());
            std::abort();
        }
        Library found{};
        const auto load = [&](auto& pointer, const char* name) {
            pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(dlsym(handle, name));
            if (pointer == nullptr) std::abort();
        };
        load(found.open, "mq_open");
        load(found.close, "mq_close");
        load(found.unlink, "mq_unlink");
        load(found.send, "mq_send");
        load(found.receive, "mq_receive");
        load(found.getattr, "mq_getattr");
        return found;
    }();
    return loaded;
}

struct State {
    const char* name;
    bool sends;            // the stepped call
    long queued;           // messages before it
    int receivers, senders;  // asleep before it
    bool blocking;         // may it sleep; somebody then helps it on
    std::uint32_t length;  // of its message, or of the queue's
    std::size_t stride;    // 1: every instruction
    long maxmsg = 4, msgsize = 256;
};
constexpr State kStates[] = {
    {"send_to_empty", true, 0, 0, 0, false, 48, 1},
    {"send_to_partly_full", true, 2, 0, 0, false, 48, 1},
    {"send_to_full", true, 4, 0, 0, false, 48, 1},
    {"send_to_sleeping_receiver", true, 0, 1, 0, false, 48, 1},
    {"receive_from_empty", false, 0, 0, 0, false, 48, 1},
    {"receive_the_only_one", false, 1, 0, 0, false, 48, 1},
    {"receive_from_partly_full", false, 2, 0, 0, false, 48, 1},
    {"receive_from_full", false, 4, 0, 0, false, 48, 1},
    {"receive_beside_sleeping_sender", false, 4, 0, 1, false, 48, 1},
    {"send_to_full_and_sleep", true, 4, 0, 0, true, 48, 3},
    {"receive_from_empty_and_sleep", false, 0, 0, 0, true, 48, 3},
    {"send_to_two_sleeping_receivers", true, 0, 2, 0, false, 48, 7},
    {"receive_beside_two_sleeping_senders", false, 4, 0, 2, false, 48, 7},
    {"send_long", true, 1, 0, 0, false, 70'000, 7, 4, 400'000},
    {"send_long_to_sleeping_receiver", true, 0, 1, 0, false, 70'000, 7, 4, 400'000},
    {"receive_long", false, 2, 0, 0, false, 70'000, 7, 4, 400'000},
};

void PrintTo(const State& state, std::ostream* out) { *out << state.name; }

constexpr std::uint64_t kVictim = 1000, kFiller = 2000, kSleeper = 3000, kHelp = 4000;
constexpr int kSleepersMax = 2;

struct Board {
    struct Entry {
        std::atomic<int> done;
        int error;
        std::uint64_t id;
        const char* wrong;
    } sleepers[kSleepersMax];
};

std::uint32_t priority_of(std::uint64_t id) { return static_cast<std::uint32_t>(id % 2) * 100; }

class EveryInstruction : public testing::TestWithParam<State>, public Stepped {
protected:
    void SetUp() override {
        stay_on_one_cpu();
        make_queue();
    }
    void TearDown() override { drop_queue(); }

    void make_queue() override {
        const State& s = GetParam();
        mq_attr attributes{};
        attributes.mq_maxmsg = s.maxmsg;
        attributes.mq_msgsize = s.msgsize;
        library().unlink("/stepped");
        blocking_ = library().open("/stepped", O_CREAT | O_EXCL | O_RDWR, 0600, &attributes);
        at_once_ = library().open("/stepped", O_RDWR | O_NONBLOCK);
        ASSERT_GE(blocking_, 0) << errno;
        ASSERT_GE(at_once_, 0) << errno;
        file_ = open((std::string(getenv("MUSTER_DOMAIN")) + "/mq/stepped").c_str(), O_RDWR | O_CLOEXEC);
        ASSERT_GE(file_, 0);
        header_ = static_cast<muster::objects::QueueHeader*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file_, 0));
        buffer_.resize(static_cast<std::size_t>(s.msgsize));
        // The path that is learnt is that of a queue in use.
        for (std::uint64_t id = 0; id < 40; ++id) {
            send(id);
            receive();
        }
    }
    void drop_queue() override {
        if (header_ != nullptr) munmap(header_, 4096);
        close(file_);
        library().close(blocking_);
        library().close(at_once_);
        library().unlink("/stepped");
    }
    static void TearDownTestSuite() {
        const char* domain = getenv("MUSTER_DOMAIN");
        if (domain == nullptr) return;
        for (const char* part : {"/mq", "/poll", "/limits", ""}) rmdir((std::string(domain) + part).c_str());
    }

    int send(std::uint64_t id, std::uint32_t length = 32, bool blocking = false) {
        write_body(buffer_.data(), id, length, priority_of(id));
        return library().send(blocking ? blocking_ : at_once_, reinterpret_cast<char*>(buffer_.data()), length, priority_of(id)) == 0 ? 0 : errno;
    }
    // The id received, or -errno.
    std::int64_t receive(bool blocking = false) {
        unsigned priority = 0;
        const ssize_t got = library().receive(blocking ? blocking_ : at_once_, reinterpret_cast<char*>(buffer_.data()), buffer_.size(), &priority);
        if (got < 0) return -errno;
        if (const char* wrong = wrong_body(buffer_.data(), static_cast<std::size_t>(got), priority)) {
            ADD_FAILURE() << wrong;
            return -EBADMSG;
        }
        Body body;
        std::memcpy(&body, buffer_.data(), sizeof body);
        return static_cast<std::int64_t>(body.id);
    }
    long count() {
        mq_attr attributes{};
        library().getattr(at_once_, &attributes);
        return attributes.mq_curmsgs;
    }
    unsigned waiting() const { return header_->sent.receivers_waiting.load_acquire() + header_->receive.senders_waiting.load_acquire(); }

    bool prepare() override {
        const State& s = GetParam();
        helped_ = 0;
        taken_ = -1;
        for (long i = 0; i < s.queued; ++i)
            if (send(static_cast<std::uint64_t>(i), s.length) != 0) return false;
        sleepers_.clear();
        for (int i = 0; i < s.receivers + s.senders; ++i) {
            Board::Entry& entry = board_->sleepers[i];
            entry.done.store(0);
            const bool receives = i < s.receivers;
            sleepers_.emplace_back([&] {
                entry.error = 0;
                if (receives) {
                    const std::int64_t got = receive(true);
                    entry.error = got < 0 ? static_cast<int>(-got) : 0;
                    entry.id = static_cast<std::uint64_t>(got);
                } else {
                    entry.error = send(kSleeper + static_cast<std::uint64_t>(i), s.length, true);
                }
                entry.done.store(1);
            });
            if (!eventually([&] { return waiting() == static_cast<unsigned>(i + 1) && sleepers_.back().asleep(); })) return false;
        }
        return true;
    }

    // One copy of it, so that its addresses are the same each time.
    __attribute__((noinline)) void victim_body() override {
        const State& s = GetParam();
        const mqd_t queue = s.blocking ? blocking_ : at_once_;
        write_body(buffer_.data(), kVictim, s.length, priority_of(kVictim));
        unsigned priority = 0;
        muster_steps_begin();
        if (s.sends) library().send(queue, reinterpret_cast<char*>(buffer_.data()), s.length, priority_of(kVictim));
        else library().receive(queue, reinterpret_cast<char*>(buffer_.data()), buffer_.size(), &priority);
        muster_steps_end();
    }

    // The stepped call sleeps in the queue: somebody does what it waits for.
    void help() override {
        const State& s = GetParam();
        if (!s.blocking || helped_ != 0 || waiting() != 1) return;
        helped_ = 1;
        if (s.sends) taken_ = receive(true);
        else EXPECT_EQ(send(kHelp, s.length, true), 0);
    }

    // After a death. `finished`: the call had returned. Whether the victim's operation was found done.
    bool verify(bool finished) override {
        const State& s = GetParam();
        const auto senders = static_cast<std::size_t>(s.senders), receivers = static_cast<std::size_t>(s.receivers);
        const bool refused = (!s.blocking && s.sends && s.queued == s.maxmsg) || (!s.blocking && !s.sends && s.queued == 0);
        std::vector<std::uint64_t> expected;  // in their order
        for (long i = 0; i < s.queued; ++i) expected.push_back(static_cast<std::uint64_t>(i));
        for (std::size_t i = 0; i < senders; ++i) expected.push_back(kSleeper + i);
        if (helped_ != 0 && !s.sends) expected.push_back(kHelp);
        if (taken_ >= 0) std::erase(expected, static_cast<std::uint64_t>(taken_));
        std::map<std::uint64_t, int> got;
        for (std::size_t i = 0; i < receivers; ++i) {
            EXPECT_EQ(send(kFiller + i, 32, true), 0);
            expected.push_back(kFiller + i);
        }
        const auto done = [&] { return std::all_of(board_->sleepers, board_->sleepers + receivers + senders, [](const Board::Entry& e) { return e.done.load() != 0; }); };
        if (receivers != 0) {
            if (!eventually(done)) {
                ADD_FAILURE() << "a receiver sleeps beside messages\n" << audit_queue(file_).text();
                stuck_ = true;
                return false;
            }
            for (std::size_t i = 0; i < receivers; ++i) {
                EXPECT_EQ(board_->sleepers[i].error, 0);
                ++got[board_->sleepers[i].id];
            }
        }
        // A sender comes next.
        if (send(kFiller + 10) == 0) expected.push_back(kFiller + 10);
        std::vector<std::uint64_t> order;
        const long counted = count();
        const auto drain = [&] {
            for (;;) {
                const std::int64_t id = receive();
                if (id < 0) {
                    EXPECT_EQ(id, -EAGAIN);
                    return done();
                }
                order.push_back(static_cast<std::uint64_t>(id));
                ++got[static_cast<std::uint64_t>(id)];
            }
        };
        if (!eventually(drain)) {
            ADD_FAILURE() << "a sender sleeps beside space\n" << audit_queue(file_).text();
            stuck_ = true;
            return false;
        }
        drain();
        for (std::size_t i = receivers; i < receivers + senders; ++i) EXPECT_EQ(board_->sleepers[i].error, 0);
        // Everything exactly once, but for the victim's own.
        const auto rank = [&](std::uint64_t id) { return id == kFiller + 10 ? 1 : 0; };
        std::uint64_t best = ~0ull;
        if (!s.sends) {
            std::vector<std::uint64_t> there(expected.begin(), expected.end());
            std::erase_if(there, [&](std::uint64_t id) { return id >= kFiller && id < kSleeper; });
            if (helped_ != 0) there = {kHelp};
            std::stable_sort(there.begin(), there.end(), [](std::uint64_t a, std::uint64_t b) { return priority_of(a) > priority_of(b); });
            if (!there.empty() && !refused) best = there.front();
        }
        bool operated = false;
        for (const std::uint64_t id : expected) {
            const int times = got[id];
            if (id == best && times == 0) operated = true;
            else EXPECT_EQ(times, 1) << "message " << id;
        }
        if (s.sends) {
            EXPECT_LE(got[kVictim], refused ? 0 : 1) << "the message in flight";
            operated = got[kVictim] == 1;
        }
        for (const auto& [id, times] : got)
            if (times != 0 && id != kVictim) {
                EXPECT_NE(std::find(expected.begin(), expected.end(), id), expected.end()) << "message " << id << " from nowhere";
            }
        if (finished && !refused) {
            EXPECT_TRUE(operated) << "the call had returned";
        }
        // (What the dead had been handed comes back to its place when somebody looks for it, which these calls need not do at once.)
        if (s.senders == 0 && !(s.blocking && !s.sends)) {
            EXPECT_EQ(counted, std::min(static_cast<long>(order.size()), s.maxmsg)) << "mq_curmsgs";
            auto sorted = order;
            std::stable_sort(sorted.begin(), sorted.end(), [&](std::uint64_t a, std::uint64_t b) {
                if (priority_of(a) != priority_of(b)) return priority_of(a) > priority_of(b);
                return rank(a) != rank(b) ? rank(a) < rank(b) : a < b;
            });
            EXPECT_EQ(order, sorted);
        }
        for (Child& sleeper : sleepers_) EXPECT_TRUE(sleeper.ends());
        // Full is full.
        long filled = 0;
        while (filled <= s.maxmsg && send(static_cast<std::uint64_t>(filled)) == 0) ++filled;
        EXPECT_EQ(filled, s.maxmsg);
        EXPECT_EQ(count(), s.maxmsg);
        while (receive() >= 0) --filled;
        EXPECT_EQ(filled, 0);
        const Audit audit = audit_queue(file_);
        std::erase_if(const_cast<Audit&>(audit).complaints, [](const std::string& c) { return c.find("is dead and still there") != std::string::npos || c.find("actor's hands") != std::string::npos; });
        EXPECT_TRUE(audit.complaints.empty()) << audit.text();
        return operated;
    }

    mqd_t blocking_ = -1, at_once_ = -1;
    int file_ = -1;
    muster::objects::QueueHeader* header_ = nullptr;
    std::vector<unsigned char> buffer_;
    std::vector<Child> sleepers_;
    Shared<Board> board_;
    int helped_ = 0;
    std::int64_t taken_ = -1;
};

TEST_P(EveryInstruction, MayBeTheLast) {
    const State& s = GetParam();
    const bool refused = !s.blocking && (s.sends ? s.queued == s.maxmsg : s.queued == 0);
    // (Beside sleepers the path varies a little.)
    step_through(*this, {s.name, s.stride, !refused, s.receivers + s.senders == 0 && !s.blocking});
}

INSTANTIATE_TEST_SUITE_P(States, EveryInstruction, testing::ValuesIn(kStates), [](const auto& info) { return std::string(info.param.name); });

}  // namespace

#else
TEST(EveryInstruction, MayBeTheLast) { GTEST_SKIP() << "single-stepping is written for x86-64 and the shared library"; }
#endif
