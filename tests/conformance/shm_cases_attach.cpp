// shmat, shmdt, and the calls that change mappings.
#include "shm_cases.hpp"

#include <sched.h>

// Addresses: page multiples or SHM_RND, nothing in the way or SHM_REMAP; EINVAL otherwise. Precedence against bad identifiers.
CASE(addresses) {
    const int id = make();
    char* taken = room(64);
    char* free_place = taken + 16 * kPage;
    munmap(free_place, 16 * kPage);
    FAILS(EINVAL, tries(id, free_place + 1));
    FAILS(EINVAL, tries(id, taken));
    FAILS(EINVAL, tries(id, taken + 15 * kPage));
    FAILS(EINVAL, tries(id, free_place + 9 * kPage));
    HOLDS(attach(id, free_place) == free_place);
    FAILS(EINVAL, tries(id, free_place));
    FAILS(EINVAL, tries(id, free_place + 7 * kPage));
    HOLDS(attach(id, free_place + 8 * kPage + 123, SHM_RND) == free_place + 8 * kPage);
    GIVES(2, attachments(id));
    OK(shmdt(free_place));
    FAILS(EINVAL, shmdt(free_place));
    FAILS(EINVAL, shmdt(free_place + 8 * kPage + 1));
    FAILS(EINVAL, shmdt(free_place + 9 * kPage));
    OK(shmdt(free_place + 8 * kPage));
    HOLDS(attach(id, taken, SHM_REMAP) == taken);
    HOLDS(attach(id, taken + 40 * kPage + 5, SHM_REMAP | SHM_RND) == taken + 40 * kPage);
    FAILS(EINVAL, tries(id, taken + 1, SHM_REMAP));
    FAILS(EINVAL, tries(id, nullptr, SHM_REMAP));
    FAILS(EINVAL, tries(id, reinterpret_cast<void*>(123), SHM_REMAP | SHM_RND));
    FAILS(EINVAL, tries(-1, nullptr));
    FAILS(EINVAL, tries(id + 1, nullptr));
    FAILS(ENOMEM, tries(id, reinterpret_cast<void*>(0x7ffffffff000), SHM_REMAP));
    FAILS(EINVAL, tries(id, reinterpret_cast<void*>(~kPage + 1)));
    OK(shmdt(taken));
    OK(shmdt(taken + 40 * kPage));
    FAILS(EINVAL, shmdt(hidden(static_cast<void*>(nullptr))));
    FAILS(EINVAL, shmdt(taken));
    GIVES(0, attachments(id));
    OK(removed(id));
}

// Read-only: reading works and counts, writing is SIGSEGV, mprotect cannot change that. SHM_EXEC.
CASE(read_only) {
    const int id = make();
    char* writable = attach(id);
    writable[5] = 'r';
    const pid_t child = start([id] {
        char* bytes = attach(id, nullptr, SHM_RDONLY);
        HOLDS(bytes[5] == 'r');
        FAILS(EACCES, mprotect(bytes, kPage, PROT_READ | PROT_WRITE));
        GIVES(3, attachments(id));
        bytes[5] = 'w';
        note("wrote");
    });
    SHOWS("signal SEGV", finish(child));
    GIVES(1, attachments(id));
    HOLDS(writable[5] == 'r');
    OK(tries(id, nullptr, SHM_EXEC));
    OK(tries(id, nullptr, SHM_EXEC | SHM_RDONLY));
    OK(tries(id, nullptr, 0xff000000));
    OK(shmdt(writable));
    OK(removed(id));
}

// Attached over itself: the one below is gone.
CASE(remap_over_segments) {
    const int one = make(), two = make();
    char* place = room(32);
    HOLDS(attach(one, place, SHM_REMAP) == place);
    HOLDS(attach(two, place + 4 * kPage, SHM_REMAP) == place + 4 * kPage);
    GIVES(1, attachments(one));
    GIVES(1, attachments(two));
    place[4 * kPage] = 't';
    OK(shmdt(place));
    GIVES(0, attachments(one));
    HOLDS(place[4 * kPage] == 't');
    HOLDS(attach(one, place + 6 * kPage, SHM_REMAP) == place + 6 * kPage);
    HOLDS(attach(one, place + 4 * kPage, SHM_REMAP) == place + 4 * kPage);
    GIVES(2, attachments(one));  // the first lost its first six pages
    GIVES(0, attachments(two));
    OK(shmdt(place + 4 * kPage));
    OK(shmdt(place + 6 * kPage));
    GIVES(0, attachments(one));
    OK(removed(one));
    OK(removed(two));
}

