#include "tests/proof/order_rounds.hpp"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <algorithm>
#include <cerrno>
#include <climits>
#include <ctime>

namespace muster::test::order {
namespace {

constexpr std::uint64_t kRoundsWithOneObject = 32;
constexpr int kMostHelp = 18;  // then who still sleeps is killed, to keep the history short enough for the search

void sleep_on(std::atomic<std::uint32_t>& word, std::uint32_t value, const timespec* longest = nullptr) {
    syscall(SYS_futex, &word, FUTEX_WAIT, value, longest, nullptr, 0);
}
void wake_all(std::atomic<std::uint32_t>& word) {
    syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

// From an eighth of a microsecond to an eighth of a millisecond, each scale as often.
std::int32_t some_time_ns(Random& random) {
    return static_cast<std::int32_t>((128U + random.below(128)) << random.below(10));
}

// A signal to this process after some time.
class Alarm {
public:
    explicit Alarm(int signal) {
        sigevent event{};
        event.sigev_notify = SIGEV_SIGNAL;
        event.sigev_signo = signal;
        if (timer_create(CLOCK_MONOTONIC, &event, &timer_) != 0) _exit(3);
    }
    Alarm(const Alarm&) = delete;
    void set(std::int32_t after_ns) {
        const itimerspec when{{0, 0}, {0, after_ns}};
        timer_settime(timer_, 0, &when, nullptr);
    }

private:
    timer_t timer_{};
};

}  // namespace

Rounds::Rounds(const Calls& calls, Object object, bool kernel)
    : calls_(calls), maker_(calls, arena_->target, object, kernel), hands_(calls, arena_->target) {
    for (int i = 0; i < kMostWorkers; ++i) employ(i);
}

Rounds::~Rounds() = default;

void Rounds::employ(int worker) {
    const std::uint32_t seen = arena_->round.load();
    workers_[static_cast<std::size_t>(worker)] = Child([this, worker, seen] { work(worker, seen); });
}

// A worker's whole life.
void Rounds::work(int worker, std::uint32_t seen) {
    Hands hands(calls_, arena_->target);
    Desk& desk = arena_->desks[worker];
    Alarm death(SIGKILL), standstill(SIGSTOP);
    for (;;) {
        while (arena_->round.load() == seen) sleep_on(arena_->round, seen);
        seen = arena_->round.load();
        if (desk.length == 0) continue;
        hands.reach();
        // All begin together, as far as there are CPUs.
        arena_->arrived.fetch_add(1);
        while (arena_->arrived.load() < arena_->participants) sched_yield();
        std::atomic_ref(desk.armed).store(arena_->target.clock.fetch_add(1) + 1);
        if (desk.killed_after_ns > 0) death.set(desk.killed_after_ns);
        if (desk.stopped_after_ns > 0) standstill.set(desk.stopped_after_ns);
        for (int i = 0; i < desk.length; ++i) hands.perform(desk.script[i]);
        standstill.set(0);
        if (desk.killed_after_ns > 0) raise(SIGKILL);
        desk.finished.store(seen);
        arena_->finished.fetch_add(1);
        wake_all(arena_->finished);
    }
}

void Rounds::write_scripts(Random& random) {
    participants_ = 3 + static_cast<int>(random.below(kMostWorkers - 2));
    const int longest = std::min(kMostCalls, 24 / participants_);
    for (int i = 0; i < kMostWorkers; ++i) {
        Desk& desk = arena_->desks[i];
        desk.length = 0;
        if (i >= participants_) continue;
        const int length = 3 + static_cast<int>(random.below(static_cast<unsigned>(longest - 2)));
        const std::vector<Operation> script = make_script(arena_->target.setup, i, length, random);
        std::copy(script.begin(), script.end(), desk.script);
        desk.length = length;
    }
}

void Rounds::choose_victims(Random& random) {
    for (Desk& desk : arena_->desks) desk.killed_after_ns = desk.stopped_after_ns = 0;
    const auto somebody = [&] { return static_cast<int>(random.below(static_cast<unsigned>(participants_))); };
    if (random.once_in(4))
        for (unsigned left = random.once_in(4) ? 2 : 1; left > 0; --left) {
            const int worker = somebody();
            if (!alive(worker)) continue;
            victims_.push_back({worker, 0, 0});
            arena_->desks[worker].killed_after_ns = some_time_ns(random);
            // Without rests it is nearly always in a call.
            for (Operation& o : arena_->desks[worker].script) o.pause = 0;
            ++tally_.kills;
        }
    if (random.once_in(2))
        for (unsigned left = 1 + random.below(2); left > 0; --left)
            arena_->desks[somebody()].stopped_after_ns = some_time_ns(random);
}

void Rounds::start() {
    arena_->target.clock.store(0);
    arena_->participants.store(static_cast<std::uint32_t>(participants_));
    arena_->arrived.store(0);
    arena_->finished.store(0);
    for (Desk& desk : arena_->desks) desk.armed = 0;
    arena_->round.fetch_add(1);
    wake_all(arena_->round);
}

bool Rounds::alive(int worker) const {
    return std::none_of(victims_.begin(), victims_.end(), [worker](const Victim& victim) { return victim.worker == worker; });
}

void Rounds::kill_one(int worker) {
    Victim victim{worker, arena_->target.clock.fetch_add(1) + 1, 0};
    workers_[static_cast<std::size_t>(worker)].kill(SIGKILL);
    wait_for(victim);
    victims_.push_back(victim);
    ++tally_.kills;
}

void Rounds::wait_for(Victim& victim) {
    if (victim.returned != 0) return;
    Child& child = workers_[static_cast<std::size_t>(victim.worker)];
    // Its timer kills it; were it asleep before that is armed, nothing would.
    if (!child.ends()) {
        child.kill(SIGKILL);
        child.ends();
    }
    victim.returned = arena_->target.clock.fetch_add(1) + 1;
}
void Rounds::wait_for_victims() {
    for (Victim& victim : victims_) wait_for(victim);
}

// Whoever stands still goes on.
void Rounds::let_go_on() {
    for (int i = 0; i < participants_; ++i) {
        const Child& child = workers_[static_cast<std::size_t>(i)];
        if (!alive(i) || arena_->desks[i].stopped_after_ns == 0 || process_state(child.pid()) != 'T') continue;
        child.kill(SIGCONT);
        ++tally_.stops;
    }
}

// It begins at the latest moment at which the process is known to have lived: it has written that moment itself, or was killed
// then.
Operation Rounds::death_of(const Victim& victim) const {
    const Desk& desk = arena_->desks[victim.worker];
    Operation death;
    death.call = Call::death;
    death.process = victim.worker;
    death.invoked = std::max(victim.invoked, desk.armed);
    for (int i = 0; i < desk.length; ++i)
        death.invoked = std::max({death.invoked, desk.script[i].invoked, desk.script[i].returned});
    death.returned = victim.returned;
    return death;
}

bool Rounds::all_finished() const {
    for (int i = 0; i < participants_; ++i)
        if (alive(i) && arena_->desks[i].finished.load() != arena_->round.load()) return false;
    return true;
}

std::uint64_t Rounds::progress() const {
    std::uint64_t ended = 0;
    for (int i = 0; i < participants_; ++i)
        for (int k = 0; k < arena_->desks[i].length; ++k)
            if (std::atomic_ref(arena_->desks[i].script[k].returned).load() != 0) ++ended;
    return ended;
}

// If all that have not finished sleep, each in a call: one of these calls.
const Operation* Rounds::asleep_in() const {
    // With the other objects no call waits for another one: if it sleeps, then in the kernel, for a moment.
    if (arena_->target.setup.object > Object::semaphores) return nullptr;
    const Operation* sleeping = nullptr;
    for (int i = 0; i < participants_; ++i) {
        Desk& desk = arena_->desks[i];
        if (!alive(i) || desk.finished.load() == arena_->round.load()) continue;
        if (!workers_[static_cast<std::size_t>(i)].asleep()) return nullptr;
        const Operation* in = nullptr;
        for (int k = 0; k < desk.length && in == nullptr; ++k)
            if (std::atomic_ref(desk.script[k].invoked).load() != 0 && std::atomic_ref(desk.script[k].returned).load() == 0)
                in = &desk.script[k];
        if (in == nullptr) return nullptr;
        sleeping = in;
    }
    return sleeping;
}

// Until all have finished, with help for sleepers. False if somebody does not go on although he must.
bool Rounds::finish() {
    const timespec moment{0, 300'000};
    std::uint64_t last = progress();
    bool must_go_on = false;
    auto since = std::chrono::steady_clock::now();
    for (int tries = 0; !all_finished();) {
        const std::uint32_t seen = arena_->finished.load();
        if (all_finished()) break;
        sleep_on(arena_->finished, seen, &moment);
        const std::uint64_t now = progress();
        if (now != last) {
            last = now;
            let_go_on();
            must_go_on = false;
            since = std::chrono::steady_clock::now();
            continue;
        }
        if (std::chrono::steady_clock::now() - since > kPatience) return false;
        let_go_on();
        const Operation* sleeping = asleep_in();
        if (sleeping == nullptr || must_go_on || progress() != last) continue;
        if (tries >= kMostHelp) {
            for (int i = 0; i < participants_; ++i)
                if (alive(i) && arena_->desks[i].finished.load() != arena_->round.load()) kill_one(i);
            break;
        }
        // The last moment of the dead: what helps a sleeper could still become theirs.
        wait_for_victims();
        Help help = help_for(arena_->target.setup, *sleeping, tries++);
        hands_.perform(help.operation);
        helper_.push_back(help.operation);
        const int error = help.operation.error;
        // A message less makes no room if a dead receiver has given one back meanwhile.
        const bool makes_way = help.operation.call != Call::receive || victims_.empty();
        must_go_on =
            (error == 0 && help.frees_if_done && makes_way) || ((error == ENOMSG || error == EAGAIN) && help.frees_if_empty);
        ++tally_.helped;
        since = std::chrono::steady_clock::now();
    }
    return true;
}

void Rounds::collect(History& history) {
    history.setup = arena_->target.setup;
    history.operations.clear();
    for (int i = 0; i < participants_; ++i)
        for (int k = 0; k < arena_->desks[i].length; ++k) {
            const Operation& o = arena_->desks[i].script[k];
            if (o.invoked != 0) history.add(o);
        }
    history.operations.insert(history.operations.end(), helper_.begin(), helper_.end());
    for (const Victim& victim : victims_) {
        int pieces = 1;
        if (history.setup.kernel && history.setup.object == Object::segment)
            for (int k = 0; k < arena_->desks[victim.worker].length; ++k)
                if (arena_->desks[victim.worker].script[k].call == Call::attach) ++pieces;
        for (; pieces > 0; --pieces) history.add(death_of(victim));
    }
    std::sort(history.operations.begin(), history.operations.end(),
              [](const Operation& a, const Operation& b) { return a.invoked < b.invoked; });
    // See SegmentModel: the kernel's own count while somebody attaches.
    for (Operation& looked : history.operations)
        for (const Operation& o : history.operations)
            if (history.setup.kernel && looked.call == Call::count && history.setup.object == Object::segment &&
                o.call == Call::attach && o.invoked < looked.returned && (o.pending() || o.returned > looked.invoked))
                ++looked.size;
    for (std::size_t i = 0; i < history.operations.size(); ++i) {
        const Operation& o = history.operations[i];
        if (o.pending()) ++tally_.pending;
        for (std::size_t k = 0; k < i; ++k)
            if (history.operations[k].pending() || history.operations[k].returned > o.invoked) {
                ++tally_.overlapping;
                break;
            }
    }
    tally_.operations += history.operations.size();
    ++tally_.rounds;
}

bool Rounds::run(std::uint64_t seed, std::uint64_t round, History& history) {
    arena_->target.setup.seed = seed;
    Random of_object(seed * 1'000'003 + round / kRoundsWithOneObject * 64 +
                     static_cast<std::uint64_t>(arena_->target.setup.object));
    Random random(seed * 1'000'033 + round * 64 + static_cast<std::uint64_t>(arena_->target.setup.object));
    helper_.clear();
    victims_.clear();
    const bool anew = broken_ || round % kRoundsWithOneObject == 0;
    broken_ = true;
    if (!maker_.prepare(of_object, random, anew)) {
        trouble_ = "the object could not be made";
        return false;
    }
    hands_.reach();
    arena_->target.setup.round = round;
    write_scripts(random);
    choose_victims(random);
    // Half the time the dead are waited for at once, else when the others have finished.
    const bool wait_now = random.once_in(2);
    start();
    if (wait_now) wait_for_victims();
    const bool finished = finish();
    if (!finished)  // so that nothing is written any more while the history is read
        for (int i = 0; i < participants_; ++i)
            if (alive(i)) kill_one(i);
    wait_for_victims();
    if (finished) drain(arena_->target.setup, hands_, helper_);
    collect(history);
    for (const Victim& victim : victims_) employ(victim.worker);
    if (!finished) trouble_ = "somebody sleeps on beside what must let him go";
    broken_ = !finished;
    return finished;
}

}  // namespace muster::test::order
