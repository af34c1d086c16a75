// mq_open and mq_unlink: names, flags, attributes, modes, permissions.
#include <grp.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <climits>

#include "case.hpp"

extern "C" mqd_t __mq_open_2(const char* name, int flags);  // what <bits/mqueue2.h> calls under _FORTIFY_SOURCE

static mq_attr attributes(long maxmsg, long msgsize) {
    mq_attr wanted{};
    wanted.mq_maxmsg = maxmsg;
    wanted.mq_msgsize = msgsize;
    return wanted;
}

static int open_and_close(const char* name, int flags, mode_t mode = 0600, mq_attr* wanted = nullptr) {
    const mqd_t queue = mq_open(name, flags, mode, wanted);
    return queue == -1 ? -1 : mq_close(queue);
}

// Names that are none: EINVAL without a slash or empty; ENOENT for "/"; EACCES for a second slash and for dots;
// ENAMETOOLONG above 255 characters. The same for opening, creating and unlinking.
CASE(names_bad) {
    const std::string long_name = "/" + std::string(256, 'n'), very_long_name = "/" + std::string(5000, 'n');
    const std::string bad[] = {"", "noslash", "/", "/.", "/..", "/a/b", "//", "//a", "/a/", "./a", "/a/../b"};
    mq_attr wanted = attributes(2, 16);
    for (const std::string& each : bad) {
        note("name \"" + each + "\"");
        const char* n = each.c_str();
        SEES(open_and_close(n, O_RDWR));
        SEES(open_and_close(n, O_RDWR | O_CREAT, 0600, &wanted));
        SEES(mq_unlink(n));
    }
    FAILS(EINVAL, open_and_close("noslash", O_RDWR | O_CREAT));
    FAILS(EINVAL, open_and_close("", O_RDWR | O_CREAT));
    FAILS(EACCES, open_and_close("/a/b", O_RDWR | O_CREAT));
    FAILS(ENAMETOOLONG, open_and_close(long_name.c_str(), O_RDWR | O_CREAT, 0600, &wanted));
    FAILS(ENAMETOOLONG, open_and_close(long_name.c_str(), O_RDWR));
    FAILS(ENAMETOOLONG, open_and_close(very_long_name.c_str(), O_RDWR));
    FAILS(ENAMETOOLONG, mq_unlink(long_name.c_str()));
    FAILS(ENAMETOOLONG, mq_unlink(very_long_name.c_str()));
    FAILS(EINVAL, mq_unlink("noslash"));
    FAILS(EINVAL, mq_unlink(""));
}

// Names that look odd but are good: 255 characters, dots in front, blanks, bytes above 127, control characters.
CASE(names_good) {
    const std::string longest = std::string(name()) + std::string(256 - std::strlen(name()), 'n');
    HOLDS(longest.size() == 256);  // the slash and 255 characters
    const std::string stem = std::string(name()).substr(1);
    const std::string good[] = {
        longest,     "/..." + stem, "/.hidden" + stem, "/with blank " + stem, "/\xc3\xa9\xff" + stem, "/\n\t\x01" + stem,
        "/-" + stem, "/%s~#" + stem};
    mq_attr wanted = attributes(2, 16);
    for (const std::string& each : good) {
        const char* n = each.c_str();
        OK(open_and_close(n, O_RDWR | O_CREAT | O_EXCL, 0600, &wanted));
        FAILS(EEXIST, open_and_close(n, O_RDWR | O_CREAT | O_EXCL, 0600, &wanted));
        OK(open_and_close(n, O_RDWR));
        OK(mq_unlink(n));
        FAILS(ENOENT, open_and_close(n, O_RDWR));
    }
}

// Existence: ENOENT without O_CREAT, EEXIST with O_EXCL, O_EXCL alone means nothing, ENOENT from mq_unlink.
CASE(existence) {
    FAILS(ENOENT, open_and_close(name(), O_RDWR));
    FAILS(ENOENT, open_and_close(name(), O_RDWR | O_EXCL));
    FAILS(ENOENT, mq_unlink(name()));
    mq_attr wanted = attributes(2, 16);
    OK(open_and_close(name(), O_RDWR | O_CREAT, 0600, &wanted));
    FAILS(EEXIST, open_and_close(name(), O_RDWR | O_CREAT | O_EXCL, 0600, &wanted));
    OK(open_and_close(name(), O_RDWR | O_CREAT, 0600, &wanted));
    OK(open_and_close(name(), O_RDWR | O_EXCL));
    OK(mq_unlink(name()));
    FAILS(ENOENT, mq_unlink(name()));
}

