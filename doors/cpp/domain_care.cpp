// What the dead left. What is damaged is domain_fsck.cpp's.
#include <cstring>
#include "listing.hpp"
#include "objects/queue.hpp"
#include "objects/segment.hpp"
#include "objects/semaphore_set.hpp"
#include "platform/process.hpp"

namespace muster {
using objects::SysvKind;
using objects::SysvRegistry;

namespace {

std::string uuid_name(const memory::ObjectHeader& object) {
    char name[objects::kFifoNameBytes];
    objects::fifo_name(object, name);
    return std::string(name).substr(5);
}

std::string counted(std::uint64_t count, const char* one, const char* many) {
    return std::to_string(count) + " " + (count == 1 ? one : many);
}

constexpr const char* kDeadInside = "threads died in the middle of an operation; what they held can be released";

// ---- gc ----

class Collector {
public:
    Collector(const Domain& domain, bool remove) : domain_(domain), core_(domain.implementation()->domain), remove_(remove) {}

    std::vector<Finding> collect() {
        queues();
        fifos();
        system_v();
        keys();
        lives();
        directories();
        return std::move(found_);
    }

private:
    // Tells, and lets `mend` try to put it right.
    template <class Mend>
    void tell(const std::string& name, std::string what, std::uint64_t bytes, Mend mend) {
        Finding finding{domain_.path() + "/" + name, std::move(what), bytes, false};
        if (remove_) finding.repaired = mend();
        found_.push_back(std::move(finding));
    }
    bool exists(const std::string& name) const {
        struct stat status {};
        return platform::file_status_at(core_.directory(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
    }

    void queues() {
        for (const std::string& name : cpp::entries(core_, "mq")) {
            auto file = core_.open_object(("mq/" + name).c_str());
            objects::Queue queue;
            if (!file || !queue.open(file->fd())) continue;  // fsck's business
            live_queues_.push_back(uuid_name(queue.object()));
            if (!queue.has_dead()) continue;
            tell("mq/" + name, kDeadInside, 0, [&] { return static_cast<bool>(queue.recover(cpp::this_thread(), file->fd())); });
        }
    }

    void fifos() {
        for (const std::string& name : cpp::entries(core_, "poll")) {
            bool needed = false;
            for (const std::string& uuid : live_queues_) needed = needed || uuid == name;
            if (needed) continue;
            // Whoever polls an unlinked queue still has its FIFO open.
            const std::string path = "poll/" + name;
            platform::File probe(
                platform::open_at(core_.directory(), path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
            if (probe.fd() != -ENXIO) continue;
            tell(path, "the FIFO of a queue that is gone, and nobody has it open", 0,
                 [&] { return static_cast<bool>(core_.remove(path.c_str())); });
        }
    }

    void system_v() {
        SysvRegistry& registry = cpp::system_v(domain_).registry;
        for (const cpp::SysvPlace& place : cpp::sysv_places(core_)) {
            using Place = SysvRegistry::Place;
            const Place judged = registry.judge_place(place.kind, place.index);
            ObjectInfo file_info;
            cpp::fill_from_file(file_info, domain_, place.path);
            const auto clear = [&] {
                return registry.clear_leftover(place.kind, place.index) ||
                       registry.judge_place(place.kind, place.index) == Place::live;
            };
            if (judged == Place::removed)
                tell(place.path, "the name of a removed object: whoever removed it died, or was not allowed to",
                     file_info.bytes_allocated, clear);
            else if (judged == Place::abandoned)
                tell(place.path, "half made: its maker died. It is finished if its key is in place already, else removed",
                     file_info.bytes_allocated, clear);
            if (judged != Place::live) continue;
            auto file = registry.open_index(place.kind, place.index);
            if (file && place.kind == SysvKind::msg) typed_queue(place.path, *file);
            if (file && place.kind == SysvKind::sem) semaphore_set(place.path, *file);
            if (file && place.kind == SysvKind::shm) segment(place.path, *file);
        }
    }

    void typed_queue(const std::string& path, const objects::SysvFile& file) {
        objects::Queue queue;
        if (!objects::open_typed(queue, file, cpp::system_v(domain_).registry) || !queue.has_dead()) return;
        tell(path, kDeadInside, 0, [&] { return static_cast<bool>(queue.recover(cpp::this_thread(), -1)); });
    }

    void semaphore_set(const std::string& path, const objects::SysvFile& file) {
        objects::SemaphoreSet set;
        if (!set.open(file.file.fd())) return;  // fsck's business
        objects::ProcessLives& lives = cpp::system_v(domain_).lives;
        auto remains = set.remains(cpp::this_thread(), lives);
        if (!remains || (remains->holders == 0 && remains->sleepers == 0)) return;
        std::string what;
        if (remains->holders != 0)
            what = counted(remains->holders, "process", "processes") +
                   " ended while holding, and what they took with undo is not given back yet";
        if (remains->sleepers != 0)
            what += (what.empty() ? "" : "; ") + counted(remains->sleepers, "thread", "threads") + " died asleep here";
        tell(path, std::move(what), 0, [&] { return static_cast<bool>(set.settle(cpp::this_thread(), lives)); });
    }

    void segment(const std::string& path, const objects::SysvFile& file) {
        objects::LifeWatch watch(core_, nullptr);
        auto status = objects::Segment::peek(file, watch);
        if (!status) return;  // fsck's business
        const auto act = [&](auto with) {
            objects::Segment segment;
            return segment.open(file) && with(segment);
        };
        if ((status->flags & objects::kSegmentDestroy) != 0 && status->attachments == 0) {
            tell(path, "removed, and the last process that had it attached was killed", status->size_bytes, [&] {
                return act([&](objects::Segment& segment) {
                    return segment.bury_if_deserted(cpp::this_thread(), watch, cpp::system_v(domain_).registry);
                });
            });
            return;
        }
        std::uint64_t dead = 0;
        const auto count = [](void* sum, const objects::Segment::User& user) {
            *static_cast<std::uint64_t*>(sum) += user.alive ? 0 : 1;
        };
        if (!objects::Segment::look(file, watch, count, &dead) || dead == 0) return;
        tell(path,
             counted(dead, "process", "processes") +
                 " ended with the segment attached; they are not counted any more, but still listed",
             0, [&] {
                 return act(
                     [&](objects::Segment& segment) { return static_cast<bool>(segment.status(cpp::this_thread(), watch)); });
             });
    }

    void keys() {
        SysvRegistry& registry = cpp::system_v(domain_).registry;
        for (const std::string& name : cpp::entries(core_, "key")) {
            SysvKind kind{};
            std::uint32_t key = 0;
            if (registry.judge_key(name.c_str(), kind, key) != SysvRegistry::Place::removed) continue;
            tell("key/" + name, "a key that still leads to a removed object", 0, [&] {
                (void)registry.get(kind, key, 0, 0, {});  // looking it up clears the way
                return !exists("key/" + name);
            });
        }
    }

    void lives() {
        objects::ProcessLives& lives = cpp::system_v(domain_).lives;
        if (!lives.open(false)) return;
        if (const std::uint32_t dead = lives.dead_slots(false); dead != 0)
            tell("lives",
                 counted(dead, "process that used undo has", "processes that used undo have") +
                     " ended; their entries are free for others",
                 0, [&] { return lives.dead_slots(true) != 0; });
    }

    // Directories are made under another name first.
    void directories() {
        for (const std::string& name : cpp::entries(core_, ".")) {
            if (name.rfind(".new-", 0) != 0) continue;
            const std::uint32_t thread = static_cast<std::uint32_t>(std::strtoul(name.c_str() + 5, nullptr, 10));
            if (thread == 0 || platform::thread_exists(thread)) continue;
            tell(name, "a directory whose maker died before it had its name", 0,
                 [&] { return platform::remove_name(core_.directory(), name.c_str(), AT_REMOVEDIR) == 0; });
        }
    }

    const Domain& domain_;
    const objects::Domain& core_;
    bool remove_;
    std::vector<std::string> live_queues_;
    std::vector<Finding> found_;
};

}  // namespace

Result<std::vector<Finding>> Domain::gc(bool remove) const {
    cpp::this_thread();
    return Collector(*this, remove).collect();
}

}  // namespace muster
