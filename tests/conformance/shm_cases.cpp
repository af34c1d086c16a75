// conformance_shm: runs one named case, or lists them. See README.md. Here: shmget and shmctl.
#include "shm_cases.hpp"

#include <sys/stat.h>

#include <climits>

int main(int argc, char** argv) {
    return run_conformance(argc, argv);
}

// Sizes: EINVAL for none and for more than SHMMAX, ENOMEM for more than there is; an existing segment that is smaller is EINVAL,
// one that is large enough is found, 0 always is. The size shown is the one asked for.
CASE(sizes) {
    FAILS(EINVAL, shmget(IPC_PRIVATE, 0, 0600));
    FAILS(EINVAL, shmget(IPC_PRIVATE, SIZE_MAX, 0600));
    FAILS(EINVAL, shmget(IPC_PRIVATE, SIZE_MAX / 2 + 1, 0600));
    FAILS(ENOMEM, shmget(IPC_PRIVATE, size_t{1} << 62, 0600));
    FAILS(ENOMEM, shmget(IPC_PRIVATE, size_t{1} << 44, 0600));
    const int id = OPENS(shmget(own_key(), 100, IPC_CREAT | 0600));
    GIVES(100, static_cast<long>(look(id).shm_segsz));
    HOLDS(shmget(own_key(), 100, 0) == id);
    HOLDS(shmget(own_key(), 1, 0600) == id);
    HOLDS(shmget(own_key(), 0, 0) == id);
    HOLDS(shmget(own_key(), 0, IPC_CREAT) == id);
    FAILS(EINVAL, shmget(own_key(), 101, 0));
    FAILS(EINVAL, shmget(own_key(), 101, IPC_CREAT | 0600));
    FAILS(EINVAL, shmget(own_key(), SIZE_MAX, 0));
    FAILS(EEXIST, shmget(own_key(), SIZE_MAX, IPC_CREAT | IPC_EXCL));
    char* bytes = attach(id);
    HOLDS(bytes != nullptr);
    HOLDS(bytes[0] == 0 && bytes[4095] == 0);  // the rest of the last page is there
    OK(shmdt(bytes));
    OK(removed(id));
    FAILS(ENOENT, shmget(own_key(), 100, 0));
}

// Keys: ENOENT, EEXIST, one key is one segment, IPC_PRIVATE always makes one, a key is free again after IPC_RMID and then names
// another segment. IPC_EXCL alone means nothing.
CASE(keys) {
    FAILS(ENOENT, shmget(own_key(), 0, 0));
    FAILS(ENOENT, shmget(own_key(), kPage, IPC_EXCL));
    FAILS(ENOENT, shmget(own_key(), SIZE_MAX, 0));
    FAILS(EINVAL, shmget(own_key(), 0, IPC_CREAT | 0600));
    const int first = OPENS(shmget(own_key(), kPage, IPC_CREAT | IPC_EXCL | 0600));
    FAILS(EEXIST, shmget(own_key(), kPage, IPC_CREAT | IPC_EXCL | 0600));
    FAILS(EEXIST, shmget(own_key(), 0, IPC_CREAT | IPC_EXCL));
    HOLDS(shmget(own_key(), kPage, IPC_EXCL) == first);
    const int other = OPENS(shmget(own_key(1), kPage, IPC_CREAT | 0600));
    HOLDS(other != first);
    const int one = make(), two = make();
    HOLDS(one != two);
    HOLDS(look(first).shm_perm.__key == own_key());
    HOLDS(look(one).shm_perm.__key == IPC_PRIVATE);
    OK(removed(first));
    FAILS(EINVAL, removed(first));
    const int again = OPENS(shmget(own_key(), kPage, IPC_CREAT | IPC_EXCL | 0600));
    HOLDS(again != first);
    FAILS(EINVAL, tries(first));
    OK(removed(again));
    OK(removed(other));
    OK(removed(one));
    OK(removed(two));
}

