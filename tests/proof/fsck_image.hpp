// The files of an object as they were before they were damaged: kept, damaged by a seed, and put back.
#pragma once
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>
#include "support/proof.hpp"

namespace muster::test {

class Image {
public:
    explicit Image(std::vector<std::string> paths) {
        for (std::string& path : paths) files_.push_back(read(path));
    }

    // Same files, same inodes.
    void restore() const {
        for (const File& file : files_) {
            const int fd = open(file.path.c_str(), O_RDWR | O_CLOEXEC);
            if (fd < 0 || ftruncate(fd, 0) != 0 || ftruncate(fd, static_cast<off_t>(file.size)) != 0) throw std::runtime_error(file.path);
            for (const Extent& extent : file.extents)
                if (pwrite(fd, extent.bytes.data(), extent.bytes.size(), static_cast<off_t>(extent.offset)) != static_cast<ssize_t>(extent.bytes.size()))
                    throw std::runtime_error(file.path);
            close(fd);
        }
    }

    // A place where much is said in few bytes: a slot's header, say.
    struct Point {
        std::size_t file;
        std::uint64_t offset, bytes;
    };
    // One damage, described. `front_bytes`: where the rest of the structure is. Points, front and all that has memory are hit equally often.
    std::string damage(Random& random, std::uint64_t front_bytes, const std::vector<Point>& points = {}) const {
        const Point* point = !points.empty() && random.once_in(3) ? &points[random.below(static_cast<unsigned>(points.size()))] : nullptr;
        const File& file = files_[point != nullptr ? point->file : random.below(static_cast<unsigned>(files_.size()))];
        const int fd = open(file.path.c_str(), O_RDWR | O_CLOEXEC);
        if (fd < 0) throw std::runtime_error(file.path);
        const std::uint64_t at = point != nullptr ? point->offset + random.next() % point->bytes : place(file, random, front_bytes);
        char text[200];
        const auto put = [&](std::uint64_t where, const void* bytes, std::size_t length) {
            if (where + length <= file.size && pwrite(fd, bytes, length, static_cast<off_t>(where)) < 0) throw std::runtime_error(file.path);
        };
        const char* name = file.path.c_str() + file.path.rfind('/') + 1;
        switch (random.below(8)) {
            case 0:
            case 1: {  // one bit
                unsigned char byte = 0;
                (void)!pread(fd, &byte, 1, static_cast<off_t>(at));
                byte = static_cast<unsigned char>(byte ^ 1u << random.below(8));
                put(at, &byte, 1);
                std::snprintf(text, sizeof text, "%s: a bit of byte %llu", name, static_cast<unsigned long long>(at));
                break;
            }
            case 2:
            case 3: {  // a word
                const std::uint64_t word = random.once_in(2) ? random.next() : random.below(70000);
                put(at & ~3ull, &word, random.once_in(2) ? 8 : 4);
                std::snprintf(text, sizeof text, "%s: a word at %llu becomes 0x%llx", name, static_cast<unsigned long long>(at & ~3ull), static_cast<unsigned long long>(word));
                break;
            }
            case 4: {  // a region of one value
                const std::string region(1 + random.below(random.once_in(3) ? 4096 : 64), random.once_in(4) ? '\xff' : '\0');
                put(at, region.data(), region.size());
                std::snprintf(text, sizeof text, "%s: %zu bytes from %llu become %d", name, region.size(), static_cast<unsigned long long>(at), region[0]);
                break;
            }
            case 5: {  // a page that is gone
                (void)fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, static_cast<off_t>(at & ~4095ull), 4096);
                std::snprintf(text, sizeof text, "%s: the page at %llu is punched", name, static_cast<unsigned long long>(at & ~4095ull));
                break;
            }
            case 6: {  // two pieces that changed places
                const std::uint64_t bytes = random.once_in(2) ? 64 : 4096, other = place(file, random, front_bytes);
                std::string a(bytes, '\0'), b(bytes, '\0');
                (void)!pread(fd, a.data(), bytes, static_cast<off_t>(at & ~(bytes - 1)));
                (void)!pread(fd, b.data(), bytes, static_cast<off_t>(other & ~(bytes - 1)));
                put(at & ~(bytes - 1), b.data(), bytes);
                put(other & ~(bytes - 1), a.data(), bytes);
                std::snprintf(text, sizeof text, "%s: %llu bytes at %llu and %llu change places", name, static_cast<unsigned long long>(bytes),
                              static_cast<unsigned long long>(at & ~(bytes - 1)), static_cast<unsigned long long>(other & ~(bytes - 1)));
                break;
            }
            default: {  // cut short
                (void)!ftruncate(fd, static_cast<off_t>(at));
                std::snprintf(text, sizeof text, "%s: cut to %llu bytes", name, static_cast<unsigned long long>(at));
            }
        }
        close(fd);
        return text;
    }

