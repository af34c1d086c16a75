// Operations of the table in a process whose limits are reached the moment that the call begins: descriptors (RLIMIT_NOFILE) at every
// number from none left until the call ends as it always does, the size of files (RLIMIT_FSIZE, which kills with SIGXFSZ who goes
// beyond it) and addresses (RLIMIT_AS) at several. True of each: nobody is killed; the call ends as always, or says what its page or
// docs/deviations.md allows and is found not done; the object is whole. The command in a new domain, with no file allowed to grow,
// is not killed either. The short form takes the calls that make something, the long one all.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include "operations.hpp"
#include "starved.hpp"
#include "starved_says.hpp"
#include "support/proof.hpp"

namespace muster::test {
namespace {

struct Totals {
    std::size_t operations = 0, points[3] = {}, refused[3] = {};
    rlim_t most_descriptors = 0;
};
Totals totals;
constexpr const char* kLimits[] = {"descriptors", "sizes of files", "addresses"};

class Totaller : public testing::Environment {
public:
    void TearDown() override {
        if (totals.operations == 0) return;
        figure("starved_limits", "%zu operations; none needs more than %d free descriptors", totals.operations,
               static_cast<int>(totals.most_descriptors));
        for (int limit = 0; limit < 3; ++limit)
            figure("starved_limits", "%s: %zu points, %zu calls failed", kLimits[limit], totals.points[limit], totals.refused[limit]);
    }
};
const auto* const totaller = testing::AddGlobalTestEnvironment(new Totaller);

void limit(pid_t pid, __rlimit_resource resource, rlim_t soft) {
    rlimit now{};
    ASSERT_EQ(prlimit(pid, resource, nullptr, &now), 0);
    now.rlim_cur = std::min(soft, now.rlim_max);
    ASSERT_EQ(prlimit(pid, resource, &now, nullptr), 0);
}

// The limit at which so many numbers are free below it.
rlim_t limit_with_free(pid_t pid, rlim_t wanted) {
    const std::string descriptors = "/proc/" + std::to_string(pid) + "/fd/";
    rlim_t number = 0;
    for (rlim_t found = 0; found <= wanted; ++number)
        if (access((descriptors + std::to_string(number)).c_str(), F_OK) != 0) ++found;
    return number - 1;
}

rlim_t addresses_of(pid_t pid) {
    std::ifstream sizes("/proc/" + std::to_string(pid) + "/statm");
    rlim_t pages = 0;
    sizes >> pages;
    return pages * 4096;
}

class StarvedLimits : public testing::TestWithParam<std::string> {
protected:
    void SetUp() override {
        operation_ = make_operation(GetParam());
        ASSERT_TRUE(operation_ != nullptr && operation_->begin()) << GetParam();
        ASSERT_TRUE(operation_->prepare());
        const Course usual = starve(*operation_, Plan());
        ASSERT_EQ(usual.trouble, "");
        ASSERT_TRUE(usual.error);
        usual_ = *usual.error;
        operation_->verify(operation_->end_of_call());
    }
    void TearDown() override {
        finish(std::move(operation_));
    }

    // Whether the call ends as always.
    bool with(int of, __rlimit_resource resource, const std::function<rlim_t(pid_t)>& soft, const std::string& what) {
        SCOPED_TRACE(GetParam() + ": " + kLimits[of] + ", " + what);
        if (!operation_->prepare()) {
            ADD_FAILURE() << "the state cannot be made";
            return true;
        }
        Plan plan;
        rlimit before{};
        plan.at_begin = [&](pid_t pid) {
            prlimit(pid, resource, nullptr, &before);
            limit(pid, resource, soft(pid));
        };
        plan.at_end = [&](pid_t pid) { prlimit(pid, resource, &before, nullptr); };
        const Course course = starve(*operation_, plan);
        EXPECT_EQ(course.trouble, "");
        operation_->verify(operation_->end_of_call());
        ++totals.points[of];
        if (!course.error || *course.error == usual_) return true;
        ++totals.refused[of];
        EXPECT_TRUE(may_say(GetParam(), *course.error)) << "it says errno " << *course.error << " (" << std::strerror(*course.error) << ")";
        return false;
    }

