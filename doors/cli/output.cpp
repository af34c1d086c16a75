#include "output.hpp"
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>
#include "failure.hpp"

namespace muster::cli {
namespace {
bool sigpipe_was_default = false;
}

void prepare_standard_descriptors() {
    for (int fd = 0; fd <= 2; ++fd) {
        if (::fcntl(fd, F_GETFD) >= 0) continue;
        // The wrong way round on purpose: reading 0 and writing 1 shall fail. Not inherited by programs.
        const int got = ::open("/dev/null", (fd == 1 ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
        if (got != fd && got >= 0) ::close(got);
    }
    struct sigaction old {};
    if (::sigaction(SIGPIPE, nullptr, &old) == 0) sigpipe_was_default = old.sa_handler == SIG_DFL;
    ::signal(SIGPIPE, SIG_IGN);
}

void restore_sigpipe() {
    if (sigpipe_was_default) ::signal(SIGPIPE, SIG_DFL);
}

int write_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n >= 0) {
            bytes.remove_prefix(static_cast<std::size_t>(n));
        } else if (errno == EAGAIN) {
            pollfd ready{fd, POLLOUT, 0};
            ::poll(&ready, 1, -1);
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

void print(std::string_view text) {
    const int error = write_all(STDOUT_FILENO, text);
    if (error == EPIPE) fail(kBrokenPipe, "");
    if (error != 0) fail(kError, fmt::format("standard output: {}", std::strerror(error)));
}

void complain(std::string_view text) {
    write_all(STDERR_FILENO, fmt::format("muster: {}\n", text));
}

std::size_t read_some(int fd, std::span<std::byte> buffer, bool& ended, std::string_view what, bool (*interrupted)()) {
    std::size_t filled = 0;
    while (filled < buffer.size()) {
        if (filled > 0) {
            pollfd ready{fd, POLLIN, 0};
            if (::poll(&ready, 1, 0) == 0) break;
        }
        const ssize_t n = ::read(fd, buffer.data() + filled, buffer.size() - filled);
        if (n == 0) {
            ended = true;
            break;
        }
        if (n > 0) {
            filled += static_cast<std::size_t>(n);
        } else if (errno == EAGAIN) {
            pollfd ready{fd, POLLIN, 0};
            if (::poll(&ready, 1, -1) < 0 && interrupted != nullptr && interrupted()) break;
        } else if (errno == EINTR) {
            if (interrupted != nullptr && interrupted()) break;
        } else {
            fail(kError, fmt::format("{}: {}", what, std::strerror(errno)));
        }
    }
    return filled;
}

Descriptor::~Descriptor() {
    if (fd_ > 2) ::close(fd_);
}

int Descriptor::release() {
    return std::exchange(fd_, -1);
}

Descriptor open_input(const std::string& path) {
    if (path == "-") return Descriptor(STDIN_FILENO);
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) fail(errno == EACCES ? kForbidden : kError, fmt::format("{}: {}", path, std::strerror(errno)));
    struct stat status {};
    if (::fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
        ::close(fd);
        fail(kError, fmt::format("{}: is a directory; `tar c {} | muster send --stream …` sends one", path, path));
    }
    return Descriptor(fd);
}

}  // namespace muster::cli
