// Processes killed (SIGKILL) at random moments by the thousand, through the C door.
//
// Undo: processes take from several semaphores and give back, all with SEM_UNDO: alone, in vectors, by wait-for-zero, with
// time-outs, in threads that end, over exec. Proved: the living get on all the time; when all were killed a sleeper that waits
// for everything at once is let go by their deaths alone; every value is its first one, GETNCNT and GETZCNT are 0.
//
// Attachments: processes attach, detach, unmap parts, fork, execute programs. Proved: whenever they pause shm_nattch is the sum of
// what each knows that it has; when all were killed it is what the survivor has; segments marked for destruction are gone, files
// and all, and the others stay.
//
// MUSTER_KILLS_SECONDS: how long each takes (4); MUSTER_KILLS_SEED: another course of events.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>
#include "support/child.hpp"

#ifdef MUSTER_POSIX_LIBRARY

namespace {

using namespace muster::test;
using Ops = std::vector<sembuf>;

// The library's calls, not the C library's.
struct Library {
    decltype(&semget) sem_get;
    decltype(&semop) sem_op;
    decltype(&semtimedop) sem_timed_op;
    int (*sem_ctl)(int, int, int, ...);
    decltype(&shmget) shm_get;
    decltype(&shmat) attach;
    decltype(&shmdt) detach;
    decltype(&shmctl) shm_ctl;
    decltype(&munmap) unmap;
};

const Library& library() {
    static const Library loaded = [] {
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
        load(found.sem_get, "semget");
        load(found.sem_op, "semop");
        load(found.sem_timed_op, "semtimedop");
        load(found.sem_ctl, "semctl");
        load(found.shm_get, "shmget");
        load(found.attach, "shmat");
        load(found.detach, "shmdt");
        load(found.shm_ctl, "shmctl");
        load(found.unmap, "munmap");
        return found;
    }();
    return loaded;
}

// splitmix64
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() {
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    unsigned below(unsigned end) { return static_cast<unsigned>(next() % end); }
    bool once_in(unsigned times) { return below(times) == 0; }

private:
    std::uint64_t state_;
};

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

constexpr unsigned kWorkers = 10;
constexpr short U = SEM_UNDO;
const std::vector<unsigned short> kFirst = {3, 3, 2, 1, 0};  // the last one is a lock that waits for zero

struct Desk {
    std::atomic<std::uint64_t> done;
    std::atomic<int> error;
    std::atomic<int> paused;
    std::atomic<int> pieces[8];
};
struct Board {
    Desk desks[kWorkers];
    std::atomic<int> pause;
    std::atomic<int> witness;
};

// What a worker executes and starts anew as: "undo ID NUMBER AMOUNT ..." gives back, "attach SEED ID ..." attaches.
constexpr const char* kAnew = "MUSTER_KILLS_ANEW";
void start_anew(const std::string& text) {
    setenv(kAnew, text.c_str(), 1);
    execl("/proc/self/exe", "anew", nullptr);
    _exit(3);
}

std::vector<unsigned> numbers_in(const char* text) {
    std::vector<unsigned> numbers;
    for (char* end = nullptr; *text != 0; text = *end == 0 ? end : end + 1) numbers.push_back(static_cast<unsigned>(std::strtoul(text, &end, 10)));
    return numbers;
}

__attribute__((constructor)) void live_anew() {
    const char* text = std::getenv(kAnew);
    if (text == nullptr) return;
    if (std::strncmp(text, "undo ", 5) == 0) {
        const auto numbers = numbers_in(text + 5);
        Ops ops;
        for (std::size_t i = 1; i + 1 < numbers.size(); i += 2)
            ops.push_back({static_cast<unsigned short>(numbers[i]), static_cast<short>(numbers[i + 1]), U});
        _exit(library().sem_op(static_cast<int>(numbers[0]), ops.data(), ops.size()) == 0 ? 0 : 4);
    }
    const auto numbers = numbers_in(text + 7);
    Random random(numbers[0]);
    for (unsigned round = random.below(20); round != 0; --round) {
        const int id = static_cast<int>(numbers[1 + random.below(static_cast<unsigned>(numbers.size() - 1))]);
        void* at = library().attach(id, nullptr, 0);
        if (at == reinterpret_cast<void*>(-1)) _exit(errno == EINVAL || errno == EIDRM ? 0 : 5);
        if (random.once_in(2) && library().detach(at) != 0) _exit(6);
    }
    if (random.once_in(2)) _exit(0);
    kill(getpid(), SIGKILL);
}

struct OwnDomain {
    OwnDomain() {
        if (mkdtemp(path) == nullptr) std::abort();
        setenv("MUSTER_DOMAIN", path, 1);
    }
    ~OwnDomain() {
        if (getpid() == owner) std::filesystem::remove_all(path);
    }
    char path[32] = "/dev/shm/muster-kills-XXXXXX";
    const pid_t owner = getpid();
};

class KillsByTheThousand : public testing::Test {
protected:
    KillsByTheThousand() : random_(number_from("MUSTER_KILLS_SEED", 1)), seconds_(number_from("MUSTER_KILLS_SECONDS", 4)) {}
    void SetUp() override {
        // One domain for all: the process keeps to its first.
        static const OwnDomain made;
        domain_ = made.path;
        prctl(PR_SET_CHILD_SUBREAPER, 1);  // to wait for the children of the killed
        (void)library();
    }
    bool time_is_up() const { return std::chrono::steady_clock::now() - begun_ > std::chrono::seconds(seconds_); }

