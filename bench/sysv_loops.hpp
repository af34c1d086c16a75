// The timed loops of System V queues and of semaphores, compiled once for each concrete class.
#pragma once
#include "loops.hpp"

namespace muster::bench {

// `Q` has, beside send() and receive(): send_type(data, size, type) and receive_picked(data, size, pick, type found).
template <class Q>
class SysvQueueLoops : public QueueLoops<Q, SysvQueue> {
public:
    void fill_others(std::size_t count, bool distinct) final {
        Message text(kSmallestMessage);
        for (std::size_t i = 0; i < count; ++i) {
            const long type = SysvQueue::kOtherTypes + (distinct ? 2 * static_cast<long>(i * 7919 % count) : 0);
            if (const int error = this->self().send_type(text.data(), 1, type); error != 0)
                throw Failure(std::string("filling: ") + std::strerror(error));
        }
    }

    void picked_pairs(Buffers& buffers, long type, Pick pick, std::uint64_t count) final {
        Q& queue = this->self();
        buffers.out.restart();
        std::uint32_t stamped = 0;
        for (std::uint64_t i = 0; i < count; ++i) {
            Message& out = buffers.out.next([&] { return Stamp{stamped++, 0, 0}; });
            if (const int error = queue.Q::send_type(out.data(), out.size_bytes(), type); error != 0) [[unlikely]]
                throw Failure(std::string("send: ") + std::strerror(error));
            long found = 0;
            const long got = queue.Q::receive_picked(buffers.in.data(), buffers.in.size_bytes(), pick, &found);
            if (got < 0) [[unlikely]]
                throw Failure(std::string("receive: ") + std::strerror(static_cast<int>(-got)));
            if (found != type || buffers.in.check(static_cast<std::size_t>(got)).sequence != static_cast<std::uint32_t>(i))
                [[unlikely]]
                throw Failure("received another message than was asked for");
        }
    }
};

// `S` has take(use) and give(use), wait(number) and post(number).
template <class S>
class SemaphoreLoops : public Semaphores {
public:
    void pairs(Use use, std::uint64_t count) final {
        switch (use) {  // a loop for each
            case Use::single:
                return pairs_of<Use::single>(count);
            case Use::undo:
                return pairs_of<Use::undo>(count);
            case Use::four:
                return pairs_of<Use::four>(count);
        }
    }

    void ping(PingSamples& samples, std::uint64_t budget_ticks) final {
        S& set = static_cast<S&>(*this);
        const std::uint64_t start = ticks();
        std::uint64_t before = start;
        while (samples.used < samples.round_trip_ticks.size() && before - start < budget_ticks) {
            must(set.S::post(0));
            must(set.S::wait(1));
            const std::uint64_t now = ticks();
            samples.round_trip_ticks[samples.used++] = static_cast<std::uint32_t>(now - before);
            before = now;
        }
    }

    void echo(const std::atomic<std::uint32_t>& stop) final {
        S& set = static_cast<S&>(*this);
        for (;;) {
            must(set.S::wait(0));
            if (stop.load(std::memory_order_acquire) != 0) return;
            must(set.S::post(1));
        }
    }

private:
    template <Use kUse>
    void pairs_of(std::uint64_t count) {
        S& set = static_cast<S&>(*this);
        for (std::uint64_t i = 0; i < count; ++i) {
            must(set.S::take(kUse));
            must(set.S::give(kUse));
        }
    }
    static void must(int error) {
        if (error != 0) [[unlikely]]
            throw Failure(std::string("semaphore: ") + std::strerror(error));
    }
};

}  // namespace muster::bench
