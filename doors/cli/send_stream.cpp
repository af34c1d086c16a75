#include "send_stream.hpp"
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <memory>
#include "interrupts.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "stream_format.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

using namespace std::chrono_literals;

// How long a stream that breaks off may wait for room to say so.
constexpr auto kFarewellWait = 100ms;

std::uint64_t size_if_known(int fd) {
    struct stat status {};
    if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return stream::kUnknownSize;
    const off_t position = ::lseek(fd, 0, SEEK_CUR);
    return position >= 0 && position <= status.st_size ? static_cast<std::uint64_t>(status.st_size - position)
                                                       : stream::kUnknownSize;
}

class StreamSender {
public:
    StreamSender(AnyQueue& queue, const SendPolicy& policy, const Global& global)
        : queue_(queue),
          policy_(policy),
          global_(global),
          buffer_(std::make_unique_for_overwrite<std::byte[]>(queue.sent_bytes_max())) {}

    std::span<std::byte> payload() {
        return {buffer_.get() + stream::kHeaderBytes, queue_.sent_bytes_max() - stream::kHeaderBytes};
    }
    const StreamSum& sum() const { return sum_; }

    void block(std::size_t payload_bytes, std::uint16_t flags) {
        const std::span<std::byte> message(buffer_.get(), stream::kHeaderBytes + payload_bytes);
        stream::seal(message, id_, sum_.blocks, flags);
        const Deadline deadline = policy_.deadline();
        for (;;) {
            const auto sent = queue_.send(message, policy_.label, deadline);
            if (sent) break;
            if (sent.error() == EINTR && !Interrupts::pending()) continue;
            if (sent.error() == EINTR) {
                give_up();
                Interrupts::die();
            }
            Failure failure = explain(sent.error(), Doing::sending, global_);
            failure.text += fmt::format("; the stream breaks off after {}", counted(sum_.bytes, "byte"));
            throw failure;
        }
        ++sum_.blocks;
        if (flags == stream::kData) sum_.bytes += payload_bytes;
    }

    void open(std::uint64_t size_bytes) {
        stream::put_opening(payload().first<stream::kOpeningBytes>(), {size_bytes, this_process()});
        block(stream::kOpeningBytes, stream::kOpening);
    }

    void close() {
        stream::put_length(payload().first<8>(), sum_.bytes);
        block(8, stream::kEnd);
    }

    // The receiver learns that no more will come. Best effort: when even this finds no room, it learns from our death.
    void give_up() {
        if (sum_.blocks == 0) return;
        stream::put_length(payload().first<8>(), sum_.bytes);
        const std::span<std::byte> message(buffer_.get(), stream::kHeaderBytes + 8);
        stream::seal(message, id_, sum_.blocks, stream::kGivenUp);
        const Deadline deadline = Deadline::after(kFarewellWait);
        while (true) {
            const auto sent = queue_.send(message, policy_.label, deadline);
            if (sent || !(sent.error() == EINTR)) return;
        }
    }

private:
    AnyQueue& queue_;
    const SendPolicy& policy_;
    const Global& global_;
    std::unique_ptr<std::byte[]> buffer_;
    const std::uint64_t id_ = stream::new_stream_id();
    StreamSum sum_;
};

}  // namespace

StreamSum send_stream(AnyQueue& queue, int fd, const std::string& input_name, const SendPolicy& policy, const Global& global) {
    if (queue.sent_bytes_max() < stream::kMessageSizeMin)
        fail(kError, fmt::format("{}: its messages hold {} bytes; a stream needs {} or more", queue.name(),
                                 queue.sent_bytes_max(), stream::kMessageSizeMin));
    const std::uint64_t size_bytes = size_if_known(fd);
    const Interrupts interrupts;
    StreamSender sender(queue, policy, global);
    Progress progress("sent", size_bytes == stream::kUnknownSize ? 0 : size_bytes);
    try {
        sender.open(size_bytes);
        for (bool ended = false; !ended;) {
            const std::size_t got = read_some(fd, sender.payload(), ended, input_name, &Interrupts::pending);
            if (Interrupts::pending()) {
                sender.give_up();
                Interrupts::die();
            }
            if (got > 0) sender.block(got, stream::kData);
            progress.update(sender.sum().bytes);
        }
        sender.close();
    } catch (const Failure&) {
        sender.give_up();
        throw;
    }
    progress.finish();
    return sender.sum();
}

}  // namespace muster::cli
