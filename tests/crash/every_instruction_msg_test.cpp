// msgsnd and msgrcv of the built library, killed (SIGKILL) after each of their instructions, in each state of the queue:
// empty, partly full, full, by type, beside a sleeping receiver or sender, asleep themselves and woken. Proved after each
// death: whoever slept and whoever comes next proceeds; every message whose msgsnd returned is received exactly once, whole;
// the one in flight at most once, and exactly once from its commit on; msg_qnum and msg_cbytes are what is then received;
// the budget of bytes can be used up again; the queue's memory is as it should be.
//
// How: see support/stepping.hpp. By default the less important states are sampled; MUSTER_EVERY_INSTRUCTION=1 goes through
// all of everything.
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>
#include "support/child.hpp"
#include "support/queue_audit.hpp"
#include "support/test_queue.hpp"

#if defined(__x86_64__) && defined(MUSTER_POSIX_LIBRARY)
#include "support/stepping.hpp"

namespace {

using namespace muster::test;

// The library's calls, not the C library's.
struct Library {
    decltype(&msgget) get;
    decltype(&msgsnd) send;
    decltype(&msgrcv) receive;
    decltype(&msgctl) control;
};
const Library& library() {
    static const Library loaded = [] {
        static char domain[] = "/dev/shm/muster-stepped-msg-XXXXXX";
        if (mkdtemp(domain) == nullptr) std::abort();
        setenv("MUSTER_DOMAIN", domain, 1);
        void* handle = dlopen(MUSTER_POSIX_LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) std::abort();
        const auto symbol = [&](auto& pointer, const char* name) {
            pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(dlsym(handle, name));
        };
        Library found{};
        symbol(found.get, "msgget");
        symbol(found.send, "msgsnd");
        symbol(found.receive, "msgrcv");
        symbol(found.control, "msgctl");
        return found;
    }();
    return loaded;
}

constexpr long kBudget = 256, kLength = 64;  // four messages

struct State {
    const char* name;
    bool sends;              // the stepped call
    long type;               // its message's, or what it asks for
    std::vector<long> queued;
    int receivers, senders;  // asleep before it, both of type 7
    bool blocking;           // may it sleep; somebody then helps it on
    std::size_t stride;      // 1: every instruction
    bool refused = false;
};
const State kStates[] = {
    {"send_to_empty", true, 1, {}, 0, 0, false, 3},
    {"send_to_partly_full", true, 1, {1, 2}, 0, 0, false, 1},
    {"send_to_full", true, 1, {1, 2, 3, 1}, 0, 0, false, 7, true},
    {"send_to_sleeping_receiver", true, 7, {1}, 1, 0, false, 1},
    {"send_past_sleeping_receiver", true, 1, {}, 1, 0, false, 7},
    {"receive_from_empty", false, 0, {}, 0, 0, false, 7, true},
    {"receive_the_only_one", false, 0, {3}, 0, 0, false, 1},
    {"receive_by_type", false, 2, {1, 2, 1, 2}, 0, 0, false, 7},
    {"receive_the_lowest", false, -2, {3, 2, 1, 1}, 0, 0, false, 7},
    {"receive_none_of_its_type", false, 9, {1, 2}, 0, 0, false, 7, true},
    {"receive_beside_sleeping_sender", false, 0, {1, 2, 3, 1}, 0, 1, false, 11},
    {"receive_promoting_to_sleeping_receiver", false, 0, {1, 2, 3, 1}, 1, 1, false, 11},
    {"send_to_full_and_sleep", true, 1, {1, 2, 3, 1}, 0, 0, true, 11},
    {"receive_from_empty_and_sleep", false, 7, {1}, 0, 0, true, 11},
};

void PrintTo(const State& state, std::ostream* out) { *out << state.name; }

constexpr std::uint64_t kVictim = 1000, kFiller = 2000, kSleeper = 3000, kHelp = 4000;

struct Text {
    long type;
    unsigned char body[kBudget];
};
struct Board {
    struct Entry {
        std::atomic<int> done;
        std::int64_t result;  // of a receiver the message, or -errno
    } sleepers[2];
};

class EveryInstructionMsg : public testing::TestWithParam<State>, public Stepped {
protected:
    void SetUp() override {
        stay_on_one_cpu();
        make_queue();
    }
    void TearDown() override { drop_queue(); }
    static void TearDownTestSuite() { std::filesystem::remove_all(getenv("MUSTER_DOMAIN")); }

