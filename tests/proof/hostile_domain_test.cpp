// A domain's directory, or any part of it, is not what it should be: a link, a FIFO, a socket, a device, a file for a directory or the other
// way round, nobody's to read, a stranger's, everybody's to write, read-only, full of names, gone, or another at each look. Proved, of a process
// that was using the domain and of one that comes then, as root and as an ordinary user, in a private domain and in a shared one: every call
// of all families ends by itself, soon, with success or an errno value that it has; no descriptor and no mapping is left over; calls that
// have nothing to do with the part go on succeeding; `muster ls`, `stat`, `gc` and `fsck` end with a code that docs/cli.md has, and find
// nothing more where they said that all is repaired; another domain's objects stay as they were.
//
// The short form tries a sample that the seed chooses; MUSTER_HOSTILE_PART and MUSTER_HOSTILE_ATTACK (parts of names) narrow either.
// The users other than root's need a build that others may read.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <linux/fs.h>
#include <fstream>
#include <map>
#include "proof/hostile_domain.hpp"

namespace {

using namespace muster::test;
using namespace muster::test::hostile;

constexpr uid_t kUser = 54321, kStranger = 54322;
// Each set that a process has used and that went leaves a page of zeroes for threads that come late: two in a round of calls.
constexpr int kPagesOfZeroes = 2;

// Who uses the domain, and whose it is.
struct Setting {
    const char* name;
    uid_t user;
    bool shared;
};
std::vector<Setting> settings() {
    if (geteuid() != 0) return {{"private", geteuid(), false}};
    return {{"private, an ordinary user", kUser, false}, {"shared, an ordinary user", kUser, true}, {"shared, root", 0, true}};
}

// In a child: from now on that user.
bool become(uid_t user) {
    if (user == geteuid()) return true;
    const bool done = setgid(user) == 0 && setuid(user) == 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // forgotten with the old user
    return done;
}

bool may_use_the_build(uid_t user) {
    return Controls::in_a_child([user] { return become(user) && access(MUSTER_POSIX_LIBRARY, R_OK) == 0 && access(MUSTER_COMMAND, X_OK) == 0 ? 0 : 1; }) == 0;
}

struct Ended {
    int code;  // of the exit; 100 and more: killed
    std::string said;
};
Ended run_command(uid_t user, const std::vector<std::string>& words, const std::string& output) {
    Child child([&] {
        const int out = open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
        const int in = open("/dev/null", O_RDONLY);
        if (!become(user) || out < 0) _exit(99);
        dup2(in, 0), dup2(out, 1), dup2(out, 2);
        std::vector<char*> arguments{const_cast<char*>(MUSTER_COMMAND)};
        for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
        arguments.push_back(nullptr);
        execv(MUSTER_COMMAND, arguments.data());
        _exit(98);
    });
    const bool ended = child.ends(kPatience);
    std::ifstream file(output);
    std::string said{std::istreambuf_iterator<char>(file), {}};
    if (said.size() > 2000) said.resize(2000);
    if (!ended) return {1000, said};
    return {WIFEXITED(child.status()) ? WEXITSTATUS(child.status()) : 100 + WTERMSIG(child.status()), said};
}

struct Totals {
    unsigned cases = 0, impossible = 0, commands = 0, repaired = 0;
    std::uint64_t calls = 0, refused = 0, longest_us = 0;
    std::string longest;
};

class HostileDomain : public testing::Test {
protected:
    // A mount namespace of its own, for what is mounted; with root's rights alone.
    void SetUp() override {
        static const bool mine = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 && mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
        mounts_ = mine;
        ASSERT_EQ(chmod(base_.path().c_str(), 0711), 0);
        around_ = {base_.path() + "/domain", base_.path() + "/neighbour", base_.path() + "/aside", 0, geteuid() == 0 ? kStranger : geteuid()};
        use(around_.neighbour);
        ASSERT_TRUE(Controls::make());
        // What a link may lead to.
        ASSERT_EQ(Controls::in_a_child([] { return stage() ? 0 : 1; }), 0);
    }
    static void use(const std::string& domain) { setenv("MUSTER_DOMAIN", domain.c_str(), 1); }

    bool make_domain(const Setting& setting) {
        remove_tree(around_.domain), remove_tree(around_.aside);
        around_.user = setting.user;
        use(around_.domain);
        if (!setting.shared && (mkdir(around_.domain.c_str(), 0700) != 0 || (geteuid() == 0 && chown(around_.domain.c_str(), setting.user, setting.user) != 0))) return false;
        // Root makes what is everybody's.
        if (setting.shared && Controls::in_a_child([] { return library().shm_open("/first", O_RDWR | O_CREAT, 0600) >= 0 && library().shm_unlink("/first") == 0 ? 0 : 1; }) != 0) return false;
        if (Controls::in_a_child([&] { return become(setting.user) && stage() ? 0 : 1; }) != 0) return false;
        (void)mkdir((around_.domain + "/limits").c_str(), 0755);
        for (const char* limit : {"msg_max 500000\n", "sem 32000\t1024000000\t500\t32000\n", "shmmax 1000000\n"}) {
            const std::string line = limit;
            std::ofstream(around_.domain + "/limits/" + line.substr(0, line.find(' '))) << line.substr(line.find(' ') + 1);
        }
        return true;
    }

