#include "objects/queue_salvage.hpp"
#include <algorithm>
#include <cstring>
#include "objects/queue.hpp"
#include "objects/queue_evidence.hpp"
#include "platform/file.hpp"

namespace muster::objects {
using platform::Fault;
using platform::Outcome;

namespace {

// Private memory for as much of a file as is there; the rest reads as zeroes and costs nothing.
class Copy {
public:
    Copy() = default;
    Copy(const Copy&) = delete;
    ~Copy() {
        if (start_ != nullptr) platform::unmap(start_, bytes_);
    }
    bool make(std::uint64_t bytes) {
        bytes_ = (bytes + 4095) & ~4095ull;
        const long memory = platform::system_call(SYS_mmap, 0, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory < 0 && memory > -4096) return false;
        start_ = reinterpret_cast<std::byte*>(memory);
        return true;
    }
    // Reads [from, from + bytes) of the file to `to`, holes left out. How far the file goes; negative: it cannot be read.
    std::int64_t fill(int fd, std::uint64_t from, std::uint64_t bytes, std::uint64_t to) {
        for (std::uint64_t at = from; at < from + bytes;) {
            const long data = platform::system_call(SYS_lseek, fd, at, SEEK_DATA);
            if (data == -ENXIO) return 0;  // no more data
            if (data > 0 && static_cast<std::uint64_t>(data) > at) at = static_cast<std::uint64_t>(data);
            if (at >= from + bytes) break;
            const std::uint64_t most = std::min<std::uint64_t>(from + bytes - at, 1 << 20);
            const long got = platform::read_at(fd, start_ + to + (at - from), most, at);
            if (got <= 0) return got;
            at += static_cast<std::uint64_t>(got);
            end_ = to + (at - from);
        }
        return 0;
    }
    std::byte* start() const { return start_; }
    std::uint64_t end() const { return end_; }  // from here on there was nothing

private:
    std::byte* start_ = nullptr;
    std::uint64_t bytes_ = 0, end_ = 0;
};

class Salvager {
public:
    Salvager(int fd, int slots_fd, const QueueShape& shape, Findings& findings) : fd_(fd), slots_fd_(slots_fd), findings_(findings) {
        geometry_ = plan_queue(shape.messages_max, shape.message_bytes_max, shape.face, planned_bytes_);
        typed_ = shape.face == QueueFace::types;
    }

    Outcome<> read() {
        struct stat status;
        if (const int rc = platform::file_status(typed_ ? slots_fd_ : fd_, &status); rc < 0) return Fault{-rc};
        data_end_ = static_cast<std::uint64_t>(status.st_size) + (typed_ ? geometry_.slots_offset : 0);
        if (!copy_.make(geometry_.regions_offset)) return Fault{ENOMEM, "no memory for a copy of the queue"};
        const std::uint64_t first = typed_ ? geometry_.slots_offset : geometry_.regions_offset;
        if (const auto rc = copy_.fill(fd_, 0, first, 0); rc < 0) return Fault{static_cast<int>(-rc), "the file cannot be read"};
        if (typed_)
            if (const auto rc = copy_.fill(slots_fd_, 0, geometry_.regions_offset - geometry_.slots_offset, geometry_.slots_offset); rc < 0)
                return Fault{static_cast<int>(-rc), "the queue's second file cannot be read"};
        if (geometry_.region_stride != 0 && !text_.make(geometry_.region_stride)) return Fault{ENOMEM, "no memory for a message"};
        slots_ = {copy_.start() + geometry_.slots_offset, geometry_.slots, geometry_.slot_stride};
        return platform::done();
    }

