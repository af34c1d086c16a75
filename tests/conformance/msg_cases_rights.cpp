// Who may do what: two users and their groups, by the effective ones at each call; changes of rights under sleepers.
// EACCES to find, send, receive and look; EPERM to change and remove; what is judged before the rights, and what after.
#include <grp.h>
#include <sys/stat.h>

#include "msg_cases.hpp"

namespace {

constexpr int kMember = 4242;

// All ids, no capabilities, one group.
void become(int user, int group) {
    if (setgroups(0, nullptr) != 0 || setresgid(static_cast<gid_t>(group), static_cast<gid_t>(group), static_cast<gid_t>(group)) != 0 ||
        setresuid(static_cast<uid_t>(user), static_cast<uid_t>(user), static_cast<uid_t>(user)) != 0)
        give_up("cannot become another user: " + error_name(errno));
}
int give_away(int id, int user, int group = 0) {
    msqid_ds wanted = look(id);
    wanted.msg_perm.uid = static_cast<uid_t>(user);
    wanted.msg_perm.gid = static_cast<gid_t>(group);
    return msgctl(id, IPC_SET, &wanted);
}
// As asleep(), by another user from before the call on.
pid_t nobody_asleep(const std::function<void()>& body) {
    shared().word[62] = 0;
    const pid_t child = start([&] {
        become_nobody();
        shared().word[62] = 1;
        body();
    });
    await("the process is about to call", [] { return shared().word[62] == 1; });
    await_sleep(child);
    return child;
}
// Everything that asks for a right, as a step each.
void try_all(int id) {
    SEES(put(id, 1, "m"));
    note("receives " + pick(id));
    note("copies " + pick(id, 0, MSG_COPY | IPC_NOWAIT));
    msqid_ds now{};
    SEES(msgctl(id, IPC_STAT, &now));
    SEES(msgctl(id & 0x7fff, MSG_STAT, &now) == id ? 0 : -1);
    SEES(msgctl(id & 0x7fff, MSG_STAT_ANY, &now) == id ? 0 : -1);
}

}  // namespace

// Another user without rights. Keys, lengths, types and addresses are judged before; the queue's state after.
CASE(msg_rights_none) {
    need_root();
    const int id = OPENS(msgget(own_key(), 0600 | IPC_CREAT));
    OK(put(id, 1, "abc"));
    OK(set_bytes(id, 3));
    const pid_t child = start([id] {
        become_nobody();
        FAILS(EACCES, msgget(own_key(), 0600));
        FAILS(EACCES, msgget(own_key(), 0400));
        FAILS(EACCES, msgget(own_key(), 0200 | IPC_CREAT));
        FAILS(EACCES, msgget(own_key(), 04));
        FAILS(EEXIST, msgget(own_key(), 0600 | IPC_CREAT | IPC_EXCL));
        HOLDS(msgget(own_key(), 0) == id);
        HOLDS(msgget(own_key(), 0111) == -1);
        FAILS(EACCES, put(id, 1, "a"));
        FAILS(EACCES, put(id, 1, "a", 0));
        FAILS(EINVAL, put(id, 0, "a"));
        FAILS(EFAULT, msgsnd(id, brink(8), 1, IPC_NOWAIT));
        SHOWS("EACCES", pick(id));
        SHOWS("EACCES", pick(id, 9));
        SHOWS("EACCES", pick(id, 9, 0));
        SHOWS("EACCES", pick(id, 0, 0, 1));
        SHOWS("EACCES", pick(id, 0, MSG_COPY | IPC_NOWAIT));
        SHOWS("EINVAL", pick(id, 0, MSG_COPY));
        FAILS(EACCES, msgrcv(id, hidden(static_cast<char*>(nullptr)), 9, 0, IPC_NOWAIT));
        msqid_ds now{};
        FAILS(EACCES, msgctl(id, IPC_STAT, &now));
        FAILS(EACCES, msgctl(id, IPC_STAT, hidden(static_cast<msqid_ds*>(nullptr))));
        FAILS(EACCES, msgctl(id & 0x7fff, MSG_STAT, &now));
        HOLDS(msgctl(id & 0x7fff, MSG_STAT_ANY, &now) == id);
        HOLDS(now.msg_qnum == 1 && now.msg_perm.uid == 0);
        FAILS(EPERM, msgctl(id, IPC_SET, &now));
        now.msg_qbytes = ULONG_MAX;
        now.msg_perm.uid = static_cast<uid_t>(-1);
        FAILS(EPERM, msgctl(id, IPC_SET, &now));
        FAILS(EFAULT, msgctl(id, IPC_SET, hidden(static_cast<msqid_ds*>(nullptr))));
        FAILS(EINVAL, msgctl(id, 4711, &now));
        FAILS(EPERM, remove_queue(id));
    });
    SHOWS("exit 0", finish(child));
    SHOWS("1/3/3", counts(id));
    HOLDS(look(id).msg_lspid == getpid() && look(id).msg_lrpid == 0);
    OK(remove_queue(id));
}

