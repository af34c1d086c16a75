// Proves what `muster fsck` promises of queues, POSIX and System V, by seeded random damage to files of known content. After each damage:
//   - salvage hands out every message whose slot is as it was, whole and once, and none that was not in the queue;
//   - fsck ends, and either finds something or the queue behaves as if nothing had happened: the same messages in the same
//     order, and room for as many as before. Bytes, length, priority, type and place in the order of a message stand once in the file:
//     where the damage has come over those of a message alone, that message may differ (the figure `unwitnessed`);
//   - after --repair fsck finds nothing, the queue takes and gives messages, and holds every message whose slot is as it was, once.
// Each case runs in a process of its own, so that a crash or a hang is told and not the end of it. The other kinds: fsck_objects.cpp.
#include <gtest/gtest.h>
#include <algorithm>
#include <map>
#include <set>
#include "fsck_image.hpp"
#include "muster/domain.hpp"
#include "muster/message_queue.hpp"
#include "muster/typed_queue.hpp"
#include "objects/queue.hpp"
#include "support/test_queue.hpp"

namespace muster {
namespace {
using test::Image;
using test::Random;

// So that every message says whether its id is the one it was sent with.
constexpr std::uint32_t kShortest = test::kBodyBytes + 8;

struct Known {
    std::uint64_t id;
    std::uint32_t length, label;
    std::uint64_t slot, payload;  // offsets in the file that has the slots
};

struct Got {
    std::uint64_t id = 0;
    std::uint32_t label = 0;
    bool whole = false;
};

Got judge(std::span<const std::byte> bytes, std::uint64_t label) {
    Got got;
    got.label = static_cast<std::uint32_t>(label);
    got.whole = test::wrong_body(bytes.data(), bytes.size(), label) == nullptr;
    if (bytes.size() >= sizeof got.id) std::memcpy(&got.id, bytes.data(), sizeof got.id);
    return got;
}

struct Shape {
    const char* name;
    bool typed;
    std::uint64_t messages_max, message_bytes_max;
};

class QueueCase {
public:
    QueueCase(const Shape& shape, const std::string& directory) : shape_(shape), domain_(Domain::open(directory).value()) {
        if (shape.typed) {
            EXPECT_TRUE(domain_.set_limit("msgmax", shape.message_bytes_max));
            EXPECT_TRUE(domain_.set_limit("msgmnb", 1 << 20));
            typed_.emplace(TypedQueue::create(domain_, Key(0x77)).value());
        } else {
            QueueOptions options;
            options.messages_max = shape.messages_max;
            options.message_size_bytes_max = shape.message_bytes_max;
            posix_.emplace(MessageQueue::create(domain_, "/q", options).value());
        }
        fill();
        const std::string path = domain_.list()->at(0).path;
        posix_.reset();
        typed_.reset();
        image_.emplace(shape.typed ? std::vector<std::string>{path, path + ".data"} : std::vector<std::string>{path});
        path_ = path;
        find_slots();
    }

    std::string run(std::uint64_t seed, test::SharedTally& tally) {
        Random random(seed);
        image_->restore();
        const std::string damage = image_->damage(random, 2048 + 256, points_);
        ++tally->damages;
        const std::string wrong = test::run_apart(tally, [&] { return examine(*tally); });
        return wrong.empty() ? wrong : damage + ": " + wrong;
    }
    std::size_t size() const { return known_.size(); }

private:
    // Some come, some go, so that there are free slots of every kind, messages in the index and in the inbox.
    void fill() {
        Random random(7);
        std::uint64_t id = 1;
        const auto send = [&](unsigned count) {
            for (unsigned i = 0; i < count; ++i, ++id) {
                const std::uint32_t label = shape_.typed ? 1 + random.below(5) : random.once_in(8) ? 20000 : random.below(4);
                const auto length = static_cast<std::uint32_t>(std::max<std::uint64_t>(kShortest, 1 + random.next() % shape_.message_bytes_max));
                if (!send_one(id, length, label)) throw std::runtime_error("not sent");
                expected_.push_back({id, label, true});
            }
        };
        const auto count = static_cast<unsigned>(std::min<std::uint64_t>(shape_.messages_max, 60));
        send(count * 3 / 4);
        for (unsigned i = 0; i < count / 4; ++i) {
            const Got got = receive_one();
            std::erase_if(expected_, [&](const Got& each) { return each.id == got.id; });
        }
        send(count / 4);
        if (!shape_.typed)
            std::stable_sort(expected_.begin(), expected_.end(), [](const Got& a, const Got& b) { return a.label > b.label; });
    }
    bool send_one(std::uint64_t id, std::uint32_t length, std::uint32_t label) {
        std::vector<std::byte> body(length);
        test::write_body(body.data(), id, length, label);
        return shape_.typed ? typed_->send(body, label, Deadline::now()).has_value() : posix_->try_send(body, label).has_value();
    }
    Got receive_one() {
        if (shape_.typed) {
            auto got = typed_->try_receive();
            return got ? judge(got->bytes, static_cast<std::uint64_t>(got->type)) : Got{~0ull, static_cast<std::uint32_t>(got.error().errno_value()), false};
        }
        auto got = posix_->try_receive();
        return got ? judge(got->bytes, got->priority) : Got{~0ull, static_cast<std::uint32_t>(got.error().errno_value()), false};
    }

