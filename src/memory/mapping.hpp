// A file mapped into this process: an object's memory.
#pragma once
#include <atomic>
#include <cstdint>
#include "memory/object_layout.hpp"
#include "platform/outcome.hpp"

namespace muster::memory {

// What an opener knows how to read.
struct Format {
    std::uint64_t magic;
    std::uint32_t format;
    std::uint32_t fingerprint;
    std::uint64_t file_bytes_min;
};

class Mapping {
public:
    Mapping() = default;
    Mapping(Mapping&& o) noexcept : start_(o.start_), bytes_(o.bytes_), first_bytes_(o.first_bytes_), damage_(o.damage_) { o.start_ = nullptr; }
    Mapping& operator=(Mapping&&) = delete;
    ~Mapping();

    // Maps a whole new file of `bytes`, of which the first `reserved_bytes` get memory now.
    // `damage` is set when a page turns out to be gone (the file was cut short): it then reads as zero.
    // Errors: ENOSPC, ENOMEM, EFBIG (RLIMIT_FSIZE).
    // `behind_bytes` of addresses stay free behind it for append().
    static platform::Outcome<Mapping> create(int fd, std::uint64_t bytes, std::uint64_t reserved_bytes, std::atomic<std::uint32_t>* damage,
                                             std::uint64_t behind_bytes = 0);

    // Maps an existing file after checking its header against `format`. Nothing is written.
    // Errors: EBADMSG with the reason.
    static platform::Outcome<Mapping> open(int fd, const Format& format, std::atomic<std::uint32_t>* damage, std::uint64_t behind_bytes = 0);
    // Maps a second file of the object, all `behind_bytes` of it, right behind the first: one range of addresses. Errors: ENOMEM.
    platform::Outcome<> append(int fd);

    // Ends it, but keeps the first `bytes` of its addresses, zeroes from now on, until the destructor: for those who may still look there.
    void blank(std::uint64_t bytes);

    std::byte* start() const { return start_; }
    std::uint64_t bytes() const { return bytes_; }  // both files
    ObjectHeader& header() const { return *reinterpret_cast<ObjectHeader*>(start_); }

    // The object may be found by others from here on.
    void publish_ready() const {
        // SYNC object.ready (release half). Carries: the whole new object. Pairs with check_header().
        header().ready.store_release(1);
    }

private:
    Mapping(std::byte* start, std::uint64_t bytes, std::uint64_t first_bytes, std::atomic<std::uint32_t>* damage)
        : start_(start), bytes_(bytes), first_bytes_(first_bytes), damage_(damage) {}
    std::byte* start_ = nullptr;
    std::uint64_t bytes_ = 0;
    std::uint64_t first_bytes_ = 0;  // of the first file
    std::atomic<std::uint32_t>* damage_ = nullptr;
};

// Makes an empty file that long. Errors: EFBIG (RLIMIT_FSIZE), and the file system's.
platform::Outcome<> set_length(int fd, std::uint64_t bytes);

// Why a header of a file of `file_bytes` is not one that `format` describes. Reads `header`, a private copy.
platform::Outcome<> check_header(const ObjectHeader& header, const Format& format, std::uint64_t file_bytes);

// Writes into the file's header what follows from `format` and the file's length, which is to be `file_bytes`: magic number, length,
// `ready`. A file of another format or fingerprint stays as it is: it may be another version's. True: something was wrong.
// Errors: EBADMSG it is none, or not that long.
platform::Outcome<bool> mend_header(int fd, const Format& format, std::uint64_t file_bytes);

// Fills the fields that every kind shares; `ready` stays 0.
void fill_header(ObjectHeader& header, const Format& format, std::uint64_t file_bytes);

}  // namespace muster::memory