    Outcome<> take_all(TakeMessage take, void* context, QueueSalvage& result) {
        auto* header = reinterpret_cast<QueueHeader*>(copy_.start());
        const PriorityIndex index(&header->receive, reinterpret_cast<LaneBlock*>(copy_.start() + geometry_.lanes_offset), slots_);
        const TypeIndex types(&header->receive.types, slots_);
        auto* inbox = reinterpret_cast<memory::ShmU32*>(copy_.start() + sizeof(QueueHeader));
        // Nobody's hands: what is taken comes back. Every lane is looked at, whatever the header says has memory.
        const QueueView view{header, inbox, inbox + geometry_.ring_entries, geometry_.ring_entries - 1, slots_, typed_ ? nullptr : &index, typed_ ? &types : nullptr,
                             nullptr, 0, geometry_.message_bytes_max, geometry_.inline_bytes, geometry_.region_stride != 0, ~0ull, geometry_.lanes_offset, 0};
        Findings silent([](void*, const Found&) {}, nullptr);
        QueueEvidence evidence(view);
        if (auto gathered = evidence.gather(silent); !gathered) return gathered;
        if (auto listed = list(evidence, result); !listed) return listed;
        if (auto handed = hand_out(evidence, take, context, result); !handed) return handed;
        // Slots that are gone altogether are known by the count alone.
        const std::uint64_t counted = header->sent.sent.load_relaxed() - header->received.freed.load_relaxed(), had = result.messages + result.broken;
        if (result.source == ShapeSource::header && counted > had && counted <= geometry_.messages_max) {
            findings_.say({0, static_cast<std::uint32_t>(counted - had), false}, "the queue's count says that %llu more were in it; their slots are gone",
                          static_cast<unsigned long long>(counted - had));
            result.broken += counted - had;
        }
        return platform::done();
    }

    ~Salvager() {
        if (found_ != nullptr) platform::unmap(found_, found_bytes_);
    }
    Salvager(const Salvager&) = delete;

private:
    struct Candidate {
        std::uint64_t sequence;
        std::uint32_t number;
    };

    // The slots that hold messages, oldest first.
    Outcome<> list(const QueueEvidence& evidence, QueueSalvage& result) {
        found_bytes_ = (geometry_.slots * sizeof(Candidate) + 4095) & ~4095ull;
        const long memory = platform::map_private_zeroes(found_bytes_);
        if (memory < 0 && memory > -4096) return Fault{ENOMEM, "no memory to sort the messages"};
        found_ = reinterpret_cast<Candidate*>(memory);
        result.slots = geometry_.slots;
        for (std::uint32_t number = 0; number < geometry_.slots; ++number) {
            if (geometry_.slots_offset + std::uint64_t{number} * geometry_.slot_stride >= copy_.end()) break;
            const Slot& slot = slots_[number];
            const auto verdict = evidence.judge(number);
            if (verdict == QueueEvidence::Verdict::message) {
                found_[count_++] = {slot.sequence.load_relaxed(), number};
            } else if (verdict == QueueEvidence::Verdict::broken) {
                ++result.broken;
                const std::uint32_t length = slot.length.load_relaxed();
                const bool known = view_length(length);
                if (known) result.bytes_lost += length;
                findings_.say({known ? length : 0, 1, false}, "slot %u: %s (state %u, length %u, key %llu, sequence %llu)", number, why(number, evidence),
                              slot.state.load_relaxed(), length, static_cast<unsigned long long>(slot.key.load_relaxed()),
                              static_cast<unsigned long long>(slot.sequence.load_relaxed()));
            } else if (slot_state(slot.state.load_relaxed()) == SlotState::filling) {
                ++result.unfinished;
            }
        }
        std::sort(found_, found_ + count_, [](const Candidate& a, const Candidate& b) { return a.sequence != b.sequence ? a.sequence < b.sequence : a.number < b.number; });
        return platform::done();
    }

    bool view_length(std::uint64_t length) const {
        return length <= geometry_.message_bytes_max && (length <= geometry_.inline_bytes || geometry_.region_stride != 0);
    }
    const char* why(std::uint32_t number, const QueueEvidence& evidence) const {
        const Slot& slot = slots_[number];
        if ((slot.state.load_relaxed() & 15) > 4) return "its state is none";
        if (!view_length(slot.length.load_relaxed())) return "its length is none";
        if (slot.sequence.load_relaxed() == 0) return "its place in the order is none";
        return typed_ ? "its type is none" : evidence.key_of(number) >= kPriorities ? "its priority is none" : "it makes no sense";
    }

