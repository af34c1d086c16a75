// What travels in a message: who sent it, as which one, and a checksum over both.
//
// Up to 64 bytes every word is stamped and checked; above, one word in 512 bytes
// and the last one, so that checking does not outweigh the copy being measured.
// fill_all()/check_all() do every byte and are used outside the timed part.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace muster::bench {

// A trial that did not go as it must; the text reaches the table.
class Failure : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The backend does not allow what was asked for (depth, size): no fault, a limit.
class Refused : public Failure {
    using Failure::Failure;
};

inline constexpr std::size_t kWord = sizeof(std::uint64_t);
inline constexpr std::uint16_t kStopKind = 1;
inline constexpr std::size_t kSmallestMessage = 2 * kWord;

struct Stamp {
    std::uint32_t sequence = 0;
    std::uint16_t writer = 0;
    std::uint16_t kind = 0;  // 0 an ordinary message, kStopKind the last one of a writer
};

class Message {
public:
    explicit Message(std::size_t size_bytes)
        : size_bytes_(size_bytes), memory_(std::make_unique<std::uint64_t[]>(kWordsBefore + (size_bytes + kWord - 1) / kWord)) {
        if (size_bytes < kSmallestMessage || size_bytes % kWord != 0) throw Failure("message size is no multiple of a word");
        const std::size_t in_line = reinterpret_cast<std::uintptr_t>(memory_.get()) / kWord % kWordsBefore;
        words_ = memory_.get() + kWordsBefore - in_line;
    }

    void* data() { return words_; }
    std::size_t size_bytes() const { return size_bytes_; }

    void stamp(Stamp what) {
        words_[0] = pack(what);
        const std::uint64_t sum = checksum(words_[0]);
        if (size_bytes_ == 64) {
            for (std::size_t i = 0; i < 4; ++i) {
                const Pair pair = kSteps[i] + sum;
                std::memcpy(&words_[2 * i], &pair, sizeof pair);
            }
            words_[0] = pack(what);
        } else {
            for_stamped_words([this, sum](std::size_t i) { words_[i] = sum + i; });
        }
    }
    // The stamp, if the message is whole; throws otherwise.
    Stamp check(std::size_t received_bytes) const {
        std::uint64_t damage = received_bytes ^ size_bytes_;
        const std::uint64_t sum = checksum(words_[0]);
        if (size_bytes_ == 64) {
            Pair differences = {};
            for (std::size_t i = 0; i < 4; ++i) {
                Pair pair;
                std::memcpy(&pair, &words_[2 * i], sizeof pair);
                if (i == 0) pair[0] = sum;  // the stamp itself is what the sum was made of
                differences |= pair ^ (kSteps[i] + sum);
            }
            damage |= differences[0] | differences[1];
        } else {
            for_stamped_words([&](std::size_t i) { damage |= words_[i] ^ (sum + i); });
        }
        if (damage != 0) [[unlikely]]
            throw Failure("a message arrived damaged or with another length");
        return unpack(words_[0]);
    }

    void fill_all(Stamp what) {
        words_[0] = pack(what);
        for (std::size_t i = 1; i < count(); ++i) words_[i] = checksum(words_[0]) + i;
    }
    Stamp check_all(std::size_t received_bytes) const {
        for (std::size_t i = 1; i < count(); ++i)
            if (words_[i] != checksum(words_[0]) + i) throw Failure("a byte changed on the way");
        return check(received_bytes);
    }

private:
    // Two words at a time: the usual message of 64 bytes should cost little beside a queue of 40 ns.
    using Pair [[gnu::vector_size(16)]] = std::uint64_t;
    static constexpr Pair kSteps[4] = {{0, 1}, {2, 3}, {4, 5}, {6, 7}};
    static constexpr std::size_t kStride = 512 / kWord;
    static constexpr std::size_t kWordsBefore = 8;  // some of them: texts begin with a cache line, type_before() is in the one before

    std::size_t count() const { return size_bytes_ / kWord; }
    static std::uint64_t pack(Stamp s) { return s.sequence | std::uint64_t{s.writer} << 32 | std::uint64_t{s.kind} << 48; }
    static Stamp unpack(std::uint64_t w) {
        return {static_cast<std::uint32_t>(w), static_cast<std::uint16_t>(w >> 32), static_cast<std::uint16_t>(w >> 48)};
    }
    static std::uint64_t checksum(std::uint64_t head) {
        const std::uint64_t mixed = (head + 1) * 0x9E3779B97F4A7C15u;
        return mixed ^ (mixed >> 29);
    }
    template <class F>
    void for_stamped_words(F&& f) const {
        if (size_bytes_ <= 64) {
            for (std::size_t i = 1; i < count(); ++i) f(i);
        } else {
            for (std::size_t i = 1; i < count(); i += kStride) f(i);
            f(count() - 1);
        }
    }

    std::size_t size_bytes_;
    std::unique_ptr<std::uint64_t[]> memory_;
    std::uint64_t* words_;
};

// msgsnd(2) and msgrcv(2) want the type in front of the text: every Message has room for it there.
inline long* type_before(void* text) {
    return static_cast<long*>(text) - 1;
}

// Messages about to be sent, small ones stamped some time ahead: a copy with wide loads
// right after narrow stores stalls the processor for about ten nanoseconds, which would be
// the harness's doing and not the queue's.
class Outbox {
public:
    explicit Outbox(std::size_t size_bytes) : position_(size_bytes <= 64 ? 16 : 1) {
        for (std::size_t i = 0; i < position_; ++i) lanes_.emplace_back(size_bytes);
    }
    // `make_stamp` is asked for one stamp after the other; after restart() for all those again that were not sent.
    template <class F>
    Message& next(F&& make_stamp) {
        if (position_ == lanes_.size()) {
            for (Message& lane : lanes_) lane.stamp(make_stamp());
            position_ = 0;
        }
        return lanes_[position_++];
    }
    void restart() { position_ = lanes_.size(); }

private:
    std::size_t position_;
    std::vector<Message> lanes_;
};

// What one process needs to talk through queues of one message size.
struct Buffers {
    explicit Buffers(std::size_t size_bytes) : out(size_bytes), in(size_bytes) {}
    Outbox out;
    Message in;
};

}  // namespace muster::bench
