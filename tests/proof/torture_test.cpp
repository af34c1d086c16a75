// Processes and threads ended at random moments by the ten thousand, in a crowd that uses objects of every kind through the C door.
//
// Tortured are eight queues of both kinds and several geometries (messages up to 160 000 bytes), a semaphore set used with undo,
// segments attached, cut up and inherited, a named semaphore, and names of all kinds made and removed. Processes are killed, alone
// and by twos, stopped and continued, stopped and killed, interrupted by a handler; they execute other programs; their threads end
// or are cancelled, asleep or not; their children are killed.
//
// Proved. A send that returned is received exactly once, one that did not at most once, one that was refused never. A promised message
// that nobody received lies whole in the buffer of a receiver that died inside its call: each of the dead takes one at most, and none
// that had not reached it. The order of each sender, priority and type holds: strictly where no receiver is touched and where
// the rest is drained, elsewhere but for messages that were put back. Nobody sleeps beside what is his. Undo restores every
// value, and lets go by itself who waits for it; attachments are counted exactly. After one gc nothing is found by gc or
// fsck, every slot is free, memory is given back, and the files are those of the beginning.
#include <gtest/gtest.h>
#include <chrono>
#include "support/proof.hpp"

#ifdef MUSTER_POSIX_LIBRARY
#include "torture_crowd.hpp"
#include "torture_library.hpp"

namespace {

using namespace muster::test;
using namespace muster::test::torture;

class Torture : public testing::Test {
protected:
    // One domain for all: the process keeps to its first.
    static Scene& scene() {
        static Scene made;
        return made;
    }

    // So many kills of so many processes, in rounds that each begin and end with nobody.
    void torture(const char* part, const std::vector<Trade>& trades, std::uint64_t kills) {
        const auto begun = std::chrono::steady_clock::now();
        Board& board = scene().board();
        const Counts before = counts();
        Deeds done;
        const auto kills_now = [&](const Crowd* crowd) { return done.kills + (crowd != nullptr ? crowd->deeds().kills : 0); };
        unsigned round = 0;
        for (; kills_now(nullptr) < kills && !HasFailure(); ++round) {
            scene().begin_round();
            Crowd crowd(scene(), trades, proof_seed() * 0x10001 + round);
            const auto where = [&] {
                return std::string(part) + ", round " + std::to_string(round) + ", after " + std::to_string(kills_now(&crowd)) +
                       " kills; again: MUSTER_PROOF_SEED=" + std::to_string(proof_seed()) + (long_form() ? " MUSTER_PROOF=long" : "") +
                       " proof_torture_test --gtest_filter=Torture." + testing::UnitTest::GetInstance()->current_test_info()->name();
            };
            for (unsigned deed = 0; deed < 200; ++deed) {
                ASSERT_EQ(crowd.act(), "") << where();
                if (deed % 50 == 49) {
                    ASSERT_EQ(crowd.rest(), "") << where();
                }
            }
            Child witness = wait_for_everything();
            ASSERT_TRUE(eventually([&] { return board.witness == 2 || (board.witness == 1 && witness.asleep()); }));
            ASSERT_EQ(crowd.kill_all(&witness), "") << where();
            ASSERT_TRUE(eventually([&] { return board.witness != 1; })) << "nobody holds anything, and a sleeper sleeps on; " << where();
            ASSERT_EQ(board.witness, 2) << where();
            ASSERT_TRUE(witness.ends());
            ASSERT_EQ(scene().clean_up(), "") << where();
            ASSERT_EQ(scene().nobody_waits(), "") << where();
            ASSERT_EQ(scene().drain(), "") << where();
            ASSERT_EQ(scene().memory_is_back(), "") << where();
            ASSERT_EQ(scene().tokens_are_exact(), "") << where();
            ASSERT_EQ(scene().leave_segments(round % 2 == 0), "") << where();
            ASSERT_EQ(scene().names_are_back(), "") << where();
            done.kills += crowd.deeds().kills;
            done.stops += crowd.deeds().stops;
            done.signals += crowd.deeds().signals;
            done.rests += crowd.deeds().rests;
        }
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun;
        report(part, done, before, round, seconds.count());
    }

    // Whether anybody died or not: one waits for all that can be had, and for the lock, and says 2 when it came.
    static Child wait_for_everything() {
        scene().board().witness = 0;
        return Child([] {
            std::vector<sembuf> all = {{0, -3, SEM_UNDO}, {1, -3, SEM_UNDO}, {2, -2, SEM_UNDO}, {3, -1, SEM_UNDO}, {4, 0, 0}};
            Board& board = scene().board();
            board.witness = 1;
            board.witness = library().semop(scene().objects().set, all.data(), all.size()) == 0 ? 2 : -errno;
        });
    }

