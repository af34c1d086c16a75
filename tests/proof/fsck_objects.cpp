// Proves the same of semaphore sets, of segments, and of the names and keys of System V objects: after seeded random damage fsck finds
// something, or the object behaves as before; after --repair it is clean, usable, and says nothing that was not so. A process that
// holds a semaphore with undo, and has the segment attached, lives beside it all the time. What stands once in the file (a value, an
// adjustment, a time, the bytes of a segment) may differ where the damage has come over that.
#include <gtest/gtest.h>
#include <algorithm>
#include <numeric>
#include "fsck_image.hpp"
#include "muster/domain.hpp"
#include "muster/segment.hpp"
#include "muster/semaphore_set.hpp"
#include "muster/typed_queue.hpp"
#include "objects/segment_layout.hpp"
#include "objects/semaphore_set_layout.hpp"
#include "objects/sysv_registry.hpp"
#include "support/child.hpp"

namespace muster {
namespace {
using test::Image;
using test::Random;

struct Scratch {
    Scratch() {
        if (mkdtemp(path) == nullptr) throw std::runtime_error("no directory");
    }
    ~Scratch() { (void)!std::system(("rm -rf " + std::string(path)).c_str()); }
    char path[40] = "/dev/shm/muster-proof-fsck-XXXXXX";
};

bool is_left(const Finding& finding) { return !finding.harmless; }
bool any_left(const std::vector<Finding>& findings) { return std::any_of(findings.begin(), findings.end(), is_left); }

constexpr std::uint16_t kValues[] = {0, 5, 1, 32767, 77, 2};
constexpr std::uint16_t kHeld = 1;  // by the process beside it
constexpr std::uint16_t kAmount = 2;
constexpr std::uint64_t kSegmentBytes = 10'000;

class ObjectCase {
public:
    explicit ObjectCase(bool set) : set_(set), domain_(Domain::open(std::string(scratch_.path) + "/domain").value()) {
        if (set) {
            auto made = SemaphoreSet::create(domain_, Key(0x55), kValues).value();
            EXPECT_TRUE(made.post(4, 3));
        } else {
            auto made = Segment::create(domain_, Key(0x55), kSegmentBytes).value();
            auto attached = made.attach().value();
            std::iota(reinterpret_cast<unsigned char*>(attached.data()), reinterpret_cast<unsigned char*>(attached.data()) + kSegmentBytes, static_cast<unsigned char>(1));
        }
        int ready[2];
        if (pipe(ready) != 0) throw std::runtime_error("no pipe");
        beside_ = fork();
        if (beside_ == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            auto domain = Domain::open(std::string(scratch_.path) + "/domain").value();
            if (set) {
                auto opened = SemaphoreSet::open(domain, Key(0x55)).value();
                auto hold = opened.hold(kHeld, kAmount);
                (void)!write(ready[1], "x", 1);
                for (;;) pause();
            }
            auto attached = Segment::open(domain, Key(0x55)).value().attach();
            (void)!write(ready[1], "x", 1);
            for (;;) pause();
        }
        char byte = 0;
        (void)!read(ready[0], &byte, 1);
        close(ready[0]);
        close(ready[1]);
        path_ = domain_.list()->at(0).path;
        image_.emplace(std::vector<std::string>{path_});
    }
    ~ObjectCase() {
        kill(beside_, SIGKILL);
        waitpid(beside_, nullptr, 0);
    }

    std::string run(std::uint64_t seed, test::SharedTally& tally) {
        Random random(seed);
        image_->restore();
        const std::string damage = image_->damage(random, set_ ? sizeof(objects::SemaphoreHeader) + sizeof kValues / 2 * 64 : 256 + 64);
        ++tally->damages;
        const std::string wrong = test::run_apart(tally, [&] { return examine(*tally); });
        return wrong.empty() ? wrong : damage + ": " + wrong;
    }

private:
    std::string examine(test::Tally& tally) {
        auto findings = domain_.fsck(false, path_);
        if (!findings) return findings.error().message();
        // A header that says "removed" is what a remover who was killed leaves: gc's business.
        if (!image_->intact(0, offsetof(memory::ObjectHeader, removed), 4)) return ++tally.unwitnessed, std::string();
        if (!any_left(*findings)) {
            ++tally.silent;
            return set_ ? observe_set(true, tally) : observe_segment(true, tally);
        }
        ++tally.found;
        const std::string said = findings->at(0).what;
        auto mended = domain_.fsck(true, path_);
        if (!mended) return mended.error().message();
        const bool all = std::all_of(mended->begin(), mended->end(), [](const Finding& finding) { return finding.repaired || finding.harmless; });
        auto again = domain_.fsck(false, path_);
        if (all && any_left(*again)) return "said to be repaired (" + said + "), and is not: " + again->at(0).what;
        if (!all) return ++tally.left, std::string();
        ++tally.repaired;
        const std::string wrong = set_ ? observe_set(false, tally) : observe_segment(false, tally);
        return wrong.empty() ? wrong : wrong + " (" + said + ")";
    }