    // Kills a worker after a random while. False: one ended by itself and badly.
    template <class Start>
    bool kill_one(std::vector<Child>& workers, Start start) {
        usleep(random_.below(700));  // the random moment
        const unsigned which = random_.below(kWorkers);
        workers[which].kill(SIGKILL);
        if (!workers[which].ends()) return false;
        ++kills_;
        for (unsigned i = 0; i < kWorkers; ++i) {
            if (!workers[i].ended()) continue;
            const bool well = workers[i].killed() || workers[i].exited();
            EXPECT_TRUE(well) << "a worker ended with status " << workers[i].status() << ", errno " << board_->desks[i].error;
            if (!well) return false;
            workers[i] = start(i);
        }
        return true;
    }
    static void kill_all(std::vector<Child>& workers) {
        for (const Child& each : workers) each.kill(SIGKILL);
        for (Child& each : workers) EXPECT_TRUE(each.ends());
        workers.clear();
    }

    Shared<Board> board_;
    Random random_;
    std::uint64_t seconds_;
    std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
    std::string domain_;
    std::size_t kills_ = 0;
};

// ---- undo ----

// Takes and gives back for ever. Nobody holds anything while he waits for more, so nobody waits for ever.
class Borrower {
public:
    Borrower(int id, Board& board, Desk& desk, std::uint64_t seed) : id_(id), board_(board), desk_(desk), random_(seed) {}
    void work() {
        const unsigned manner = random_.below(6);
        for (;;) {
            if (board_.pause != 0) {
                desk_.paused = 1;
                eventually([&] { return board_.pause == 0; });
                desk_.paused = 0;
            }
            if (manner != 0) {
                borrow(manner == 1);
                continue;
            }
            pthread_t thread;  // each thread arms anew what its forerunner's end has marked
            const auto body = [](void* self) -> void* { return static_cast<Borrower*>(self)->borrow(false), nullptr; };
            if (pthread_create(&thread, nullptr, body, this) != 0) fail();
            pthread_join(thread, nullptr);
        }
    }

private:
    void fail() {
        desk_.error = errno;
        _exit(1);
    }
    void operate(Ops& ops) {
        while (library().sem_op(id_, ops.data(), ops.size()) != 0)
            if (errno != EINTR) fail();
    }
    void borrow(bool may_start_anew) {
        Ops take, give;
        if (random_.once_in(5)) {
            take = {{4, 0, 0}, {4, 1, U}};
            give = {{4, -1, U}};
        } else {
            const unsigned more = random_.below(3), first = random_.below(4);
            for (unsigned i = 0; i <= more; ++i) {
                const auto number = static_cast<unsigned short>((first + i) % 4);
                const auto amount = static_cast<short>(1 + random_.below(kFirst[number]));
                take.push_back({number, static_cast<short>(-amount), U});
                give.push_back({number, amount, U});
            }
        }
        if (random_.once_in(4)) {
            const timespec limit{0, static_cast<long>(random_.below(2'000'000))};
            if (library().sem_timed_op(id_, take.data(), take.size(), &limit) != 0) {
                if (errno != EAGAIN && errno != EINTR) fail();
                return;
            }
        } else {
            operate(take);
        }
        if (random_.once_in(3)) sched_yield();
        if (may_start_anew && give.front().sem_op > 0 && random_.once_in(20)) {
            std::string text = "undo " + std::to_string(id_);
            for (const sembuf& op : give) text += " " + std::to_string(op.sem_num) + " " + std::to_string(op.sem_op);
            start_anew(text);
        }
        if (random_.once_in(2)) {
            operate(give);
        } else {
            for (const sembuf& op : give) {
                Ops one = {op};
                operate(one);
            }
        }
        ++desk_.done;
    }
    int id_;
    Board& board_;
    Desk& desk_;
    Random random_;
};

// Value, GETNCNT and GETZCNT of each, for a message.
std::string holdings(int id) {
    std::string text;
    for (int number = 0; number < static_cast<int>(kFirst.size()); ++number)
        for (const int command : {GETVAL, GETNCNT, GETZCNT})
            text += (command == GETVAL ? "; " : " ") + std::to_string(library().sem_ctl(id, number, command));
    return text;
}

TEST_F(KillsByTheThousand, LeaveNoAdjustment) {
    const Library& call = library();
    const auto size = static_cast<int>(kFirst.size());
    const int id = call.sem_get(IPC_PRIVATE, size, 0600);
    ASSERT_GE(id, 0);
    auto first = kFirst;
    ASSERT_EQ(call.sem_ctl(id, 0, SETALL, first.data()), 0);
    const auto start = [&](unsigned i) {
        const std::uint64_t seed = random_.next();
        board_->desks[i].paused = 0;
        return Child([&, i] { Borrower(id, *board_, board_->desks[i], seed).work(); });
    };
    std::uint64_t done = 0;
    while (!time_is_up() && !HasFailure()) {
        std::vector<Child> workers;
        for (unsigned i = 0; i < kWorkers; ++i) workers.push_back(start(i));
        for (int kills = 0; kills < 200 && !HasFailure(); ++kills) {
            if (!kill_one(workers, start)) FAIL() << "after " << kills_ << " kills";
            if (kills % 50 != 49) continue;
            // Those that live come to the end of what they do, one after the other. (Who started anew ends.)
            board_->pause = 1;
            for (unsigned i = 0; i < kWorkers; ++i) {
                const bool gets_on = eventually([&] { return board_->desks[i].paused != 0 || workers[i].ended(); });
                ASSERT_TRUE(gets_on) << "worker " << i << " is stuck after " << kills_ << " kills" << holdings(id);
            }
            std::vector<unsigned short> now(kFirst.size());
            ASSERT_EQ(call.sem_ctl(id, 0, GETALL, now.data()), 0);
            EXPECT_EQ(now, kFirst) << "after " << kills_ << " kills";
            board_->pause = 0;
            for (unsigned i = 0; i < kWorkers; ++i)
                if (workers[i].ended()) workers[i] = start(i);
        }
        board_->witness = 0;
        Child witness([&] {
            Ops all = {{0, -3, U}, {1, -3, U}, {2, -2, U}, {3, -1, U}, {4, 0, 0}};
            board_->witness = 1;
            board_->witness = call.sem_op(id, all.data(), all.size()) == 0 ? 2 : -errno;
        });
        ASSERT_TRUE(eventually([&] { return board_->witness == 2 || (board_->witness == 1 && witness.asleep()); }));
        kills_ += workers.size();
        kill_all(workers);
        ASSERT_TRUE(eventually([&] { return board_->witness != 1; }))
            << "nobody holds anything, and a sleeper sleeps on after " << kills_ << " kills";
        EXPECT_EQ(board_->witness, 2);
        ASSERT_TRUE(witness.ends());
        std::vector<unsigned short> now(kFirst.size());
        ASSERT_EQ(call.sem_ctl(id, 0, GETALL, now.data()), 0);
        EXPECT_EQ(now, kFirst) << "after " << kills_ << " kills";
        for (int number = 0; number < size; ++number) {
            EXPECT_EQ(call.sem_ctl(id, number, GETNCNT), 0) << number;
            EXPECT_EQ(call.sem_ctl(id, number, GETZCNT), 0) << number;
        }
    }
    for (const Desk& desk : board_->desks) done += desk.done;
    std::printf("%zu kills among %llu loans\n", kills_, static_cast<unsigned long long>(done));
    EXPECT_EQ(call.sem_ctl(id, 0, IPC_RMID), 0);
}

// ---- attachments ----

constexpr unsigned kSegments = 4, kPages = 8, kBytes = kPages * 4096;

// Attaches, unmaps parts, detaches, forks; knows how many mappings of each segment it has.
class Attacher {
public:
    Attacher(const std::vector<int>& ids, Board& board, Desk& desk, std::uint64_t seed) : ids_(ids), board_(board), desk_(desk), random_(seed) {}
    void work() {
        for (;;) {
            act(true);
            ++desk_.done;
            if (board_.pause == 0) continue;
            for (unsigned i = 0; i < kSegments; ++i) desk_.pieces[i] = pieces_of(i);
            desk_.paused = 1;
            eventually([&] { return board_.pause == 0; });
            desk_.paused = 0;
        }
    }

private:
    struct Place {
        unsigned segment;
        char* at;
        unsigned pages;  // a bit for each that is mapped
        int pieces() const { return __builtin_popcount(pages & ~(pages << 1)); }
    };
    void fail(int code) {
        desk_.error = errno;
        _exit(code);
    }
    int pieces_of(unsigned segment) const {
        int sum = 0;
        for (const Place& place : places_)
            if (place.segment == segment) sum += place.pieces();
        return sum;
    }
    void act(bool may_fork) {
        const unsigned what = random_.below(may_fork ? 12 : 10);
        if (what < 4) {
            if (places_.size() >= 12) return;
            const unsigned segment = random_.below(kSegments);
            void* at = library().attach(ids_[segment], nullptr, random_.once_in(3) ? SHM_RDONLY : 0);
            if (at == reinterpret_cast<void*>(-1)) fail(1);
            // Where a part of another was, it could not be told from that one.
            auto* start = static_cast<char*>(at);
            const auto meets = [&](const Place& other) { return start < other.at + kBytes && start + kBytes > other.at; };
            const bool confused = std::any_of(places_.begin(), places_.end(), meets);
            if (!confused) places_.push_back({segment, start, (1u << kPages) - 1});
            else if (library().detach(at) != 0) fail(11);
        } else if (what >= 10) {
            branch();
        } else if (!places_.empty()) {
            const unsigned which = random_.below(static_cast<unsigned>(places_.size()));
            Place& place = places_[which];
            if (what < 7) {
                if (library().detach(place.at) != 0) fail(2);
                place.pages = 0;
            } else {
                unsigned page = random_.below(kPages), count = 1;
                while ((place.pages >> page & 1) == 0) page = (page + 1) % kPages;
                while (!random_.once_in(3) && (place.pages >> (page + count) & 1) != 0) ++count;
                if (library().unmap(place.at + page * 4096, count * 4096) != 0) fail(7);
                place.pages &= ~(((1u << count) - 1) << page);
            }
            if (place.pages == 0) {
                place = places_.back();
                places_.pop_back();
            }
        }
    }
    void branch() {
        const std::uint64_t seed = random_.next();
        const pid_t self = getpid();
        const pid_t child = fork();
        if (child < 0) fail(8);
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != self) _exit(0);
            random_ = Random(seed);
            for (unsigned acts = random_.below(6); acts != 0; --acts) act(false);
            switch (random_.below(4)) {
                case 0: _exit(0);
                case 1: kill(getpid(), SIGKILL); break;
                case 2: std::exit(0);  // NOLINT(concurrency-mt-unsafe): the library's last words
                default: {
                    std::string text = "attach " + std::to_string(random_.below(1'000'000));
                    for (const int id : ids_) text += " " + std::to_string(id);
                    start_anew(text);
                }
            }
        }
        if (random_.once_in(3)) kill(child, SIGKILL);
        int status = 0;
        if (waitpid(child, &status, 0) != child) fail(9);
        const bool well = (WIFEXITED(status) && WEXITSTATUS(status) == 0) || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        errno = status;
        if (!well) fail(10);
    }
    const std::vector<int>& ids_;
    Board& board_;
    Desk& desk_;
    Random random_;
    std::vector<Place> places_;
};

