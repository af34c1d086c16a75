// The receiving end of a byte stream: puts the blocks together and refuses whatever is not exactly the stream.
#include <fmt/format.h>
#include <cerrno>
#include <cstring>
#include "interrupts.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "receiving.hpp"
#include "stream_format.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

using namespace std::chrono_literals;

// How often a receiver that waits looks whether its sender still lives.
constexpr auto kLifeCheckPeriod = 500ms;

class StreamReceiver {
public:
    StreamReceiver(AnyQueue& queue, const ReceivePolicy& policy, Sink& sink, const Global& global)
        : queue_(queue), receiver_(queue), policy_(policy), sink_(sink), global_(global), progress_("received", 0) {}

    std::uint64_t receive() {
        look_before_taking();
        while (!ended_) accept(next());
        progress_.finish();
        return bytes_;
    }

private:
    // What lies first in the queue is judged before anything is taken from it.
    void look_before_taking() {
        const auto first = queue_.peek();
        if (!first && first.error() == EAGAIN) return;
        if (!first) throw queue_.explain_receiving(first.error(), global_);
        stream::Block block;
        const auto decoded = stream::decode(first->bytes, block);
        if (decoded == stream::Decoded::good && block.sequence == 0) return;
        if (decoded == stream::Decoded::good)
            fail(kError, fmt::format("{}: begins in the middle of stream {} (block {}): another receiver took its beginning. "
                                     "Nothing was taken; {} empties the queue",
                                     queue_.name(), stream::name_of(block.stream), block.sequence, drain_command()));
        fail(kError, fmt::format("{}: {}. Nothing was taken; {} receives it as it is", queue_.name(),
                                 describe(decoded, first->bytes.size(), first->label),
                                 global_.command("recv --raw " + queue_.arguments())));
    }

    std::string drain_command() const { return global_.command("recv --all --raw " + queue_.arguments() + " >/dev/null"); }

    std::string describe(stream::Decoded decoded, std::size_t size_bytes, std::int64_t label) const {
        switch (decoded) {
            case stream::Decoded::newer:
                return "a message is a block of a newer stream format than this muster knows";
            case stream::Decoded::damaged:
                return fmt::format("a stream block of {} bytes is damaged (its length or checksum is wrong)", size_bytes);
            default:
                return fmt::format("a message ({}, {} {}) is no part of the stream", counted(size_bytes, "byte"),
                                   queue_.label_word(), label);
        }
    }

    // Waits for a block, but not for a dead sender's.
    Taken next() {
        const Deadline limit = policy_.deadline();
        const bool watch = expected_ > 0 && !policy_.no_wait && life_of(opening_.sender) != Life::unknown;
        for (;;) {
            Deadline deadline = limit;
            if (watch) {
                const Deadline check = Deadline::after(kLifeCheckPeriod);
                if (limit.nanoseconds() < 0 || check.nanoseconds() < limit.nanoseconds()) deadline = check;
            }
            // Asked before looking: what a sender sent before it died is then certainly seen.
            const bool dead = watch && life_of(opening_.sender) == Life::dead;
            const auto taken = receiver_.take(dead ? Deadline::now() : deadline);
            if (taken) return *taken;
            if (dead && taken.error() == EAGAIN)
                fail(kError, fmt::format("{}: the sender (process {}) died; the stream breaks off after {}", queue_.name(),
                                         opening_.sender.pid, counted(bytes_, "byte")));
            if (taken.error() == ETIMEDOUT && deadline.nanoseconds() != limit.nanoseconds()) continue;
            Failure failure = queue_.explain_receiving(taken.error(), global_);
            if (expected_ > 0) failure.text += fmt::format("; the stream breaks off after {}", counted(bytes_, "byte"));
            throw failure;
        }
    }

