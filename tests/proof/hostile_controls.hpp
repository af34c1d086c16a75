// One sound object of each kind, beside those that are damaged: what they hold must never change, and they must go on working.
#pragma once
#include <sys/stat.h>
#include <string>
#include "proof/hostile_library.hpp"
#include "support/child.hpp"

namespace muster::test::hostile {

class Controls {
public:
    static constexpr key_t kKey = 0x7c7c;
    static constexpr const char* kName = "/control";
    static constexpr std::size_t kSegmentBytes = 12288;

    // Made by a process of its own: this one has nothing of theirs mapped.
    static bool make() {
        return in_a_child([] {
            const Library& l = library();
            mq_attr shape{};
            shape.mq_maxmsg = 8, shape.mq_msgsize = 128;
            const mqd_t queue = l.mq_open(kName, O_RDWR | O_CREAT | O_EXCL, 0600, &shape);
            const int typed = l.msgget(kKey, IPC_CREAT | IPC_EXCL | 0600), set = l.semget(kKey, 4, IPC_CREAT | IPC_EXCL | 0600);
            const int segment = l.shmget(kKey, kSegmentBytes, IPC_CREAT | IPC_EXCL | 0600);
            if (queue < 0 || typed < 0 || set < 0 || segment < 0) return 1;
            for (unsigned n = 0; n < 5; ++n) {
                MessageText text = body(n);
                if (l.mq_send(queue, text.text, 20 + n, n) != 0 || l.msgsnd(typed, &text, 20 + n, 0) != 0) return 2;
            }
            unsigned short values[4] = {5, 6, 7, 8};
            if (l.semctl(set, 0, SETALL, values) != 0) return 3;
            auto* bytes = static_cast<unsigned char*>(l.shmat(segment, nullptr, 0));
            if (bytes == reinterpret_cast<void*>(-1)) return 4;
            for (std::size_t at = 0; at < kSegmentBytes; ++at) bytes[at] = pattern(at);
            return 0;
        }) == 0;
    }
    // 0, or the number of what is wrong: each message is taken out, judged, and put in again; values go up and down.
    static int check() {
        return in_a_child([] {
            const Library& l = library();
            const mqd_t queue = l.mq_open(kName, O_RDWR | O_NONBLOCK);
            if (queue < 0) return 10;
            for (unsigned n = 5; n-- > 0;) {
                char text[128];
                unsigned priority = 0;
                if (l.mq_receive(queue, text, sizeof text, &priority) != static_cast<ssize_t>(20 + n) || priority != n) return 11;
                if (std::memcmp(text, body(n).text, 20 + n) != 0) return 12;
            }
            char none[128];
            if (l.mq_receive(queue, none, sizeof none, nullptr) != -1 || errno != EAGAIN) return 13;
            for (unsigned n = 0; n < 5; ++n)
                if (l.mq_send(queue, body(n).text, 20 + n, n) != 0) return 14;
            const int typed = l.msgget(kKey, 0);
            if (typed < 0) return 20;
            for (unsigned n = 0; n < 5; ++n) {
                MessageText text{};
                if (l.msgrcv(typed, &text, sizeof text.text, 0, IPC_NOWAIT) != static_cast<ssize_t>(20 + n) || text.type != static_cast<long>(n + 1)) return 21;
                if (std::memcmp(text.text, body(n).text, 20 + n) != 0 || l.msgsnd(typed, &text, 20 + n, IPC_NOWAIT) != 0) return 22;
            }
            const int set = l.semget(kKey, 4, 0);
            unsigned short values[4] = {};
            if (set < 0 || l.semctl(set, 0, GETALL, values) != 0) return 30;
            for (unsigned short n = 0; n < 4; ++n)
                if (values[n] != 5 + n) return 31;
            sembuf up{1, 3, IPC_NOWAIT}, down{1, -3, IPC_NOWAIT};
            if (l.semop(set, &up, 1) != 0 || l.semop(set, &down, 1) != 0) return 32;
            const int segment = l.shmget(kKey, 0, 0);
            auto* bytes = segment < 0 ? nullptr : static_cast<unsigned char*>(l.shmat(segment, nullptr, 0));
            if (bytes == nullptr || bytes == reinterpret_cast<void*>(-1)) return 40;
            for (std::size_t at = 0; at < kSegmentBytes; ++at)
                if (bytes[at] != pattern(at)) return 41;
            return l.shmdt(bytes) == 0 ? 0 : 42;
        });
    }

    // What `body` returns, in a process that ends with it; 100 and more: it was killed, 99: it did not end.
    template <class Body>
    static int in_a_child(Body body) {
        Child child([&] { _exit(body()); });
        if (!child.ends()) return 99;
        return WIFEXITED(child.status()) ? WEXITSTATUS(child.status()) : 100 + WTERMSIG(child.status());
    }

private:
    static unsigned char pattern(std::size_t at) { return static_cast<unsigned char>(at * 37 + at / 251); }
    static MessageText body(unsigned n) {
        MessageText text{static_cast<long>(n + 1), {}};
        for (unsigned at = 0; at < 20 + n; ++at) text.text[at] = static_cast<char>('a' + (at + n) % 26);
        return text;
    }
};

}  // namespace muster::test::hostile
