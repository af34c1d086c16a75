// Domains: how paths are made of names; ENOENT, ENOTDIR, EACCES for directories that will not do, a stranger's among them;
// modes of new ones; limits; names given once (EEXIST) and taken away (ENOENT); subdirectories and whole domains made by many
// threads at once.
#include "objects/domain.hpp"
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <barrier>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>
#include "support/child.hpp"

namespace muster::objects {
namespace {

class DomainTest : public ::testing::Test {
protected:
    DomainTest() {
        char path[] = "/dev/shm/muster-domain-XXXXXX";
        root_ = mkdtemp(path);
        umask_ = umask(022);
    }
    ~DomainTest() override {
        umask(umask_);
        std::filesystem::remove_all(root_);
    }
    std::string in(const char* name) const { return root_ + "/" + name; }
    static int error_of(const std::string& path, bool create) {
        auto opened = Domain::open(path.c_str(), create);
        return opened ? 0 : opened.fault().errno_value;
    }
    static unsigned mode_of(const std::string& path) {
        struct stat status;
        return stat(path.c_str(), &status) == 0 ? status.st_mode & 07777u : 0;
    }
    static std::string path_of(const char* name) {
        char path[Domain::kPathBytesMax];
        return Domain::path_of(name, path) ? path : "none";
    }
    static std::string default_path() {
        char path[Domain::kPathBytesMax];
        Domain::default_path(path);
        return path;
    }
    std::string root_;
    mode_t umask_;
};

TEST_F(DomainTest, PathsOfNames) {
    const std::string usual = "/dev/shm/muster-" + std::to_string(geteuid());
    EXPECT_EQ(path_of(nullptr), usual);
    EXPECT_EQ(path_of(""), usual);
    EXPECT_EQ(path_of("jobs"), usual + "-jobs");
    EXPECT_EQ(path_of("/tmp/here"), "/tmp/here");
    EXPECT_EQ(path_of("./here"), "./here");
    const std::string longest = "/" + std::string(Domain::kPathBytesMax - 2, 'x');
    EXPECT_EQ(path_of(longest.c_str()), longest);
    EXPECT_EQ(path_of((longest + "x").c_str()), "none");
    EXPECT_EQ(path_of(std::string(Domain::kPathBytesMax, 'x').c_str()), "none");

    const char* was = getenv("MUSTER_DOMAIN");
    const std::string before = was != nullptr ? was : "";
    setenv("MUSTER_DOMAIN", "other", 1);
    EXPECT_EQ(default_path(), usual + "-other");
    setenv("MUSTER_DOMAIN", (longest + "x").c_str(), 1);
    EXPECT_EQ(default_path(), usual);
    unsetenv("MUSTER_DOMAIN");
    EXPECT_EQ(default_path(), usual);
    if (was != nullptr) setenv("MUSTER_DOMAIN", before.c_str(), 1);
}

TEST_F(DomainTest, DirectoriesThatWillNotDo) {
    EXPECT_EQ(error_of(in("none"), false), ENOENT);
    EXPECT_EQ(error_of(in("none/below"), true), ENOENT);
    std::ofstream(in("file")) << "x";
    EXPECT_EQ(error_of(in("file"), true), ENOTDIR);
    std::filesystem::create_directory(in("private"));
    chmod(in("private").c_str(), 0700);
    EXPECT_EQ(error_of(in("private"), false), 0);
    std::filesystem::create_directory_symlink(in("private"), in("link"));
    EXPECT_EQ(error_of(in("link"), true), ENOTDIR);
    std::filesystem::create_directory_symlink(in("nowhere"), in("dangling"));
    EXPECT_EQ(error_of(in("dangling"), true), ENOTDIR);
    for (const mode_t open : {0777, 0770, 0722}) {
        chmod(in("private").c_str(), open);
        EXPECT_EQ(error_of(in("private"), true), EACCES) << open;
    }
    chmod(in("private").c_str(), 01777);
    EXPECT_EQ(error_of(in("private"), true), 0);
}

TEST_F(DomainTest, NewOnesBelongToTheirMaker) {
    auto made = Domain::open(in("new").c_str(), true);
    ASSERT_TRUE(made);
    EXPECT_TRUE(made->still_open());
    EXPECT_GT(made->directory(), 15);  // out of the program's way
    EXPECT_EQ(made->shared(), geteuid() == 0);
    EXPECT_EQ(mode_of(in("new")), geteuid() == 0 ? 01777u : 0700u);
    ASSERT_TRUE(made->ensure_directory("mq"));
    EXPECT_EQ(mode_of(in("new/mq")), geteuid() == 0 ? 01777u : 0700u);
    const int other = ::open("/", O_RDONLY | O_CLOEXEC);
    ASSERT_EQ(dup2(other, made->directory()), made->directory());
    EXPECT_FALSE(made->still_open());
    close(other);
}

// The owner of a sticky directory may remove what others put there: in a domain that is everybody's nobody but its maker is that.
TEST_F(DomainTest, SubdirectoriesOfASharedOneAreItsMakers) {
    if (geteuid() != 0) GTEST_SKIP() << "only root makes domains for everybody";
    chmod(root_.c_str(), 0755);
    ASSERT_EQ(error_of(in("shared"), true), 0);
    test::Child stranger([&] {
        if (setresuid(65534, 65534, 65534) != 0) _exit(1);
        auto domain = Domain::open(in("shared").c_str(), false);
        if (!domain || !domain->ensure_directory("sysv") || !domain->ensure_directory("limits", 0755)) _exit(2);
        _exit(mkdir(in("shared/limits/mine").c_str(), 0700) == -1 && errno == EACCES ? 0 : 3);
    });
    EXPECT_TRUE(stranger.ends() && WIFEXITED(stranger.status()) && WEXITSTATUS(stranger.status()) == 0);
    for (const char* name : {"mq", "sysv", "key", "shm", "sem", "poll", "limits"}) {
        struct stat status {};
        ASSERT_EQ(stat(in("shared/").append(name).c_str(), &status), 0) << name;
        EXPECT_EQ(status.st_uid, 0u) << name;
        EXPECT_EQ(status.st_mode & 07777u, std::string(name) == "limits" ? 0755u : 01777u) << name;
    }
}

TEST_F(DomainTest, StrangersDirectoryIsRefused) {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    chmod(root_.c_str(), 0755);
    std::filesystem::create_directory(in("theirs"));
    chmod(in("theirs").c_str(), 0755);
    ASSERT_EQ(chown(in("theirs").c_str(), 65534, 65534), 0);
    EXPECT_EQ(error_of(in("theirs"), false), 0);  // root, by name
    auto as = [&](uid_t user) {
        test::Child child([&, user] {
            if (seteuid(user) != 0) _exit(255);
            _exit(error_of(in("theirs"), true));
        });
        return child.ends() && WIFEXITED(child.status()) ? WEXITSTATUS(child.status()) : -1;
    };
    EXPECT_EQ(as(60001), EACCES);
    EXPECT_EQ(as(65534), 0);
    // Shared or not: a stranger's is a stranger's; root's is everybody's.
    chmod(in("theirs").c_str(), 01777);
    EXPECT_EQ(as(60001), EACCES);
    ASSERT_EQ(chown(in("theirs").c_str(), 0, 0), 0);
    EXPECT_EQ(as(60001), 0);
}

TEST_F(DomainTest, Limits) {
    auto domain = Domain::open(root_.c_str(), false);
    ASSERT_TRUE(domain);
    const DomainLimits built_in;
    EXPECT_EQ(domain->limits().msg_max, built_in.msg_max);
    EXPECT_EQ(domain->limits().msgsize_default, built_in.msgsize_default);
    auto set = [&](const char* name, std::uint64_t value) {
        auto done = Domain::set_limit(*domain, name, value);
        return done ? 0 : done.fault().errno_value;
    };
    EXPECT_EQ(set("msg_default", 20), 0);
    EXPECT_EQ(set("msgsize_default", 100), 0);
    EXPECT_EQ(set("msg_max", 30), 0);
    EXPECT_EQ(set("msgsize_max", 16 << 20), 0);
    EXPECT_EQ(set("queues_max", 0), 0);
    const DomainLimits now = domain->limits();
    EXPECT_EQ(now.msg_default, 20u);
    EXPECT_EQ(now.msgsize_default, 100u);
    EXPECT_EQ(now.msg_max, 30u);
    EXPECT_EQ(now.msgsize_max, 16u << 20);
    EXPECT_EQ(now.queues_max, 0u);
    EXPECT_EQ(set("msg_max", 0), EINVAL);
    EXPECT_EQ(set("msg_max", 1'000'001), EINVAL);
    EXPECT_EQ(set("msgsize_max", (16 << 20) + 1), EINVAL);
    EXPECT_EQ(set("no_such", 1), EINVAL);
    EXPECT_EQ(set("../mq", 1), EINVAL);
    EXPECT_EQ(domain->limits().msg_max, 30u);
    EXPECT_EQ(set("msg_max", 7), 0);  // shorter than what stood there
    EXPECT_EQ(domain->limits().msg_max, 7u);
    // What makes no sense counts for nothing.
    for (const char* text : {"", "x", "-5", "0", "99999999999999999999999"}) {
        std::ofstream(in("limits/msg_max")) << text;
        EXPECT_EQ(domain->limits().msg_max, built_in.msg_max) << text;
    }
}

TEST_F(DomainTest, NamesAreGivenOnce) {
    auto domain = Domain::open(root_.c_str(), false);
    ASSERT_TRUE(domain);
    ASSERT_TRUE(domain->ensure_directory("mq"));
    unsigned granted = 0;
    auto file = domain->create_nameless(0666, &granted);
    ASSERT_TRUE(file);
    EXPECT_EQ(granted, 0644u);  // what the umask leaves
    EXPECT_EQ(domain->count("mq"), 0u);
    auto publish = [&](const std::string& name) {
        auto done = domain->publish(file->fd(), name.c_str());
        return done ? 0 : done.fault().errno_value;
    };
    EXPECT_EQ(publish("mq/jobs"), 0);
    EXPECT_EQ(publish("mq/jobs"), EEXIST);
    EXPECT_EQ(publish("mq/" + std::string(256, 'x')), ENAMETOOLONG);
    EXPECT_EQ(publish("mq/" + std::string(255, 'x')), 0);
    EXPECT_EQ(domain->count("mq"), 2u);
    EXPECT_EQ(domain->count("none"), 0u);
    EXPECT_EQ(mode_of(in("mq/jobs")), 0666u);  // who may read must write the control block
    EXPECT_TRUE(domain->open_object("mq/jobs"));
    auto open_error = [&](const char* name) {
        auto opened = domain->open_object(name);
        return opened ? 0 : opened.fault().errno_value;
    };
    EXPECT_EQ(open_error("mq/none"), ENOENT);
    EXPECT_EQ(open_error("mq"), EBADMSG);
    std::filesystem::create_symlink("/dev/null", in("mq/link"));
    EXPECT_EQ(open_error("mq/link"), EBADMSG);
    EXPECT_TRUE(domain->remove("mq/jobs"));
    auto twice = domain->remove("mq/jobs");
    ASSERT_FALSE(twice);
    EXPECT_EQ(twice.fault().errno_value, ENOENT);
}

TEST_F(DomainTest, ManyThreadsMakeOneSubdirectory) {
    auto domain = Domain::open(root_.c_str(), false);
    ASSERT_TRUE(domain);
    constexpr int kThreads = 8;
    std::barrier start(kThreads);
    std::atomic<int> wrong{0};
    auto name = [](int round) { return "kind" + std::to_string(round); };
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i)
        threads.emplace_back([&] {
            for (int round = 0; round < 50; ++round) {
                start.arrive_and_wait();
                if (!domain->ensure_directory(name(round).c_str())) ++wrong;
                if (!std::filesystem::is_directory(in(name(round).c_str()))) ++wrong;
            }
        });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong.load(), 0);
    EXPECT_EQ(domain->count("."), 50u);  // and nothing else
    std::ofstream(in("file")) << "x";
    auto refused = domain->ensure_directory("file");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.fault().errno_value, ENOTDIR);
}

