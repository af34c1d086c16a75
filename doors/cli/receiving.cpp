#include "receiving.hpp"
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>
#include <utility>
#include "interrupts.hpp"
#include "output.hpp"
#include "units.hpp"

namespace muster::cli {

Result<Taken> Receiver::take(Deadline deadline) {
    for (;;) {
        Interrupts::die_if_pending();
        const auto got = queue_.receive(std::span(buffer_.get(), queue_.message_size_bytes_max()), deadline);
        if (got) return Taken{{buffer_.get(), got->size_bytes}, got->label};
        if (!(got.error() == EINTR)) return got.error();
    }
}

std::string Receiver::put_back(const Taken& message, bool& saved) {
    const auto sent = queue_.send(message.bytes, message.label, Deadline::now());
    saved = sent.has_value();
    const std::string what =
        fmt::format("the message ({}, {} {})", counted(message.bytes.size(), "byte"), queue_.label_word(), message.label);
    if (saved) return fmt::format("{} is back in {}, {}", what, queue_.name(), queue_.place_of_returned());
    return fmt::format("{} is lost: putting it back failed: {}", what, sent.error().message());
}

Sink::Sink(const std::string& path) : fd_(STDOUT_FILENO), name_("standard output") {
    if (path.empty() || path == "-") return;
    name_ = path;
    fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
    if (fd_ < 0) fail(errno == EACCES ? kForbidden : kError, fmt::format("{}: {}", path, std::strerror(errno)));
}

Sink::~Sink() {
    if (fd_ > STDERR_FILENO) ::close(fd_);
}

int Sink::write(std::string_view bytes) {
    return write_all(fd_, bytes);
}

bool Sink::terminal() const {
    return ::isatty(fd_) == 1;
}

void Sink::close() {
    if (fd_ <= STDERR_FILENO) return;
    if (::close(std::exchange(fd_, -1)) != 0 && errno != EINTR) fail(kError, fmt::format("{}: {}", name_, std::strerror(errno)));
}

}  // namespace muster::cli
