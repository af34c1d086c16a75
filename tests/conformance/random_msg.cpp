// random_msg: a seeded random sequence of msg* calls on several queues by one thread, its results and errnos as a transcript.
//
// The same seed makes the same calls, so the transcripts of the kernel and of Muster must be equal, line by line. No call waits.
// After each call its queue's msqid_ds is printed too: messages, bytes, limit, mode, and who sent and received last.
// Identifiers differ from run to run: a queue is called by its letter, a stale identifier by its place among the removed.
#include <sched.h>
#include <sys/ipc.h>
#include <sys/msg.h>

#include <array>
#include <cinttypes>
#include <climits>
#include <vector>

#include "case.hpp"

namespace {

constexpr int kQueues = 4, kStale = 6;
constexpr long kTypes = 5, kMaxBytes = 40, kMaxLimit = 120;

class Random {
public:
    explicit Random(uint64_t seed) : state_(seed) {}
    uint64_t next() {
        uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    long below(long n) { return static_cast<long>(next() % static_cast<uint64_t>(n)); }
    bool one_in(long n) { return below(n) == 0; }

private:
    uint64_t state_;
};

std::string number(long n) {
    return n == LONG_MIN ? "LONG_MIN" : n == LONG_MAX ? "LONG_MAX" : std::to_string(n);
}

class Caller {
public:
    Caller() { ids_.fill(-1); }

    std::string step(Random& r) {
        choose(r);
        const long kind = id_ == -1 && !r.one_in(6) ? 0 : r.below(100);  // EINVAL alone teaches little
        std::string text = called_ + " ";
        errno = kUntouched;
        if (kind < 6) text += get(r);
        else if (kind < 48) text += send(r);
        else if (kind < 88) text += receive(r);
        else if (kind < 94) text += change(r);
        else if (kind < 96) text += remove(r);
        else text += child(r);
        return text + " | " + state();
    }

    void remove_all() {
        for (const int id : ids_)
            if (id >= 0) msgctl(id, IPC_RMID, nullptr);
    }

private:
    struct Message {
        long type;
        char text[kMaxBytes + 8];
    };

    // Mostly a queue that is there; sometimes one that was, or nothing at all.
    void choose(Random& r) {
        slot_ = static_cast<size_t>(r.below(kQueues));
        id_ = ids_[slot_];
        called_ = std::string(1, static_cast<char>('a' + slot_));
        if (r.one_in(40) && !stale_.empty()) {
            const size_t which = static_cast<size_t>(r.below(static_cast<long>(stale_.size())));
            id_ = stale_[which];
            called_ = "stale " + std::to_string(which);
        } else if (id_ >= 0 && r.one_in(80)) {
            id_ = -2 - static_cast<int>(r.below(3));
            called_ = "number " + std::to_string(id_);
        }
    }

    static std::string result(const std::string& what, long got) {
        const int error = errno;
        return what + " -> " + std::to_string(got) + (error == kUntouched ? "" : " " + error_name(error));
    }

    key_t key() const {
        return static_cast<key_t>(0x52000000u | (static_cast<unsigned>(getpid()) & 0xfffffu) << 4 | static_cast<unsigned>(slot_));
    }

    std::string get(Random& r) {
        const int create = r.one_in(4) ? 0 : IPC_CREAT, only = r.one_in(3) ? IPC_EXCL : 0;
        if (ids_[slot_] < 0) secret_[slot_] = r.one_in(8);
        const bool secret = secret_[slot_];
        if (secret && ids_[slot_] >= 0) return "get: it has no key";
        const int mode = r.one_in(6) ? static_cast<int>(r.below(512)) | 0600 : 0600;
        errno = kUntouched;
        const int got = msgget(secret ? IPC_PRIVATE : key(), create | only | mode);
        const std::string text = result("get" + std::string(secret ? " private" : "") + (create ? " create" : "") + (only ? " only" : ""),
                                        got < 0 ? -1 : got == ids_[slot_] ? 1 : 0);
        if (got >= 0 && ids_[slot_] >= 0 && got != ids_[slot_]) return text + " ANOTHER QUEUE";
        if (got >= 0) id_ = ids_[slot_] = got;
        return text;
    }

    std::string send(Random& r) {
        Message message;
        const long forms[] = {0, -1, LONG_MIN, LONG_MAX, 1 + r.below(1000)};
        message.type = r.one_in(30) ? forms[r.below(5)] : 1 + r.below(kTypes);
        const size_t length = static_cast<size_t>(r.one_in(4) ? 0 : r.one_in(5) ? r.below(kMaxBytes + 1) : r.below(8));
        for (size_t i = 0; i < length; ++i) message.text[i] = static_cast<char>('a' + r.below(26));
        const bool too_long = r.one_in(100), nowhere = r.one_in(100);
        const size_t size = too_long ? 8193 + static_cast<size_t>(r.next() >> 1) : length;
        const int flags = IPC_NOWAIT | (r.one_in(10) ? MSG_NOERROR | MSG_EXCEPT : 0);
        const std::string what = "send type " + number(message.type) + " length " + (too_long ? "too long" : std::to_string(length));
        errno = kUntouched;
        return result(what + (nowhere ? " from nowhere" : ""), msgsnd(id_, hidden(nowhere ? nullptr : &message), size, flags));
    }

