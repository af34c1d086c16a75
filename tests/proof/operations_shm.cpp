// Operations of System V segments that exist: attaching, detaching, changing, removing. True after each: shm_nattch is the number of
// attachments in living processes; the bytes are what they were; a segment removed while attached stays until its last user is gone,
// one removed unattached is gone at once.
#include <gtest/gtest.h>
#include <cstring>
#include "objects/segment_layout.hpp"
#include "operations.hpp"

namespace muster::test {
namespace {

enum class Act { none, attach, attach_twice, attach_read_only, detach, stat, set_mode, remove };

struct State {
    const char* name;
    Act act;
    int holders = 0;  // others that have it attached
    Act earlier = Act::none;
    bool killed_holder = false;  // somebody who had it attached was killed just before
};
constexpr State kStates[] = {
    {"shmat/nobody about", Act::attach},
    {"shmat/attached elsewhere", Act::attach, 2},
    {"shmat/once more", Act::attach_twice, 1},
    {"shmat/read-only", Act::attach_read_only, 1},
    {"shmat/a user was killed", Act::attach, 1, Act::none, true},
    {"shmat/attaching died", Act::attach, 1, Act::attach},
    {"shmdt/the last", Act::detach},
    {"shmdt/attached elsewhere", Act::detach, 2},
    {"shmdt/detaching died", Act::detach, 1, Act::detach},
    {"shmctl IPC_STAT/a user was killed", Act::stat, 1, Act::none, true},
    {"shmctl IPC_STAT/attaching died", Act::stat, 1, Act::attach},
    {"shmctl IPC_SET/nobody about", Act::set_mode},
    {"shmctl IPC_SET/attached", Act::set_mode, 2},
    {"shmctl IPC_RMID/nobody about", Act::remove},
    {"shmctl IPC_RMID/attached", Act::remove, 2},
    {"shmctl IPC_RMID/a user was killed", Act::remove, 0, Act::none, true},
    {"shmctl IPC_RMID/attaching died", Act::remove, 0, Act::attach},
    {"shmctl IPC_RMID/IPC_RMID died", Act::remove, 0, Act::remove},
    {"shmctl IPC_RMID/IPC_RMID died, attached", Act::remove, 2, Act::remove},
    {"shmat/IPC_RMID died", Act::attach, 0, Act::remove},
    {"shmat/IPC_RMID died, attached", Act::attach, 1, Act::remove},
    {"shmdt/IPC_RMID died", Act::detach, 1, Act::remove},
};
constexpr std::size_t kBytes = 8192;

class ShmOperation : public Operation {
public:
    explicit ShmOperation(const State& state) : s_(state) {
        has_earlier_ = s_.earlier != Act::none;
        varies_ = s_.holders != 0 || has_earlier_ || s_.killed_holder;  // records are where others left room
        one_commits_ = !varies_ && s_.act == Act::remove;
    }
    bool held() override { return control_->lock.load_acquire() != 0; }

private:
    bool make() override {
        id_ = library().shmget(IPC_PRIVATE, kBytes, 0600);
        if (id_ < 0) return false;
        const int file = open((domain_path() + "/sysv/shm-" + std::to_string(id_ % 32768)).c_str(), O_RDONLY | O_CLOEXEC);
        if (file < 0) return false;
        control_ = static_cast<objects::SegmentControl*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file, 0));
        close(file);
        // Written and read by children: what this process has attached its children would have, too.
        return in_child([&] {
            void* at = library().shmat(id_, nullptr, 0);
            if (at == reinterpret_cast<void*>(-1)) return 1;
            std::memset(at, 0x5a, kBytes);
            return library().shmdt(at) == 0 ? 0 : 1;
        });
    }
    void drop() override {
        munmap(control_, 4096);
        library().shmctl(id_, IPC_RMID, nullptr);
    }
    template <class Body>
    bool in_child(Body body) {
        Child child([&] { _exit(body()); });
        return child.ends() && child.exited(0);
    }
    bool start_holder() {
        Shared<std::atomic<int>> ready;
        holders_.emplace_back([&] {
            *ready = library().shmat(id_, nullptr, 0) != reinterpret_cast<void*>(-1) ? 1 : 2;
            for (;;) pause();
        });
        return eventually([&] { return *ready == 1; });
    }