// A new segment: owner and creator, mode bits as asked whatever the umask, no attachment, no times but that of the change, our
// pid.
CASE(new_segment) {
    umask(0777);
    const int id = make(kPage + 1, 0640);
    const shmid_ds now = look(id);
    SHOWS("640", mode_of(id));
    HOLDS(now.shm_perm.uid == geteuid() && now.shm_perm.cuid == geteuid() && now.shm_perm.gid == getegid() &&
          now.shm_perm.cgid == getegid());
    HOLDS(now.shm_cpid == getpid());
    GIVES(0, now.shm_lpid);
    GIVES(0, now.shm_atime);
    GIVES(0, now.shm_dtime);
    HOLDS(now.shm_ctime > 1000000000 && now.shm_ctime <= time(nullptr));
    GIVES(0, static_cast<long>(now.shm_nattch));
    OK(removed(id));
    const int odd = shmget(IPC_PRIVATE, kPage, 07777 & ~SHM_HUGETLB & ~IPC_EXCL);
    SHOWS("777", mode_of(odd));
    OK(removed(odd));
}

// Attaching and detaching: count, times and the last process.
CASE(bookkeeping) {
    const int id = make();
    char* bytes = attach(id);
    shmid_ds now = look(id);
    GIVES(1, static_cast<long>(now.shm_nattch));
    HOLDS(now.shm_atime > 1000000000 && now.shm_atime <= time(nullptr));
    GIVES(0, now.shm_dtime);
    HOLDS(now.shm_lpid == getpid());
    const pid_t child = start([id] { OK(tries(id)); });
    SHOWS("exit 0", finish(child));
    now = look(id);
    HOLDS(now.shm_lpid == child);
    HOLDS(now.shm_dtime > 1000000000 && now.shm_dtime <= time(nullptr));
    GIVES(1, static_cast<long>(now.shm_nattch));
    char* more = attach(id);
    HOLDS(more != bytes);
    more[17] = 'x';
    HOLDS(bytes[17] == 'x');
    GIVES(2, attachments(id));
    OK(shmdt(more));
    OK(shmdt(bytes));
    FAILS(EINVAL, shmdt(bytes));
    GIVES(0, attachments(id));
    HOLDS(look(id).shm_lpid == getpid());
    bytes = attach(id);
    HOLDS(bytes[17] == 'x');  // the bytes stay
    OK(shmdt(bytes));
    OK(removed(id));
}

// A failed attach leaves no trace: not in the count, not in the times.
CASE(failed_attach_leaves_no_trace) {
    const int id = make();
    char* taken = room(16);
    FAILS(EINVAL, tries(id, taken));
    FAILS(EINVAL, tries(id, taken + 1));
    const shmid_ds now = look(id);
    GIVES(0, static_cast<long>(now.shm_nattch));
    GIVES(0, now.shm_atime);
    GIVES(0, now.shm_lpid);
    OK(removed(id));
    FAILS(EINVAL, attachments(id));
}

// shmctl's errors: EINVAL for commands and identifiers that are none, EFAULT for pointers, in the kernel's order.
CASE(control_errors) {
    const int id = make();
    shmid_ds now{};
    auto* bad = hidden(reinterpret_cast<shmid_ds*>(8));
    auto* none = hidden(static_cast<shmid_ds*>(nullptr));
    FAILS(EINVAL, shmctl(id, 99, &now));
    FAILS(EINVAL, shmctl(id, -1, &now));
    FAILS(EINVAL, shmctl(-1, IPC_STAT, none));
    FAILS(EINVAL, shmctl(-1, IPC_SET, none));
    FAILS(EINVAL, shmctl(-1, IPC_RMID, none));
    FAILS(EINVAL, shmctl(-1, IPC_INFO, none));
    FAILS(EINVAL, shmctl(-1, SHM_LOCK, none));
    FAILS(EFAULT, shmctl(id, IPC_STAT, none));
    FAILS(EFAULT, shmctl(id, IPC_STAT, bad));
    FAILS(EFAULT, shmctl(id, IPC_SET, none));
    FAILS(EFAULT, shmctl(id, IPC_SET, bad));
    FAILS(EFAULT, shmctl(0, IPC_INFO, none));
    FAILS(EFAULT, shmctl(0, SHM_INFO, bad));
    char* page = room(2);
    mprotect(page, kPage, PROT_READ | PROT_WRITE);
    FAILS(EFAULT, shmctl(id, IPC_STAT, reinterpret_cast<shmid_ds*>(page + kPage - 8)));
    FAILS(EFAULT, shmctl(id, IPC_SET, reinterpret_cast<shmid_ds*>(page + kPage - 8)));
    OK(removed(id));
    FAILS(EINVAL, shmctl(id, IPC_STAT, &now));
    FAILS(EINVAL, shmctl(id, IPC_STAT, none));
    FAILS(EFAULT, shmctl(id, IPC_SET, none));
    FAILS(EINVAL, shmctl(id, IPC_SET, &now));
    FAILS(EINVAL, shmctl(id, SHM_LOCK, none));
    FAILS(EINVAL, shmctl(id, SHM_UNLOCK, none));
    FAILS(EINVAL, shmctl(id, IPC_RMID, none));
    FAILS(EINVAL, shmctl(INT_MAX, IPC_STAT, &now));
}

