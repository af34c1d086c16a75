// What the message queue cases share.
#pragma once
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>

#include <climits>
#include <functional>
#include <string>

#include "case.hpp"

#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13
#endif

namespace msg_cases {

constexpr long kMessageMax = 8192, kQueueBytes = 16384;  // MSGMAX, MSGMNB
constexpr int kNobody = 65534;

struct Message {
    long type;
    char text[kMessageMax + 1];
};

// A key of this run's own, the same in all its processes; it does not enter a transcript.
inline key_t own_key(int number = 0) {
    unsigned run = 0;
    for (const char* c = name(); *c; ++c)
        if (*c >= '0' && *c <= '9') run = run * 10 + static_cast<unsigned>(*c - '0');
    return static_cast<key_t>(0x51000000u | (run & 0xfffffu) << 4 | static_cast<unsigned>(number));
}

inline int make(int mode = 0600) {
    const int id = msgget(IPC_PRIVATE, mode);
    if (id < 0) give_up("msgget: " + error_name(errno));
    return id;
}
inline int remove_queue(int id) {
    return msgctl(id, IPC_RMID, nullptr);
}
inline msqid_ds look(int id) {
    msqid_ds now{};
    if (msgctl(id, IPC_STAT, &now) != 0) give_up("IPC_STAT: " + error_name(errno));
    return now;
}
inline int set_bytes(int id, unsigned long bytes) {
    msqid_ds wanted = look(id);
    wanted.msg_qbytes = bytes;
    return msgctl(id, IPC_SET, &wanted);
}
inline int set_mode(int id, int mode) {
    msqid_ds wanted = look(id);
    wanted.msg_perm.mode = static_cast<decltype(wanted.msg_perm.mode)>(mode);
    return msgctl(id, IPC_SET, &wanted);
}
// "messages/bytes/limit"
inline std::string counts(int id) {
    msqid_ds now{};
    if (msgctl(id, IPC_STAT, &now) != 0) return error_name(errno);
    return std::to_string(now.msg_qnum) + "/" + std::to_string(now.__msg_cbytes) + "/" + std::to_string(now.msg_qbytes);
}
inline std::string mode_of(int id) {
    char text[16];
    std::snprintf(text, sizeof text, "%o", static_cast<unsigned>(look(id).msg_perm.mode));
    return text;
}

inline int put(int id, long type, const std::string& text, int flags = IPC_NOWAIT) {
    static thread_local Message message;
    message.type = type;
    std::memcpy(message.text, text.data(), text.size());
    return msgsnd(id, &message, text.size(), flags);
}
// "type:text" or the name of the error; what was there of errno stays on success.
inline std::string pick(int id, long type = 0, int flags = IPC_NOWAIT, size_t room_bytes = kMessageMax) {
    static thread_local Message message;
    message.type = -77;
    errno = kUntouched;
    const ssize_t length = msgrcv(id, &message, room_bytes, type, flags);
    if (length < 0) return error_name(errno);
    if (errno != kUntouched) return "changed errno to " + error_name(errno);
    return std::to_string(message.type) + ":" + std::string(message.text, static_cast<size_t>(length));
}
// All messages in their order, taken out: "1:a 2:b".
inline std::string drain(int id) {
    std::string all;
    for (std::string one; (one = pick(id)) != "ENOMSG"; all += (all.empty() ? "" : " ") + one)
        if (one.find(':') == std::string::npos) return all + " " + one;
    return all;
}

// The last so many accessible bytes before a page that is not.
inline char* brink(size_t bytes, int protection = PROT_READ | PROT_WRITE) {
    constexpr size_t kPage = 4096;
    const size_t pages = (bytes + kPage - 1) / kPage;
    void* at = mmap(nullptr, (pages + 1) * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) give_up("mmap: " + error_name(errno));
    char* end = static_cast<char*>(at) + pages * kPage;
    const long type = 1;
    if (bytes >= sizeof type) std::memcpy(end - bytes, &type, sizeof type);
    if (mprotect(at, pages * kPage, protection) != 0 || mprotect(end, kPage, PROT_NONE) != 0) give_up("mprotect: " + error_name(errno));
    return end - bytes;
}

// A process that runs the body, whose first deed is a call that has to wait; asleep in it when this returns.
inline pid_t asleep(const std::function<void()>& body) {
    const int before = shared().word[63];
    const pid_t child = start([&] {
        ++shared().word[63];
        body();
    });
    await("the process is about to call", [before] { return shared().word[63] > before; });
    await_sleep(child);
    return child;
}

// A queue with room for one byte of one message, and that is in it: every sender has to wait.
inline int make_full() {
    const int id = make();
    if (set_bytes(id, 1) != 0 || put(id, 1, "f") != 0) give_up("no full queue: " + error_name(errno));
    return id;
}
// Asleep in msgrcv until it has what it should get, and in msgsnd until the message is in.
inline pid_t receiver(int id, const char* want, long type = 0, int flags = 0, size_t room_bytes = kMessageMax) {
    return asleep([=] { SHOWS(want, pick(id, type, flags, room_bytes)); });
}
inline pid_t sender(int id, long type, const std::string& text) {
    return asleep([=] { OK(put(id, type, text, 0)); });
}

// Between two moments, in seconds; the second is the precise clock's, which is never behind the coarse one.
inline bool since(time_t moment, time_t start_s) {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return moment >= start_s && moment <= now.tv_sec;
}

inline void need_root() {
    if (geteuid() != 0) skip("needs root to become another user");
}

}  // namespace msg_cases
using namespace msg_cases;