// EINVAL for attributes of zero, below zero and beyond every limit; nothing is left behind. mq_flags and mq_curmsgs are
// ignored. EEXIST comes before EINVAL.
CASE(attributes_checked) {
    const long sizes[][2] = {{0, 16},
                             {2, 0},
                             {-1, 16},
                             {2, -1},
                             {0, 0},
                             {LONG_MIN, 16},
                             {2, LONG_MIN},
                             {LONG_MAX, 16},
                             {2, LONG_MAX},
                             {LONG_MAX, LONG_MAX},
                             {LONG_MAX / 2, 2},
                             {1L << 40, 1L << 40},
                             {2, (16L << 20) + 1}};
    for (const auto& each : sizes) {
        mq_attr wanted = attributes(each[0], each[1]);
        note(std::to_string(each[0]) + " messages of " + std::to_string(each[1]));
        FAILS(EINVAL, open_and_close(name(), O_RDWR | O_CREAT, 0600, &wanted));
        FAILS(ENOENT, open_and_close(name(), O_RDWR));
    }
    mq_attr wanted = attributes(2, 16);
    wanted.mq_flags = O_NONBLOCK | 12345;
    wanted.mq_curmsgs = 77;
    const mqd_t queue = OPENS(mq_open(name(), O_RDWR | O_CREAT, 0600, &wanted));
    SHOWS("2/16/0/0", state(queue));
    wanted = attributes(-1, -1);
    FAILS(EEXIST, open_and_close(name(), O_RDWR | O_CREAT | O_EXCL, 0600, &wanted));
    OK(open_and_close(name(), O_RDWR | O_CREAT, 0600, &wanted));
}

// The least queue there can be: one message of one byte.
CASE(attributes_least) {
    const mqd_t queue = OPENS(create('a', 1, 1));
    SHOWS("1/1/0/0", state(queue));
    OK(send(queue, "x"));
    SHOWS("1/1/1/0", state(queue));
    SHOWS("0:x", take(queue));
}

// Without attributes a queue has 10 messages of 8192 bytes (the defaults of the limits).
CASE(attributes_default) {
    const mqd_t queue = OPENS(mq_open(name(), O_RDWR | O_CREAT | O_EXCL, 0600, nullptr));
    SHOWS("10/8192/0/0", state(queue));
}

// A second open ignores the attributes and the mode; its O_NONBLOCK is its own.
CASE(second_open) {
    const mqd_t first = OPENS(create('a', 3, 32));
    mq_attr other = attributes(5, 64);
    const mqd_t second = OPENS(mq_open(name(), O_RDWR | O_CREAT | O_NONBLOCK, 0666, &other));
    SHOWS("3/32/0/0", state(first));
    SHOWS("3/32/0/nonblock", state(second));
    struct stat about {};
    OK(fstat(second, &about));
    GIVES(0600, about.st_mode & 07777);
    OK(send(first, "seen by both", 3));
    SHOWS("3/32/1/nonblock", state(second));
    SHOWS("3:seen by both", take(second));
    SHOWS("EAGAIN", take(second));
}

// Access modes: each of the three works; the fourth value (3) is EINVAL for a queue that exists.
CASE(access_modes) {
    OPENS(create('a', 2, 16));
    OK(open_and_close(name(), O_RDONLY));
    OK(open_and_close(name(), O_WRONLY));
    OK(open_and_close(name(), O_RDWR));
    FAILS(EINVAL, open_and_close(name(), O_WRONLY | O_RDWR));
    FAILS(EINVAL, open_and_close(name(), O_WRONLY | O_RDWR | O_CREAT));
    FAILS(ENOENT, open_and_close(name('b'), O_WRONLY | O_RDWR));
    FAILS(EEXIST, open_and_close(name(), O_WRONLY | O_RDWR | O_CREAT | O_EXCL));
}

// Flags of open(2) that mean nothing to a queue are accepted and do no harm: a queue is not truncated.
CASE(flags_ignored) {
    const mqd_t queue = OPENS(create('a', 2, 16));
    OK(send(queue, "stays"));
    const int flags[] = {O_TRUNC, O_APPEND, O_SYNC, O_CLOEXEC, O_NOCTTY, O_NOFOLLOW};
    for (const int flag : flags) SEES(open_and_close(name(), O_RDWR | flag));
    SHOWS("0:stays", take(queue));
}