// IPC_SET: owner, group and nine mode bits, nothing else; the time of the change.
CASE(set) {
    const int id = make();
    shmid_ds wanted = look(id);
    wanted.shm_perm.mode = 07644;
    wanted.shm_segsz = 1;
    wanted.shm_nattch = 99;
    wanted.shm_perm.cuid = 12345;
    OK(shmctl(id, IPC_SET, &wanted));
    SHOWS("644", mode_of(id));
    const shmid_ds now = look(id);
    HOLDS(now.shm_segsz == 8 * kPage && now.shm_nattch == 0 && now.shm_perm.cuid == geteuid());
    wanted.shm_perm.uid = static_cast<uid_t>(-1);
    FAILS(EINVAL, shmctl(id, IPC_SET, &wanted));
    wanted.shm_perm.uid = geteuid();
    wanted.shm_perm.gid = static_cast<gid_t>(-1);
    FAILS(EINVAL, shmctl(id, IPC_SET, &wanted));
    SHOWS("644", mode_of(id));
    OK(removed(id));
}

// SHM_LOCK and SHM_UNLOCK show in the mode, which IPC_SET leaves.
CASE(lock_flag) {
    const int id = make();
    OK(shmctl(id, SHM_LOCK, nullptr));
    SHOWS("2600", mode_of(id));
    OK(shmctl(id, SHM_LOCK, nullptr));
    shmid_ds wanted = look(id);
    wanted.shm_perm.mode = 0640;
    OK(shmctl(id, IPC_SET, &wanted));
    SHOWS("2640", mode_of(id));
    OK(shmctl(id, SHM_UNLOCK, nullptr));
    SHOWS("640", mode_of(id));
    OK(shmctl(id, SHM_UNLOCK, nullptr));
    OK(removed(id));
}

// The limits, the sums, and segments by index: the commands of ipcs.
CASE(information) {
    struct shminfo limits {};
    HOLDS(shmctl(0, IPC_INFO, reinterpret_cast<shmid_ds*>(&limits)) >= 0);
    GIVES(1, static_cast<long>(limits.shmmin));
    GIVES(4096, static_cast<long>(limits.shmmni));
    HOLDS(limits.shmseg == limits.shmmni);
    HOLDS(limits.shmmax == ULONG_MAX - (1ul << 24) && limits.shmall == ULONG_MAX - (1ul << 24));
    struct shm_info before {
    }, after{};
    HOLDS(shmctl(0, SHM_INFO, reinterpret_cast<shmid_ds*>(&before)) >= 0);
    const int id = OPENS(shmget(own_key(), 3 * kPage + 1, IPC_CREAT | 0600));
    const int highest = shmctl(0, SHM_INFO, reinterpret_cast<shmid_ds*>(&after));
    GIVES(1, after.used_ids - before.used_ids);
    GIVES(4, static_cast<long>(after.shm_tot - before.shm_tot));
    bool found = false;
    for (int index = 0; index <= highest; ++index) {
        shmid_ds now{};
        if (shmctl(index, SHM_STAT, &now) == id) found = now.shm_perm.__key == own_key() && now.shm_segsz == 3 * kPage + 1;
    }
    HOLDS(found);
    shmid_ds now{};
    HOLDS(shmctl(id & 0x7fff, SHM_STAT, &now) == id);
    HOLDS(shmctl(id & 0x7fff, 15 /* SHM_STAT_ANY */, &now) == id);
    HOLDS(shmctl(id, SHM_STAT, &now) == id);  // the sequence is ignored
    FAILS(EFAULT, shmctl(id & 0x7fff, SHM_STAT, hidden(static_cast<shmid_ds*>(nullptr))));
    FAILS(EINVAL, shmctl(32767, SHM_STAT, &now));
    OK(removed(id));
    FAILS(EINVAL, shmctl(id & 0x7fff, SHM_STAT, &now));
}