    struct Counts {
        std::uint64_t execs, exits, cancels, handlers, forks, messages, bytes, operations, names, taken, late;
    };
    static Counts counts() {
        const Board& board = scene().board();
        Counts now{board.execs,    board.thread_exits, board.cancels, board.handlers, board.forks, board.messages,
                   board.bytes, 0, board.names, scene().taken_by_the_dead(), scene().late()};
        for (const Desk& desk : board.desks) {
            now.operations += desk.done;
            for (const Post& post : desk.posts) now.operations += post.done;
        }
        return now;
    }
    static void report(const char* part, const Deeds& done, const Counts& before, unsigned rounds, double seconds) {
        const Counts now = counts();
        const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
        figure(part,
               "seed %llu: %llu kills, %llu stops, %llu signals (%llu handlers), %llu execs, %llu thread exits, %llu cancels, %llu forks "
               "in %u rounds; looked at while resting %llu times; %llu operations, %llu messages of %llu bytes promised and accounted for, "
               "%llu of them taken by the dead, %llu put back and late; %llu names made; an empty queue kept at most %llu bytes; %.1f s",
               number(proof_seed()), number(done.kills), number(done.stops), number(done.signals), number(now.handlers - before.handlers),
               number(now.execs - before.execs), number(now.exits - before.exits), number(now.cancels - before.cancels),
               number(now.forks - before.forks), rounds, number(done.rests), number(now.operations - before.operations),
               number(now.messages - before.messages), number(now.bytes - before.bytes), number(now.taken - before.taken),
               number(now.late - before.late), number(now.names - before.names), number(scene().idle_bytes_max()), seconds);
    }
};

TEST_F(Torture, EverythingAtOnce) {
    using enum Trade;
    torture("torture of everything",
            {courier, threads, borrower, courier, attacher, namer, threads, courier, borrower, threads, attacher, namer, steady_plain,
             steady_typed},
            short_or_long<std::uint64_t>(900, 40'000));
}

TEST_F(Torture, Messages) {
    using enum Trade;
    torture("torture of queues", {courier, courier, threads, courier, threads, courier, courier, threads, steady_plain, steady_typed},
            short_or_long<std::uint64_t>(350, 10'000));
}

TEST_F(Torture, Undo) { torture("torture of undo", std::vector<Trade>(10, Trade::borrower), short_or_long<std::uint64_t>(350, 8'000)); }

TEST_F(Torture, Attachments) {
    torture("torture of attachments", std::vector<Trade>(10, Trade::attacher), short_or_long<std::uint64_t>(350, 6'000));
}

// Marked segments whose only user was killed: nobody detached, nobody has them; the next shmget clears them away.
TEST_F(Torture, MarkedSegments) {
    (void)scene();  // the library takes its domain when it is loaded
    const Library& call = library();
    for (int round = 0; round < 40; ++round) {
        Shared<std::atomic<int>> id;
        *id = -1;
        Child last([&] {
            const int made = call.shmget(IPC_PRIVATE, kSegmentBytes, 0600);
            void* at = call.shmat(made, nullptr, 0);
            call.shmctl(made, IPC_RMID, nullptr);
            if (round % 2 != 0) call.munmap(static_cast<char*>(at) + 4096, 4096);
            *id = made;
            for (;;) pause();
        });
        ASSERT_TRUE(eventually([&] { return *id >= 0; }));
        shmid_ds status{};
        ASSERT_EQ(call.shmctl(*id, IPC_STAT, &status), 0);
        EXPECT_EQ(status.shm_nattch, round % 2 != 0 ? 2u : 1u);
        EXPECT_TRUE(scene().has_files(*id));
        last.kill(SIGKILL);
        ASSERT_TRUE(last.ends());
        if (round % 3 == 0) {
            EXPECT_NE(call.shmctl(*id, IPC_STAT, &status), 0);
        } else {
            const int next = call.shmget(IPC_PRIVATE, 4096, 0600);
            ASSERT_GE(next, 0);
            EXPECT_EQ(call.shmctl(next, IPC_RMID, nullptr), 0);
        }
        EXPECT_FALSE(scene().has_files(*id)) << round;
    }
}

}  // namespace

#else
TEST(Torture, EverythingAtOnce) { GTEST_SKIP() << "needs the shared library"; }
#endif
