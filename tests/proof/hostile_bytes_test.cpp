// A peer that writes what it likes: each byte of every header, ring, list, index, record and table of every kind of object is set to
// each of its 256 values, each aligned word of four and eight bytes to what lies at the edges of ranges, in objects that hold
// messages, have sleepers, or were left by the dead. Proved, of all public calls that then meet the object, whether mapped before or
// opened afterwards: no crash, no access beyond the mapping, no hang, no errno that the call does not have; and sound objects of each kind in
// the same domain stay as they were and work.
//
// Lock words never name a stranger that lives, or an actor of one: such a lock is waited for, as it must be (docs/caveats.md, "Trust").
// The short form tries a sample that the seed chooses; the long one all where an object is mapped before the damage and holds messages or was
// left by the dead, and larger samples elsewhere; MUSTER_HOSTILE_ALL=1 all everywhere. MUSTER_HOSTILE_RUN=N tries one case again.
#include <gtest/gtest.h>
#include "proof/hostile_bytes.hpp"
#include "proof/hostile_controls.hpp"
#include "support/proof.hpp"

namespace {

using namespace muster::test;
using namespace muster::test::hostile;

class HostileBytes : public testing::Test {
protected:
    void SetUp() override { ASSERT_TRUE(Controls::make()); }
    // A sample in the short form; in the long one all (0), or a larger sample; MUSTER_HOSTILE_ALL=1: all.
    static Effort effort(std::uint64_t brief, std::uint64_t whole = 0) {
        return {getenv("MUSTER_HOSTILE_ALL") != nullptr ? 0 : short_or_long(brief, whole), "hostile_bytes"};
    }
    // Objects that hold messages, and those that the dead left, are tried in full where they are mapped before the damage.
    static Effort effort_in(const std::string& state, Met met, std::uint64_t brief) {
        const bool full = met == Met::known && (state == "messages" || state == "values" || state == "the dead");
        return effort(brief, full ? 0 : 60'000);
    }
    OwnDomain domain_;
};

class PosixQueue : public HostileBytes, public testing::WithParamInterface<const char*> {};
TEST_P(PosixQueue, EveryByte) {
    auto subject = posix_subject(domain_.path(), GetParam());
    for (const Met met : {Met::known, Met::late}) sweep(*subject, met, effort_in(GetParam(), met, 1500));
}
INSTANTIATE_TEST_SUITE_P(HostileBytes, PosixQueue, testing::Values("messages", "receivers asleep", "senders asleep", "the dead", "regions", "long messages"));

class TypedQueue : public HostileBytes, public testing::WithParamInterface<const char*> {};
TEST_P(TypedQueue, EveryByte) {
    auto subject = typed_subject(domain_.path(), GetParam());
    for (const Met met : {Met::known, Met::late}) sweep(*subject, met, effort_in(GetParam(), met, 1000));
}
INSTANTIATE_TEST_SUITE_P(HostileBytes, TypedQueue, testing::Values("messages", "receivers asleep", "senders asleep", "the dead"));

class SemaphoreSet : public HostileBytes, public testing::WithParamInterface<const char*> {};
TEST_P(SemaphoreSet, EveryByte) {
    auto subject = semaphore_subject(domain_.path(), GetParam());
    for (const Met met : {Met::known, Met::late}) sweep(*subject, met, effort_in(GetParam(), met, 1000));
}
INSTANTIATE_TEST_SUITE_P(HostileBytes, SemaphoreSet, testing::Values("values", "sleepers and holders", "the dead"));

TEST_F(HostileBytes, FileOfLives) {
    auto subject = lives_subject(domain_.path());
    for (const Met met : {Met::known, Met::late}) sweep(*subject, met, effort(500));
}

class Segment : public HostileBytes, public testing::WithParamInterface<const char*> {};
TEST_P(Segment, EveryByte) {
    auto subject = segment_subject(domain_.path(), GetParam());
    for (const Met met : {Met::known, Met::late}) sweep(*subject, met, effort(500));
}
INSTANTIATE_TEST_SUITE_P(HostileBytes, Segment, testing::Values("attached", "left by the dead"));

class Hints : public HostileBytes, public testing::WithParamInterface<const char*> {};
TEST_P(Hints, EveryByte) {
    auto subject = hints_subject(domain_.path(), GetParam());
    sweep(*subject, Met::known, effort(150, 10'000));
}
INSTANTIATE_TEST_SUITE_P(HostileBytes, Hints, testing::Values("msg", "sem", "shm"));

// The C++ library opens its objects anew in each case: what is sampled here was met in full above, through the C door.
TEST_F(HostileBytes, ThroughTheCppLibrary) {
    sweep(*through_cpp(posix_subject(domain_.path(), "the dead"), domain_.path(), "mq"), Met::known, effort(300, 30'000));
    sweep(*through_cpp(typed_subject(domain_.path(), "the dead"), domain_.path(), "msg"), Met::known, effort(150, 15'000));
    sweep(*through_cpp(semaphore_subject(domain_.path(), "the dead"), domain_.path(), "sem"), Met::known, effort(150, 15'000));
    sweep(*through_cpp(segment_subject(domain_.path(), "left by the dead"), domain_.path(), "shm"), Met::known, effort(150, 15'000));
}

}  // namespace