    // The bytes of the message in a slot; null if the file does not reach so far.
    const std::byte* bytes_of(std::uint32_t number, std::uint64_t length) {
        if (length <= geometry_.inline_bytes) {
            const std::uint64_t at = geometry_.slots_offset + std::uint64_t{number} * geometry_.slot_stride + sizeof(Slot);
            return at + length <= data_end_ ? copy_.start() + at : nullptr;
        }
        const std::uint64_t at = geometry_.regions_offset + std::uint64_t{number} * geometry_.region_stride;
        if (at + length > data_end_) return nullptr;
        for (std::uint64_t done = 0; done < length;) {
            const long got = platform::read_at(typed_ ? slots_fd_ : fd_, text_.start() + done, length - done, at + done - (typed_ ? geometry_.slots_offset : 0));
            if (got <= 0) return nullptr;
            done += static_cast<std::uint64_t>(got);
        }
        return text_.start();
    }

    Outcome<> hand_out(const QueueEvidence& evidence, TakeMessage take, void* context, QueueSalvage& result) {
        for (std::uint64_t i = 0; i < count_; ++i) {
            const std::uint32_t number = found_[i].number;
            const std::uint64_t length = slots_[number].length.load_relaxed();
            const std::byte* bytes = bytes_of(number, length);
            if (bytes == nullptr) {
                ++result.broken;
                result.bytes_lost += length;
                findings_.say({length, 1, false}, "slot %u: the file ends before the message's %llu bytes do", number, static_cast<unsigned long long>(length));
                continue;
            }
            if (is_double(i, number, length, bytes)) {
                ++result.doubles;
                findings_.say({0, 0, false}, "slot %u: a copy of another message", number);
                continue;
            }
            ++result.messages;
            result.bytes += length;
            if (!take(context, {bytes, length, evidence.key_of(number), found_[i].sequence})) return Fault{ECANCELED, nullptr};
        }
        return platform::done();
    }

    // Of two messages of one place in the order and the same bytes one is a copy that the damage made.
    bool is_double(std::uint64_t i, std::uint32_t number, std::uint64_t length, const std::byte* bytes) const {
        if (length > geometry_.inline_bytes) return false;  // each has a region of its own
        for (std::uint64_t before = i; before-- > 0 && found_[before].sequence == found_[i].sequence;) {
            const Slot& other = slots_[found_[before].number];
            if (other.length.load_relaxed() == length && other.key.load_relaxed() == slots_[number].key.load_relaxed() &&
                std::memcmp(&other + 1, bytes, length) == 0)
                return true;
        }
        return false;
    }

    int fd_, slots_fd_;
    Findings& findings_;
    QueueGeometry geometry_{};
    std::uint64_t planned_bytes_ = 0;
    bool typed_ = false;
    std::uint64_t data_end_ = 0;  // as if both files were one
    Copy copy_, text_;
    SlotTable slots_{};
    Candidate* found_ = nullptr;
    std::uint64_t found_bytes_ = 0, count_ = 0;
};

}  // namespace

Outcome<QueueSalvage> salvage_queue(int fd, int slots_fd, const QueueShape* given, TakeMessage take, void* context, Findings& findings) {
    QueueSalvage result;
    if (given != nullptr) {
        const bool good = given->messages_max != 0 && given->messages_max <= kQueueMessagesMost && given->message_bytes_max != 0 &&
                          given->message_bytes_max <= kQueueMessageBytesMost;
        if (!good) return Fault{EINVAL, "a queue holds 1 to 16000000 messages of 1 byte to 1 GiB"};
        result.shape = *given;
        result.shape.face = slots_fd >= 0 ? QueueFace::types : QueueFace::priorities;
        result.source = ShapeSource::given;
    } else {
        auto shape = find_queue_shape(fd, slots_fd, result.source, result.several_shapes);
        if (!shape) return shape.fault();
        result.shape = *shape;
    }
    Salvager salvager(fd, slots_fd, result.shape, findings);
    if (auto read = salvager.read(); !read) return read.fault();
    if (auto taken = salvager.take_all(take, context, result); !taken) return taken.fault();
    return result;
}

}  // namespace muster::objects
