// msgctl: IPC_STAT SET RMID, IPC_INFO, MSG_INFO, MSG_STAT, MSG_STAT_ANY; the calls by their numbers.
// EINVAL EFAULT EPERM and their precedence; what IPC_SET changes and what it leaves; limits below what is queued.
#include <sys/syscall.h>

#include "msg_cases.hpp"

// The kernel's rule for a limit above MSGMNB: CAP_SYS_RESOURCE, which not even every root has.
static bool may_raise() {
    std::FILE* file = std::fopen("/proc/self/status", "re");
    char line[256];
    unsigned long long capabilities = 0;
    while (file && std::fgets(line, sizeof line, file)) (void)std::sscanf(line, "CapEff: %llx", &capabilities);
    if (file) std::fclose(file);
    return capabilities >> 24 & 1;
}

static int control_info(int id, int command, msginfo* info) {
    return msgctl(id, command, reinterpret_cast<msqid_ds*>(info));
}

// The place in the table that MSG_STAT takes.
static int index_of(int id) {
    return id & 0x7fff;
}

CASE(msg_control_set) {
    timespec before{};
    clock_gettime(CLOCK_REALTIME_COARSE, &before);
    const int id = OPENS(msgget(own_key(), 0600 | IPC_CREAT));
    OK(put(id, 1, "abc"));
    const msqid_ds was = look(id);
    msqid_ds wanted{};
    std::memset(&wanted, 0x5a, sizeof wanted);
    wanted.msg_perm.uid = geteuid();
    wanted.msg_perm.gid = getegid();
    wanted.msg_perm.mode = 0612;
    wanted.msg_qbytes = 100;
    OK(msgctl(id, IPC_SET, &wanted));
    const msqid_ds now = look(id);
    SHOWS("612", mode_of(id));
    SHOWS("1/3/100", counts(id));
    HOLDS(now.msg_perm.__key == was.msg_perm.__key && now.msg_perm.__seq == was.msg_perm.__seq);
    HOLDS(now.msg_perm.cuid == was.msg_perm.cuid && now.msg_perm.cgid == was.msg_perm.cgid);
    HOLDS(now.msg_perm.uid == was.msg_perm.uid && now.msg_perm.gid == was.msg_perm.gid);
    HOLDS(now.msg_stime == was.msg_stime && now.msg_rtime == 0);
    HOLDS(now.msg_lspid == getpid() && now.msg_lrpid == 0);
    HOLDS(since(now.msg_ctime, before.tv_sec));
    SHOWS("1:abc", pick(id));
    OK(remove_queue(id));
}

// Nine bits of the mode are taken.
CASE(msg_control_set_mode) {
    const int id = make();
    for (const int mode : {0777, 0, 07777, 01000}) {
        msqid_ds wanted{};
        wanted.msg_perm.uid = geteuid();
        wanted.msg_perm.gid = getegid();
        wanted.msg_perm.mode = static_cast<decltype(wanted.msg_perm.mode)>(mode);
        wanted.msg_qbytes = 100;
        OK(msgctl(id, IPC_SET, &wanted));
        if (geteuid() == 0) SHOWS(mode & 0777 ? "777" : "0", mode_of(id));
    }
    OK(remove_queue(id));
}

// msg_ctime is that of the last IPC_SET: sending and receiving leave it, a later change moves it.
CASE(msg_control_change_time) {
    const int id = make();
    const time_t made = look(id).msg_ctime;
    await("the second is over", [made] { return time(nullptr) > made; });
    OK(put(id, 1, "abc"));
    SHOWS("1:abc", pick(id));
    HOLDS(look(id).msg_ctime == made);
    HOLDS(look(id).msg_stime > made && look(id).msg_rtime > made);
    msqid_ds wanted = look(id);
    wanted.msg_ctime = 5;
    OK(msgctl(id, IPC_SET, &wanted));
    HOLDS(look(id).msg_ctime > made);
    OK(remove_queue(id));
}

// Each call's time is that of the call.
CASE(msg_control_times) {
    const int id = make();
    OK(put(id, 1, ""));
    OK(put(id, 1, ""));
    SHOWS("1:", pick(id));
    const msqid_ds was = look(id);
    await("the second is over", [was] { return time(nullptr) > was.msg_stime && time(nullptr) > was.msg_rtime; });
    SHOWS("ENOMSG", pick(id, 7));
    SHOWS("E2BIG", put(id, 2, "xx") == 0 ? pick(id, 2, 0, 1) : "?");
    HOLDS(look(id).msg_stime > was.msg_stime && look(id).msg_rtime == was.msg_rtime);
    SHOWS("1:", pick(id));
    HOLDS(look(id).msg_rtime > was.msg_rtime);
    OK(remove_queue(id));
}