// All of them must agree on whether it is shared: who thinks it is not makes its subdirectories private, for good.
TEST_F(DomainTest, ManyThreadsMakeOneDomain) {
    constexpr int kThreads = 8;
    std::barrier start(kThreads);
    std::atomic<int> failed{0}, disagree{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i)
        threads.emplace_back([&] {
            for (int round = 0; round < 200; ++round) {
                start.arrive_and_wait();
                auto made = Domain::open(in(std::to_string(round).c_str()).c_str(), true);
                if (!made) ++failed;
                else if (made->shared() != (geteuid() == 0)) ++disagree;
            }
        });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(failed.load(), 0);
    EXPECT_EQ(disagree.load(), 0);
}

// The names that "kind" may have while this thread makes it.
std::vector<std::string> temporaries() {
    const std::string thread = std::to_string(getpid());
    return {".kind-" + thread, ".new-" + thread + "-0"};
}

// What stands under the name that a new directory has for a moment is not taken for it: left by somebody who died, or planted.
TEST_F(DomainTest, LeftoversDoNotBecomeSubdirectories) {
    auto domain = Domain::open(root_.c_str(), false);
    ASSERT_TRUE(domain);
    for (const std::string& name : temporaries()) std::filesystem::create_symlink("/tmp", in(name.c_str()));
    auto made = domain->ensure_directory("kind");
    EXPECT_TRUE(made) << made.fault().errno_value;
    EXPECT_TRUE(std::filesystem::is_directory(std::filesystem::symlink_status(in("kind"))));
}

