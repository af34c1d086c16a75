// msgget, and msgsnd without sleeping: results, errnos and their precedence, what IPC_STAT says after each call.
// ENOENT EEXIST ENOSPC EINVAL EFAULT EAGAIN; identifiers, keys, mode bits; the limits by bytes and by count; bad pointers.
#include <sched.h>
#include <sys/stat.h>

#include <set>
#include <vector>

#include "msg_cases.hpp"

// The kernel's side in an IPC namespace of its own where that is allowed: limits there are the defaults, whatever they are on
// this machine or become while a case runs. To Muster it makes no difference.
int main(int argc, char** argv) {
    if (geteuid() == 0) (void)unshare(CLONE_NEWIPC);
    return run_conformance(argc, argv);
}

CASE(msg_get_private) {
    const int id = OPENS(msgget(IPC_PRIVATE, 0600));
    const int other = OPENS(msgget(IPC_PRIVATE, 0600 | IPC_CREAT | IPC_EXCL));
    HOLDS(id != other);
    OK(look(id).msg_perm.__key);
    OK(put(id, 1, "mine"));
    SHOWS("ENOMSG", pick(other));
    SHOWS("1:mine", pick(id));
    OK(remove_queue(id));
    OK(remove_queue(other));
}

CASE(msg_get_keys) {
    const key_t key = own_key(), another = own_key(1);
    FAILS(ENOENT, msgget(key, 0600));
    FAILS(ENOENT, msgget(key, 0600 | IPC_EXCL));
    FAILS(ENOENT, msgget(key, 0));
    const int id = OPENS(msgget(key, 0600 | IPC_CREAT));
    HOLDS(msgget(key, 0600) == id);
    HOLDS(msgget(key, 0) == id);
    HOLDS(msgget(key, IPC_EXCL) == id);
    HOLDS(msgget(key, 0600 | IPC_CREAT) == id);
    FAILS(EEXIST, msgget(key, 0600 | IPC_CREAT | IPC_EXCL));
    const int second = OPENS(msgget(another, 0600 | IPC_CREAT | IPC_EXCL));
    HOLDS(second != id);
    OK(put(id, 1, "a"));
    OK(remove_queue(id));
    FAILS(ENOENT, msgget(key, 0));
    HOLDS(msgget(another, 0) == second);
    const int next = OPENS(msgget(key, 0600 | IPC_CREAT | IPC_EXCL));
    HOLDS(next != id && next != second);
    SHOWS("0/0/16384", counts(next));
    OK(remove_queue(next));
    OK(remove_queue(second));
}

// Keys are all 32 bits; negative ones are as good.
CASE(msg_get_negative_key) {
    const key_t key = own_key() | INT_MIN;
    const int id = OPENS(msgget(key, 0600 | IPC_CREAT | IPC_EXCL));
    HOLDS(look(id).msg_perm.__key == key);
    HOLDS(msgget(key, 0600) == id);
    FAILS(ENOENT, msgget(own_key(), 0600));
    OK(remove_queue(id));
}

CASE(msg_get_initial_state) {
    timespec before{};
    clock_gettime(CLOCK_REALTIME_COARSE, &before);
    const int id = OPENS(msgget(own_key(), 0642 | IPC_CREAT));
    const msqid_ds now = look(id);
    OK(static_cast<long>(now.msg_qnum));
    OK(static_cast<long>(now.__msg_cbytes));
    GIVES(kQueueBytes, static_cast<long>(now.msg_qbytes));
    OK(now.msg_stime);
    OK(now.msg_rtime);
    OK(now.msg_lspid);
    OK(now.msg_lrpid);
    HOLDS(since(now.msg_ctime, before.tv_sec));
    GIVES(0642, now.msg_perm.mode);
    HOLDS(now.msg_perm.__key == own_key());
    HOLDS(now.msg_perm.uid == geteuid() && now.msg_perm.cuid == geteuid());
    HOLDS(now.msg_perm.gid == getegid() && now.msg_perm.cgid == getegid());
    HOLDS(now.msg_perm.__seq == id >> 15);
    OK(remove_queue(id));
}

// Nine bits count, whatever else is set, and the umask does not.
CASE(msg_get_mode_bits) {
    umask(077);
    for (const int flags : {0, 0600, 0777, 07777, 0111, 0666 | 0x70000, -1}) {
        const int id = OPENS(msgget(IPC_PRIVATE, flags));
        msqid_ds now{};
        HOLDS(msgctl(id & 0x7fff, MSG_STAT_ANY, &now) == id);  // which asks for no right
        GIVES(flags & 0777, now.msg_perm.mode);
        OK(remove_queue(id));
    }
}

