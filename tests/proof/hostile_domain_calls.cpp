// The user of a domain whose directory somebody has changed: all families of calls, on what was opened before and on what is opened now.
#include <fcntl.h>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include "proof/hostile_domain.hpp"
#include "proof/starved_says.hpp"

namespace muster::test::hostile {
namespace {

constexpr key_t kKey = 0x51ab, kNewKey = 0x51ac;
constexpr const char* kName = "/victim";
constexpr const char* kNewName = "/new";
constexpr std::size_t kBytes = 9000;
const void* const kNoAddress = reinterpret_cast<void*>(-1);

std::uint64_t now_us() {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch()).count());
}

// What a call may say beside what the machine's want of something makes it say: the object, or what should be the domain, is none
// (docs/formats/domain.md, docs/deviations.md, SOURCE the manual's pages).
bool documented(const char* call, int error) {
    static const std::set<int> kNoDomain = {EACCES, ENOTDIR, ENOENT};
    static const std::set<std::string> kOpening = {"mq_open",  "mq_unlink", "msgget",   "semget",   "shmget",     "msgctl", "semctl", "shmctl", "shmat",
                                                   "shm_open", "sem_open",  "sem_unlink", "shm_unlink", "open limit"};
    static const std::set<std::string> kMessages = {"mq_send", "mq_receive", "mq_timedsend", "mq_timedreceive", "mq_getattr", "mq_setattr", "mq_notify"};
    if (may_say(call, error)) return true;
    if (kOpening.count(call) != 0 && kNoDomain.count(error) != 0) return true;
    if (kMessages.count(call) != 0 && error == EBADMSG) return true;
    if (std::strcmp(call, "poll") == 0) return error == ENOMEM;
    if (std::strcmp(call, "sem_open") == 0 || std::strcmp(call, "shm_open") == 0) return error == EINVAL || error == ELOOP;  // no plain file; a link
    // It is open(2).
    if (std::strcmp(call, "open limit") == 0) return error == EAGAIN || error == ENOSPC || error == ELOOP || error == EISDIR || error == ENXIO || error == EPERM || error == EROFS;
    return false;
}

class User {
public:
    explicit User(Deeds& deeds) : deeds_(deeds) {}

    void open_all() {
        held_.queue = open_queue(O_RDWR | O_NONBLOCK);
        held_.typed = l.msgget(kKey, 0), held_.set = l.semget(kKey, 0, 0), held_.segment = l.shmget(kKey, 0, 0);
        held_.attached = l.shmat(held_.segment, nullptr, 0);
        held_.semaphore = l.sem_open(kName, 0);
        held_.memory = l.shm_open(kName, O_RDWR, 0);
        // The first use of each counts, not the first alone.
        use_queue(held_.queue), use_typed(held_.typed), use_set(held_.set), use_segment(held_.segment);
    }
    void use_held() {
        if (held_.queue >= 0) use_queue(held_.queue);
        if (held_.typed >= 0) use_typed(held_.typed);
        if (held_.set >= 0) use_set(held_.set);
        if (held_.segment >= 0) use_segment(held_.segment);
        if (held_.attached != nullptr && held_.attached != kNoAddress) static_cast<char*>(held_.attached)[100] = 1;
    }
    void close_all() {
        family_ = kMq;
        if (held_.queue >= 0) call("mq_close", [&] { return l.mq_close(held_.queue); });
        family_ = kShm;
        if (held_.attached != nullptr && held_.attached != kNoAddress) call("shmdt", [&] { return l.shmdt(held_.attached); });
        family_ = kPosixSem;
        if (held_.semaphore != SEM_FAILED && held_.semaphore != nullptr) call("sem_close", [&] { return l.sem_close(held_.semaphore); });
        if (held_.memory >= 0) close(held_.memory);
        held_ = {};
    }

    void use_named() {
        family_ = kMq;
        for (const int flags : {O_RDWR | O_NONBLOCK, O_RDONLY | O_NONBLOCK, O_RDWR | O_CREAT | O_NONBLOCK}) {
            const mqd_t queue = static_cast<mqd_t>(call("mq_open", [&] { return open_queue(flags); }));
            if (queue < 0) continue;
            if ((flags & O_RDWR) != 0) use_queue(queue);
            call("mq_close", [&] { return l.mq_close(queue); });
        }
        const int typed = with_key(kMsg, "msgget", [&](key_t key, int flags) { return l.msgget(key, flags); });
        if (typed >= 0) use_typed(typed);
        const int set = with_key(kSem, "semget", [&](key_t key, int flags) { return l.semget(key, (flags & IPC_CREAT) != 0 ? 4 : 0, flags); });
        if (set >= 0) use_set(set);
        const int segment = with_key(kShm, "shmget", [&](key_t key, int flags) { return l.shmget(key, (flags & IPC_CREAT) != 0 ? kBytes : 0, flags); });
        if (segment >= 0) use_segment(segment);
        family_ = kPosixShm;
        for (const int flags : {O_RDONLY, O_RDWR, O_RDWR | O_CREAT}) {
            const int memory = static_cast<int>(call("shm_open", [&] { return l.shm_open(kName, flags, 0600); }));
            if (memory >= 0) close(memory);
        }
        family_ = kPosixSem;
        for (const int flags : {0, O_CREAT}) {
            sem_t* semaphore = SEM_FAILED;
            call("sem_open", [&] { return (semaphore = l.sem_open(kName, flags, 0600, 1)) == SEM_FAILED ? -1 : 0; });
            if (semaphore != SEM_FAILED) call("sem_close", [&] { return l.sem_close(semaphore); });
        }
    }

