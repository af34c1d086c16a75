// Operations of names of POSIX message queues: making, opening, removing. True after each: a name leads to a whole queue or to
// nothing; a queue that was made holds exactly what it was made for; one whose name is gone works on for whoever has it open.
#include <gtest/gtest.h>
#include "operations.hpp"

namespace muster::test {
namespace {

enum class Act { create, create_or_open, create_exclusively, open, unlink, close };

struct State {
    const char* name;
    Act act;
    bool there;          // a queue of that name
    long queued = 0;     // messages in it
    int receivers = 0;   // asleep in it
    bool refused = false;
};
constexpr State kStates[] = {
    {"mq_open/create", Act::create, false},
    {"mq_open/create or open", Act::create_or_open, true, 2},
    {"mq_open/exists", Act::create_exclusively, true, 0, 0, true},
    {"mq_open/open", Act::open, true, 2},
    {"mq_open/none", Act::open, false, 0, 0, true},
    {"mq_unlink/empty", Act::unlink, true},
    {"mq_unlink/full", Act::unlink, true, 3},
    {"mq_unlink/sleeping receiver", Act::unlink, true, 0, 1},
    {"mq_unlink/none", Act::unlink, false, 0, 0, true},
    {"mq_close/the last", Act::close, false},
};
constexpr long kMessages = 3, kBytes = 64;

class MqNameOperation : public Operation {
public:
    explicit MqNameOperation(const State& state) : s_(state) {
        refused_ = s_.refused;
        varies_ = s_.receivers != 0;
        one_commits_ = s_.act == Act::create || (s_.act == Act::unlink && s_.there);
    }

private:
    bool make() override {  // the directory is there
        const mqd_t first = create("/first");
        return first >= 0 && library().mq_close(first) == 0 && library().mq_unlink("/first") == 0;
    }
    void drop() override {
        library().mq_unlink("/made");
        close_all();
    }
    static mqd_t create(const char* name, int flags = O_EXCL) {
        mq_attr attributes{};
        attributes.mq_maxmsg = kMessages;
        attributes.mq_msgsize = kBytes;
        return library().mq_open(name, O_CREAT | O_RDWR | O_NONBLOCK | flags, 0600, &attributes);
    }
    void close_all() {
        if (ours_ >= 0) library().mq_close(ours_);
        ours_ = -1;
    }

    bool set_state() override {
        library().mq_unlink("/made");
        close_all();
        sleepers_.clear();
        if (!s_.there) return true;
        ours_ = create("/made");
        for (long i = 0; i < s_.queued; ++i)
            if (library().mq_send(ours_, "one", 3, 0) != 0) return false;
        for (int i = 0; i < s_.receivers; ++i) {
            board_->sleepers[i].done = 0;
            sleepers_.emplace_back([&] {
                const mqd_t own = library().mq_open("/made", O_RDONLY);
                char text[kBytes];
                board_->sleepers[i].error = library().mq_receive(own, text, sizeof text, nullptr) == 3 ? 0 : 1;
                board_->sleepers[i].done = 1;
            });
            if (!eventually([&] { return sleepers_.back().asleep(); })) return false;
        }
        return ours_ >= 0;
    }
    void before_call(int) override {
        if (s_.act != Act::close) return;
        own_ = create("/made");
        (void)library().mq_unlink("/made");
    }
    int call(int) override {
        switch (s_.act) {
            case Act::create:
            case Act::create_exclusively: return create("/made") >= 0 ? 0 : errno;
            case Act::create_or_open: return create("/made", 0) >= 0 ? 0 : errno;
            case Act::open: return library().mq_open("/made", O_RDWR) >= 0 ? 0 : errno;
            case Act::unlink: return library().mq_unlink("/made") == 0 ? 0 : errno;
            case Act::close: return library().mq_close(own_) == 0 ? 0 : errno;
        }
        return 0;
    }

    // Takes exactly so many messages more.
    void fill(mqd_t queue, long there) {
        long filled = there;
        while (filled <= kMessages && timed([&] { return library().mq_send(queue, "two", 3, 0); }) == 0) ++filled;
        EXPECT_EQ(filled, kMessages);
        mq_attr attributes{};
        EXPECT_EQ(library().mq_getattr(queue, &attributes), 0);
        EXPECT_EQ(attributes.mq_curmsgs, kMessages);
        EXPECT_EQ(attributes.mq_maxmsg, kMessages);
        EXPECT_EQ(attributes.mq_msgsize, kBytes);
        char text[kBytes];
        while (library().mq_receive(queue, text, sizeof text, nullptr) >= 0) --filled;
        EXPECT_EQ(filled, 0);
    }

    Found look(End) override {
        if (s_.there && !sleepers_.empty()) {
            EXPECT_EQ(timed([&] { return library().mq_send(ours_, "one", 3, 0); }), 0);
            const auto gone = [&] { return board_->sleepers[0].done != 0; };
            if (!timed([&] { return eventually(gone); })) return give_up("a receiver sleeps beside a message");
            EXPECT_EQ(board_->sleepers[0].error, 0);
            EXPECT_TRUE(sleepers_[0].ends());
        }
        const mqd_t found = timed([&] { return library().mq_open("/made", O_RDWR | O_NONBLOCK); });
        const int error = found < 0 ? errno : 0;
        EXPECT_TRUE(error == 0 || error == ENOENT) << "the name leads to errno " << error;
        if (s_.there) fill(ours_, s_.queued);
        if (found >= 0) {
            fill(found, 0);
            EXPECT_EQ(library().mq_close(found), 0);
            EXPECT_EQ(library().mq_unlink("/made"), 0);
        }
        close_all();
        if (s_.act == Act::create) return found >= 0 ? Found::done : Found::undone;
        if (s_.act == Act::unlink && s_.there) return found < 0 ? Found::done : Found::undone;
        EXPECT_EQ(found >= 0, s_.there);
        return Found::either;
    }

    const State s_;
    mqd_t ours_ = -1, own_ = -1;
    std::vector<Child> sleepers_;
};

}  // namespace

void add_mq_name_operations(OperationTable& table) {
    for (const State& state : kStates) table.add("mq", state.name, [&state] { return std::make_unique<MqNameOperation>(state); });
}

}  // namespace muster::test