CASE(msg_control_bad_pointers) {
    const int id = make(), gone = make();
    OK(remove_queue(gone));
    const auto at = [](long address) { return hidden(reinterpret_cast<msqid_ds*>(address)); };
    for (const long address : {0L, 8L, -4096L, LONG_MIN}) {
        FAILS(EFAULT, msgctl(id, IPC_STAT, at(address)));
        FAILS(EFAULT, msgctl(id, IPC_SET, at(address)));
        FAILS(EFAULT, msgctl(0, IPC_INFO, at(address)));
        FAILS(EFAULT, msgctl(0, MSG_INFO, at(address)));
        FAILS(EFAULT, msgctl(index_of(id), MSG_STAT, at(address)));
        FAILS(EFAULT, msgctl(index_of(id), MSG_STAT_ANY, at(address)));
    }
    const auto cut = [] { return reinterpret_cast<msqid_ds*>(brink(sizeof(msqid_ds) - 8)); };
    FAILS(EFAULT, msgctl(id, IPC_STAT, cut()));
    FAILS(EFAULT, msgctl(id, IPC_SET, cut()));
    FAILS(EFAULT, control_info(0, IPC_INFO, reinterpret_cast<msginfo*>(brink(sizeof(msginfo) - 4))));
    FAILS(EFAULT, msgctl(id, IPC_STAT, reinterpret_cast<msqid_ds*>(brink(sizeof(msqid_ds), PROT_READ))));
    OK(msgctl(id, IPC_STAT, reinterpret_cast<msqid_ds*>(brink(sizeof(msqid_ds)))));
    HOLDS(control_info(0, IPC_INFO, reinterpret_cast<msginfo*>(brink(sizeof(msginfo)))) >= 0);
    SHOWS("0/0/16384", counts(id));
    SHOWS("600", mode_of(id));
    OK(remove_queue(id));
}

// IPC_SET reads its argument before it looks for the queue; IPC_STAT and the others write theirs last; IPC_RMID has none.
CASE(msg_control_precedence) {
    const int id = make(), gone = make();
    OK(remove_queue(gone));
    const auto nowhere = [] { return hidden(static_cast<msqid_ds*>(nullptr)); };
    FAILS(EFAULT, msgctl(gone, IPC_SET, nowhere()));
    FAILS(EINVAL, msgctl(-1, IPC_SET, nowhere()));
    FAILS(EINVAL, msgctl(gone, IPC_STAT, nowhere()));
    FAILS(EINVAL, msgctl(gone, IPC_RMID, nowhere()));
    FAILS(EINVAL, msgctl(-1, IPC_RMID, nowhere()));
    FAILS(EINVAL, msgctl(index_of(gone), MSG_STAT, nowhere()));
    FAILS(EINVAL, msgctl(index_of(gone), MSG_STAT_ANY, nowhere()));
    FAILS(EINVAL, msgctl(-1, IPC_INFO, nowhere()));
    for (const int command : {-1, 4711, INT_MIN, INT_MAX, 4, 16, 0x100 | IPC_STAT}) {
        FAILS(EINVAL, msgctl(id, command, nowhere()));
        FAILS(EINVAL, msgctl(gone, command, nowhere()));
        FAILS(EINVAL, msgctl(-1, command, nowhere()));
    }
    OK(msgctl(id, IPC_RMID, reinterpret_cast<msqid_ds*>(hidden(reinterpret_cast<char*>(-4096)))));
    FAILS(EINVAL, remove_queue(id));
}

// Any limit up to MSGMNB is allowed, also one below what is queued: nothing is lost, and nothing comes in until it fits.
CASE(msg_control_limit_lowered) {
    const int id = make();
    for (int n = 0; n < 4; ++n) OK(put(id, n + 1, "12345"));
    OK(set_bytes(id, 12));
    SHOWS("4/20/12", counts(id));
    FAILS(EAGAIN, put(id, 9, ""));
    SHOWS("1:12345", pick(id));
    SHOWS("2:12345", pick(id));
    FAILS(EAGAIN, put(id, 9, "123"));
    OK(put(id, 9, "12"));
    OK(put(id, 9, ""));
    OK(set_bytes(id, 0));
    FAILS(EAGAIN, put(id, 9, ""));
    SHOWS("3:12345 4:12345 9:12 9:", drain(id));
    FAILS(EAGAIN, put(id, 9, ""));
    OK(set_bytes(id, kQueueBytes));
    OK(put(id, 9, ""));
    OK(remove_queue(id));
}