    void make_new() {
        family_ = kMq;
        const mqd_t queue = static_cast<mqd_t>(call("mq_open", [&] { return open_queue(O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, kNewName); }));
        if (queue >= 0) {
            use_queue(queue);
            call("mq_close", [&] { return l.mq_close(queue); });
            call("mq_unlink", [&] { return l.mq_unlink(kNewName); });
        }
        for (const key_t key : {IPC_PRIVATE, kNewKey}) {
            family_ = kMsg;
            const int typed = static_cast<int>(call("msgget", [&] { return l.msgget(key, IPC_CREAT | IPC_EXCL | 0600); }));
            if (typed >= 0) use_typed(typed), call("msgctl", [&] { return l.msgctl(typed, IPC_RMID, nullptr); });
            family_ = kSem;
            const int set = static_cast<int>(call("semget", [&] { return l.semget(key, 4, IPC_CREAT | IPC_EXCL | 0600); }));
            if (set >= 0) {
                const auto up = [&] { return l.semctl(set, 1, SETVAL, 5); };
                if (call("semctl", up) == 0) use_set(set);
                call("semctl", [&] { return l.semctl(set, 0, IPC_RMID); });
            }
            family_ = kShm;
            const int segment = static_cast<int>(call("shmget", [&] { return l.shmget(key, kBytes, IPC_CREAT | IPC_EXCL | 0600); }));
            if (segment >= 0) use_segment(segment), call("shmctl", [&] { return l.shmctl(segment, IPC_RMID, nullptr); });
        }
        family_ = kPosixShm;
        const int memory = static_cast<int>(call("shm_open", [&] { return l.shm_open(kNewName, O_RDWR | O_CREAT | O_EXCL, 0600); }));
        if (memory >= 0) close(memory), call("shm_unlink", [&] { return l.shm_unlink(kNewName); });
        family_ = kPosixSem;
        sem_t* semaphore = SEM_FAILED;
        call("sem_open", [&] { return (semaphore = l.sem_open(kNewName, O_CREAT | O_EXCL, 0600, 1)) == SEM_FAILED ? -1 : 0; });
        if (semaphore != SEM_FAILED) {
            call("sem_close", [&] { return l.sem_close(semaphore); });
            call("sem_unlink", [&] { return l.sem_unlink(kNewName); });
        }
    }

    // What looks at all there is, and at the limits.
    void look_around() {
        family_ = kMsg;
        msqid_ds typed;
        msginfo typed_info{};
        for (const int command : {IPC_INFO, MSG_INFO}) call("msgctl", [&] { return l.msgctl(0, command, reinterpret_cast<msqid_ds*>(&typed_info)); });
        call("msgctl", [&] { return l.msgctl(0, MSG_STAT, &typed); });
        family_ = kSem;
        seminfo set_info{};
        for (const int command : {IPC_INFO, SEM_INFO}) call("semctl", [&] { return l.semctl(0, 0, command, &set_info); });
        family_ = kShm;
        struct shminfo segment_info {};
        call("shmctl", [&] { return l.shmctl(0, IPC_INFO, reinterpret_cast<shmid_ds*>(&segment_info)); });
        struct shm_info segments {};
        call("shmctl", [&] { return l.shmctl(0, SHM_INFO, reinterpret_cast<shmid_ds*>(&segments)); });
        family_ = kLimits;
        for (const char* path : {"/proc/sys/fs/mqueue/msg_max", "/proc/sys/kernel/sem", "/proc/sys/kernel/shmmax", "/proc/sysvipc/msg", "/proc/sysvipc/sem", "/proc/sysvipc/shm"}) {
            const int view = static_cast<int>(call("open limit", [&] { return l.open(path, O_RDONLY); }));
            char text[4096];
            if (view >= 0) (void)!l.read(view, text, sizeof text), close(view);
        }
        const int limit = static_cast<int>(call("open limit", [&] { return l.open("/proc/sys/fs/mqueue/msg_max", O_RDWR); }));
        if (limit >= 0) (void)!write(limit, "1000\n", 5), close(limit);
    }