    std::unique_ptr<Operation> operation_;
    int usual_ = 0;
};

TEST_P(StarvedLimits, SayWhatFailed) {
    ++totals.operations;
    for (rlim_t free = 0;; ++free) {
        const auto soft = [free](pid_t pid) { return limit_with_free(pid, free); };
        const bool managed = with(0, RLIMIT_NOFILE, soft, std::to_string(free) + " free");
        totals.most_descriptors = std::max(totals.most_descriptors, free);
        if (managed || HasFailure()) break;
        ASSERT_LT(free, 40u) << "with so many descriptors it still fails";
    }
    const std::vector<rlim_t> sizes = short_or_long<std::vector<rlim_t>>({0, 100'000}, {0, 31, 4096, 100'000, 10'000'000});
    const std::vector<rlim_t> more_bytes = short_or_long<std::vector<rlim_t>>({0, 65536}, {0, 4096, 8192, 65536, 1 << 20, 1 << 26});
    for (const rlim_t bytes : sizes)
        with(1, RLIMIT_FSIZE, [bytes](pid_t) { return bytes; }, std::to_string(bytes) + " bytes");
    for (const rlim_t more : more_bytes)
        with(2, RLIMIT_AS, [more](pid_t pid) { return addresses_of(pid) + more; }, std::to_string(more) + " bytes more");
}

std::vector<std::string> taken() {
    std::vector<std::string> all;
    for (const std::string& name : operation_names()) {
        const auto of = [&](const char* what) { return name.find(what) != std::string::npos; };
        const bool makes = of("open/create") || of("get/create") || of("get/private") || of("shmat/nobody") || of("first time") ||
                           of("register, empty") || of("_RMID/nobody") || of("mq_send/long") || of("msgsnd/empty") || of("unlink/there");
        if (long_form() || (makes && !of("died"))) all.push_back(name);
    }
    return all;
}
INSTANTIATE_TEST_SUITE_P(Operations, StarvedLimits, testing::ValuesIn(taken()), [](const auto& info) { return as_test_name(info.param); });

// A new domain, where the command makes the files that the library keeps for itself, too.
TEST(StarvedLimits, TheCommandIsNotKilledByTheFileSizeLimit) {
    char directory[] = "/dev/shm/muster-proof-limits-XXXXXX";
    ASSERT_NE(mkdtemp(directory), nullptr);
    std::size_t runs = 0;
    for (const char* arguments : {"mk mq /queue", "mk posix-shm /memory --size 64Ki", "mk posix-sem /one --value 1",
                                  "mk sem 0x1 --values 1", "mk shm 0x2 --size 64Ki", "mk msg 0x3", "rm mq:/queue",
                                  "limits", "ls", "gc", "fsck"})
        for (const int blocks : short_or_long<std::vector<int>>({0}, {0, 1, 8, 64})) {  // of 512 bytes or of 1024, as the shell has it
            const std::string line = "ulimit -f " + std::to_string(blocks) + " && MUSTER_DOMAIN=" + directory + " " MUSTER_COMMAND " " +
                                     arguments + " 2>&1 | cat > /dev/null; exit ${PIPESTATUS[0]}";
            const int status = std::system(("bash -c '" + line + "'").c_str());
            EXPECT_TRUE(WIFEXITED(status)) << line;
            EXPECT_LT(WEXITSTATUS(status), 128) << line;
            EXPECT_NE(WEXITSTATUS(status), 2) << "wrong usage: " << line;
            ++runs;
        }
    figure("starved_limits", "%zu runs of the command with files of limited size: none killed", runs);
    std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace muster::test