    std::string receive(Random& r) {
        Message message{};
        const long forms[] = {LONG_MIN, LONG_MAX, -LONG_MAX, 1 + r.below(1000), -1 - r.below(1000)};
        const bool copies = r.one_in(5);
        const long type = copies          ? r.below(6) - (r.one_in(8) ? 3 : 0)
                          : r.one_in(4)  ? 0
                          : r.one_in(20) ? forms[r.below(5)]
                                         : r.below(2 * kTypes + 1) - kTypes;
        int flags = IPC_NOWAIT | (copies ? MSG_COPY : 0);
        if (r.one_in(4)) flags |= MSG_NOERROR;
        if (r.one_in(copies ? 20 : 4)) flags |= MSG_EXCEPT;
        if (copies && r.one_in(10)) flags &= ~IPC_NOWAIT;
        const long room = r.one_in(5) ? r.below(10) : r.one_in(40) ? -1 - r.below(3) : kMaxBytes;
        const std::string what = std::string(copies ? "copy " : "receive type ") + number(type) + " room " + std::to_string(room) +
                                 (flags & MSG_NOERROR ? " noerror" : "") + (flags & MSG_EXCEPT ? " except" : "") +
                                 (flags & IPC_NOWAIT ? "" : " wait");
        errno = kUntouched;
        const long got = msgrcv(id_, &message, static_cast<size_t>(room), type, flags);
        std::string text = result(what, got);
        if (got >= 0) text += " type " + number(message.type) + " \"" + std::string(message.text, static_cast<size_t>(got)) + "\"";
        return text;
    }

    std::string change(Random& r) {
        msqid_ds wanted{};
        wanted.msg_perm.uid = geteuid();
        wanted.msg_perm.gid = getegid();
        wanted.msg_perm.mode = static_cast<decltype(wanted.msg_perm.mode)>(r.one_in(3) ? r.below(512) | 0600 : 0600);
        wanted.msg_qbytes = static_cast<msglen_t>(r.one_in(30) ? 16384 + r.below(2) : r.one_in(8) ? r.below(4) : r.below(kMaxLimit));
        const long form = r.below(20);
        if (form == 1) wanted.msg_perm.uid = static_cast<uid_t>(-1);
        const char* special = form == 0 ? " from nowhere" : form == 1 ? " no user" : form == 2 ? " unknown" : "";
        const std::string what = "set limit " + std::to_string(wanted.msg_qbytes) + special;
        errno = kUntouched;
        return result(what, msgctl(id_, form == 2 ? 4711 : IPC_SET, form == 0 ? hidden(static_cast<msqid_ds*>(nullptr)) : &wanted));
    }

    std::string remove(Random& r) {
        errno = kUntouched;
        const int got = msgctl(id_, IPC_RMID, nullptr);
        const std::string text = result("remove", got);
        if (got != 0 || id_ < 0) return text;
        for (int& each : ids_)
            if (each == id_) each = -1;
        if (stale_.size() < kStale) stale_.push_back(id_);
        else stale_[static_cast<size_t>(r.below(kStale))] = id_;
        return text;
    }

    // Another process makes a call, so that the pids tell something.
    std::string child(Random& r) {
        const bool sends = r.one_in(2);
        const long type = 1 + r.below(kTypes);
        const pid_t pid = fork();
        if (pid == 0) {
            Message message{type, "by a child"};
            const long got = sends ? msgsnd(id_, &message, 10, IPC_NOWAIT) : msgrcv(id_, &message, kMaxBytes, -type, IPC_NOWAIT);
            _exit(got < 0 ? 100 + errno % 100 : static_cast<int>(got));
        }
        children_.push_back(pid);
        return std::string(sends ? "child sends " : "child receives ") + std::to_string(type) + " -> " + finish(pid);
    }

    std::string who(pid_t pid) const {
        if (pid == 0) return "nobody";
        if (pid == getpid()) return "self";
        for (size_t i = children_.size(); i-- > 0;)
            if (children_[i] == pid) return "child " + std::to_string(i);
        return "stranger";
    }

    std::string state() const {
        msqid_ds now{};
        errno = kUntouched;
        if (msgctl(id_, IPC_STAT, &now) != 0) return error_name(errno);
        char mode[16];
        std::snprintf(mode, sizeof mode, "%o", static_cast<unsigned>(now.msg_perm.mode));
        return std::to_string(now.msg_qnum) + "/" + std::to_string(now.__msg_cbytes) + "/" + std::to_string(now.msg_qbytes) + " mode " + mode +
               " sent by " + who(now.msg_lspid) + (now.msg_stime ? "" : " never") + ", received by " + who(now.msg_lrpid) +
               (now.msg_rtime ? "" : " never");
    }

    std::array<int, kQueues> ids_{};
    std::array<bool, kQueues> secret_{};
    std::vector<int> stale_;
    std::vector<pid_t> children_;
    size_t slot_ = 0;
    int id_ = -1;
    std::string called_;
};

}  // namespace

int main(int argc, char** argv) {
    uint64_t seed = 1;
    long steps = 3000;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string option = argv[i];
        const long value = std::atol(argv[i + 1]);
        if (option == "--seed")
            seed = static_cast<uint64_t>(value);
        else if (option == "--steps")
            steps = value;
        else
            argc = 0;
    }
    if (argc % 2 == 0) {
        std::fputs("usage: random_msg [--seed N] [--steps M]\n", stderr);
        return 2;
    }
    alarm(300);
    if (geteuid() == 0) (void)unshare(CLONE_NEWIPC);  // where the limits are the defaults
    begin_run();
    require_queues();
    Random random(seed * 1000003);
    Caller caller;
    for (long step = 1; step <= steps; ++step) std::printf("%ld %s\n", step, caller.step(random).c_str()), std::fflush(stdout);
    caller.remove_all();
    return 0;
}