    void remove_all() {
        family_ = kMq, call("mq_unlink", [&] { return l.mq_unlink(kName); });
        family_ = kPosixShm, call("shm_unlink", [&] { return l.shm_unlink(kName); });
        family_ = kPosixSem, call("sem_unlink", [&] { return l.sem_unlink(kName); });
        if (const int id = l.msgget(kKey, 0); id >= 0) family_ = kMsg, call("msgctl", [&] { return l.msgctl(id, IPC_RMID, nullptr); });
        if (const int id = l.semget(kKey, 0, 0); id >= 0) family_ = kSem, call("semctl", [&] { return l.semctl(id, 0, IPC_RMID); });
        if (const int id = l.shmget(kKey, 0, 0); id >= 0) family_ = kShm, call("shmctl", [&] { return l.shmctl(id, IPC_RMID, nullptr); });
    }

    static int descriptors() { return entries("/proc/self/fd"); }
    static int mappings() {
        std::ifstream maps("/proc/self/maps");
        return static_cast<int>(std::count(std::istreambuf_iterator<char>(maps), {}, '\n'));
    }

private:
    static int entries(const char* directory) {
        int count = 0;
        for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator(directory)) ++count;
        return count;
    }
    mqd_t open_queue(int flags, const char* name = kName) const {
        mq_attr shape{};
        shape.mq_maxmsg = 8, shape.mq_msgsize = 128;
        return l.mq_open(name, flags, 0600, &shape);
    }
    struct Held {
        mqd_t queue = -1;
        int typed = -1, set = -1, segment = -1, memory = -1;
        void* attached = nullptr;
        sem_t* semaphore = SEM_FAILED;
    };

    template <class Make>
    long call(const char* name, Make make) {
        deeds_.call.store(name, std::memory_order_relaxed);
        const std::uint64_t begun = now_us();
        deeds_.since_us.store(begun);
        errno = 0;
        const long result = static_cast<long>(make());
        const int error = errno;
        deeds_.since_us.store(0);
        if (const std::uint64_t took = now_us() - begun; took > deeds_.longest_us.load()) deeds_.longest_us.store(took), deeds_.longest_call.store(name);
        deeds_.calls.fetch_add(1);
        if (result == -1) refused(name, error);
        errno = error;
        return result;
    }
    void refused(const char* name, int error) {
        deeds_.refused.fetch_add(1);
        deeds_.refused_families.fetch_or(family_);
        // EEXIST: what could not be removed before.
        if (error != EEXIST && (deeds_.watched_families.load() & family_) != 0 && deeds_.refused_call.load() == nullptr) deeds_.refused_error.store(error), deeds_.refused_call.store(name);
        if (documented(name, error)) return;
        const unsigned known = deeds_.surprises.load();
        for (unsigned n = 0; n < known; ++n)
            if (std::strcmp(deeds_.surprise[n].call, name) == 0 && deeds_.surprise[n].error == error) return;
        if (known == std::size(deeds_.surprise)) return;
        deeds_.surprise[known] = {name, error};
        deeds_.surprises.store(known + 1);
    }
    template <class Get>
    int with_key(Family family, const char* name, Get get) {
        family_ = family;
        const int made = static_cast<int>(call(name, [&] { return get(kKey, IPC_CREAT | 0600); }));
        const int found = static_cast<int>(call(name, [&] { return get(kKey, 0); }));
        return found >= 0 ? found : made;
    }

    void use_queue(mqd_t queue) {
        family_ = kMq;
        const timespec past{1, 0};
        char text[128] = "some message";
        mq_attr attributes{}, before{};
        struct stat status;
        call("mq_send", [&] { return l.mq_send(queue, text, 20, 1); });
        call("mq_receive", [&] { return l.mq_receive(queue, text, sizeof text, nullptr); });
        call("mq_timedsend", [&] { return l.mq_timedsend(queue, text, 20, 1, &past); });
        call("mq_timedreceive", [&] { return l.mq_timedreceive(queue, text, sizeof text, nullptr, &past); });
        call("mq_getattr", [&] { return l.mq_getattr(queue, &attributes); });
        call("mq_setattr", [&] { return l.mq_setattr(queue, &attributes, &before); });
        sigevent nothing{};
        nothing.sigev_notify = SIGEV_NONE;
        call("mq_notify", [&] { return l.mq_notify(queue, &nothing); });
        call("mq_notify", [&] { return l.mq_notify(queue, nullptr); });
        call("fstat", [&] { return l.fstat(queue, &status); });
        pollfd who{queue, POLLIN | POLLOUT, 0};
        call("poll", [&] { return l.poll(&who, 1, 0); });
    }
    void use_typed(int id) {
        family_ = kMsg;
        MessageText text{7, {}};
        msqid_ds status{};
        call("msgsnd", [&] { return l.msgsnd(id, &text, 100, IPC_NOWAIT); });
        call("msgrcv", [&] { return l.msgrcv(id, &text, sizeof text.text, 7, IPC_NOWAIT); });
        if (call("msgctl", [&] { return l.msgctl(id, IPC_STAT, &status); }) == 0) call("msgctl", [&] { return l.msgctl(id, IPC_SET, &status); });
    }
    void use_set(int id) {
        family_ = kSem;
        sembuf up{1, 1, IPC_NOWAIT}, undone{1, -1, IPC_NOWAIT | SEM_UNDO};
        const timespec soon{0, 1'000'000};
        unsigned short values[64];
        semid_ds status{};
        call("semop", [&] { return l.semop(id, &up, 1); });
        call("semop", [&] { return l.semop(id, &undone, 1); });
        up.sem_flg = SEM_UNDO;
        call("semtimedop", [&] { return l.semtimedop(id, &up, 1, &soon); });
        call("semctl", [&] { return l.semctl(id, 0, GETALL, values); });
        call("semctl", [&] { return l.semctl(id, 1, SETVAL, 5); });
        if (call("semctl", [&] { return l.semctl(id, 0, IPC_STAT, &status); }) == 0) call("semctl", [&] { return l.semctl(id, 0, IPC_SET, &status); });
    }
    void use_segment(int id) {
        family_ = kShm;
        void* at = nullptr;
        shmid_ds status{};
        call("shmat", [&] { return (at = l.shmat(id, nullptr, 0)) == kNoAddress ? -1 : 0; });
        if (at != kNoAddress) {
            if (call("shmctl", [&] { return l.shmctl(id, IPC_STAT, &status); }) == 0 && status.shm_segsz > 8999) static_cast<char*>(at)[8999] = 1;
            call("shmdt", [&] { return l.shmdt(at); });
        }
        call("shmctl", [&] { return l.shmctl(id, SHM_LOCK, nullptr); });
        call("shmctl", [&] { return l.shmctl(id, SHM_UNLOCK, nullptr); });
    }

    const Library& l = library();
    Deeds& deeds_;
    Held held_;
    unsigned family_ = 0;
};

}  // namespace