    void look_at(const Deeds& deeds, Child& child, bool ends, const std::string& who) {
        const char* call = deeds.call.load();
        EXPECT_TRUE(ends) << who << " does not end, in " << (call != nullptr ? call : "no call");
        EXPECT_TRUE(!ends || child.exited()) << who << ", status " << child.status() << ", in " << (call != nullptr ? call : "no call");
        for (unsigned n = 0; n < deeds.surprises.load(); ++n) {
            ADD_FAILURE() << who << ": " << deeds.surprise[n].call << " says " << deeds.surprise[n].error << " (" << std::strerror(deeds.surprise[n].error) << ")";
            ++surprises_[std::string(deeds.surprise[n].call) + ": " + std::strerror(deeds.surprise[n].error)];
        }
        EXPECT_LE(deeds.descriptors_leaked.load(), 0) << who;
        EXPECT_LE(deeds.mappings_leaked.load(), kPagesOfZeroes) << who;
        if (const char* refused = deeds.refused_call.load(); refused != nullptr)
            ADD_FAILURE() << who << ": " << refused << " has nothing to do with the part and says " << std::strerror(deeds.refused_error.load());
        totals_.calls += deeds.calls.load(), totals_.refused += deeds.refused.load();
        if (deeds.longest_us.load() > totals_.longest_us) totals_.longest_us = deeds.longest_us.load(), totals_.longest = deeds.longest_call.load();
    }

    void try_case(const Setting& setting, const Part& part, const Attack& attack) {
        SCOPED_TRACE(std::string(setting.name) + ": " + part.path + ": " + attack.name);
        ASSERT_TRUE(make_domain(setting));
        const bool none = attack.name == domain_attacks()[0].name;
        // Whoever may not get at the part's own calls may go on with all others.
        const unsigned watched = none ? kAllFamilies & ~static_cast<unsigned>(kLimits) : kAllFamilies & ~part.families & ~static_cast<unsigned>(kLimits);
        Shared<Deeds> before, after;
        before->watched_families.store(watched), after->watched_families.store(watched);
        Child known([&] { become(setting.user) ? use_domain(*before, true, false) : _exit(97); });
        ASSERT_TRUE(eventually([&] { return before->ready.load() || known.ended(); }));
        const std::string path = path_of(around_.domain, part);
        if (attack.make(path, part, around_)) {
            ++totals_.cases;
            before->go.store(true), after->go.store(true);
            look_at(*before, known, known.ends(kPatience), "who was there");
            Child late([&] { become(setting.user) ? use_domain(*after, false, true) : _exit(97); });
            look_at(*after, late, late.ends(kPatience), "who comes now");
            commands(setting.user);
        } else {
            ++totals_.impossible;
        }
        known = Child();
        if (attack.undo) attack.undo(path);
        use(around_.neighbour);
        EXPECT_EQ(Controls::check(), 0) << "the neighbour's objects";
    }

    void commands(uid_t user) {
        std::map<std::string, int> codes;
        for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
                 {"ls"}, {"stat", "/victim", "msg:0x51ab", "sem:0x51ab", "shm:0x51ab", "posix-shm:/victim", "posix-sem:/victim"}, {"gc"}, {"fsck"}, {"fsck", "--repair"}, {"fsck"}}) {
            const Ended ended = run_command(user, words, base_.path() + "/output");
            ++totals_.commands;
            const bool good = ended.code == 0 || ended.code == 1 || ended.code == 5 || ended.code == 7 || ended.code == 8;
            EXPECT_TRUE(good) << "muster " << words[0] << (words.size() > 1 ? " " + words[1] : "") << (ended.code == 1000 ? " does not end" : " ends with " + std::to_string(ended.code)) << "\n" << ended.said;
            if (words[0] == "fsck" && words.size() == 1 && codes.count("--repair") != 0 && codes["--repair"] == 0) {
                EXPECT_EQ(ended.code, 0) << "after all was repaired fsck says\n" << ended.said;
                ++totals_.repaired;
            }
            codes[words.back()] = ended.code;
        }
    }

    // Exchanges a part with something else for a moment; it is back afterwards. Links lead nowhere: through one that comes to another domain
    // between a look and a removal, that domain's file would be removed (docs/caveats.md, "Trust").
    void change_for_a_moment(Random& random) {
        const auto& parts = domain_parts();
        const Part& part = parts[random.below(static_cast<unsigned>(parts.size()))];
        const std::string path = path_of(around_.domain, part), decoy = around_.aside;
        const std::string targets[] = {"/nonexistent/nothing", decoy};
        const unsigned kind = random.below(6);
        switch (kind) {
            case 0: (void)mkfifo(decoy.c_str(), 0666); break;
            case 1: (void)mkdir(decoy.c_str(), 0700); break;
            case 2: std::ofstream(decoy) << "text\n"; break;
            default: (void)!symlink(targets[random.below(2)].c_str(), decoy.c_str());
        }
        (void)!lchown(decoy.c_str(), around_.user, around_.user);
        const auto exchange = [&] { return syscall(SYS_renameat2, AT_FDCWD, decoy.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0; };
        if (exchange()) {
            usleep(random.below(1500));
            if (!exchange()) (void)std::rename(decoy.c_str(), path.c_str());  // what stood there is gone
            ++totals_.cases;
        }
        remove_tree(decoy);
    }

    static bool chosen(const char* variable, const std::string& name) {
        const char* wanted = getenv(variable);
        return wanted == nullptr || name.find(wanted) != std::string::npos;
    }

    OwnDomain base_;
    Surroundings around_;
    bool mounts_ = false;
    Totals totals_;
    std::map<std::string, unsigned> surprises_;
};

