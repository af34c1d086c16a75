// Several processes at a queue: the killed, children and parents, senders and receivers in competition.
// No message is lost, doubled or out of its sender's order; pid fields are process ids.
#include <vector>

#include "msg_cases.hpp"

// The killed are forgotten: no message is lost in a receiver, none comes from a sender.
CASE(msg_wait_killed) {
    const int id = make();
    const pid_t a = receiver(id, ""), b = receiver(id, "1:x"), c = receiver(id, "", 1);
    for (const pid_t each : {a, c}) {
        kill(each, SIGKILL);
        SHOWS("signal KILL", finish(each));
    }
    OK(put(id, 1, "x"));
    SHOWS("exit 0", finish(b));
    OK(put(id, 1, "y"));
    SHOWS("1/1/16384", counts(id));
    SHOWS("1:y", pick(id));
    OK(remove_queue(id));
    const int full = make_full();
    const pid_t d = sender(full, 2, "d"), e = sender(full, 3, "e");
    kill(d, SIGKILL);
    SHOWS("signal KILL", finish(d));
    SHOWS("1:f", pick(full));
    SHOWS("exit 0", finish(e));
    SHOWS("3:e", drain(full));
    OK(remove_queue(full));
}

// Killed while messages come: each message is received, or still there.
CASE(msg_wait_killed_among_messages) {
    const int id = make();
    for (int round = 0; round < 50; ++round) {
        const int first = shared().word[1];
        const pid_t child = start([id] {
            for (;;) {
                if (pick(id, 1, 0).find(':') == std::string::npos) give_up("msgrcv: " + error_name(errno));
                ++shared().word[1];
            }
        });
        int sent = 0;
        while (shared().word[1] < first + 1 + round % 5)
            if (put(id, 1, "m") == 0) ++sent;
        kill(child, SIGKILL);
        if (finish(child) != "signal KILL") give_up("the child was not killed");
        const int left = static_cast<int>(look(id).msg_qnum);
        const int lost = sent - left - (shared().word[1] - first);
        if (lost != 0 && lost != 1) give_up("lost: " + std::to_string(lost));  // one was taken and not counted
        drain(id);
    }
    SHOWS("0/0/16384", counts(id));
    OK(remove_queue(id));
}

// A child uses what its parent made, and the other way round; pids are those of processes.
CASE(msg_wait_over_fork) {
    const int down = make(), up = make();
    const pid_t child = start([=] {
        for (int n = 0; n < 100; ++n) {
            const std::string got = pick(down, -9, 0);
            if (put(up, n + 1, "re " + got, 0) != 0) give_up("msgsnd: " + error_name(errno));
        }
        HOLDS(look(down).msg_lspid == getppid());
        std::thread thread = start_thread([=] { OK(put(up, 1000, "from a thread")); });
        thread.join();
    });
    long wrong = 0;
    for (int n = 0; n < 100; ++n) {
        wrong += put(down, 1 + n % 9, std::to_string(n)) != 0;
        wrong += pick(up, 0, 0) != std::to_string(n + 1) + ":re " + std::to_string(1 + n % 9) + ":" + std::to_string(n);
    }
    OK(wrong);
    SHOWS("exit 0", finish(child));
    HOLDS(look(down).msg_lrpid == child && look(up).msg_lspid == child && look(up).msg_lrpid == getpid());
    SHOWS("1000:from a thread", drain(up));
    OK(remove_queue(down));
    OK(remove_queue(up));
}

// Threads of several processes send and receive through a short queue, by types: each message arrives once, in its sender's order.
CASE(msg_wait_contended) {
    const int id = make();
    OK(set_bytes(id, 40));
    constexpr int kSenders = 6, kEach = 400;
    std::vector<pid_t> children;
    for (int s = 0; s < kSenders; s += 2)
        children.push_back(start([=] {
            std::vector<std::thread> threads;
            for (int own = s; own < s + 2; ++own)
                threads.emplace_back([=] {
                    for (int n = 0; n < kEach; ++n)
                        if (put(id, own + 1, std::to_string(n), 0) != 0) give_up("msgsnd: " + error_name(errno));
                });
            for (std::thread& each : threads) each.join();
        }));
    for (int s = 0; s < kSenders; ++s)
        children.push_back(start([=] {
            long wrong = 0;
            for (int n = 0; n < kEach; ++n) wrong += pick(id, s + 1, 0) != std::to_string(s + 1) + ":" + std::to_string(n);
            OK(wrong);
        }));
    for (const pid_t each : children) SHOWS("exit 0", finish(each));
    SHOWS("0/0/40", counts(id));
    OK(remove_queue(id));
}

// The same with receivers that take whatever comes: the sum is right.
CASE(msg_wait_contended_any) {
    const int id = make();
    OK(set_bytes(id, 12));
    std::vector<pid_t> children;
    for (int n = 0; n < 4; ++n)
        children.push_back(start([id] {
            for (;;) {
                const std::string got = pick(id, 0, 0);
                if (got == "9:end") return;
                shared().number[0] += std::atol(got.c_str() + 2);
                ++shared().number[1];
            }
        }));
    std::vector<pid_t> senders;
    for (int n = 0; n < 3; ++n)
        senders.push_back(start([id] {
            for (int i = 1; i <= 500; ++i)
                if (put(id, 1, std::to_string(i), 0) != 0) give_up("msgsnd: " + error_name(errno));
        }));
    for (const pid_t each : senders) SHOWS("exit 0", finish(each));
    for (size_t n = 0; n < children.size(); ++n) OK(put(id, 9, "end", 0));
    for (const pid_t each : children) SHOWS("exit 0", finish(each));
    GIVES(1500, shared().number[1].load());
    GIVES(3L * 500 * 501 / 2, shared().number[0].load());
    SHOWS("0/0/12", counts(id));
    OK(remove_queue(id));
}