    void make_queue() override {
        id_ = library().get(IPC_PRIVATE, IPC_CREAT | 0600);
        ASSERT_GE(id_, 0) << errno;
        msqid_ds state{};
        ASSERT_EQ(library().control(id_, IPC_STAT, &state), 0);
        state.msg_qbytes = kBudget;
        ASSERT_EQ(library().control(id_, IPC_SET, &state), 0);
        const std::string path = std::string(getenv("MUSTER_DOMAIN")) + "/sysv/msg-" + std::to_string(id_ % 32768);
        file_ = open(path.c_str(), O_RDWR | O_CLOEXEC);
        slots_ = open((path + ".data").c_str(), O_RDWR | O_CLOEXEC);
        ASSERT_GE(file_, 0);
        ASSERT_GE(slots_, 0);
        header_ = static_cast<muster::objects::QueueHeader*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file_, 0));
        // The path that is learnt is that of a queue in use.
        for (std::uint64_t id = 0; id < 40; ++id) {
            send(id, 1 + static_cast<long>(id % 3));
            receive(0);
        }
    }
    void drop_queue() override {
        munmap(header_, 4096);
        close(file_);
        close(slots_);
        EXPECT_EQ(library().control(id_, IPC_RMID, nullptr), 0);
    }

    int send(std::uint64_t id, long type, bool blocking = false) {
        Text text{type, {}};
        write_body(text.body, id, kLength, static_cast<std::uint32_t>(type));
        return library().send(id_, &text, kLength, blocking ? 0 : IPC_NOWAIT) == 0 ? 0 : errno;
    }
    // The message received, or -errno.
    std::int64_t receive(long type, bool blocking = false) {
        Text text{};
        const ssize_t got = library().receive(id_, &text, sizeof text.body, type, blocking ? 0 : IPC_NOWAIT);
        if (got < 0) return -errno;
        if (const char* wrong = wrong_body(text.body, static_cast<std::size_t>(got), static_cast<std::uint32_t>(text.type))) {
            ADD_FAILURE() << wrong;
            return -EBADMSG;
        }
        std::uint64_t id = 0;
        std::memcpy(&id, text.body, sizeof id);
        return static_cast<std::int64_t>(id);
    }
    unsigned waiting() const { return header_->sent.receivers_waiting.load_acquire() + header_->receive.senders_waiting.load_acquire(); }
    unsigned sleepers() const { return static_cast<unsigned>(GetParam().receivers + GetParam().senders); }

    bool prepare() override {
        const State& s = GetParam();
        helped_ = false;
        taken_ = -1;
        for (std::size_t i = 0; i < s.queued.size(); ++i)
            if (send(i, s.queued[i]) != 0) return false;
        sleepers_.clear();
        for (unsigned i = 0; i < sleepers(); ++i) {
            Board::Entry& entry = board_->sleepers[i];
            entry.done.store(0);
            const bool receives = i < static_cast<unsigned>(s.receivers);
            sleepers_.emplace_back([&] {
                entry.result = receives ? receive(7, true) : -send(kSleeper + i, 7, true);
                entry.done.store(1);
            });
            if (!eventually([&] { return waiting() == i + 1 && sleepers_.back().asleep(); })) return false;
        }
        return true;
    }

    __attribute__((noinline)) void victim_body() override {
        const State& s = GetParam();
        static Text text;
        text.type = s.type;
        write_body(text.body, kVictim, kLength, static_cast<std::uint32_t>(s.type));
        const int flags = s.blocking ? 0 : IPC_NOWAIT;
        muster_steps_begin();
        if (s.sends) library().send(id_, &text, kLength, flags);
        else library().receive(id_, &text, sizeof text.body, s.type, flags);
        muster_steps_end();
    }

    void help() override {
        const State& s = GetParam();
        if (!s.blocking || helped_ || waiting() != 1) return;
        helped_ = true;
        if (s.sends) taken_ = receive(0, true);
        else EXPECT_EQ(send(kHelp, s.type, true), 0);
    }

    bool verify(bool finished) override {
        const State& s = GetParam();
        std::map<std::uint64_t, int> expected, got;
        for (std::size_t i = 0; i < s.queued.size(); ++i) expected[i] = 1;
        for (unsigned i = static_cast<unsigned>(s.receivers); i < sleepers(); ++i) expected[kSleeper + i] = 1;
        if (helped_ && !s.sends) expected[kHelp] = 1;
        if (taken_ >= 0) ++got[static_cast<std::uint64_t>(taken_)];
        const auto done = [&](unsigned i) { return board_->sleepers[i].done.load() != 0; };
        const auto drain = [&] {
            std::int64_t id = 0;
            while ((id = receive(0)) >= 0) ++got[static_cast<std::uint64_t>(id)];
            EXPECT_EQ(id, -ENOMSG);
        };
        // A look puts right what a death left; what it counts is what is there, if nobody is on his way.
        msqid_ds state{};
        EXPECT_EQ(library().control(id_, IPC_STAT, &state), 0);
        EXPECT_EQ(state.__msg_cbytes, state.msg_qnum * kLength);
        if (sleepers() == 0) {
            const auto before = got;
            drain();
            std::size_t came = 0;
            for (const auto& [id, times] : got) came += static_cast<std::size_t>(times);
            for (const auto& [id, times] : before) came -= static_cast<std::size_t>(times);
            EXPECT_EQ(state.msg_qnum, came);
        }
        // Senders first: space is all they need.
        const bool senders_in = eventually([&] {
            drain();
            for (unsigned i = static_cast<unsigned>(s.receivers); i < sleepers(); ++i)
                if (!done(i)) return false;
            return true;
        });
        for (unsigned i = 0; senders_in && i < static_cast<unsigned>(s.receivers); ++i)
            if (!done(i)) {
                EXPECT_EQ(send(kFiller + i, 7), 0);
                expected[kFiller + i] = 1;
            }
        const bool receivers_in = senders_in && eventually([&] {
            for (unsigned i = 0; i < sleepers(); ++i)
                if (!done(i)) return false;
            return true;
        });
        if (!receivers_in) {
            ADD_FAILURE() << "somebody sleeps on\n" << audit_queue(file_, slots_).text();
            stuck_ = true;
            return false;
        }
        drain();
        for (unsigned i = 0; i < sleepers(); ++i) {
            const std::int64_t result = board_->sleepers[i].result;
            if (i >= static_cast<unsigned>(s.receivers)) EXPECT_EQ(result, 0);
            else if (result < 0) ADD_FAILURE() << "a receiver got errno " << -result;
            else ++got[static_cast<std::uint64_t>(result)];
            EXPECT_TRUE(sleepers_[i].ends());
        }
        // Everything exactly once, but for the victim's own.
        unsigned missing = 0;
        for (const auto& [id, times] : expected) {
            EXPECT_LE(got[id], 1) << "message " << id;
            missing += got[id] == 0;
        }
        EXPECT_LE(got[kVictim], s.sends && !s.refused ? 1 : 0) << "the message in flight";
        for (const auto& [id, times] : got)
            EXPECT_TRUE(times == 0 || id == kVictim || expected.count(id) != 0) << "message " << id << " from nowhere";
        EXPECT_LE(missing, s.sends || s.refused ? 0u : 1u) << "lost";
        const bool operated = s.sends ? got[kVictim] == 1 : missing == 1;
        EXPECT_TRUE(!finished || s.refused || operated) << "the call had returned";
        // Full is full.
        long filled = 0;
        while (filled <= kBudget / kLength && send(static_cast<std::uint64_t>(filled), 1 + filled % 2) == 0) ++filled;
        EXPECT_EQ(filled, kBudget / kLength);
        while (receive(0) >= 0) --filled;
        EXPECT_EQ(filled, 0);
        Audit audit = audit_queue(file_, slots_);
        EXPECT_TRUE(audit.complaints.empty()) << audit.text();
        return operated;
    }

    int id_ = -1, file_ = -1, slots_ = -1;
    muster::objects::QueueHeader* header_ = nullptr;
    std::vector<Child> sleepers_;
    Shared<Board> board_;
    bool helped_ = false;
    std::int64_t taken_ = -1;
};

TEST_P(EveryInstructionMsg, MayBeTheLast) {
    const State& s = GetParam();
    step_through(*this, {s.name, s.stride, !s.refused, sleepers() == 0 && !s.blocking});
}

INSTANTIATE_TEST_SUITE_P(States, EveryInstructionMsg, testing::ValuesIn(kStates), [](const auto& info) { return std::string(info.param.name); });

}  // namespace

#else
TEST(EveryInstructionMsg, MayBeTheLast) { GTEST_SKIP() << "single-stepping is written for x86-64 and the shared library"; }
#endif