// The count is of mappings: munmap in the middle makes two, mprotect in the middle three, neighbours are joined by nothing but
// a change that spares a mapping; shmdt takes all of an attach.
CASE(pieces) {
    const int id = make();
    char* a = attach(id);
    OK(munmap(a + 3 * kPage, kPage));
    GIVES(2, attachments(id));
    OK(munmap(a, kPage));
    GIVES(2, attachments(id));
    OK(munmap(a + 3 * kPage, kPage));
    GIVES(2, attachments(id));
    OK(munmap(a + 7 * kPage, 1));
    GIVES(2, attachments(id));
    OK(shmdt(a));
    GIVES(0, attachments(id));
    FAILS(EINVAL, shmdt(a));
    a = attach(id);
    OK(mprotect(a + 3 * kPage, kPage, PROT_READ));
    GIVES(3, attachments(id));
    OK(mprotect(a + 4 * kPage, kPage, PROT_READ));
    GIVES(3, attachments(id));
    OK(mprotect(a + 3 * kPage, 2 * kPage, PROT_READ | PROT_WRITE));
    GIVES(3, attachments(id));
    OK(mprotect(a + 2 * kPage, 4 * kPage, PROT_NONE));
    GIVES(4, attachments(id));
    OK(mprotect(a, 8 * kPage, PROT_READ));
    GIVES(4, attachments(id));
    OK(munmap(a, 8 * kPage));
    GIVES(0, attachments(id));
    FAILS(EINVAL, shmdt(a));
    OK(removed(id));
}

// An mprotect that fails half-way has changed what lies below the hole, or below the mapping that may not be written.
CASE(protected_half_way) {
    const int id = make();
    char* place = room(32);
    HOLDS(attach(id, place, SHM_REMAP) == place);
    OK(munmap(place + 6 * kPage, kPage));
    GIVES(2, attachments(id));
    FAILS(ENOMEM, mprotect(place + 4 * kPage, 4 * kPage, PROT_READ));
    GIVES(3, attachments(id));
    FAILS(ENOMEM, mprotect(place + 6 * kPage, 2 * kPage, PROT_READ));
    FAILS(EINVAL, mprotect(place + 1, kPage, PROT_READ));
    GIVES(3, attachments(id));
    HOLDS(attach(id, place + 10 * kPage, SHM_REMAP) == place + 10 * kPage);
    HOLDS(attach(id, place + 18 * kPage, SHM_REMAP | SHM_RDONLY) == place + 18 * kPage);
    OK(mprotect(place + 10 * kPage, 16 * kPage, PROT_NONE));
    GIVES(5, attachments(id));
    FAILS(EACCES, mprotect(place + 16 * kPage, 4 * kPage, PROT_READ | PROT_WRITE));
    GIVES(6, attachments(id));
    place[17 * kPage] = 'h';
    OK(munmap(place, 32 * kPage));
    GIVES(0, attachments(id));
    OK(removed(id));
}

// What is in the way goes before what is too large to be mapped at all, and the size is not rounded to pages.
CASE(too_large_and_in_the_way) {
    const int huge = OPENS(shmget(IPC_PRIVATE, size_t{1} << 62, SHM_NORESERVE | 0600)), small = make(1), page = make(kPage);
    char* place = room(2);
    munmap(place, 2 * kPage);
    void* last = reinterpret_cast<void*>(~kPage + 1);
    FAILS(EINVAL, tries(huge, place));
    FAILS(ENOMEM, tries(huge, place, SHM_REMAP));
    FAILS(ENOMEM, tries(huge));
    FAILS(ENOMEM, tries(small, last));
    FAILS(EINVAL, tries(page, last));
    FAILS(ENOMEM, tries(page, last, SHM_REMAP));
    OK(removed(huge));
    OK(removed(small));
    OK(removed(page));
}