// Many at a time, all different, each with its own messages.
CASE(msg_get_many) {
    std::vector<int> ids;
    std::set<int> different;
    for (int n = 0; n < 200; ++n) {
        const int id = make();
        ids.push_back(id);
        different.insert(id);
        if (put(id, n + 1, std::to_string(n)) != 0) give_up("msgsnd: " + error_name(errno));
    }
    GIVES(200, static_cast<long>(different.size()));
    HOLDS(*different.begin() >= 0);
    long right = 0;
    for (int n = 0; n < 200; ++n) right += pick(ids[static_cast<size_t>(n)]) == std::to_string(n + 1) + ":" + std::to_string(n);
    GIVES(200, right);
    for (const int id : ids)
        if (remove_queue(id) != 0) give_up("IPC_RMID: " + error_name(errno));
}

// A removed queue's identifier is nobody's, and does not become another's however often one is made and removed.
CASE(msg_stale_identifier) {
    const int id = make();
    OK(remove_queue(id));
    msqid_ds now{};
    for (const int wrong : {id, -1, INT_MIN, INT_MAX}) {
        FAILS(EINVAL, put(wrong, 1, "a"));
        FAILS(EINVAL, put(wrong, 1, "a", 0));
        SHOWS("EINVAL", pick(wrong));
        SHOWS("EINVAL", pick(wrong, 0, 0));
        FAILS(EINVAL, msgctl(wrong, IPC_STAT, &now));
        FAILS(EINVAL, msgctl(wrong, IPC_SET, &now));
        FAILS(EINVAL, msgctl(wrong, IPC_RMID, nullptr));
    }
    long reused = 0;
    for (int n = 0; n < 500; ++n) {
        const int next = make();
        reused += next == id;
        if (remove_queue(next) != 0) give_up("IPC_RMID: " + error_name(errno));
    }
    OK(reused);
    FAILS(EINVAL, remove_queue(id));
}

// As many as there may be: then ENOSPC, after ENOENT and EEXIST. On the kernel in an IPC namespace of the case's own.
CASE(msg_get_no_space) {
    if (geteuid() != 0) skip("needs root for a namespace of its own");
    if (unshare(CLONE_NEWIPC) != 0) skip("needs an IPC namespace of its own");
    msginfo limits{};
    OK(msgctl(0, IPC_INFO, reinterpret_cast<msqid_ds*>(&limits)));
    const int keyed = OPENS(msgget(own_key(), 0600 | IPC_CREAT));
    std::vector<int> ids;
    for (;;) {
        const int id = msgget(IPC_PRIVATE, 0600);
        if (id < 0) break;
        ids.push_back(id);
    }
    HOLDS(errno == ENOSPC);
    HOLDS(static_cast<int>(ids.size()) + 1 == limits.msgmni);
    FAILS(ENOSPC, msgget(own_key(1), 0600 | IPC_CREAT));
    FAILS(ENOSPC, msgget(own_key(1), 0600 | IPC_CREAT | IPC_EXCL));
    FAILS(ENOENT, msgget(own_key(1), 0600));
    FAILS(EEXIST, msgget(own_key(), 0600 | IPC_CREAT | IPC_EXCL));
    HOLDS(msgget(own_key(), 0600 | IPC_CREAT) == keyed);
    OK(put(ids.back(), 1, "still"));
    OK(remove_queue(ids.front()));
    ids.front() = OPENS(msgget(IPC_PRIVATE, 0600));
    FAILS(ENOSPC, msgget(IPC_PRIVATE, 0600));
    long failed = 0;
    for (const int id : ids) failed += remove_queue(id) != 0;
    OK(failed);
    OK(remove_queue(keyed));
}

CASE(msg_send_arguments) {
    const int id = make();
    for (const long type : {0L, -1L, LONG_MIN}) FAILS(EINVAL, put(id, type, "a"));
    for (const long type : {1L, LONG_MAX, 0x1'0000'0000L}) OK(put(id, type, ""));
    static Message message{1, ""};
    FAILS(EINVAL, msgsnd(id, &message, kMessageMax + 1, IPC_NOWAIT));
    for (const long length : {-1L, LONG_MIN, LONG_MAX}) FAILS(EINVAL, msgsnd(id, &message, static_cast<size_t>(hidden(&length)[0]), 0));
    SHOWS("3/0/16384", counts(id));
    OK(msgsnd(id, &message, kMessageMax, IPC_NOWAIT));
    SHOWS("4/8192/16384", counts(id));
    for (const long type : {1L, LONG_MAX, 0x1'0000'0000L}) GIVES(0, msgrcv(id, &message, 0, type, 0));
    GIVES(kMessageMax, msgrcv(id, &message, kMessageMax + 1, 0, 0));
    OK(remove_queue(id));
}

