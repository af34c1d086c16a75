// What others can see of a process that is stepped through a call: the bytes of its domain's files, and what its death notice names.
// Whatever else an instruction changes (registers, memory of its own, a file that has no name yet) ends with it: between two places
// that look the same from here, its death is the same death. What a system call does is not looked for; each counts as a change.
#pragma once
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <array>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

namespace muster::test {

class SharedView {
public:
    explicit SharedView(std::string directory) : directory_(std::move(directory)) {}
    SharedView(const SharedView&) = delete;
    ~SharedView() { forget(); }

    // Whether anything has since the last look; true of the first.
    bool changed(pid_t pid, bool after_system_call) {
        bool found = after_system_call || !looked_;
        if (found) scan();
        looked_ = true;
        for (File& file : files_) found = file.changed() || found;
        const Notice now = notice_of(pid);
        found = found || now != notice_;
        notice_ = now;
        return found;
    }

private:
    using Notice = std::array<unsigned long, 3>;
    struct Extent {
        std::size_t at;
        std::vector<char> bytes;
    };
    struct File {
        int fd;
        const char* start;
        std::size_t bytes;
        blkcnt_t blocks = 0;
        std::vector<Extent> extents;

        // Holes are not touched: looking into one would fill it.
        void read() {
            struct stat status {};
            fstat(fd, &status);
            blocks = status.st_blocks;
            extents.clear();
            for (off_t at = 0; (at = lseek(fd, at, SEEK_DATA)) >= 0;) {
                const off_t end = std::min(lseek(fd, at, SEEK_HOLE), static_cast<off_t>(bytes));
                extents.push_back({static_cast<std::size_t>(at), {start + at, start + end}});
                at = end;
            }
        }
        bool changed() {
            struct stat status {};
            if (fstat(fd, &status) == 0 && status.st_blocks != blocks) {
                read();
                return true;
            }
            bool found = false;
            for (Extent& extent : extents) {
                if (std::memcmp(extent.bytes.data(), start + extent.at, extent.bytes.size()) == 0) continue;
                std::memcpy(extent.bytes.data(), start + extent.at, extent.bytes.size());
                found = true;
            }
            return found;
        }
    };
    void forget() {
        for (const File& file : files_) {
            munmap(const_cast<char*>(file.start), file.bytes);
            close(file.fd);
        }
        files_.clear();
    }
    void scan() {
        forget();
        std::error_code ignored;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_, ignored)) {
            if (!entry.is_regular_file(ignored)) continue;
            const int fd = open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
            struct stat status {};
            void* start = MAP_FAILED;
            if (fd >= 0 && fstat(fd, &status) == 0 && status.st_size > 0)
                start = mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_SHARED, fd, 0);
            if (start == MAP_FAILED) {
                if (fd >= 0) close(fd);
                continue;
            }
            files_.push_back({fd, static_cast<const char*>(start), static_cast<std::size_t>(status.st_size), 0, {}});
            files_.back().read();
        }
    }
    // The head of the thread's robust list: its first entry, the offset, what is pending.
    static Notice notice_of(pid_t pid) {
        Notice words{};
        void* head = nullptr;
        std::size_t length = 0;
        if (syscall(SYS_get_robust_list, pid, &head, &length) != 0 || head == nullptr) return words;
        const iovec here{words.data(), sizeof words}, there{head, sizeof words};
        process_vm_readv(pid, &here, 1, &there, 1, 0);
        return words;
    }
    std::string directory_;
    bool looked_ = false;
    std::vector<File> files_;
    Notice notice_{};
};

}  // namespace muster::test
