// Where the slots of a damaged queue are.
#include "memory/mapping.hpp"
#include "objects/queue.hpp"
#include "objects/queue_salvage.hpp"
#include "platform/file.hpp"

namespace muster::objects {
using platform::Fault;
using platform::Outcome;

namespace {

constexpr std::uint64_t kSampleBytes = 4 << 20;  // of the slots: those that were ever used are the first

class ShapeSearch {
public:
    ShapeSearch(int fd, int slots_fd, std::uint64_t file_bytes, std::uint64_t slots_bytes)
        : fd_(fd), slots_fd_(slots_fd), typed_(slots_fd >= 0), file_bytes_(file_bytes), slots_bytes_(slots_bytes) {}
    ~ShapeSearch() {
        if (sample_ != nullptr) platform::unmap(sample_, kSampleBytes);
    }
    ShapeSearch(const ShapeSearch&) = delete;

    Outcome<> begin() {
        const long memory = platform::map_private_zeroes(kSampleBytes);
        if (memory < 0 && memory > -4096) return Fault{ENOMEM, "no memory to look for the queue's shape"};
        sample_ = reinterpret_cast<std::byte*>(memory);
        return platform::done();
    }

    // With one of the two numbers from the header, what the file's length says of the other.
    void try_messages_max(std::uint64_t messages_max) {
        std::uint64_t low = 1, high = kQueueMessageBytesMost;
        while (low < high) {  // the longest message that gives a file no longer than this
            const std::uint64_t middle = low + (high - low + 1) / 2;
            if (length_of(messages_max, middle) <= wanted(messages_max)) low = middle;
            else high = middle - 1;
        }
        consider(messages_max, low);
    }
    void try_message_bytes_max(std::uint64_t message_bytes_max) {
        std::uint64_t low = 1, high = kQueueMessagesMost;
        while (low < high) {
            const std::uint64_t middle = low + (high - low + 1) / 2;
            if (length_of(middle, message_bytes_max) <= wanted(middle)) low = middle;
            else high = middle - 1;
        }
        consider(low, message_bytes_max);
    }
    // Every shape that gives a file of this length.
    void try_all() {
        const std::uint64_t beside = sizeof(Slot) + (typed_ ? sizeof(TypeLane) : 0);
        std::uint64_t length = 0;
        const std::uint32_t spare = plan_queue(1, 1, face(), length).slots - 1;
        std::uint64_t before = ~0ull;
        for (std::uint64_t fewest : {1u, 17u, 49u, 113u, 241u, 497u}) {  // where the rings grow, and the slots move
            const std::uint64_t offset = plan_queue(fewest, 1, face(), length).slots_offset;
            if (!typed_ && offset >= file_bytes_) break;
            const std::uint64_t area = typed_ ? slots_bytes_ : file_bytes_ - offset;
            if (offset == before) continue;
            before = offset;
            for (std::uint64_t stride = 128; stride <= (1u << 20) + 256 && stride * spare <= area; stride += 64)
                if (const std::uint64_t slots = area / stride; slots > spare) consider(slots - spare, stride - beside);
            for (std::uint64_t region = 4096; region <= kQueueMessageBytesMost && region * spare <= area; region += 4096)
                if (const std::uint64_t slots = area / (region + (typed_ ? 192 : 128)) + 1; slots > spare + 1)
                    for (std::uint64_t less = 0; less < 2; ++less) consider(slots - spare - less, region);
        }
    }

    bool found() const { return best_score_ > 0; }
    bool several() const { return several_; }
    QueueShape shape() const { return best_; }

private:
    QueueFace face() const { return typed_ ? QueueFace::types : QueueFace::priorities; }
    std::uint64_t length_of(std::uint64_t messages_max, std::uint64_t message_bytes_max) const {
        std::uint64_t length = 0;
        plan_queue(messages_max, message_bytes_max, face(), length);
        return length;
    }
    std::uint64_t wanted(std::uint64_t messages_max) const {
        std::uint64_t length = 0;
        return typed_ ? slots_bytes_ + plan_queue(messages_max, 1, face(), length).slots_offset : file_bytes_;
    }

