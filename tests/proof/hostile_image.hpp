// A file of an object in the proofs of hostile peers: mapped, and put back to what it was as often as one likes.
#pragma once
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace muster::test::hostile {

inline constexpr std::size_t kPageBytes = 4096;

// A file and what was in it when take() was called: the pages that had memory are made again at will, the others emptied.
class ImageFile {
public:
    explicit ImageFile(std::string path);
    ImageFile(const ImageFile&) = delete;
    ~ImageFile();
    void take();
    void also(std::uint64_t at, std::uint64_t bytes);  // pages that had no memory yet, and will be written
    void restore_hot() const;  // the pages that had memory, or may get some
    void restore() const;      // and nothing but these
    const std::string& path() const { return path_; }
    std::size_t bytes() const { return bytes_; }
    unsigned char* at(std::uint64_t offset) const { return map_ + offset; }
    template <class T>
    void put(std::uint64_t offset, T value) const {
        __builtin_memcpy(map_ + offset, &value, sizeof value);
    }
    template <class T>
    T get(std::uint64_t offset) const {
        T value;
        __builtin_memcpy(&value, map_ + offset, sizeof value);
        return value;
    }
    // A second name that nobody else knows, from which the first comes back after a removal.
    void keep() const;
    void name_again(const std::string& path) const;
    void forget_kept() const;

private:
    std::string path_, second_name_;
    int fd_ = -1;
    unsigned char* map_ = nullptr;
    std::size_t bytes_ = 0;
    std::vector<std::pair<std::size_t, std::array<unsigned char, kPageBytes>>> pages_;
};

inline ImageFile::ImageFile(std::string path) : path_(std::move(path)) {
    fd_ = open(path_.c_str(), O_RDWR | O_CLOEXEC);
    struct stat status {};
    if (fd_ < 0 || fstat(fd_, &status) != 0) throw std::runtime_error(path_ + " cannot be opened");
    bytes_ = static_cast<std::size_t>(status.st_size);
    void* at = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_, 0);
    if (at == MAP_FAILED) throw std::runtime_error(path_ + " cannot be mapped");
    map_ = static_cast<unsigned char*>(at);
    const std::string keep = std::string(getenv("MUSTER_DOMAIN")) + ".keep";
    mkdir(keep.c_str(), 0700);
    second_name_ = keep + "/" + std::to_string(status.st_ino);
}

inline ImageFile::~ImageFile() {
    if (map_ != nullptr) munmap(map_, bytes_);
    if (fd_ >= 0) close(fd_);
    unlink(second_name_.c_str());
}

inline void ImageFile::take() {
    pages_.clear();
    for (off_t at = 0; (at = lseek(fd_, at, SEEK_DATA)) >= 0 && static_cast<std::size_t>(at) < bytes_; at += kPageBytes) {
        const auto begin = static_cast<std::size_t>(at) / kPageBytes * kPageBytes;
        pages_.emplace_back(begin, std::array<unsigned char, kPageBytes>{});
        std::memcpy(pages_.back().second.data(), map_ + begin, std::min(kPageBytes, bytes_ - begin));
    }
}

inline void ImageFile::also(std::uint64_t at, std::uint64_t bytes) {
    for (std::uint64_t page = at / kPageBytes * kPageBytes; page < at + bytes && page < bytes_; page += kPageBytes) {
        const auto place = std::lower_bound(pages_.begin(), pages_.end(), page, [](const auto& each, std::uint64_t wanted) { return each.first < wanted; });
        if (place == pages_.end() || place->first != page) pages_.insert(place, {page, {}});
    }
}

inline void ImageFile::restore_hot() const {
    for (const auto& [at, page] : pages_) std::memcpy(map_ + at, page.data(), std::min(kPageBytes, bytes_ - at));
}

inline void ImageFile::restore() const {
    struct stat status {};
    if (fstat(fd_, &status) == 0 && static_cast<std::size_t>(status.st_size) != bytes_ && ftruncate(fd_, static_cast<off_t>(bytes_)) != 0) return;
    std::size_t empty_from = 0;
    const auto empty = [&](std::size_t from, std::size_t to) {
        if (from < to) (void)fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(from), static_cast<off_t>(to - from));
    };
    for (const auto& [at, page] : pages_) {
        empty(empty_from, at);
        empty_from = at + kPageBytes;
    }
    empty(empty_from, bytes_);
    restore_hot();
}

inline void ImageFile::keep() const { (void)link(path_.c_str(), second_name_.c_str()); }
inline void ImageFile::name_again(const std::string& path) const { (void)link(second_name_.c_str(), path.c_str()); }
inline void ImageFile::forget_kept() const { unlink(second_name_.c_str()); }

}  // namespace muster::test::hostile