    void find_slots() {
        std::uint64_t length = 0;
        std::string header = image_->original(0, 0, sizeof(objects::QueueHeader));
        objects::QueueGeometry said;
        std::memcpy(&said, header.data() + offsetof(objects::QueueHeader, geometry), sizeof said);
        geometry_ = objects::plan_queue(said.messages_max, said.message_bytes_max, shape_.typed ? objects::QueueFace::types : objects::QueueFace::priorities, length);
        file_ = shape_.typed ? 1 : 0;
        const std::uint64_t base = shape_.typed ? geometry_.slots_offset : 0;
        for (std::uint32_t number = 0; number < 4096 && number < geometry_.slots; ++number) {
            const std::uint64_t at = geometry_.slots_offset + std::uint64_t{number} * geometry_.slot_stride - base;
            const std::string bytes = image_->original(file_, at, sizeof(objects::Slot));
            std::uint32_t state = 0, size = 0;
            std::uint64_t key = 0;
            std::memcpy(&state, bytes.data(), 4);
            std::memcpy(&key, bytes.data() + 16, 8);
            std::memcpy(&size, bytes.data() + 24, 4);
            if (bytes != std::string(sizeof(objects::Slot), '\0')) points_.push_back({file_, at, sizeof(objects::Slot)});
            if (shape_.typed && points_.size() > number) points_.push_back({file_, at + geometry_.slot_stride - sizeof(objects::TypeLane), sizeof(objects::TypeLane)});
            if ((state & 15) != 2 && (state & 15) != 3) continue;
            const std::uint64_t payload = size <= geometry_.inline_bytes ? at + sizeof(objects::Slot) : geometry_.regions_offset + number * geometry_.region_stride - base;
            std::uint64_t id = 0;
            std::memcpy(&id, image_->original(file_, payload, 8).data(), 8);
            known_[id] = {id, size, static_cast<std::uint32_t>(key), at, payload};
        }
        points_.push_back({0, sizeof(objects::QueueHeader), 8ull * geometry_.ring_entries});
        points_.push_back({0, geometry_.lanes_offset, 64});
        if (known_.size() != expected_.size()) throw std::runtime_error("the image does not hold what was sent");
    }

    // Which messages the damage left alone.
    std::set<std::uint64_t> intact_ids() const {
        std::set<std::uint64_t> ids;
        for (const auto& [id, each] : known_) {
            // What is between state and sequence are links, which are the lists' business.
            const bool header = image_->intact(file_, each.slot, 4) && image_->intact(file_, each.slot + 8, 20);
            if (header && image_->intact(file_, each.payload, each.length)) ids.insert(id);
        }
        return ids;
    }