// Above MSGMNB only with the privilege, and then without end.
CASE(msg_control_limit_raised) {
    const int id = make();
    OK(set_bytes(id, kQueueBytes));
    if (may_raise()) {
        OK(set_bytes(id, kQueueBytes + 1));
        OK(set_bytes(id, 1'000'000));
        for (int n = 0; n < 20; ++n) OK(put(id, n + 1, std::string(kMessageMax, 'x')));
        SHOWS("20/163840/1000000", counts(id));
        OK(set_bytes(id, ULONG_MAX));
        SHOWS("20/163840/18446744073709551615", counts(id));
        OK(put(id, 1, "x"));
    } else {
        for (const unsigned long bytes : {kQueueBytes + 1ul, 1'000'000ul, ULONG_MAX}) FAILS(EPERM, set_bytes(id, bytes));
        SHOWS("0/0/16384", counts(id));
    }
    OK(remove_queue(id));
}

// An IPC_SET that fails changes nothing; no user is called -1.
CASE(msg_control_set_refused) {
    const int id = make();
    msqid_ds wanted = look(id);
    wanted.msg_perm.uid = static_cast<uid_t>(-1);
    wanted.msg_perm.mode = 0666;
    wanted.msg_qbytes = 5;
    FAILS(EINVAL, msgctl(id, IPC_SET, &wanted));
    wanted.msg_perm.uid = geteuid();
    wanted.msg_perm.gid = static_cast<gid_t>(-1);
    FAILS(EINVAL, msgctl(id, IPC_SET, &wanted));
    SHOWS("600", mode_of(id));
    SHOWS("0/0/16384", counts(id));
    OK(remove_queue(id));
}

CASE(msg_control_info) {
    msginfo info{};
    HOLDS(control_info(0, IPC_INFO, &info) >= 0);
    HOLDS(control_info(INT_MAX, IPC_INFO, &info) >= 0);
    GIVES(kMessageMax, info.msgmax);
    GIVES(kQueueBytes, info.msgmnb);
    GIVES(32000, info.msgmni);
    GIVES(512000, info.msgpool);
    GIVES(16384, info.msgmap);
    GIVES(16384, info.msgtql);
    GIVES(16, info.msgssz);
    GIVES(65535, info.msgseg);
    FAILS(EINVAL, control_info(-1, IPC_INFO, &info));
}

// What there is, as far as this case can know: at least its own queues, messages and bytes.
CASE(msg_control_totals) {
    const int id = make(), other = make();
    OK(put(id, 1, "12345"));
    OK(put(id, 1, ""));
    OK(put(other, 1, "123"));
    msginfo info{};
    const int highest = control_info(0, MSG_INFO, &info);
    HOLDS(highest >= index_of(id) && highest >= index_of(other));
    HOLDS(info.msgpool >= 2);  // queues
    HOLDS(info.msgmap >= 3);   // messages
    HOLDS(info.msgtql >= 8);   // bytes
    GIVES(kMessageMax, info.msgmax);
    GIVES(kQueueBytes, info.msgmnb);
    GIVES(32000, info.msgmni);
    GIVES(16, info.msgssz);
    HOLDS(control_info(0, IPC_INFO, &info) >= index_of(id));
    OK(remove_queue(id));
    OK(remove_queue(other));
}

// The table's place tells the identifier, as long as the queue is there.
CASE(msg_control_stat_by_index) {
    const int id = make(0604);
    OK(put(id, 1, "12345"));
    for (const int command : {MSG_STAT, MSG_STAT_ANY}) {
        msqid_ds now{};
        HOLDS(msgctl(index_of(id), command, &now) == id);
        HOLDS(now.msg_qnum == 1 && now.__msg_cbytes == 5 && now.msg_perm.mode == 0604 && now.msg_lspid == getpid());
        FAILS(EINVAL, msgctl(-1, command, &now));
        FAILS(EINVAL, msgctl(INT_MAX, command, &now));
    }
    OK(remove_queue(id));
    msqid_ds now{};
    FAILS(EINVAL, msgctl(index_of(id), MSG_STAT, &now));
    FAILS(EINVAL, msgctl(index_of(id), MSG_STAT_ANY, &now));
}

