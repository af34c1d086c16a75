// The semaphore set engine without a door: the short way and the locked way agree and change over; a damaged or foreign file is refused and a
// damaged header never leads outside the mapping; a thousand and more sleepers served by one post; adjustments at the limits; cancellation
// takes back; a stopped sleeper swallows nothing. Errors: EAGAIN EBADMSG EFBIG EIDRM ERANGE.
#include "objects/semaphore_set.hpp"
#include <gtest/gtest.h>
#include <pthread.h>
#include <stdlib.h>
#include <atomic>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>
#include "platform/file.hpp"
#include "support/child.hpp"

namespace {

namespace objects = muster::objects;
namespace platform = muster::platform;
using namespace muster::test;
using objects::SemaphoreOp;
constexpr std::int16_t kUndo = 0x1000;

class SemaphoreSetTest : public testing::Test {
protected:
    void SetUp() override {
        char path[] = "/dev/shm/muster-sem-unit-XXXXXX";
        ASSERT_NE(mkdtemp(path), nullptr);
        directory_ = path;
        auto opened = objects::Domain::open((directory_ + "/d").c_str(), true);
        ASSERT_TRUE(opened);
        domain_ = std::make_unique<objects::Domain>(std::move(*opened));
        lives_.attach(*domain_);
        unsigned granted = 0;
        auto file = domain_->create_nameless(0600, &granted);
        ASSERT_TRUE(file);
        file_ = std::move(*file);
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }
    void create(std::uint32_t semaphores) {
        ASSERT_TRUE(set_.create(file_.fd(), semaphores));
        set_.publish_ready();
    }
    platform::Outcome<> operate(std::vector<SemaphoreOp> ops, std::int64_t timeout_ns = 0) {
        return set_.operate(platform::current_thread(), ops.data(), static_cast<std::uint32_t>(ops.size()), timeout_ns, lives_);
    }
    std::uint32_t value(std::uint32_t number) { return *set_.value(platform::current_thread(), lives_, number); }
    std::uint32_t waiting(std::uint32_t number) { return *set_.waiting(platform::current_thread(), lives_, number, false); }

    std::string directory_;
    std::unique_ptr<objects::Domain> domain_;
    objects::ProcessLives lives_;
    platform::File file_;
    objects::SemaphoreSet set_;
};

TEST_F(SemaphoreSetTest, TheShortWayComesBackAfterTheLock) {
    create(2);
    EXPECT_TRUE(set_.operate_quickly(0, 5, 77, 1000));
    EXPECT_EQ(value(0), 5u);
    EXPECT_EQ(*set_.last_pid(platform::current_thread(), lives_, 0), 77u);
    EXPECT_FALSE(set_.operate_quickly(0, -6, 77, 1000));
    EXPECT_FALSE(set_.operate_quickly(0, 0, 77, 1000));
    EXPECT_FALSE(set_.operate_quickly(0, 32767, 77, 1000));
    EXPECT_TRUE(operate({{0, 1, 0}, {1, 1, 0}}));
    EXPECT_FALSE(set_.operate_quickly(0, 1, 77, 1000));
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(operate({{0, 1, 0}}));
    EXPECT_TRUE(set_.operate_quickly(0, 1, 77, 1000));
    EXPECT_EQ(value(0), 27u);
    EXPECT_TRUE(operate({{0, -1, kUndo}}));
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(operate({{0, 1, 0}}));
    EXPECT_FALSE(set_.operate_quickly(0, 1, 77, 1000)) << "somebody has an adjustment for it";
}

TEST_F(SemaphoreSetTest, ForeignAndDamagedFilesAreRefused) {
    create(3);
    objects::SemaphoreSet other;
    ASSERT_TRUE(other.open(file_.fd()));
    EXPECT_EQ(other.size(), 3u);
    auto& header = reinterpret_cast<objects::SemaphoreHeader&>(set_.object());
    const std::uint64_t before = header.undos_offset;
    header.undos_offset = before + 4096;
    objects::SemaphoreSet damaged;
    EXPECT_EQ(damaged.open(file_.fd()).fault().errno_value, EBADMSG);
    header.undos_offset = before;
    header.semaphores = 0;
    objects::SemaphoreSet empty;
    EXPECT_EQ(empty.open(file_.fd()).fault().errno_value, EBADMSG);
}

TEST_F(SemaphoreSetTest, NonsenseInTheHeaderLeadsNowhere) {
    create(3);
    auto& header = reinterpret_cast<objects::SemaphoreHeader&>(set_.object());
    ASSERT_TRUE(operate({{0, 1, kUndo}}));
    header.sleepers.store_relaxed(5);
    header.first.store_relaxed(0x7fffffff);
    header.undos_high.store_relaxed(0x7fffffff);
    header.actors_high.store_relaxed(0);
    auto* semaphores = reinterpret_cast<objects::Semaphore*>(reinterpret_cast<std::byte*>(&header) + sizeof header);
    semaphores[0].first.store_relaxed(0x12345678);
    semaphores[0].sleepers.store_relaxed(1);
    (void)operate({{0, 1, 0}, {1, 1, 0}});
    (void)operate({{0, -1, 0}});
    EXPECT_TRUE(set_.waiting(platform::current_thread(), lives_, 0, false));
}

TEST_F(SemaphoreSetTest, OnePostServesMoreThanTheLogHolds) {
    create(1);
    constexpr int kSleepers = 1100;
    std::atomic<int> through{0};
    std::vector<pthread_t> threads(kSleepers);
    struct Context {
        SemaphoreSetTest* test;
        std::atomic<int>* through;
        objects::SemaphoreSet* set;
        objects::ProcessLives* lives;
    } context{this, &through, &set_, &lives_};
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 128 << 10);
    for (pthread_t& each : threads)
        ASSERT_EQ(pthread_create(
                      &each, &small,
                      [](void* argument) -> void* {
                          auto* in = static_cast<Context*>(argument);
                          const SemaphoreOp op{0, -1, kUndo};
                          if (in->set->operate(platform::current_thread(), &op, 1, platform::kForever, *in->lives)) ++*in->through;
                          return nullptr;
                      },
                      &context),
                  0);
    ASSERT_TRUE(eventually([&] { return waiting(0) == kSleepers; }));
    ASSERT_TRUE(operate({{0, kSleepers, 0}}));
    for (pthread_t each : threads) pthread_join(each, nullptr);
    EXPECT_EQ(through, kSleepers);
    EXPECT_EQ(value(0), 0u);
    EXPECT_EQ(waiting(0), 0u);
}

