// Processes, who runs when, and what happens to them. See machine.hpp.
#include "machine.hpp"
#include <sys/mman.h>
#include <algorithm>
#include <cstring>
#include "fiber.hpp"

namespace muster::simulated {
namespace {

constexpr std::uint64_t kPointsMost = 60'000;  // of a schedule that comes to no end
constexpr unsigned kVainMost = 2;

Machine the_machine;

}  // namespace

Machine& machine() {
    return the_machine;
}

Machine::Machine() : arena_(1 << 20) {
    for (Process& process : processes_)
        process.stack =
            static_cast<std::byte*>(mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

// ---- a schedule ----

void Machine::prepare(Process& process, unsigned number, const std::function<void()>& body) {
    process.number = number;
    process.state = Process::State::ready;
    process.idle = process.killed = process.timed = process.interrupted = process.cancelled = false;
    process.exists = true;
    process.buffered = process.sleeping_on = process.in_vain = 0;
    process.recheck_address = nullptr;
    process.signals = 0;
    process.locks_record = false;
    process.robust_words.clear();
    process.body = body;
    process.robust = {{&process.robust.list}, -32, nullptr};  // as the C library registers it
    process.thread = {};
    process.thread.thread_id = kFirstThreadId + number;
    process.thread.generation = 100'000 + number;
    process.thread.robust = &process.robust;
    process.thread.fault_mask_known = 1;
    process.stack_pointer = fresh_stack(process.stack, &Machine::enter);
}

Machine::Ending Machine::run(const Plan& plan, const std::vector<std::function<void()>>& bodies) {
    platform::current_thread();
    plan_ = plan;
    random_ = test::Random(plan.seed);
    count_ = static_cast<unsigned>(bodies.size());
    step_ = switch_at_ = orders_ = 0;
    now_ns_ = 1'000'000'000;
    lowest_priority_ = 0;
    stops_ = 0;
    packets_ = 0;
    reconsider_ = false;
    arena_used_ = 0;
    failure_.clear();
    traced_.clear();
    next_event_ = next_switch_ = 0;
    limit_ = kPointsMost;
    unsigned order[kProcessesMax];
    for (unsigned i = 0; i < count_; ++i) order[i] = i;
    for (unsigned i = count_; i > 1; --i) std::swap(order[i - 1], order[random_.below(i)]);
    for (unsigned i = 0; i < count_; ++i) {
        prepare(processes_[i], i, bodies[i]);
        processes_[i].priority = plan.kind == Plan::Kind::given ? -static_cast<std::int64_t>((i + count_ - plan.first) % count_)
                                                                : 1 + static_cast<std::int64_t>(order[i]);
        processes_[i].cpu = plan.cpus == Plan::Cpus::several ? i : plan.cpus == Plan::Cpus::unknown ? 0xffffffffu : 0;
    }
    events_.clear();
    const auto spread = [&](Blow blow, unsigned times) {
        for (unsigned i = 0; i < times; ++i) events_.push_back({1 + random_.below(plan.length), blow});
    };
    if (plan.kind == Plan::Kind::priorities) spread(Blow::preempt, plan.preemptions);
    if (plan.weak && plan.kind != Plan::Kind::given) spread(Blow::visible, 2);
    spread(Blow::kill, plan.kills);
    spread(Blow::interrupt, plan.interrupts);
    spread(Blow::cancel, plan.cancels);
    spread(Blow::stop, plan.stops);
    std::stable_sort(events_.begin(), events_.end(), [](const Event& a, const Event& b) { return a.step < b.step; });
    if (plan.kind == Plan::Kind::random)
        switch_at_ = 1 + random_.below(2 * plan.mean_run);
    else
        switch_at_ = plan.kind == Plan::Kind::given && !plan.switches.empty() ? plan.switches[0].step : ~0ull;
    ending_ = Ending::finished;
    set_next_event();
    main_generation_ = platform::process_generation->number;
    if (Process* first = choose()) switch_to(first);
    ++counters.schedules;
    counters.points += step_;
    return ending_;
}

bool Machine::run_alone(const std::function<void()>& body) {
    Process& process = processes_[count_];
    prepare(process, count_, body);
    process.priority = 1'000'000;
    events_.clear();
    next_event_ = 0;
    plan_.switches.clear();
    plan_.kind = Plan::Kind::priorities;
    switch_at_ = ~0ull;
    limit_ = step_ + kPointsMost;
    ++count_;
    set_next_event();
    if (Process* first = choose()) switch_to(first);
    return process.state == Process::State::finished;
}

void Machine::enter() {
    Machine& m = the_machine;
    m.current_->body();
    m.finish();
}

void Machine::finish() {
    Process& mine = *current_;
    if (mine.robust.list_op_pending != nullptr) fail("a thread ended with its death notice naming something");
    if (platform::this_thread_state.section_depth != 0) fail("a thread ended inside a section");
    flush(mine);
    exit_thread(mine);
    mine.state = Process::State::finished;
    reschedule();
    __builtin_unreachable();
}

// What the process waits for from now on is somebody else's affair.
void Machine::operation_done() {
    Process& mine = *current_;
    if (mine.recheck_address != nullptr && rescued) rescued(mine.number, mine.recheck_address, mine.recheck_changed);
    mine.recheck_address = nullptr;
    look_again();
}

// Something has happened: those who looked in vain may look once more.
void Machine::look_again() {
    for (unsigned i = 0; i < count_; ++i) processes_[i].in_vain = 0;
}

void Machine::fail(const std::string& what) {
    if (failure_.empty()) failure_ = what;
    note("FAILURE: " + what);
}

// ---- who runs ----

void Machine::set_next_event() {
    event_at_ = limit_;
    if (next_event_ < events_.size() && events_[next_event_].step < event_at_) event_at_ = events_[next_event_].step;
    if (switch_at_ < event_at_) event_at_ = switch_at_;
    if (reconsider_) event_at_ = step_ + 1;
}

void Machine::event() {
    if (current_ == nullptr) {
        set_next_event();
        return;
    }
    if (step_ >= limit_) {
        ending_ = Ending::endless;
        switch_to(nullptr);
        return;  // not before the next schedule
    }
    reconsider_ = false;
    while (next_event_ < events_.size() && events_[next_event_].step <= step_) strike(events_[next_event_++].blow);
    if (plan_.kind == Plan::Kind::given)
        while (step_ >= switch_at_) {
            const unsigned to = plan_.switches[next_switch_].to;
            switch_at_ = ++next_switch_ < plan_.switches.size() ? plan_.switches[next_switch_].step : ~0ull;
            if (to >= 256)
                kill(processes_[to - 256]);
            else
                current_->priority = --lowest_priority_ - kProcessesMax;
        }
    for (unsigned i = 0; i < count_; ++i)
        if (&processes_[i] != current_) processes_[i].idle = false;
    reschedule();
    if (plan_.kind == Plan::Kind::random && step_ >= switch_at_) switch_at_ = step_ + 1 + random_.below(2 * plan_.mean_run);
    set_next_event();
}

void Machine::strike(Blow blow) {
    switch (blow) {
        case Blow::preempt:
            current_->priority = --lowest_priority_ - kProcessesMax;
            return;
        case Blow::visible:
            make_late_stores_visible();
            return;
        default:
            break;
    }
    if (blow == Blow::kill) {
        Process& victim = processes_[random_.below(count_)];
        if (victim.state == Process::State::ready || victim.state == Process::State::asleep ||
            victim.state == Process::State::stopped)
            kill(victim);
        return;
    }
    // The others come to who sleeps in a call; later, if nobody does.
    unsigned candidates = 0;
    Process* victim = nullptr;
    for (unsigned i = 0; i < count_; ++i)
        if (processes_[i].state == Process::State::asleep && processes_[i].thread.sleeping != nullptr &&
            random_.below(++candidates) == 0)
            victim = &processes_[i];
    if (victim == nullptr) {
        if (step_ > 4 * plan_.length) return;
        const Event later{step_ + 1 + random_.below(30), blow};
        events_.insert(std::upper_bound(events_.begin() + static_cast<std::ptrdiff_t>(next_event_), events_.end(), later,
                                        [](const Event& a, const Event& b) { return a.step < b.step; }),
                       later);
        return;
    }
    forgive_rechecks();
    switch (blow) {
        case Blow::interrupt:
        case Blow::cancel:
            (blow == Blow::interrupt ? victim->interrupted : victim->cancelled) = true;
            ++(blow == Blow::interrupt ? counters.interrupts : counters.cancels);
            record(blow == Blow::interrupt ? "a signal comes to" : "cancelled:", nullptr, victim->number, 0, nullptr);
            become_ready(*victim, -EINTR);
            return;
        case Blow::stop:
            // Off its futex; on it again when it is continued.
            victim->state = Process::State::stopped;
            ++counters.stops;
            ++stops_;
            record("stopped:", nullptr, victim->number, 0, nullptr);
            return;
        default:
            return;
    }
}

// Something came from outside: whoever is looking again gets on because of that, perhaps.
void Machine::forgive_rechecks() {
    for (unsigned i = 0; i < count_; ++i)
        if (!processes_[i].recheck_changed) processes_[i].recheck_address = nullptr;
}

void Machine::kill(Process& victim) {
    if (victim.killed || victim.state == Process::State::finished || victim.state == Process::State::gone) return;
    record("killed:", nullptr, victim.number, 0, nullptr);
    flush(victim);
    victim.killed = true;
    victim.state = Process::State::dying;
    victim.sleeping_on = 0;
    ++counters.kills;
}

void Machine::reschedule() {
    Process* next = choose();
    if (next != current_) switch_to(next);
}

Process* Machine::choose_ready() {
    Process* best = nullptr;
    unsigned candidates = 0;
    for (unsigned i = 0; i < count_; ++i) {
        Process& each = processes_[i];
        if ((each.state != Process::State::ready && each.state != Process::State::dying) || each.idle) continue;
        if (plan_.kind == Plan::Kind::random) {
            if (random_.below(++candidates) == 0) best = &each;
        } else if (best == nullptr || each.priority > best->priority) {
            best = &each;
        }
    }
    return best;
}

Process* Machine::choose() {
    for (;;) {
        Process* best = choose_ready();
        if (best == nullptr) {
            if (wake_by_time()) continue;
            ending_ = Ending::finished;
            for (unsigned i = 0; i < count_; ++i)
                if (processes_[i].state == Process::State::asleep) ending_ = Ending::quiet;
            return nullptr;
        }
        if (best->state != Process::State::dying) return best;
        exit_thread(*best);
        best->state = Process::State::gone;
    }
}

// Nothing else can run: then time goes by.
bool Machine::wake_by_time() {
    Process* earliest = nullptr;
    Process* idle = nullptr;
    for (unsigned i = 0; i < count_; ++i) {
        Process& each = processes_[i];
        if (each.state == Process::State::asleep && each.timed && each.in_vain < kVainMost &&
            (earliest == nullptr || each.deadline_ns < earliest->deadline_ns))
            earliest = &each;
        if (each.state == Process::State::ready && each.idle) idle = &each;
    }
    if (idle != nullptr && (earliest == nullptr || earliest->deadline_ns > now_ns_)) {
        for (unsigned i = 0; i < count_; ++i) processes_[i].idle = false;
        return true;
    }
    for (unsigned i = 0; i < count_ && idle == nullptr; ++i) {
        Process& each = processes_[i];
        if (each.state != Process::State::stopped) continue;
        forgive_rechecks();
        record("continued:", nullptr, each.number, 0, nullptr);
        each.state = Process::State::ready;
        each.result = -ERESTART;
        return true;
    }
    if (earliest == nullptr) return false;
    if (earliest->deadline_ns > now_ns_) now_ns_ = earliest->deadline_ns;
    ++counters.rechecks;
    earliest->recheck_address = earliest->sleeps[0].address;
    earliest->recheck_expected = earliest->sleeps[0].expected;
    earliest->recheck_changed = *const_cast<volatile std::uint32_t*>(earliest->recheck_address) != earliest->recheck_expected;
    record("time is over for", nullptr, earliest->number, 0, nullptr);
    become_ready(*earliest, -ETIMEDOUT);
    return true;
}

void Machine::switch_to(Process* next) {
    Process* from = current_;
    if (from == next) return;
    void* abandoned = nullptr;
    if (plan_.weak) make_late_stores_visible();
    if (from != nullptr)
        from->thread = platform::this_thread_state;
    else
        main_thread_ = platform::this_thread_state;
    ++counters.switches;
    current_ = next;
    platform::this_thread_state = next != nullptr ? next->thread : main_thread_;
    platform::process_generation->number = next != nullptr ? next->thread.generation : main_generation_;
    void** save = from == nullptr                       ? &main_stack_pointer_
                  : from->state == Process::State::gone ? &abandoned
                                                        : &from->stack_pointer;
    switch_stacks(save, next != nullptr ? next->stack_pointer : main_stack_pointer_);
}

void Machine::become_ready(Process& process, long result) {
    process.state = Process::State::ready;
    process.sleeping_on = 0;
    process.result = result;
    // The one that runs may not be the one to run any more.
    if (current_ != nullptr && plan_.kind != Plan::Kind::random && process.priority > current_->priority) {
        reconsider_ = true;
        set_next_event();
    }
}

long Machine::yield() {
    Process& mine = *current_;
    flush(mine);
    now_ns_ += 2'000;
    mine.idle = true;
    if (plan_.kind != Plan::Kind::random) mine.priority = --lowest_priority_ - kProcessesMax;
    reschedule();
    return 0;
}

void Machine::pause() {
    if (plan_.pauses_yield) {
        current_->idle = true;
        if (plan_.kind != Plan::Kind::random) current_->priority = --lowest_priority_ - kProcessesMax;
        reschedule();
    } else {
        point();
    }
}

std::uint32_t Machine::cpu() {
    return plan_.cpus == Plan::Cpus::wandering ? random_.below(2) : current_->cpu;
}

bool Machine::thread_exists(std::uint32_t id) const {
    return id >= kFirstThreadId && id < kFirstThreadId + count_ && processes_[id - kFirstThreadId].exists;
}
bool Machine::thread_stopped(std::uint32_t id) const {
    return !thread_exists(id) || processes_[id - kFirstThreadId].state == Process::State::stopped;
}

// Memory that is gone with the schedule, since the dead give none back.
void* Machine::allocate(std::size_t bytes) {
    bytes = (bytes + 4095) & ~std::size_t{4095};
    if (arena_used_ + bytes > arena_.size()) return nullptr;
    void* got = arena_.data() + arena_used_;
    arena_used_ += bytes;
    std::memset(got, 0, bytes);
    return got;
}

}  // namespace muster::simulated
