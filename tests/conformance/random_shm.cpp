// random_shm: a seeded random sequence of shm* calls on several segments by three processes in lockstep and the short-lived
// children of each, their results and errnos as a transcript.
//
// The same seed makes the same calls, so the transcripts of the kernel and of Muster must be equal, line by line. After each
// call the state of its segment is printed, and how often each of the others is attached. Chosen addresses lie in an area far
// from where the system puts mappings of its own accord, so that holes in it stay holes; they are told in pages from its
// beginning, a segment that the system placed by its number. Identifiers are never told: a segment is called by its letter, a
// removed one by its place among the removed, a process by its place in the order of starts.
#include <sched.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>

#include <array>
#include <cinttypes>
#include <csetjmp>
#include <vector>

#include "case.hpp"

namespace {

constexpr size_t kPage = 4096;
constexpr long kAreaPages = 48, kSegmentPages = 8;
constexpr uintptr_t kArea = 0x2000'0000'0000;
constexpr int kSegments = 4, kStale = 6, kWorkers = 2, kProcesses = 1 << 16;
constexpr size_t kPlaced = 5;  // segments where the system put them, a process

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
    size_t index(size_t n) { return static_cast<size_t>(next() % n); }
    bool one_in(long n) { return below(n) == 0; }

private:
    uint64_t state_;
};

// What all processes know.
struct Common {
    std::array<int, kSegments> ids;
    std::array<size_t, kSegments> sizes;
    std::array<bool, kSegments> secret;
    std::array<int, kStale> stale;
    size_t stale_count;
    std::array<pid_t, kProcesses> processes;  // in the order of starts
    size_t process_count;
};
Common* common;

void join() {
    if (common->process_count < kProcesses) common->processes[common->process_count++] = getpid();
}

std::string who(pid_t pid) {
    if (pid == 0) return "nobody";
    for (size_t i = common->process_count; i-- > 0;)
        if (common->processes[i] == pid) return "p" + std::to_string(i);
    return "a stranger";
}

std::string octal(int mode) {
    char text[16];
    std::snprintf(text, sizeof text, "%o", static_cast<unsigned>(mode));
    return text;
}

std::string count_of(int id) {
    shmid_ds now{};
    return shmctl(id, IPC_STAT, &now) == 0 ? std::to_string(now.shm_nattch) : "-";
}

std::string state_of(int id) {
    shmid_ds now{};
    if (shmctl(id, IPC_STAT, &now) != 0) return error_name(errno);
    return std::to_string(now.shm_nattch) + "/" + std::to_string(now.shm_segsz) + " mode " + octal(now.shm_perm.mode) + " by " +
           who(now.shm_cpid) + ", last " + who(now.shm_lpid) + (now.shm_atime ? " attached" : "") + (now.shm_dtime ? " detached" : "") +
           (now.shm_ctime ? "" : " NEVER CHANGED") + (now.shm_perm.__key == IPC_PRIVATE ? " no key" : "");
}

std::string counts() {
    std::string text = " |";
    for (const int id : common->ids) text += " " + count_of(id);
    text += " |";
    for (size_t i = 0; i < common->stale_count; ++i) text += " " + count_of(common->stale[i]);
    return text;
}

sigjmp_buf back;
void on_fault(int signal) {
    siglongjmp(back, signal);
}
// Runs the access; what it died of, or "".
template <class Access>
std::string guarded(Access access) {
    if (const int signal = sigsetjmp(back, 1); signal != 0) return sigabbrev_np(signal);
    access();
    return "";
}

struct Placed {
    char* start;
    size_t bytes;
};

