#include "notify.hpp"
#include <pthread.h>
#include "platform/fault_copy.hpp"
#include "platform/file.hpp"
#include "platform/process.hpp"
#include "platform/signals.hpp"

namespace muster::capi {
using platform::Fault;
using platform::Outcome;

namespace {

// What a helper thread needs. It owns a reference of the queue.
struct Helper {
    OpenQueue* queue;
    std::uint32_t word;        // the queue's notify word at registration
    std::uint32_t generation;  // of the registration in this process
    int kind;
    int signal;
    sigval value;
    void (*function)(sigval);
    std::uint64_t mask;  // the program's signal mask at registration
};

void* help(void* argument) {
    Helper helper = *static_cast<Helper*>(argument);
    platform::unmap(argument, 4096);
    std::uint32_t* word = helper.queue->queue.notify_word();
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == helper.word) platform::futex_wait(word, helper.word, platform::kForever);
    // Woken by the registration's end or by the message; only the latter leaves the registration's mark.
    std::uint32_t expected = helper.generation;
    const bool fired = helper.queue->notify_mine.compare_exchange_strong(expected, 0);
    if (fired && helper.kind == SIGEV_SIGNAL) {
        siginfo_t info{};
        info.si_signo = helper.signal;
        info.si_code = SI_MESGQ;
        info.si_pid = static_cast<pid_t>(helper.queue->queue.notify_sender_pid());
        info.si_uid = helper.queue->queue.notify_sender_uid();
        info.si_value = helper.value;
        platform::system_call(SYS_rt_sigqueueinfo, platform::process_id(), info.si_signo, &info);
    }
    release(helper.queue);
    if (fired && helper.kind == SIGEV_THREAD) {
        platform::change_signal_mask(SIG_SETMASK, &helper.mask, nullptr);
        helper.function(helper.value);
    }
    return nullptr;
}

std::atomic<std::uint32_t> registrations{0};

}  // namespace

Outcome<> begin_notification(platform::ThreadState& thread, int descriptor, OpenQueue& queue, const sigevent& event) {
    // Signals to another user's process need that process's help; so do functions.
    const bool shared = (queue.queue.permission().mode & 0077) != 0;
    const bool by_word = event.sigev_notify == SIGEV_THREAD || (event.sigev_notify == SIGEV_SIGNAL && event.sigev_signo != 0 && shared);
    std::uint32_t word = 0;
    objects::NotifyRequest request{event.sigev_notify, event.sigev_signo, reinterpret_cast<std::uint64_t>(event.sigev_value.sival_ptr), by_word, &word};
    const std::uint32_t mark = registrations.fetch_add(1) + 1;

    // The lock first: a registration without one would not stand for a moment.
    if (auto set = queue.queue.set_notify(thread, descriptor, request); !set) return set;
    // A descriptor that outlives exec would keep the registration, and the new program would get the old one's signal:
    // another one of the file, closed by exec, ends it.
    if (queue.notify_guard < 0 && (platform::file_control(descriptor, F_GETFD) & FD_CLOEXEC) == 0)
        if ((queue.notify_guard = platform::file_control(descriptor, F_DUPFD_CLOEXEC, 512)) >= 0) note_guard(queue.notify_guard);
    queue.notify_mine.store(mark);
    queue.notify_generation.store(thread.generation);
    if (!by_word) return platform::done();

    const long memory = platform::map_private_zeroes(4096);
    if (memory < 0 && memory > -4096) {
        end_notification(queue);
        return Fault{ENOMEM};
    }
    auto* helper = reinterpret_cast<Helper*>(memory);
    queue.references.fetch_add(1);
    *helper = {&queue, word, mark, event.sigev_notify, event.sigev_signo, event.sigev_value, event.sigev_notify_function, 0};
    // The helper sleeps with every signal blocked; the function gets the program's mask.
    const std::uint64_t all = ~std::uint64_t{0};
    platform::change_signal_mask(SIG_SETMASK, &all, &helper->mask);
    pthread_attr_t own;
    const bool given = event.sigev_notify == SIGEV_THREAD && event.sigev_notify_attributes != nullptr;
    pthread_attr_t* attributes = given ? event.sigev_notify_attributes : &own;
    if (!given) pthread_attr_init(&own);
    int detached = PTHREAD_CREATE_DETACHED;
    if (given) pthread_attr_getdetachstate(attributes, &detached);
    pthread_attr_setdetachstate(attributes, PTHREAD_CREATE_DETACHED);
    pthread_t id;
    const std::uint64_t mask = helper->mask;
    const int rc = pthread_create(&id, attributes, &help, helper);
    if (given) pthread_attr_setdetachstate(attributes, detached);
    else pthread_attr_destroy(&own);
    platform::change_signal_mask(SIG_SETMASK, &mask, nullptr);
    if (rc == 0) return platform::done();
    platform::unmap(helper, 4096);
    end_notification(queue);
    release(&queue);
    return Fault{rc};
}

void end_notification(OpenQueue& queue) {
    if (queue.notify_mine.load(std::memory_order_acquire) == 0) return;
    platform::ThreadState& thread = platform::current_thread();
    if (queue.notify_generation.load() != thread.generation) return;  // the parent's, before a fork
    queue.notify_mine.store(0);
    (void)queue.queue.clear_notify(thread, -1);
}

}  // namespace muster::capi
