// The first 128 bytes of every object's file.
//
//   offset size field            written by
//      0    8  magic            creator, once; names the kind
//      8    4  format           creator, once
//     12    4  fingerprint      creator, once: sizes and offsets of the layout it was built with
//     16   16  uuid             creator, once
//     32    8  file_bytes       creator, once: the file's length (sparse)
//     40    8  pid_namespace    creator, once: inode of its pid namespace, 0 unknown
//     48    8  created_ns       creator, once
//     56    4  ready            creator, last (SYNC object.ready: release in Mapping::publish_ready, acquire in check_header)
//     60    4  reserved         zero
//     64    4  owner_uid        owner (IPC_SET), the object's administration lock held
//     68    4  owner_gid        likewise
//     72    4  creator_uid      creator; fchown of a queue's descriptor changes both pairs
//     76    4  creator_gid      likewise
//     80    4  mode             owner: the permission bits that were asked for
//     84    4  key              creator; 0 is IPC_PRIVATE or a POSIX name
//     88    4  removed          who removes it
//     92   36  reserved         zero
//
// Nothing here is trusted: another process may have written it.
#pragma once
#include <cstddef>
#include <initializer_list>
#include "memory/shm_word.hpp"

namespace muster::memory {

struct ObjectHeader {
    std::uint64_t magic;
    std::uint32_t format;
    std::uint32_t fingerprint;
    std::uint64_t uuid[2];
    std::uint64_t file_bytes;
    std::uint64_t pid_namespace;
    std::uint64_t created_ns;
    ShmU32 ready;
    std::uint32_t reserved0;
    ShmU32 owner_uid;
    ShmU32 owner_gid;
    ShmU32 creator_uid;
    ShmU32 creator_gid;
    ShmU32 mode;
    ShmU32 key;
    ShmU32 removed;
    std::uint32_t reserved[9];
};
static_assert(ShmLayout<ObjectHeader>);
static_assert(sizeof(ObjectHeader) == 128);
static_assert(offsetof(ObjectHeader, ready) == 56 && offsetof(ObjectHeader, removed) == 88);

// A number that differs when any size or offset does. Fold in every one that matters.
constexpr std::uint32_t fingerprint_of(std::initializer_list<std::size_t> sizes_and_offsets) {
    std::uint32_t hash = 2166136261u;  // FNV-1a
    for (std::size_t value : sizes_and_offsets)
        for (int byte = 0; byte < 4; ++byte) hash = (hash ^ static_cast<std::uint8_t>(value >> (8 * byte))) * 16777619u;
    return hash;
}

}  // namespace muster::memory
