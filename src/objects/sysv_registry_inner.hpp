// What the parts of the registry share: names, and the hint file's layout (docs/formats/sysv.md).
#pragma once
#include <cstdio>
#include "objects/sysv_registry.hpp"

namespace muster::objects {

// Which indexes are used, for all processes of the domain. A bit that is wrong costs time, never an object: the links decide.
struct SysvRegistry::Hints {
    std::uint64_t magic;
    memory::ShmU64 cursor;  // sequence << 32 | the index after the last one given out
    memory::ShmU32 limits_set;  // sem only: limits/sem was made
    std::uint32_t reserved_word;
    std::uint64_t reserved[5];
    memory::ShmU64 used[kSysvIndexes / 64];
    memory::ShmU64 marked[kSysvIndexes / 64];
};

namespace sysv {

inline constexpr const char* kKindNames[] = {"msg", "sem", "shm"};

struct Name {
    char text[48];
};

inline const char* kind_name(SysvKind kind) {
    return kKindNames[static_cast<std::uint32_t>(kind) % 3];
}

inline Name index_name(SysvKind kind, std::uint32_t index) {
    Name name;
    std::snprintf(name.text, sizeof name.text, "sysv/%s-%u", kind_name(kind), index);
    return name;
}
inline Name companion_name(SysvKind kind, std::uint32_t index) {
    Name name;
    std::snprintf(name.text, sizeof name.text, "sysv/%s-%u.data", kind_name(kind), index);
    return name;
}
inline Name hint_name(SysvKind kind) {
    Name name;
    std::snprintf(name.text, sizeof name.text, "sysv/.%s", kind_name(kind));
    return name;
}
inline Name key_name(SysvKind kind, std::uint32_t key, unsigned generation) {
    Name name;
    if (generation == 0)
        std::snprintf(name.text, sizeof name.text, "key/%s-%08x", kind_name(kind), key);
    else
        std::snprintf(name.text, sizeof name.text, "key/%s-%08x.%u", kind_name(kind), key, generation);
    return name;
}

inline bool name_exists(const Domain& domain, const char* name) {
    struct stat status;
    return platform::file_status_at(domain.directory(), name, &status, AT_SYMLINK_NOFOLLOW) != -ENOENT;
}

}  // namespace sysv
}  // namespace muster::objects
