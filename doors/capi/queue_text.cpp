#include "queue_text.hpp"
#include <signal.h>
#include <unistd.h>
#include <cstdio>
#include "notify.hpp"
#include "platform/fault_copy.hpp"

namespace muster::capi {

namespace {

bool add_length(void* sum, const std::byte*, std::size_t length, std::uint64_t) {
    *static_cast<std::uint64_t*>(sum) += length;
    return true;
}

}  // namespace

// SOURCE mq_overview(7): QSIZE is the bytes of all messages; the rest is zero while nobody is registered, and SIGNO
// is told for SIGEV_SIGNAL alone.
long read_queue_text(int descriptor, const QueueHold& queue, void* buffer, std::size_t bytes, std::uint64_t offset) {
    if ((queue.access() & kAccessRead) == 0) return -EBADF;
    if (static_cast<std::int64_t>(offset) < 0) return -EINVAL;
    platform::ThreadState& thread = platform::current_thread();
    std::uint64_t message_bytes = 0;
    auto seen = queue->queue.peek(thread, descriptor, true, &add_length, &message_bytes);
    if (!seen && seen.fault().errno_value != EAGAIN) return -seen.fault().errno_value;  // EAGAIN: it is empty
    static_assert(offsetof(objects::QueueHeader, object) == 0);
    const auto& side = reinterpret_cast<const objects::QueueHeader&>(queue->queue.object()).send;
    const std::uint32_t kind = side.notify_kind.load_acquire();
    const std::uint32_t registrant = side.notify_pid.load_acquire();
    const bool stands = kind != 0 && objects::registration_stands(descriptor, registrant);
    const int notify = stands ? static_cast<int>(kind & 0xff) - 1 : 0;
    const int signal = stands && notify == SIGEV_SIGNAL ? static_cast<int>(side.notify_signal.load_acquire()) : 0;
    char text[80];
    const int length = std::snprintf(text, sizeof text, "QSIZE:%-10lu NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n",
                                     static_cast<unsigned long>(message_bytes), notify, signal, stands ? static_cast<int>(registrant) : 0);
    const std::size_t have = static_cast<std::size_t>(length) < sizeof text ? static_cast<std::size_t>(length) : sizeof text - 1;
    if (offset >= have || bytes == 0) return 0;
    const std::size_t given = bytes < have - offset ? bytes : have - offset;
    if (!platform::fault_copy(thread, buffer, text + offset, given)) return -EFAULT;
    return static_cast<long>(given);
}

long read_queue_text(int descriptor, const QueueHold& queue, void* buffer, std::size_t bytes) {
    const long offset = platform::system_call(SYS_lseek, descriptor, 0, SEEK_CUR);
    if (offset < 0) return offset;
    const long given = read_queue_text(descriptor, queue, buffer, bytes, static_cast<std::uint64_t>(offset));
    if (given > 0) platform::system_call(SYS_lseek, descriptor, given, SEEK_CUR);
    return given;
}

}  // namespace muster::capi
