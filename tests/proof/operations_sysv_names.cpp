// Operations of System V keys: msgget, semget, shmget that make an object or find it. True after each: a key leads to a whole object or
// to none, an object that nobody has a name for is in the list, or was never made; what was half made goes away.
#include <gtest/gtest.h>
#include <algorithm>
#include "muster/domain.hpp"
#include "operations.hpp"

namespace muster::test {
namespace {

enum class Act { none, make_private, create, create_exclusively, open, remove };

struct State {
    const char* name;
    ObjectKind kind;
    Act act;
    bool there;  // an object with the key
    bool refused = false;
    Act earlier = Act::none;  // in the middle of this somebody died just before
};
constexpr State kStates[] = {
    {"msgget/private", ObjectKind::typed_queue, Act::make_private, false},
    {"msgget/create", ObjectKind::typed_queue, Act::create, false},
    {"msgget/create or open", ObjectKind::typed_queue, Act::create, true},
    {"msgget/exists", ObjectKind::typed_queue, Act::create_exclusively, true, true},
    {"msgget/open", ObjectKind::typed_queue, Act::open, true},
    {"msgget/none", ObjectKind::typed_queue, Act::open, false, true},
    {"semget/private", ObjectKind::semaphore_set, Act::make_private, false},
    {"semget/create", ObjectKind::semaphore_set, Act::create, false},
    {"semget/open", ObjectKind::semaphore_set, Act::open, true},
    {"shmget/private", ObjectKind::segment, Act::make_private, false},
    {"shmget/create", ObjectKind::segment, Act::create, false},
    {"shmget/open", ObjectKind::segment, Act::open, true},
    {"msgget/private, making died", ObjectKind::typed_queue, Act::make_private, false, false, Act::make_private},
    {"msgget/create, making died", ObjectKind::typed_queue, Act::create, false, false, Act::create},
    {"msgget/create, removal died", ObjectKind::typed_queue, Act::create, true, false, Act::remove},
    {"semget/private, making died", ObjectKind::semaphore_set, Act::make_private, false, false, Act::make_private},
    {"semget/create, making died", ObjectKind::semaphore_set, Act::create, false, false, Act::create},
    {"semget/create, removal died", ObjectKind::semaphore_set, Act::create, true, false, Act::remove},
    {"shmget/private, making died", ObjectKind::segment, Act::make_private, false, false, Act::make_private},
    {"shmget/create, making died", ObjectKind::segment, Act::create, false, false, Act::create},
    {"shmget/create, removal died", ObjectKind::segment, Act::create, true, false, Act::remove},
};
constexpr key_t kKey = 0x6d757374;
constexpr int kSemaphores = 3;
constexpr std::size_t kBytes = 8192;

class SysvNameOperation : public Operation {
public:
    explicit SysvNameOperation(const State& state) : s_(state) {
        refused_ = s_.refused;
        has_earlier_ = s_.earlier != Act::none;
        varies_ = has_earlier_ || (!s_.there && !s_.refused);  // which index is free is another each time
        one_commits_ = !s_.there && !s_.refused && !has_earlier_;
    }
    // No lock is held for all of the way; any place may leave something half made.
    bool held() override { return true; }

private:
    int get(key_t key, int flags) const {
        switch (s_.kind) {
            case ObjectKind::typed_queue: return library().msgget(key, flags | 0600);
            case ObjectKind::semaphore_set: return library().semget(key, (flags & IPC_CREAT) != 0 ? kSemaphores : 0, flags | 0600);
            default: return library().shmget(key, (flags & IPC_CREAT) != 0 ? kBytes : 0, flags | 0600);
        }
    }
    bool remove(int id) const {
        switch (s_.kind) {
            case ObjectKind::typed_queue: return library().msgctl(id, IPC_RMID, nullptr) == 0;
            case ObjectKind::semaphore_set: return library().semctl(id, 0, IPC_RMID) == 0;
            default: return library().shmctl(id, IPC_RMID, nullptr) == 0;
        }
    }
    bool make() override {  // directories, limits and hints are there
        const int first = get(kKey, IPC_CREAT | IPC_EXCL);
        return first >= 0 && usable(first) && remove(first);
    }
    void drop() override {
        const int id = get(kKey, 0);
        if (id >= 0) remove(id);
    }
    bool set_state() override {
        drop();
        return !s_.there || get(kKey, IPC_CREAT | IPC_EXCL) >= 0;
    }
    void before_call(int victim) override {
        if (victim == 1 && s_.earlier == Act::remove) there_ = get(kKey, 0);
    }
    int call(int victim) override {
        switch (victim == 0 ? s_.act : s_.earlier) {
            case Act::make_private: return get(IPC_PRIVATE, IPC_CREAT) >= 0 ? 0 : errno;
            case Act::create: return get(kKey, IPC_CREAT) >= 0 ? 0 : errno;
            case Act::create_exclusively: return get(kKey, IPC_CREAT | IPC_EXCL) >= 0 ? 0 : errno;
            case Act::open: return get(kKey, 0) >= 0 ? 0 : errno;
            case Act::remove: return remove(there_) ? 0 : errno;
            case Act::none: break;
        }
        return 0;
    }