TEST_F(SemaphoreSetTest, LongVectorsWithUndo) {
    create(600);
    std::vector<SemaphoreOp> ops;
    for (std::uint16_t n = 0; n < 500; ++n) ops.push_back({n, 2, kUndo});
    EXPECT_TRUE(operate(ops));
    for (SemaphoreOp& op : ops) op.amount = -1;
    EXPECT_TRUE(operate(ops));
    for (SemaphoreOp& op : ops) op = {7, static_cast<std::int16_t>(&op - ops.data() < 250 ? 3 : -3), kUndo};
    EXPECT_TRUE(operate(ops));
    EXPECT_EQ(value(7), 1u);
    EXPECT_EQ(operate({{600, 1, 0}}).fault().errno_value, EFBIG);
}

TEST_F(SemaphoreSetTest, CancellationLeavesNothingBehind) {
    create(1);
    struct Context {
        objects::SemaphoreSet* set;
        objects::ProcessLives* lives;
    } context{&set_, &lives_};
    for (int round = 0; round < 20; ++round) {
        pthread_t thread;
        ASSERT_EQ(pthread_create(
                      &thread, nullptr,
                      [](void* argument) -> void* {
                          auto* in = static_cast<Context*>(argument);
                          const SemaphoreOp op{0, -1, 0};
                          (void)in->set->operate(platform::current_thread(), &op, 1, platform::kForever, *in->lives);
                          return nullptr;
                      },
                      &context),
                  0);
        ASSERT_TRUE(eventually([&] { return waiting(0) == 1; }));
        // A race: either it is cancelled first, or it has been served.
        if (round % 2 != 0) {
            ASSERT_TRUE(operate({{0, 1, 0}}));
        }
        pthread_cancel(thread);
        void* result = nullptr;
        pthread_join(thread, &result);
        EXPECT_EQ(waiting(0), 0u);
        const bool taken = result != PTHREAD_CANCELED;
        EXPECT_EQ(value(0), round % 2 != 0 && !taken ? 1u : 0u);
        ASSERT_TRUE(set_.set_value(platform::current_thread(), lives_, 0, 0));
    }
}

TEST_F(SemaphoreSetTest, AStoppedSleeperSwallowsNothing) {
    create(1);
    Shared<std::atomic<int>> through;
    const auto sleeper = [&] {
        return Child([&] {
            if (operate({{0, -1, 0}}, platform::kForever)) ++*through;
        });
    };
    Child stopped = sleeper();
    ASSERT_TRUE(eventually([&] { return waiting(0) == 1 && stopped.asleep(); }));
    stopped.kill(SIGSTOP);
    ASSERT_TRUE(eventually([&] { return process_state(stopped.pid()) == 'T'; }));
    Child behind = sleeper();
    ASSERT_TRUE(eventually([&] { return waiting(0) == 2 && behind.asleep(); }));
    ASSERT_TRUE(operate({{0, 1, 0}}));
    ASSERT_TRUE(behind.ends());
    EXPECT_EQ(*through, 1);
    EXPECT_EQ(value(0), 0u);
    stopped.kill(SIGCONT);
    ASSERT_TRUE(operate({{0, 1, 0}}));
    ASSERT_TRUE(stopped.ends());
    EXPECT_EQ(*through, 2);
}

}  // namespace