bool stage() {
    const Library& l = library();
    mq_attr shape{};
    shape.mq_maxmsg = 8, shape.mq_msgsize = 128;
    const mqd_t queue = l.mq_open(kName, O_RDWR | O_CREAT | O_EXCL, 0600, &shape);
    const int typed = l.msgget(kKey, IPC_CREAT | IPC_EXCL | 0600), set = l.semget(kKey, 4, IPC_CREAT | IPC_EXCL | 0600);
    const int segment = l.shmget(kKey, kBytes, IPC_CREAT | IPC_EXCL | 0600), memory = l.shm_open(kName, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (queue < 0 || typed < 0 || set < 0 || segment < 0 || memory < 0 || ftruncate(memory, 5000) != 0) return false;
    if (l.sem_open(kName, O_CREAT | O_EXCL, 0600, 1) == SEM_FAILED) return false;
    MessageText text{3, "message"};
    for (int n = 0; n < 2; ++n)
        if (l.mq_send(queue, text.text, 20, 1) != 0 || l.msgsnd(typed, &text, 20, 0) != 0) return false;
    // What is made at first use: the FIFO, the file of lives, the file by which attachments are known.
    pollfd who{queue, POLLIN, 0};
    sembuf up{1, 5, 0}, undone{1, 1, SEM_UNDO};
    return l.poll(&who, 1, 0) == 1 && l.semop(set, &up, 1) == 0 && l.semop(set, &undone, 1) == 0 && l.shmat(segment, nullptr, 0) != kNoAddress;
}

void use_domain(Deeds& deeds, bool beforehand, bool removes) {
    User user(deeds);
    if (beforehand) user.open_all();
    deeds.ready.store(true);
    while (!deeds.go.load()) usleep(200);
    int descriptors = 0, mappings = 0;
    for (int round = 0; round < 3; ++round) {
        user.use_held();
        user.use_named();
        user.make_new();
        user.look_around();
        if (round == 1) descriptors = User::descriptors(), mappings = User::mappings();
    }
    deeds.descriptors_leaked.store(User::descriptors() - descriptors);
    deeds.mappings_leaked.store(User::mappings() - mappings);
    if (removes) user.remove_all();
    user.close_all();
}

void use_domain_on_and_on(Deeds& deeds) {
    User user(deeds);
    user.open_all();
    deeds.ready.store(true);
    while (!deeds.stop.load()) {
        user.use_held();
        user.use_named();
        user.make_new();
        user.look_around();
        deeds.rounds.fetch_add(1);
    }
    user.close_all();
}

}  // namespace muster::test::hostile
