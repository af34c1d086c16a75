// random_mq: a seeded random sequence of queue calls, its results and errnos as a transcript.
//
// The same seed makes the same calls, so the transcripts of the kernel and of Muster must be equal, line by line. With two
// processes the calls are made in lockstep: a step is over when its call has returned or its process sleeps in it for good.
// When both sleep, a signal ends the sleep of the one chosen by the seed.
#include <array>
#include <cinttypes>

#include "case.hpp"

namespace {

constexpr int kSlots = 8, kHigh = 500;
constexpr long kMaxMessages = 5, kMaxBytes = 48;

class Random {
public:
    explicit Random(uint64_t seed) : state_(seed) {}
    uint64_t next() {
        uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    long below(long n) { return static_cast<long>(next() % static_cast<uint64_t>(n)); }
    bool one_in(long n) { return below(n) == 0; }

private:
    uint64_t state_;
};

volatile sig_atomic_t notified;

// One process's descriptors and the calls it makes with them.
class Actor {
public:
    explicit Actor(bool may_sleep) : may_sleep_(may_sleep) {
        slots_.fill(-1);
        struct sigaction action {};
        action.sa_handler = [](int) { notified = notified + 1; };
        action.sa_flags = SA_RESTART;
        sigaction(SIGUSR1, &action, nullptr);
        action.sa_handler = [](int) {};
        action.sa_flags = 0;
        sigaction(SIGUSR2, &action, nullptr);
    }

    void hold(mqd_t queue) { slots_[0] = queue; }

    std::string step(uint64_t seed) {
        Random random(seed);
        std::string text = call(random);
        if (notified != told_) text += " (notified " + std::to_string(notified - told_) + ")";
        told_ = notified;
        return text;
    }

private:
    std::string call(Random& r) {
        // Mostly a slot that holds something: EBADF alone teaches little.
        do slot_ = static_cast<size_t>(r.below(kSlots));
        while (queue() < 0 && !r.one_in(6));
        const long kind = queue() < 0 && !r.one_in(3) ? 0 : r.below(112);
        errno = kUntouched;
        if (kind < 6) return open(r);
        if (kind < 10) return close(r);
        if (kind < 44) return send(r, false);
        if (kind < 72) return receive(r, false);
        if (kind < 78) return send(r, true);
        if (kind < 84) return receive(r, true);
        if (kind < 89) return told("getattr", state(queue()));
        if (kind < 95) return set_flags(r);
        if (kind < 97) return unlink(r);
        if (kind < 101) return duplicate(r);
        if (kind < 106) return notify(r);
        if (kind < 111) return look();
        return read_line();
    }

    std::string open(Random& r) {
        const int accesses[] = {O_RDWR, O_RDWR, O_RDWR, O_RDONLY, O_WRONLY};
        int flags = accesses[r.below(5)];
        if (!r.one_in(4)) flags |= O_CREAT;
        if (r.one_in(4)) flags |= O_EXCL;
        if (!may_sleep_ || r.one_in(3)) flags |= O_NONBLOCK;
        mq_attr wanted{};
        wanted.mq_maxmsg = r.one_in(12) ? -r.below(2) : 1 + r.below(kMaxMessages);
        wanted.mq_msgsize = r.one_in(12) ? -r.below(2) : 1 + r.below(kMaxBytes);
        const std::string what = std::string("open ") + letter(r) + " flags " + std::to_string(flags) + " attr " +
                                 std::to_string(wanted.mq_maxmsg) + "/" + std::to_string(wanted.mq_msgsize);
        if (slots_[slot_] >= 0) ::close(slots_[slot_]);
        slots_[slot_] = -1;
        errno = kUntouched;
        const mqd_t opened = mq_open(name(letter_), flags, 0600, &wanted);
        slots_[slot_] = opened;
        return result(what, opened);
    }

    std::string close(Random& r) {
        const int old = queue();
        if (!r.one_in(5)) slots_[slot_] = -1;  // else the number stays behind, stale
        errno = kUntouched;
        return result("close " + std::to_string(old), r.one_in(2) ? mq_close(old) : ::close(old));
    }

