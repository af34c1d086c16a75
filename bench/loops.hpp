// The timed loops, compiled once for each concrete queue class.
#pragma once
#include <cerrno>
#include <cstring>
#include <string>

#include "backend.hpp"
#include "clock.hpp"

namespace muster::bench {

template <class Q, class Face = Queue>
class QueueLoops : public Face {
public:
    void pairs(Buffers& buffers, std::uint64_t count) final {
        buffers.out.restart();
        std::uint32_t stamped = 0;
        for (std::uint64_t i = 0; i < count; ++i) {
            put(self(), buffers.out.next([&] { return Stamp{stamped++, 0, 0}; }), 0);
            if (take(self(), buffers.in).sequence != static_cast<std::uint32_t>(i)) [[unlikely]]
                throw Failure("received another message than was sent");
        }
    }

    void fill_and_drain(Buffers& buffers, const std::vector<std::uint16_t>& priorities, std::size_t depth) final {
        buffers.out.restart();
        std::uint64_t owed = 0;
        std::uint32_t stamped = 0;
        std::size_t ahead = cursor_;
        const auto make_stamp = [&] {
            const Stamp s{stamped++, priorities[ahead], 0};
            ahead = ahead + 1 == priorities.size() ? 0 : ahead + 1;
            return s;
        };
        for (std::size_t i = 0; i < depth; ++i) {
            const std::uint16_t priority = priorities[cursor_];
            cursor_ = cursor_ + 1 == priorities.size() ? 0 : cursor_ + 1;
            put(self(), buffers.out.next(make_stamp), priority);
            owed += i * 65536 + priority;
        }
        unsigned last_priority = ~0u;
        std::uint32_t last_sequence = 0;
        for (std::size_t i = 0; i < depth; ++i) {
            unsigned priority = 0;
            const Stamp s = take(self(), buffers.in, &priority);
            const bool later = priority == last_priority && s.sequence > last_sequence;
            if (priority != s.writer || (priority >= last_priority && !later)) [[unlikely]]
                throw Failure("priorities came out in the wrong order");
            last_priority = priority;
            last_sequence = s.sequence;
            owed -= std::uint64_t{s.sequence} * 65536 + priority;
        }
        if (owed != 0) throw Failure("what came out is not what went in");
    }

    std::uint32_t send_until(Buffers& buffers, std::uint16_t writer, const std::atomic<std::uint32_t>& stop) final {
        buffers.out.restart();
        std::uint32_t stamped = 0, sent = 0;
        while (stop.load(std::memory_order_relaxed) == 0) {  // relaxed: only the end is asked for, nothing is carried
            for (int i = 0; i < 32; ++i, ++sent) put(self(), buffers.out.next([&] { return Stamp{stamped++, writer, 0}; }), 0);
        }
        return sent;
    }

    void receive_many(Buffers& buffers, OrderCheck& order, std::uint64_t count) final {
        for (std::uint64_t i = 0; i < count; ++i) order.see(take(self(), buffers.in));
    }

    void ping(Queue& back, Buffers& buffers, PingSamples& samples, std::uint64_t budget_ticks) final {
        Q& answers = static_cast<Q&>(back);
        buffers.out.restart();
        std::uint32_t stamped = 0;
        const std::uint64_t start = ticks();
        std::uint64_t before = start;
        while (samples.used < samples.round_trip_ticks.size() && before - start < budget_ticks) {
            put(self(), buffers.out.next([&] { return Stamp{stamped++, 0, 0}; }), 0);
            if (take(answers, buffers.in).sequence != static_cast<std::uint32_t>(samples.used)) [[unlikely]]
                throw Failure("the echo is not what was sent");
            const std::uint64_t now = ticks();
            samples.round_trip_ticks[samples.used++] = static_cast<std::uint32_t>(now - before);
            before = now;
        }
    }

    void echo(Queue& back, Buffers& buffers) final {
        Q& answers = static_cast<Q&>(back);
        while (take(self(), buffers.in).kind != kStopKind) put(answers, buffers.in, 0);
    }

protected:
    Q& self() { return static_cast<Q&>(*this); }

private:
    static void put(Q& queue, Message& message, unsigned priority) {
        if (const int error = queue.Q::send(message.data(), message.size_bytes(), priority); error != 0) [[unlikely]]
            throw Failure(std::string("send: ") + std::strerror(error));
    }
    static Stamp take(Q& queue, Message& message, unsigned* priority = nullptr) {
        unsigned ignored = 0;
        const long got = queue.Q::receive(message.data(), message.size_bytes(), priority ? priority : &ignored);
        if (got < 0) [[unlikely]]
            throw Failure(std::string("receive: ") + std::strerror(static_cast<int>(-got)));
        return message.check(static_cast<std::size_t>(got));
    }

    std::size_t cursor_ = 0;
};

}  // namespace muster::bench
