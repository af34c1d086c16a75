// Waiting in mq_send and mq_receive: hand-over, the order in which sleepers are served, what others see meanwhile, deaths.
// A sleeper announces itself in shared memory just before its call; after that it can only sleep in the call itself.
#include <sys/resource.h>

#include <vector>

#include "case.hpp"

namespace {

// A process that makes one blocking receive and leaves what it got in number[slot] (the text as a number).
pid_t receiver(mqd_t queue, int slot) {
    const pid_t child = start([=] {
        shared().word[slot] = 1;
        const std::string got = take(queue);
        shared().number[slot] = std::atol(got.c_str() + got.find(':') + 1);
        shared().word[slot] = 2;
    });
    await("the receiver is about to call", [slot] { return shared().word[slot] >= 1; });
    return child;
}

pid_t sender(mqd_t queue, int slot, const char* text, unsigned priority = 0) {
    const std::string kept = text;
    const pid_t child = start([=] {
        shared().word[slot] = 1;
        const int sent = send(queue, kept.c_str(), priority);
        shared().word[slot] = sent == 0 ? 2 : 3;
    });
    await("the sender is about to call", [slot] { return shared().word[slot] >= 1; });
    return child;
}

mqd_t nonblocking() {
    return mq_open(name(), O_RDWR | O_NONBLOCK);
}

}  // namespace

// Two processes hand a thousand messages to and fro through queues of one message.
CASE(handover_processes) {
    const mqd_t to = OPENS(create('a', 1, 16)), fro = OPENS(create('b', 1, 16));
    const pid_t child = start([=] {
        for (int i = 0; i < 1000; ++i) (void)send(fro, take(to).substr(2).c_str());
    });
    long wrong = 0;
    for (int i = 0; i < 1000; ++i) {
        wrong += send(to, std::to_string(i).c_str()) != 0;
        wrong += take(fro) != "0:" + std::to_string(i);
    }
    OK(wrong);
    SHOWS("exit 0", finish(child));
}

// The same between threads, on one descriptor each way, and with as many pairs at once as there is room.
CASE(handover_threads) {
    const mqd_t queue = OPENS(create('a', 2, 16));
    std::atomic<long> sum{0}, wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
        threads.push_back(start_thread([&] {
            for (int i = 1; i <= 1000; ++i) wrong += send(queue, std::to_string(i).c_str(), static_cast<unsigned>(i % 3)) != 0;
        }));
        threads.push_back(start_thread([&] {
            for (int i = 1; i <= 1000; ++i) sum += std::atol(take(queue).c_str() + 2);
        }));
    }
    for (std::thread& each : threads) each.join();
    OK(wrong.load());
    GIVES(3 * 500'500L, sum.load());
    SHOWS("2/16/0/0", state(queue));
}