TEST_F(DomainTest, AnothersLeftoversAreNoHindrance) {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    chmod(root_.c_str(), 01777);
    test::Child child([&] {
        for (const std::string& name : temporaries())
            if (mkdir(in(name.c_str()).c_str(), 0700) != 0 || chown(in(name.c_str()).c_str(), 60001, 60001) != 0) _exit(255);
        if (seteuid(60002) != 0) _exit(255);
        auto domain = Domain::open(root_.c_str(), false);
        auto made = domain ? domain->ensure_directory("kind") : platform::Outcome<>(domain.fault());
        _exit(made ? 0 : made.fault().errno_value);
    });
    ASSERT_TRUE(child.ends());
    EXPECT_TRUE(child.exited()) << WEXITSTATUS(child.status());
}

// Whatever stands in a limit's place, asking does not wait for it.
TEST_F(DomainTest, FifoInALimitsPlaceIsNoLimit) {
    auto domain = Domain::open(root_.c_str(), false);
    ASSERT_TRUE(domain);
    ASSERT_TRUE(domain->ensure_directory("limits"));
    ASSERT_EQ(mkfifo(in("limits/msg_max").c_str(), 0666), 0);
    test::Child child([&] { _exit(domain->limits().msg_max == DomainLimits{}.msg_max ? 0 : 1); });
    EXPECT_TRUE(child.ends(std::chrono::seconds(3)) && child.exited());
}

// A limit holds for everybody in the domain, whatever the umask of who set it.
TEST_F(DomainTest, LimitsHoldForAllUsers) {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    chmod(root_.c_str(), 01777);
    umask(077);
    auto domain = Domain::open(root_.c_str(), false);
    ASSERT_TRUE(domain);
    ASSERT_TRUE(Domain::set_limit(*domain, "msg_max", 33));
    test::Child child([&] {
        if (seteuid(60001) != 0) _exit(255);
        _exit(domain->limits().msg_max == 33 ? 0 : 1);
    });
    EXPECT_TRUE(child.ends() && child.exited());
}

}  // namespace
}  // namespace muster::objects
