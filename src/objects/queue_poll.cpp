// Pollable queues. A FIFO of two packets stands for the queue: none means empty, one partly full, two full; so the
// kernel's own poll, select and epoll tell readers and writers apart. Nobody pays for it before somebody polls.
// Once somebody does, every operation holds both locks, and tokens change together with the count.
#include <sys/ioctl.h>
#include "objects/queue.hpp"
#include "objects/queue_acting.hpp"
#include "platform/file.hpp"

namespace muster::objects {
using platform::Outcome;

namespace {
constexpr std::size_t kTokenBytes = 4096;  // a whole page: one token, one slot of the pipe, packet mode or not
const char token[kTokenBytes] = {};
}  // namespace

// The FIFO for as long as it is written to: this process's, or opened for the occasion where none is kept.
class Queue::FifoInUse {
public:
    explicit FifoInUse(Queue& queue) : fd_(queue.fifo_.load(std::memory_order_acquire)) {
        if (fd_ >= 0 || queue.open_fifo_ == nullptr) return;
        fd_ = queue.open_fifo_(queue);
        if (!queue.keeps_fifo_) passing_ = platform::File(fd_);
    }
    int fd() const { return fd_; }

private:
    int fd_;
    platform::File passing_;
};

void Queue::set_tokens(std::uint32_t tokens) {
    std::uint32_t have = header_->shared.tokens.load_relaxed();
    if (have == tokens) return;
    const FifoInUse in_use(*this);
    const int fifo = in_use.fd();
    if (fifo < 0) return;  // no descriptor to be had: the next operation tries again
    int bytes = 0;  // what is really there: the FIFO forgets when nobody has it open, and the dead may not have noted theirs
    if (platform::system_call(SYS_ioctl, fifo, FIONREAD, &bytes) == 0) have = static_cast<std::uint32_t>(static_cast<std::size_t>(bytes) / kTokenBytes);
    char sink[kTokenBytes];
    if (have == tokens) {
        header_->shared.tokens.store_release(tokens);
        return;
    }
    header_->shared.tokens.store_release(~0u);  // unknown, should we die in here: then they are counted
    for (; have < tokens; ++have)
        if (platform::write_file(fifo, token, kTokenBytes) != static_cast<long>(kTokenBytes)) break;
    for (; have > tokens; --have)
        if (platform::read_file(fifo, sink, kTokenBytes) <= 0) break;
    header_->shared.tokens.store_release(have);
}

// A message more or less beside those that stay: edge-triggered epoll tells of each, as for the kernel's queues.
void Queue::make_edge() {
    if (header_->shared.tokens.load_relaxed() != 1) return;
    const FifoInUse in_use(*this);
    const int fifo = in_use.fd();
    if (fifo < 0) return;
    char sink[kTokenBytes];
    header_->shared.tokens.store_release(~0u);
    if (platform::write_file(fifo, token, kTokenBytes) == static_cast<long>(kTokenBytes)) (void)platform::read_file(fifo, sink, kTokenBytes);
    header_->shared.tokens.store_release(1);
}

void Queue::resync_tokens() {
    header_->shared.tokens.store_release(~0u);
    set_tokens(tokens_for(messages_now()));
}

Outcome<> Queue::start_polling(platform::ThreadState& thread, int fd, int fifo, bool passing) {
    Acting me(*this, thread);
    if (auto begun = me.begin(fd, ActorKind::keeper); !begun) return begun;
    if (auto locked = me.lock_both(); !locked) return locked;
    if (dead_actors()) reap_dead(fd);
    set_fifo(fifo);
    QueueShared& shared = header_->shared;
    if (passing) shared.pollers.store_release(shared.pollers.load_relaxed() + 1);
    shared.flags.or_release(passing ? kQueuePolled : kQueuePolled | kQueueInEpoll);
    resync_tokens();
    me.unlock_both();
    return platform::done();
}

void Queue::stop_polling(platform::ThreadState& thread, int fd) {
    Acting me(*this, thread);
    if (!me.begin(fd, ActorKind::keeper) || !me.lock_both()) return;
    QueueShared& shared = header_->shared;
    const std::uint32_t pollers = shared.pollers.load_relaxed();
    if (pollers != 0) shared.pollers.store_release(pollers - 1);
    if (pollers <= 1 && (shared.flags.load_relaxed() & kQueueInEpoll) == 0) shared.flags.and_release(~kQueuePolled);
    me.unlock_both();
}

}  // namespace muster::objects
