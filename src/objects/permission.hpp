// Who may do what with an object, by the effective user and group, as the kernel decides it.
#pragma once
#include "memory/object_layout.hpp"

namespace muster::objects {

inline constexpr std::uint32_t kMayRead = 4;
inline constexpr std::uint32_t kMayWrite = 2;

// What was asked of the object at its creation or since: a private copy of the header's fields.
struct Permission {
    std::uint32_t owner_uid, owner_gid, creator_uid, creator_gid, mode;
    static Permission of(const memory::ObjectHeader& header) {
        return {header.owner_uid.load_relaxed(), header.owner_gid.load_relaxed(), header.creator_uid.load_relaxed(),
                header.creator_gid.load_relaxed(), header.mode.load_relaxed()};  // relaxed: a stale answer was right a moment ago
    }
    // `wanted` is kMayRead and kMayWrite or'ed together. SOURCE ipcperms() of the kernel: owner or creator, else group, else other; root passes.
    bool allows(std::uint32_t wanted) const;
    bool owned_by_us() const;  // owner, creator or root
};

// The bits of the file behind an object: whoever may read or write needs its control block, read and write.
constexpr std::uint32_t fence_mode(std::uint32_t mode) {
    std::uint32_t widened = 0600;
    if (mode & 0060) widened |= 0060;
    if (mode & 0006) widened |= 0006;
    return widened;
}

}  // namespace muster::objects