    std::string send(Random& r, bool timed) {
        char text[kMaxBytes + 8];
        const size_t length = static_cast<size_t>(r.one_in(6) ? r.below(kMaxBytes + 4) : r.below(8));
        for (size_t i = 0; i < length; ++i) text[i] = static_cast<char>('a' + r.below(26));
        const unsigned priority = r.one_in(40)  ? 32768 + static_cast<unsigned>(r.below(9))
                                  : r.one_in(5) ? static_cast<unsigned>(r.below(32768))
                                                : static_cast<unsigned>(r.below(4));
        const std::string what =
            "send " + std::to_string(queue()) + " length " + std::to_string(length) + " priority " + std::to_string(priority);
        const bool wait_not = timed || !may_sleep_;
        const timespec at = deadline(r);
        errno = kUntouched;
        return result(what + (wait_not ? at_text(at) : ""),
                      wait_not ? mq_timedsend(queue(), text, length, priority, &at) : mq_send(queue(), text, length, priority));
    }

    std::string receive(Random& r, bool timed) {
        char text[kMaxBytes + 8] = "";
        const size_t room = r.one_in(15) ? static_cast<size_t>(r.below(kMaxBytes)) : kMaxBytes;
        unsigned priority = 0;
        const std::string what = "receive " + std::to_string(queue()) + " room " + std::to_string(room);
        const bool wait_not = timed || !may_sleep_;
        const timespec at = deadline(r);
        errno = kUntouched;
        const long got =
            wait_not ? mq_timedreceive(queue(), text, room, &priority, &at) : mq_receive(queue(), text, room, &priority);
        const int error = errno;
        const std::string content =
            got < 0 ? "" : " \"" + std::string(text, static_cast<size_t>(got)) + "\" priority " + std::to_string(priority);
        errno = error;
        return result(what + (wait_not ? at_text(at) : ""), got) + content;
    }

    std::string unlink(Random& r) {
        const std::string what = std::string("unlink ") + letter(r);
        errno = kUntouched;
        return result(what, mq_unlink(name(letter_)));
    }

    std::string set_flags(Random& r) {
        mq_attr wanted{}, old{};
        wanted.mq_flags = r.one_in(8) ? 1 << r.below(20) : !may_sleep_ || r.one_in(2) ? O_NONBLOCK : 0;
        errno = kUntouched;
        const int got = mq_setattr(queue(), &wanted, &old);
        return result("setattr " + std::to_string(queue()) + " flags " + std::to_string(wanted.mq_flags), got) + " old " +
               std::to_string(old.mq_flags) + "/" + std::to_string(old.mq_curmsgs);
    }

    std::string duplicate(Random& r) {
        const int from = queue();
        slot_ = static_cast<size_t>(r.below(kSlots));
        if (slots_[slot_] >= 0 && slots_[slot_] != from) ::close(slots_[slot_]);
        errno = kUntouched;
        const int copy = r.one_in(2) ? dup(from) : fcntl(from, F_DUPFD_CLOEXEC, 0);
        slots_[slot_] = copy;
        return result("dup " + std::to_string(from), copy);
    }

    std::string notify(Random& r) {
        sigevent event{};
        const long form = r.below(8);
        event.sigev_notify = form == 0 ? SIGEV_NONE : form == 1 ? 77 : SIGEV_SIGNAL;
        event.sigev_signo = form == 2 ? 99 : SIGUSR1;
        errno = kUntouched;
        return result("notify " + std::to_string(queue()) + " form " + std::to_string(form),
                      mq_notify(queue(), form >= 6 ? nullptr : &event));
    }

    std::string look() {
        pollfd entry{queue(), POLLIN | POLLOUT, 0};
        errno = kUntouched;
        const int got = poll(&entry, 1, 0);
        return result("poll " + std::to_string(queue()), got) + " events " + std::to_string(entry.revents);
    }

    std::string read_line() {
        char text[128] = "";
        errno = kUntouched;
        const ssize_t got = pread(queue(), text, 17, 0);
        return result("read " + std::to_string(queue()), got) + " " + text;
    }

