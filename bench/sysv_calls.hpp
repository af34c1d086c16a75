// System V objects by the calls of that name. `Calls` says whose: it has msgget() … shmctl(), which
// take what the standard says and return a negated errno value on failure.
#pragma once
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "sysv_loops.hpp"

namespace muster::bench {

#ifndef MSG_EXCEPT
#define MSG_EXCEPT 020000
#endif

inline int sysv_key(const std::string& name) {
    std::uint32_t sum = 2'166'136'261u;
    for (const char c : name) sum = (sum ^ static_cast<unsigned char>(c)) * 16'777'619u;
    return static_cast<int>(sum >> 1 | 1);
}

inline long succeeded(const char* call, long result) {
    if (result == -ENOSPC || result == -ENOMEM)
        throw Refused(std::string(call) + ": " + std::strerror(static_cast<int>(-result)));
    if (result < 0) throw Failure(std::string(call) + ": " + std::strerror(static_cast<int>(-result)));
    return result;
}

// Writes to every page of a new segment, and looks whether it was as empty as it must be.
inline void touch_segment(std::byte* start, std::size_t size_bytes) {
    constexpr std::size_t kPage = 4096;
    for (std::size_t at = 0; at < size_bytes; at += kPage) {
        std::uint64_t word = 0;
        std::memcpy(&word, start + at, sizeof word);
        if (word != 0) [[unlikely]]
            throw Failure("a new segment is not empty");
        word = at + 1;
        std::memcpy(start + at, &word, sizeof word);
    }
}

template <class Calls>
class SysvCallQueue final : public SysvQueueLoops<SysvCallQueue<Calls>> {
public:
    SysvCallQueue(const Calls& calls, int id) : calls_(calls), id_(id) {}

    int send(const void* data, std::size_t size_bytes, unsigned priority) override {
        return put(data, size_bytes, 1 + long{priority}, 0);
    }
    long receive(void* data, std::size_t size_bytes, unsigned* priority) override { return take(data, size_bytes, priority, 0); }
    int try_send(const void* data, std::size_t size_bytes, unsigned priority) override {
        return put(data, size_bytes, 1 + long{priority}, IPC_NOWAIT);
    }
    long try_receive(void* data, std::size_t size_bytes, unsigned* priority) override {
        const long got = take(data, size_bytes, priority, IPC_NOWAIT);
        return got == -ENOMSG ? -EAGAIN : got;
    }
    int send_type(void* data, std::size_t size_bytes, long type) { return put(data, size_bytes, type, 0); }
    long receive_picked(void* data, std::size_t size_bytes, Pick pick, long* type) {
        const long wanted = pick.by == Pick::By::lowest ? -pick.type : pick.type;
        const long got = calls_.msgrcv(id_, type_before(data), size_bytes, wanted, pick.by == Pick::By::all_but ? MSG_EXCEPT : 0);
        *type = *type_before(data);
        return got;
    }

private:
    // The word in front of the text is ours to write: see Message.
    int put(const void* data, std::size_t size_bytes, long type, int flags) {
        long* const message = type_before(const_cast<void*>(data));
        *message = type;
        return static_cast<int>(-calls_.msgsnd(id_, message, size_bytes, flags));
    }
    long take(void* data, std::size_t size_bytes, unsigned* priority, int flags) {
        const long got = calls_.msgrcv(id_, type_before(data), size_bytes, 0, flags);
        *priority = static_cast<unsigned>(*type_before(data) - 1);
        return got;
    }