// Every mode against what it lets the owner, the group and others do; the superuser may all.
CASE(msg_rights_all_modes) {
    need_root();
    for (const int mode : {0, 0400, 0200, 0600, 040, 020, 060, 04, 02, 06, 0444, 0222, 0666, 0466, 0646, 0622, 0700, 0111}) {
        char text[16];
        std::snprintf(text, sizeof text, "mode %o", static_cast<unsigned>(mode));
        note(text);
        const int id = make(mode);
        OK(give_away(id, 0, kMember));
        try_all(id);
        struct {
            const char* who;
            int user, group;
        } const users[] = {{"others", kNobody, kNobody}, {"the group", kNobody, kMember}};
        for (const auto& each : users) {
            drain(id);
            OK(put(id, 2, "r"));
            const pid_t child = start([&] {
                note(std::string(each.who) + ", " + text);
                become(each.user, each.group);
                try_all(id);
            });
            SHOWS("exit 0", finish(child));
        }
        OK(remove_queue(id));
        const pid_t owner = start([&] {
            note(std::string("the owner, ") + text);
            become_nobody();
            const int mine = OPENS(msgget(own_key(), mode | IPC_CREAT | IPC_EXCL));
            try_all(mine);
            for (const int asked : {0600, 0400, 0200, 0040, 0002, 0})
                SEES(msgget(own_key(), asked) == mine ? 0 : -1);
            OK(remove_queue(mine));
        });
        SHOWS("exit 0", finish(owner));
    }
}

// Others may write, not read: they send, and cannot look or take.
CASE(msg_rights_write_only) {
    need_root();
    const int id = OPENS(msgget(own_key(), 0622 | IPC_CREAT));
    const pid_t child = start([id] {
        become_nobody();
        HOLDS(msgget(own_key(), 0200) == id);
        FAILS(EACCES, msgget(own_key(), 0400));
        OK(put(id, 1, "dropped"));
        SHOWS("EACCES", pick(id));
        msqid_ds now{};
        FAILS(EACCES, msgctl(id, IPC_STAT, &now));
        OK(put(id, 1, std::string(kMessageMax, 'x')));
        FAILS(EAGAIN, put(id, 1, std::string(kMessageMax, 'x')));
    });
    SHOWS("exit 0", finish(child));
    HOLDS(look(id).msg_lspid == child);
    SHOWS("1:dropped", pick(id));
    OK(remove_queue(id));
}

// A key without any right in its mode still stands in the way, and is found by asking for nothing.
CASE(msg_rights_mode_0) {
    need_root();
    const pid_t child = start([] {
        become_nobody();
        const int id = OPENS(msgget(own_key(), IPC_CREAT | IPC_EXCL));
        FAILS(EACCES, msgget(own_key(), 0400));
        FAILS(EEXIST, msgget(own_key(), IPC_CREAT | IPC_EXCL));
        HOLDS(msgget(own_key(), 0) == id);
        FAILS(EACCES, put(id, 1, "a"));
        SHOWS("EACCES", pick(id));
        msqid_ds wanted{};
        FAILS(EACCES, msgctl(id, IPC_STAT, &wanted));
        wanted.msg_perm.uid = kNobody;
        wanted.msg_perm.gid = kNobody;
        wanted.msg_perm.mode = 0600;
        wanted.msg_qbytes = 10;
        OK(msgctl(id, IPC_SET, &wanted));  // what the owner may without any right
        OK(put(id, 1, "a"));
        SHOWS("1:a", pick(id));
        OK(set_mode(id, 0));
        FAILS(EACCES, put(id, 1, "a"));
        OK(remove_queue(id));
    });
    SHOWS("exit 0", finish(child));
}

