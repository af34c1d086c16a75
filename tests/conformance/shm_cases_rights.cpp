// Who may do what: two users, by the effective one at each call.
#include <sys/stat.h>

#include "shm_cases.hpp"

static void need_root() {
    if (geteuid() != 0) skip("needs root to become another user");
}

// Another user without rights: EACCES to find, attach and look, EPERM to change; sizes and existence are judged before.
CASE(other_user) {
    need_root();
    const int id = OPENS(shmget(own_key(), kPage, IPC_CREAT | 0600));
    const pid_t child = start([id] {
        become_nobody();
        FAILS(EACCES, shmget(own_key(), 0, 0600));
        FAILS(EACCES, shmget(own_key(), 0, 0400));
        FAILS(EEXIST, shmget(own_key(), kPage, IPC_CREAT | IPC_EXCL | 0600));
        FAILS(EACCES, tries(id));
        FAILS(EACCES, tries(id, nullptr, SHM_RDONLY));
        shmid_ds now{};
        FAILS(EACCES, shmctl(id, IPC_STAT, &now));
        FAILS(EACCES, shmctl(id & 0x7fff, SHM_STAT, &now));
        FAILS(EPERM, shmctl(id, IPC_SET, &now));
        FAILS(EPERM, removed(id));
        FAILS(EPERM, shmctl(id, SHM_LOCK, nullptr));
        FAILS(EPERM, shmctl(id, SHM_UNLOCK, nullptr));
    });
    SHOWS("exit 0", finish(child));
    OK(removed(id));
}

// What may be seen without any right: that it exists, its size by a failed shmget, its state by SHM_STAT_ANY.
CASE(other_user_looks) {
    need_root();
    const int id = OPENS(shmget(own_key(), kPage, IPC_CREAT | 0600));
    const pid_t child = start([id] {
        become_nobody();
        HOLDS(shmget(own_key(), 0, 0) == id);
        FAILS(EINVAL, shmget(own_key(), kPage + 1, 0600));
        shmid_ds now{};
        HOLDS(shmctl(id & 0x7fff, 15 /* SHM_STAT_ANY */, &now) == id);
        GIVES(4096, static_cast<long>(now.shm_segsz));
    });
    SHOWS("exit 0", finish(child));
    OK(removed(id));
}

// Every mode against what it allows the owner, the group and others.
CASE(all_modes) {
    need_root();
    umask(0);
    for (const int mode : {0, 0400, 0200, 0600, 040, 020, 060, 04, 02, 06, 0444, 0222, 0666, 0466, 0646, 0700}) {
        const int id = make(kPage, mode);
        const pid_t other = start([id, mode] {
            become_nobody();
            note("others, mode " + std::to_string(mode));
            SEES(tries(id));
            SEES(tries(id, nullptr, SHM_RDONLY));
            SEES(attachments(id));
        });
        SHOWS("exit 0", finish(other));
        const pid_t owner = start([mode] {
            become_nobody();
            const int mine = shmget(own_key(1), kPage, IPC_CREAT | mode);
            SEES(tries(mine));
            SEES(tries(mine, nullptr, SHM_RDONLY));
            SEES(tries(mine, nullptr, SHM_EXEC));
            SEES(attachments(mine));
            SEES(shmget(own_key(1), 0, 0600) == mine);
            SEES(shmget(own_key(1), 0, 0400) == mine);
            SEES(shmget(own_key(1), 0, 04) == mine);
            SEES(shmget(own_key(1), 0, 0) == mine);
            OK(removed(mine));
        });
        SHOWS("exit 0", finish(owner));
        OK(removed(id));
    }
}