class AttachmentKills : public KillsByTheThousand {
protected:
    // -1 the segment is gone.
    static long attachments(int id) {
        shmid_ds status{};
        return library().shm_ctl(id, IPC_STAT, &status) == 0 ? static_cast<long>(status.shm_nattch) : -1;
    }
    bool has_files(int id) const {
        const std::string name = domain_ + "/sysv/shm-" + std::to_string(id % 32768);
        return std::filesystem::exists(name) || std::filesystem::exists(name + ".data");
    }
    // All that the killed left behind: their children.
    static bool reap_orphans() {
        return eventually([] {
            while (waitpid(-1, nullptr, WNOHANG) > 0) {
            }
            return waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD;
        });
    }
};

TEST_F(AttachmentKills, LeaveExactCounts) {
    const Library& call = library();
    unsigned rounds = 0, pauses = 0;
    for (; !time_is_up() && !HasFailure(); ++rounds) {
        std::vector<int> ids;
        std::vector<void*> own;
        for (unsigned i = 0; i < kSegments; ++i) {
            ids.push_back(call.shm_get(IPC_PRIVATE, kBytes, 0600));
            ASSERT_GE(ids.back(), 0);
            own.push_back(call.attach(ids.back(), nullptr, 0));
            ASSERT_NE(own.back(), reinterpret_cast<void*>(-1));
        }
        // Half of them are marked, and live on for those who know the number.
        for (unsigned i = 0; i < kSegments; i += 2) ASSERT_EQ(call.shm_ctl(ids[i], IPC_RMID, nullptr), 0);
        const auto start = [&](unsigned i) {
            const std::uint64_t seed = random_.next();
            board_->desks[i].paused = 0;
            return Child([&, i] { Attacher(ids, *board_, board_->desks[i], seed).work(); });
        };
        std::vector<Child> workers;
        for (unsigned i = 0; i < kWorkers; ++i) workers.push_back(start(i));
        for (int kills = 0; kills < 100 && !HasFailure(); ++kills) {
            if (!kill_one(workers, start)) FAIL() << "after " << kills_ << " kills";
            if (kills % 20 != 19) continue;
            // A worker's children inherit what this process has, as the workers do: nobody but workers is left when they pause.
            board_->pause = 1;
            const auto is_paused = [](const Desk& desk) { return desk.paused != 0; };
            ASSERT_TRUE(eventually([&] { return std::all_of(board_->desks, board_->desks + kWorkers, is_paused); }))
                << "after " << kills_ << " kills";
            std::vector<long> expected(kSegments, 1 + kWorkers);
            for (const Desk& desk : board_->desks)
                for (unsigned i = 0; i < kSegments; ++i) expected[i] += desk.pieces[i];
            std::vector<long> counted(kSegments);
            const auto exact = [&] {
                for (unsigned i = 0; i < kSegments; ++i) counted[i] = attachments(ids[i]);
                return counted == expected;
            };
            // Children of the killed may be ending still.
            EXPECT_TRUE(eventually(exact, std::chrono::seconds(5))) << testing::PrintToString(counted) << " for " << testing::PrintToString(expected);
            ++pauses;
            board_->pause = 0;
        }
        kills_ += workers.size();
        kill_all(workers);
        ASSERT_TRUE(reap_orphans());
        for (unsigned i = 0; i < kSegments; ++i) {
            EXPECT_EQ(attachments(ids[i]), 1) << "after " << kills_ << " kills";
            if (rounds % 2 != 0 || i % 2 != 0) {
                EXPECT_EQ(call.detach(own[i]), 0);
            } else {  // by the death of the last one, which nobody sees
                Child last([&] { kill(getpid(), SIGKILL); });
                EXPECT_TRUE(last.ends());
                EXPECT_EQ(call.unmap(own[i], kBytes), 0);
            }
            EXPECT_EQ(attachments(ids[i]), i % 2 == 0 ? -1 : 0);
            EXPECT_EQ(has_files(ids[i]), i % 2 != 0);
            if (i % 2 != 0) {
                EXPECT_EQ(call.shm_ctl(ids[i], IPC_RMID, nullptr), 0);
            }
            EXPECT_FALSE(has_files(ids[i]));
        }
    }
    std::printf("%zu kills in %u rounds, counted exactly %u times\n", kills_, rounds, pauses);
}

