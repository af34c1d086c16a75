// How objects are named on the command line, the same in every command:
//
//   /jobs               a POSIX message queue
//   sem:0x1234          a semaphore set by its key, always hexadecimal, as ipcs shows keys
//   sem:id=5            the same by its identifier, always decimal
//   shm:…  msg:…        segments and System V message queues likewise
//   posix-shm:/cache    what shm_open("/cache") opens
//   posix-sem:/lock     what sem_open("/lock") opens
//   sysv/msg-0          a file that was a System V object before it was damaged, as `ls` and `fsck` name it
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>
#include "failure.hpp"
#include "muster/domain.hpp"

namespace muster::cli {

struct ObjectName {
    ObjectKind kind = ObjectKind::message_queue;
    std::string text;                     // as it was typed
    std::string name;                     // "/cache", "sysv/msg-0"; empty for System V objects
    std::optional<std::int32_t> key, id;  // one of them for System V objects
    bool is_system_v() const { return name.empty(); }
};

// Fails with exit code 2 and a sentence about what is wrong.
ObjectName parse_object_name(std::string_view text);

// "0x1234" or "sem:0x1234" for `mk sem`; nothing for an empty text: an object without a key.
std::optional<std::int32_t> parse_key(ObjectKind kind, std::string_view text);

// One of "mq", "msg", "sem", "shm", "posix-shm", "posix-sem"; `option` is named in the complaint.
ObjectKind parse_kind(std::string_view option, std::string_view text);

// "semaphore set": what people call it; "object" for what is none of them.
std::string_view noun_of(ObjectKind kind);
// The same for an object's name as errors have it.
std::string_view noun_of(std::string_view name);

// The identifier of a System V object; fails if there is none.
std::int32_t identifier_of(const Domain& domain, const ObjectName& object, Doing doing, const Global& global);

// The object as a listing shows it; fails with exit code 5 if there is none.
ObjectInfo find_object(const Domain& domain, const ObjectName& object, const Global& global);

// What a listing knows of several, asked once.
class Listing {
public:
    Listing(const Domain& domain, const Global& global) : domain_(domain), global_(global) {}
    ObjectInfo find(const ObjectName& object);

private:
    const Domain& domain_;
    const Global& global_;
    std::optional<std::vector<ObjectInfo>> all_;
};

}  // namespace muster::cli