    static timespec deadline(Random& r) {
        if (r.one_in(10)) return {1, 1'000'000'000};
        if (r.one_in(20)) return {-1, 0};
        return kPast;
    }
    static std::string at_text(const timespec& at) {
        return " until " + std::to_string(at.tv_sec) + "." + std::to_string(at.tv_nsec);
    }
    static std::string told(const std::string& what, const std::string& outcome) { return what + " -> " + outcome; }
    static std::string result(const std::string& what, long got) {
        const int error = errno;
        return told(what, std::to_string(got) + (error == kUntouched ? "" : " " + error_name(error)));
    }
    char letter(Random& r) { return letter_ = static_cast<char>('a' + r.below(3)); }
    int queue() const { return slots_[slot_]; }

    std::array<int, kSlots> slots_{};
    size_t slot_ = 0;
    char letter_ = 'a';
    bool may_sleep_;
    int told_ = 0;
};

// A process that makes the steps it is told of, and answers each with a line.
class Worker {
public:
    Worker(mqd_t shared_queue, int number) : number_(number) {
        int to[2], from[2];
        if (pipe(to) != 0 || pipe(from) != 0) std::perror("pipe"), std::exit(2);
        const int base = kHigh + 4 * number;
        const int ends[4] = {to[0], to[1], from[0], from[1]};
        for (int i = 0; i < 4; ++i) dup2(ends[i], base + i), close(ends[i]);
        pid_ = start([=] {
            Actor actor(true);
            actor.hold(shared_queue);
            uint64_t seed = 0;
            while (read(base, &seed, sizeof seed) == sizeof seed) {
                const std::string text = actor.step(seed);
                char line[256]{};
                std::strncpy(line, text.c_str(), sizeof line - 1);
                if (write(base + 3, line, sizeof line) != sizeof line) _exit(1);
            }
        });
        close(base);
        close(base + 3);
        command_ = base + 1;
        reply_ = base + 2;
    }

    void command(uint64_t seed) {
        busy_ = true;
        if (write(command_, &seed, sizeof seed) != sizeof seed) std::puts("a worker is gone"), std::exit(1);
    }
    bool busy() const { return busy_; }
    void interrupt() { kill(pid_, SIGUSR2); }

    // Waits until the call has returned (its line is printed) or the process sleeps in it; then true.
    bool settle() {
        bool asleep = false;
        for (int tries = 0; busy_; ++tries) {
            pollfd entry{reply_, POLLIN, 0};
            if (poll(&entry, 1, tries < 2000 ? 0 : 1) == 1) {
                char line[256];
                if (read(reply_, line, sizeof line) != sizeof line)
                    std::printf("worker %d died\n", number_), std::fflush(stdout), std::exit(1);
                std::printf("%d: %s\n", number_, line);
                busy_ = false;
            } else if (asleep) {
                return true;
            } else if (sleeps(pid_)) {
                asleep = true;  // look once more for an answer given before
            } else if (tries > 20'000) {
                std::printf("worker %d neither answers nor sleeps\n", number_), std::fflush(stdout), std::exit(1);
            }
        }
        return false;
    }

    void end() {
        close(command_);
        kill(pid_, SIGKILL);
        finish(pid_);
    }

private:
    int number_, command_ = -1, reply_ = -1;
    pid_t pid_ = -1;
    bool busy_ = false;
};

void run_alone(Random& random, long steps) {
    Actor actor(false);
    for (long step = 1; step <= steps; ++step) std::printf("%ld %s\n", step, actor.step(random.next()).c_str());
}

void run_two(Random& random, long steps) {
    const mqd_t common = create('d', 3, 24);
    Worker workers[2] = {Worker(common, 1), Worker(common, 2)};
    mq_close(common);
    for (long step = 1; step <= steps; ++step) {
        const size_t first = static_cast<size_t>(random.below(2));
        const uint64_t seed = random.next();
        if (workers[0].busy() && workers[1].busy()) {
            std::printf("%ld both sleep: interrupt %zu\n", step, first + 1);
            workers[first].interrupt();
        } else {
            const size_t who = workers[first].busy() ? 1 - first : first;
            std::printf("%ld worker %zu\n", step, who + 1);
            workers[who].command(seed);
            if (workers[who].settle()) std::printf("%zu: sleeps\n", who + 1);
        }
        for (Worker& each : workers) each.settle();
    }
    for (Worker& each : workers) each.end();
}

}  // namespace

int main(int argc, char** argv) {
    uint64_t seed = 1;
    long steps = 3000, processes = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string option = argv[i];
        const long value = std::atol(argv[i + 1]);
        if (option == "--seed")
            seed = static_cast<uint64_t>(value);
        else if (option == "--steps")
            steps = value;
        else if (option == "--processes")
            processes = value;
        else
            argc = 0;
    }
    if (argc % 2 == 0 || (processes != 1 && processes != 2)) {
        std::fputs("usage: random_mq [--seed N] [--steps M] [--processes 1|2]\n", stderr);
        return 2;
    }
    alarm(300);
    begin_run();
    require_queues();
    Random random(seed * 1000003);
    if (processes == 1)
        run_alone(random, steps);
    else
        run_two(random, steps);
    for (char letter = 'a'; letter <= 'd'; ++letter) mq_unlink(name(letter));
    return 0;
}
