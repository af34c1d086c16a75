// select, poll and epoll on queues: both directions, level and edge triggered, across processes and deaths.
#include <sys/epoll.h>
#include <sys/select.h>

#include "case.hpp"

namespace {

std::string ready(int descriptor, short asked = POLLIN | POLLOUT, int timeout_ms = 0) {
    pollfd entry{descriptor, asked, 0};
    const int got = poll(&entry, 1, timeout_ms);
    if (got < 0) return error_name(errno);
    std::string text;
    if (entry.revents & POLLIN) text += "in ";
    if (entry.revents & POLLOUT) text += "out ";
    if (entry.revents & POLLRDNORM) text += "rdnorm ";
    if (entry.revents & POLLWRNORM) text += "wrnorm ";
    if (entry.revents & ~(POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM)) text += "other ";
    return text;
}

// The events waiting in an epoll instance that watches one descriptor.
std::string events(int watch, int timeout_ms = 0) {
    epoll_event got[4];
    const int n = epoll_wait(watch, got, 4, timeout_ms);
    if (n < 0) return error_name(errno);
    std::string text;
    for (int i = 0; i < n; ++i) {
        if (got[i].events & EPOLLIN) text += "in ";
        if (got[i].events & EPOLLOUT) text += "out ";
        if (got[i].events & ~static_cast<unsigned>(EPOLLIN | EPOLLOUT)) text += "other ";
    }
    return text;
}

int watching(mqd_t queue, unsigned what) {
    const int watch = OPENS(epoll_create1(EPOLL_CLOEXEC));
    epoll_event wanted{};
    wanted.events = what;
    OK(epoll_ctl(watch, EPOLL_CTL_ADD, queue, &wanted));
    return watch;
}

constexpr int kWait_ms = 10'000;

}  // namespace

// poll: readable when a message is there, writable when there is room, both, and neither for the other.
CASE(poll_level) {
    const mqd_t queue = OPENS(create('a', 2, 16, O_RDWR | O_NONBLOCK));
    SHOWS("out ", ready(queue));
    SHOWS("", ready(queue, POLLIN));
    OK(send(queue, "1"));
    SHOWS("in out ", ready(queue));
    SHOWS("in out rdnorm wrnorm ", ready(queue, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM | POLLPRI));
    OK(send(queue, "2"));
    SHOWS("in ", ready(queue));
    SHOWS("", ready(queue, POLLOUT));
    FAILS(EAGAIN, send(queue, "3"));
    SHOWS("in ", ready(queue));
    SHOWS("0:1", take(queue));
    SHOWS("in out ", ready(queue));
    SHOWS("0:2", take(queue));
    SHOWS("out ", ready(queue));
    SHOWS("EAGAIN", take(queue));
    SHOWS("out ", ready(queue));
    OK(mq_close(queue));
    SHOWS("other ", ready(queue));
}

// A queue of one message goes straight from empty to full.
CASE(poll_queue_of_one) {
    const mqd_t queue = OPENS(create('a', 1, 16));
    for (int i = 0; i < 3; ++i) {
        SHOWS("out ", ready(queue));
        OK(send(queue, "x"));
        SHOWS("in ", ready(queue));
        SHOWS("0:x", take(queue));
    }
}

// A queue that is opened while it holds messages polls right from the start, also when everybody had closed it.
CASE(poll_after_reopening) {
    const pid_t child = start([] {
        const mqd_t queue = OPENS(create('a', 2, 16));
        OK(send(queue, "1"));
        SHOWS("in out ", ready(queue));
        OK(send(queue, "2"));
    });
    SHOWS("exit 0", finish(child));
    mqd_t queue = OPENS(mq_open(name(), O_RDWR));
    SHOWS("in ", ready(queue));
    SHOWS("0:1", take(queue));
    SHOWS("in out ", ready(queue));
    SHOWS("0:2", take(queue));
    SHOWS("out ", ready(queue));
    OK(mq_close(queue));
    queue = OPENS(mq_open(name(), O_RDWR));
    SHOWS("out ", ready(queue));
}

