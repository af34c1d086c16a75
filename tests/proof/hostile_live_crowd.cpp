// The crowd of hostile_live_test, and its objects.
#include <fcntl.h>
#include <signal.h>
#include <algorithm>
#include <filesystem>
#include <cerrno>
#include "proof/hostile_live.hpp"

namespace muster::test::hostile {
namespace {

constexpr long kTimeoutNs = 20'000'000;

class Calls {
public:
    Calls(Crowd& crowd, Worker& worker) : crowd_(crowd), worker_(worker) {}
    template <class Call>
    long operator()(const char* name, Call make) {
        worker_.call.store(name, std::memory_order_relaxed);
        const std::uint64_t begun = now_us();
        worker_.since_us.store(begun);
        const long result = static_cast<long>(make());
        const int error = errno;
        worker_.since_us.store(0);
        const std::uint64_t took = now_us() - begun;
        if (took > crowd_.longest_us.load(std::memory_order_relaxed)) crowd_.longest_us.store(took);
        worker_.calls.fetch_add(1, std::memory_order_relaxed);
        if (result == -1) worker_.refused.fetch_add(1, std::memory_order_relaxed);
        errno = error;
        return result;
    }

private:
    Crowd& crowd_;
    Worker& worker_;
};

timespec soon() {
    timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += kTimeoutNs;
    if (at.tv_nsec >= 1'000'000'000) at.tv_nsec -= 1'000'000'000, ++at.tv_sec;
    return at;
}

bool worn_out() { return errno == EBADMSG || errno == EINVAL || errno == EIDRM || errno == EBADF; }

void work_on_queue(Calls& call, Random& random, mqd_t& queue) {
    const Library& l = library();
    char text[256] = "work";
    if (queue < 0) queue = static_cast<mqd_t>(call("mq_open", [&] { return l.mq_open(kVictimName, O_RDWR); }));
    if (queue < 0) {
        usleep(500);
        return;
    }
    for (unsigned n = random.below(12); n != 0; --n) {
        const timespec until = soon();
        const long did = random.once_in(2) ? call("mq_timedsend", [&] { return l.mq_timedsend(queue, text, random.below(100), random.below(300), &until); })
                                           : call("mq_timedreceive", [&] { return l.mq_timedreceive(queue, text, sizeof text, nullptr, &until); });
        if (did == -1 && worn_out() && random.once_in(3)) {
            call("mq_close", [&] { return l.mq_close(queue); });
            queue = -1;
            return;
        }
        mq_attr attributes{};
        if (random.once_in(8)) call("mq_getattr", [&] { return l.mq_getattr(queue, &attributes); });
        pollfd who{queue, POLLIN, 0};
        if (random.once_in(200)) call("poll", [&] { return l.poll(&who, 1, 5); });
    }
}

void work_on_typed(Calls& call, Random& random) {
    const Library& l = library();
    MessageText text{static_cast<long>(1 + random.below(4)), {}};
    const int id = static_cast<int>(call("msgget", [&] { return l.msgget(kVictimKey, 0); }));
    if (id < 0) usleep(500);
    // The timer's signal ends those that wait.
    for (unsigned n = id < 0 ? 0 : random.below(12); n != 0; --n) {
        const long type = static_cast<long>(random.below(5)) - 2;
        const long did = random.once_in(2) ? call("msgsnd", [&] { return l.msgsnd(id, &text, random.below(4000), 0); })
                                           : call("msgrcv", [&] { return l.msgrcv(id, &text, sizeof text.text, type, MSG_NOERROR); });
        if (did == -1 && worn_out()) return;
        text.type = 1 + random.below(4);
    }
}

void work_on_set(Calls& call, Random& random) {
    const Library& l = library();
    const int id = static_cast<int>(call("semget", [&] { return l.semget(kVictimKey, 0, 0); }));
    if (id < 0) usleep(500);
    const timespec patience{0, kTimeoutNs};
    for (unsigned n = id < 0 ? 0 : random.below(12); n != 0; --n) {
        sembuf operations[6];
        const unsigned count = random.once_in(4) ? 1 + random.below(6) : 1;
        for (unsigned at = 0; at < count; ++at)
            operations[at] = {static_cast<unsigned short>(random.below(4)), static_cast<short>(static_cast<int>(random.below(5)) - 2),
                              static_cast<short>(random.once_in(4) ? SEM_UNDO : 0)};
        if (call("semtimedop", [&] { return l.semtimedop(id, operations, count, &patience); }) == -1 && worn_out()) return;
        unsigned short values[65536];
        if (random.once_in(16)) call("semctl GETALL", [&] { return l.semctl(id, 0, GETALL, values); });
        if (random.once_in(32)) call("semctl SETVAL", [&] { return l.semctl(id, 1, SETVAL, 3); });
    }
}

void work_on_segment(Calls& call, Random& random) {
    const Library& l = library();
    const int id = static_cast<int>(call("shmget", [&] { return l.shmget(kVictimKey, 0, 0); }));
    if (id < 0) {
        usleep(500);
        return;
    }
    shmid_ds state{};
    void* at = nullptr;
    call("shmat", [&] { return reinterpret_cast<long>(at = l.shmat(id, nullptr, random.once_in(3) ? SHM_RDONLY : 0)); });
    call("shmctl IPC_STAT", [&] { return l.shmctl(id, IPC_STAT, &state); });
    if (at != reinterpret_cast<void*>(-1)) call("shmdt", [&] { return l.shmdt(at); });
}

}  // namespace

bool make_victims() {
    const Library& l = library();
    mq_attr shape{};
    shape.mq_maxmsg = 6, shape.mq_msgsize = 200;
    const mqd_t queue = l.mq_open(kVictimName, O_RDWR | O_CREAT, 0600, &shape);
    if (queue >= 0) l.mq_close(queue);
    const int set = l.semget(kVictimKey, 4, IPC_CREAT | 0600);
    unsigned short values[4] = {2, 3, 0, 1};
    if (set >= 0) (void)l.semctl(set, 0, SETALL, values);
    return queue >= 0 && set >= 0 && l.msgget(kVictimKey, IPC_CREAT | 0600) >= 0 && l.shmget(kVictimKey, kVictimSegmentBytes, IPC_CREAT | 0600) >= 0;
}

void remove_victims(const std::string& domain) {
    const Library& l = library();
    l.mq_unlink(kVictimName);
    if (const int id = l.msgget(kVictimKey, 0); id >= 0) l.msgctl(id, IPC_RMID, nullptr);
    if (const int id = l.semget(kVictimKey, 0, 0); id >= 0) (void)l.semctl(id, 0, IPC_RMID);
    if (const int id = l.shmget(kVictimKey, 0, 0); id >= 0) l.shmctl(id, IPC_RMID, nullptr);
    std::error_code ignored;
    std::filesystem::remove_all(domain + "/mq" + kVictimName, ignored);
    // The controls came first: they have index 0.
    const auto away = [&](const char* directory, auto keep) {
        for (auto entry = std::filesystem::directory_iterator(domain + directory, ignored); entry != std::filesystem::directory_iterator(); entry.increment(ignored)) {
            if (ignored) return;
            if (!keep(entry->path().filename().string())) std::filesystem::remove_all(entry->path(), ignored);
        }
    };
    away("/sysv", [](const std::string& name) { return name[0] == '.' || name.find("-0") == 3; });
    away("/key", [](const std::string& name) { return name.find("-00007c7c") == 3; });
}

std::vector<std::string> victim_files(const std::string& domain) {
    std::vector<std::string> files{domain + "/mq" + kVictimName};
    for (const std::string kind : {"msg", "sem", "shm"}) {
        struct stat wanted, each;
        char key[16];
        std::snprintf(key, sizeof key, "%08x", static_cast<unsigned>(kVictimKey));
        if (stat((domain + "/key/" + kind + "-" + key).c_str(), &wanted) != 0) continue;
        for (unsigned index = 0; index < 32768 && index < 4096; ++index) {
            const std::string path = domain + "/sysv/" + kind + "-" + std::to_string(index);
            if (stat(path.c_str(), &each) != 0 || each.st_ino != wanted.st_ino) continue;
            files.push_back(path);
            if (kind == "msg") files.push_back(path + ".data");
            break;
        }
    }
    return files;
}

void work(Crowd& crowd, unsigned number) {
    // So that msgsnd and msgrcv, which have no time-out, end: a handler that does nothing, every 20 ms. Installed through the library.
    using Sigaction = int (*)(int, const struct sigaction*, struct sigaction*);
    (void)library();
    auto* install = reinterpret_cast<Sigaction>(dlsym(dlopen(MUSTER_POSIX_LIBRARY, RTLD_NOW | RTLD_LOCAL), "sigaction"));
    struct sigaction nothing {};
    nothing.sa_handler = [](int) {};
    install(SIGALRM, &nothing, nullptr);
    const itimerval often{{0, 20'000}, {0, 20'000}};
    if (number % 4 == 1) setitimer(ITIMER_REAL, &often, nullptr);
    Worker& self = crowd.workers[number];
    Calls call(crowd, self);
    Random random(proof_seed() * 1000 + number);
    mqd_t queue = -1;
    while (!crowd.stop.load()) {
        switch (number % 4) {
            case 0: work_on_queue(call, random, queue); break;
            case 1: work_on_typed(call, random); break;
            case 2: work_on_set(call, random); break;
            default: random.once_in(2) ? work_on_segment(call, random) : work_on_set(call, random); break;
        }
        self.rounds.fetch_add(1, std::memory_order_relaxed);
    }
}

std::string look_after(std::vector<Child>& workers, const Crowd& crowd, std::chrono::seconds patience) {
    for (unsigned n = 0; n < workers.size(); ++n) {
        const Worker& worker = crowd.workers[n];
        const char* call = worker.call.load();
        const std::string who = "worker " + std::to_string(n) + ", in " + (call != nullptr ? call : "nothing yet");
        if (workers[n].ended() && !workers[n].exited()) return who + ", died of " + std::to_string(WTERMSIG(workers[n].status()));
        const std::uint64_t since = worker.since_us.load(), now = now_us();
        if (since != 0 && now > since && now - since > static_cast<std::uint64_t>(patience.count()) * 1'000'000) return who + ", does not come back";
    }
    return {};
}

}  // namespace muster::test::hostile