// Flags that mean nothing to msgsnd are ignored.
CASE(msg_send_flags) {
    const int id = make();
    for (const int flags : {MSG_NOERROR, MSG_EXCEPT, MSG_COPY, 0x10000, -1, 0}) OK(put(id, 1, "a", flags));
    SHOWS("6/6/16384", counts(id));
    OK(remove_queue(id));
}

CASE(msg_send_in_order) {
    const int id = make();
    for (int n = 0; n < 5; ++n) OK(put(id, 5 - n, std::string(1, static_cast<char>('a' + n))));
    SHOWS("5/5/16384", counts(id));
    SHOWS("5:a 4:b 3:c 2:d 1:e", drain(id));
    SHOWS("0/0/16384", counts(id));
    OK(remove_queue(id));
}

// All 8192 bytes arrive, zeroes and all; the sender's buffer may change at once.
CASE(msg_send_bytes) {
    const int id = make();
    static Message message, back;
    long wrong = 0;
    for (const int length : {0, 1, 7, 8, 9, 63, 64, 4047, 4048, 4049, 8191, 8192}) {
        message.type = length + 1;
        for (int i = 0; i < length; ++i) message.text[i] = static_cast<char>(i * 7 + length);
        OK(msgsnd(id, &message, static_cast<size_t>(length), 0));
        std::memset(message.text, 1, sizeof message.text);
        std::memset(&back, 0x55, sizeof back);
        GIVES(length, msgrcv(id, &back, kMessageMax, 0, 0));
        wrong += back.type != length + 1;
        for (int i = 0; i < length; ++i) wrong += back.text[i] != static_cast<char>(i * 7 + length);
        for (int i = length; i < kMessageMax; ++i) wrong += back.text[i] != 0x55;  // nothing beyond the message is written
    }
    OK(wrong);
    OK(remove_queue(id));
}

// After each call: messages, bytes, who sent and when; who received has not changed. A failing one changes nothing.
CASE(msg_send_stat) {
    const int id = make();
    timespec before{};
    clock_gettime(CLOCK_REALTIME_COARSE, &before);
    FAILS(EINVAL, put(id, 0, "no"));
    OK(look(id).msg_lspid);
    OK(look(id).msg_stime);
    OK(put(id, 1, "four"));
    SHOWS("1/4/16384", counts(id));
    msqid_ds now = look(id);
    HOLDS(now.msg_lspid == getpid());
    HOLDS(since(now.msg_stime, before.tv_sec));
    OK(now.msg_rtime);
    OK(now.msg_lrpid);
    const pid_t child = start([id] { OK(put(id, 2, "")); });
    SHOWS("exit 0", finish(child));
    SHOWS("2/4/16384", counts(id));
    HOLDS(look(id).msg_lspid == child);
    OK(set_bytes(id, 4));
    FAILS(EAGAIN, put(id, 2, "x"));
    HOLDS(look(id).msg_lspid == child);
    std::thread thread = start_thread([id] { OK(put(id, 2, "")); });
    thread.join();
    HOLDS(look(id).msg_lspid == getpid());
    OK(remove_queue(id));
}

// Full by bytes: exactly the limit fits.
CASE(msg_send_full_by_bytes) {
    const int id = make();
    OK(set_bytes(id, 10));
    OK(put(id, 1, "123456"));
    FAILS(EAGAIN, put(id, 1, "12345"));
    OK(put(id, 1, "1234"));
    FAILS(EAGAIN, put(id, 1, "1"));
    OK(put(id, 1, ""));  // no bytes, and the count has room
    SHOWS("3/10/10", counts(id));
    SHOWS("1:123456", pick(id));
    FAILS(EAGAIN, put(id, 1, "1234567"));
    OK(put(id, 1, "123456"));
    OK(remove_queue(id));
    const int usual = make();
    const std::string half(kMessageMax, 'h');
    OK(put(usual, 1, half));
    OK(put(usual, 1, half));
    FAILS(EAGAIN, put(usual, 1, "1"));
    OK(put(usual, 1, ""));
    SHOWS("3/16384/16384", counts(usual));
    OK(remove_queue(usual));
}

