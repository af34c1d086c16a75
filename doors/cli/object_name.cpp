#include "object_name.hpp"
#include <fmt/format.h>
#include <algorithm>
#include <array>
#include <charconv>
#include "units.hpp"

namespace muster::cli {
namespace {

constexpr std::array<ObjectKind, 6> kKinds{ObjectKind::message_queue,       ObjectKind::typed_queue,
                                           ObjectKind::semaphore_set,       ObjectKind::segment,
                                           ObjectKind::posix_shared_memory, ObjectKind::posix_semaphore};

bool has_key(ObjectKind kind) {
    return kind == ObjectKind::typed_queue || kind == ObjectKind::semaphore_set || kind == ObjectKind::segment;
}

template <class Number>
std::optional<Number> number_in(std::string_view digits, int base) {
    Number value{};
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (digits.empty() || parsed.ec != std::errc{} || parsed.ptr != digits.data() + digits.size()) return {};
    return value;
}

bool is_hexadecimal(std::string_view text) {
    return text.substr(0, 2) == "0x" || text.substr(0, 2) == "0X";
}

std::int32_t key_in(std::string_view shown, std::string_view text) {
    const auto key = is_hexadecimal(text) ? number_in<std::uint32_t>(text.substr(2), 16) : std::nullopt;
    if (!key) fail(kUsage, fmt::format("{}: a key is written in hexadecimal, such as 0x1234, up to 0xffffffff", shown));
    if (*key == 0) fail(kUsage, fmt::format("{}: key 0 is no key (IPC_PRIVATE); name the object by its identifier", shown));
    return static_cast<std::int32_t>(*key);
}

// "/cache" behind "posix-shm:".
void check_posix_name(std::string_view shown, std::string_view name, ObjectKind kind) {
    const std::size_t most = kind == ObjectKind::posix_semaphore ? 251 : 255;
    if (name.size() < 2 || name.front() != '/')
        fail(kUsage, fmt::format("{}: a name begins with a slash, as in {}:/cache", shown, to_string(kind)));
    if (name.find('/', 1) != name.npos)
        fail(kUsage, fmt::format("{}: a name has one slash, the first character, and no other", shown));
    if (name == "/." || name == "/..") fail(kUsage, fmt::format("{}: this name is the file system's", shown));
    if (name.size() - 1 > most)
        fail(kUsage, fmt::format("{}…: the name is {} bytes long after the slash; at most {} are possible", shown.substr(0, 24),
                                 name.size() - 1, most));
}

}  // namespace

std::string_view noun_of(ObjectKind kind) {
    switch (kind) {
        case ObjectKind::message_queue:
            return "queue";
        case ObjectKind::typed_queue:
            return "System V message queue";
        case ObjectKind::semaphore_set:
            return "semaphore set";
        case ObjectKind::segment:
            return "segment";
        case ObjectKind::posix_shared_memory:
            return "POSIX shared memory";
        case ObjectKind::posix_semaphore:
            return "POSIX semaphore";
        default:
            return "object";
    }
}

std::string_view noun_of(std::string_view name) {
    if (!name.empty() && name.front() == '/') return noun_of(ObjectKind::message_queue);
    const std::string_view prefix = name.substr(0, name.find(':'));
    for (const ObjectKind kind : kKinds)
        if (prefix == to_string(kind)) return noun_of(kind);
    return noun_of(ObjectKind::unknown);
}

ObjectKind parse_kind(std::string_view option, std::string_view text) {
    std::string words;
    for (const ObjectKind kind : kKinds) {
        if (text == to_string(kind)) return kind;
        words += fmt::format("{}{}", words.empty() ? "" : ", ", to_string(kind));
    }
    fail(kUsage, fmt::format("{}: '{}' is no kind of object; there are {}", option, text, words));
}

ObjectName parse_object_name(std::string_view text) {
    ObjectName object;
    object.text = text;
    if (text.substr(0, 5) == "sysv/") {
        object.kind = ObjectKind::unknown;
        object.name = text;
        return object;
    }
    const std::size_t colon = text.find(':');
    const std::string_view prefix = text.substr(0, colon == text.npos ? 0 : colon);
    const auto known = std::find_if(kKinds.begin(), kKinds.end(), [&](ObjectKind kind) { return prefix == to_string(kind); });
    if (text.empty() || text.front() == '/' || colon == text.npos || known == kKinds.end() || prefix == "mq") {
        const std::string_view name = prefix == "mq" ? text.substr(colon + 1) : text;
        if (name.substr(0, 1) != "/" && known == kKinds.end() && colon != text.npos)
            fail(kUsage, fmt::format("{}: '{}' is no kind of object; write /jobs, sem:0x1234, shm:id=5, posix-shm:/cache …", text,
                                     prefix));
        check_queue_name(name);
        object.name = name;
        return object;
    }
    object.kind = *known;
    const std::string_view rest = text.substr(colon + 1);
    if (!has_key(object.kind)) {
        check_posix_name(text, rest, object.kind);
        object.name = rest;
    } else if (rest.substr(0, 3) == "id=") {
        object.id = number_in<std::int32_t>(rest.substr(3), 10);
        if (!object.id || *object.id < 0)
            fail(kUsage, fmt::format("{}: an identifier is a decimal number from 0, such as {}:id=5", text, prefix));
    } else if (const auto number = number_in<std::int32_t>(rest, 10); number && !is_hexadecimal(rest)) {
        fail(kUsage, fmt::format("{}: key or identifier? write {}:{:#x} for the key, {}:id={} for the identifier", text, prefix,
                                 static_cast<std::uint32_t>(*number), prefix, *number));
    } else {
        object.key = key_in(text, rest);
    }
    return object;
}

std::optional<std::int32_t> parse_key(ObjectKind kind, std::string_view text) {
    if (text.empty()) return {};
    const std::string prefix = fmt::format("{}:", to_string(kind));
    const std::string_view key = text.substr(0, prefix.size()) == prefix ? text.substr(prefix.size()) : text;
    if (key.substr(0, 3) == "id=")
        fail(kUsage, fmt::format("{}: identifiers are given out, not chosen; name a key such as 0x1234, or none", text));
    return key_in(text, key);
}

std::int32_t identifier_of(const Domain& domain, const ObjectName& object, Doing doing, const Global& global) {
    if (object.id) return *object.id;
    auto found = domain.identifier(object.kind, Key(*object.key));
    if (!found && found.error() == ENOENT) throw explain(Error(ENOENT, object.text, ""), doing, global);
    return require(std::move(found), doing, global);
}

ObjectInfo Listing::find(const ObjectName& object) {
    if (object.is_system_v()) {
        auto found = domain_.find(object.kind, identifier_of(domain_, object, Doing::opening, global_));
        if (!found && found.error() == ENOENT) throw explain(Error(ENOENT, object.text, ""), Doing::opening, global_);
        return require(std::move(found), Doing::opening, global_);
    }
    if (!all_) all_ = require(domain_.list(), Doing::inspecting, global_);
    const std::string shown =
        object.kind == ObjectKind::message_queue || object.kind == ObjectKind::unknown ? object.name : fmt::format("{}:{}", to_string(object.kind), object.name);
    const auto found = std::find_if(all_->begin(), all_->end(), [&](const ObjectInfo& info) {
        return info.name == shown && info.kind != ObjectKind::poll_fifo;
    });
    if (found == all_->end()) throw explain(Error(ENOENT, shown, ""), Doing::opening, global_);
    return *found;
}

ObjectInfo find_object(const Domain& domain, const ObjectName& object, const Global& global) {
    return Listing(domain, global).find(object);
}

}  // namespace muster::cli