// A walk over the table finds each of one's own queues once.
CASE(msg_control_walk) {
    int ids[5], found[5] = {};
    for (int& id : ids) id = make();
    msginfo info{};
    const int highest = control_info(0, MSG_INFO, &info);
    for (int index = 0; index <= highest; ++index) {
        msqid_ds now{};
        const int id = msgctl(index, MSG_STAT_ANY, &now);
        if (id < 0 && errno != EINVAL) give_up("MSG_STAT_ANY: " + error_name(errno));
        for (int n = 0; n < 5; ++n) found[n] += id == ids[n];
    }
    for (int n = 0; n < 5; ++n) GIVES(1, found[n]);
    for (const int id : ids) OK(remove_queue(id));
}

// Removal takes the messages along, at once and for all.
CASE(msg_control_removal) {
    const int id = OPENS(msgget(own_key(), 0600 | IPC_CREAT));
    for (int n = 0; n < 100; ++n) (void)put(id, 1, "gone");
    OK(remove_queue(id));
    FAILS(EINVAL, remove_queue(id));
    SHOWS("EINVAL", counts(id));
    FAILS(ENOENT, msgget(own_key(), 0));
    const int next = OPENS(msgget(own_key(), 0600 | IPC_CREAT | IPC_EXCL));
    SHOWS("ENOMSG", pick(next));
    OK(remove_queue(next));
}

// The calls by their numbers do the same.
CASE(msg_calls_by_number) {
    const long id = syscall(SYS_msgget, own_key(), 0600 | IPC_CREAT | IPC_EXCL);
    HOLDS(id >= 0);
    HOLDS(msgget(own_key(), 0) == id);
    FAILS(EEXIST, syscall(SYS_msgget, own_key(), 0600 | IPC_CREAT | IPC_EXCL));
    FAILS(ENOENT, syscall(SYS_msgget, own_key(1), 0600));
    Message message{5, "text"};
    OK(syscall(SYS_msgsnd, id, &message, 4L, IPC_NOWAIT));
    FAILS(EFAULT, syscall(SYS_msgsnd, id, nullptr, 4L, IPC_NOWAIT));
    FAILS(EINVAL, syscall(SYS_msgsnd, id, &message, -1L, IPC_NOWAIT));
    FAILS(EINVAL, syscall(SYS_msgsnd, -1L, &message, 4L, IPC_NOWAIT));
    SHOWS("1/4/16384", counts(static_cast<int>(id)));
    FAILS(E2BIG, syscall(SYS_msgrcv, id, &message, 3L, 0L, 0));
    FAILS(ENOMSG, syscall(SYS_msgrcv, id, &message, 4L, 6L, IPC_NOWAIT));
    GIVES(4, syscall(SYS_msgrcv, id, &message, kMessageMax, -9L, IPC_NOWAIT));
    GIVES(5, message.type);
    msqid_ds now{};
    OK(syscall(SYS_msgctl, id, IPC_STAT, &now));
    HOLDS(now.msg_perm.__key == own_key() && now.msg_lrpid == getpid() && now.msg_qnum == 0);
    now.msg_qbytes = 7;
    OK(syscall(SYS_msgctl, id, IPC_SET, &now));
    SHOWS("0/0/7", counts(static_cast<int>(id)));
    FAILS(EFAULT, syscall(SYS_msgctl, id, IPC_STAT, nullptr));
    FAILS(EINVAL, syscall(SYS_msgctl, id, 4711, nullptr));
    OK(syscall(SYS_msgctl, id, IPC_RMID, nullptr));
    FAILS(EINVAL, syscall(SYS_msgctl, id, IPC_RMID, nullptr));
    FAILS(EINVAL, syscall(SYS_msgsnd, id, &message, 4L, IPC_NOWAIT));
    FAILS(EINVAL, syscall(SYS_msgrcv, id, &message, 4L, 0L, IPC_NOWAIT));
}

// And wait as they do.
CASE(msg_calls_by_number_wait) {
    const int id = make();
    const pid_t child = asleep([id] {
        Message message{};
        GIVES(2, syscall(SYS_msgrcv, id, &message, 8L, 3L, 0));
        HOLDS(message.type == 3 && message.text[0] == 'o');
    });
    OK(put(id, 3, "ok"));
    SHOWS("exit 0", finish(child));
    OK(set_bytes(id, 1));
    OK(put(id, 1, "x"));
    const pid_t sender = asleep([id] {
        Message message{4, "y"};
        OK(syscall(SYS_msgsnd, id, &message, 1L, 0));
    });
    SHOWS("1:x", pick(id));
    SHOWS("exit 0", finish(sender));
    SHOWS("4:y", drain(id));
    OK(remove_queue(id));
}
