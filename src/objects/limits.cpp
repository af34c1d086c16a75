#include "objects/limits.hpp"
#include <cerrno>
#include <cstdio>
#include <cstring>
#include "objects/semaphore_set_layout.hpp"
#include "objects/sysv_registry.hpp"
#include "platform/process.hpp"

namespace muster::objects {
using platform::Fault;
using platform::File;
using platform::Outcome;

namespace {

constexpr std::uint64_t kIntMax = 2147483647;
constexpr std::uint64_t kMost = UINT64_MAX;
constexpr std::uint64_t kSharedMax = UINT64_MAX - (1ull << 24);  // SOURCE include/uapi/linux/shm.h

}  // namespace

// The least and the most are the kernel's, but where our objects have room for more or for less.
constexpr LimitFile limit_files[kLimitFiles] = {
    {"msg_default", true, 1, {{"msg_default", 10, 1, 1'000'000}}},
    {"msgsize_default", true, 1, {{"msgsize_default", 8192, 1, 16ull << 20}}},
    {"msg_max", true, 1, {{"msg_max", 1'000'000, 1, 1'000'000}}},
    {"msgsize_max", true, 1, {{"msgsize_max", 16ull << 20, 1, 16ull << 20}}},
    {"queues_max", true, 1, {{"queues_max", 1'000'000, 0, 1'000'000}}},
    {"msgmni", false, 1, {{"msgmni", 32000, 0, kSysvIndexes}}},
    {"msgmax", false, 1, {{"msgmax", 8192, 0, kIntMax}}},
    {"msgmnb", false, 1, {{"msgmnb", 16384, 0, kIntMax}}},
    {"sem",
     false,
     4,
     {{"semmsl", kSemaphoresMax, 0, kSemaphoresMax},
      {"semmns", 1'024'000'000, 0, kIntMax},
      {"semopm", kSemaphoreOpsMax, 1, kSemaphoreOpsMax},
      {"semmni", 32000, 0, kSysvIndexes}}},
    {"shmmni", false, 1, {{"shmmni", 4096, 0, kSysvIndexes}}},
    {"shmmax", false, 1, {{"shmmax", kSharedMax, 0, kMost}}},
    {"shmall", false, 1, {{"shmall", kSharedMax, 0, kMost}}},
};

namespace {

constexpr std::size_t kFileBytes = 2 * kLimitTextBytes;

struct Path {
    char text[48];
};
Path path_of(const LimitFile& file) {
    Path path;
    std::snprintf(path.text, sizeof path.text, "limits/%s", file.name);
    return path;
}

bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}
bool ends_number(char c) {
    return c == ' ' || c == '\t' || c == '\n';
}

int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return 16;
}

// Decimal, 0x hexadecimal or 0 octal. Steps over it; false: no number, or more than 64 bits.
bool parse_number(const char*& at, const char* end, std::uint64_t& number) {
    unsigned base = 10;
    if (end - at > 1 && at[0] == '0') {
        base = 8;
        if (end - at > 2 && (at[1] | 0x20) == 'x' && digit_of(at[2]) < 16) {
            base = 16;
            at += 2;
        }
    }
    const char* start = at;
    number = 0;
    for (; at < end && digit_of(*at) < static_cast<int>(base); ++at)
        if (__builtin_mul_overflow(number, base, &number) ||
            __builtin_add_overflow(number, static_cast<std::uint64_t>(digit_of(*at)), &number))
            return false;
    return at > start;
}

LimitValues judge(const LimitFile& file, const char* text, std::size_t bytes) {
    LimitValues values = built_in_limit(file);
    if (bytes > kLimitTextBytes) parse_limit(file, text + kLimitTextBytes, bytes - kLimitTextBytes, values);
    if (bytes > 0) parse_limit(file, text, bytes < kLimitTextBytes ? bytes : kLimitTextBytes, values);
    return values;
}

// With `directory` the domain's or that of its limits, `path` to the file from there.
LimitValues read_at_path(int directory, const char* path, const LimitFile& file) {
    const File opened(platform::open_at(directory, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
    if (opened.fd() < 0) return built_in_limit(file);
    char text[kFileBytes];
    const long got = platform::read_file(opened.fd(), text, sizeof text);
    return judge(file, text, got > 0 ? static_cast<std::size_t>(got) : 0);
}

// Unlike the places of objects the limits' is its maker's alone.
Outcome<> ensure_place(const Domain& domain) {
    struct stat status;
    if (platform::file_status_at(domain.directory(), "limits", &status, AT_SYMLINK_NOFOLLOW) < 0) {
        const std::uint32_t user = platform::effective_user();
        if (platform::file_status(domain.directory(), &status) < 0 || (user != 0 && status.st_uid != user))
            return Fault{EACCES, "only the domain's owner and root set its limits"};
    }
    return domain.ensure_directory("limits", 0755);
}

bool put(int fd, const char* text, std::size_t bytes, std::uint64_t offset) {
    return platform::write_at(fd, text, bytes, offset) == static_cast<long>(bytes);
}

// Makes the file's first part blank; what holds goes on holding at each instant, since one byte decides which part counts.
bool make_blank(int fd, const LimitFile& file) {
    char text[kFileBytes] = {};
    const long got = platform::read_at(fd, text, sizeof text, 0);
    const LimitValues values = judge(file, text, got > 0 ? static_cast<std::size_t>(got) : 0);
    const LimitText now = limit_text(file, values);
    char kept[kLimitTextBytes], blank[kLimitTextBytes];
    std::memset(blank, '\n', sizeof blank);
    std::memcpy(kept, blank, sizeof kept);
    std::memcpy(kept, now.text, now.bytes);
    if (!put(fd, kept, sizeof kept, kLimitTextBytes)) return false;
    if (got > 0 && !put(fd, "?", 1, 0)) return false;
    return put(fd, blank + 1, sizeof blank - 1, 1) && put(fd, blank, 1, 0);
}

// A new file for the limit. EEXIST: somebody was faster.
Outcome<> make_file(const Domain& domain, const LimitFile& file) {
    unsigned granted = 0;
    auto made = domain.create_nameless(0644, &granted);
    if (!made) return made.fault();
    if (const int rc = platform::change_mode(made->fd(), 0644); rc < 0) return Fault{-rc};  // for all who use the domain
    if (!make_blank(made->fd(), file)) return Fault{ENOSPC, "the file system of the domain is full"};
    return domain.publish(made->fd(), path_of(file).text);
}

}  // namespace

const LimitFile* find_limit_file(const char* name) {
    for (const LimitFile& file : limit_files)
        if (std::strcmp(file.name, name) == 0) return &file;
    return nullptr;
}

LimitValues built_in_limit(const LimitFile& file) {
    LimitValues values{};
    for (unsigned i = 0; i < file.count; ++i) values.number[i] = file.numbers[i].built_in;
    return values;
}

LimitValues read_limit(const Domain& domain, const LimitFile& file) {
    return read_at_path(domain.directory(), path_of(file).text, file);
}

LimitText limit_text(const LimitFile& file, const LimitValues& values) {
    LimitText shown;
    shown.bytes = 0;
    for (unsigned i = 0; i < file.count; ++i) {
        const char* end = i + 1 < file.count ? "\t" : "\n";
        shown.bytes += static_cast<std::size_t>(std::snprintf(shown.text + shown.bytes, sizeof shown.text - shown.bytes, "%llu%s",
                                                              static_cast<unsigned long long>(values.number[i]), end));
    }
    return shown;
}

int parse_limit(const LimitFile& file, const char* text, std::size_t bytes, LimitValues& values) {
    LimitValues parsed = values;
    const char* at = text;
    const char* end = text + bytes;
    unsigned found = 0;
    for (; found < file.count; ++found) {
        while (at < end && is_blank(*at)) ++at;
        if (at == end) break;
        std::uint64_t number = 0;
        if (!parse_number(at, end, number) || (at < end && !ends_number(*at))) return EINVAL;
        if (number < file.numbers[found].least || number > file.numbers[found].most) return file.count > 1 ? ERANGE : EINVAL;
        parsed.number[found] = number;
    }
    if (found == 0) return EINVAL;
    values = parsed;
    return 0;
}

Outcome<File> open_limit(const Domain& domain, const LimitFile& file, int flags) {
    if (auto made = ensure_place(domain); !made) return made.fault();
    const Path path = path_of(file);
    for (int tries = 0; tries < 100; ++tries) {
        struct stat blanked, opened;
        {
            const File old(platform::open_at(domain.directory(), path.text, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
            if (old.fd() == -ENOENT) {
                auto made = make_file(domain, file);
                if (!made && made.fault().errno_value != EEXIST) return made.fault();
                if (made && std::strcmp(file.name, "sem") == 0) SysvRegistry::note_semaphore_limits(domain);
                continue;
            }
            if (old.fd() < 0) return Fault{-old.fd()};
            if (platform::file_status(old.fd(), &blanked) < 0 || !S_ISREG(blanked.st_mode))
                return Fault{EACCES, "something else is in the limit's place"};
            if (!make_blank(old.fd(), file)) return Fault{ENOSPC, "the file system of the domain is full"};
        }
        File result(
            platform::open_at(domain.directory(), path.text, (flags & (O_ACCMODE | O_CLOEXEC | O_NONBLOCK)) | O_NOFOLLOW));
        if (result.fd() < 0 && result.fd() != -ENOENT) return Fault{-result.fd()};
        // Not if it was replaced meanwhile: the new file is not blank.
        if (platform::file_status(result.fd(), &opened) == 0 && opened.st_ino == blanked.st_ino &&
            opened.st_dev == blanked.st_dev) {
            if (std::strcmp(file.name, "sem") == 0) SysvRegistry::note_semaphore_limits(domain);
            return result;
        }
    }
    return Fault{EAGAIN, "the limit is replaced faster than it can be opened"};
}

const LimitFile* limit_file_of(const Domain& domain, const struct stat& status) {
    for (const LimitFile& file : limit_files) {
        struct stat named;
        if (platform::file_status_at(domain.directory(), path_of(file).text, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
            named.st_ino == status.st_ino && named.st_dev == status.st_dev)
            return &file;
    }
    return nullptr;
}

// ---- all of one family at once ----

namespace {

// Calls `take(name, number)` for each number of the files that there are.
template <class Take>
void for_each_set(const Domain& domain, bool posix, Take take) {
    // Mostly there is none, or an empty one.
    struct stat status;
    if (platform::file_status_at(domain.directory(), "limits", &status, AT_SYMLINK_NOFOLLOW) < 0 || domain.is_surely_empty(status)) return;
    const File all(platform::open_at(domain.directory(), "limits", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (all.fd() < 0) return;
    for (const LimitFile& file : limit_files) {
        if (file.posix != posix) continue;
        const LimitValues values = read_at_path(all.fd(), file.name, file);
        for (unsigned i = 0; i < file.count; ++i) take(file.numbers[i].name, values.number[i]);
    }
}

}  // namespace

DomainLimits Domain::limits() const {
    constexpr struct {
        const char* name;
        std::uint64_t DomainLimits::*value;
    } kPlaces[] = {
        {"msg_default", &DomainLimits::msg_default}, {"msgsize_default", &DomainLimits::msgsize_default},
        {"msg_max", &DomainLimits::msg_max},         {"msgsize_max", &DomainLimits::msgsize_max},
        {"queues_max", &DomainLimits::queues_max},
    };
    DomainLimits limits;
    for_each_set(*this, true, [&](const char* name, std::uint64_t number) {
        for (const auto& place : kPlaces)
            if (std::strcmp(place.name, name) == 0) limits.*place.value = number;
    });
    return limits;
}

SysvLimits SysvLimits::of(const Domain& domain) {
    constexpr struct {
        const char* name;
        std::uint64_t SysvLimits::*value;
    } kPlaces[] = {
        {"msgmax", &SysvLimits::msgmax}, {"msgmnb", &SysvLimits::msgmnb}, {"msgmni", &SysvLimits::msgmni},
        {"semmsl", &SysvLimits::semmsl}, {"semmns", &SysvLimits::semmns}, {"semopm", &SysvLimits::semopm},
        {"semmni", &SysvLimits::semmni}, {"shmmax", &SysvLimits::shmmax}, {"shmall", &SysvLimits::shmall},
        {"shmmni", &SysvLimits::shmmni},
    };
    SysvLimits limits;
    for_each_set(domain, false, [&](const char* name, std::uint64_t number) {
        for (const auto& place : kPlaces)
            if (std::strcmp(place.name, name) == 0) limits.*place.value = number;
    });
    return limits;
}

namespace {

// The whole file at once, by another one that takes its place.
Outcome<> replace(const Domain& domain, const LimitFile& file, const LimitText& shown) {
    const auto thread = static_cast<unsigned>(platform::system_call(SYS_gettid));
    char temporary[64];
    for (unsigned attempt = 0;; ++attempt) {
        std::snprintf(temporary, sizeof temporary, "limits/.%s-%u-%u", file.name, thread, attempt);
        const File made(
            platform::open_at(domain.directory(), temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644));
        if (made.fd() == -EEXIST && attempt < 64) {
            platform::remove_name(domain.directory(), temporary);  // left by somebody who died
            continue;
        }
        if (made.fd() < 0) return Fault{-made.fd()};
        platform::change_mode(made.fd(), 0644);  // for all who use the domain, whatever the umask
        int rc = put(made.fd(), shown.text, shown.bytes, 0) ? 0 : -ENOSPC;
        if (rc == 0) rc = platform::rename_over(domain.directory(), temporary, domain.directory(), path_of(file).text);
        if (rc == 0) return platform::done();
        platform::remove_name(domain.directory(), temporary);
        return Fault{rc == -EPERM ? EACCES : -rc};
    }
}

}  // namespace

Outcome<> Domain::set_limit(const Domain& domain, const char* name, std::uint64_t value) {
    for (const LimitFile& file : limit_files) {
        for (unsigned i = 0; i < file.count; ++i) {
            const LimitNumber& number = file.numbers[i];
            if (std::strcmp(number.name, name) != 0) continue;
            if (value < number.least || value > number.most) return Fault{EINVAL, "the value is outside what this limit takes"};
            if (auto made = ensure_place(domain); !made) return made;
            LimitValues values = read_limit(domain, file);
            values.number[i] = value;
            if (auto done = replace(domain, file, limit_text(file, values)); !done) return done;
            if (file.count > 1) SysvRegistry::note_semaphore_limits(domain);
            return platform::done();
        }
    }
    return Fault{EINVAL, "there is no such limit; `muster limits` lists them"};
}

}  // namespace muster::objects