// The access mode does not matter to poll: a descriptor for reading alone tells of room, too.
CASE(poll_ignores_direction) {
    const mqd_t queue = OPENS(create('a', 2, 16));
    const mqd_t reader = OPENS(mq_open(name(), O_RDONLY)), writer = OPENS(mq_open(name(), O_WRONLY));
    SHOWS("out ", ready(reader));
    SHOWS("out ", ready(writer));
    OK(send(queue, "x"));
    SHOWS("in out ", ready(reader));
    SHOWS("in out ", ready(writer));
    OK(send(queue, "y"));
    SHOWS("in ", ready(reader));
    SHOWS("in ", ready(writer));
}

// select: the same in its sets; never an exception.
CASE(select_level) {
    const mqd_t queue = OPENS(create('a', 1, 16));
    const auto selected = [queue] {
        fd_set in, out, except;
        FD_ZERO(&in);
        FD_ZERO(&out);
        FD_ZERO(&except);
        FD_SET(queue, &in);
        FD_SET(queue, &out);
        FD_SET(queue, &except);
        timeval none{0, 0};
        const int n = select(queue + 1, &in, &out, &except, &none);
        return std::to_string(n) + (FD_ISSET(queue, &in) ? " in" : "") + (FD_ISSET(queue, &out) ? " out" : "") +
               (FD_ISSET(queue, &except) ? " except" : "");
    };
    SHOWS("1 out", selected());
    OK(send(queue, "x"));
    SHOWS("1 in", selected());
    SHOWS("0:x", take(queue));
    SHOWS("1 out", selected());
}

// A process asleep in poll wakes when another sends, and when another makes room; a message for a sleeping receiver wakes
// no poller.
CASE(poll_wakes) {
    const mqd_t queue = OPENS(create('a', 1, 16));
    const auto poller = [queue](short what) {
        shared().word[0] = 0;
        const pid_t child = start([=] {
            shared().word[0] = 1;
            SHOWS(what == POLLIN ? "in " : "out ", ready(queue, what, kWait_ms));
        });
        await("the child polls", [] { return shared().word[0] == 1; });
        await_sleep(child);
        return child;
    };
    for (int round = 0; round < 10; ++round) {
        pid_t child = poller(POLLIN);
        OK(send(queue, "x"));
        SHOWS("exit 0", finish(child));
        child = poller(POLLOUT);
        SHOWS("0:x", take(queue));
        SHOWS("exit 0", finish(child));
    }
    const pid_t child = poller(POLLIN);
    const pid_t receiver = start([queue] {
        shared().word[1] = 1;
        SHOWS("0:for the receiver", take(queue));
    });
    await("the receiver calls", [] { return shared().word[1] == 1; });
    await_sleep(receiver);
    FAILS(EMSGSIZE, send(queue,
                         "for the receiver"
                         " alone"));
    OK(send(queue, "for the receiver"));
    SHOWS("exit 0", finish(receiver));
    await_sleep(child);
    SHOWS("out ", ready(queue));
    OK(send(queue, "y"));
    SHOWS("exit 0", finish(child));
}

// epoll, level triggered: reported again and again while it holds.
CASE(epoll_level) {
    const mqd_t queue = OPENS(create('a', 2, 16));
    const int watch = watching(queue, EPOLLIN | EPOLLOUT);
    SHOWS("out ", events(watch));
    SHOWS("out ", events(watch));
    OK(send(queue, "1"));
    SHOWS("in out ", events(watch));
    OK(send(queue, "2"));
    SHOWS("in ", events(watch));
    SHOWS("in ", events(watch));
    SHOWS("0:1", take(queue));
    SHOWS("in out ", events(watch));
    SHOWS("0:2", take(queue));
    SHOWS("out ", events(watch));
    OK(mq_close(queue));
    SHOWS("", events(watch));  // the last descriptor gone: watched no more
}

// epoll, edge triggered for reading: once per change from empty; drained and filled again it reports again.
CASE(epoll_edge_in) {
    const mqd_t queue = OPENS(create('a', 4, 16, O_RDWR | O_NONBLOCK));
    const int watch = watching(queue, EPOLLIN | EPOLLET);
    SHOWS("", events(watch));
    for (int round = 0; round < 20; ++round) {
        OK(send(queue, "x"));
        SHOWS("in ", events(watch));
        SHOWS("", events(watch));
        SHOWS("0:x", take(queue));
        SHOWS("EAGAIN", take(queue));
        SHOWS("", events(watch));
    }
    OK(send(queue, "there before"));
    const int later = watching(queue, EPOLLIN | EPOLLET);
    SHOWS("in ", events(later));
    SHOWS("", events(later));
}