    // The bytes as they were; zeroes where nothing was.
    std::string original(std::size_t number, std::uint64_t offset, std::size_t length) const {
        std::string bytes(length, '\0');
        for (const Extent& extent : files_[number].extents) {
            const std::uint64_t begin = std::max(offset, extent.offset), end = std::min(offset + length, extent.offset + extent.bytes.size());
            if (begin < end) std::memcpy(bytes.data() + (begin - offset), extent.bytes.data() + (begin - extent.offset), end - begin);
        }
        return bytes;
    }
    // Whether the file still has those bytes.
    bool intact(std::size_t number, std::uint64_t offset, std::size_t length) const {
        std::string now(length, '\1');
        const int fd = open(files_[number].path.c_str(), O_RDONLY | O_CLOEXEC);
        const bool whole = pread(fd, now.data(), length, static_cast<off_t>(offset)) == static_cast<ssize_t>(length);
        close(fd);
        return whole && now == original(number, offset, length);
    }

private:
    struct Extent {
        std::uint64_t offset;
        std::string bytes;
    };
    struct File {
        std::string path;
        std::uint64_t size = 0;
        std::vector<Extent> extents;
    };

    static File read(const std::string& path) {
        File file{path, 0, {}};
        const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
        struct stat status {};
        if (fd < 0 || fstat(fd, &status) != 0) throw std::runtime_error(path);
        file.size = static_cast<std::uint64_t>(status.st_size);
        for (off_t at = 0; (at = lseek(fd, at, SEEK_DATA)) >= 0;) {
            const off_t end = lseek(fd, at, SEEK_HOLE);
            std::string bytes(static_cast<std::size_t>(end - at), '\0');
            if (pread(fd, bytes.data(), bytes.size(), at) != static_cast<ssize_t>(bytes.size())) throw std::runtime_error(path);
            file.extents.push_back({static_cast<std::uint64_t>(at), std::move(bytes)});
            at = end;
        }
        close(fd);
        return file;
    }
    static std::uint64_t place(const File& file, Random& random, std::uint64_t front_bytes) {
        const std::uint64_t front = std::min(front_bytes, file.size);
        if (random.once_in(2) && front != 0) return random.next() % front;
        const Extent& extent = file.extents[random.below(static_cast<unsigned>(file.extents.size()))];
        return extent.offset + random.next() % extent.bytes.size();
    }
    std::vector<File> files_;
};

// What the cases of one kind came to, shared with the process in which each case runs.
struct Tally {
    unsigned damages, found, silent, unwitnessed, repaired, left, whole, saved;
    unsigned long long bytes_whole, bytes_saved;
    char wrong[600];
};

class SharedTally {
public:
    SharedTally() : tally_(static_cast<Tally*>(mmap(nullptr, sizeof(Tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
    ~SharedTally() { munmap(tally_, sizeof(Tally)); }
    SharedTally(const SharedTally&) = delete;
    Tally* operator->() const { return tally_; }
    Tally& operator*() const { return *tally_; }

private:
    Tally* tally_;
};

// Runs a case in a process of its own: empty if it ended by itself and found nothing wrong.
template <class Body>
std::string run_apart(SharedTally& tally, Body body) {
    tally->wrong[0] = 0;
    std::fflush(nullptr);
    const pid_t pid = fork();
    if (pid == 0) {
        alarm(60);  // far more than any case takes under any load
        std::string wrong;
        try {
            wrong = body();
        } catch (const std::exception& e) {
            wrong = std::string("threw ") + e.what();
        }
        std::snprintf(tally->wrong, sizeof tally->wrong, "%s", wrong.c_str());
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGALRM ? "it hangs" : std::string("it crashes: ") + strsignal(WTERMSIG(status));
    return tally->wrong;
}

}  // namespace muster::test
