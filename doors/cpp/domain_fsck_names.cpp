// Domain::fsck, what lies between the objects: names and keys, hints, lives, limits, FIFOs, and files that belong to nothing.
#include <algorithm>
#include <cstring>
#include "fsck.hpp"
#include "objects/limits.hpp"
#include "objects/queue_layout.hpp"
#include "objects/segment.hpp"
#include "platform/file.hpp"
#include "platform/process.hpp"

namespace muster::cpp {
using objects::SysvKind;
using objects::SysvRegistry;

namespace {

constexpr std::uint64_t kIdOffset = offsetof(memory::ObjectHeader, reserved);
constexpr std::uint64_t kKeyOffset = offsetof(memory::ObjectHeader, key);

bool put_word(int fd, std::uint32_t value, std::uint64_t offset) {
    return platform::write_at(fd, &value, sizeof value, offset) == static_cast<long>(sizeof value);
}

bool read_header(const platform::File& file, memory::ObjectHeader& header) {
    return file.fd() >= 0 && platform::read_at(file.fd(), &header, sizeof header, 0) == static_cast<long>(sizeof header);
}

std::string hex(std::uint32_t key) {
    char text[16];
    std::snprintf(text, sizeof text, "0x%x", key);
    return text;
}

}  // namespace

Checker::Subject Checker::subject_of(const std::string& file, std::string name) const {
    Subject subject{file, std::move(name), 0};
    ObjectInfo info;
    if (fill_from_file(info, domain_, file)) subject.bytes = info.bytes_allocated;
    return subject;
}

platform::File Checker::open_file(const std::string& file, int flags) const {
    const int fd = platform::open_at(core_.directory(), file.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd == -EACCES && flags == O_RDWR) return open_file(file, O_RDONLY);
    return platform::File(fd);
}

// ---- System V objects ----

void Checker::system_v() {
    for (const SysvPlace& each : sysv_places(core_))
        if (wanted(each.path)) object_at(each);
}

void Checker::object_at(const SysvPlace& place) {
    Subject subject = subject_of(place.path, "");
    if (!settle_identity(place, subject)) return;
    auto file = muster::cpp::system_v(domain_).registry.open_index(place.kind, place.index);
    if (!file) return;
    subject.name = object_name(place.kind, Key(static_cast<std::int32_t>(file->header.key.load_relaxed())), file->id);
    if (place.kind == SysvKind::msg) typed_queue(subject, place.index, *file);
    if (place.kind == SysvKind::sem) semaphore_set(subject, *file);
    if (place.kind == SysvKind::shm) segment(subject, place.index, *file);
}

// What the file says it is, against where it lies. True: it is an object, by that identifier.
bool Checker::settle_identity(const SysvPlace& place, Subject& subject) {
    using Place = SysvRegistry::Place;
    SysvRegistry& registry = muster::cpp::system_v(domain_).registry;
    const Place judged = registry.judge_place(place.kind, place.index);
    if (judged == Place::closed) return tell(subject, "this user may not look into it", 0, {}), false;
    if (judged != Place::foreign && judged != Place::live) return false;  // of the dead: gc's business
    const auto file = open_file(place.path);
    memory::ObjectHeader header;
    if (!read_header(file, header)) {
        tell(subject, "no object of a format that this version knows", subject.bytes, {false, false, "`muster rm " + subject.file + "` removes it"});
        return false;
    }
    constexpr std::uint64_t kMagics[] = {objects::kQueueMagic, objects::kSemaphoreSetMagic, objects::kSegmentMagic};
    const bool kind_known = header.magic == kMagics[static_cast<std::uint32_t>(place.kind)];
    if (judged == Place::foreign && !kind_known && header.removed.load_relaxed() != objects::kSysvLive) {  // relaxed: a private copy
        tell(subject, "no object of a format that this version knows", subject.bytes, {false, false, "--salvage may read it still; `muster rm " + subject.file + "` removes it"});
        return false;
    }
    // It has its name, so it was complete.
    if (header.removed.load_relaxed() > objects::kSysvPending)  // relaxed, here and below: a private copy
        tell_mendable(subject, "it is neither there nor removed", subject.bytes, "there, as its name says",
                      [&] { return put_word(file.fd(), objects::kSysvLive, offsetof(memory::ObjectHeader, removed)); });
    const int id = objects::sysv_id(header);
    if (id < 0 || objects::sysv_index(id) != place.index) {
        const std::uint32_t sequence = id < 0 ? 0 : objects::sysv_sequence(id);
        const std::uint32_t right = sequence * objects::kSysvIndexes + place.index;
        tell_mendable(subject, "it says that its identifier is " + std::to_string(id) + ", which is none of this place", subject.bytes,
                      "its identifier becomes " + std::to_string(right), [&] { return put_word(file.fd(), right, kIdOffset); });
    }
    return true;
}

// Each object with a key is found under it, and each key leads to an object that says the same.
void Checker::keys() {
    SysvRegistry& registry = muster::cpp::system_v(domain_).registry;
    struct Entry {
        std::string name;
        SysvKind kind;
        std::uint32_t key;
        std::uint64_t inode;
        bool used = false;
    };
    std::vector<Entry> named;
    const auto inode_of = [&](const std::string& file) {
        struct stat status {};
        return platform::file_status_at(core_.directory(), file.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 ? std::uint64_t{status.st_ino} : 0;
    };
    std::vector<std::uint64_t> placed;  // what is wrong with these was told of the object
    for (const SysvPlace& place : sysv_places(core_)) placed.push_back(inode_of(place.path));
    for (const std::string& name : entries(core_, "key")) {
        Entry entry{name, {}, 0, inode_of("key/" + name)};
        const SysvRegistry::Place judged = registry.judge_key(name.c_str(), entry.kind, entry.key);
        const bool told = std::find(placed.begin(), placed.end(), entry.inode) != placed.end();
        if (judged == SysvRegistry::Place::foreign && !told && wanted("key/" + name))
            tell(subject_of("key/" + name, ""), "a key that leads to no object of a format that this version knows", 0, {});
        // "Removed" is also what an object is that says it has another key; which of the two is right is seen below.
        if (judged == SysvRegistry::Place::live || judged == SysvRegistry::Place::removed) named.push_back(std::move(entry));
    }
    for (const SysvPlace& place : sysv_places(core_)) {
        if (registry.judge_place(place.kind, place.index) != SysvRegistry::Place::live) continue;
        const auto file = open_file(place.path);
        memory::ObjectHeader header;
        const std::uint64_t inode = inode_of(place.path);
        if (!read_header(file, header) || inode == 0) continue;
        const std::uint32_t key = header.key.load_relaxed();
        std::vector<Entry*> mine;
        for (Entry& entry : named)
            if (entry.inode == inode && entry.kind == place.kind) mine.push_back(&entry);
        for (Entry* entry : mine) entry->used = true;
        if (!wanted(place.path)) continue;
        const bool found = std::any_of(mine.begin(), mine.end(), [&](const Entry* entry) { return entry->key == key; });
        if (found ? mine.size() == 1 : key == 0 && mine.empty()) continue;
        const Subject subject = subject_of(place.path, object_name(place.kind, Key(static_cast<std::int32_t>(key)), objects::sysv_id(header)));
        std::uint32_t flags = 0;
        if (place.kind == SysvKind::shm) (void)platform::read_at(file.fd(), &flags, sizeof flags, offsetof(objects::SegmentControl, flags));
        if (mine.size() == 1 && !found) {
            if (key == 0 && (flags & objects::kSegmentDestroy) != 0) continue;  // on its way out
            const std::uint32_t right = mine[0]->key;
            tell_mendable(subject, "it says that its key is " + hex(key) + ", and is found under " + hex(right), subject.bytes,
                          "its key becomes the one that it is found under", [&] { return put_word(file.fd(), right, kKeyOffset); });
        } else if (mine.empty()) {
            const bool taken = std::any_of(named.begin(), named.end(), [&](const Entry& entry) { return entry.kind == place.kind && entry.key == key; });
            if (taken) {
                tell(subject, "its key leads to another object", subject.bytes, {false, false, "which of the two is meant is not known; it can be used by its identifier"});
                continue;
            }
            char link[40];
            std::snprintf(link, sizeof link, "key/%s-%08x", std::string(to_string(public_kind(place.kind))).c_str(), key);
            tell_mendable(subject, "its key leads nowhere", subject.bytes, "the key is linked to it again",
                          [&] { return core_.ensure_directory("key") && platform::link_file(core_.directory(), place.path.c_str(), core_.directory(), link, 0) == 0; });
        } else {
            note(subject, "it is found under " + std::to_string(mine.size()) + " keys", "the wrong ones go when they are looked up");
        }
    }
    for (const Entry& entry : named) {
        if (entry.used || !wanted("key/" + entry.name)) continue;
        const auto file = open_file("key/" + entry.name);
        memory::ObjectHeader header;
        if (!read_header(file, header) || header.removed.load_relaxed() != objects::kSysvLive) continue;  // gc's business
        const int id = objects::sysv_id(header);
        const Subject subject = subject_of("key/" + entry.name, object_name(entry.kind, Key(static_cast<std::int32_t>(entry.key)), id));
        const std::string place = "sysv/" + std::string(to_string(public_kind(entry.kind))) + "-" + std::to_string(id < 0 ? 0 : objects::sysv_index(id));
        tell_mendable(subject, "the object of this key has lost its place among the identifiers", subject.bytes, "it gets its place " + place + " back",
                      [&] {
                          const bool done = id >= 0 && platform::link_file(core_.directory(), ("key/" + entry.name).c_str(), core_.directory(), place.c_str(), 0) == 0;
                          if (done) given_back_.push_back(place);
                          return done;
                      });
    }
    // What was not there to be looked at before.
    for (const SysvPlace& each : sysv_places(core_))
        if (std::find(given_back_.begin(), given_back_.end(), each.path) != given_back_.end()) object_at(each);
}

// Bytes without the object that they belong to.
void Checker::companions() {
    for (const std::string& name : entries(core_, "sysv")) {
        const bool data = name.size() > 5 && name.compare(name.size() - 5, 5, ".data") == 0;
        struct stat status {};
        if (!data || !wanted("sysv/" + name)) continue;
        if (platform::file_status_at(core_.directory(), ("sysv/" + name.substr(0, name.size() - 5)).c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) continue;
        const Subject subject = subject_of("sysv/" + name, "");
        tell(subject, name.compare(0, 3, "msg") == 0 ? "messages of a queue that is gone" : "bytes of a segment that is gone", subject.bytes,
             {false, false, "nobody can name them any more; --salvage reads them from the file"});
    }
}

void Checker::hints() {
    for (const char* kind : {"msg", "sem", "shm"}) {
        const Subject subject = subject_of(std::string("sysv/.") + kind, "");
        struct stat status {};
        if (!wanted(subject.file) || platform::file_status_at(core_.directory(), subject.file.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) continue;
        const auto file = open_file(subject.file);
        char magic[8] = {};
        if (S_ISREG(status.st_mode) && status.st_size == 12288 && platform::read_at(file.fd(), magic, sizeof magic, 0) == 8 && std::memcmp(magic, "MURHINT1", 8) == 0) continue;
        tell_mendable(subject, "the hints at which identifiers are used are damaged; every look-up reads the directory", 0, "removed: they are made anew from the names",
                      [&] { return static_cast<bool>(core_.remove(subject.file.c_str())); });
    }
    const Subject subject = subject_of("sysv/.life", "");
    struct stat status {};
    if (!wanted(subject.file) || platform::file_status_at(core_.directory(), subject.file.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) return;
    if (!S_ISREG(status.st_mode)) tell(subject, "the file by which attachments are known to last is none; nobody can attach a segment", 0, {});
}

void Checker::lives() {
    const Subject subject = subject_of("lives", "");
    struct stat status {};
    if (!wanted(subject.file) || platform::file_status_at(core_.directory(), "lives", &status, AT_SYMLINK_NOFOLLOW) < 0) return;
    auto opened = muster::cpp::system_v(domain_).lives.open(false);
    if (opened || opened.fault().errno_value == EACCES) return;
    const auto file = open_file(subject.file);
    constexpr memory::Format kFormat{objects::kLivesMagic, objects::kLivesFormat, objects::kLivesFingerprint, objects::kLivesBytes};
    const auto mend = [&] { return memory::mend_header(file.fd(), kFormat, objects::kLivesBytes) && muster::cpp::system_v(domain_).lives.open(false); };
    const bool done = repair_ && mend();
    tell(subject, "the processes that used undo cannot be told: " + reason(opened.fault()), subject.bytes,
         {done || !repair_, done, done || !repair_ ? "its header is written anew, if its length is right" : "it can be removed when no program that uses undo runs"});
}

// A text that makes no sense counts for nothing; that is told, since somebody meant something by it.
void Checker::limits() {
    for (const std::string& name : entries(core_, "limits")) {
        const Subject subject = subject_of("limits/" + name, "");
        if (!wanted(subject.file)) continue;
        const objects::LimitFile* limit = objects::find_limit_file(name.c_str());
        if (limit == nullptr) {
            note(subject, "a limit that nobody asks for", "");
            continue;
        }
        const auto file = open_file(subject.file, O_RDONLY);
        char text[objects::kLimitTextBytes] = {};
        const long got = file.fd() < 0 ? -1 : platform::read_at(file.fd(), text, sizeof text, 0);
        if (got < 0) {
            tell(subject, "the limit cannot be read; the built-in one holds", 0, {});
            continue;
        }
        const std::string_view first(text, static_cast<std::size_t>(got));
        objects::LimitValues values = objects::built_in_limit(*limit);
        const bool blank = first.find_first_not_of("\n") == first.npos;
        if (blank || objects::parse_limit(*limit, text, first.size(), values) == 0) continue;
        const objects::LimitValues holds = objects::read_limit(core_, *limit);
        tell_mendable(subject, "its text makes no sense and counts for nothing", 0, "the limit that holds is written into it", [&] {
            for (unsigned i = 0; i < limit->count; ++i)
                if (!objects::Domain::set_limit(core_, limit->numbers[i].name, holds.number[i])) return false;
            return true;
        });
    }
}

void Checker::fifos() {
    for (const std::string& name : entries(core_, "poll")) {
        const Subject subject = subject_of("poll/" + name, "");
        struct stat status {};
        if (!wanted(subject.file) || platform::file_status_at(core_.directory(), subject.file.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) continue;
        const bool good_name = name.size() == 32 && name.find_first_not_of("0123456789abcdef") == name.npos;
        if (S_ISFIFO(status.st_mode) && good_name) continue;
        if (!good_name) note(subject, "a file that belongs to no queue", "");
        else if (S_ISREG(status.st_mode) && status.st_size == 0)
            tell_mendable(subject, "no FIFO, but in the place of one: its queue cannot be polled", 0, "the empty file is removed; who polls makes the FIFO",
                          [&] { return static_cast<bool>(core_.remove(subject.file.c_str())); });
        else tell(subject, "no FIFO, but in the place of one: its queue cannot be polled", static_cast<std::uint64_t>(status.st_size), {false, false, "somebody may want what is in it; its file can be removed"});
    }
}

// Half-made things of dead makers, and files of nobody.
void Checker::strangers() {
    if (!only_.empty()) return;
    constexpr std::string_view kKnown[] = {"mq", "poll", "limits", "ephemeral", "ephemeral.new", "lives", "sysv", "key", "shm", "sem"};
    for (const std::string& name : entries(core_, ".")) {
        if (std::find(std::begin(kKnown), std::end(kKnown), name) != std::end(kKnown)) continue;
        const Subject subject = subject_of(name, "");
        const std::size_t dash = name.rfind('-');
        if (name[0] == '.' && dash != name.npos) {
            const auto maker = static_cast<std::uint32_t>(std::strtoul(name.c_str() + (name.rfind(".new-", 0) == 0 ? 5 : dash + 1), nullptr, 10));
            if (maker == 0 || platform::thread_exists(maker)) continue;
            tell_mendable(subject, "a directory whose maker died before it had its name", 0, "removed, if it is empty",
                          [&] { return platform::remove_name(core_.directory(), name.c_str(), AT_REMOVEDIR) == 0; });
            continue;
        }
        note(subject, "nothing that Muster made", "");
    }
    for (const std::string& name : entries(core_, "sysv")) {
        static constexpr std::string_view kHints[] = {".msg", ".sem", ".shm", ".life"};
        if (std::find(std::begin(kHints), std::end(kHints), name) != std::end(kHints)) continue;
        const std::string stem = name.size() > 5 && name.compare(name.size() - 5, 5, ".data") == 0 ? name.substr(0, name.size() - 5) : name;
        const bool good = stem.size() > 4 && stem.size() < 10 && stem[3] == '-' && stem.find_first_not_of("0123456789", 4) == stem.npos &&
                          (stem.compare(0, 3, "msg") == 0 || stem.compare(0, 3, "sem") == 0 || stem.compare(0, 3, "shm") == 0);
        if (!good) note(subject_of("sysv/" + name, ""), "nothing that Muster made", "");
    }
}

}  // namespace muster::cpp
