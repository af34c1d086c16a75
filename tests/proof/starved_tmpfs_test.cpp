// Operations of the table in a file system that is full the moment that the call begins: with no page free, with one, with two, until
// the call ends as it always does. The file system is a small tmpfs of our own at the domain's place, which needs root. True of each:
// nobody is killed by SIGBUS; the call ends as always, or says what its page or docs/deviations.md allows and is found not done; with
// space again the object is whole. Not taken: calls that sleep, since who helps them on needs memory himself. The short form takes the
// calls that make something, or use a part of it for the first time.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <algorithm>
#include "operations.hpp"
#include "starved.hpp"
#include "starved_says.hpp"
#include "support/proof.hpp"

namespace muster::test {
namespace {

constexpr char kPlace[] = "/dev/shm";
constexpr std::uint64_t kRoomy = 192 << 20;

struct Totals {
    std::size_t operations = 0, points = 0, refused = 0, never = 0;
    std::uint64_t most_pages = 0;
};
Totals totals;

class Totaller : public testing::Environment {
public:
    void TearDown() override {
        if (totals.operations == 0) return;
        figure("starved_tmpfs", "%zu operations, %zu counts of free pages, %zu calls failed; %zu need no page, none more than %d",
               totals.operations, totals.points, totals.refused, totals.never, static_cast<int>(totals.most_pages));
    }
};
const auto* const totaller = testing::AddGlobalTestEnvironment(new Totaller);

// A mount namespace of our own: nobody else sees the file system, and it goes with us. A page of it is always used.
bool mounted() {
    static const bool done = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
                             mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                             mount("tmpfs", kPlace, "tmpfs", 0, "size=192m,mode=1777") == 0 &&
                             std::ofstream("/dev/shm/one-page").put('.').flush().good();
    return done;
}

void resize(std::uint64_t bytes) {
    const std::string size = "size=" + std::to_string(bytes);
    ASSERT_EQ(mount(nullptr, kPlace, nullptr, MS_REMOUNT, size.c_str()), 0) << size;
}
void leave_free(std::uint64_t pages) {
    struct statfs status {};
    ASSERT_EQ(statfs(kPlace, &status), 0);
    ASSERT_NE(status.f_blocks, status.f_bfree) << "a size of 0 would be no limit";
    resize((status.f_blocks - status.f_bfree + pages) * 4096);
    ASSERT_EQ(statfs(kPlace, &status), 0);
    ASSERT_EQ(status.f_bfree, pages);
}

class StarvedTmpfs : public testing::TestWithParam<std::string> {
protected:
    void SetUp() override {
        if (!mounted()) GTEST_SKIP() << "a file system of one's own needs root";
        operation_ = make_operation(GetParam());
        ASSERT_TRUE(operation_ != nullptr && operation_->begin()) << GetParam();
    }
    void TearDown() override {
        if (operation_ == nullptr) return;
        resize(kRoomy);
        finish(std::move(operation_));
    }

    std::optional<int> with_free(std::uint64_t pages) {
        SCOPED_TRACE(GetParam() + ": " + std::to_string(pages) + " pages free");
        if (!operation_->prepare()) {
            ADD_FAILURE() << "the state cannot be made";
            return {};
        }
        Plan plan;
        plan.at_begin = [&](pid_t) {
            if (pages != kMany) leave_free(pages);
        };
        const Course course = starve(*operation_, plan);
        resize(kRoomy);
        EXPECT_EQ(course.trouble, "");
        operation_->verify(operation_->end_of_call());
        return course.error;
    }

    static constexpr std::uint64_t kMany = ~std::uint64_t{0};
    std::unique_ptr<Operation> operation_;
};

TEST_P(StarvedTmpfs, SaysSoAndLeavesAllWhole) {
    ++totals.operations;
    std::vector<std::optional<int>> ends;
    // The first call of all may need pages that the later ones find: so without a look at how it usually ends.
    for (std::uint64_t pages = 0; pages < 64 && !HasFailure(); ++pages) {
        ends.push_back(with_free(pages));
        if (ends.back().value_or(0) != ENOSPC && ends.back().value_or(0) != ENOMEM) break;
    }
    totals.points += ends.size();
    totals.refused += ends.size() - 1;
    totals.never += ends.size() == 1 ? 1 : 0;
    totals.most_pages = std::max<std::uint64_t>(totals.most_pages, ends.size() - 1);
    for (std::size_t pages = 0; pages + 1 < ends.size(); ++pages)
        EXPECT_TRUE(may_say(GetParam(), ends[pages].value_or(0))) << pages << " pages free: errno " << ends[pages].value_or(0);
    if (HasFailure()) return;
    EXPECT_EQ(ends.back(), with_free(kMany)) << "with pages enough it says something else";
}

std::vector<std::string> taken() {
    std::vector<std::string> all;
    for (const std::string& name : operation_names()) {
        const auto of = [&](const char* what) { return name.find(what) != std::string::npos; };
        if (of("and sleep")) continue;
        const bool needs = of("open/create") || of("get/create") || of("get/private") || of("shmat/nobody") || of("first time") ||
                           of("mq_send/long") || of("mq_send/deep") || of("mq_send/empty") || of("msgsnd/empty") || of("msgsnd/deep");
        if (long_form() || (needs && !of("died"))) all.push_back(name);
    }
    return all;
}
INSTANTIATE_TEST_SUITE_P(Operations, StarvedTmpfs, testing::ValuesIn(taken()), [](const auto& info) { return as_test_name(info.param); });

}  // namespace
}  // namespace muster::test