    // None twice, none that was not there; the others, as they are said to be intact, all there.
    std::string compare(const std::vector<Got>& got, const std::set<std::uint64_t>& intact, const char* where, bool all) const {
        std::set<std::uint64_t> seen;
        for (const Got& each : got) {
            if (!each.whole) continue;  // damaged bytes: told below if they are an intact message's
            if (known_.count(each.id) == 0) return std::string(where) + ": message " + std::to_string(each.id) + " was not in the queue";
            if (!seen.insert(each.id).second) return std::string(where) + ": message " + std::to_string(each.id) + " came twice";
        }
        if (got.size() - seen.size() > known_.size() - intact.size()) return std::string(where) + ": more messages with damaged bytes than were damaged";
        for (const std::uint64_t id : intact)
            if (all && seen.count(id) == 0) return std::string(where) + ": message " + std::to_string(id) + " is whole and did not come";
        return {};
    }

    std::string salvage(const std::set<std::uint64_t>& intact, test::Tally& tally) {
        std::vector<Got> saved;
        std::uint64_t last = 0;
        bool ordered = true;
        SalvageSink sink;
        sink.message = [&](const SalvagedMessage& message) {
            saved.push_back(judge(message.bytes, message.label));
            ordered = ordered && message.sequence >= last;
            last = message.sequence;
            return true;
        };
        SalvageOptions options;
        options.kind = shape_.typed ? ObjectKind::typed_queue : ObjectKind::message_queue;
        auto report = Domain::salvage(path_, options, sink);
        // As a user does who is told that the shape is not known, or sees one that it never had.
        const bool shaped = report && report->how.find(std::to_string(geometry_.messages_max) + " messages of at most " + std::to_string(geometry_.message_bytes_max)) != std::string::npos;
        if (!shaped) {
            saved.clear();
            last = 0;
            options.messages_max = geometry_.messages_max;
            options.message_size_bytes_max = geometry_.message_bytes_max;
            report = Domain::salvage(path_, options, sink);
        }
        if (!report) return "salvage: " + report.error().message();
        if (!ordered) return "salvage: not in the order of sending";
        for (const std::uint64_t id : intact) tally.bytes_whole += known_.at(id).length;
        tally.whole += static_cast<unsigned>(intact.size());
        for (const Got& each : saved)
            if (each.whole && intact.count(each.id) != 0) ++tally.saved, tally.bytes_saved += known_.at(each.id).length;
        return compare(saved, intact, "salvage", true);
    }

    bool open_again(std::string& why) {
        if (shape_.typed) {
            auto opened = TypedQueue::open(domain_, Key(0x77));
            if (opened) typed_.emplace(std::move(*opened));
            else why = opened.error().message();
        } else {
            auto opened = MessageQueue::open(domain_, "/q");
            if (opened) posix_.emplace(std::move(*opened));
            else why = opened.error().message();
        }
        return shape_.typed ? typed_.has_value() : posix_.has_value();
    }

    // Takes everything out, then sees whether the queue still is one. `before`: fsck had nothing to say.
    std::string observe(const std::set<std::uint64_t>& intact, bool before, test::Tally& tally) {
        std::string why;
        if (!open_again(why)) return "cannot be opened: " + why;
        std::vector<Got> got;
        for (;;) {
            const Got each = receive_one();
            if (each.id == ~0ull && !each.whole && each.label == EAGAIN) break;
            if (each.id == ~0ull && each.label == EBADMSG) return "an operation finds it damaged";
            got.push_back(each);
            if (got.size() > 10000) return "it gives messages without end";
        }
        if (std::string wrong = compare(got, intact, before ? "found nothing" : "repaired", true); !wrong.empty()) return wrong;
        if (before) {
            // The intact ones in the order in which they would have come.
            std::vector<std::uint64_t> order, right;
            for (const Got& each : got)
                if (each.whole && intact.count(each.id) != 0) order.push_back(each.id);
            for (const Got& each : expected_)
                if (intact.count(each.id) != 0) right.push_back(each.id);
            if (order != right) return "found nothing, and the messages come in another order";
            if (intact.size() != known_.size()) ++tally.unwitnessed;
            else if (got.size() != known_.size()) return "found nothing, and there are more messages than were";
        }
        // As many as it says fit in, and come out again.
        std::uint64_t sent = 0;
        while (sent <= shape_.messages_max + 1 && sent < 200 && send_one(500000 + sent, kShortest, 3)) ++sent;
        if (!shape_.typed && shape_.messages_max < 190 && sent != shape_.messages_max) return "takes " + std::to_string(sent) + " messages";
        // How many bytes a typed queue may hold stands once.
        if (sent == 0 && !(before && shape_.typed)) return "takes no message";
        for (std::uint64_t i = 0; i < sent; ++i)
            if (const Got each = receive_one(); !each.whole || each.id != 500000 + i) return "does not give back what it took";
        return {};
    }