    void accept(const Taken& message) {
        stream::Block block;
        const auto decoded = stream::decode(message.bytes, block);
        if (decoded == stream::Decoded::damaged) broken(describe(decoded, message.bytes.size(), message.label));
        if (decoded != stream::Decoded::good) {
            bool saved = false;
            const std::string fate = receiver_.put_back(message, saved);
            broken(fmt::format("{}; {}", describe(decoded, message.bytes.size(), message.label), fate));
        }
        if (expected_ == 0 && block.sequence == 0) id_ = block.stream;
        if (expected_ == 0 && block.sequence > 0)
            broken(fmt::format("the beginning of stream {} was taken by another receiver, this one took block {}",
                               stream::name_of(block.stream), block.sequence));
        if (block.stream != id_)
            broken(
                fmt::format("two streams are mixed in this queue ({} and {}): let one sender finish before the next begins, or "
                            "give each a queue",
                            stream::name_of(id_), stream::name_of(block.stream)));
        if (block.sequence != expected_)
            broken(block.sequence < expected_
                       ? "a block of the stream came twice"
                       : fmt::format("{} of the stream missing after block {}: somebody else receives from this queue as well",
                                     block.sequence - expected_ == 1 ? "a block" : counted(block.sequence - expected_, "block"),
                                     static_cast<std::int64_t>(expected_) - 1));
        ++expected_;
        take_in(block);
    }

    void take_in(const stream::Block& block) {
        std::uint64_t length = 0;
        const bool opening = block.sequence == 0;
        if (opening != (block.flags == stream::kOpening)) broken("the stream's first block is no opening, or a later one is");
        if (opening) {
            if (!stream::get_opening(block.payload, opening_)) broken("the stream's opening is malformed");
            if (opening_.size_bytes != stream::kUnknownSize) progress_.expect(opening_.size_bytes);
        } else if (block.flags == stream::kData) {
            write(block.payload);
        } else if (stream::get_length(block.payload, length) &&
                   (block.flags == stream::kEnd || block.flags == stream::kGivenUp)) {
            if (block.flags == stream::kGivenUp)
                fail(kError, fmt::format("{}: the sender gave up after {}; the stream is incomplete", queue_.name(),
                                         counted(length, "byte")));
            if (length != bytes_)
                broken(fmt::format("the stream should be {} long, but {} arrived", counted(length, "byte"), bytes_));
            ended_ = true;
        } else {
            broken("a block of the stream is of an unknown kind");
        }
    }

    void write(std::span<const std::byte> payload) {
        const int error = sink_.write({reinterpret_cast<const char*>(payload.data()), payload.size()});
        if (error != 0) {
            // The block cannot go back to its place, so say that the rest is useless, even to a closed pipe.
            complain(fmt::format("{}: {}; {} of the stream were written, the rest is of no use any more: {} empties the queue",
                                 sink_.name(), std::strerror(error), counted(bytes_, "byte"), drain_command()));
            fail(error == EPIPE ? kBrokenPipe : kError, "");
        }
        bytes_ += payload.size();
        progress_.update(bytes_);
    }

    [[noreturn]] void broken(std::string_view why) {
        std::string text = fmt::format("{}: {}", queue_.name(), why);
        if (expected_ > 0) text += fmt::format("; {} before it {} good", counted(bytes_, "byte"), bytes_ == 1 ? "was" : "were");
        fail(kError, std::move(text));
    }

    AnyQueue& queue_;
    Receiver receiver_;
    const ReceivePolicy& policy_;
    Sink& sink_;
    const Global& global_;
    Progress progress_;
    stream::Opening opening_;
    std::uint64_t id_ = 0, expected_ = 0, bytes_ = 0;
    bool ended_ = false;
};

}  // namespace

std::uint64_t receive_stream(AnyQueue& queue, const ReceivePolicy& policy, Sink& sink, const Global& global) {
    const Interrupts interrupts;
    return StreamReceiver(queue, policy, sink, global).receive();
}

}  // namespace muster::cli