    std::string observe_set(bool before, test::Tally& tally) {
        auto set = SemaphoreSet::open(domain_, Key(0x55));
        if (!set) return "cannot be opened: " + set.error().message();
        auto values = set->values();
        if (!values) return "values: " + values.error().message();
        if (values->size() != std::size(kValues)) return "another number of semaphores";
        bool changed = false;
        for (std::uint16_t i = 0; i < values->size(); ++i) {
            const bool witness = image_->intact(0, sizeof(objects::SemaphoreHeader) + i * sizeof(objects::Semaphore), 2) && undo_intact();
            const int right = kValues[i] - (i == kHeld ? kAmount : 0) + (i == 4 ? 3 : 0);
            if (values->at(i) != right && witness) return "semaphore " + std::to_string(i) + " is " + std::to_string(values->at(i));
            changed = changed || values->at(i) != right;
        }
        auto holders = set->holders();
        if (!holders) return "holders: " + holders.error().message();
        for (const SemaphoreHolder& holder : *holders)
            if (undo_intact() && (holder.pid != beside_ || holder.number != kHeld || holder.adjustment != kAmount)) return "a holder that is none";
        if (undo_intact() && holders->size() != 1) return "the holder is not known";
        if (before && changed) ++tally.unwitnessed;
        // Every semaphore works, and nobody waits for what does not come.
        for (std::uint16_t i = 0; i < values->size(); ++i) {
            if (values->at(i) >= 32767) continue;
            if (auto posted = set->post(i); !posted) return "post: " + posted.error().message();
            if (auto waited = set->wait(i, 1, Deadline::after(std::chrono::seconds(20))); !waited) return "wait: " + waited.error().message();
        }
        return {};
    }
    // The undo record and the header's count of those.
    bool undo_intact() const {
        const std::string header = image_->original(0, 0, sizeof(objects::SemaphoreHeader));
        std::uint64_t undos = 0;
        std::memcpy(&undos, header.data() + offsetof(objects::SemaphoreHeader, undos_offset), sizeof undos);
        return image_->intact(0, undos, 64) && image_->intact(0, offsetof(objects::SemaphoreHeader, undos_high), 4);
    }

    std::string observe_segment(bool before, test::Tally& tally) {
        auto segment = Segment::open(domain_, Key(0x55));
        if (!segment) return "cannot be opened: " + segment.error().message();
        auto status = segment->status();
        if (!status) return "status: " + status.error().message();
        const bool size = image_->intact(0, offsetof(objects::SegmentControl, size_bytes), 8), record = image_->intact(0, sizeof(objects::SegmentControl), 16);
        const bool counts = image_->intact(0, offsetof(objects::SegmentControl, records_used), 8), flags = image_->intact(0, offsetof(objects::SegmentControl, flags), 4);
        if (status->size_bytes != kSegmentBytes && size) return "its size is " + std::to_string(status->size_bytes);
        if (status->attachments != 1 && record && counts) return std::to_string(status->attachments) + " attachments";
        if (before && (status->size_bytes != kSegmentBytes || status->attachments != 1)) ++tally.unwitnessed;
        if (!flags) return {};  // to be destroyed, perhaps
        auto attached = segment->attach();
        if (!attached) return "attach: " + attached.error().message();
        for (std::uint64_t i = 0; i < kSegmentBytes && i < status->size_bytes; ++i)
            if (reinterpret_cast<const unsigned char*>(attached->data())[i] != static_cast<unsigned char>(i + 1)) return "its bytes are others";
        return {};
    }

