// muster/deadline.hpp: until when a call may wait.
#pragma once
#include <chrono>
#include <cstdint>

namespace muster {

// An absolute instant of the real-time clock; every wait takes one, since relative waits
// restart wrongly after a signal. Follows changes of the clock, as mq_timedreceive(3) does.
class Deadline {
public:
    static constexpr Deadline never() { return Deadline(-1); }
    static constexpr Deadline now() { return Deadline(0); }  // do not wait at all
    static Deadline after(std::chrono::nanoseconds from_now) {
        const auto today = std::chrono::system_clock::now().time_since_epoch();
        const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(today).count();
        const auto rest = INT64_MAX - ns;
        return Deadline(from_now.count() <= 0 ? 1 : ns + (from_now.count() < rest ? from_now.count() : rest));
    }
    static Deadline at(std::chrono::system_clock::time_point when) {
        const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(when.time_since_epoch()).count();
        return Deadline(ns < 1 ? 1 : ns);
    }
    constexpr std::int64_t nanoseconds() const { return ns_; }  // -1 never, 0 now, else since 1970

private:
    explicit constexpr Deadline(std::int64_t ns) : ns_(ns) {}
    std::int64_t ns_;
};

}  // namespace muster