    bool usable(int id) const {
        if (s_.kind == ObjectKind::typed_queue) {
            struct {
                long type;
                char text[8];
            } letter{1, "letter"};
            return library().msgsnd(id, &letter, 7, IPC_NOWAIT) == 0 && library().msgrcv(id, &letter, 8, 0, IPC_NOWAIT) == 7 &&
                   library().msgrcv(id, &letter, 8, 0, IPC_NOWAIT) == -1 && errno == ENOMSG;
        }
        if (s_.kind == ObjectKind::semaphore_set) {
            unsigned short values[kSemaphores + 1] = {7, 7, 7, 7};
            sembuf post{kSemaphores - 1, 1, IPC_NOWAIT}, take{kSemaphores - 1, -1, IPC_NOWAIT};
            return library().semctl(id, 0, GETALL, values) == 0 && values[0] == 0 && values[kSemaphores - 1] == 0 && values[kSemaphores] == 7 &&
                   library().semop(id, &post, 1) == 0 && library().semop(id, &take, 1) == 0;
        }
        shmid_ds status{};
        return library().shmctl(id, IPC_STAT, &status) == 0 && status.shm_segsz == kBytes && status.shm_nattch == 0;
    }

    Found look(End) override {
        const int by_key = timed([&] { return get(kKey, 0); });
        const int error = by_key < 0 ? errno : 0;
        EXPECT_TRUE(error == 0 || error == ENOENT) << "the key leads to errno " << error;
        auto domain = Domain::open(domain_path());
        const auto listed = domain ? domain->list() : Result<std::vector<ObjectInfo>>(std::vector<ObjectInfo>());
        std::vector<int> found;
        for (const ObjectInfo& each : *listed) {
            if (each.kind != s_.kind) continue;
            EXPECT_EQ(each.problem, "") << each.path;
            found.push_back(each.id);
        }
        const bool made = !found.empty();
        EXPECT_LE(found.size(), s_.earlier == Act::make_private ? 2u : 1u);
        EXPECT_EQ(by_key >= 0, made && s_.act != Act::make_private);
        for (const int id : found) {
            EXPECT_TRUE(timed([&] { return usable(id); }));
            EXPECT_TRUE(remove(id));
        }
        // The next one makes it.
        const int next = timed([&] { return get(kKey, IPC_CREAT | IPC_EXCL); });
        EXPECT_GE(next, 0) << errno;
        EXPECT_TRUE(usable(next));
        EXPECT_TRUE(remove(next));
        if (has_earlier_) return made ? Found::either : Found::undone;
        if (s_.there || s_.refused) {
            EXPECT_EQ(made, s_.there);
            return Found::either;
        }
        return made ? Found::done : Found::undone;
    }

    const State s_;
    int there_ = -1;
};

}  // namespace

void add_sysv_name_operations(OperationTable& table) {
    for (const State& state : kStates) {
        const char* kind = state.kind == ObjectKind::typed_queue ? "msg" : state.kind == ObjectKind::semaphore_set ? "sem" : "shm";
        table.add(kind, state.name, [&state] { return std::make_unique<SysvNameOperation>(state); });
    }
}

}  // namespace muster::test
