// Faults put in on purpose: into the order of stores, into the kernel's wakes, and the seeded ones of the sources
// (MUSTER_MUTANT). Each is found.
#include <gtest/gtest.h>
#include <algorithm>
#include "platform/mutant.hpp"
#include "support/proof.hpp"
#include "tests/proof/schedules_queue.hpp"

namespace muster::test {
namespace {

using simulated::machine;
using simulated::Tampering;
using Names = std::function<bool(const void* address)>;

struct Fault {
    const char* name;
    const char* breaks;
    std::vector<const char*> scenarios;  // in which it is looked for, in turn
    const char* mutant = nullptr;
    // Else: what is done to words of these names.
    const char* begins = "";
    const char* ends = "";
    void (*tamper)(Tampering& tampering, Names concerns) = nullptr;
};
// Which take some ten thousand schedules to find: for the long form.
constexpr const char* kRare[] = {"returned_orders_nothing", "return_without_intent", "hand_over_then_wake",
                                 "recover_without_waking",  "give_without_notice",   "reap_without_returning",
                                 "take_before_copy"};
void PrintTo(const Fault& fault, std::ostream* out) {
    *out << fault.name;
}

const auto kWeaken = [](Tampering& tampering, Names concerns) { tampering.weakens = std::move(concerns); };
const auto kLoseWake = [](Tampering& tampering, Names concerns) { tampering.loses_wake = std::move(concerns); };
const auto kForget = [](Tampering& tampering, Names concerns) { tampering.forgets = std::move(concerns); };
const auto kNoMark = [](Tampering& tampering, Names) { tampering.no_death_mark = true; };
const auto kNoDeathWake = [](Tampering& tampering, Names) { tampering.no_death_wake = true; };

const Fault kFaults[] = {
    {"lock_orders_nothing", "letting go of the lock orders no stores", {"lock", "lock_pair"}, nullptr, "lock", "", kWeaken},
    {"send_lock_orders_nothing",
     "letting go of the send lock orders no stores",
     {"ring_two", "two_of_each"},
     nullptr,
     "send_lock",
     "",
     kWeaken},
    {"receive_lock_orders_nothing",
     "letting go of the receive lock orders no stores",
     {"ring_two", "two_of_each"},
     nullptr,
     "receive_lock",
     "",
     kWeaken},
    {"semaphore_lock_orders_nothing",
     "letting go of a set's lock orders no stores",
     {"sem_lock", "sem_vectors"},
     nullptr,
     "lock",
     "",
     kWeaken},
    {"sent_orders_nothing", "SYNC queue.sent carries nothing", {"ring", "ring_two"}, nullptr, "sent", "", kWeaken},
    {"returned_orders_nothing",
     "SYNC queue.returned carries nothing",
     {"ring", "ring_two"},
     nullptr,
     "returned_tail",
     "",
     kWeaken},
    {"lock_wake_lost", "letting go of the lock wakes nobody", {"lock"}, nullptr, "lock", "", kLoseWake},
    {"sleeper_wake_lost", "who is given something is not woken", {"two_of_each"}, nullptr, "actor", "word", kLoseWake},
    {"death_unmarked", "the kernel does not mark the dead one's word", {"lock_deaths"}, nullptr, "", "", kNoMark},
    {"death_wakes_nobody",
     "the kernel marks the dead one's word and wakes nobody",
     {"all_deaths", "senders_deaths"},
     nullptr,
     "",
     "",
     kNoDeathWake},
    {"death_unnoticed", "a lock taken from the dead is said to be clean", {"lock_deaths"}, "death_unnoticed"},
    {"commit_before_copy", "a message is committed before it is copied", {"ring_deaths"}, "commit_before_copy"},
    {"take_before_copy", "a slot is free before its message is copied out", {"ring_deaths", "ring_two"}, "take_before_copy"},
    {"fill_without_intent", "a slot is filled without an intent", {"ring_deaths"}, "fill_without_intent"},
    {"take_without_intent", "a message is taken without an intent", {"ring_deaths"}, "take_without_intent"},
    {"return_without_intent",
     "a slot is returned without an intent",
     {"receivers_deaths", "all_deaths"},
     "return_without_intent"},
    {"hand_over_then_wake",
     "an actor commits a hand-over before it wakes",
     {"typed_deaths", "all_deaths"},
     "hand_over_then_wake"},
    {"give_without_wake", "a receiver is given a message and not woken", {"receivers_sleep"}, "give_without_wake"},
    {"give_without_notice", "a giver's death is not the sleeper's to hear of", {"receivers_deaths"}, "give_without_notice"},
    {"give_space_without_notice", "the same with space", {"senders_deaths"}, "give_space_without_notice"},
    {"recover_without_publishing",
     "a committed message of the dead is not published",
     {"ring_deaths"},
     "recover_without_publishing"},
    {"recover_without_waking",
     "who was being given something is not told to ask again",
     {"receivers_deaths", "all_deaths"},
     "recover_without_waking"},
    {"recover_without_returning", "the dead one's slot is not returned", {"ring_deaths"}, "recover_without_returning"},
    {"recover_without_index", "the index is not made anew", {"ring_deaths"}, "recover_without_index"},
    {"reap_without_returning",
     "a dead receiver's message is not put back",
     {"receivers_deaths", "all_deaths"},
     "reap_without_returning"},
    {"serve_without_wake", "who is served is not woken", {"sem_posts", "sem_vectors"}, "serve_without_wake"},
    {"apply_without_commit", "a change is applied without its commit", {"sem_vectors_deaths"}, "apply_without_commit"},
    {"recover_without_applying",
     "a committed change of the dead is forgotten",
     {"sem_lock_deaths", "sem_vectors_deaths"},
     "recover_without_applying"},
    {"remove_without_waking", "IPC_RMID wakes nobody", {"removal"}, "remove_without_waking"},
    {"change_then_wake", "IPC_SET stores before it wakes", {"typed_grows"}, "change_then_wake"},
    {"set_removal_wake_lost", "a set's sleepers are not woken by its removal", {"sem_removal"}, nullptr, "actor", "", kLoseWake},
    {"long_claim_untold", "a record does not name the message being copied", {"long_deaths"}, nullptr, "actor", "slot", kForget},
    {"long_unmarked", "the kernel does not mark who dies while copying", {"regions_deaths"}, nullptr, "", "", kNoMark},
    {"poll_untold", "nobody knows that somebody polls", {"polls"}, nullptr, "flags", "", kForget},
    {"poll_tokens_forgotten", "the packets' count is taken for what it was", {"polls"}, nullptr, "tokens", "", kForget},
    {"watch_untold", "nobody knows that somebody is registered", {"notifies"}, nullptr, "flags", "", kForget},
    {"undo_twice", "adjustments of the dead are applied and kept", {"sem_lock_deaths"}, "undo_twice"},
};

class Teeth : public ::testing::TestWithParam<Fault> {
protected:
    void TearDown() override {
        machine().tampering = {};
        machine().tampered = false;
        muster::testing::chosen_mutant = nullptr;
    }
};
TEST_P(Teeth, TheFaultIsFound) {
    const Fault& fault = GetParam();
    if (!long_form() &&
        std::any_of(std::begin(kRare), std::end(kRare), [&](const char* rare) { return std::string(fault.name) == rare; }))
        GTEST_SKIP() << "takes many schedules";
    std::uint64_t tried = 0;
    for (const char* name : fault.scenarios) {
        auto scenario = make_scenario(name);
        ASSERT_NE(scenario, nullptr);
        Driver driver(*scenario);
        muster::testing::chosen_mutant = fault.mutant;
        if (fault.tamper != nullptr)
            fault.tamper(machine().tampering, [&](const void* address) {
                const std::string word = scenario->name_of(address);
                return word.starts_with(fault.begins) && word.ends_with(fault.ends);
            });
        machine().tampered = machine().tampering.any();
        const bool good = driver.run(proof_seed() * 1'000'000'000, 200'000);
        TearDown();
        tried += driver.schedules();
        if (good) continue;
        const std::string& what = driver.finding().what;
        figure("schedules, seeded fault", "%s (%s): found in %s, after %llu schedules: %s", fault.name, fault.breaks, name,
               static_cast<unsigned long long>(tried), what.substr(0, what.find('\n')).c_str());
        return;
    }
    ADD_FAILURE() << fault.breaks << ": not found in " << tried << " schedules";
}
INSTANTIATE_TEST_SUITE_P(Schedules, Teeth, ::testing::ValuesIn(kFaults),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace muster::test
