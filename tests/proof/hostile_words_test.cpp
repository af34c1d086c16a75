// Somebody writes into the very word that a sleeper sleeps on. Proved, for POSIX queues, System V queues and semaphore sets, and for each
// state that a word can name, with and without the bits above it: a call with a time-out is over soon after it, and one that
// is interrupted ends: no sleeper goes round and round looking at a word that says what nobody would have told it. And: an object into
// which another's identifier was written does not lead those who come by its key to that other one.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <climits>
#include "objects/queue_layout.hpp"
#include "objects/semaphore_set_layout.hpp"
#include "proof/hostile_bytes.hpp"
#include "proof/hostile_controls.hpp"
#include "support/proof.hpp"
#include "sync/actor_layout.hpp"

namespace {

using namespace muster::test;
using namespace muster::test::hostile;
namespace objects = muster::objects;
namespace sync = muster::sync;

constexpr key_t kKey = 0x51ab;
constexpr long kTimeoutMs = 60;

timespec later() {
    timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += kTimeoutMs * 1'000'000;
    if (at.tv_nsec >= 1'000'000'000) at.tv_nsec -= 1'000'000'000, ++at.tv_sec;
    return at;
}
// msgrcv has no time-out: a handler that is installed through the library ends it.
void interrupt_later() {
    using Sigaction = int (*)(int, const struct sigaction*, struct sigaction*);
    auto* install = reinterpret_cast<Sigaction>(dlsym(dlopen(MUSTER_POSIX_LIBRARY, RTLD_NOW | RTLD_LOCAL), "sigaction"));
    struct sigaction nothing {};
    nothing.sa_handler = [](int) {};
    install(SIGALRM, &nothing, nullptr);
    const itimerval then{{0, 20'000}, {0, kTimeoutMs * 1000}};
    setitimer(ITIMER_REAL, &then, nullptr);
}

struct Kind {
    const char* name;
    const char* file;
    std::uint64_t (*actors_at)(const ImageFile& file);
    int (*make)();
    void (*wait)();
};
const Kind kKinds[] = {
    {"mq_timedreceive", "/mq/victim", [](const ImageFile& f) { return f.get<objects::QueueGeometry>(offsetof(objects::QueueHeader, geometry)).actors_offset; },
     [] { return library().mq_open("/victim", O_RDWR | O_CREAT, 0600, nullptr) < 0 ? 1 : 0; },
     [] {
         static char text[8192];
         const timespec until = later();
         (void)library().mq_timedreceive(library().mq_open("/victim", O_RDWR), text, sizeof text, nullptr, &until);
     }},
    {"msgrcv", "/sysv/msg-0", [](const ImageFile& f) { return f.get<objects::QueueGeometry>(offsetof(objects::QueueHeader, geometry)).actors_offset; },
     [] { return library().msgget(kKey, IPC_CREAT | 0600) < 0 ? 1 : 0; },
     [] {
         static MessageText text;
         const int id = library().msgget(kKey, 0);
         interrupt_later();
         (void)library().msgrcv(id, &text, sizeof text.text, 0, 0);
     }},
    {"semtimedop", "/sysv/sem-0", [](const ImageFile& f) { return f.get<objects::SemaphoreHeader>(0).actors_offset; },
     [] { return library().semget(kKey, 2, IPC_CREAT | 0600) < 0 ? 1 : 0; },
     [] {
         sembuf down{0, -1, 0};
         const timespec time{0, kTimeoutMs * 1'000'000};
         (void)library().semtimedop(library().semget(kKey, 0, 0), &down, 1, &time);
     }},
};

TEST(HostileWords, ASleepersOwnWord) {
    unsigned tried = 0;
    for (const Kind& kind : kKinds) {
        const OwnDomain domain;
        ASSERT_EQ(Controls::in_a_child(kind.make), 0) << kind.name;
        ImageFile file(domain.path() + kind.file);
        file.take();
        for (std::uint32_t state = 0; state < 8; ++state)
            for (const std::uint32_t above : {0u, sync::kActorWord, 0xffff'fff8u, 0x4000'0000u, kWaiters | kNoSuchThread}) {
                if (!long_form() && (state + above / 8) % 4 != 0 && above != 0) continue;
                SCOPED_TRACE(std::string(kind.name) + ": state " + std::to_string(state) + ", above it " + std::to_string(above));
                file.restore();
                Child sleeper(kind.wait);
                const std::uint64_t word = kind.actors_at(file) + offsetof(sync::Actor, word);
                ASSERT_TRUE(eventually([&] { return sleeper.ended() || sync::state_of(file.get<std::uint32_t>(word)) == sync::ActorState::asleep; }));
                file.put(word, above | state);
                syscall(SYS_futex, file.at(word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
                ASSERT_TRUE(sleeper.ends()) << "goes on for ever";
                EXPECT_TRUE(sleeper.exited()) << "status " << sleeper.status();
                ++tried;
            }
    }
    figure("hostile_words", "%u words written under a sleeper, each call over in time", tried);
}

TEST(HostileWords, AnothersIdentifier) {
    const OwnDomain domain;
    ASSERT_TRUE(Controls::make());  // identifiers 0
    ASSERT_EQ(Controls::in_a_child([] {
        return library().semget(kKey, 2, IPC_CREAT | 0600) >= 0 && library().msgget(kKey, IPC_CREAT | 0600) >= 0 && library().shmget(kKey, 5000, IPC_CREAT | 0600) >= 0 ? 0 : 1;
    }), 0);
    constexpr std::uint64_t kIdentifier = 92, kRemoved = 88;  // docs/formats/sysv.md
    for (const char* kind : {"sem", "msg", "shm"})
        for (const std::uint32_t removed : {0u, 8u}) {  // and one that is neither removed nor there
            SCOPED_TRACE(std::string(kind) + ", removed " + std::to_string(removed));
            const ImageFile file(domain.path() + "/sysv/" + kind + "-1");
            ASSERT_EQ(file.get<std::uint32_t>(kIdentifier), 1u);
            file.put(kIdentifier, std::uint32_t{0});
            file.put(kRemoved, removed);
            EXPECT_EQ(Controls::in_a_child([&] {
                const Library& l = library();
                const int id = kind[0] == 'm' ? l.msgget(kKey, 0) : kind[1] == 'e' ? l.semget(kKey, 0, 0) : l.shmget(kKey, 0, 0);
                return id == -1 ? errno : 99;
            }), EINVAL);
            file.put(kIdentifier, std::uint32_t{1});
            file.put(kRemoved, std::uint32_t{0});
        }
    EXPECT_EQ(Controls::check(), 0);
}

}  // namespace