    void consider(std::uint64_t messages_max, std::uint64_t message_bytes_max) {
        if (messages_max == 0 || messages_max > kQueueMessagesMost || message_bytes_max == 0 || message_bytes_max > kQueueMessageBytesMost) return;
        std::uint64_t length = 0;
        const QueueGeometry geometry = plan_queue(messages_max, message_bytes_max, face(), length);
        if (length != wanted(messages_max)) return;
        const std::int64_t score = rate(geometry);
        if (score > best_score_) several_ = false;
        else if (score == best_score_ && score > 0) several_ = several_ || !same_places(geometry);
        if (score <= best_score_) return;
        best_score_ = score;
        best_ = {messages_max, message_bytes_max, face()};
        best_geometry_ = geometry;
    }
    bool same_places(const QueueGeometry& other) const {
        return other.slots_offset == best_geometry_.slots_offset && other.slot_stride == best_geometry_.slot_stride &&
               other.region_stride == best_geometry_.region_stride && other.regions_offset == best_geometry_.regions_offset;
    }

    // How many slot headers make sense, less those that do not.
    std::int64_t rate(const QueueGeometry& g) {
        const std::uint64_t at = typed_ ? 0 : g.slots_offset;
        if (at != sample_at_) {
            sample_at_ = at;
            const long got = platform::read_at(typed_ ? slots_fd_ : fd_, sample_, kSampleBytes, at);
            sample_bytes_ = got > 0 ? static_cast<std::uint64_t>(got) : 0;
        }
        std::int64_t score = 0;
        std::uint64_t looked = 0;
        for (std::uint64_t number = 0; number < g.slots && (number + 1) * g.slot_stride <= sample_bytes_ && looked < 4096; ++number, ++looked)
            score += rate(*reinterpret_cast<const Slot*>(sample_ + number * g.slot_stride), number, g);
        return score;
    }
    std::int64_t rate(const Slot& slot, std::uint64_t number, const QueueGeometry& g) const {
        const std::uint32_t word = slot.state.load_relaxed(), length = slot.length.load_relaxed();
        const std::uint64_t key = slot.key.load_relaxed(), sequence = slot.sequence.load_relaxed();
        if (word == 0 && length == 0 && key == 0 && sequence == 0 && slot.next.load_relaxed() == 0) return 0;  // never used
        const bool is_key = typed_ ? key - 1 < INT64_MAX : key < kPriorities;
        const bool good = (word & 15) <= 4 && slot_holder(word) <= g.actors && slot.next.load_relaxed() <= g.slots && is_key &&
                          sequence != 0 && sequence < 1ull << 48 && length <= g.message_bytes_max &&
                          slot.region_pages.load_relaxed() <= (g.region_stride >> 12);
        if (!good) return -2;
        if (length <= g.inline_bytes || (word & 15) == 0) return 1;
        // A long message has memory where its region is.
        const std::uint64_t region = (typed_ ? g.regions_offset - g.slots_offset : g.regions_offset) + number * g.region_stride;
        const long data = platform::system_call(SYS_lseek, typed_ ? slots_fd_ : fd_, region, SEEK_DATA);
        return data >= 0 && static_cast<std::uint64_t>(data) != region ? -2 : 2;
    }