// A created queue has mode & ~umask; the owner is the effective user. Bits above 0777: as the kernel has them.
CASE(mode_and_umask) {
    const struct {
        mode_t mask, mode, want;
    } rows[] = {{0, 0666, 0666}, {022, 0666, 0644}, {077, 0777, 0700}, {0, 0, 0}, {0777, 0777, 0}, {027, 0640, 0640}};
    for (const auto& row : rows) {
        umask(row.mask);
        const mqd_t queue = OPENS(create('a', 2, 16, O_RDWR, row.mode));
        struct stat about {};
        OK(fstat(queue, &about));
        GIVES(static_cast<long>(row.want), about.st_mode & 07777);
        HOLDS(about.st_uid == geteuid());
        HOLDS(about.st_gid == getegid());
        OK(send(queue, "usable"));
        OK(mq_close(queue));
        OK(mq_unlink(name()));
    }
    umask(0);
    const mode_t high[] = {01777, 02777, 04777, 07000};
    for (const mode_t mode : high) {
        const mqd_t queue = OPENS(create('a', 2, 16, O_RDWR, mode));
        struct stat about {};
        OK(fstat(queue, &about));
        SEES(about.st_mode & 07777);
        OK(mq_unlink(name()));
    }
}

static void try_all_modes() {
    SEES(open_and_close(name(), O_RDONLY));
    SEES(open_and_close(name(), O_WRONLY));
    SEES(open_and_close(name(), O_RDWR));
    SEES(open_and_close(name(), O_RDWR | O_CREAT));
}

// Another user: reading wants r, writing w, both for O_RDWR, else EACCES; only the "other" bits count for them. Unlinking
// another's queue is EACCES. Root opens everything.
CASE(permissions_other) {
    if (geteuid() != 0) skip("needs root to become another user");
    umask(0);
    const mode_t modes[] = {0600, 0604, 0602, 0606, 0666, 0660, 0, 0770, 0771, 0004};
    for (const mode_t mode : modes) {
        char text[32];
        std::snprintf(text, sizeof text, "mode %04o", mode);
        note(text);
        const mqd_t queue = OPENS(create('a', 2, 16, O_RDWR, mode));
        const pid_t child = start([] {
            become_nobody();
            try_all_modes();
            FAILS(EACCES, mq_unlink(name()));
            FAILS(EEXIST, open_and_close(name(), O_RDWR | O_CREAT | O_EXCL));
        });
        SHOWS("exit 0", finish(child));
        OK(open_and_close(name(), O_RDWR));
        OK(mq_close(queue));
        OK(mq_unlink(name()));
    }
}

// The owner is held to the owner bits, and the group to the group bits, even when "other" would allow more.
CASE(permissions_owner_and_group) {
    if (geteuid() != 0) skip("needs root to become another user");
    umask(0);
    const mode_t modes[] = {0000, 0400, 0200, 0066, 0600};
    for (const mode_t mode : modes) {
        const pid_t child = start([mode] {
            become_nobody();
            const mqd_t queue = OPENS(create('a', 2, 16, O_RDWR, mode));
            OK(send(queue, "creator"));
            SHOWS("0:creator", take(queue));
            try_all_modes();
            OK(mq_unlink(name()));
        });
        SHOWS("exit 0", finish(child));
    }
    const mode_t group_modes[] = {0060, 0040, 0020, 0606, 0006};
    for (const mode_t mode : group_modes) {
        OK(setegid(65534));
        OPENS(create('a', 2, 16, O_RDWR, mode));
        OK(setegid(0));
        const pid_t child = start([] {
            become_nobody();
            try_all_modes();
        });
        SHOWS("exit 0", finish(child));
        OK(mq_unlink(name()));
    }
}

// A supplementary group counts as the group does.
CASE(permissions_supplementary_group) {
    if (geteuid() != 0) skip("needs root to become another user");
    umask(0);
    OK(setegid(4242));
    OPENS(create('a', 2, 16, O_RDWR, 0060));
    OK(setegid(0));
    const pid_t child = start([] {
        const gid_t extra = 4242;

        if (::setgroups(1, &extra) != 0 || setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0)
            give_up("cannot change groups");
        try_all_modes();
    });
    SHOWS("exit 0", finish(child));
}

// A descriptor keeps its rights when the process gives up its user, and when the name is gone.
CASE(permissions_kept_by_descriptor) {
    if (geteuid() != 0) skip("needs root to become another user");
    const mqd_t queue = OPENS(create('a', 2, 16, O_RDWR, 0600));
    const pid_t child = start([queue] {
        become_nobody();
        OK(send(queue, "still", 4));
        SHOWS("4:still", take(queue));
        SHOWS("2/16/0/0", state(queue));
        FAILS(EACCES, open_and_close(name(), O_RDONLY));
        sigevent none{};
        none.sigev_notify = SIGEV_NONE;
        OK(mq_notify(queue, &none));
        OK(mq_notify(queue, nullptr));
    });
    SHOWS("exit 0", finish(child));
}

