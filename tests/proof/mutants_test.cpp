// Each seeded fault of src/platform/mutant.hpp is found by a proof: that one fails while the fault is in, and passes without it.
// So the other proofs can fail, and would, were the code to lose what these faults take away: an intent, a commit's place, a
// death notice, a wake, a step of recovery. Needs MUSTER_TESTING, which compiles the faults in.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include "support/child.hpp"
#include "support/proof.hpp"

namespace {

using namespace muster::test;

struct Mutant {
    const char* name;
    const char* breaks;   // what is wrong with it
    const char* program;  // the proof that finds it,
    const char* cases;    // and by which of its cases
};
constexpr const char* kQueueCrash = "crash_queue_crash_test";
constexpr const char* kTypedCrash = "crash_typed_queue_crash_test";
constexpr const char* kSemaphoreCrash = "crash_semaphore_crash_test";
const Mutant kMutants[] = {
    {"commit_before_copy", "a message counts before its bytes are there", kQueueCrash,
     "*/QueueCrash.LeavesA*/send_to_empty"},
    {"fill_without_intent", "nothing names the slot that is being filled", kQueueCrash,
     "*/QueueCrash.LeavesA*/send_to_empty"},
    {"recover_without_publishing", "recovery forgets a committed message that is not in the inbox yet", kQueueCrash,
     "*/QueueCrash.LeavesA*/send_to_empty"},
    {"death_unnoticed", "who takes a lock from the dead repairs nothing", kQueueCrash,
     "*/QueueCrash.LeavesA*/send_to_empty"},
    {"take_before_copy", "a message is gone before it is copied out", kQueueCrash,
     "*/QueueCrash.LeavesA*/receive_the_only_one"},
    {"take_without_intent", "nothing names the slot that is being taken out", kQueueCrash,
     "*/QueueCrash.LeavesA*/receive_from_partly_full"},
    {"recover_without_index", "recovery trusts the index of the dead", kQueueCrash,
     "*/QueueCrash.LeavesA*/receive_the_only_one"},
    {"return_without_intent", "nothing names the slot that is being given back", kQueueCrash,
     "*/QueueCrash.LeavesA*/send_to_full_timed"},
    {"recover_without_returning", "recovery forgets a slot that was on its way back", kQueueCrash,
     "*/QueueCrash.LeavesA*/send_to_full_timed"},
    {"give_without_notice", "a giver dies and the kernel does not wake its sleeper", kQueueCrash,
     "*/QueueCrash.LeavesA*/send_to_one_receiver"},
    {"give_without_wake", "a sleeper is given its message and not woken", kQueueCrash,
     "*/QueueCrash.LeavesA*/send_to_one_receiver"},
    {"recover_without_waking", "recovery forgets a sleeper that was told and not woken", kQueueCrash,
     "*/QueueCrash.LeavesA*/send_to_one_receiver"},
    {"give_space_without_notice", "the same as give_without_notice, for a sender asleep beside a full queue", kQueueCrash,
     "*/QueueCrash.LeavesA*/receive_beside_one_sender"},
    {"hand_over_then_wake", "committed and told first, woken afterwards, by one who holds both locks", kQueueCrash,
     "*/QueueCrash.LeavesA*/send_long_to_one_receiver"},
    {"reap_without_returning", "what a dead receiver was given does not come back", kQueueCrash,
     "*/QueueCrash.LeavesA*/receive_from_empty_sleeping"},
    {"change_then_wake", "IPC_SET is stored before the sleepers are woken", kTypedCrash,
     "*/TypedQueueCrash.LeavesIt*/change_raising_for_all"},
    {"remove_without_waking", "IPC_RMID wakes nobody", kTypedCrash,
     "*/TypedQueueCrash.LeavesIt*/remove_under_receivers"},
    {"apply_without_commit", "a change of several semaphores is applied without its commit", kSemaphoreCrash,
     "*"},
    {"serve_without_wake", "sleepers whose operations were performed are not woken", kSemaphoreCrash,
     "*"},
    {"recover_without_applying", "recovery forgets a committed change", kSemaphoreCrash,
     "*"},
    {"undo_twice", "what the dead gave back stays in their record", kSemaphoreCrash,
     "*"},
    {"attach_without_count", "an attachment that is not counted", "unit_objects_segment_test",
     "SegmentTest.Counts*"},
    {"dead_stay_attached", "the attachments of the dead count", "unit_objects_segment_test",
     "SegmentTest.Counts*"},
    {"forget_by_store", "who counts forgets a child that has gone over to its own life", "unit_objects_segment_test",
     "SegmentTest.AChildThatGoesOver*"},
    {"live_before_named", "a System V object is live before its key leads to it", "unit_objects_sysv_registry_test",
     "*/SysvRegistryCrash.*"},
};
void PrintTo(const Mutant& mutant, std::ostream* out) { *out << mutant.name; }

std::string directory_of_tests() {
    return std::filesystem::read_symlink("/proc/self/exe").parent_path();
}

struct Ended {
    bool in_time;
    int status;
    std::string output;
    double seconds;
};

// Runs a proof's cases, with a fault in if one is named.
Ended run(const Mutant& mutant, const char* fault) {
    char output[] = "/tmp/muster-mutant-XXXXXX";
    const int out = mkstemp(output);
    const auto start = std::chrono::steady_clock::now();
    Child child([&] {
        setpgid(0, 0);
        dup2(out, 1);
        dup2(out, 2);
        // A filter's cases one after another, until one fails.
        const std::string program = directory_of_tests() + "/" + mutant.program, filter = std::string("--gtest_filter=") + mutant.cases;
        unsetenv("MUSTER_PROOF_FIGURES");
        unsetenv("MUSTER_PROOF");
        if (fault != nullptr) {
            setenv("MUSTER_MUTANT", fault, 1);
            setenv("MUSTER_TEST_PATIENCE", "2", 1);
        }
        execl(program.c_str(), program.c_str(), filter.c_str(), "--gtest_fail_fast", nullptr);
        _exit(127);
    });
    const pid_t group = child.pid();
    const bool in_time = child.ends(std::chrono::minutes(4));
    kill(-group, SIGKILL);  // whatever a failed proof left running
    Ended ended{in_time, in_time ? child.status() : 0, {}, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
    std::ifstream text(output);
    std::stringstream whole;
    whole << text.rdbuf();
    ended.output = whole.str();
    close(out);
    unlink(output);
    return ended;
}

bool ran_cases(const Ended& ended) { return ended.output.find("[ RUN      ]") != std::string::npos; }

class Mutants : public testing::TestWithParam<Mutant> {};

TEST_P(Mutants, AreCaught) {
    const Mutant& mutant = GetParam();
    static std::set<std::string> passed;  // those that were seen to pass without a fault
    if (passed.insert(std::string(mutant.program) + mutant.cases).second) {
        const Ended sound = run(mutant, nullptr);
        ASSERT_TRUE(sound.in_time && WIFEXITED(sound.status) && WEXITSTATUS(sound.status) == 0 && ran_cases(sound))
            << mutant.program << " --gtest_filter=" << mutant.cases << " without a fault:\n" << sound.output;
    }
    const Ended faulty = run(mutant, mutant.name);
    const bool failed = faulty.in_time && ((WIFEXITED(faulty.status) && WEXITSTATUS(faulty.status) == 1 && ran_cases(faulty)) || WIFSIGNALED(faulty.status));
    EXPECT_TRUE(failed) << mutant.name << " (" << mutant.breaks << ") survives " << mutant.program << " --gtest_filter=" << mutant.cases << "\n"
                        << faulty.output;
    if (failed) figure("mutants", "%s (%s): found by %s in %.1f s", mutant.name, mutant.breaks, mutant.program, faulty.seconds);
}

INSTANTIATE_TEST_SUITE_P(All, Mutants, testing::ValuesIn(kMutants), [](const auto& info) { return std::string(info.param.name); });

// Every fault that the sources name is in the table, and the other way round.
TEST(MutantsTable, IsWhole) {
#ifdef MUSTER_SOURCES
    std::set<std::string> in_sources, in_table;
    for (const auto& file : std::filesystem::recursive_directory_iterator(MUSTER_SOURCES)) {
        if (file.path().extension() != ".cpp" && file.path().extension() != ".hpp") continue;
        std::ifstream in(file.path());
        for (std::string line; std::getline(in, line);) {
            const auto at = line.find("MUSTER_MUTANT(");
            if (at == std::string::npos || line.find("#define") != std::string::npos || line.find("//") < at) continue;
            const auto begin = at + sizeof "MUSTER_MUTANT(" - 1;
            in_sources.insert(line.substr(begin, line.find(')', begin) - begin));
        }
    }
    for (const Mutant& mutant : kMutants) in_table.insert(mutant.name);
    EXPECT_EQ(in_sources, in_table);
    EXPECT_GE(in_table.size(), 12u);
#endif
}

}  // namespace