// A user's own queue: limits up to MSGMNB are free, above it EPERM, whoever owns it; EPERM comes before a bad user's EINVAL.
CASE(msg_rights_limit) {
    need_root();
    const pid_t child = start([] {
        become_nobody();
        const int id = make();
        OK(set_bytes(id, 5));
        OK(set_bytes(id, kQueueBytes));
        OK(set_bytes(id, 0));
        for (const unsigned long bytes : {kQueueBytes + 1ul, ULONG_MAX}) FAILS(EPERM, set_bytes(id, bytes));
        SHOWS("0/0/0", counts(id));
        msqid_ds wanted = look(id);
        wanted.msg_perm.uid = static_cast<uid_t>(-1);
        wanted.msg_qbytes = kQueueBytes + 1;
        FAILS(EPERM, msgctl(id, IPC_SET, &wanted));
        wanted.msg_qbytes = kQueueBytes;
        FAILS(EINVAL, msgctl(id, IPC_SET, &wanted));
        OK(remove_queue(id));
    });
    SHOWS("exit 0", finish(child));
}

// Given away: the new owner uses, changes and removes it; the creator still may.
CASE(msg_rights_given_away) {
    need_root();
    const int id = OPENS(msgget(own_key(), 0600 | IPC_CREAT));
    OK(put(id, 1, "abc"));
    OK(give_away(id, kNobody, kNobody));
    const pid_t child = start([id] {
        become_nobody();
        SHOWS("1:abc", pick(id));
        OK(put(id, 2, "back"));
        const msqid_ds now = look(id);
        HOLDS(now.msg_perm.uid == kNobody && now.msg_perm.cuid == 0 && now.msg_perm.gid == kNobody && now.msg_perm.cgid == 0);
        OK(set_mode(id, 0640));
    });
    SHOWS("exit 0", finish(child));
    SHOWS("640", mode_of(id));
    SHOWS("2:back", pick(id));
    const pid_t remover = start([id] {
        become_nobody();
        OK(remove_queue(id));
        FAILS(EINVAL, put(id, 1, "a"));
        FAILS(ENOENT, msgget(own_key(), 0));
        const int again = OPENS(msgget(own_key(), 0600 | IPC_CREAT | IPC_EXCL));
        HOLDS(again != id);
        shared().number[0] = again;
    });
    SHOWS("exit 0", finish(remover));
    const int again = static_cast<int>(shared().number[0]);
    HOLDS(msgget(own_key(), 0600) == again);
    OK(remove_queue(again));  // root, another's
}

// A user who is no superuser gives away: creator and owner are the same to the queue, a third is nobody to it.
CASE(msg_rights_given_away_by_a_user) {
    need_root();
    const pid_t giver = start([] {
        become(kMember, kMember);
        const int id = OPENS(msgget(own_key(), 0600 | IPC_CREAT));
        OK(give_away(id, kNobody, kNobody));
        OK(put(id, 1, "creator's"));
        OK(set_mode(id, 0600));
        shared().number[0] = id;
    });
    SHOWS("exit 0", finish(giver));
    const int id = static_cast<int>(shared().number[0]);
    const pid_t third = start([id] {
        become(4243, 4243);
        FAILS(EACCES, put(id, 1, "a"));
        FAILS(EPERM, remove_queue(id));
        msqid_ds wanted{};
        FAILS(EPERM, msgctl(id, IPC_SET, &wanted));
    });
    SHOWS("exit 0", finish(third));
    const pid_t taker = start([id] {
        become_nobody();
        SHOWS("1:creator's", pick(id));
        OK(put(id, 1, "owner's"));
    });
    SHOWS("exit 0", finish(taker));
    const pid_t creator = start([id] {
        become(kMember, kMember);
        SHOWS("1:owner's", pick(id));
        OK(remove_queue(id));
    });
    SHOWS("exit 0", finish(creator));
    FAILS(ENOENT, msgget(own_key(), 0));
}

// The group's bits by the effective group and by a supplementary one, of the owner and of the creator.
CASE(msg_rights_groups) {
    need_root();
    const int id = make(0640);
    OK(give_away(id, 0, kMember));
    const pid_t member = start([id] {
        become(kNobody, kMember);
        SHOWS("ENOMSG", pick(id));
        FAILS(EACCES, put(id, 1, "a"));
        FAILS(EPERM, remove_queue(id));
    });
    SHOWS("exit 0", finish(member));
    const pid_t supplementary = start([id] {
        const gid_t group = kMember;
        OK(setgroups(1, &group));
        OK(setresgid(kNobody, kNobody, kNobody));
        OK(setresuid(kNobody, kNobody, kNobody));
        SHOWS("ENOMSG", pick(id));
        FAILS(EACCES, put(id, 1, "a"));
    });
    SHOWS("exit 0", finish(supplementary));
    const pid_t of_creator = start([id] {
        become(kNobody, 0);
        SHOWS("ENOMSG", pick(id));
    });
    SHOWS("exit 0", finish(of_creator));
    OK(set_mode(id, 0606));
    const pid_t worse = start([id] {
        become(kNobody, kMember);
        SHOWS("EACCES", pick(id));  // the group's bits alone count for a member
        FAILS(EACCES, put(id, 1, "a"));
    });
    SHOWS("exit 0", finish(worse));
    OK(remove_queue(id));
}