// One process: what it has attached, and the calls it makes.
class Actor {
public:
    std::string step(uint64_t seed, int depth = 0) {
        Random r(seed);
        choose(r);
        const long kind = id_ == -1 && !r.one_in(6) ? 0 : r.below(100);  // EINVAL alone teaches little
        std::string text;
        if (kind < 6) text = called_ + " " + get(r);
        else if (kind < 28) text = called_ + " " + attach(r);
        else if (kind < 41) text = detach(r);
        else if (kind < 48) text = unmap(r);
        else if (kind < 60) text = protect(r);
        else if (kind < 63) text = map_over(r);
        else if (kind < 72) text = write(r);
        else if (kind < 82) text = read(r);
        else if (kind < 88) text = called_ + " " + set(r);
        else if (kind < 91) text = called_ + " " + lock(r);
        else if (kind < 94) text = called_ + " " + remove();
        else if (kind < 95) text = called_ + " " + look(r);
        else if (depth < 2) text = child(r, depth);
        else text = read(r);
        return text + " | " + called_ + " " + state_of(id_) + counts();
    }

    void detach_all() {
        munmap(area(0), kAreaPages * kPage);
        for (const Placed& each : placed_) shmdt(each.start);
        placed_.clear();
    }

private:
    // Mostly a segment that is there; sometimes one that was removed, attached still or not, or nothing at all.
    void choose(Random& r) {
        slot_ = r.index(kSegments);
        id_ = common->ids[slot_];
        called_ = std::string(1, static_cast<char>('a' + slot_));
        if (r.one_in(8) && common->stale_count > 0) {
            const size_t which = r.index(common->stale_count);
            id_ = common->stale[which];
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

    static char* area(long page) { return reinterpret_cast<char*>(kArea) + page * static_cast<long>(kPage); }
    static std::string range(const std::string& of, long page, size_t bytes) {
        return of + std::to_string(page) + " length " + std::to_string(bytes);
    }

    key_t key() const {
        const unsigned run = static_cast<unsigned>(common->processes[0]) & 0xfffffu;
        return static_cast<key_t>(0x53000000u | run << 4 | static_cast<unsigned>(slot_));
    }

    // Root alone goes without the owner's rights: the others have to be able to look after each death, or its order is lost.
    static int some_mode(Random& r, long limit) { return static_cast<int>(r.below(limit)) | (geteuid() == 0 ? 0 : 0600); }

    std::string get(Random& r) {
        int& known = common->ids[slot_];
        int flags = (r.one_in(4) ? 0 : IPC_CREAT) | (r.one_in(3) ? IPC_EXCL : 0) | (r.one_in(8) ? SHM_NORESERVE : 0);
        if (known < 0) common->secret[slot_] = r.one_in(6);
        const bool secret = common->secret[slot_];
        if (secret && known >= 0) return "get: it has no key";
        const size_t there = known < 0 ? 0 : common->sizes[slot_];
        const size_t sizes[] = {0, 1, there, there + 1, there - 1, SIZE_MAX, size_t{1} << 62, kPage * kSegmentPages};
        const size_t odd = r.index(kSegmentPages * kPage) + 1, whole = (r.index(kSegmentPages) + 1) * kPage;
        const size_t size = r.one_in(known < 0 ? 5 : 2) ? sizes[r.below(8)] : r.one_in(3) ? odd : whole;
        if (geteuid() != 0 && size > (kSegmentPages + 1) * kPage) flags &= ~SHM_NORESERVE;  // more than may be locked
        const int mode = r.one_in(10) ? some_mode(r, 512) : r.one_in(5) ? some_mode(r, 512) | 0600 : 0600;
        const std::string what = std::string("get") + (secret ? " private" : "") + (flags & IPC_CREAT ? " create" : "") +
                                 (flags & IPC_EXCL ? " only" : "") + " size " + std::to_string(size) + " mode " + octal(mode);
        errno = kUntouched;
        const int got = shmget(secret ? IPC_PRIVATE : key(), size, flags | mode);
        const std::string text = result(what, got < 0 ? -1 : got == known ? 1 : 0);
        if (got >= 0 && known >= 0 && got != known) return text + " ANOTHER SEGMENT";
        if (got >= 0 && known < 0) common->sizes[slot_] = size;
        if (got >= 0) id_ = known = got;
        return text;
    }

    std::string attach(Random& r) {
        int flags = (r.one_in(4) ? SHM_RDONLY : 0) | (r.one_in(10) ? SHM_EXEC : 0) | (r.one_in(3) ? SHM_RND : 0);
        if (r.one_in(20)) flags |= 0x01ff;  // bits that mean nothing here
        long page = -1;
        char* wanted = nullptr;
        std::string where;
        if (const long form = r.below(30); form == 0) {
            char* const bad[] = {reinterpret_cast<char*>(0x7fff'ffff'f000), reinterpret_cast<char*>(~kPage + 1), reinterpret_cast<char*>(123)};
            const size_t which = r.index(3);
            wanted = bad[which];
            where = "bad place " + std::to_string(which);
            flags |= which == 2 ? SHM_REMAP : 0;
        } else if (form < 7) {
            where = "anywhere";
            if (r.one_in(20)) flags |= SHM_REMAP;
            else if (placed_.size() >= kPlaced) return "attach: enough of them";
        } else {
            page = r.below(kAreaPages);
            const long within = r.one_in(6) ? r.below(kPage) : 0;
            wanted = area(page) + within;
            where = std::to_string(page) + (within ? "+" + std::to_string(within) : "");
            if (!r.one_in(3)) flags |= SHM_REMAP;
        }
        const std::string what = "attach at " + where + (flags & SHM_RDONLY ? " to read" : "") + (flags & SHM_EXEC ? " to execute" : "") +
                                 (flags & SHM_RND ? " rounded" : "") + (flags & SHM_REMAP ? " over" : "");
        errno = kUntouched;
        void* const got = shmat(id_, hidden(wanted), flags);
        if (got == reinterpret_cast<void*>(-1)) return result(what, -1);
        char* const start = static_cast<char*>(got);
        const std::string text = result(what, page < 0 ? 0 : (start - area(0)) / static_cast<long>(kPage));
        if (page >= 0) {
            attached_.push_back(page);
            return text + (start == area(page) ? "" : " ELSEWHERE");
        }
        shmid_ds now{};
        size_t bytes = shmctl(id_, IPC_STAT, &now) == 0 ? (now.shm_segsz + kPage - 1) / kPage * kPage : kPage;
        placed_.push_back({start, bytes});
        return text + " number " + std::to_string(placed_.size() - 1);
    }

    std::string detach(Random& r) {
        if (!placed_.empty() && r.one_in(4)) {
            const size_t which = r.index(placed_.size());
            char* const start = placed_[which].start;
            const long form = r.below(6);
            char* const at = form == 0 && placed_[which].bytes > kPage ? start + kPage : form == 1 ? start + 1 : start;
            if (at == start) placed_.erase(placed_.begin() + static_cast<long>(which));
            errno = kUntouched;
            std::string text = result("detach number " + std::to_string(which) + " + " + std::to_string(at - start), shmdt(at));
            errno = kUntouched;
            if (at == start && r.one_in(4)) text = result(text + ", again", shmdt(at));
            return text;
        }
        long page = r.below(kAreaPages);
        if (!attached_.empty() && !r.one_in(5)) {
            const size_t which = r.index(attached_.size());
            page = attached_[which] + (r.one_in(6) ? 1 : 0);
            if (page == attached_[which]) attached_.erase(attached_.begin() + static_cast<long>(which));
        }
        const long within = r.one_in(15) ? r.below(kPage) : 0;
        const bool nowhere = r.one_in(40);
        const std::string what = "detach " + (nowhere ? "nowhere" : std::to_string(page) + (within ? "+" + std::to_string(within) : ""));
        errno = kUntouched;
        return result(what, shmdt(hidden(nowhere ? nullptr : area(page) + within)));
    }

    // Where a call may act: some pages of the area, mostly of something attached.
    long some_page(Random& r) {
        if (attached_.empty() || r.one_in(4)) return r.below(kAreaPages);
        return (attached_[r.index(attached_.size())] + r.below(kSegmentPages)) % kAreaPages;
    }
    static size_t some_bytes(Random& r, long page) {
        const long pages = 1 + (r.one_in(3) ? r.below(kAreaPages / 2) : r.below(4));
        const size_t bytes = static_cast<size_t>(pages < kAreaPages - page ? pages : kAreaPages - page) * kPage;
        return r.one_in(6) ? bytes - r.index(kPage) : bytes;
    }

    std::string unmap(Random& r) {
        const long page = some_page(r);
        const size_t bytes = r.one_in(30) ? 0 : some_bytes(r, page), within = r.one_in(30) ? 8 : 0;
        errno = kUntouched;
        return result(range("unmap ", page, bytes) + (within ? " odd" : ""), munmap(area(page) + within, bytes));
    }

    std::string protect(Random& r) {
        const int protections[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC};
        const int wanted = protections[r.below(6)];
        const std::string to = " to " + std::to_string(wanted);
        if (!placed_.empty() && r.one_in(3)) {
            const size_t which = r.index(placed_.size());
            const size_t pages = placed_[which].bytes / kPage, first = r.index(pages), bytes = (1 + r.index(pages - first)) * kPage;
            const std::string what = range("protect number " + std::to_string(which) + " + ", static_cast<long>(first), bytes) + to;
            errno = kUntouched;
            return result(what, mprotect(placed_[which].start + first * kPage, bytes, wanted));
        }
        const long page = some_page(r);
        const size_t bytes = some_bytes(r, page);
        errno = kUntouched;
        return result(range("protect ", page, bytes) + to, mprotect(area(page), bytes, wanted));
    }

    std::string map_over(Random& r) {
        const long page = some_page(r);
        const size_t bytes = some_bytes(r, page);
        const int protection = r.one_in(2) ? PROT_NONE : PROT_READ | PROT_WRITE;
        errno = kUntouched;
        void* const got = mmap(area(page), bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
        return result(range("map over ", page, bytes) + " to " + std::to_string(protection), got == area(page) ? 0 : -1);
    }

    // A page of the area or of a segment that the system placed.
    char* some_place(Random& r, std::string& told) {
        if (!placed_.empty() && r.one_in(3)) {
            const size_t which = r.index(placed_.size()), page = r.index(placed_[which].bytes / kPage);
            told = "number " + std::to_string(which) + " + " + std::to_string(page);
            return placed_[which].start + page * kPage;
        }
        const long page = some_page(r);
        told = std::to_string(page);
        return area(page);
    }

    std::string write(Random& r) {
        std::string told;
        volatile char* const page = some_place(r, told);
        const char value = static_cast<char>('a' + r.below(26));
        const size_t offset = r.index(kPage - 16);
        const std::string end = guarded([&] {
            for (size_t i = 0; i < 16; ++i) page[offset + i] = value;
        });
        return "write " + std::string(1, value) + " to " + told + " +" + std::to_string(offset) + " -> " + (end.empty() ? "done" : end);
    }

    std::string read(Random& r) {
        std::string told;
        const volatile char* const page = some_place(r, told);
        volatile uint32_t sum = 2166136261u;
        const std::string end = guarded([&] {
            uint32_t all = sum;
            for (size_t i = 0; i < kPage; ++i) all = (all ^ static_cast<unsigned char>(page[i])) * 16777619u;
            sum = all;
        });
        return "read " + told + " -> " + (end.empty() ? std::to_string(sum) : end);
    }

    std::string set(Random& r) {
        shmid_ds wanted{};
        wanted.shm_perm.uid = geteuid();
        wanted.shm_perm.gid = getegid();
        const int mode = some_mode(r, 4096) | (r.one_in(8) ? 0 : 0600);
        wanted.shm_perm.mode = static_cast<decltype(wanted.shm_perm.mode)>(mode);
        wanted.shm_segsz = 1;
        wanted.shm_nattch = 99;
        const long form = r.below(20);
        if (form == 1) wanted.shm_perm.uid = static_cast<uid_t>(-1);
        if (form == 3) wanted.shm_perm.gid = static_cast<gid_t>(-1);
        const char* special = form == 0 ? " from nowhere" : form == 1 ? " no user" : form == 2 ? " unknown" : form == 3 ? " no group" : "";
        errno = kUntouched;
        const int got = shmctl(id_, form == 2 ? 4711 : IPC_SET, form == 0 ? hidden(static_cast<shmid_ds*>(nullptr)) : &wanted);
        return result("set mode " + octal(mode) + special, got);
    }

    std::string lock(Random& r) {
        const bool locks = r.one_in(2);
        errno = kUntouched;
        return result(locks ? "lock" : "unlock", shmctl(id_, locks ? SHM_LOCK : SHM_UNLOCK, nullptr));
    }

    std::string look(Random& r) {
        errno = kUntouched;
        if (r.one_in(2)) return result("look to nowhere", shmctl(id_, IPC_STAT, hidden(static_cast<shmid_ds*>(nullptr))));
        shmid_ds now{};
        const bool live = id_ == common->ids[slot_];
        const int got = shmctl(id_ < 0 ? id_ : id_ & 0x7fff, SHM_STAT, &now);
        if (!live && id_ >= 0) errno = kUntouched;  // the index may be another segment's by now, or nobody's
        return result("look by index", got >= 0 && got == id_ ? 1 : -1);
    }

    std::string remove() {
        // A place that nothing attached stands in: all that live have to be looked at after each death, or its order is lost.
        size_t place = 0;
        while (place < common->stale_count && count_of(common->stale[place]) != "-") ++place;
        if (place == kStale) return "remove: too many are left already";
        errno = kUntouched;
        const int got = shmctl(id_, IPC_RMID, nullptr);
        const std::string text = result("remove", got);
        if (got != 0 || id_ != common->ids[slot_]) return text;
        common->ids[slot_] = -1;
        common->stale[place] = id_;
        if (place == common->stale_count) ++common->stale_count;
        return text;
    }

    // A child inherits everything, makes a few calls, and ends in one way or another.
    std::string child(Random& r, int depth) {
        const long steps = r.below(5), end = r.below(5);
        const uint64_t seed = r.next();
        std::fflush(stdout);
        const pid_t pid = fork();
        if (pid == 0) {
            join();
            Random own(seed);
            std::printf("%*s%s is there%s\n", 2 * depth + 2, "", who(getpid()).c_str(), counts().c_str());
            for (long i = 0; i < steps; ++i) {
                const std::string text = step(own.next(), depth + 1);
                std::printf("%*s%s\n", 2 * depth + 2, "", text.c_str());
            }
            std::fflush(stdout);
            if (end == 0) std::exit(7);
            if (end == 1) raise(SIGKILL);
            if (end == 2) execl("/bin/true", "true", nullptr);
            if (end == 3) detach_all();
            _exit(3);
        }
        return "child of " + who(getpid()) + " -> " + finish(pid);
    }

    size_t slot_ = 0;
    int id_ = -1;
    std::string called_;
    std::vector<long> attached_;  // pages of the area at which something was attached; it may have gone since
    std::vector<Placed> placed_;
};

// A process forked from the first, which makes the steps it is told of.
class Worker {
public:
    bool lives() const { return pid_ > 0; }

    void begin(const Actor& actor) {
        int to[2], from[2];
        if (pipe(to) != 0 || pipe(from) != 0) std::perror("pipe"), std::exit(2);
        pid_ = fork();
        if (pid_ == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            join();
            Actor own = actor;
            const char done = '.';
            uint64_t seed = 0;
            if (::write(from[1], &done, 1) != 1) _exit(1);
            while (::read(to[0], &seed, sizeof seed) == sizeof seed) {
                if (seed == 0) _exit(3);
                if (seed == 1) std::exit(7);
                const std::string text = own.step(seed);
                std::printf("%s\n", text.c_str());
                std::fflush(stdout);
                if (::write(from[1], &done, 1) != 1) _exit(1);
            }
            _exit(1);
        }
        close(to[0]);
        close(from[1]);
        command_ = to[1];
        reply_ = from[0];
        await_reply();
    }

    void make_step(uint64_t seed) {
        order(seed | 2);
        await_reply();
    }

    std::string end(long how) {
        if (how == 0) kill(pid_, SIGKILL);
        else order(how == 1 ? 0 : 1);
        const std::string text = finish(pid_);
        pid_ = -1;
        close(command_);
        close(reply_);
        return text;
    }

private:
    void order(uint64_t seed) const {
        if (::write(command_, &seed, sizeof seed) != sizeof seed) std::puts("a worker is gone"), std::exit(1);
    }
    void await_reply() const {
        char done = 0;
        if (::read(reply_, &done, 1) != 1) std::puts("a worker died"), std::exit(1);
    }

    pid_t pid_ = -1;
    int command_ = -1, reply_ = -1;
};

void run(uint64_t seed, long steps) {
    Random random(seed * 1000003);
    Actor actor;
    std::array<Worker, kWorkers> workers;
    for (long step = 1; step <= steps; ++step) {
        const size_t chosen = random.index(2 * kWorkers + 1);
        std::printf("%ld ", step);
        if (chosen >= kWorkers) {
            std::fflush(stdout);
            const std::string text = actor.step(random.next());
            std::printf("%s\n", text.c_str());
        } else if (Worker& worker = workers[chosen]; worker.lives() && random.one_in(40)) {
            std::printf("worker %zu -> %s", chosen, worker.end(random.below(3)).c_str());
            std::printf("%s\n", counts().c_str());
        } else if (worker.lives()) {
            std::printf("worker %zu: ", chosen);
            std::fflush(stdout);
            worker.make_step(random.next());
        } else {
            std::fflush(stdout);
            worker.begin(actor);
            std::printf("worker %zu begins%s\n", chosen, counts().c_str());
        }
        std::fflush(stdout);
    }
    for (Worker& worker : workers)
        if (worker.lives()) worker.end(1);
    actor.detach_all();
    std::printf("at last%s\n", counts().c_str());
    for (const int id : common->ids)
        if (id >= 0) shmctl(id, IPC_RMID, nullptr);
    std::printf("removed%s\n", counts().c_str());
}

}  // namespace

int main(int argc, char** argv) {
    uint64_t seed = 1;
    long steps = 2000;
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
        std::fputs("usage: random_shm [--seed N] [--steps M]\n", stderr);
        return 2;
    }
    alarm(300);
    if (geteuid() == 0) (void)unshare(CLONE_NEWIPC);  // where the limits are the defaults
    begin_run();
    require_queues();
    void* const memory = mmap(nullptr, sizeof(Common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    // The area is free of mappings; what surrounds it is not, so that nothing of others is mapped over.
    constexpr size_t kMargin = kSegmentPages * kPage;
    char* const around = reinterpret_cast<char*>(kArea - kMargin);
    constexpr size_t kAround = 2 * kMargin + kAreaPages * kPage;
    if (memory == MAP_FAILED ||
        mmap(around, kAround, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) != around) {
        std::perror("mmap");
        return 2;
    }
    munmap(around + kMargin, kAreaPages * kPage);
    common = static_cast<Common*>(memory);
    common->ids.fill(-1);
    join();
    struct sigaction action {};
    action.sa_handler = on_fault;
    sigaction(SIGSEGV, &action, nullptr);
    sigaction(SIGBUS, &action, nullptr);
    run(seed, steps);
    return 0;
}
