// A signal's handler that comes to a thread asleep in a call: from its begin on a cancellation waits for the next cancellation
// point. Else it could break into the handler's own doings, or take away with it a message that the call had just been given.
#include <gtest/gtest.h>
#include <mqueue.h>
#include <pthread.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <thread>
#include "own_domain.hpp"
#include "support/child.hpp"

namespace {
using muster::test::eventually;
using muster::test::process_state;

std::atomic<int> type_in_handler{-1};
void look(int) {
    int type = -1;
    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type);
    type_in_handler.store(type);
}

// Runs `sleep` in a thread, has the handler come to it there, then lets `wake` end the sleep if it has not ended.
template <class Sleep, class Wake>
void interrupt(Sleep sleep, Wake wake) {
    type_in_handler.store(-1);
    struct sigaction action {};
    action.sa_handler = look;
    action.sa_flags = SA_RESTART;
    ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
    std::atomic<pid_t> id{0};
    std::atomic<int> type_afterwards{-1};
    std::thread sleeper([&] {
        id.store(gettid());
        sleep();
        int type = -1;
        pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type);
        type_afterwards.store(type);
    });
    EXPECT_TRUE(eventually([&] { return id.load() != 0 && process_state(id.load()) == 'S'; }));
    EXPECT_TRUE(eventually([&] {
        if (type_in_handler.load() < 0) pthread_kill(sleeper.native_handle(), SIGUSR1);
        return type_in_handler.load() >= 0;
    }));
    wake();
    sleeper.join();
    EXPECT_EQ(type_in_handler.load(), PTHREAD_CANCEL_DEFERRED);
    EXPECT_EQ(type_afterwards.load(), PTHREAD_CANCEL_DEFERRED);
}

TEST(CancelTest, WaitsWhileAHandlerRunsInAQueuesSleep) {
    mq_attr attributes{};
    attributes.mq_maxmsg = 2;
    attributes.mq_msgsize = 16;
    const mqd_t queue = mq_open("/cancel", O_CREAT | O_RDWR, 0600, &attributes);
    ASSERT_GE(queue, 0);
    char text[16] = {};
    interrupt([&] { EXPECT_EQ(mq_receive(queue, text, sizeof text, nullptr), 5); }, [&] { EXPECT_EQ(mq_send(queue, "hello", 5, 0), 0); });
    mq_close(queue);
    mq_unlink("/cancel");
}

TEST(CancelTest, WaitsWhileAHandlerRunsInASemaphoresSleep) {
    const int set = semget(IPC_PRIVATE, 1, 0600);
    ASSERT_GE(set, 0);
    interrupt(
        [&] {
            sembuf take{0, -1, 0};
            EXPECT_EQ(semop(set, &take, 1), -1);
            EXPECT_EQ(errno, EINTR);
        },
        [] {});
    semctl(set, 0, IPC_RMID);
}

}  // namespace