    bool set_state() override {
        while (holders_.size() < static_cast<std::size_t>(s_.holders))
            if (!start_holder()) return false;
        if (s_.killed_holder) {
            if (!start_holder()) return false;
            holders_.pop_back();
        }
        return s_.act != Act::set_mode || set_mode(0600) == 0;
    }
    int set_mode(unsigned short mode) const {
        shmid_ds wanted{};
        wanted.shm_perm.uid = geteuid();
        wanted.shm_perm.gid = getegid();
        wanted.shm_perm.mode = mode;
        return library().shmctl(id_, IPC_SET, &wanted) == 0 ? 0 : errno;
    }

    void before_call(int victim) override {
        const Act act = victim == 0 ? s_.act : s_.earlier;
        if (act == Act::detach || act == Act::attach_twice) at_ = library().shmat(id_, nullptr, 0);
    }
    int call(int victim) override {
        switch (victim == 0 ? s_.act : s_.earlier) {
            case Act::attach:
            case Act::attach_twice: return library().shmat(id_, nullptr, 0) != reinterpret_cast<void*>(-1) ? 0 : errno;
            case Act::attach_read_only: return library().shmat(id_, nullptr, SHM_RDONLY) != reinterpret_cast<void*>(-1) ? 0 : errno;
            case Act::detach: return library().shmdt(at_) == 0 ? 0 : errno;
            case Act::stat: {
                shmid_ds status{};
                return library().shmctl(id_, IPC_STAT, &status) == 0 ? 0 : errno;
            }
            case Act::set_mode: return set_mode(0640);
            case Act::remove: return library().shmctl(id_, IPC_RMID, nullptr) == 0 ? 0 : errno;
            case Act::none: break;
        }
        return 0;
    }

    // Somebody attaches it, finds its bytes, and detaches it again.
    bool whole() {
        return timed([&] {
            return in_child([&] {
                const void* at = library().shmat(id_, nullptr, SHM_RDONLY);
                if (at == reinterpret_cast<void*>(-1)) return 1;
                for (std::size_t i = 0; i < kBytes; ++i)
                    if (static_cast<const unsigned char*>(at)[i] != 0x5a) return 2;
                return library().shmdt(at) == 0 ? 0 : 3;
            });
        });
    }

    Found look(End) override {
        shmid_ds status{};
        const int error = timed([&] { return library().shmctl(id_, IPC_STAT, &status); }) == 0 ? 0 : errno;
        const bool removes = s_.act == Act::remove || s_.earlier == Act::remove;
        if (removes && error != 0) {
            EXPECT_TRUE(error == EINVAL || error == EIDRM) << error;
            EXPECT_EQ(s_.holders, 0) << "gone, and somebody has it attached";
            EXPECT_FALSE(whole());
            return again();
        }
        EXPECT_EQ(error, 0);
        EXPECT_EQ(status.shm_nattch, static_cast<shmatt_t>(s_.holders));
        EXPECT_EQ(status.shm_segsz, kBytes);
        EXPECT_TRUE(whole());
        if (removes && (status.shm_perm.mode & SHM_DEST) != 0) {
            EXPECT_NE(s_.holders, 0) << "marked, and nobody has it attached";
            holders_.clear();
            EXPECT_NE(library().shmctl(id_, IPC_STAT, &status), 0) << "its last user is gone";
            return again();
        }
        EXPECT_EQ(library().shmctl(id_, IPC_STAT, &status), 0);
        EXPECT_EQ(status.shm_nattch, static_cast<shmatt_t>(s_.holders));
        if (s_.act == Act::remove) return Found::undone;
        if (s_.act != Act::set_mode) return Found::either;
        EXPECT_TRUE((status.shm_perm.mode & 0777) == 0600 || (status.shm_perm.mode & 0777) == 0640);
        return (status.shm_perm.mode & 0777) == 0640 ? Found::done : Found::undone;
    }
    Found again() {
        munmap(control_, 4096);
        EXPECT_TRUE(make());
        return s_.act == Act::remove && s_.earlier != Act::remove ? Found::done : Found::either;
    }

    const State s_;
    int id_ = -1;
    objects::SegmentControl* control_ = nullptr;
    std::vector<Child> holders_;
    void* at_ = nullptr;
};

}  // namespace

void add_shm_operations(OperationTable& table) {
    for (const State& state : kStates) table.add("shm", state.name, [&state] { return std::make_unique<ShmOperation>(state); });
}

}  // namespace muster::test