// Root makes it and gives it away: the new owner uses, changes and removes it; so may the creator.
CASE(given_away) {
    need_root();
    const int id = OPENS(shmget(own_key(), kPage, IPC_CREAT | 0600));
    shmid_ds wanted = look(id);
    wanted.shm_perm.uid = 65534;
    wanted.shm_perm.gid = 65534;
    OK(shmctl(id, IPC_SET, &wanted));
    const pid_t child = start([id] {
        become_nobody();
        OK(tries(id));
        shmid_ds now = look(id);
        HOLDS(now.shm_perm.uid == 65534 && now.shm_perm.cuid == 0);
        now.shm_perm.mode = 0640;
        OK(shmctl(id, IPC_SET, &now));
        OK(shmctl(id, SHM_UNLOCK, nullptr));
    });
    SHOWS("exit 0", finish(child));
    SHOWS("640", mode_of(id));
    const pid_t remover = start([id] {
        become_nobody();
        OK(removed(id));
        FAILS(EINVAL, tries(id));
        FAILS(ENOENT, shmget(own_key(), 0, 0));
        const int again = OPENS(shmget(own_key(), kPage, IPC_CREAT | IPC_EXCL | 0600));
        HOLDS(again != id);
        OK(removed(again));
    });
    SHOWS("exit 0", finish(remover));
    FAILS(ENOENT, shmget(own_key(), 0, 0));
}

// A user who is not root gives away: the new owner removes it, and the key is free for both.
CASE(given_away_by_a_user) {
    need_root();
    const pid_t giver = start([] {
        OK(setresgid(4242, 4242, 4242));
        OK(setresuid(4242, 4242, 4242));
        const int id = OPENS(shmget(own_key(), kPage, IPC_CREAT | 0600));
        shmid_ds wanted = look(id);
        wanted.shm_perm.uid = 65534;
        OK(shmctl(id, IPC_SET, &wanted));
        OK(tries(id));  // the creator keeps the owner's rights
        shared().number[0] = id;
    });
    SHOWS("exit 0", finish(giver));
    const int id = static_cast<int>(shared().number[0]);
    const pid_t taker = start([id] {
        become_nobody();
        OK(tries(id));
        OK(removed(id));
        FAILS(ENOENT, shmget(own_key(), 0, 0));
        const int mine = OPENS(shmget(own_key(), kPage, IPC_CREAT | IPC_EXCL | 0600));
        HOLDS(mine != id);
        shared().number[1] = mine;
    });
    SHOWS("exit 0", finish(taker));
    const pid_t third = start([] {
        OK(setresuid(4242, 4242, 4242));
        FAILS(EEXIST, shmget(own_key(), kPage, IPC_CREAT | IPC_EXCL | 0600));
        FAILS(EACCES, shmget(own_key(), 0, 0600));
    });
    SHOWS("exit 0", finish(third));
    OK(removed(static_cast<int>(shared().number[1])));
    FAILS(ENOENT, shmget(own_key(), 0, 0));
}

// The group's bits, by the effective group and by a supplementary one.
CASE(groups) {
    need_root();
    const pid_t maker = start([] {
        OK(setegid(4242));
        shared().number[0] = shmget(own_key(), kPage, IPC_CREAT | 0640);
    });
    SHOWS("exit 0", finish(maker));
    const int id = static_cast<int>(shared().number[0]);
    const pid_t member = start([id] {
        OK(setresgid(4242, 4242, 4242));
        OK(setresuid(65534, 65534, 65534));
        OK(tries(id, nullptr, SHM_RDONLY));
        FAILS(EACCES, tries(id));
        FAILS(EPERM, removed(id));
    });
    SHOWS("exit 0", finish(member));
    OK(removed(id));
}

// The effective user counts, whatever the real one.
CASE(effective_user) {
    need_root();
    const pid_t child = start([] {
        OK(seteuid(65534));
        const int id = OPENS(shmget(IPC_PRIVATE, kPage, 0));
        FAILS(EACCES, tries(id));
        OK(seteuid(0));
        OK(tries(id));
        OK(seteuid(4242));
        FAILS(EPERM, removed(id));
        OK(seteuid(0));
        OK(seteuid(65534));
        OK(removed(id));
    });
    SHOWS("exit 0", finish(child));
}