// Full by count: as many messages as bytes are allowed, however short.
CASE(msg_send_full_by_count) {
    const int id = make();
    OK(set_bytes(id, 3));
    for (int n = 0; n < 3; ++n) OK(put(id, 1, ""));
    FAILS(EAGAIN, put(id, 1, ""));
    FAILS(EAGAIN, put(id, 1, "1"));
    SHOWS("3/0/3", counts(id));
    SHOWS("1:", pick(id));
    OK(put(id, 1, "123"));
    FAILS(EAGAIN, put(id, 1, ""));
    OK(set_bytes(id, 4));
    OK(put(id, 1, ""));
    FAILS(EAGAIN, put(id, 1, ""));
    OK(remove_queue(id));
}

CASE(msg_send_full_by_count_of_default) {
    const int id = make();
    long sent = 0;
    while (put(id, 1, "") == 0) ++sent;
    HOLDS(errno == EAGAIN);
    GIVES(kQueueBytes, sent);
    SHOWS("16384/0/16384", counts(id));
    OK(remove_queue(id));
}

// A message that can never fit is refused as one that does not fit now.
CASE(msg_send_longer_than_queue) {
    const int id = make();
    OK(set_bytes(id, 100));
    FAILS(EAGAIN, put(id, 1, std::string(101, 'x')));
    FAILS(EAGAIN, put(id, 1, std::string(kMessageMax, 'x')));
    OK(put(id, 1, std::string(100, 'x')));
    OK(set_bytes(id, 0));
    FAILS(EAGAIN, put(id, 1, ""));
    SHOWS("1/100/0", counts(id));
    OK(remove_queue(id));
}

CASE(msg_send_bad_pointers) {
    const int id = make();
    const auto address = [](long at) { return hidden(reinterpret_cast<char*>(at)); };
    for (const long at : {0L, 8L, -4096L, 0x7fff'ffff'f000L, LONG_MIN}) FAILS(EFAULT, msgsnd(id, address(at), 1, IPC_NOWAIT));
    FAILS(EFAULT, msgsnd(id, address(0), 0, IPC_NOWAIT));
    FAILS(EFAULT, msgsnd(id, brink(0), 1, IPC_NOWAIT));
    FAILS(EFAULT, msgsnd(id, brink(7), 0, IPC_NOWAIT));   // the type is cut
    FAILS(EFAULT, msgsnd(id, brink(8), 1, IPC_NOWAIT));   // the type is there, the text is not
    FAILS(EFAULT, msgsnd(id, brink(20), 13, IPC_NOWAIT));
    FAILS(EFAULT, msgsnd(id, brink(6008), 6001, IPC_NOWAIT));
    FAILS(EFAULT, msgsnd(id, brink(4104), kMessageMax, IPC_NOWAIT));
    SHOWS("0/0/16384", counts(id));
    OK(look(id).msg_lspid);
    OK(msgsnd(id, brink(8), 0, IPC_NOWAIT));
    OK(msgsnd(id, brink(20), 12, IPC_NOWAIT));
    OK(msgsnd(id, brink(6008, PROT_READ), 6000, IPC_NOWAIT));  // reading is enough
    SHOWS("3/6012/16384", counts(id));
    OK(remove_queue(id));
}

// What is looked at first: the type's address; identifier and lengths; the type; the text's address; then the queue.
CASE(msg_send_precedence) {
    const int id = make(), gone = make();
    OK(remove_queue(gone));
    OK(set_bytes(id, 0));
    static Message bad{0, ""};
    const auto nowhere = [] { return hidden(static_cast<char*>(nullptr)); };
    char* no_text = brink(8);
    FAILS(EFAULT, msgsnd(-1, nowhere(), kMessageMax + 1, IPC_NOWAIT));
    FAILS(EFAULT, msgsnd(gone, nowhere(), 1, IPC_NOWAIT));
    FAILS(EFAULT, msgsnd(id, nowhere(), kMessageMax + 1, IPC_NOWAIT));
    FAILS(EINVAL, msgsnd(-1, no_text, 1, IPC_NOWAIT));
    FAILS(EINVAL, msgsnd(id, no_text, kMessageMax + 1, IPC_NOWAIT));
    FAILS(EINVAL, msgsnd(gone, &bad, 1, IPC_NOWAIT));
    FAILS(EINVAL, msgsnd(id, &bad, 1, IPC_NOWAIT));
    FAILS(EFAULT, msgsnd(gone, no_text, 1, IPC_NOWAIT));
    FAILS(EFAULT, msgsnd(id, no_text, 1, IPC_NOWAIT));
    char* bad_type_no_text = brink(8);
    std::memset(bad_type_no_text, 0, 8);
    FAILS(EINVAL, msgsnd(id, bad_type_no_text, 1, IPC_NOWAIT));
    FAILS(EAGAIN, msgsnd(id, no_text, 0, IPC_NOWAIT));
    OK(remove_queue(id));
}