// epoll, edge triggered for writing: once per change from full to not full.
CASE(epoll_edge_out) {
    const mqd_t queue = OPENS(create('a', 2, 16, O_RDWR | O_NONBLOCK));
    const int watch = watching(queue, EPOLLOUT | EPOLLET);
    SHOWS("out ", events(watch));
    SHOWS("", events(watch));
    for (int round = 0; round < 20; ++round) {
        while (send(queue, "x") == 0) continue;
        events(watch);  // arrivals may be reported: see epoll_edge_every_message
        SHOWS("", events(watch));
        SHOWS("0:x", take(queue));
        SHOWS("out ", events(watch));
        SHOWS("", events(watch));
        SHOWS("0:x", take(queue));
    }
}

// Linux reports every arrival and every removal to edge-triggered watchers, not only changes from empty or from full.
CASE(epoll_edge_every_message) {
    const mqd_t queue = OPENS(create('a', 4, 16, O_RDWR | O_NONBLOCK));
    const int watch = watching(queue, EPOLLIN | EPOLLOUT | EPOLLET);
    SHOWS("out ", events(watch));
    SHOWS("", events(watch));
    OK(send(queue, "1"));
    SHOWS("in out ", events(watch));
    OK(send(queue, "2"));
    SHOWS("in out ", events(watch));
    SHOWS("", events(watch));
    SHOWS("0:1", take(queue));
    SHOWS("in out ", events(watch));
    SHOWS("", events(watch));
    OK(send(queue, "3"));
    OK(send(queue, "4"));
    SHOWS("in out ", events(watch));  // two arrivals, one report
    SHOWS("", events(watch));
    const int in_only = watching(queue, EPOLLIN | EPOLLET);
    SHOWS("in ", events(in_only));
    SHOWS("0:2", take(queue));
    SHOWS("in ", events(in_only));  // a removal, reported to one who waits for arrivals
    SHOWS("", events(in_only));
}

// EPOLLONESHOT reports once until armed again.
CASE(epoll_oneshot) {
    const mqd_t queue = OPENS(create('a', 2, 16));
    const int watch = watching(queue, EPOLLIN | EPOLLONESHOT);
    OK(send(queue, "1"));
    SHOWS("in ", events(watch));
    OK(send(queue, "2"));
    SHOWS("", events(watch));
    epoll_event again{};
    again.events = EPOLLIN | EPOLLONESHOT;
    OK(epoll_ctl(watch, EPOLL_CTL_MOD, queue, &again));
    SHOWS("in ", events(watch));
    SHOWS("", events(watch));
}

// Receiver and sender in two processes, edge triggered both: every message passes, neither side misses its edge. The epoll
// descriptors are made before the fork.
CASE(epoll_edge_two_processes) {
    constexpr int kMessages = 3000;
    const mqd_t queue = OPENS(create('a', 3, 16, O_RDWR | O_NONBLOCK));
    const int for_in = watching(queue, EPOLLIN | EPOLLET), for_out = watching(queue, EPOLLOUT | EPOLLET);
    const pid_t child = start([=] {
        for (int sent = 0; sent < kMessages;) {
            while (sent < kMessages && send(queue, std::to_string(sent).c_str()) == 0) ++sent;
            if (sent < kMessages && events(for_out, kWait_ms) == "") give_up("the sender missed its edge");
        }
    });
    int got = 0;
    while (got < kMessages) {
        std::string text;
        while ((text = take(queue)) != "EAGAIN") {
            if (text != "0:" + std::to_string(got)) give_up("message " + std::to_string(got) + " is " + text);
            ++got;
        }
        if (got < kMessages && events(for_in, kWait_ms) == "") give_up("the receiver missed its edge");
    }
    SHOWS("exit 0", finish(child));
    SHOWS("3/16/0/nonblock", state(queue));
}

