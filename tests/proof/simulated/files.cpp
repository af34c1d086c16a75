// What a queue asks of files, and of the kernel beside futexes: the FIFO that pollers watch, the record lock that a registration
// of mq_notify lasts as long as, and its signal. One of each is enough. See machine.hpp.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <cerrno>
#include <climits>
#include "machine.hpp"

namespace muster::simulated {
namespace {
constexpr unsigned kPackets = 2;  // as the FIFO is made
constexpr long kPacketBytes = 4096;
}  // namespace

// SOURCE pipe(7): a packet, or as much of one as a read asks for, is there at once for all.
long Machine::call_fifo(long number, long argument) {
    point();
    flush(*current_);
    switch (number) {
        case SYS_ioctl:
            *reinterpret_cast<int*>(argument) = static_cast<int>(packets_ * kPacketBytes);
            return 0;
        case SYS_write:
            if (packets_ == kPackets) return -EAGAIN;
            ++packets_;
            break;
        default:
            if (packets_ == 0) return -EAGAIN;
            --packets_;
            break;
    }
    ++fifo_changes_;
    record(number == SYS_write ? "a packet more" : "a packet less", nullptr, packets_, 0, nullptr);
    wake(&fifo_changes_, INT_MAX);
    point();
    return kPacketBytes;
}

// SOURCE poll(2), POLLIN or POLLOUT, without a time-out.
void Machine::poll_fifo(bool for_room) {
    for (;;) {
        point();
        flush(*current_);
        if (for_room ? packets_ < kPackets : packets_ > 0) return;
        futex(&fifo_changes_, FUTEX_WAIT, fifo_changes_, 0, nullptr, 0);
    }
}

// SOURCE fcntl(2): each process locks a byte of its own, whose place ends in its number, and others ask who has it.
long Machine::call_record_lock(int command, struct flock& lock) {
    point();
    flush(*current_);
    const auto owner = static_cast<std::uint32_t>(lock.l_start);
    if (command == F_SETLK) {
        if (owner != current_->thread.thread_id) fail("a record lock on another process's byte");
        current_->locks_record = true;
        return 0;
    }
    const bool held = thread_exists(owner) && processes_[owner - kFirstThreadId].locks_record;
    if (!held) lock.l_type = F_UNLCK;
    lock.l_pid = held ? static_cast<pid_t>(owner) : 0;
    return 0;
}

long Machine::send_signal(std::uint32_t to) {
    point();
    flush(*current_);
    if (!thread_exists(to)) return -ESRCH;
    Process& process = processes_[to - kFirstThreadId];
    ++process.signals;
    record("signals:", nullptr, process.number, 0, nullptr);
    wake(&process.signals, INT_MAX);
    point();
    return 0;
}

void Machine::wait_for_signal() {
    Process& mine = *current_;
    while (mine.signals == 0) futex(&mine.signals, FUTEX_WAIT, 0, 0, nullptr, 0);
    --mine.signals;
}

}  // namespace muster::simulated
