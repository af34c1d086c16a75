// muster demo crash: what becomes of a message whose receiver is killed as it arrives, on the kernel's queues and on ours.
#include <fcntl.h>
#include <fmt/format.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include "command.hpp"
#include "ephemeral.hpp"
#include "muster/message_queue.hpp"
#include "muster/typed_queue.hpp"
#include "output.hpp"
#include "report.hpp"

namespace muster::cli {
namespace {

// One kind of queue: send never waits; receive waits, or says at once that there is nothing.
struct Kind {
    std::string name;
    std::function<bool(int round)> send;
    std::function<bool(bool wait, int& round)> receive;
    std::function<void()> remove;
    std::string missing;  // why there is none here
};

struct Outcome {
    std::string name;
    unsigned rounds = 0, received = 0, kept = 0, lost = 0;
    std::string missing;
};

Kind kernel_posix() {
    const std::string name = fmt::format("/muster-demo-{}", getpid());
    mq_attr wanted{};
    wanted.mq_maxmsg = 1;
    wanted.mq_msgsize = sizeof(int);
    const mqd_t queue = mq_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600, &wanted);
    if (queue == static_cast<mqd_t>(-1)) return {"kernel, POSIX queue", {}, {}, {}, std::strerror(errno)};
    const timespec past{};
    return {"kernel, POSIX queue", [=](int round) { return mq_send(queue, reinterpret_cast<const char*>(&round), sizeof round, 0) == 0; },
            [=](bool wait, int& round) {
                auto* buffer = reinterpret_cast<char*>(&round);
                return (wait ? mq_receive(queue, buffer, sizeof round, nullptr) : mq_timedreceive(queue, buffer, sizeof round, nullptr, &past)) ==
                       sizeof round;
            },
            [=] {
                mq_close(queue);
                mq_unlink(name.c_str());
            },
            ""};
}

Kind kernel_system_v() {
    struct Text {
        long type;
        int round;
    };
    const int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
    if (id == -1) return {"kernel, System V queue", {}, {}, {}, std::strerror(errno)};
    return {"kernel, System V queue",
            [=](int round) {
                const Text text{1, round};
                return msgsnd(id, &text, sizeof round, IPC_NOWAIT) == 0;
            },
            [=](bool wait, int& round) {
                Text text{};
                const bool got = msgrcv(id, &text, sizeof round, 0, wait ? 0 : IPC_NOWAIT) == sizeof round;
                round = text.round;
                return got;
            },
            [=] { msgctl(id, IPC_RMID, nullptr); }, ""};
}

// A queue of ours; the two classes differ in what stands between message and deadline.
template <class Queue, class Send>
Kind ours(std::string name, std::shared_ptr<Queue> queue, Send send, std::function<void()> remove) {
    return {std::move(name), [=](int round) { return send(*queue, std::as_bytes(std::span<const int, 1>(&round, 1))); },
            [=](bool wait, int& round) {
                auto got = wait ? queue->receive() : queue->try_receive();
                if (!got || got->bytes.size() != sizeof round) return false;
                std::memcpy(&round, got->bytes.data(), sizeof round);
                return true;
            },
            std::move(remove), ""};
}

char state_of(pid_t pid) {
    std::ifstream file(fmt::format("/proc/{}/stat", pid));
    std::string text;
    std::getline(file, text);
    const std::size_t end = text.rfind(')');
    return end != std::string::npos && end + 2 < text.size() ? text[end + 2] : 0;
}

Outcome try_kind(const Kind& kind, unsigned rounds) {
    Outcome outcome{kind.name, rounds, 0, 0, 0, kind.missing};
    if (!kind.missing.empty()) return outcome;
    auto* received = static_cast<std::atomic<int>*>(mmap(nullptr, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    if (received == MAP_FAILED) fail(kError, "out of memory");
    for (int round = 1; round <= static_cast<int>(rounds); ++round) {
        received->store(0);
        const pid_t child = fork();
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            const sched_param none{};
            sched_setscheduler(0, SCHED_IDLE, &none);  // runs when nobody else wants to: not before it is killed
            int got = 0;
            if (kind.receive(true, got)) received->store(got);
            for (;;) pause();
        }
        if (child < 0) fail(kError, fmt::format("no process can be started: {}", std::strerror(errno)));
        while (state_of(child) != 'S') usleep(100);
        const bool sent = kind.send(round);
        kill(child, SIGKILL);
        waitpid(child, nullptr, 0);
        if (!sent) fail(kError, fmt::format("{}: a message could not be sent", kind.name));
        int left = 0;
        if (received->load() == round) ++outcome.received;
        else if (kind.receive(false, left) && left == round) ++outcome.kept;
        else ++outcome.lost;
    }
    munmap(received, sizeof(int));
    return outcome;
}

int demo_crash(unsigned rounds, const Global& global) {
    // On one CPU the receiver is killed before it can run: the moment that matters, every time.
    cpu_set_t before, one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<unsigned>(sched_getcpu()), &one);
    const bool pinned = sched_getaffinity(0, sizeof before, &before) == 0 && sched_setaffinity(0, sizeof one, &one) == 0;

    const Domain domain = require(Domain::create_ephemeral(), Doing::opening_domain, global);
    record_owner(domain);  // should we be killed, `muster gc` knows whose it was
    auto jobs = std::make_shared<MessageQueue>(require(MessageQueue::create(domain, "/demo", {1, sizeof(int), 0600}), Doing::making, global));
    auto typed = std::make_shared<TypedQueue>(require(TypedQueue::create(domain, Key::none()), Doing::making, global));
    const Kind kinds[] = {
        kernel_posix(), kernel_system_v(),
        ours("Muster, POSIX queue", jobs, [](MessageQueue& queue, auto bytes) { return static_cast<bool>(queue.try_send(bytes)); }, [] {}),
        ours("Muster, System V queue", typed, [](TypedQueue& queue, auto bytes) { return static_cast<bool>(queue.try_send(bytes, 1)); }, [] {})};
    std::vector<Outcome> outcomes;
    std::exception_ptr failed;
    for (const Kind& kind : kinds) {
        try {
            if (!failed) outcomes.push_back(try_kind(kind, rounds));
        } catch (...) {
            failed = std::current_exception();
        }
        if (kind.remove) kind.remove();
    }
    (void)domain.remove();
    if (pinned) sched_setaffinity(0, sizeof before, &before);
    if (failed) std::rethrow_exception(failed);

    bool ours_lost = false;
    Json list = Json::array();
    std::string text = fmt::format("A message is sent to a process that waits for it, and the process is killed at once: {} times.\n\n"
                                   "{:<24}{:>10}{:>12}{:>8}\n", rounds, "", "received", "in queue", "LOST");
    for (const Outcome& one : outcomes) {
        ours_lost = ours_lost || (one.name.starts_with("Muster") && one.lost != 0);
        if (one.missing.empty()) {
            list.push_back({{"queue", one.name}, {"rounds", one.rounds}, {"received", one.received}, {"kept", one.kept}, {"lost", one.lost}});
            text += fmt::format("{:<24}{:>10}{:>12}{:>8}\n", one.name, one.received, one.kept, one.lost);
        } else {
            list.push_back({{"queue", one.name}, {"missing", one.missing}});
            text += fmt::format("{:<24}  none here: {}\n", one.name, one.missing);
        }
    }
    print(global.json ? dump(list) : text);
    return ours_lost ? kError : kOk;
}

}  // namespace

void add_demo(Registry& registry) {
    auto rounds = std::make_shared<unsigned>(300);
    CLI::App* command = registry.add("demo", "Show what sets Muster apart",
                                     "  muster demo crash\n"
                                     "  muster demo crash --rounds 1000 --json\n"
                                     "crash: sends to a process that waits and kills it as the message arrives, on the kernel's queues and on\n"
                                     "Muster's, and counts what became of the messages. Ends with 1 if Muster lost one.");
    command->require_subcommand(1);
    CLI::App* crash = command->add_subcommand("crash", "Kill receivers as their message arrives");
    crash->fallthrough();
    crash->add_option("--rounds", *rounds, "How many receivers to kill")->type_name("N")->check(CLI::Range(1u, 1'000'000u));
    registry.actions.emplace_back(crash, [rounds, &registry] { return demo_crash(*rounds, registry.global); });
}

}  // namespace muster::cli
