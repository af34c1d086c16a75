// What is in a domain: one object after the other, of whatever kind.
#include <semaphore.h>
#include <algorithm>
#include <cstring>
#include <tuple>
#include "listing.hpp"
#include "muster/semaphore_set.hpp"
#include "objects/queue.hpp"
#include "objects/segment.hpp"
#include "objects/semaphore_set.hpp"

namespace muster {
using objects::SysvKind;
using platform::Fault;

std::string_view to_string(ObjectKind kind) {
    switch (kind) {
        case ObjectKind::message_queue: return "mq";
        case ObjectKind::typed_queue: return "msg";
        case ObjectKind::semaphore_set: return "sem";
        case ObjectKind::segment: return "shm";
        case ObjectKind::posix_shared_memory: return "posix-shm";
        case ObjectKind::posix_semaphore: return "posix-sem";
        case ObjectKind::poll_fifo: return "fifo";
        case ObjectKind::unknown: break;
    }
    return "unknown";
}

namespace cpp {

std::string reason(const Fault& fault) { return fault.rule != nullptr ? fault.rule : std::strerror(fault.errno_value); }

ObjectKind public_kind(SysvKind kind) {
    return kind == SysvKind::msg ? ObjectKind::typed_queue : kind == SysvKind::sem ? ObjectKind::semaphore_set : ObjectKind::segment;
}

std::optional<SysvKind> inner_kind(ObjectKind kind) {
    if (kind == ObjectKind::typed_queue) return SysvKind::msg;
    if (kind == ObjectKind::semaphore_set) return SysvKind::sem;
    if (kind == ObjectKind::segment) return SysvKind::shm;
    return {};
}

std::vector<SysvPlace> sysv_places(const objects::Domain& core) {
    std::vector<SysvPlace> places;
    for (const std::string& name : entries(core, "sysv")) {
        for (const SysvKind kind : {SysvKind::msg, SysvKind::sem, SysvKind::shm}) {
            const std::string prefix = std::string(to_string(public_kind(kind))) + "-";
            if (name.rfind(prefix, 0) != 0 || name.size() > prefix.size() + 5) continue;
            const std::string digits = name.substr(prefix.size());
            if (digits.empty() || digits.find_first_not_of("0123456789") != digits.npos) continue;
            places.push_back({kind, static_cast<std::uint32_t>(std::stoul(digits)), "sysv/" + name});
        }
    }
    std::sort(places.begin(), places.end(),
              [](const SysvPlace& a, const SysvPlace& b) { return std::tie(a.kind, a.index) < std::tie(b.kind, b.index); });
    return places;
}

bool fill_from_file(ObjectInfo& info, const Domain& domain, const std::string& name) {
    struct stat status {};
    if (platform::file_status_at(domain.implementation()->domain.directory(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) return false;
    info.path = domain.path() + "/" + name;
    info.owner_uid = status.st_uid;
    info.owner_gid = status.st_gid;
    info.mode = status.st_mode & 0777;
    info.bytes_allocated = static_cast<std::uint64_t>(status.st_blocks) * 512;
    info.size_bytes = static_cast<std::uint64_t>(status.st_size);
    info.created = time_of_s(static_cast<std::uint64_t>(status.st_ctim.tv_sec));
    return true;
}

}  // namespace cpp

namespace {

constexpr std::size_t kValuesShown = 16;

// Of the message queue at "mq/NAME".
void describe_queue(ObjectInfo& info, const objects::Domain& core, const std::string& path) {
    info.size_bytes = 0;
    info.created = {};
    auto file = core.open_object(path.c_str());
    objects::Queue queue;
    if (!file) {
        info.kind = file.fault().errno_value == EACCES ? ObjectKind::message_queue : ObjectKind::unknown;
        info.problem = cpp::reason(file.fault());
    } else if (auto opened = queue.open(file->fd()); !opened) {
        info.kind = ObjectKind::unknown;
        info.problem = cpp::reason(opened.fault());
    } else {
        const objects::QueueState state = queue.state();
        const objects::Permission permission = queue.permission();
        info.owner_uid = permission.owner_uid;
        info.owner_gid = permission.owner_gid;
        info.mode = permission.mode;
        info.messages = state.messages;
        info.messages_max = state.messages_max;
        info.message_size_bytes_max = state.message_bytes_max;
        info.receivers_waiting = state.receivers_waiting;
        info.senders_waiting = state.senders_waiting;
        info.created = cpp::time_of_ns(state.created_ns);
    }
}

void describe_set(ObjectInfo& info, cpp::SystemV& system, const objects::SysvFile& file) {
    objects::SemaphoreSet set;
    if (auto opened = set.open(file.file.fd()); !opened) {
        info.problem = cpp::reason(opened.fault());
        return;
    }
    info.semaphores = set.size();
    info.waiting = set.sleepers();
    if (!set.permission().allows(objects::kMayRead)) return;
    std::vector<std::uint16_t> values(set.size());
    if (auto got = set.values(cpp::this_thread(), system.lives, values.data()); !got) info.problem = cpp::reason(got.fault());
    else info.values.assign(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(std::min(values.size(), kValuesShown)));
}

void describe_segment(ObjectInfo& info, cpp::SystemV& system, const objects::SysvFile& file) {
    objects::LifeWatch watch(system.domain->domain, nullptr);
    auto status = objects::Segment::peek(file, watch);
    if (!status) {
        info.problem = cpp::reason(status.fault());
        return;
    }
    info.size_bytes = status->size_bytes;
    info.attachments = status->attachments;
    info.removed_at_last_detach = (status->flags & objects::kSegmentDestroy) != 0;
    info.locked = (status->flags & objects::kSegmentLocked) != 0;
    auto data = system.registry.open_companion(SysvKind::shm, objects::sysv_index(file.id), O_PATH);
    struct stat bytes {};
    if (data && platform::file_status(data->fd(), &bytes) == 0) info.bytes_allocated += static_cast<std::uint64_t>(bytes.st_blocks) * 512;
}

void describe_typed_queue(ObjectInfo& info, cpp::SystemV& system, const objects::SysvFile& file) {
    const objects::TypedState state = objects::Queue::peek_state(file.file.fd());
    info.messages = state.messages;
    info.messages_max = state.bytes_max;  // as the kernel has it: as many messages as bytes
    info.size_bytes = state.bytes;
    info.bytes_max = state.bytes_max;
    info.receivers_waiting = state.receivers_waiting;
    info.senders_waiting = state.senders_waiting;
    auto slots = system.registry.open_companion(SysvKind::msg, objects::sysv_index(file.id), O_PATH);
    struct stat bytes {};
    if (slots && platform::file_status(slots->fd(), &bytes) == 0) info.bytes_allocated += static_cast<std::uint64_t>(bytes.st_blocks) * 512;
}

// Of a System V object's file, opened.
void describe(ObjectInfo& info, cpp::SystemV& system, SysvKind kind, const objects::SysvFile& file) {
    const objects::Permission permission = objects::Permission::of(file.header);
    info.kind = cpp::public_kind(kind);
    info.id = file.id;
    info.key = static_cast<std::int32_t>(file.header.key.load_relaxed());  // relaxed: a private copy
    info.name = cpp::object_name(kind, Key(info.key), info.id);
    info.owner_uid = permission.owner_uid;
    info.owner_gid = permission.owner_gid;
    info.mode = permission.mode;
    info.size_bytes = 0;
    info.created = cpp::time_of_ns(file.header.created_ns);
    if (kind == SysvKind::msg) describe_typed_queue(info, system, file);
    if (kind == SysvKind::sem) describe_set(info, system, file);
    if (kind == SysvKind::shm) describe_segment(info, system, file);
}

void list_system_v(std::vector<ObjectInfo>& all, const Domain& domain) {
    cpp::SystemV& system = cpp::system_v(domain);
    for (const cpp::SysvPlace& place : cpp::sysv_places(domain.implementation()->domain)) {
        ObjectInfo info;
        if (!cpp::fill_from_file(info, domain, place.path)) continue;
        using Place = objects::SysvRegistry::Place;
        const Place judged = system.registry.judge_place(place.kind, place.index);
        auto file = system.registry.open_index(place.kind, place.index);
        if (file) {
            describe(info, system, place.kind, *file);
        } else if (judged == Place::foreign || judged == Place::closed) {
            info.kind = judged == Place::closed ? cpp::public_kind(place.kind) : ObjectKind::unknown;
            info.name = place.path;
            info.size_bytes = 0;
            info.problem = judged == Place::closed ? "this user may not look into it" : "the file is no object of a format that this version knows";
        } else {
            continue;  // being made, or the name of one that is gone: gc's business
        }
        all.push_back(std::move(info));
    }
}

void list_posix(std::vector<ObjectInfo>& all, const Domain& domain) {
    const objects::Domain& core = domain.implementation()->domain;
    for (const std::string& name : cpp::entries(core, "shm")) {
        ObjectInfo info;
        info.kind = ObjectKind::posix_shared_memory;
        info.name = "posix-shm:/" + name;
        if (cpp::fill_from_file(info, domain, "shm/" + name)) all.push_back(std::move(info));
    }
    for (const std::string& name : cpp::entries(core, "sem")) {
        ObjectInfo info;
        info.kind = ObjectKind::posix_semaphore;
        info.name = "posix-sem:/" + name;
        if (!cpp::fill_from_file(info, domain, "sem/" + name)) continue;
        info.size_bytes = 0;
        sem_t copy;  // the C library's own; the value is all that it tells of it
        const platform::File file(platform::open_at(core.directory(), ("sem/" + name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK));
        int value = 0;
        if (file.fd() < 0) info.problem = std::strerror(-file.fd());
        else if (platform::read_at(file.fd(), &copy, sizeof copy, 0) != static_cast<long>(sizeof copy))
            info.problem = "the file is too short for a semaphore";
        else if (::sem_getvalue(&copy, &value) == 0) info.values = {static_cast<std::uint32_t>(value)};
        all.push_back(std::move(info));
    }
}

}  // namespace

Result<std::vector<ObjectInfo>> Domain::list() const {
    cpp::this_thread();
    const objects::Domain& core = implementation_->domain;
    std::vector<ObjectInfo> all;
    for (const std::string& name : cpp::entries(core, "mq")) {
        ObjectInfo info;
        info.kind = ObjectKind::message_queue;
        info.name = "/" + name;
        if (!cpp::fill_from_file(info, *this, "mq/" + name)) continue;  // removed meanwhile
        describe_queue(info, core, "mq/" + name);
        all.push_back(std::move(info));
    }
    list_system_v(all, *this);
    list_posix(all, *this);
    for (const std::string& name : cpp::entries(core, "poll")) {
        ObjectInfo info;
        info.kind = ObjectKind::poll_fifo;
        info.name = "poll/" + name;
        if (cpp::fill_from_file(info, *this, info.name)) all.push_back(std::move(info));
    }
    std::sort(all.begin(), all.end(), [](const ObjectInfo& a, const ObjectInfo& b) {
        return std::tie(a.kind, a.id, a.name) < std::tie(b.kind, b.id, b.name);
    });
    return all;
}

Result<ObjectInfo> Domain::find(ObjectKind kind, std::int32_t identifier) const {
    cpp::this_thread();
    const auto inner = cpp::inner_kind(kind);
    if (!inner) return Error(EINVAL, std::string(to_string(kind)), "objects of this kind have no identifiers");
    const std::string shown = cpp::object_name(*inner, Key::none(), identifier);
    cpp::SystemV& system = cpp::system_v(*this);
    auto file = system.registry.open(*inner, identifier);
    if (!file) return cpp::explain(file.fault().errno_value == EINVAL ? Fault{ENOENT} : file.fault(), shown, "object");
    ObjectInfo info;
    const std::string path = "sysv/" + std::string(to_string(kind)) + "-" + std::to_string(objects::sysv_index(identifier));
    if (!cpp::fill_from_file(info, *this, path)) return cpp::explain({ENOENT}, shown, "object");
    describe(info, system, *inner, *file);
    return info;
}

Result<std::int32_t> Domain::identifier(ObjectKind kind, Key key) const {
    cpp::this_thread();
    const auto inner = cpp::inner_kind(kind);
    if (!inner || key.is_none()) return Error(EINVAL, std::string(to_string(kind)), "only System V objects have keys, and 0 is none");
    auto found = cpp::system_v(*this).registry.get(*inner, static_cast<std::uint32_t>(key.value()), 0, 0, {});
    if (!found) return cpp::explain(found.fault(), cpp::object_name(*inner, key, 0), "object");
    return found->id;
}

}  // namespace muster