// The effective user counts, at each call, whatever the real one.
CASE(msg_rights_effective_user) {
    need_root();
    const int roots = make();
    const pid_t child = start([roots] {
        OK(put(roots, 1, "a"));
        OK(setegid(kNobody));
        OK(seteuid(kNobody));
        FAILS(EACCES, put(roots, 1, "a"));
        SHOWS("EACCES", pick(roots));
        FAILS(EPERM, remove_queue(roots));
        const int id = OPENS(msgget(IPC_PRIVATE, 0600));
        HOLDS(look(id).msg_perm.cuid == kNobody && look(id).msg_perm.cgid == kNobody);
        OK(put(id, 1, "b"));
        OK(seteuid(0));
        SHOWS("1:b", pick(id));
        OK(seteuid(kMember));
        SHOWS("EACCES", pick(id));
        FAILS(EPERM, remove_queue(id));
        OK(seteuid(0));
        OK(seteuid(kNobody));
        OK(remove_queue(id));
    });
    SHOWS("exit 0", finish(child));
    OK(remove_queue(roots));
}

// A mode that another process changes counts at the next call, and for those who sleep: receivers are told at once.
CASE(msg_rights_receiver_lost_asleep) {
    need_root();
    const int id = make(0666), other = make(0666);
    const pid_t child = nobody_asleep([=] {
        SHOWS("EACCES", pick(id, 0, 0));
        OK(put(id, 1, "may"));
        SHOWS("1:fine", pick(other, 0, 0));
    });
    OK(set_mode(id, 0662));
    await("the child has sent", [id] { return look(id).msg_qnum == 1; });
    await_sleep(child);
    OK(put(other, 1, "fine"));
    SHOWS("exit 0", finish(child));
    SHOWS("1:may", drain(id));
    OK(remove_queue(id));
    OK(remove_queue(other));
}

// The owner is another now, and with him the right.
CASE(msg_rights_receiver_disowned_asleep) {
    need_root();
    const int id = make();
    OK(give_away(id, kNobody));
    const pid_t child = nobody_asleep([id] {
        SHOWS("EACCES", pick(id, 0, 0));
        FAILS(EPERM, remove_queue(id));
    });
    OK(give_away(id, kMember));
    SHOWS("exit 0", finish(child));
    OK(remove_queue(id));
}

// A change that leaves the right leaves the sleeper.
CASE(msg_rights_receiver_kept_asleep) {
    need_root();
    const int id = make(0606);
    const pid_t child = nobody_asleep([id] { SHOWS("1:fine", pick(id, 0, 0)); });
    OK(set_mode(id, 0604));
    await_sleep(child);
    OK(put(id, 1, "fine"));
    SHOWS("exit 0", finish(child));
    OK(remove_queue(id));
}

// A sender asleep is not told: it learns it when there is room, and its message does not come.
CASE(msg_rights_sender_lost_asleep) {
    need_root();
    const int id = make(0666);
    OK(set_bytes(id, 1));
    OK(put(id, 1, "f"));
    const pid_t child = nobody_asleep([id] { FAILS(EACCES, put(id, 2, "s", 0)); });
    OK(set_mode(id, 0600));
    await_sleep(child);
    SHOWS("1:f", pick(id));
    SHOWS("exit 0", finish(child));
    SHOWS("0/0/1", counts(id));
    OK(remove_queue(id));
}

// The right taken and the limit raised in one: it is told, and refused.
CASE(msg_rights_sender_lost_with_room) {
    need_root();
    const int id = make(0666);
    OK(set_bytes(id, 1));
    OK(put(id, 1, "f"));
    const pid_t child = nobody_asleep([id] { FAILS(EACCES, put(id, 2, "s", 0)); });
    msqid_ds wanted = look(id);
    wanted.msg_perm.mode = 0600;
    wanted.msg_qbytes = 10;
    OK(msgctl(id, IPC_SET, &wanted));
    SHOWS("exit 0", finish(child));
    SHOWS("1/1/10", counts(id));
    OK(remove_queue(id));
}
