// Undo: takes from several semaphores and gives back, all with SEM_UNDO: alone, in vectors, by wait-for-zero, with time-outs, in
// threads that end, over exec. Nobody holds anything while he waits for more, so nobody waits for ever.
#include <pthread.h>
#include <sched.h>
#include <cerrno>
#include "torture_board.hpp"
#include "torture_library.hpp"

namespace muster::test::torture {
namespace {

using Ops = std::vector<sembuf>;
constexpr short U = SEM_UNDO;

class Borrower {
public:
    explicit Borrower(const Place& place) : place_(place), id_(place.objects.set), random_(place.seed) {}
    [[noreturn]] void work() {
        const unsigned manner = random_.below(6);
        for (;;) {
            place_.rest(place_.desk.paused);
            if (manner != 0) {
                borrow(manner == 1);
                continue;
            }
            pthread_t thread;  // each thread arms anew what its forerunner's end has marked
            const auto body = [](void* self) -> void* { return static_cast<Borrower*>(self)->borrow(false), nullptr; };
            if (pthread_create(&thread, nullptr, body, this) != 0) place_.fail("no thread");
            pthread_join(thread, nullptr);
            ++place_.board.thread_exits;
        }
    }

private:
    void operate(Ops& ops) {
        while (library().semop(id_, ops.data(), ops.size()) != 0)
            if (errno != EINTR) place_.fail("semop");
    }
    void choose(Ops& take, Ops& give) {
        if (random_.once_in(5)) {
            take = {{4, 0, 0}, {4, 1, U}};
            give = {{4, -1, U}};
            return;
        }
        const unsigned more = random_.below(3), first = random_.below(4);
        for (unsigned i = 0; i <= more; ++i) {
            const auto number = static_cast<unsigned short>((first + i) % 4);
            const auto amount = static_cast<short>(1 + random_.below(kFirstValues[number]));
            take.push_back({number, static_cast<short>(-amount), U});
            give.push_back({number, amount, U});
        }
    }
    void borrow(bool may_start_anew) {
        Ops take, give;
        choose(take, give);
        if (random_.once_in(4)) {
            const timespec limit{0, static_cast<long>(random_.below(2'000'000))};
            if (library().semtimedop(id_, take.data(), take.size(), &limit) != 0) {
                if (errno != EAGAIN && errno != EINTR) place_.fail("semtimedop");
                return;
            }
        } else {
            operate(take);
        }
        if (random_.once_in(3)) sched_yield();
        if (may_start_anew && give.front().sem_op > 0 && random_.once_in(20)) {
            std::string text = "undo " + std::to_string(id_);
            for (const sembuf& op : give) text += " " + std::to_string(op.sem_num) + " " + std::to_string(op.sem_op);
            start_anew(place_, text);
        }
        if (random_.once_in(2)) {
            operate(give);
        } else {
            for (const sembuf& op : give) {
                Ops one = {op};
                operate(one);
            }
        }
        ++place_.desk.done;
    }

    const Place& place_;
    const int id_;
    Random random_;
};

}  // namespace

void borrow_for_ever(const Place& place) { Borrower(place).work(); }

}  // namespace muster::test::torture
