// What the fuzzers share: a domain of their own, an object's files put back before each input, and an input laid over them.
//
// An input is either raw bytes, the whole contents of the file, or patches of a sound one: page, offset, width, value. The pages are those
// that had memory, so that nearly every patch hits something that is read.
#pragma once
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>
#include "muster/domain.hpp"

// Muster's own handlers tell a fault in a copy from any other; those go on to libFuzzer's.
extern "C" inline const char* __asan_default_options() {
    return "handle_segv=0:handle_sigbus=0:allow_user_segv_handler=1:detect_leaks=0:detect_stack_use_after_return=0:abort_on_error=1";
}

namespace muster::fuzz {

inline const std::string& domain_path() {
    static const std::string path = [] {
        char name[] = "/dev/shm/muster-fuzz-XXXXXX";
        if (mkdtemp(name) == nullptr || setenv("MUSTER_DOMAIN", name, 1) != 0) std::abort();
        static std::string made;
        made = name;
        std::atexit([] {
            std::error_code ignored;
            std::filesystem::remove_all(made, ignored);
            std::filesystem::remove_all(made + ".keep", ignored);
        });
        return made;
    }();
    return path;
}
// Opened anew: nothing of an object that it had mapped before is known to it.
inline Domain open_domain() { return Domain::open(domain_path()).value(); }

// Takes bytes from an input; zeroes when there are none left.
class Bytes {
public:
    Bytes(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {}
    template <class T>
    T take() {
        T value{};
        const std::size_t bytes = std::min(sizeof value, left());
        std::memcpy(&value, at_, bytes);
        at_ += bytes;
        return value;
    }
    std::size_t left() const { return static_cast<std::size_t>(end_ - at_); }
    const std::uint8_t* data() const { return at_; }

private:
    const std::uint8_t *at_, *end_;
};

class Image {
public:
    // `locks`: offsets of words that must not name somebody who lives, or a free actor: they would be waited for.
    explicit Image(const std::string& path, std::vector<std::uint64_t> locks = {}) : locks_(std::move(locks)) {
        fd_ = open(path.c_str(), O_RDWR | O_CLOEXEC);
        struct stat status {};
        if (fd_ < 0 || fstat(fd_, &status) != 0) std::abort();
        bytes_ = status.st_size;
        for (off_t at = 0; (at = lseek(fd_, at, SEEK_DATA)) >= 0 && at < bytes_; at += kPage) {
            at = at / kPage * kPage;
            pages_.emplace_back(at, std::array<std::uint8_t, kPage>{});
            (void)!pread(fd_, pages_.back().second.data(), kPage, at);
        }
    }
    Image(const Image&) = delete;
    ~Image() { close(fd_); }

    void restore() const {
        (void)!ftruncate(fd_, bytes_);
        (void)fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, bytes_);
        for (const auto& [at, page] : pages_) (void)!pwrite(fd_, page.data(), std::min<std::size_t>(kPage, static_cast<std::size_t>(bytes_ - at)), at);
    }
    void lay_over(Bytes& input) const {
        restore();
        if (input.take<std::uint8_t>() % 8 == 1 || pages_.empty()) {
            (void)!ftruncate(fd_, static_cast<off_t>(input.left()));
            (void)!pwrite(fd_, input.data(), input.left(), 0);
        } else {
            for (int patches = 0; patches < 64 && input.left() > 4; ++patches) {
                const off_t page = pages_[input.take<std::uint8_t>() % pages_.size()].first;
                const std::uint16_t how = input.take<std::uint16_t>();
                const std::size_t width = std::size_t{1} << (how >> 14);
                const auto value = width == 1 ? input.take<std::uint8_t>() : width == 2 ? input.take<std::uint16_t>() : width == 4 ? input.take<std::uint32_t>() : input.take<std::uint64_t>();
                const off_t at = page + static_cast<off_t>((how & 4095u) / width * width);
                if (at + static_cast<off_t>(width) <= bytes_) (void)!pwrite(fd_, &value, width, at);
            }
        }
        for (const std::uint64_t lock : locks_) {
            std::uint32_t word = 0;
            if (pread(fd_, &word, sizeof word, static_cast<off_t>(lock)) != sizeof word || (word & 0x7fff'ffff) == 0) continue;
            word = 0x4000'0000 | 1u << 22;  // FUTEX_OWNER_DIED, and no thread has that id
            (void)!pwrite(fd_, &word, sizeof word, static_cast<off_t>(lock));
        }
    }

private:
    static constexpr off_t kPage = 4096;
    int fd_;
    off_t bytes_ = 0;
    std::vector<std::uint64_t> locks_;
    std::vector<std::pair<off_t, std::array<std::uint8_t, kPage>>> pages_;
};

}  // namespace muster::fuzz
