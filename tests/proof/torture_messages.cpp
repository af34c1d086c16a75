// Couriers: send and receive on all queues, of both kinds: waiting for ever, with deadlines, not at all; by type; polling and
// registering now and then. Alone in their process, or as threads that are cancelled, end, or are swept away by an exec.
#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <cerrno>
#include <ctime>
#include <unordered_map>
#include "torture_board.hpp"
#include "torture_library.hpp"

namespace muster::test::torture {
namespace {

timespec soon(unsigned microseconds_max, Random& random) {
    timespec at{};
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += static_cast<long>(random.below(microseconds_max)) * 1000;
    if (at.tv_nsec >= 1'000'000'000) {
        at.tv_nsec -= 1'000'000'000;
        ++at.tv_sec;
    }
    return at;
}
constexpr timespec kPast{};

class Courier {
public:
    Courier(const Place& place, Post& post, std::uint64_t seed)
        : place_(place), board_(place.board), post_(post), random_(seed), sender_(++board_.senders) {
        post_.thread = static_cast<std::int32_t>(syscall(SYS_gettid));
    }
    void work(std::uint64_t operations) {
        for (; operations != 0; --operations) {
            rest();
            const unsigned queue = random_.below(kQueueCount);
            if (random_.once_in(60)) look(queue);
            else if (kQueues[queue].steady || random_.below(100) < 48) send(queue);
            else receive(queue, random_.below(8));
            ++post_.done;
        }
    }
    [[noreturn]] void receive_all(unsigned queue) {
        for (;; ++post_.done) {
            rest();
            receive(queue, kForEver);
        }
    }

private:
    static constexpr unsigned kForEver = 0;  // of eight manners; 1 too, 2 to 4 with a deadline, the others not at all

    void rest() {
        if (board_.pause == 0) return;
        post_.paused = 1;
        while (board_.pause != 0) usleep(100);
        post_.paused = 0;
    }
    int handle(unsigned queue) const { return place_.objects.queue[queue]; }
    std::size_t some_length(unsigned queue) {
        const auto most = static_cast<unsigned>(kQueues[queue].message_bytes);
        const unsigned least = kBodyBytes;
        if (most > 65536 && random_.once_in(2)) return 65'537 + random_.below(most - 65'537);
        return least + random_.below((most > 2048 ? 2048 : most) - least + 1);
    }

    void send(unsigned queue) {
        const std::uint32_t at = board_.used++;
        if (at >= kPromises) {  // the round has no room for more: those that are there are received
            board_.used = kPromises;
            return;
        }
        const QueueKind& kind = kQueues[queue];
        const std::uint32_t lane = random_.below(kind.lanes) + (kind.typed() ? 1 : 0);
        const std::size_t length = some_length(queue);
        Promise& promise = board_.promises[at];
        promise.queue = static_cast<std::uint16_t>(queue);
        promise.sender = sender_;
        promise.sequence = ++sequence_;
        promise.lane = lane;
        const std::uint64_t id = std::uint64_t{board_.round} << 32 | at;
        write_body(post_.body(), id, static_cast<std::uint32_t>(length), lane);
        promise.sending = Sending::begun;
        post_.doing = (queue + 1) | kSending;
        const int error = kind.typed() ? send_typed(queue, lane, length) : send_plain(queue, lane, length);
        promise.sending = error == 0 ? Sending::promised : Sending::refused;
        post_.doing = 0;
        if (error == 0) {
            ++board_.messages;
            board_.bytes += length;
        } else if (error != EAGAIN && error != ETIMEDOUT && error != EINTR) {
            place_.fail("send", static_cast<long>(queue));
        }
    }
    int send_plain(unsigned queue, std::uint32_t priority, std::size_t length) {
        const auto* bytes = reinterpret_cast<const char*>(post_.body());
        const unsigned manner = random_.below(8);
        int rc = 0;
        if (manner <= 1) {
            rc = library().mq_send(handle(queue), bytes, length, priority);
        } else {
            const timespec deadline = manner <= 4 ? soon(2000, random_) : kPast;
            rc = library().mq_timedsend(handle(queue), bytes, length, priority, &deadline);
        }
        return rc == 0 ? 0 : errno;
    }
    int send_typed(unsigned queue, long type, std::size_t length) {
        std::memcpy(post_.bytes, &type, sizeof type);
        return library().msgsnd(handle(queue), post_.bytes, length, random_.once_in(3) ? 0 : IPC_NOWAIT) == 0 ? 0 : errno;
    }