// Four senders and four receivers in eight processes: nothing lost, nothing twice, each sender's messages in order.
CASE(many_processes) {
    constexpr int kEach = 500;
    const mqd_t queue = OPENS(create('a', 5, 32));
    std::vector<pid_t> children;
    for (int s = 0; s < 4; ++s)
        children.push_back(start([=] {
            for (int i = 1; i <= kEach; ++i)
                if (send(queue, std::to_string(s * 10'000 + i).c_str()) != 0) give_up("send: " + error_name(errno));
        }));
    for (int r = 0; r < 4; ++r)
        children.push_back(start([=] {
            int last[4] = {0, 0, 0, 0};
            for (int i = 0; i < kEach; ++i) {
                const int got = std::atoi(take(queue).c_str() + 2);
                if (got % 10'000 <= last[got / 10'000]) give_up("a sender's messages out of order");
                last[got / 10'000] = got % 10'000;
                shared().number[0] += got;
            }
        }));
    for (const pid_t each : children) SHOWS("exit 0", finish(each));
    GIVES(4L * kEach * (kEach + 1) / 2 + kEach * (10'000L + 20'000 + 30'000), shared().number[0].load());
    SHOWS("5/32/0/0", state(queue));
}

// Right after a send to a sleeper the queue is empty for everybody: mq_curmsgs 0, EAGAIN for the sender's own receive and
// for another's, even while the sleeper has not run yet.
CASE(sent_to_sleeper_is_gone) {
    const mqd_t queue = OPENS(create()), other = OPENS(nonblocking());
    long wrong = 0;
    for (int round = 0; round < 200; ++round) {
        shared().word[1] = 0;
        const pid_t child = receiver(queue, 1);
        await_sleep(child);
        wrong += send(queue, "7") != 0;
        wrong += count(queue) != 0;
        wrong += take(other) != "EAGAIN";
        wrong += finish(child) != "exit 0";
        wrong += shared().number[1] != 7;
    }
    OK(wrong);
}

// Two sends to one sleeper: the first is taken away, the second stays; a higher priority sent later cannot overtake.
CASE(sent_to_sleeper_not_overtaken) {
    const mqd_t queue = OPENS(create());
    const pid_t child = receiver(queue, 1);
    await_sleep(child);
    OK(send(queue, "1", 0));
    OK(send(queue, "2", 99));
    SHOWS("4/64/1/0", state(queue));
    SHOWS("exit 0", finish(child));
    GIVES(1, shared().number[1].load());
    SHOWS("99:2", take(queue));
}

// Five sleepers are served exactly in order of arrival, over many rounds in changing orders; in every third round one of
// them is killed in its sleep and the others get what is sent.
CASE(sleepers_in_order) {
    constexpr int kSleepers = 5, kRounds = 300;
    const mqd_t queue = OPENS(create('a', 10, 16));
    int go[kSleepers][2];
    pid_t child[kSleepers];
    Shared& s = shared();
    const auto raise_sleeper = [&](int i) {
        s.word[i] = 0;
        child[i] = start([&s, &go, queue, i] {
            char byte;
            while (read(go[i][0], &byte, 1) == 1) {
                s.word[i] = 1;  // from here on the only sleep is in mq_receive
                const std::string got = take(queue);
                s.number[i] = std::atol(got.c_str() + got.find(':') + 1);
                s.word[i] = 2;
            }
        });
    };
    for (int i = 0; i < kSleepers; ++i) {
        OK(pipe(go[i]));
        raise_sleeper(i);
    }
    unsigned noise = 7;
    for (int round = 0; round < kRounds; ++round) {
        std::vector<int> order{0, 1, 2, 3, 4};
        for (int i = kSleepers - 1; i > 0; --i)
            std::swap(order[static_cast<size_t>(i)],
                      order[(noise = noise * 1103515245 + 12345) / 65536 % static_cast<unsigned>(i + 1)]);
        for (const int i : order) {
            s.number[i] = -1;
            s.word[i] = 0;
            if (write(go[i][1], "g", 1) != 1) give_up("pipe");
            await("the sleeper calls", [&] { return s.word[i] == 1; });
            await_sleep(child[i]);
        }
        if (round % 3 == 2) {
            const size_t at = noise / 65536 % kSleepers;
            const int victim = order[at];
            kill(child[victim], SIGKILL);
            if (finish(child[victim]) != "signal KILL") give_up("the victim did not die of it");
            raise_sleeper(victim);
            order.erase(order.begin() + static_cast<long>(at));
        }
        for (size_t i = 0; i < order.size(); ++i)
            if (send(queue, std::to_string(100 * round + static_cast<int>(i)).c_str(), static_cast<unsigned>(i)) != 0)
                give_up("send");
        if (count(queue) != 0) give_up("round " + std::to_string(round) + ": messages left");
        for (size_t i = 0; i < order.size(); ++i) {
            await("the sleeper is served", [&] { return s.word[order[i]] == 2; });
            if (s.number[order[i]] != 100 * round + static_cast<long>(i))
                give_up("round " + std::to_string(round) + ": sleeper " + std::to_string(i) + " got message " +
                        std::to_string(s.number[order[i]] - 100 * round));
        }
    }
    note("served in order of arrival");
}

// Sleeping threads of one process are served in order of arrival too, by senders in another process.
CASE(sleeping_threads_in_order) {
    const mqd_t queue = OPENS(create('a', 8, 16));
    Shared& s = shared();
    for (int round = 0; round < 50; ++round) {
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i) {
            s.word[i] = 0;
            threads.push_back(start_thread([&s, queue, i] {
                s.word[i] = thread_id();
                s.number[i] = std::atol(take(queue).c_str() + 2);
            }));
            await("the thread calls", [&] { return s.word[i] != 0; });
            await_sleep(getpid(), s.word[i]);
        }
        const pid_t child = start([queue] {
            for (int i = 0; i < 4; ++i) (void)send(queue, std::to_string(i).c_str());
        });
        for (std::thread& each : threads) each.join();
        if (finish(child) != "exit 0") give_up("the sender");
        for (int i = 0; i < 4; ++i)
            if (s.number[i] != i)
                give_up("round " + std::to_string(round) + ": thread " + std::to_string(i) + " got " +
                        std::to_string(s.number[i]));
    }
    note("served in order of arrival");
}

// Senders sleeping on a full queue come in by order of arrival, whatever their messages' priorities; each receive lets one
// in at once, so that the count stays at mq_maxmsg.
CASE(sleeping_senders_in_order) {
    const mqd_t queue = OPENS(create('a', 1, 16)), other = OPENS(nonblocking());
    OK(send(queue, "first", 1));
    const char* text[] = {"a", "b", "c", "d"};
    const unsigned priority[] = {0, 9, 5, 9};
    pid_t child[4];
    for (int i = 0; i < 4; ++i) {
        child[i] = sender(queue, i, text[i], priority[i]);
        await_sleep(child[i]);
    }
    SHOWS("1/16/1/0", state(queue));
    SHOWS("1:first", take(queue));
    SHOWS("1/16/1/0", state(queue));
    FAILS(EAGAIN, send(other, "intruder"));
    SHOWS("0:a", take(queue));
    SHOWS("9:b", take(queue));
    SHOWS("5:c", take(other));
    SHOWS("1/16/1/0", state(queue));
    SHOWS("9:d", take(queue));
    SHOWS("1/16/0/0", state(queue));
    for (const pid_t each : child) SHOWS("exit 0", finish(each));
}

// A sleeping sender's message is placed by its priority when it comes in.
CASE(sleeping_senders_placed_by_priority) {
    const mqd_t queue = OPENS(create('a', 2, 16));
    OK(send(queue, "p5", 5));
    OK(send(queue, "p3", 3));
    const pid_t low = sender(queue, 1, "p4", 4);
    await_sleep(low);
    const pid_t high = sender(queue, 2, "p9", 9);
    await_sleep(high);
    SHOWS("5:p5", take(queue));
    SHOWS("4:p4", take(queue));
    SHOWS("9:p9", take(queue));
    SHOWS("3:p3", take(queue));
    SHOWS("exit 0", finish(low));
    SHOWS("exit 0", finish(high));
}

// A killed sleeping sender leaves nothing in the queue and blocks nobody; the next one comes in.
CASE(sleeping_sender_killed) {
    const mqd_t queue = OPENS(create('a', 1, 16));
    OK(send(queue, "full"));
    const pid_t victim = sender(queue, 1, "ghost", 9);
    await_sleep(victim);
    const pid_t next = sender(queue, 2, "next");
    await_sleep(next);
    kill(victim, SIGKILL);
    SHOWS("signal KILL", finish(victim));
    SHOWS("0:full", take(queue));
    SHOWS("0:next", take(queue));
    SHOWS("exit 0", finish(next));
    SHOWS("1/16/0/0", state(queue));
}

// A killed sleeping receiver swallows nothing: what is sent afterwards stays in the queue.
CASE(sleeping_receiver_killed) {
    const mqd_t queue = OPENS(create());
    for (int round = 0; round < 20; ++round) {
        shared().word[1] = 0;
        const pid_t victim = receiver(queue, 1);
        await_sleep(victim);
        kill(victim, SIGKILL);
        if (finish(victim) != "signal KILL") give_up("the victim");
        if (send(queue, "stays", 2) != 0 || count(queue) != 1 || take(queue) != "2:stays")
            give_up("round " + std::to_string(round) + ": the message is gone");
    }
    note("nothing lost");
}

// A receiver that is stopped in its sleep is passed over: the message waits in the queue, and others may take it. When
// continued it sleeps on, and gets the next one.
CASE(sleeping_receiver_stopped) {
    const mqd_t queue = OPENS(create());
    const pid_t child = receiver(queue, 1);
    await_sleep(child);
    kill(child, SIGSTOP);
    int status = 0;
    GIVES(child > 0, waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    OK(send(queue, "1"));
    SHOWS("4/64/1/0", state(queue));
    SHOWS("0:1", take(queue));
    kill(child, SIGCONT);
    await_sleep(child);
    HOLDS(shared().word[1] == 1);
    OK(send(queue, "2"));
    SHOWS("exit 0", finish(child));
    GIVES(2, shared().number[1].load());
}

// On Linux a receiver that is stopped and continued has lost its place: it stands behind those who came after it. Muster's
// keeps it unless a message has come meanwhile (a deviation: nobody but itself could tell that it was stopped).
CASE(sleeping_receiver_stopped_loses_place) {
    const mqd_t queue = OPENS(create());
    const pid_t first = receiver(queue, 1);
    await_sleep(first);
    const pid_t second = receiver(queue, 2);
    await_sleep(second);
    kill(first, SIGSTOP);
    int status = 0;
    GIVES(1, waitpid(first, &status, WUNTRACED) == first && WIFSTOPPED(status));
    kill(first, SIGCONT);
    await_sleep(first);
    OK(send(queue, "1"));
    OK(send(queue, "2"));
    SHOWS("exit 0", finish(first));
    SHOWS("exit 0", finish(second));
    DEVIATES(2, 1, shared().number[1].load());
    DEVIATES(1, 2, shared().number[2].load());
}

// Linux serves sleepers of a better scheduling priority (nice value) first. POSIX asks for it only under priority scheduling;
// Muster serves by arrival alone (a deviation).
CASE(sleepers_by_nice) {
    const mqd_t queue = OPENS(create());
    pid_t child[3];
    const int base = getpriority(PRIO_PROCESS, 0), nice_of[] = {base + 4, base, base + 2};
    if (base > 15) skip("too nice already");
    for (int i = 0; i < 3; ++i) {
        child[i] = start([=] {
            setpriority(PRIO_PROCESS, 0, nice_of[i]);
            shared().word[i] = 1;
            shared().number[i] = std::atol(take(queue).c_str() + 2);
        });
        await("the receiver calls", [i] { return shared().word[i] == 1; });
        await_sleep(child[i]);
    }
    for (const char* text : {"1", "2", "3"}) OK(send(queue, text));
    for (const pid_t each : child) SHOWS("exit 0", finish(each));
    DEVIATES(3, 1, shared().number[0].load());
    DEVIATES(1, 2, shared().number[1].load());
    DEVIATES(2, 3, shared().number[2].load());
}

// Setting O_NONBLOCK does not end a sleep that has begun.
CASE(nonblock_set_during_sleep) {
    const mqd_t queue = OPENS(create());
    const pid_t child = receiver(queue, 1);
    await_sleep(child);
    mq_attr wanted{};
    wanted.mq_flags = O_NONBLOCK;
    OK(mq_setattr(queue, &wanted, nullptr));
    HOLDS(sleeps(child) && shared().word[1] == 1);
    OK(send(queue, "3"));
    SHOWS("exit 0", finish(child));
    GIVES(3, shared().number[1].load());
}

// Closing the descriptor in another thread, or unlinking the queue, does not end a sleep; what is sent through another
// descriptor still arrives.
CASE(close_during_sleep) {
    const mqd_t queue = OPENS(create());
    const mqd_t other = OPENS(mq_open(name(), O_RDWR));
    std::string got;
    std::thread sleeper = start_thread([&] {
        shared().word[0] = thread_id();
        got = take(queue);
    });
    await("the thread calls", [] { return shared().word[0] != 0; });
    await_sleep(getpid(), shared().word[0]);
    OK(mq_close(queue));
    OK(mq_unlink(name()));
    OK(send(other, "still", 3));
    sleeper.join();
    SHOWS("3:still", got);
    SHOWS("4/64/0/0", state(other));
}

// A timed sleeper whose time is up is no longer served.
CASE(timed_sleeper_leaves) {
    const mqd_t queue = OPENS(create('a', 1, 16));
    char buffer[16];
    timespec at = in_ms(20);
    FAILS(ETIMEDOUT, static_cast<int>(mq_timedreceive(queue, buffer, sizeof buffer, nullptr, &at)));
    OK(send(queue, "x"));
    SHOWS("1/16/1/0", state(queue));
    at = in_ms(20);
    FAILS(ETIMEDOUT, mq_timedsend(queue, "ghost", 5, 9, &at));
    SHOWS("0:x", take(queue));
    SHOWS("1/16/0/0", state(queue));
}
