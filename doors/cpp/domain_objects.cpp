// Making and removing objects of a domain by name or identifier.
#include <semaphore.h>
#include <climits>
#include <cstring>
#include "listing.hpp"
#include "muster/message_queue.hpp"
#include "muster/segment.hpp"
#include "muster/semaphore_set.hpp"
#include "muster/typed_queue.hpp"

namespace muster {
using cpp::make_error;

namespace {

// "shm/cache" for "/cache".
Result<std::string> posix_path(ObjectKind kind, std::string_view name) {
    const std::string shown = std::string(to_string(kind)) + ":" + std::string(name.substr(0, 300));
    const bool semaphore = kind == ObjectKind::posix_semaphore;
    const std::size_t most = semaphore ? 251 : 255;  // SOURCE sem_overview(7): glibc puts "sem." before it
    if (name.size() < 2 || name[0] != '/' || name.find('/', 1) != name.npos || name.find('\0') != name.npos || name == "/." || name == "/..")
        return Error(EINVAL, shown, "a name is a slash and at least one byte, without another slash, and not \"/.\" or \"/..\"");
    if (name.size() - 1 > most)
        return Error(ENAMETOOLONG, shown.substr(0, 40) + "...",
                     semaphore ? "a semaphore's name has at most 251 bytes after its slash" : "a name has at most 255 bytes after its slash");
    return (semaphore ? "sem/" : "shm/") + std::string(name.substr(1));
}

// A plain file of that many zeroes, or with those contents, complete before it has its name.
Result<> create_file(const Domain& domain, ObjectKind kind, std::string_view name, std::uint64_t size_bytes, std::uint32_t mode,
                     const void* contents) {
    const auto path = posix_path(kind, name);
    if (!path) return path.error();
    const std::string shown = std::string(to_string(kind)) + ":" + std::string(name);
    const objects::Domain& core = domain.implementation()->domain;
    const std::string directory = path->substr(0, 3);
    if (auto made = core.ensure_directory(directory.c_str()); !made) return make_error(made.fault(), shown);
    const platform::File file(platform::open_at(core.directory(), directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (file.fd() < 0) return make_error(-file.fd(), shown, "no file can be made in the domain's directory");
    int rc = platform::truncate_file(file.fd(), size_bytes);
    if (rc == 0 && size_bytes != 0) rc = platform::reserve_bytes(file.fd(), 0, size_bytes);
    if (rc == 0 && contents != nullptr && platform::write_file(file.fd(), contents, size_bytes) != static_cast<long>(size_bytes)) rc = -EIO;
    if (rc == 0) rc = platform::change_mode(file.fd(), mode & 0777);
    if (rc < 0)
        return make_error(-rc, shown, rc == -ENOSPC  ? "the domain's file system has no room for it"
                                     : rc == -EFBIG ? "it is larger than the file size limit of this process (ulimit -f)"
                                                    : "its file cannot be made as it should be");
    if (auto published = core.publish(file.fd(), path->c_str()); !published) return make_error(published.fault(), shown);
    return ok();
}

template <class Object>
Result<> remove_opened(const Domain& domain, objects::SysvKind kind, std::int32_t identifier) {
    auto object = Object::open(domain, identifier);
    if (object) return object->remove();
    if (object.error() == EBADMSG) {  // nobody can use it: its names go, as far as they are ours to remove
        objects::SysvRegistry& registry = cpp::system_v(domain).registry;
        if (auto file = registry.open(kind, identifier); file) registry.remove_names(kind, identifier, file->header.key.load_relaxed());
        if (!registry.open(kind, identifier)) return ok();
    }
    return object.error();
}

}  // namespace

Result<> Domain::remove(ObjectKind kind, std::int32_t identifier) const {
    cpp::this_thread();
    if (kind == ObjectKind::semaphore_set) return remove_opened<SemaphoreSet>(*this, objects::SysvKind::sem, identifier);
    if (kind == ObjectKind::segment) return remove_opened<Segment>(*this, objects::SysvKind::shm, identifier);
    if (kind == ObjectKind::typed_queue) return remove_opened<TypedQueue>(*this, objects::SysvKind::msg, identifier);
    return Error(EINVAL, std::string(to_string(kind)), "objects of this kind have no identifiers");
}

Result<> Domain::remove(ObjectKind kind, std::string_view name) const {
    cpp::this_thread();
    if (kind == ObjectKind::message_queue) return MessageQueue::remove(*this, name);
    if (kind == ObjectKind::unknown) {
        for (const cpp::SysvPlace& place : cpp::sysv_places(implementation_->domain)) {
            if (place.path != name) continue;
            auto removed = cpp::system_v(*this).registry.discard_foreign(place.kind, place.index);
            return removed ? ok() : make_error(removed.fault().errno_value, std::string(name), removed.fault().rule == nullptr ? "" : removed.fault().rule);
        }
        return Error(ENOENT, std::string(name), "");
    }
    if (kind != ObjectKind::posix_shared_memory && kind != ObjectKind::posix_semaphore)
        return Error(EINVAL, std::string(to_string(kind)), "objects of this kind have no names");
    const auto path = posix_path(kind, name);
    if (!path) return path.error();
    if (auto removed = implementation_->domain.remove(path->c_str()); !removed)
        return make_error(removed.fault().errno_value, std::string(to_string(kind)) + ":" + std::string(name),
                          removed.fault().errno_value == ENOENT ? "there is none of that name in the domain" : "");
    return ok();
}

Result<> Domain::create_shared_memory(std::string_view name, std::uint64_t size_bytes, std::uint32_t mode) const {
    return create_file(*this, ObjectKind::posix_shared_memory, name, size_bytes, mode, nullptr);
}

Result<> Domain::create_named_semaphore(std::string_view name, std::uint32_t value, std::uint32_t mode) const {
    if (value > SEM_VALUE_MAX) return Error(EINVAL, "posix-sem:" + std::string(name), "a named semaphore's value is at most 2147483647");
    sem_t fresh;
    std::memset(&fresh, 0, sizeof fresh);
    ::sem_init(&fresh, 1, value);
    return create_file(*this, ObjectKind::posix_semaphore, name, sizeof fresh, mode, &fresh);
}

}  // namespace muster