// The owner may unlink a queue of mode 0; a user whose effective id is the owner's counts, whatever the real one.
CASE(permissions_by_effective_user) {
    if (geteuid() != 0) skip("needs root to become another user");
    const pid_t child = start([] {
        OK(seteuid(65534));
        OPENS(create('a', 2, 16, O_RDWR, 0));
        FAILS(EACCES, open_and_close(name(), O_RDONLY));
        OK(seteuid(0));
        OK(open_and_close(name(), O_RDONLY));
        OK(seteuid(65534));
        OK(mq_unlink(name()));
        FAILS(ENOENT, open_and_close(name(), O_RDONLY));
    });
    SHOWS("exit 0", finish(child));
}

// Unlinking: the name is free at once, holders keep their queue, a new queue of that name is another one.
CASE(unlink_while_open) {
    const mqd_t old_queue = OPENS(create('a', 2, 16));
    OK(send(old_queue, "old", 1));
    OK(mq_unlink(name()));
    FAILS(ENOENT, open_and_close(name(), O_RDWR));
    const mqd_t new_queue = OPENS(create('a', 3, 32, O_RDWR | O_NONBLOCK));
    SHOWS("3/32/0/nonblock", state(new_queue));
    SHOWS("EAGAIN", take(new_queue));
    OK(send(new_queue, "new", 2));
    SHOWS("2/16/1/0", state(old_queue));
    SHOWS("1:old", take(old_queue));
    OK(send(old_queue, "again"));
    OK(mq_close(old_queue));
    SHOWS("2:new", take(new_queue));
}

// An unlinked queue lives in a child that inherited it, after the parent closed it.
CASE(unlink_then_inherit) {
    const mqd_t queue = OPENS(create('a', 2, 16));
    OK(send(queue, "kept", 9));
    OK(mq_unlink(name()));
    const pid_t child = start([queue] {
        await("the parent closed", [] { return shared().word[0] == 1; });
        SHOWS("9:kept", take(queue));
        OK(send(queue, "more"));
        SHOWS("2/16/1/0", state(queue));
    });
    OK(mq_close(queue));
    shared().word[0] = 1;
    SHOWS("exit 0", finish(child));
}

// What is in a queue stays when nobody has it open.
CASE(messages_outlive_openers) {
    const pid_t child = start([] {
        const mqd_t queue = OPENS(create('a', 3, 16));
        OK(send(queue, "low", 1));
        OK(send(queue, "high", 2));
    });
    SHOWS("exit 0", finish(child));
    const mqd_t queue = OPENS(mq_open(name(), O_RDONLY));
    SHOWS("3/16/2/0", state(queue));
    SHOWS("2:high", take(queue));
    SHOWS("1:low", take(queue));
}

// The entry that fortified programs call for two arguments: opens, and ENOENT.
CASE(open_with_two_arguments) {
    FAILS(ENOENT, __mq_open_2(name(), O_RDWR));
    OPENS(create());
    const mqd_t queue = OPENS(__mq_open_2(name(), O_RDWR | O_NONBLOCK));
    SHOWS("4/64/0/nonblock", state(queue));
    OPENS(mq_open(name(), O_RDONLY));
}

// Many processes create the same name at once with O_EXCL: one wins, the others get EEXIST; without it all get the same.
CASE(creation_race) {
    constexpr int kRounds = 40, kRacers = 4;
    for (int round = 0; round < kRounds; ++round) {
        pid_t racer[kRacers];
        Shared& s = shared();
        s.word[0] = s.word[1] = s.word[2] = s.word[3] = s.word[4] = 0;
        for (pid_t& each : racer)
            each = start([&s] {
                s.word[0]++;
                while (s.word[1] == 0) sched_yield();
                mqd_t queue = create('a', 8, 16);
                if (queue != -1)
                    s.word[2]++;
                else if (errno == EEXIST)
                    s.word[3]++;
                if (queue == -1) queue = mq_open(name(), O_RDWR);
                if (queue != -1 && send(queue, "here") == 0) s.word[4]++;
            });
        await("all racers stand ready", [&s] { return s.word[0] == kRacers; });
        s.word[1] = 1;
        bool ended = true;
        for (const pid_t each : racer) ended = finish(each) == "exit 0" && ended;
        const mqd_t queue = mq_open(name(), O_RDONLY);
        const long messages = count(queue);
        mq_close(queue);
        mq_unlink(name());
        if (!ended || s.word[2] != 1 || s.word[3] != kRacers - 1 || s.word[4] != kRacers || messages != kRacers)
            give_up("round " + std::to_string(round) + ": " + std::to_string(s.word[2]) + " winners, " +
                    std::to_string(s.word[3]) + " losers, " + std::to_string(messages) + " messages");
    }
    note("one winner each time");
}
