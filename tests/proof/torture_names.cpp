// Namers: make, use and remove named objects of every kind, under names of their own and under names that they fight for; and take
// and give tokens with a named semaphore.
#include <fcntl.h>
#include <sys/stat.h>
#include <cerrno>
#include "torture_board.hpp"
#include "torture_library.hpp"

namespace muster::test::torture {
namespace {

template <class... Errnos>
bool is_one_of(int error, Errnos... errnos) {
    return ((error == errnos) || ...);
}

class Namer {
public:
    explicit Namer(const Place& place) : place_(place), random_(place.seed) {}
    void act() {
        // Own names begin with what nobody else has; others are three for all.
        own_ = random_.once_in(3);
        name_ = own_ ? "/own-" + std::to_string(getpid()) + "-" + std::to_string(++acts_) : "/all-" + std::to_string(random_.below(3));
        key_ = static_cast<key_t>(own_ ? IPC_PRIVATE : 0x7000 + static_cast<int>(random_.below(3)));
        switch (random_.below(6)) {
            case 0: queue(); break;
            case 1: typed_queue(); break;
            case 2: set(); break;
            case 3: segment(); break;
            case 4: shared_memory(); break;
            default: semaphore(); break;
        }
        if (random_.once_in(2)) token();
        ++place_.board.names;
        ++place_.desk.done;
    }
    bool rest() { return place_.rest(place_.desk.paused); }

private:
    // What may be wrong with a name that others remove; never with one's own.
    void expect(bool well, const char* what, std::initializer_list<int> allowed) const {
        if (well) return;
        bool expected = false;
        for (const int error : allowed) expected = expected || (!own_ && errno == error);
        if (!expected) place_.fail(what, own_);
    }
    int creation() const { return O_CREAT | O_RDWR | (own_ ? O_EXCL : 0); }

    void queue() {
        mq_attr wanted{};
        wanted.mq_maxmsg = 3;
        wanted.mq_msgsize = 64;
        const mqd_t queue = library().mq_open(name_.c_str(), creation(), 0600, &wanted);
        expect(queue >= 0, "mq_open", {});
        char bytes[64] = "named";
        const timespec past{};
        expect(library().mq_timedsend(queue, bytes, sizeof bytes, 1, &past) == 0, "mq_timedsend", {ETIMEDOUT});
        expect(library().mq_timedreceive(queue, bytes, sizeof bytes, nullptr, &past) >= 0, "mq_timedreceive", {ETIMEDOUT});
        if (library().mq_close(queue) != 0) place_.fail("mq_close");
        if (own_ || random_.once_in(2)) expect(library().mq_unlink(name_.c_str()) == 0, "mq_unlink", {ENOENT});
    }
    void typed_queue() {
        const int id = library().msgget(key_, IPC_CREAT | 0600);
        if (id < 0) place_.fail("msgget");
        struct {
            long type = 1;
            char text[32] = "named";
        } message;
        expect(library().msgsnd(id, &message, sizeof message.text, IPC_NOWAIT) == 0, "msgsnd", {EAGAIN, EIDRM, EINVAL});
        expect(library().msgrcv(id, &message, sizeof message.text, 0, IPC_NOWAIT) >= 0, "msgrcv", {ENOMSG, EIDRM, EINVAL});
        if (own_ || random_.once_in(2)) expect(library().msgctl(id, IPC_RMID, nullptr) == 0, "msgctl", {EIDRM, EINVAL});
    }
    void set() {
        const int id = library().semget(key_, 2, IPC_CREAT | 0600);
        if (id < 0) place_.fail("semget");
        sembuf up{0, 1, SEM_UNDO}, down{0, -1, SEM_UNDO | IPC_NOWAIT};
        expect(library().semop(id, &up, 1) == 0, "semop", {EIDRM, EINVAL, EINTR, ERANGE});
        expect(library().semop(id, &down, 1) == 0, "semop", {EIDRM, EINVAL, EINTR, EAGAIN});
        if (own_ || random_.once_in(2)) expect(library().semctl(id, 0, IPC_RMID) == 0, "semctl", {EIDRM, EINVAL});
    }
    void segment() {
        const int id = library().shmget(key_, 8192, IPC_CREAT | 0600);
        if (id < 0) place_.fail("shmget");
        void* at = library().shmat(id, nullptr, 0);
        const bool attached = at != reinterpret_cast<void*>(-1);
        expect(attached, "shmat", {EIDRM, EINVAL});
        if (attached) {
            *static_cast<volatile std::uint64_t*>(at) = place_.seed;
            if (own_ && *static_cast<volatile std::uint64_t*>(at) != place_.seed) place_.fail("another's segment");
        }
        if (own_ || random_.once_in(2)) expect(library().shmctl(id, IPC_RMID, nullptr) == 0, "shmctl", {EIDRM, EINVAL});
        if (attached && library().shmdt(at) != 0) place_.fail("shmdt");
    }
    void shared_memory() {
        const int fd = library().shm_open(name_.c_str(), creation(), 0600);
        expect(fd >= 0, "shm_open", {});
        struct stat status {};
        if (fstat(fd, &status) != 0 || (own_ && status.st_size != 0)) place_.fail("new shared memory is not empty");
        if (ftruncate(fd, 8192) != 0) place_.fail("ftruncate");
        void* at = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED) place_.fail("mmap");
        *static_cast<volatile std::uint64_t*>(at) = place_.seed;
        ::munmap(at, 4096);
        ::close(fd);
        if (own_ || random_.once_in(2)) expect(library().shm_unlink(name_.c_str()) == 0, "shm_unlink", {ENOENT});
    }
    void semaphore() {
        sem_t* semaphore = library().sem_open(name_.c_str(), O_CREAT | (own_ ? O_EXCL : 0), 0600, 2u);
        if (semaphore == SEM_FAILED) place_.fail("sem_open");
        sem_post(semaphore);
        if (sem_trywait(semaphore) != 0 && (own_ || errno != EAGAIN)) place_.fail("sem_trywait");
        if (library().sem_close(semaphore) != 0) place_.fail("sem_close");
        if (own_ || random_.once_in(2)) expect(library().sem_unlink(name_.c_str()) == 0, "sem_unlink", {ENOENT});
    }
    void token() {
        if (random_.once_in(2)) {
            place_.desk.at_tokens = 1;
            if (sem_post(place_.objects.tokens) != 0) place_.fail("sem_post");
            ++place_.board.tokens;
        } else {
            place_.desk.at_tokens = 2;
            timespec at{};
            clock_gettime(CLOCK_REALTIME, &at);
            at.tv_nsec = (at.tv_nsec + 200'000) % 1'000'000'000;
            if (sem_timedwait(place_.objects.tokens, &at) == 0) --place_.board.tokens;
            else if (!is_one_of(errno, ETIMEDOUT, EINTR)) place_.fail("sem_timedwait");
        }
        place_.desk.at_tokens = 0;
    }

    const Place& place_;
    Random random_;
    bool own_ = false;
    std::string name_;
    key_t key_ = 0;
    unsigned acts_ = 0;
};

}  // namespace

void name_for_ever(const Place& place) {
    Namer namer(place);
    for (;;) {
        namer.rest();
        namer.act();
    }
}
void name_some(const Place& place, unsigned times) {
    Namer namer(place);
    for (; times != 0; --times) namer.act();
}

}  // namespace muster::test::torture
