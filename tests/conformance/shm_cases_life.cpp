// Attachments over fork, exec and every kind of end; removal before the last detach.
#include "shm_cases.hpp"

#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <thread>

extern char** environ;

// A child has what its parent had; its own end and detaches count for it alone. Times and last process as the kernel's.
CASE(fork_and_exit) {
    const int id = make();
    char* a = attach(id);
    attach(id);
    const pid_t parent = getpid();
    const pid_t child = start([id, a, parent] {
        GIVES(4, attachments(id));
        HOLDS(look(id).shm_lpid == parent);
        OK(shmdt(a));
        GIVES(3, attachments(id));
        HOLDS(look(id).shm_lpid == getpid());
        const pid_t grandchild = start([id] { GIVES(4, attachments(id)); });
        SHOWS("exit 0", finish(grandchild));
        GIVES(3, attachments(id));
        std::exit(7);  // with the library's own last words
    });
    SHOWS("exit 7", finish(child));
    GIVES(2, attachments(id));
    HOLDS(look(id).shm_lpid == child);
    const pid_t other = start([] { _exit(3); });
    SHOWS("exit 3", finish(other));
    GIVES(2, attachments(id));
    HOLDS(look(id).shm_lpid == other);
    OK(shmdt(a));
    OK(removed(id));
    GIVES(1, attachments(id));
}

// kill -9 at any time: when its parent has waited for it, it counts no more.
CASE(killed) {
    const int id = make();
    attach(id);
    for (int round = 0; round < 30; ++round) {
        Shared& s = shared();
        s.word[0] = 0;
        const pid_t child = start([id, &s] {
            for (;;) {
                char* more = attach(id);
                s.word[0]++;
                if (!more) give_up("no attach");
                shmdt(more);
            }
        });
        await("it attaches", [&s, round] { return s.word[0] > round; });
        kill(child, SIGKILL);
        if (finish(child) != "signal KILL" || attachments(id) != 1)
            give_up("round " + std::to_string(round) + ": " + std::to_string(attachments(id)));
    }
    note("exact each time");
    OK(removed(id));
}

// A tree of processes killed from the top and from the bottom.
CASE(killed_trees) {
    const int id = make();
    attach(id);
    Shared& s = shared();
    const pid_t child = start([id, &s] {
        attach(id);
        const pid_t grandchild = start([&s] {
            s.word[0] = 1;
            pause();
        });
        s.number[0] = grandchild;
        pause();
    });
    await("all stand", [&s] { return s.word[0] == 1 && s.number[0] != 0; });
    GIVES(5, attachments(id));
    kill(static_cast<pid_t>(s.number[0]), SIGSTOP);
    kill(child, SIGKILL);  // the grandchild dies of its parent's death, as soon as it runs
    SHOWS("signal KILL", finish(child));
    await("both are gone", [id] { return attachments(id) == 1; });
    OK(removed(id));
}

HELPER(after_exec) {
    SEES(attachments(helper_argument()));
    char* bytes = attach(helper_argument());
    HOLDS(bytes[3] == 'e');
    SEES(attachments(helper_argument()));
    _exit(0);
}

// exec detaches all; the new image may attach again.
CASE(exec_detaches) {
    const int id = make();
    char* a = attach(id);
    a[3] = 'e';
    const pid_t child = start([id] {
        attach(id);
        GIVES(3, attachments(id));
        reexec("after_exec", id);
    });
    SHOWS("exit 0", finish(child));
    GIVES(1, attachments(id));
    OK(removed(id));
}

// vfork, posix_spawn and system share or leave the memory: no attachment comes or goes.
CASE(spawned) {
    const int id = make();
    attach(id);
    char path[] = "/bin/true";
    char* arguments[] = {path, nullptr};
    pid_t child = 0;
    OK(posix_spawn(&child, path, nullptr, nullptr, arguments, environ));
    SHOWS("exit 0", finish(child));
    GIVES(1, attachments(id));
    child = vfork();
    if (child == 0) _exit(4);
    SHOWS("exit 4", finish(child));
    GIVES(1, attachments(id));
    GIVES(0, std::system("true"));
    GIVES(1, attachments(id));
    OK(removed(id));
}

// Threads share what their process attached; the end of one changes nothing.
CASE(threads) {
    const int id = make();
    char* bytes = nullptr;
    std::thread([&] { bytes = attach(id); }).join();
    GIVES(1, attachments(id));
    bytes[1] = 't';
    std::thread([&] { OK(shmdt(bytes)); }).join();
    GIVES(0, attachments(id));
    std::thread many[4];
    for (std::thread& each : many)
        each = std::thread([id] {
            for (int i = 0; i < 200; ++i) {
                char* mine = attach(id);
                if (mine) shmdt(mine);
            }
        });
    for (std::thread& each : many) each.join();
    GIVES(0, attachments(id));
    OK(removed(id));
}

