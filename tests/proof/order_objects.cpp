#include "tests/proof/order_objects.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace muster::test::order {
namespace {

constexpr std::size_t kMostBytes = 64;

template <class Function>
void find(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library, name));
}

// A message says its number in every four bytes, so that one made of two is known.
void fill(char* bytes, std::size_t size, std::int32_t number) {
    for (std::size_t at = 0; at + sizeof number <= size; at += sizeof number) std::memcpy(bytes + at, &number, sizeof number);
}
// 0 of a message without bytes; -1 if they do not agree.
std::int32_t number_in(const char* bytes, std::size_t size) {
    if (size == 0) return 0;
    std::int32_t number = -1;
    if (size >= sizeof number) std::memcpy(&number, bytes, sizeof number);
    for (std::size_t at = 0; at + sizeof number <= size; at += sizeof number)
        if (std::memcmp(bytes + at, &number, sizeof number) != 0) return -1;
    return number;
}

}  // namespace

void rest(int pause) {
    if (pause == 1) sched_yield();
    for (int i = 1; i < pause; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
}

Calls Calls::load(const char* library) {
    Calls c{};
    void* from = library != nullptr ? dlopen(library, RTLD_NOW | RTLD_LOCAL) : RTLD_DEFAULT;
    if (library != nullptr && from == nullptr) return c;
    find(from, "mq_open", c.mq_open);
    find(from, "mq_close", c.mq_close);
    find(from, "mq_unlink", c.mq_unlink);
    find(from, "mq_send", c.mq_send);
    find(from, "mq_receive", c.mq_receive);
    find(from, "mq_getattr", c.mq_getattr);
    find(from, "msgget", c.msgget);
    find(from, "msgsnd", c.msgsnd);
    find(from, "msgrcv", c.msgrcv);
    find(from, "msgctl", c.msgctl);
    find(from, "semget", c.semget);
    find(from, "semop", c.semop);
    find(from, "semctl", c.semctl);
    find(from, "shmget", c.shmget);
    find(from, "shmat", c.shmat);
    find(from, "shmdt", c.shmdt);
    find(from, "shmctl", c.shmctl);
    return c;
}

bool Calls::complete() const {
    return mq_open && mq_close && mq_unlink && mq_send && mq_receive && mq_getattr && msgget && msgsnd && msgrcv && msgctl &&
           semget && semop && semctl && shmget && shmat && shmdt && shmctl;
}

// Hands

void Hands::reach() {
    for (void* at : attached_) calls_.shmdt(at);
    attached_.clear();
    if (target_.setup.object != Object::priority_queue || epoch_ == target_.epoch) return;
    if (waiting_ >= 0) calls_.mq_close(waiting_);
    if (hasty_ >= 0) calls_.mq_close(hasty_);
    waiting_ = calls_.mq_open(target_.name, O_RDWR);
    hasty_ = calls_.mq_open(target_.name, O_RDWR | O_NONBLOCK);
    epoch_ = target_.epoch;
}

void Hands::perform(Operation& o) {
    if (o.call == Call::detach && attached_.empty()) return;
    rest(o.pause);
    if (o.call == Call::remove && target_.setup.object > Object::queue_name && o.process != kDrainer)
        o.number = target_.last_identity.load(std::memory_order_acquire);
    const std::uint64_t invoked = target_.clock.fetch_add(1) + 1;
    std::atomic_ref(o.invoked).store(invoked, std::memory_order_release);
    switch (target_.setup.object) {
        case Object::priority_queue:
            call_queue(o);
            break;
        case Object::typed_queue:
            call_typed(o);
            break;
        case Object::semaphores:
            call_semaphores(o);
            break;
        case Object::segment:
            call_segment(o);
            break;
        default:
            call_name(o);
    }
    const std::uint64_t returned = target_.clock.fetch_add(1) + 1;
    std::atomic_ref(o.returned).store(returned, std::memory_order_release);
    // Known to others only now: who sees it was called after this one returned.
    const bool found = o.error == 0 && (o.call == Call::create || o.call == Call::open || o.call == Call::open_or_create);
    if (found) target_.last_identity.store(o.result[0], std::memory_order_release);
}

void Hands::call_queue(Operation& o) {
    char bytes[kMostBytes];
    const mqd_t queue = o.waits ? waiting_ : hasty_;
    if (o.call == Call::send) {
        fill(bytes, static_cast<std::size_t>(o.size), o.number);
        o.error =
            calls_.mq_send(queue, bytes, static_cast<std::size_t>(o.size), static_cast<unsigned>(o.selector)) == 0 ? 0 : errno;
    } else if (o.call == Call::receive) {
        unsigned priority = 0;
        const ssize_t size = calls_.mq_receive(queue, bytes, static_cast<std::size_t>(o.size), &priority);
        o.error = size >= 0 ? 0 : errno;
        if (size < 0) return;
        o.result[0] = number_in(bytes, static_cast<std::size_t>(size));
        o.result[1] = static_cast<int>(priority);
        o.result[2] = static_cast<int>(size);
    } else {
        mq_attr attributes{};
        o.error = calls_.mq_getattr(queue, &attributes) == 0 ? 0 : errno;
        o.result[0] = static_cast<int>(attributes.mq_curmsgs);
    }
}

void Hands::call_typed(Operation& o) {
    struct {
        long type;
        char bytes[kMostBytes];
    } message{};
    const int flags = o.waits ? 0 : IPC_NOWAIT;
    const auto size = static_cast<std::size_t>(o.size);
    if (o.call == Call::send) {
        message.type = o.selector;
        fill(message.bytes, size, o.number);
        o.error = calls_.msgsnd(target_.identifier, &message, size, flags) == 0 ? 0 : errno;
    } else if (o.call == Call::receive || o.call == Call::copy) {
        const int how = (o.except ? MSG_EXCEPT : 0) | (o.truncate ? MSG_NOERROR : 0) | (o.call == Call::copy ? MSG_COPY : 0);
        const ssize_t got = calls_.msgrcv(target_.identifier, &message, size, o.selector, flags | how);
        o.error = got >= 0 ? 0 : errno;
        if (got < 0) return;
        o.result[0] = number_in(message.bytes, static_cast<std::size_t>(got));
        o.result[1] = static_cast<int>(message.type);
        o.result[2] = static_cast<int>(got);
    } else {
        msqid_ds about{};
        o.error = calls_.msgctl(target_.identifier, IPC_STAT, &about) == 0 ? 0 : errno;
        o.result[0] = static_cast<int>(about.msg_qnum);
        o.result[1] = static_cast<int>(about.__msg_cbytes);
    }
}

void Hands::call_semaphores(Operation& o) {
    const int id = target_.identifier;
    unsigned short values[kMostSemaphores] = {};
    int result = 0;
    if (o.call == Call::operate) {
        sembuf steps[kMostSteps];
        for (int i = 0; i < o.step_count; ++i) {
            const SemaphoreStep& step = o.steps[i];
            const int flags = (step.waits ? 0 : IPC_NOWAIT) | (step.undo ? SEM_UNDO : 0);
            steps[i] = {static_cast<unsigned short>(step.number), static_cast<short>(step.amount), static_cast<short>(flags)};
        }
        result = calls_.semop(id, steps, static_cast<std::size_t>(o.step_count));
    } else if (o.call == Call::set) {
        result = calls_.semctl(id, o.number, SETVAL, o.selector);
    } else if (o.call == Call::get) {
        result = o.result[0] = calls_.semctl(id, o.number, GETVAL);
    } else if (o.call == Call::set_all) {
        for (int i = 0; i < kMostSemaphores; ++i) values[i] = static_cast<unsigned short>(o.steps[i].amount);
        result = calls_.semctl(id, 0, SETALL, values);
    } else {
        result = calls_.semctl(id, 0, GETALL, values);
        std::copy(values, values + kMostSemaphores, o.result);
    }
    o.error = result >= 0 ? 0 : errno;
}

void Hands::call_segment(Operation& o) {
    shmid_ds about{};
    int result = 0;
    if (o.call == Call::attach) {
        void* at = calls_.shmat(target_.identifier, nullptr, 0);
        result = at == reinterpret_cast<void*>(-1) ? -1 : 0;
        if (result == 0) attached_.push_back(at);
    } else if (o.call == Call::detach) {
        result = calls_.shmdt(attached_.back());
        if (result == 0) attached_.pop_back();
    } else if (o.call == Call::remove) {
        result = calls_.shmctl(target_.identifier, IPC_RMID, nullptr);
    } else {
        result = calls_.shmctl(target_.identifier, IPC_STAT, &about);
        o.result[0] = static_cast<int>(about.shm_nattch);
    }
    o.error = result >= 0 ? 0 : errno;
}

int Hands::identity_of_key(int flags) {
    if (target_.setup.object == Object::message_key) return calls_.msgget(target_.key, flags | 0600);
    if (target_.setup.object == Object::semaphore_key) return calls_.semget(target_.key, 1, flags | 0600);
    return calls_.shmget(target_.key, 4096, flags | 0600);
}

void Hands::call_name(Operation& o) {
    const bool queue = target_.setup.object == Object::queue_name;
    int result = -1;
    if (o.call == Call::remove) {
        if (queue)
            result = calls_.mq_unlink(target_.name);
        else if (target_.setup.object == Object::message_key)
            result = calls_.msgctl(o.number, IPC_RMID, nullptr);
        else if (target_.setup.object == Object::semaphore_key)
            result = calls_.semctl(o.number, 0, IPC_RMID);
        else
            result = calls_.shmctl(o.number, IPC_RMID, nullptr);
        o.error = result >= 0 ? 0 : errno;
        return;
    }
    if (!queue) {
        result = identity_of_key((o.call != Call::open ? IPC_CREAT : 0) | (o.call == Call::create ? IPC_EXCL : 0));
    } else {
        // A queue says by the length of its messages, which never changes, who made it.
        mq_attr attributes{};
        attributes.mq_maxmsg = 1;
        attributes.mq_msgsize = o.number;
        const int flags = O_RDWR | (o.call != Call::open ? O_CREAT : 0) | (o.call == Call::create ? O_EXCL : 0);
        const mqd_t made = calls_.mq_open(target_.name, flags, 0600, &attributes);
        if (made >= 0) {
            if (calls_.mq_getattr(made, &attributes) == 0) result = static_cast<int>(attributes.mq_msgsize);
            calls_.mq_close(made);
        }
    }
    o.error = result >= 0 ? 0 : errno;
    o.result[0] = result;
}

// Maker

Maker::Maker(const Calls& calls, Target& target, Object object, bool kernel) : calls_(calls), target_(target) {
    target_.setup.object = object;
    target_.setup.kernel = kernel;
    target_.key = 0x6f000000 + getpid();
    std::snprintf(target_.name, sizeof target_.name, "/muster-proof-order-%d", getpid());
}

bool Maker::prepare(Random& of_object, Random& of_round, bool anew) {
    const Object object = target_.setup.object;
    if (object == Object::segment || !made_ || anew) {
        remove();
        if (!make(of_object)) return false;
        made_ = true;
        ++target_.epoch;
    }
    target_.last_identity.store(-1);
    if (object != Object::semaphores) return true;
    unsigned short values[kMostSemaphores] = {};
    for (int i = 0; i < kMostSemaphores; ++i) {
        target_.setup.values[i] = i < target_.setup.capacity ? static_cast<int>(of_round.below(3)) : 0;
        values[i] = static_cast<unsigned short>(target_.setup.values[i]);
    }
    return calls_.semctl(target_.identifier, 0, SETALL, values) == 0;
}

bool Maker::make(Random& random) {
    switch (target_.setup.object) {
        case Object::priority_queue: {
            mq_attr attributes{};
            attributes.mq_maxmsg = target_.setup.capacity = 1 + static_cast<int>(random.below(4));
            attributes.mq_msgsize = kPriorityBytes;
            const mqd_t queue = calls_.mq_open(target_.name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
            return queue >= 0 && calls_.mq_close(queue) == 0;
        }
        case Object::typed_queue: {
            target_.identifier = calls_.msgget(IPC_PRIVATE, 0600);
            msqid_ds about{};
            if (calls_.msgctl(target_.identifier, IPC_STAT, &about) != 0) return false;
            // So small now and then that messages without bytes fill it.
            target_.setup.capacity = static_cast<int>(random.once_in(4) ? 4 + random.below(3) : 12 + random.below(29));
            about.msg_qbytes = static_cast<msglen_t>(target_.setup.capacity);
            return calls_.msgctl(target_.identifier, IPC_SET, &about) == 0;
        }
        case Object::semaphores:
            target_.setup.capacity = 1 + static_cast<int>(random.below(kMostSemaphores));
            target_.identifier = calls_.semget(IPC_PRIVATE, target_.setup.capacity, 0600);
            return target_.identifier >= 0;
        case Object::segment:
            target_.identifier = calls_.shmget(IPC_PRIVATE, 4096, 0600);
            return target_.identifier >= 0;
        default:
            return true;
    }
}

void Maker::remove() {
    if (!made_) return;
    made_ = false;
    if (target_.setup.object == Object::priority_queue) calls_.mq_unlink(target_.name);
    if (target_.setup.object == Object::typed_queue) calls_.msgctl(target_.identifier, IPC_RMID, nullptr);
    if (target_.setup.object == Object::semaphores) calls_.semctl(target_.identifier, 0, IPC_RMID);
    // A segment is removed by its round's last calls; this is for one whose round did not come to them.
    if (target_.setup.object == Object::segment) calls_.shmctl(target_.identifier, IPC_RMID, nullptr);
}

}  // namespace muster::test::order
