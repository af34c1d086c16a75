// Domain::salvage: what can still be read of a damaged object's file.
#include <cstring>
#include "fsck.hpp"
#include "objects/queue.hpp"
#include "objects/queue_salvage.hpp"
#include "objects/segment.hpp"
#include "objects/semaphore_set.hpp"
#include "platform/file.hpp"

namespace muster {
using objects::Findings;
using objects::Found;

namespace {

bool ends_with(std::string_view text, std::string_view end) {
    return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

// The one or two files of an object, and what kind it is.
struct Wreck {
    std::string path;
    platform::File first, second;  // the second one: a queue's slots, a segment's bytes
    ObjectKind kind = ObjectKind::unknown;
};

Result<platform::File> open_for_reading(const std::string& path) {
    const int fd = platform::open_at(AT_FDCWD, path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return Error(-fd, path, "");
    struct stat status {};
    platform::File file(fd);
    if (platform::file_status(fd, &status) < 0 || S_ISDIR(status.st_mode)) return Error(EISDIR, path, "");
    if (!S_ISREG(status.st_mode)) return Error(EINVAL, path, "no plain file");
    return file;
}

ObjectKind kind_of(const Wreck& wreck) {
    std::uint64_t magic = 0;
    (void)platform::read_at(wreck.first.fd(), &magic, sizeof magic, 0);
    // A queue /jobs.data may stand beside a queue /jobs.
    std::uint32_t face = 0;
    (void)platform::read_at(wreck.first.fd(), &face, sizeof face, offsetof(objects::QueueHeader, geometry) + offsetof(objects::QueueGeometry, face));
    const std::size_t at = wreck.path.rfind('/');
    const bool named_so = wreck.path.compare(at == wreck.path.npos ? 0 : at + 1, 4, "msg-") == 0;
    const bool two = wreck.second.fd() >= 0 && (named_so || face == static_cast<std::uint32_t>(objects::QueueFace::types));
    if (magic == objects::kQueueMagic) return two ? ObjectKind::typed_queue : ObjectKind::message_queue;
    if (magic == objects::kSemaphoreSetMagic) return ObjectKind::semaphore_set;
    if (magic == objects::kSegmentMagic) return ObjectKind::segment;
    // By its name, as it stands in a domain.
    const std::size_t slash = wreck.path.rfind('/');
    const std::string base = slash == wreck.path.npos ? wreck.path : wreck.path.substr(slash + 1);
    const std::string_view directory = slash == wreck.path.npos ? std::string_view() : std::string_view(wreck.path).substr(0, slash);
    if (ends_with(directory, "/shm") || directory == "shm") return ObjectKind::posix_shared_memory;
    if (base.rfind("sem-", 0) == 0) return ObjectKind::semaphore_set;
    if (base.rfind("shm-", 0) == 0) return ObjectKind::segment;
    return two ? ObjectKind::typed_queue : ObjectKind::message_queue;
}

Result<Wreck> open_wreck(const std::string& named, const SalvageOptions& options) {
    Wreck wreck;
    wreck.path = ends_with(named, ".data") ? named.substr(0, named.size() - 5) : named;
    auto first = open_for_reading(wreck.path);
    auto second = open_for_reading(wreck.path + ".data");
    if (!first && !(wreck.path != named && second)) return first.error();
    if (second) wreck.second = std::move(*second);
    if (first) wreck.first = std::move(*first);
    wreck.kind = options.kind != ObjectKind::unknown ? options.kind : kind_of(wreck);
    return wreck;
}

// Findings of the engine become the public kind.
struct Collector {
    SalvageReport* report;
    const std::string* path;
    static void take(void* self, const Found& found) {
        auto& to = *static_cast<Collector*>(self);
        Finding finding;
        finding.path = *to.path;
        finding.what = found.what;
        finding.bytes_at_stake = found.bytes;
        finding.messages_at_stake = found.messages;
        to.report->findings.push_back(std::move(finding));
    }
};

Result<> salvage_queue(const Wreck& wreck, const SalvageOptions& options, const SalvageSink& sink, SalvageReport& report) {
    if ((options.messages_max == 0) != (options.message_size_bytes_max == 0))
        return Error(EINVAL, wreck.path, "the geometry is two numbers: most messages, longest message");
    const objects::QueueShape given{options.messages_max, options.message_size_bytes_max, objects::QueueFace::priorities};
    Collector collector{&report, &wreck.path};
    Findings findings(&Collector::take, &collector);
    const bool typed = wreck.kind == ObjectKind::typed_queue;
    if (typed && wreck.second.fd() < 0) return Error(ENOENT, wreck.path + ".data", "the file with the queue's messages is not there");
    const auto take = [](void* to, const objects::SalvagedMessage& message) {
        const auto& out = *static_cast<const SalvageSink*>(to);
        return !out.message || out.message({std::span(message.bytes, static_cast<std::size_t>(message.length)), message.key, message.sequence});
    };
    auto saved = objects::salvage_queue(wreck.first.fd(), typed ? wreck.second.fd() : -1, options.messages_max != 0 ? &given : nullptr, take,
                                        const_cast<SalvageSink*>(&sink), findings);
    if (!saved) return cpp::make_error(saved.fault(), wreck.path);
    const std::string shape = std::to_string(saved->shape.messages_max) + " messages of at most " + std::to_string(saved->shape.message_bytes_max) + " bytes";
    switch (saved->source) {
        case objects::ShapeSource::header: report.how = "the header is sound about the shape: " + shape; break;
        case objects::ShapeSource::given: report.how = "as was said: " + shape; break;
        case objects::ShapeSource::file_length:
            report.how = "by the file's length and the slots' own headers: " + shape;
            if (saved->several_shapes) report.how += "; others would fit as well";
            break;
    }
    report.messages = saved->messages;
    report.bytes = saved->bytes;
    report.broken = saved->broken;
    report.bytes_lost = saved->bytes_lost;
    report.doubles = saved->doubles;
    report.unfinished = saved->unfinished;
    return ok();
}

Result<> salvage_set(const Wreck& wreck, const SalvageSink& sink, SalvageReport& report) {
    struct Taker {
        const SalvageSink& sink;
        SalvageReport& report;
        bool stopped = false;
    } taker{sink, report};
    const auto see = [](void* self, std::uint32_t number, std::uint32_t value, std::uint32_t pid, bool sound) {
        auto& to = *static_cast<Taker*>(self);
        sound ? ++to.report.messages : ++to.report.broken;
        if (!to.stopped && to.sink.value) to.stopped = !to.sink.value({number, value, static_cast<std::int32_t>(pid), sound});
    };
    if (objects::SemaphoreSet::read_values(wreck.first.fd(), see, &taker) == 0)
        return Error(EBADMSG, wreck.path, "neither the header nor the file's length tells how many semaphores there were");
    report.how = "the values as they stand in the file";
    return taker.stopped ? Result<>(Error(ECANCELED, wreck.path, "")) : Result<>(ok());
}

Result<> salvage_bytes(const Wreck& wreck, const SalvageSink& sink, SalvageReport& report) {
    const bool segment = wreck.kind == ObjectKind::segment;
    const platform::File& file = segment ? wreck.second : wreck.first;
    if (file.fd() < 0) return Error(ENOENT, wreck.path + ".data", "the file with the segment's bytes is not there");
    struct stat status {};
    if (const int rc = platform::file_status(file.fd(), &status); rc < 0) return Error(-rc, wreck.path, "");
    auto end = static_cast<std::uint64_t>(status.st_size);
    objects::SegmentControl control;
    report.how = segment ? "all of the file of its bytes" : "all of the file";
    // The last page is not all the segment's, if the control file can say so.
    if (segment && platform::read_at(wreck.first.fd(), &control, sizeof control, 0) == static_cast<long>(sizeof control) && control.size_bytes != 0 &&
        control.size_bytes <= end && end - control.size_bytes < 4096) {
        end = control.size_bytes;
        report.how = "as many bytes as the control file says";
    }
    std::vector<std::byte> part(1 << 20);
    for (std::uint64_t at = 0; at < end;) {
        const long got = platform::read_at(file.fd(), part.data(), std::min<std::uint64_t>(part.size(), end - at), at);
        if (got < 0) return Error(static_cast<int>(-got), wreck.path, "");
        if (got == 0) break;
        if (sink.bytes && !sink.bytes(std::span(part).first(static_cast<std::size_t>(got)))) return Error(ECANCELED, wreck.path, "");
        at += static_cast<std::uint64_t>(got);
        report.bytes = at;
    }
    return ok();
}

}  // namespace

Result<SalvageReport> Domain::salvage(const std::string& path, const SalvageOptions& options, const SalvageSink& sink) {
    cpp::this_thread();
    auto wreck = open_wreck(path, options);
    if (!wreck) return wreck.error();
    SalvageReport report;
    report.kind = wreck->kind;
    Result<> done = ok();
    switch (wreck->kind) {
        case ObjectKind::message_queue:
        case ObjectKind::typed_queue: done = salvage_queue(*wreck, options, sink, report); break;
        case ObjectKind::semaphore_set: done = salvage_set(*wreck, sink, report); break;
        case ObjectKind::segment:
        case ObjectKind::posix_shared_memory: done = salvage_bytes(*wreck, sink, report); break;
        default: return Error(EINVAL, path, "of objects of this kind there is nothing to salvage");
    }
    if (!done) return done.error();
    return report;
}

}  // namespace muster