// Threads that attach and detach while others fork.
CASE(fork_beside_threads) {
    const int id = make();
    attach(id);
    std::atomic<bool> enough{false};
    std::thread busy([&] {
        while (!enough) {
            char* mine = attach(id);
            if (mine) shmdt(mine);
        }
    });
    for (int i = 0; i < 100; ++i) {
        const pid_t child = fork();
        if (child == 0) _exit(0);
        if (finish(child) != "exit 0") give_up("child");
    }
    enough = true;
    busy.join();
    GIVES(1, attachments(id));
    OK(removed(id));
}

// IPC_RMID: the key is free at once, SHM_DEST shows, the bytes go with the last detach; until then others may attach by the
// identifier.
CASE(removed_while_attached) {
    const int id = OPENS(shmget(own_key(), kPage, IPC_CREAT | 0600));
    char* a = attach(id);
    a[0] = 'k';
    OK(removed(id));
    FAILS(ENOENT, shmget(own_key(), kPage, 0));
    SHOWS("1600", mode_of(id));
    HOLDS(look(id).shm_perm.__key == IPC_PRIVATE);
    OK(removed(id));
    const int next = OPENS(shmget(own_key(), kPage, IPC_CREAT | IPC_EXCL | 0600));
    HOLDS(next != id);
    char* b = attach(id);
    HOLDS(b[0] == 'k');
    shmid_ds wanted = look(id);
    wanted.shm_perm.mode = 0640;
    OK(shmctl(id, IPC_SET, &wanted));
    SHOWS("1640", mode_of(id));
    GIVES(2, attachments(id));
    OK(shmdt(a));
    GIVES(1, attachments(id));
    const pid_t child = start([id] { OK(tries(id)); });
    SHOWS("exit 0", finish(child));
    HOLDS(b[0] == 'k');
    OK(shmdt(b));
    FAILS(EINVAL, tries(id));
    FAILS(EINVAL, removed(id));
    OK(removed(next));
}

// The last one that had it attached is killed, ends, executes: the segment is gone.
CASE(removed_then_killed) {
    for (const char* how : {"killed", "exits", "left"}) {
        const int id = make();
        Shared& s = shared();
        s.word[0] = 0;
        const pid_t child = start([id, &s, how] {
            attach(id);
            s.word[0] = 1;
            if (*how == 'e') std::exit(0);
            if (*how == 'l') _exit(0);
            pause();
        });
        await("it is attached", [&s] { return s.word[0] == 1; });
        if (*how == 'k') {
            OK(removed(id));
            GIVES(1, attachments(id));
            kill(child, SIGKILL);
        }
        finish(child);
        if (*how != 'k') OK(removed(id));
        note(how);
        FAILS(EINVAL, attachments(id));
        FAILS(EINVAL, tries(id));
    }
}

// Removed by a child while the parent alone has it.
CASE(removed_by_another) {
    const int id = make();
    char* a = attach(id);
    const pid_t child = start([id, a] {
        OK(shmdt(a));
        OK(removed(id));
        GIVES(1, attachments(id));
    });
    SHOWS("exit 0", finish(child));
    SHOWS("1600", mode_of(id));
    a[0] = 1;
    OK(munmap(a, 4 * kPage));
    GIVES(1, attachments(id));
    OK(munmap(a, 8 * kPage));
    FAILS(EINVAL, attachments(id));
}

// A process that closes every descriptor from 3 up still counts, and so do its children.
CASE(closed_descriptors) {
    const int id = make();
    const pid_t child = start([id] {
        attach(id);
        for (int fd = 3; fd < 65536; ++fd)
            if (fd != 500 && fd != 501) close(fd);
        GIVES(1, attachments(id));
        const pid_t grandchild = start([id] {
            GIVES(2, attachments(id));
            char* more = attach(id);
            GIVES(3, attachments(id));
            OK(shmdt(more));
        });
        SHOWS("exit 0", finish(grandchild));
        GIVES(1, attachments(id));
    });
    SHOWS("exit 0", finish(child));
    GIVES(0, attachments(id));
    OK(removed(id));
}

// No descriptor is left to open: attaching works all the same.
CASE(no_descriptors_left) {
    const int id = make();
    const pid_t child = start([id] {
        char* first = attach(id);
        HOLDS(first != nullptr);
        while (dup(0) >= 0) {
        }
        OK(tries(id));
        GIVES(1, attachments(id));
        const int more = OPENS(shmget(own_key(), kPage, IPC_CREAT | 0600));
        HOLDS(shmget(own_key(), 0, 0) == more);
        OK(tries(more));
        OK(removed(more));
        OK(shmdt(first));
        GIVES(0, attachments(id));
        OK(removed(id));
    });
    SHOWS("exit 0", finish(child));
}
