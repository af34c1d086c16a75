// Every operation of the table with each system call of it refused in turn: once, or from there on for good, with every errno value
// that the kernel or a sandbox may give. True of each: the call returns; it succeeded all the same and is found done, or says what its
// page or docs/deviations.md allows and is found not done; made once more with nothing in its way it does what it always does; the
// object is whole, not taken for damaged because this process had no memory; no descriptor, no mapping, no file and no signal blocked
// is left behind. The short form takes some of the refusals, the seed says which.
#include <gtest/gtest.h>
#include <algorithm>
#include "operations.hpp"
#include "starved_failures.hpp"
#include "starved_says.hpp"
#include "support/proof.hpp"

namespace muster::test {
namespace {

struct Totals {
    std::size_t operations = 0, system_calls = 0, tried = 0, refused = 0, managed = 0, again = 0, other_ways = 0;
    std::map<std::string, std::size_t> of;  // refusals of each system call
};
Totals totals;

class Totaller : public testing::Environment {
public:
    void TearDown() override {
        if (totals.tried == 0) return;
        figure("starved", "%zu operations of %zu system calls, %zu refusals: %zu calls failed, %zu had a way around, %zu made again",
               totals.operations, totals.system_calls, totals.tried, totals.refused, totals.managed, totals.again);
        figure("starved", "%zu more were not met: the call took another way", totals.other_ways);
        std::string text;
        for (const auto& [name, count] : totals.of) text += (text.empty() ? "" : ", ") + name + " " + std::to_string(count);
        figure("starved", "refused: %s", text.c_str());
    }
};
const auto* const totaller = testing::AddGlobalTestEnvironment(new Totaller);

bool is_cache(const std::string& of) {
    // The process's descriptors of the domain and of the lives of segments' users.
    return of == without_digits(domain_path()) || of == without_digits(domain_path()) + "/sysv/.life";
}
// The queues and sets that a process knows by number stay mapped.
bool may_stay_mapped(const std::string& operation, const std::string& of) {
    const bool makes = operation.find("get/") != std::string::npos;
    return !makes && (of.find("/sysv/msg-") != std::string::npos || of.find("/sysv/sem-") != std::string::npos);
}

class StarvedCalls : public testing::TestWithParam<std::string> {
protected:
    void SetUp() override {
        operation_ = make_operation(GetParam());
        ASSERT_TRUE(operation_ != nullptr && operation_->begin()) << GetParam();
    }
    void TearDown() override {
        finish(std::move(operation_));
    }

    // With nothing refused: the system calls, what it says, what it then has.
    bool learn() {
        if (!operation_->prepare()) return false;
        usual_ = starve(*operation_, Plan());
        EXPECT_EQ(usual_.trouble, "");
        if (!usual_.error) return false;
        operation_->verify(operation_->end_of_call());
        EXPECT_EQ(usual_.before.blocked, usual_.after.blocked);
        return !HasFailure();
    }