// Pieces inherited, moved, copied and mapped over.
CASE(moved_pieces) {
    const int id = make();
    char* place = room(64);
    char* a = attach(id, place, SHM_REMAP);
    HOLDS(mmap(a + 2 * kPage, kPage, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == a + 2 * kPage);
    GIVES(2, attachments(id));
    HOLDS(mremap(a + 4 * kPage, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, place + 20 * kPage) == place + 20 * kPage);
    GIVES(4, attachments(id));
    FAILS(EINVAL, shmdt(place + 20 * kPage));
    OK(shmdt(place + 16 * kPage));
    GIVES(3, attachments(id));
    OK(shmdt(a));
    GIVES(0, attachments(id));
    a = attach(id, place, SHM_REMAP);
    HOLDS(mremap(a, 8 * kPage, 4 * kPage, 0) == a);
    GIVES(1, attachments(id));
    char* copy = static_cast<char*>(mremap(a, 0, 4 * kPage, MREMAP_MAYMOVE));
    a[9] = 'c';
    HOLDS(copy[9] == 'c');
    GIVES(2, attachments(id));
    OK(shmdt(copy));
    const pid_t child = start([id, a] {
        GIVES(2, attachments(id));
        OK(munmap(a + kPage, kPage));
        GIVES(3, attachments(id));
    });
    SHOWS("exit 0", finish(child));
    GIVES(1, attachments(id));
    OK(shmdt(a));
    OK(removed(id));
}

// Random changes of mappings, the count after each. The kernel decides what is right.
static void change_at_random(unsigned seed) {
    const auto next = [&seed](unsigned limit) {
        seed = seed * 1103515245 + 12345;
        return (seed >> 16) % limit;
    };
    constexpr unsigned kRoom = 64;
    const int one = make(8 * kPage), two = make(5 * kPage + 7);
    char* place = room(kRoom);
    for (int step = 0; step < 1000; ++step) {
        char* at = place + next(kRoom) * kPage;
        const size_t pages = 1 + next(10);
        const size_t bytes =
            (at + pages * kPage > place + kRoom * kPage ? static_cast<size_t>(place + kRoom * kPage - at) : pages * kPage);
        const int id = next(2) ? one : two;
        std::string what;
        switch (next(8)) {
            case 0:
            case 1:
                if (at + 8 * kPage > place + kRoom * kPage) continue;
                what = "attach " +
                       std::string(attach(id, at, SHM_REMAP | (next(3) == 0 ? SHM_RDONLY : 0)) ? "ok" : error_name(errno));
                break;
            case 2:
                what = "detach " + std::string(shmdt(at) == 0 ? "ok" : error_name(errno));
                break;
            case 3:
                what = "unmap " + std::string(munmap(at, bytes) == 0 ? "ok" : error_name(errno));
                break;
            case 4:
            case 5: {
                const int protections[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ};
                const int wanted = protections[next(4)];
                if (wanted & PROT_WRITE) continue;  // would fail half-way at a piece that is read-only for good
                what = "protect " + std::string(mprotect(at, bytes, wanted) == 0 ? "ok" : error_name(errno));
                break;
            }
            case 6:
                what = "over " + std::string(mmap(at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at
                                                 ? "ok"
                                                 : error_name(errno));
                break;
            default: {
                char* to = place + next(kRoom) * kPage;
                const size_t moved = kPage;  // several mappings at once fail half-way, no two kernels alike
                if (to + moved > place + kRoom * kPage || at + moved > place + kRoom * kPage ||
                    (to < at + moved && at < to + moved))
                    continue;
                what = "move " +
                       std::string(mremap(at, moved, moved, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to ? "ok" : error_name(errno));
                break;
            }
        }
        // Holes are filled, so that nobody else's memory gets there.
        for (char* page = place; page < place + kRoom * kPage; page += kPage)
            mmap(page, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        note(what + ": " + std::to_string(attachments(one)) + " " + std::to_string(attachments(two)));
        if (step % 50 == 49) {
            const pid_t child = start([&] {
                note("forked: " + std::to_string(attachments(one)) + " " + std::to_string(attachments(two)));
                munmap(place, kRoom / 2 * kPage);
                note("unmapped half: " + std::to_string(attachments(one)) + " " + std::to_string(attachments(two)));
            });
            SHOWS("exit 0", finish(child));
            note("ended: " + std::to_string(attachments(one)) + " " + std::to_string(attachments(two)));
        }
    }
    munmap(place, kRoom * kPage);
    GIVES(0, attachments(one));
    GIVES(0, attachments(two));
    OK(removed(one));
    OK(removed(two));
}
CASE(random_pieces_1) {
    change_at_random(1);
}
CASE(random_pieces_2) {
    change_at_random(22);
}
CASE(random_pieces_3) {
    change_at_random(333);
}
CASE(random_pieces_4) {
    change_at_random(4444);
}
CASE(random_pieces_5) {
    change_at_random(55555);
}
CASE(random_pieces_6) {
    change_at_random(666666);
}
