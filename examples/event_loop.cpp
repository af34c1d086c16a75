// A queue beside other descriptors in one epoll loop.
//
// fd() is readable while there are messages; everything that is there is then taken without waiting.
#include <muster/domain.hpp>
#include <muster/message_queue.hpp>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>
#include <chrono>
#include <cstdio>
#include <string>

int main() {
    auto domain = muster::Domain::create_ephemeral();
    if (!domain) {
        std::fprintf(stderr, "event_loop: %s\n", domain.error().message().c_str());
        return 1;
    }
    auto queue = muster::MessageQueue::create(*domain, "/events", {.messages_max = 8, .message_size_bytes_max = 64});
    if (!queue) {
        std::fprintf(stderr, "event_loop: %s\n", queue.error().message().c_str());
        return 1;
    }
    constexpr int kEvents = 50;
    const auto descriptor = queue->fd();  // before the fork: both sides keep it up to date
    const int loop = epoll_create1(EPOLL_CLOEXEC);
    epoll_event interest{.events = EPOLLIN, .data = {.fd = descriptor.value_or(-1)}};
    if (!descriptor || loop < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, *descriptor, &interest) != 0) return 1;

    const pid_t sender = fork();
    if (sender == 0) {
        for (int i = 0; i < kEvents; ++i)
            if (!queue->send("event " + std::to_string(i), 0, muster::Deadline::after(std::chrono::seconds(5)))) _exit(1);
        _exit(0);
    }

    int received = 0;
    bool in_order = true;
    while (received < kEvents) {
        epoll_event ready{};
        if (epoll_wait(loop, &ready, 1, 5000) != 1) break;
        while (auto message = queue->try_receive()) in_order = in_order && message->text() == "event " + std::to_string(received++);
    }
    int status = 0;
    waitpid(sender, &status, 0);
    close(loop);
    const bool removed = domain->remove().has_value();
    const bool right = received == kEvents && in_order && removed && status == 0;
    std::printf("event_loop: %d of %d events%s\n", received, kEvents, right ? ", in order" : "; something went wrong");
    return right ? 0 : 1;
}