    const Calls calls_;
    int id_;
};

template <class Calls>
class SysvCallSemaphores final : public SemaphoreLoops<SysvCallSemaphores<Calls>> {
public:
    SysvCallSemaphores(const Calls& calls, int id) : calls_(calls), id_(id) {
        for (unsigned short i = 0; i < Semaphores::kCount; ++i) {
            take_[i] = {i, -1, 0};
            give_[i] = {i, 1, 0};
        }
    }
    long value(unsigned number) override { return calls_.semctl(id_, static_cast<int>(number), GETVAL, nullptr); }
    int take(Use use) override { return operate(use, use == Use::undo ? &take_undo_ : take_); }
    int give(Use use) override { return operate(use, use == Use::undo ? &give_undo_ : give_); }
    int wait(unsigned number) override { return static_cast<int>(-calls_.semop(id_, &take_[number], 1)); }
    int post(unsigned number) override { return static_cast<int>(-calls_.semop(id_, &give_[number], 1)); }

private:
    int operate(Use use, sembuf* operations) {
        return static_cast<int>(-calls_.semop(id_, operations, use == Use::four ? Semaphores::kCount : 1));
    }

    const Calls calls_;
    int id_;
    sembuf take_[Semaphores::kCount], give_[Semaphores::kCount];
    sembuf take_undo_{0, -1, SEM_UNDO}, give_undo_{0, 1, SEM_UNDO};
};

// What a backend needs of it.
template <class Calls>
class SysvObjects {
public:
    explicit SysvObjects(const Calls& calls) : calls_(calls) {}

    std::unique_ptr<Queue> create_queue(const Shape& shape) {
        succeeded("msgget", calls_.msgget(sysv_key(shape.name), kNew));
        return open_queue(shape);
    }
    std::unique_ptr<Queue> open_queue(const Shape& shape) {
        return std::make_unique<SysvCallQueue<Calls>>(calls_, found("msgget", calls_.msgget(sysv_key(shape.name), 0)));
    }
    std::unique_ptr<Semaphores> create_semaphores(const Shape& shape) {
        const int id = found("semget", calls_.semget(sysv_key(shape.name), Semaphores::kCount, kNew));
        unsigned short ones[Semaphores::kCount] = {1, 1, 1, 1};
        succeeded("semctl", calls_.semctl(id, 0, SETALL, ones));
        return open_semaphores(shape);
    }
    std::unique_ptr<Semaphores> open_semaphores(const Shape& shape) {
        return std::make_unique<SysvCallSemaphores<Calls>>(calls_, found("semget", calls_.semget(sysv_key(shape.name), 0, 0)));
    }
    void unlink(const Shape& shape) {
        const int key = sysv_key(shape.name);
        if (shape.kind == Kind::sysv_queue) {
            if (const long id = calls_.msgget(key, 0); id >= 0) calls_.msgctl(static_cast<int>(id), IPC_RMID);
        } else if (shape.kind == Kind::segment) {
            if (const long id = calls_.shmget(key, 0, 0); id >= 0) calls_.shmctl(static_cast<int>(id), IPC_RMID);
        } else {
            if (const long id = calls_.semget(key, 0, 0); id >= 0) calls_.semctl(static_cast<int>(id), 0, IPC_RMID, nullptr);
        }
    }
    void live_and_die(const Shape& shape) {
        const int key = sysv_key(shape.name);
        if (shape.kind == Kind::sysv_queue) {
            succeeded("msgctl", calls_.msgctl(found("msgget", calls_.msgget(key, kNew)), IPC_RMID));
        } else if (shape.kind == Kind::segment) {
            const int id = found("shmget", calls_.shmget(key, shape.message_bytes, kNew));
            void* const start = calls_.shmat(id);
            if (start == nullptr) throw Failure("shmat failed");
            touch_segment(static_cast<std::byte*>(start), shape.message_bytes);
            succeeded("shmdt", calls_.shmdt(start));
            succeeded("shmctl", calls_.shmctl(id, IPC_RMID));
        } else {
            succeeded("semctl", calls_.semctl(found("semget", calls_.semget(key, 1, kNew)), 0, IPC_RMID, nullptr));
        }
    }

private:
    static constexpr int kNew = IPC_CREAT | IPC_EXCL | 0600;
    static int found(const char* call, long result) { return static_cast<int>(succeeded(call, result)); }

    const Calls calls_;
};

}  // namespace muster::bench
