// Bytes in and out of descriptors, with no error overlooked.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace muster::cli {

// Before anything else: closed standard descriptors are filled with ones that fail, so that
// a queue's file never becomes "standard output"; SIGPIPE becomes EPIPE.
void prepare_standard_descriptors();

// What prepare_standard_descriptors() changed is put back, for a program about to be executed.
void restore_sigpipe();

// Writes everything. Returns 0 or an errno value.
int write_all(int fd, std::string_view bytes);

// Writes to standard output or fails: quietly with kBrokenPipe when nobody reads, else with a sentence.
void print(std::string_view text);

// A line for people on standard error; "muster: " is put before it.
void complain(std::string_view text);

// Fills `buffer` as far as the input goes at the moment: returns once it is full, the input has ended, or no more is
// there for now. Sets `ended`. Returns the bytes read; fails on errors, naming `what`. `interrupted` is asked after EINTR.
std::size_t read_some(int fd, std::span<std::byte> buffer, bool& ended, std::string_view what, bool (*interrupted)() = nullptr);

// Owns a descriptor.
class Descriptor {
public:
    explicit Descriptor(int fd = -1) : fd_(fd) {}
    Descriptor(Descriptor&& o) noexcept : fd_(o.release()) {}
    Descriptor& operator=(Descriptor&&) = delete;
    ~Descriptor();
    int get() const { return fd_; }
    int release();

private:
    int fd_;
};

// "-" is standard input.
Descriptor open_input(const std::string& path);

}  // namespace muster::cli