    int fd_, slots_fd_;
    bool typed_;
    std::uint64_t file_bytes_, slots_bytes_;
    std::byte* sample_ = nullptr;
    std::uint64_t sample_at_ = ~0ull, sample_bytes_ = 0;
    std::int64_t best_score_ = 0;
    bool several_ = false;
    QueueShape best_;
    QueueGeometry best_geometry_{};
};

// How many words of the geometry are not as they were planned; the files' identity left out.
unsigned differences(const QueueGeometry& planned, const QueueGeometry& said) {
    const auto count = [](auto... equal) { return ((equal ? 0u : 1u) + ...); };
    return count(planned.messages_max == said.messages_max, planned.message_bytes_max == said.message_bytes_max, planned.slots == said.slots,
                 planned.inline_bytes == said.inline_bytes, planned.slot_stride == said.slot_stride, planned.ring_entries == said.ring_entries,
                 planned.actors == said.actors, planned.region_stride == said.region_stride, planned.lanes_offset == said.lanes_offset,
                 planned.actors_offset == said.actors_offset, planned.slots_offset == said.slots_offset, planned.regions_offset == said.regions_offset);
}
constexpr unsigned kWrongMost = 4;

}  // namespace

Outcome<QueueShape> find_queue_shape(int fd, int slots_fd, ShapeSource& source, bool& several) {
    struct stat status, behind {};
    if (const int rc = platform::file_status(fd, &status); rc < 0) return Fault{-rc};
    if (slots_fd >= 0)
        if (const int rc = platform::file_status(slots_fd, &behind); rc < 0) return Fault{-rc};
    QueueGeometry said{};
    (void)platform::read_at(fd, &said, sizeof said, offsetof(QueueHeader, geometry));
    const auto in_range = [](std::uint64_t number, std::uint64_t most) { return number != 0 && number <= most; };
    const bool messages = in_range(said.messages_max, kQueueMessagesMost), bytes = in_range(said.message_bytes_max, kQueueMessageBytesMost);
    const QueueFace face = slots_fd >= 0 ? QueueFace::types : QueueFace::priorities;
    several = false;
    source = ShapeSource::header;
    if (bytes) {
        // The number of messages stands there twice: as such, and in the number of slots.
        std::uint64_t length = 0;
        const std::uint32_t spare = plan_queue(1, 1, face, length).slots - 1;
        const std::uint64_t by_slots = said.slots > spare ? said.slots - spare : 0;
        unsigned fewest = ~0u;
        QueueShape best;
        for (const std::uint64_t candidate : {said.messages_max, by_slots}) {
            if (!in_range(candidate, kQueueMessagesMost) || (fewest != ~0u && candidate == best.messages_max)) continue;
            const QueueGeometry planned = plan_queue(candidate, said.message_bytes_max, face, length);
            const bool whole = face == QueueFace::types ? planned.slots_offset + static_cast<std::uint64_t>(behind.st_size) == length
                                                        : static_cast<std::uint64_t>(status.st_size) == length;
            const unsigned wrong = differences(planned, said);
            // Either all of it is as planned, of a file that was cut short perhaps, or a few words of it are not and the length is.
            if (wrong > (whole ? kWrongMost : 0)) continue;
            several = wrong == fewest;
            if (wrong >= fewest) continue;
            fewest = wrong;
            best = {candidate, said.message_bytes_max, face};
        }
        if (fewest != ~0u) return best;
        several = false;
    }
    source = ShapeSource::file_length;
    ShapeSearch search(fd, slots_fd, static_cast<std::uint64_t>(status.st_size), static_cast<std::uint64_t>(behind.st_size));
    if (auto begun = search.begin(); !begun) return begun.fault();
    if (messages) search.try_messages_max(said.messages_max);
    if (bytes && !search.found()) search.try_message_bytes_max(said.message_bytes_max);
    if (!search.found()) search.try_all();
    several = search.several();
    if (!search.found()) return Fault{EBADMSG, "neither the header nor the file's length nor its contents tell where the messages are"};
    return search.shape();
}

Outcome<bool> mend_queue_header(int fd, int slots_fd) {
    ShapeSource source{};
    bool several = false;
    auto shape = find_queue_shape(fd, slots_fd, source, several);
    if (!shape) return shape.fault();
    // Depth and message size are what users see: near enough to find the slots is not enough here.
    if (several || source != ShapeSource::header) return Fault{EBADMSG, "how deep the queue was is not known for certain"};
    struct stat status, behind {};
    if (const int rc = platform::file_status(fd, &status); rc < 0) return Fault{-rc};
    if (slots_fd >= 0)
        if (const int rc = platform::file_status(slots_fd, &behind); rc < 0) return Fault{-rc};
    std::uint64_t length = 0;
    QueueGeometry planned = plan_queue(shape->messages_max, shape->message_bytes_max, shape->face, length);
    const std::uint64_t first = slots_fd >= 0 ? planned.slots_offset : length;
    if (first != static_cast<std::uint64_t>(status.st_size) || length - first != static_cast<std::uint64_t>(behind.st_size))
        return Fault{EBADMSG, "the file was cut short"};
    if (slots_fd >= 0) {
        planned.slots_inode = behind.st_ino;
        planned.slots_device = behind.st_dev;
    }
    constexpr memory::Format kFormat{kQueueMagic, kQueueFormat, kQueueFingerprint, sizeof(QueueHeader)};
    auto mended = memory::mend_header(fd, kFormat, first);
    if (!mended) return mended;
    QueueGeometry now{};
    if (platform::read_at(fd, &now, sizeof now, offsetof(QueueHeader, geometry)) != static_cast<long>(sizeof now)) return Fault{EBADMSG};
    if (__builtin_memcmp(&now, &planned, sizeof now) == 0) return mended;
    if (const long rc = platform::write_at(fd, &planned, sizeof planned, offsetof(QueueHeader, geometry)); rc != static_cast<long>(sizeof planned))
        return Fault{rc < 0 ? static_cast<int>(-rc) : EIO, "the header cannot be written"};
    return true;
}

}  // namespace muster::objects