    std::string examine(test::Tally& tally) {
        const std::set<std::uint64_t> intact = intact_ids();
        if (std::string wrong = salvage(intact, tally); !wrong.empty()) return wrong;
        const auto is_left = [](const Finding& finding) { return !finding.harmless; };
        auto findings = domain_.fsck(false, path_);
        if (!findings) return "fsck: " + findings.error().message();
        if (std::none_of(findings->begin(), findings->end(), is_left)) {
            ++tally.silent;
            return observe(intact, true, tally);
        }
        ++tally.found;
        const std::string said = findings->at(0).what;
        auto mended = domain_.fsck(true, path_);
        if (!mended) return "fsck --repair: " + mended.error().message();
        const bool all = std::all_of(mended->begin(), mended->end(), [](const Finding& finding) { return finding.repaired || finding.harmless; });
        auto again = domain_.fsck(false, path_);
        const bool clean = again && std::none_of(again->begin(), again->end(), is_left);
        if (all && !clean) return "said to be repaired (" + said + "), and is not: " + again->at(0).what;
        if (!all) return ++tally.left, std::string();
        ++tally.repaired;
        std::string wrong = observe(intact, false, tally);
        return wrong.empty() ? wrong : wrong + " (" + said + ")";
    }

    Shape shape_;
    Domain domain_;
    std::optional<MessageQueue> posix_;
    std::optional<TypedQueue> typed_;
    std::optional<Image> image_;
    std::string path_;
    std::size_t file_ = 0;
    objects::QueueGeometry geometry_{};
    std::vector<Got> expected_;
    std::vector<Image::Point> points_;
    std::map<std::uint64_t, Known> known_;
};

class Fsck : public testing::TestWithParam<Shape> {};

TEST_P(Fsck, FindsMendsAndSaves) {
    char directory[] = "/dev/shm/muster-proof-fsck-XXXXXX";
    ASSERT_NE(mkdtemp(directory), nullptr);
    {
        QueueCase queue(GetParam(), std::string(directory) + "/domain");
        test::SharedTally tally;
        const unsigned cases = test::short_or_long(150u, 1500u);
        unsigned failures = 0;
        const char* only = std::getenv("MUSTER_FSCK_CASE");
        for (unsigned i = 0; i < cases && failures < 10; ++i) {
            if (only != nullptr && std::strtoul(only, nullptr, 10) != i) continue;
            const std::string wrong = queue.run(test::proof_seed() * 1'000'003 + i, tally);
            if (wrong.empty()) continue;
            ++failures;
            ADD_FAILURE() << wrong << "\n  again: MUSTER_PROOF_SEED=" << test::proof_seed() << " MUSTER_FSCK_CASE=" << i;
        }
        test::figure("fsck", "%s: %u damages, %u found, %u without effect (%u of them of a message's only witness), %u repaired, %u left; %u of %u whole messages saved, %llu of %llu bytes",
                     GetParam().name, tally->damages, tally->found, tally->silent, tally->unwitnessed, tally->repaired, tally->left, tally->saved, tally->whole,
                     tally->bytes_saved, tally->bytes_whole);
        if (only == nullptr) {
            EXPECT_GT(tally->found, cases / 5);
            EXPECT_GT(tally->repaired, cases / 20);
        }
    }
    (void)!std::system(("rm -rf " + std::string(directory)).c_str());
}

INSTANTIATE_TEST_SUITE_P(Queues, Fsck,
                         testing::Values(Shape{"shallow", false, 10, 64}, Shape{"inline", false, 40, 1000}, Shape{"regions", false, 60, 20'000},
                                         Shape{"types", true, 60, 200}, Shape{"types_regions", true, 40, 20'000}),
                         [](const testing::TestParamInfo<Shape>& info) { return info.param.name; });

}  // namespace
}  // namespace muster
