// What src/platform asks of the real kernel, asked of the simulated one; and what has no meaning there.
#include <sys/syscall.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>
#include "machine.hpp"
#include "platform/cancel.hpp"
#include "platform/fault_copy.hpp"
#include "platform/futex.hpp"
#include "platform/mapping_damage.hpp"
#include "platform/process.hpp"
#include "platform/thread.hpp"

namespace muster::simulated {

long system_call(long number, long a, long b, long c, long d, long e, long f) {
    Machine& m = machine();
    if (m.inside()) switch (number) {
            case SYS_futex:
                return m.futex(reinterpret_cast<std::uint32_t*>(a), static_cast<int>(b), c, d,
                               reinterpret_cast<std::uint32_t*>(e), f);
            case platform::kFutexWaitv:
                return m.wait_any(reinterpret_cast<const void*>(a), static_cast<unsigned>(b),
                                  reinterpret_cast<const timespec*>(d));
            case SYS_sched_yield:
                return m.yield();
            case SYS_gettid:
                return kFirstThreadId + m.self();
            case SYS_getpid:
                return kFirstThreadId + m.self();  // one thread each
            case SYS_mmap:
                if (void* got = m.allocate(static_cast<std::size_t>(b))) return reinterpret_cast<long>(got);
                return -ENOMEM;
            case SYS_munmap:
                return 0;
            // The objects have all their memory from the start.
            case SYS_fallocate:
            case SYS_madvise:
                return 0;
            case SYS_ioctl:
            case SYS_read:
            case SYS_write:
                if (a != Machine::kFifo) m.fail("a file that the simulated kernel does not know");
                return m.call_fifo(number, c);
            case SYS_fcntl:
                return m.call_record_lock(static_cast<int>(b), *reinterpret_cast<struct flock*>(c));
            case SYS_rt_sigqueueinfo:
                return m.send_signal(static_cast<std::uint32_t>(a));
            case SYS_getuid:
            case SYS_geteuid:
            case SYS_getegid:
                break;
            default:
                m.fail("a system call that the simulated kernel does not know: " + std::to_string(number));
                return -ENOSYS;
        }
    const long result = ::syscall(number, a, b, c, d, e, f);
    return result == -1 ? -errno : result;
}

}  // namespace muster::simulated

namespace muster::platform {
using simulated::machine;

void pause_cpu() {
    if (machine().inside()) machine().pause();
}

std::int64_t monotonic_ns() {
    return machine().now_ns();
}
std::int64_t realtime_ns() {
    return machine().now_ns();
}
std::uint32_t current_cpu() {
    return machine().inside() ? machine().cpu() : 0;
}
bool thread_exists(std::uint32_t thread_id) {
    return machine().thread_exists(thread_id);
}
bool thread_stopped(std::uint32_t thread_id) {
    return machine().thread_stopped(thread_id);
}
bool may_exceed_limits() {
    return true;
}
bool in_group(std::uint32_t) {
    return true;
}
std::uint64_t pid_namespace() {
    return 0;
}

void deliver_deferred_signals(ThreadState&) {}
bool register_shared_mapping(void*, std::size_t, std::atomic<std::uint32_t>*) {
    return true;
}
void unregister_shared_mapping(void*) {}

bool fault_copy(ThreadState&, void* to, const void* from, std::size_t bytes) {
    if (!machine().inside()) {
        std::memcpy(to, from, bytes);
        return true;
    }
    auto* words_to = static_cast<std::uint64_t*>(to);
    auto* words_from = static_cast<const std::uint64_t*>(from);
    // Of a long message only some words are accesses of the machine, in both copies the same ones.
    constexpr std::size_t kAll = 32, kEnd = 4;
    const std::size_t words = bytes / 8;
    if (words > kAll) std::memcpy(words_to + kEnd, words_from + kEnd, (words - 2 * kEnd) * 8);
    for (std::size_t i = 0; i < words; ++i)
        if (words <= kAll || i < kEnd || i >= words - kEnd)
            simulated::store(words_to + i, simulated::load(words_from + i), false);
    for (std::size_t i = bytes / 8 * 8; i < bytes; ++i)
        simulated::store(static_cast<std::uint8_t*>(to) + i, simulated::load(static_cast<const std::uint8_t*>(from) + i), false);
    return true;
}

// A signal's handler, and a cancellation, come to a thread that is asleep in a call.
long wait_cancellable(const WaitEntry* entries, unsigned count, DeadlineNs deadline_ns, const CancelCleanup& cleanup,
                      clockid_t clock) {
    const long result = count == 1 ? futex_wait(reinterpret_cast<std::uint32_t*>(entries[0].address),
                                                static_cast<std::uint32_t>(entries[0].expected), deadline_ns, clock)
                                   : futex_wait_any(entries, count, deadline_ns, clock);
    simulated::Process& mine = machine().current();
    if (mine.cancelled) {
        cleanup.run(cleanup.argument);
        machine().finish();
    }
    if (mine.interrupted) {
        mine.interrupted = false;
        ThreadState& thread = this_thread_state;
        thread.interruptions = thread.interruptions + 1;
        if (Sleeping* sleeping = thread.sleeping) {
            thread.sleeping = nullptr;
            sleeping->before_handler(sleeping, false);
        }
        return -EINTR;
    }
    return result;
}

void test_cancel() {}

}  // namespace muster::platform
