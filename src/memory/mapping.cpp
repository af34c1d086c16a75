#include "memory/mapping.hpp"
#include "platform/fault_copy.hpp"
#include "platform/file.hpp"
#include "platform/process.hpp"

namespace muster::memory {
using platform::Fault;
using platform::Outcome;

Mapping::~Mapping() {
    if (start_ == nullptr) return;
    platform::unregister_shared_mapping(start_);
    platform::unmap(start_, bytes_);
}

void Mapping::blank(std::uint64_t bytes) {
    if (start_ == nullptr) return;
    platform::unregister_shared_mapping(start_);
    platform::map_zeroes_over(start_, bytes);
    if (bytes < bytes_) platform::unmap(start_ + bytes, bytes_ - bytes);
    bytes_ = bytes;
}

namespace {
Outcome<std::byte*> map_file(int fd, std::uint64_t bytes, std::atomic<std::uint32_t>* damage) {
    const long start = platform::map_shared_sparse(fd, bytes);
    if (start < 0 && start > -4096) return Fault{static_cast<int>(-start), "the object does not fit into the address space"};
    auto* pointer = reinterpret_cast<std::byte*>(start);
    platform::register_shared_mapping(pointer, bytes, damage);
    return pointer;
}
}  // namespace

Outcome<> set_length(int fd, std::uint64_t bytes) {
    const int rc = platform::truncate_file(fd, bytes);
    if (rc == -EFBIG) return Fault{EFBIG, "the object is larger than the file size limit of this process (ulimit -f)"};
    if (rc < 0) return Fault{-rc, "the file system takes no file of that size"};
    return platform::done();
}

Outcome<Mapping> Mapping::create(int fd, std::uint64_t bytes, std::uint64_t reserved_bytes, std::atomic<std::uint32_t>* damage, std::uint64_t behind_bytes) {
    if (auto long_enough = set_length(fd, bytes); !long_enough) return long_enough.fault();
    if (const int rc = platform::reserve_bytes(fd, 0, reserved_bytes); rc < 0) return Fault{-rc, "the file system of the domain is full"};
    auto start = map_file(fd, bytes + behind_bytes, damage);
    if (!start) return start.fault();
    return Mapping(*start, bytes + behind_bytes, bytes, damage);
}

Outcome<> Mapping::append(int fd) {
    const long at = platform::map_shared_sparse(fd, bytes_ - first_bytes_, start_ + first_bytes_);
    if (at < 0 && at > -4096) return Fault{static_cast<int>(-at), "the object does not fit into the address space"};
    return platform::done();
}

Outcome<Mapping> Mapping::open(int fd, const Format& format, std::atomic<std::uint32_t>* damage, std::uint64_t behind_bytes) {
    struct stat status;
    if (const int rc = platform::file_status(fd, &status); rc < 0) return Fault{-rc};
    ObjectHeader header;  // our copy: the shared one may change under us
    const long got = platform::read_at(fd, &header, sizeof header, 0);
    if (got != static_cast<long>(sizeof header)) return Fault{EBADMSG, "the file is shorter than an object's header; it is damaged or no Muster object"};
    if (auto checked = check_header(header, format, static_cast<std::uint64_t>(status.st_size)); !checked) return checked.fault();
    auto start = map_file(fd, header.file_bytes + behind_bytes, damage);
    if (!start) return start.fault();
    return Mapping(*start, header.file_bytes + behind_bytes, header.file_bytes, damage);
}

Outcome<> check_header(const ObjectHeader& header, const Format& format, std::uint64_t file_bytes) {
    if (header.magic != format.magic) return Fault{EBADMSG, "the file is no object of this kind (magic number)"};
    if (header.format < format.format) return Fault{EBADMSG, "the object was made by an older Muster; remove it and make it anew"};
    if (header.format > format.format) return Fault{EBADMSG, "the object was made by a newer Muster; upgrade this program"};
    if (header.fingerprint != format.fingerprint) return Fault{EBADMSG, "the object was made by a Muster built with another layout"};
    // SYNC object.ready (acquire half): the copy was read from a file that its creator had published.
    if (header.ready.load_acquire() != 1) return Fault{EBADMSG, "the object was never completed"};
    if (header.file_bytes != file_bytes || file_bytes < format.file_bytes_min)
        return Fault{EBADMSG, "the file's length is not what its header says; it was cut short or is damaged"};
    static const std::uint64_t own_namespace = platform::pid_namespace();
    if (header.pid_namespace != 0 && own_namespace != 0 && header.pid_namespace != own_namespace)
        return Fault{EBADMSG, "the object belongs to another pid namespace, where thread ids mean other threads"};
    return platform::done();
}

Outcome<bool> mend_header(int fd, const Format& format, std::uint64_t file_bytes) {
    struct stat status;
    if (const int rc = platform::file_status(fd, &status); rc < 0) return Fault{-rc};
    ObjectHeader header;
    if (static_cast<std::uint64_t>(status.st_size) != file_bytes || platform::read_at(fd, &header, sizeof header, 0) != static_cast<long>(sizeof header))
        return Fault{EBADMSG, "the file's length is not that of such an object"};
    if (header.format != format.format || header.fingerprint != format.fingerprint) return Fault{EBADMSG, "the object may be another version's"};
    const std::uint32_t ready = 1;
    bool wrong = false, written = true;
    const auto put = [&](bool right, const void* bytes, std::size_t length, std::uint64_t offset) {
        if (right) return;
        wrong = true;
        written = platform::write_at(fd, bytes, length, offset) == static_cast<long>(length) && written;
    };
    put(header.magic == format.magic, &format.magic, sizeof format.magic, offsetof(ObjectHeader, magic));
    put(header.file_bytes == file_bytes, &file_bytes, sizeof file_bytes, offsetof(ObjectHeader, file_bytes));
    put(header.ready.load_acquire() == 1, &ready, sizeof ready, offsetof(ObjectHeader, ready));
    if (!written) return Fault{EACCES, "the header cannot be written"};
    return wrong;
}

void fill_header(ObjectHeader& header, const Format& format, std::uint64_t file_bytes) {
    header.magic = format.magic;
    header.format = format.format;
    header.fingerprint = format.fingerprint;
    header.file_bytes = file_bytes;
    static const std::uint64_t own_namespace = platform::pid_namespace();
    header.pid_namespace = own_namespace;
    header.created_ns = static_cast<std::uint64_t>(platform::realtime_ns());
    if (platform::system_call(SYS_getrandom, header.uuid, sizeof header.uuid, 0) != static_cast<long>(sizeof header.uuid)) {
        header.uuid[0] = header.created_ns;  // no entropy to be had: unique enough for a name
        header.uuid[1] = platform::process_id();
    }
}

}  // namespace muster::memory