// Marked segments whose last user was killed: nobody detached, nobody has them; the next shmget clears them away.
TEST_F(AttachmentKills, LeaveNoMarkedSegment) {
    const Library& call = library();
    for (int round = 0; round < 40; ++round) {
        Shared<std::atomic<int>> id;
        *id = -1;
        Child last([&] {
            const int made = call.shm_get(IPC_PRIVATE, kBytes, 0600);
            void* at = call.attach(made, nullptr, 0);
            call.shm_ctl(made, IPC_RMID, nullptr);
            if (round % 2 != 0) call.unmap(static_cast<char*>(at) + 4096, 4096);
            *id = made;
            for (;;) pause();
        });
        ASSERT_TRUE(eventually([&] { return *id >= 0; }));
        EXPECT_EQ(attachments(*id), round % 2 != 0 ? 2 : 1);
        EXPECT_TRUE(has_files(*id));
        last.kill(SIGKILL);
        ASSERT_TRUE(last.ends());
        if (round % 3 == 0) {
            EXPECT_EQ(attachments(*id), -1);
        } else {
            const int next = call.shm_get(IPC_PRIVATE, 4096, 0600);
            ASSERT_GE(next, 0);
            EXPECT_EQ(call.shm_ctl(next, IPC_RMID, nullptr), 0);
        }
        EXPECT_FALSE(has_files(*id)) << round;
    }
}

}  // namespace

#else
TEST(KillsByTheThousand, LeaveNoAdjustment) { GTEST_SKIP() << "needs the shared library"; }
#endif