    void refuse(std::size_t at, const Refusal& refusal, bool again) {
        const SystemCall& refused = usual_.calls[at - 1];
        SCOPED_TRACE(GetParam() + ": system call " + std::to_string(at) + " (" + name_of(refused) + ") fails with errno " +
                     std::to_string(refusal.error) + (refusal.stays ? ", as do all that follow" : "") + (again ? "; made again" : ""));
        ASSERT_TRUE(operation_->prepare());
        Plan plan;
        plan.at = at, plan.number = refused.number, plan.error = refusal.error;
        plan.stays = refusal.stays, plan.after = refusal.after, plan.again = again && !refusal.after;
        const Course course = starve(*operation_, plan);
        ASSERT_EQ(course.trouble, "");
        ASSERT_TRUE(course.error);
        if (!course.failed_one) {  // another way this time
            ++totals.other_ways;
            operation_->verify(operation_->end_of_call());
            return;
        }
        ++totals.tried;
        ++totals.of[name_of(course.calls[at - 1])];
        const bool as_usual = *course.error == *usual_.error;
        ++(*course.error == 0 || as_usual ? totals.managed : totals.refused);
        if (!as_usual && *course.error != 0) judge_error(*course.error, refusal);
        // Whose names no look can be had at is marked as removed, and taken away by the next who can: verify() does.
        const bool blind = refused.number == SYS_newfstatat && refusal.stays;
        judge_holdings(course, *course.error != 0, blind);
        if (*course.error == 0 && usual_.errno_after == kErrnoBefore) {
            EXPECT_EQ(course.errno_after, kErrnoBefore) << "errno of a success";
        }
        if (course.error_again) {
            ++totals.again;
            EXPECT_EQ(*course.error_again, *usual_.error) << "made again, it says something else";
        }
        operation_->verify(operation_->end_of_call());
    }
    void judge_error(int error, const Refusal& refusal) {
        // EAGAIN: a name that no look can be had at is taken for one that changes all the time.
        const bool sandbox = refusal.stays && (refusal.error == EPERM || refusal.error == ENOSYS);
        EXPECT_TRUE((sandbox && (error == refusal.error || error == EAGAIN)) || may_say(GetParam(), error))
            << "it says errno " << error << " (" << std::strerror(error) << ")";
    }
    void judge_holdings(const Course& course, bool failed, bool blind) {
        EXPECT_EQ(course.before.blocked, course.after.blocked) << "signals blocked";
        const auto usual_descriptors = growth(usual_.before.descriptors, usual_.after.descriptors);
        const auto usual_mapped = growth(usual_.before.mapped_bytes, usual_.after.mapped_bytes);
        const auto usually = [](const std::map<std::string, long>& all, const std::string& of) {
            return all.count(of) != 0 ? all.at(of) : 0;
        };
        for (const auto& [of, more] : growth(course.before.descriptors, course.after.descriptors)) {
            // A descriptor that may have become the program's is not closed, and another one opened.
            const long allowed = is_cache(of) ? 1 : failed ? 0 : usually(usual_descriptors, of);
            EXPECT_LE(more, allowed) << "descriptors of " << of;
        }
        const auto unmapping = [](const SystemCall& call) { return call.number == SYS_munmap && call.result < 0; };
        if (std::any_of(course.calls.begin(), course.calls.end(), unmapping)) return;
        for (const auto& [of, more] : growth(course.before.mapped_bytes, course.after.mapped_bytes)) {
            const bool of_object = of.rfind("/dev/shm", 0) == 0;
            const long allowed = failed && of_object && !may_stay_mapped(GetParam(), of) ? 0 : usually(usual_mapped, of);
            EXPECT_LE(more, allowed) << "bytes mapped of '" << of << "'";
        }
        if (!failed || blind) return;
        for (const std::string& file : course.files_after) EXPECT_TRUE(course.files_before.count(file) != 0) << "left over: " << file;
    }

    std::unique_ptr<Operation> operation_;
    Course usual_;
};

TEST_P(StarvedCalls, SayWhatFailedAndLeaveNothing) {
    ASSERT_TRUE(learn());
    ASSERT_TRUE(learn());  // the first made use of what the others find used: memory of the object
    ++totals.operations;
    totals.system_calls += usual_.calls.size();
    Random random(proof_seed() ^ std::hash<std::string>()(GetParam()));
    std::vector<std::pair<std::size_t, Refusal>> points;
    for (std::size_t at = 1; at <= usual_.calls.size(); ++at)
        for (const Refusal& refusal : refusals_of(usual_.calls[at - 1])) points.emplace_back(at, refusal);
    const std::size_t wanted = short_or_long<std::size_t>(2, points.size());
    // What sleeps is helped on once; and whoever died before dies once. A descriptor is closed, whatever close said.
    const bool can_again = !usual_.slept && !operation_->has_earlier();
    bool again = random.below(2) == 0;
    for (std::size_t left = points.size(), taken = 0; const auto& [at, refusal] : points) {
        const bool takes = random.below(static_cast<unsigned>(left--)) < wanted - std::min(taken, wanted);
        if (!takes) continue;
        ++taken;
        refuse(at, refusal, can_again && again);
        if (can_again && long_form() && !HasFailure()) refuse(at, refusal, !again);
        again = !again;
        if (HasFailure()) break;
    }
    if (HasFailure()) std::printf("to repeat: MUSTER_PROOF_SEED=%llu\n", static_cast<unsigned long long>(proof_seed()));
}

// The short form: the calls that make something, and one in four of the others.
bool makes(const std::string& name) {
    const auto of = [&](const char* what) { return name.find(what) != std::string::npos; };
    return !of("died") && (of("open/") || of("get/") || of("shmat/") || of("notify/register") || of("first time"));
}
std::vector<std::string> taken() {
    std::vector<std::string> all;
    for (const std::string& name : operation_names())
        if (long_form() || makes(name) || Random(proof_seed() ^ std::hash<std::string>()(name)).once_in(4)) all.push_back(name);
    return all;
}
INSTANTIATE_TEST_SUITE_P(Operations, StarvedCalls, testing::ValuesIn(taken()),
                         [](const auto& info) { return as_test_name(info.param); });

}  // namespace
}  // namespace muster::test