TEST_F(HostileDomain, EachPartIsEachThing) {
    Random random(proof_seed());
    const bool narrowed = getenv("MUSTER_HOSTILE_PART") != nullptr || getenv("MUSTER_HOSTILE_ATTACK") != nullptr;
    unsigned left_out = 0;
    for (const Setting& setting : settings()) {
        if (setting.user != geteuid() && !may_use_the_build(setting.user)) {
            ++left_out;
            continue;
        }
        for (const Part& part : domain_parts())
            for (const Attack& attack : domain_attacks()) {
                const bool fits = attack.where == Attack::anything || (attack.where == Attack::directories) == part.directory;
                const bool can = !attack.needs_root || mounts_;
                const bool taken = long_form() || narrowed || random.once_in(24);
                if (!fits || !can || !taken || !chosen("MUSTER_HOSTILE_PART", part.path) || !chosen("MUSTER_HOSTILE_ATTACK", attack.name)) continue;
                try_case(setting, part, attack);
                if (HasFatalFailure()) return;
            }
    }
    for (const auto& [what, times] : surprises_) std::printf("not documented: %s, %u cases\n", what.c_str(), times);
    figure("hostile_domain", "%u changes of a domain's parts, %u that could not be made; %lu calls, %lu refused, longest %.1f ms (%s); %u commands, %u times all repaired and nothing more found%s",
           totals_.cases, totals_.impossible, totals_.calls, totals_.refused, static_cast<double>(totals_.longest_us) / 1000, totals_.longest.c_str(), totals_.commands,
           totals_.repaired, left_out != 0 ? "; without other users, who may not read the build" : "");
}

// As above, but never for longer than a moment; afterwards all is as it was, and works.
TEST_F(HostileDomain, PartsThatChangeUnderCalls) {
    Random random(proof_seed());
    for (const Setting& setting : settings()) {
        if (setting.user != geteuid() && !may_use_the_build(setting.user)) continue;
        SCOPED_TRACE(std::string(setting.name) + ", MUSTER_PROOF_SEED=" + std::to_string(proof_seed()));
        ASSERT_TRUE(make_domain(setting));
        constexpr unsigned kUsers = 3;
        Shared<Deeds> deeds[kUsers];
        std::vector<Child> users;
        for (auto& each : deeds) users.emplace_back([&] { become(setting.user) ? use_domain_on_and_on(*each) : _exit(97); });
        for (auto& each : deeds) ASSERT_TRUE(eventually([&] { return each->ready.load(); }));
        const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(short_or_long(600, 20'000));
        while (std::chrono::steady_clock::now() < end) change_for_a_moment(random);
        for (unsigned n = 0; n < kUsers; ++n) {
            deeds[n]->stop.store(true);
            look_at(*deeds[n], users[n], users[n].ends(kPatience), "user " + std::to_string(n));
            EXPECT_GT(deeds[n]->rounds.load(), 0u);
        }
        Shared<Deeds> after;
        after->go.store(true);
        Child late([&] { become(setting.user) ? use_domain(*after, false, false) : _exit(97); });
        after->watched_families.store(kAllFamilies & ~static_cast<unsigned>(kLimits));
        const bool ends = late.ends(kPatience);
        after->mappings_leaked.store(0);  // what others removed meanwhile is given up little by little
        look_at(*after, late, ends, "afterwards");
        if (HasFailure()) (void)!std::system(("ls -lniR " + around_.domain).c_str());
        commands(setting.user);
        use(around_.neighbour);
        EXPECT_EQ(Controls::check(), 0) << "the neighbour's objects";
    }
    figure("hostile_domain", "%u parts exchanged for a moment under %lu calls, %lu refused, longest %.1f ms (%s)", totals_.cases, totals_.calls, totals_.refused,
           static_cast<double>(totals_.longest_us) / 1000, totals_.longest.c_str());
}

}  // namespace