// Level triggered with blocking calls on the other side, through separate descriptors of separate opens.
CASE(epoll_level_two_processes) {
    constexpr int kMessages = 2000;
    const mqd_t queue = OPENS(create('a', 2, 16));
    const int watch = watching(queue, EPOLLIN);
    const pid_t child = start([=] {
        const mqd_t own = mq_open(name(), O_WRONLY);
        for (int i = 0; i < kMessages; ++i)
            if (send(own, std::to_string(i).c_str()) != 0) give_up("send: " + error_name(errno));
    });
    for (int i = 0; i < kMessages; ++i) {
        if (events(watch, kWait_ms) != "in ") give_up("no event for message " + std::to_string(i));
        if (take(queue) != "0:" + std::to_string(i)) give_up("wrong message");
    }
    SHOWS("exit 0", finish(child));
    SHOWS("", events(watch));
}

// After a kill -9 of the last sender, wherever it was: a program that receives whenever it is told to gets what is there, and
// then it is told no more. It may be told of a message that is not to be received once: in user space the
// pollers have to be woken before the message counts, for a sender killed between the two must not leave them asleep beside
// it. The receive that says EAGAIN settles it: no event is left, and the next message is reported, level and edge.
CASE(epoll_after_kill) {
    const mqd_t queue = OPENS(create('a', 3, 16, O_RDWR | O_NONBLOCK));
    const int level = watching(queue, EPOLLIN), edge = watching(queue, EPOLLIN | EPOLLET);
    for (int round = 0; round < 40; ++round) {
        shared().word[0] = 0;
        const pid_t child = start([=] {
            const mqd_t own = mq_open(name(), O_WRONLY);
            shared().word[0] = 1;
            while (true) (void)send(own, "x");
        });
        await("the sender is at work", [] { return shared().word[0] == 1; });
        while (events(level, kWait_ms) != "in ") give_up("no event");
        for (int i = 0; i < round * 10; ++i) take(queue);
        kill(child, SIGKILL);
        if (finish(child) != "signal KILL") give_up("the sender");
        int received = 0;
        while (events(level) == "in " && take(queue) != "EAGAIN")
            if (++received > 3) give_up("more messages than the queue holds");
        if (count(queue) != 0) give_up("no event for a message that is there");
        events(edge);  // what was reported before
        if (events(level) != "" || events(edge) != "") give_up("an event without a message stays");
        if (send(queue, "next") != 0 || events(level) != "in " || events(edge) != "in ")
            give_up("the next message was not reported");
        if (take(queue) != "0:next" || events(level) != "" || take(queue) != "EAGAIN") give_up("an event without a message");
        events(edge);  // Linux reports the removal, too
        if (send(queue, "last") != 0 || events(level) != "in " || events(edge) != "in ")
            give_up("the message after it was not reported");
        if (take(queue) != "0:last" || events(level) != "") give_up("an event without a message");
    }
    note("right after each kill");
}

// A dup and a second open are watched apart; closing the one leaves the other's events.
CASE(epoll_several_descriptors) {
    const mqd_t queue = OPENS(create('a', 2, 16));
    const mqd_t second = OPENS(mq_open(name(), O_RDONLY));
    const int copy = OPENS(dup(queue));
    const int watch = watching(queue, EPOLLIN);
    epoll_event wanted{};
    wanted.events = EPOLLIN;
    OK(epoll_ctl(watch, EPOLL_CTL_ADD, second, &wanted));
    OK(epoll_ctl(watch, EPOLL_CTL_ADD, copy, &wanted));
    FAILS(EEXIST, epoll_ctl(watch, EPOLL_CTL_ADD, copy, &wanted));
    OK(send(queue, "x"));
    SHOWS("in in in ", events(watch));
    OK(mq_close(second));
    SHOWS("in in ", events(watch));
    SHOWS("0:x", take(queue));
    SHOWS("", events(watch));
}

// Watched before the name was unlinked, and used by a child that inherited the epoll descriptor alone with the queue.
CASE(epoll_inherited) {
    const mqd_t queue = OPENS(create('a', 2, 16));
    const int watch = watching(queue, EPOLLIN);
    OK(mq_unlink(name()));
    const pid_t child = start([=] {
        shared().word[0] = 1;
        SHOWS("in ", events(watch, kWait_ms));
        SHOWS("0:x", take(queue));
    });
    await("the child waits", [] { return shared().word[0] == 1; });
    await_sleep(child);
    OK(send(queue, "x"));
    SHOWS("exit 0", finish(child));
    SHOWS("", events(watch));
}