    void receive(unsigned queue, unsigned manner) {
        const QueueKind& kind = kQueues[queue];
        std::memset(post_.bytes, 0, 8 + sizeof(Body));
        long selector = 0;
        int flags = manner <= 2 ? 0 : IPC_NOWAIT;
        if (kind.typed() && !kind.steady && random_.once_in(2)) {
            const long type = 1 + static_cast<long>(random_.below(kind.lanes));
            selector = random_.once_in(3) ? -type : type;
            if (selector > 0 && random_.once_in(3)) flags |= MSG_EXCEPT;
        }
        post_.doing = (queue + 1) | kReceiving | (selector != 0 ? kSelective : 0);
        long key = 0;
        const auto room = static_cast<std::size_t>(kind.message_bytes);
        const ssize_t got =
            kind.typed() ? library().msgrcv(handle(queue), post_.bytes, room, selector, flags) : receive_plain(queue, manner, key);
        if (got < 0) {
            if (errno == EINTR) ++board_.put_backs[queue];
            else if (errno != EAGAIN && errno != ETIMEDOUT && errno != ENOMSG) place_.fail("receive", static_cast<long>(queue));
        } else {
            if (kind.typed()) std::memcpy(&key, post_.bytes, sizeof key);
            if (selector < 0 && key > -selector) place_.fail("a type that was not asked for", key);
            if (selector > 0 && (key == selector) != ((flags & MSG_EXCEPT) == 0)) place_.fail("a type that was not asked for", key);
            judge(queue, static_cast<std::uint32_t>(key), static_cast<std::size_t>(got));
        }
        post_.doing = 0;
    }
    ssize_t receive_plain(unsigned queue, unsigned manner, long& priority) {
        auto* bytes = reinterpret_cast<char*>(post_.body());
        const auto room = static_cast<std::size_t>(kQueues[queue].message_bytes);
        unsigned given = 0;
        ssize_t got = 0;
        if (manner <= 1) {
            got = library().mq_receive(handle(queue), bytes, room, &given);
        } else {
            const timespec deadline = manner <= 4 ? soon(2000, random_) : kPast;
            got = library().mq_timedreceive(handle(queue), bytes, room, &given, &deadline);
        }
        priority = given;
        return got;
    }
    // Whole, of this queue, for the first time, and after what the same sender sent before.
    void judge(unsigned queue, std::uint32_t key, std::size_t length) {
        if (const char* wrong = wrong_body(post_.body(), length, key)) place_.fail(wrong, static_cast<long>(queue));
        Body body;
        std::memcpy(&body, post_.body(), sizeof body);
        const auto at = static_cast<std::uint32_t>(body.id);
        if (body.id >> 32 != board_.round || at >= kPromises) place_.fail("a message of no promise", static_cast<long>(body.id));
        Promise& promise = board_.promises[at];
        if (promise.queue != queue || promise.lane != key) place_.fail("a message of another queue or lane", at);
        if (promise.received++ != 0) place_.fail("a message came twice", at);
        if (round_ != board_.round) seen_.clear();
        round_ = board_.round;
        std::uint32_t& seen = seen_[std::uint64_t{promise.sender} << 32 | std::uint64_t{queue} << 16 | key];
        if (promise.sequence > seen) seen = promise.sequence;
        else if (kQueues[queue].steady) place_.fail("a message after a later one of its sender", at);
        else ++board_.late[queue];
    }
    // Polls, or is registered for a while. A killed one leaves the queue polled or watched.
    void look(unsigned queue) {
        if (kQueues[queue].typed()) return;
        if (random_.once_in(2)) {
            pollfd one{handle(queue), static_cast<short>(random_.once_in(2) ? POLLIN : POLLOUT), 0};
            if (library().poll(&one, 1, static_cast<int>(random_.below(2))) < 0 && errno != EINTR) place_.fail("poll", queue);
            return;
        }
        sigevent nothing{};
        nothing.sigev_notify = SIGEV_NONE;
        if (library().mq_notify(handle(queue), &nothing) != 0) {
            if (errno != EBUSY) place_.fail("mq_notify", queue);
        } else if (!random_.once_in(4)) {
            if (library().mq_notify(handle(queue), nullptr) != 0) place_.fail("the end of mq_notify", queue);
        }
    }

    const Place& place_;
    Board& board_;
    Post& post_;
    Random random_;
    const std::uint32_t sender_;
    std::uint32_t sequence_ = 0, round_ = 0;
    std::unordered_map<std::uint64_t, std::uint32_t> seen_;
};

// The first thread of a process whose others carry: it cancels them, waits for their end, or executes a program over their heads.
class Steward {
public:
    explicit Steward(const Place& place) : place_(place), random_(place.seed) {}
    [[noreturn]] void work() {
        for (unsigned i = 0; i < kPosts; ++i) start(i);
        for (;;) {
            place_.rest(place_.desk.paused);
            usleep(random_.below(1500));
            if (random_.once_in(60)) start_anew(place_, "nothing");
            const unsigned i = random_.below(kPosts);
            if (place_.board.pause != 0) continue;
            if (random_.once_in(8)) pthread_cancel(runners_[i].thread);
            else if (place_.desk.posts[i].over == 0) continue;
            end(i);
            start(i);
        }
    }

private:
    struct Runner {
        pthread_t thread;
        const Place* place;
        Post* post;
        std::uint64_t seed;
    };
    void start(unsigned i) {
        runners_[i] = {{}, &place_, &place_.desk.posts[i], random_.next()};
        const auto body = [](void* self) -> void* {
            const auto& me = *static_cast<Runner*>(self);
            Courier(*me.place, *me.post, me.seed).work(1 + me.seed % 400);
            me.post->over = 1;
            return nullptr;
        };
        if (pthread_create(&runners_[i].thread, nullptr, body, &runners_[i]) != 0) place_.fail("no thread");
    }
    void end(unsigned i) {
        void* result = nullptr;
        pthread_join(runners_[i].thread, &result);
        Post& post = place_.desk.posts[i];
        const std::uint32_t doing = post.doing;
        if (result == PTHREAD_CANCELED) {
            ++place_.board.cancels;
            if ((doing & kReceiving) != 0) ++place_.board.put_backs[(doing & kQueueMask) - 1];
        } else {
            ++place_.board.thread_exits;
        }
        post.doing = 0;  // what a cancelled call was given has gone back: it counts as not received
        post.paused = 0;
        post.over = 0;
        post.thread = 0;
    }

    const Place& place_;
    Random random_;
    Runner runners_[kPosts] = {};
};

}  // namespace

void carry_for_ever(const Place& place) { Courier(place, place.desk.posts[0], place.seed).work(~std::uint64_t{0}); }
void carry_with_threads(const Place& place) { Steward(place).work(); }
void receive_steadily(const Place& place, unsigned queue) { Courier(place, place.desk.posts[0], place.seed).receive_all(queue); }

}  // namespace muster::test::torture