    Scratch scratch_;
    bool set_;
    Domain domain_;
    pid_t beside_ = -1;
    std::string path_;
    std::optional<Image> image_;
};

void damage_and_judge(bool set, const char* name, unsigned few, unsigned many) {
    ObjectCase object(set);
    test::SharedTally tally;
    const unsigned cases = test::short_or_long(few, many);
    const char* only = std::getenv("MUSTER_FSCK_CASE");
    unsigned failures = 0;
    for (unsigned i = 0; i < cases && failures < 10; ++i) {
        if (only != nullptr && std::strtoul(only, nullptr, 10) != i) continue;
        std::string wrong;
        try {
            wrong = object.run(test::proof_seed() * 1'000'003 + i, tally);
        } catch (const std::exception& e) {  // the case before lost the file
            ADD_FAILURE() << e.what();
            break;
        }
        if (wrong.empty()) continue;
        ++failures;
        ADD_FAILURE() << wrong << "\n  again: MUSTER_PROOF_SEED=" << test::proof_seed() << " MUSTER_FSCK_CASE=" << i;
    }
    test::figure("fsck", "%s: %u damages, %u found, %u without effect (%u of what has one witness), %u repaired, %u left", name, tally->damages, tally->found,
                 tally->silent, tally->unwitnessed, tally->repaired, tally->left);
    if (only == nullptr) {
        EXPECT_GT(tally->found, cases / 5);
        EXPECT_GT(tally->repaired, cases / 20);
    }
}

TEST(FsckObjects, SemaphoreSets) { damage_and_judge(true, "semaphore sets", 200, 3000); }
TEST(FsckObjects, Segments) { damage_and_judge(false, "segments", 200, 3000); }

// ---- names ----

bool put_word(const std::string& path, std::uint32_t value, std::uint64_t offset) {
    const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    const bool good = pwrite(fd, &value, sizeof value, static_cast<off_t>(offset)) == static_cast<ssize_t>(sizeof value);
    close(fd);
    return good;
}

// Each way in which a name can come to lead astray, for each kind: found, mended, and the object is found again by its key and by its
// identifier, with what was in it.
TEST(FsckObjects, NamesAndKeys) {
    constexpr std::uint64_t kId = 92, kKey = 84, kRemoved = 88;
    struct Way {
        const char* name;
        bool (*damage)(const std::string& domain, const std::string& kind);
    };
    const Way ways[] = {
        {"the key leads nowhere", [](const std::string& d, const std::string& k) { return unlink((d + "/key/" + k + "-00000055").c_str()) == 0; }},
        {"the index leads nowhere", [](const std::string& d, const std::string& k) { return unlink((d + "/sysv/" + k + "-0").c_str()) == 0; }},
        {"another identifier", [](const std::string& d, const std::string& k) { return put_word(d + "/sysv/" + k + "-0", 7 * 32768 + 9, kId); }},
        {"no identifier", [](const std::string& d, const std::string& k) { return put_word(d + "/sysv/" + k + "-0", 0xffffffff, kId); }},
        {"another key", [](const std::string& d, const std::string& k) { return put_word(d + "/sysv/" + k + "-0", 0x56, kKey); }},
        {"no key", [](const std::string& d, const std::string& k) { return put_word(d + "/sysv/" + k + "-0", 0, kKey); }},
        {"neither there nor removed", [](const std::string& d, const std::string& k) { return put_word(d + "/sysv/" + k + "-0", 9, kRemoved); }},
        {"no magic number", [](const std::string& d, const std::string& k) { return put_word(d + "/sysv/" + k + "-0", 9, 0); }},
        {"another length", [](const std::string& d, const std::string& k) { return put_word(d + "/sysv/" + k + "-0", 9, 32); }},
        {"never ready", [](const std::string& d, const std::string& k) { return put_word(d + "/sysv/" + k + "-0", 0, 56); }},
        {"hints", [](const std::string& d, const std::string& k) { return put_word(d + "/sysv/." + k, 9, 0); }},
    };
    unsigned tried = 0, mended = 0;
    for (const char* kind : {"msg", "sem", "shm"}) {
        for (const Way& way : ways) {
            SCOPED_TRACE(std::string(kind) + ": " + way.name);
            Scratch scratch;
            const std::string path = std::string(scratch.path) + "/domain";
            std::int32_t id = -1;
            {
                const Domain domain = Domain::open(path).value();
                if (*kind == 'm') {
                    auto queue = TypedQueue::create(domain, Key(0x55)).value();
                    ASSERT_TRUE(queue.try_send("kept", 3));
                    id = queue.identifier();
                } else if (kind[1] == 'e') {
                    id = SemaphoreSet::create(domain, Key(0x55), {3, 4}).value().identifier();
                } else {
                    auto segment = Segment::create(domain, Key(0x55), 100).value();
                    std::memcpy(segment.attach().value().data(), "kept", 4);
                    id = segment.identifier();
                }
            }
            ASSERT_TRUE(way.damage(path, kind));
            test::SharedTally tally;
            ++tried;
            const std::string wrong = test::run_apart(tally, [&]() -> std::string {
                const Domain domain = Domain::open(path).value();
                auto found = domain.fsck(false);
                if (!found || !any_left(*found)) return "nothing is found";
                auto repaired = domain.fsck(true);
                for (const Finding& finding : *repaired)
                    if (!finding.repaired && !finding.harmless) return "left: " + finding.what;
                auto again = domain.fsck(false);
                if (any_left(*again)) return "still: " + again->at(0).what;
                const bool renumbered = std::strstr(way.name, "identifier") != nullptr;  // its round is not known any more
                if (*kind == 'm') {
                    auto queue = TypedQueue::open(domain, Key(0x55));
                    if (!queue || (!renumbered && !TypedQueue::open(domain, id))) return "not found again";
                    auto message = queue->try_receive();
                    if (!message || message->text() != "kept" || message->type != 3) return "the message is gone";
                } else if (kind[1] == 'e') {
                    auto set = SemaphoreSet::open(domain, Key(0x55));
                    if (!set || (!renumbered && !SemaphoreSet::open(domain, id))) return "not found again";
                    if (auto values = set->values(); !values || *values != std::vector<std::uint16_t>{3, 4}) return "its values are gone";
                } else {
                    auto segment = Segment::open(domain, Key(0x55));
                    if (!segment || (!renumbered && !Segment::open(domain, id))) return "not found again";
                    if (auto attached = segment->attach(); !attached || std::memcmp(attached->data(), "kept", 4) != 0) return "its bytes are gone";
                }
                return {};
            });
            EXPECT_EQ(wrong, "");
            mended += wrong.empty() ? 1 : 0;
        }
    }
    test::figure("fsck", "names and keys: %u ways astray, %u mended", tried, mended);
}

}  // namespace
}  // namespace muster
