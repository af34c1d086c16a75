// Killing, stopping, disturbing; seeing that all come to rest.
#include "torture_crowd.hpp"
#include <fstream>

namespace muster::test::torture {

Crowd::Crowd(Scene& scene, std::vector<Trade> trades, std::uint64_t plan)
    : scene_(scene), board_(scene.board()), trades_(std::move(trades)), random_(plan), workers_(trades_.size()), gone_(trades_.size()) {
    board_.pause = 0;
    for (unsigned i = 0; i < trades_.size(); ++i) start(i);
}

void Crowd::start(unsigned i) {
    const std::uint64_t seed = random_.next();
    gone_[i] = false;
    workers_[i] = Child([&] { live(i, seed); });
}

void Crowd::live(unsigned i, std::uint64_t seed) {
    const Place place{scene_.objects(), board_, board_.desks[i], seed};
    switch (trades_[i]) {
        case Trade::courier: carry_for_ever(place); break;
        case Trade::threads: carry_with_threads(place); break;
        case Trade::borrower: borrow_for_ever(place); break;
        case Trade::attacher: attach_for_ever(place); break;
        case Trade::namer: name_for_ever(place); break;
        case Trade::steady_plain: receive_steadily(place, 6); break;
        case Trade::steady_typed: receive_steadily(place, 7); break;
    }
}

std::uint64_t Crowd::operations() const {
    std::uint64_t sum = 0;
    for (const Desk& desk : board_.desks) {
        sum += desk.done;
        for (const Post& post : desk.posts) sum += post.done;
    }
    return sum;
}

// Not for ever: whoever was stopped may hold what all others wait for.
void Crowd::await_operations(unsigned more) const {
    const std::uint64_t target = operations() + more;
    eventually([&] { return operations() >= target; }, std::chrono::milliseconds(3));
}

unsigned Crowd::choose() {
    unsigned i = 0;
    do i = random_.below(static_cast<unsigned>(trades_.size()));
    while (steady(i));
    return i;
}

// Only to a worker that is there: to kill(2) the number of one that was waited for, -1, means every process of the machine.
void Crowd::tell(unsigned i, int signal) const {
    if (const pid_t pid = workers_[i].pid(); pid > 1) ::kill(pid, signal);
}

void Crowd::kill(unsigned i) {
    if (workers_[i].pid() <= 1) return;
    tell(i, SIGKILL);
    ++deeds_.kills;
}

// A sleeper that is stopped is passed over: what had been given to it goes back.
void Crowd::stop(unsigned i) {
    for (const Post& post : board_.desks[i].posts) {
        const std::uint32_t doing = post.doing;
        for (unsigned queue = 0; queue < kQueueCount; ++queue)
            if (doing == 0 || (doing & kQueueMask) == queue + 1) ++board_.put_backs[queue];
    }
    tell(i, SIGSTOP);
    ++deeds_.stops;
}

Complaint Crowd::act() {
    await_operations(random_.below(24));
    usleep(random_.below(400));
    const unsigned victim = choose(), deed = random_.below(100), another = choose(), meanwhile = random_.below(40);
    if (deed < 68) {
        kill(victim);
    } else if (deed < 74) {
        kill(victim);
        kill(another);
    } else if (deed < 84) {
        stop(victim);
        await_operations(meanwhile);
        tell(victim, SIGCONT);
    } else if (deed < 90) {
        stop(victim);
        await_operations(meanwhile);
        kill(victim);
    } else if (trades_[victim] == Trade::attacher || trades_[victim] == Trade::namer) {
        kill(victim);  // their calls are not made to be interrupted
    } else {
        tell(victim, SIGUSR1);
        ++deeds_.signals;
    }
    return replace_the_dead();
}

// It was killed, or ended as the program that it had become.
Complaint Crowd::ended_well(unsigned i) {
    Child& worker = workers_[i];
    Desk& desk = board_.desks[i];
    const bool well = worker.killed() || worker.exited() || (desk.anew != 0 && worker.killed(SIGUSR1));
    const std::string complaint = desk.complaint;
    scene_.take_over(desk);
    if (well) return "";
    return "worker " + std::to_string(i) + " ended with status " + std::to_string(worker.status()) + ": " + complaint + "\n";
}

Complaint Crowd::replace_the_dead() {
    for (unsigned i = 0; i < workers_.size(); ++i) {
        if (!workers_[i].ended()) continue;
        gone_[i] = true;
        if (Complaint wrong = ended_well(i); !wrong.empty()) return wrong;
        start(i);
    }
    return "";
}

bool Crowd::asleep_inside(const Post& post) { return post.doing != 0 && post.thread != 0 && process_state(post.thread) == 'S'; }

bool Crowd::at_rest(unsigned i) {
    if (gone_[i]) return true;
    const Desk& desk = board_.desks[i];
    if (desk.anew != 0) return false;  // it will end
    const auto rests = [](const Post& post) { return post.paused != 0 || post.over != 0 || asleep_inside(post); };
    switch (trades_[i]) {
        case Trade::courier:
        case Trade::steady_plain:
        case Trade::steady_typed: return rests(desk.posts[0]);
        case Trade::threads: {
            bool all = desk.paused != 0;
            for (const Post& post : desk.posts) all = all && rests(post);
            return all;
        }
        default: return desk.paused != 0;
    }
}

Complaint Crowd::rest() {
    board_.pause = 1;
    ++deeds_.rests;
    Complaint wrong;
    std::uint64_t before = ~std::uint64_t{0};
    const auto all_rest = [&] {
        for (unsigned i = 0; i < workers_.size(); ++i) {
            if (gone_[i] || !workers_[i].ended()) continue;
            wrong += ended_well(i);
            gone_[i] = true;
        }
        bool all = true;
        for (unsigned i = 0; i < workers_.size(); ++i) all = all && at_rest(i);
        const std::uint64_t now = operations();
        const bool still = all && now == before;
        before = all ? now : ~std::uint64_t{0};
        if (all && !still) usleep(4000);  // who sleeps with a deadline comes to it
        return still || !wrong.empty();
    };
    if (!eventually(all_rest)) wrong += "not all come to rest: " + states();
    if (!wrong.empty()) return wrong;
    unsigned living = 0;
    for (const bool gone : gone_) living += gone ? 0 : 1;
    wrong = look(living);
    board_.pause = 0;
    if (!wrong.empty()) return wrong;
    for (unsigned i = 0; i < workers_.size(); ++i)
        if (gone_[i]) start(i);
    return "";
}

Complaint Crowd::look(unsigned living) {
    bool trades[7] = {};
    for (const Trade trade : trades_) trades[static_cast<unsigned>(trade)] = true;
    const auto has = [&](Trade trade) { return trades[static_cast<unsigned>(trade)]; };
    Complaint all;
    if (has(Trade::courier) || has(Trade::threads)) all += scene_.queues_while_resting();
    if (has(Trade::borrower)) all += scene_.values();
    if (has(Trade::attacher)) all += scene_.attachments_while_resting(living);
    if (has(Trade::namer)) all += scene_.tokens_are_exact();
    return all;
}

std::string Crowd::states() {
    std::string text;
    for (unsigned i = 0; i < workers_.size(); ++i) {
        if (at_rest(i)) continue;
        const Desk& desk = board_.desks[i];
        text += "worker " + std::to_string(i) + " of trade " + std::to_string(static_cast<int>(trades_[i])) + " is " +
                process_state(workers_[i].pid()) + (desk.anew != 0 ? ", anew" : "") + (desk.paused != 0 ? ", paused" : "");
        for (const Post& post : desk.posts)
            if (post.thread != 0)
                text += "; doing " + std::to_string(post.doing) + (post.paused != 0 ? " paused " : " ") + process_state(post.thread);
        text += "\n";
    }
    return text;
}

// How many children there still are beside that one.
std::size_t Crowd::orphans(Child* but) {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    std::ifstream list(path);
    std::size_t count = 0;
    for (pid_t pid = 0; list >> pid;)
        if (but == nullptr || pid != but->pid()) count += waitpid(pid, nullptr, WNOHANG) != pid;
    return count;
}

Complaint Crowd::kill_all(Child* but) {
    Complaint all;
    for (unsigned i = 0; i < workers_.size(); ++i)
        if (!gone_[i]) kill(i);
    for (unsigned i = 0; i < workers_.size(); ++i) {
        if (gone_[i]) continue;
        if (!workers_[i].ends()) all += "worker " + std::to_string(i) + " cannot be killed\n";
        else all += ended_well(i);
        gone_[i] = true;
    }
    // Children of the killed are this process's now.
    const auto no_orphans = [&] { return orphans(but) == 0; };
    workers_.clear();
    workers_.resize(trades_.size());
    if (!eventually(no_orphans)) all += "children of the killed live on\n";
    return all;
}

}  // namespace muster::test::torture