// Huge pages: what the machine says, or works.
CASE(huge_pages) {
    FAILS(EINVAL, shmget(IPC_PRIVATE, 0, SHM_HUGETLB | 0600));
    FAILS(EINVAL, shmget(IPC_PRIVATE, kPage, SHM_HUGETLB | 5 << 26 | 0600));
    const int id = shmget(IPC_PRIVATE, kPage, SHM_HUGETLB | 0600);
    note(id >= 0 ? "has them" : error_name(errno));
    if (id >= 0) OK(removed(id));
}

// Without reservation, a size far beyond the memory: the pages that are touched exist.
CASE(no_reserve) {
    const int id = OPENS(shmget(IPC_PRIVATE, size_t{1} << 40, SHM_NORESERVE | 0600));
    char* bytes = attach(id);
    HOLDS(bytes != nullptr);
    bytes[size_t{1} << 39] = 'y';
    HOLDS(bytes[size_t{1} << 39] == 'y' && bytes[12345] == 0);
    SHOWS("600", mode_of(id));
    OK(shmdt(bytes));
    OK(removed(id));
}

// Many at once, each its own.
CASE(many_segments) {
    constexpr int kMany = 300;
    int ids[kMany];
    bool good = true;
    for (int i = 0; i < kMany; ++i) {
        ids[i] = shmget(IPC_PRIVATE, kPage, 0600);
        char* bytes = ids[i] >= 0 ? attach(ids[i]) : nullptr;
        good = good && bytes != nullptr;
        if (bytes) bytes[0] = static_cast<char>(i), shmdt(bytes);
    }
    HOLDS(good);
    for (int i = 0; i < kMany; ++i) {
        const char* bytes = attach(ids[i]);
        good = good && bytes && *bytes == static_cast<char>(i) && shmdt(bytes) == 0 && removed(ids[i]) == 0;
        for (int j = 0; j < i; ++j) good = good && ids[i] != ids[j];
    }
    HOLDS(good);
}

// Processes that create one key at once with IPC_EXCL: one wins, the others get EEXIST; without it all get the same.
CASE(key_race) {
    constexpr int kRounds = 40, kRacers = 4;
    for (int round = 0; round < kRounds; ++round) {
        pid_t racer[kRacers];
        Shared& s = shared();
        s.word[0] = s.word[1] = s.word[2] = s.word[3] = 0;
        for (int i = 0; i < kRacers; ++i)
            racer[i] = start([&s, i] {
                s.word[0]++;
                while (s.word[1] == 0) sched_yield();
                int id = shmget(own_key(), kPage, IPC_CREAT | IPC_EXCL | 0600);
                if (id >= 0)
                    s.word[2]++;
                else if (errno == EEXIST)
                    s.word[3]++;
                if (id < 0) id = shmget(own_key(), kPage, IPC_CREAT | 0600);
                s.number[i] = id;
            });
        await("all racers stand ready", [&s] { return s.word[0] == kRacers; });
        s.word[1] = 1;
        bool good = true;
        for (const pid_t each : racer) good = finish(each) == "exit 0" && good;
        for (int i = 1; i < kRacers; ++i) good = good && s.number[i] == s.number[0];
        good = good && s.word[2] == 1 && s.word[3] == kRacers - 1 && removed(static_cast<int>(s.number[0])) == 0;
        if (!good)
            give_up("round " + std::to_string(round) + ": " + std::to_string(s.word[2]) + " winners, " +
                    std::to_string(s.word[3]) + " losers");
    }
    note("one winner each time");
}
