// A ring of samples in a shared memory segment, counted by a semaphore set: one process writes, another reads, each waits for the
// other only when it must. Both find the objects by key.
//
//   shared_ring       makes a segment and a set in your domain, uses them, and removes them
#include <muster/segment.hpp>
#include <muster/semaphore_set.hpp>
#include <sys/wait.h>
#include <unistd.h>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>

namespace {

constexpr std::uint64_t kSamples = 10'000;
struct Ring {
    std::array<std::uint64_t, 64> samples;
};
enum : std::uint16_t { kEmpty = 0, kFull = 1 };  // the set's two semaphores: free places, samples to read

muster::Deadline soon() { return muster::Deadline::after(std::chrono::seconds(5)); }

int read_all(const muster::Domain& domain, muster::Key key) {
    auto counts = muster::SemaphoreSet::open(domain, key).value();
    auto memory = muster::Segment::open(domain, key).value().attach(muster::Access::read_only).value();
    const Ring& ring = *memory.at<Ring>();
    for (std::uint64_t i = 0; i < kSamples; ++i) {
        counts.wait(kFull, 1, soon()).value();
        if (ring.samples[i % ring.samples.size()] != i * i) return 1;
        counts.post(kEmpty).value();
    }
    return 0;
}

bool exchange(const muster::Domain& domain, muster::Key key) {
    auto counts = muster::SemaphoreSet::create(domain, key, {64, 0}).value();
    auto segment = muster::Segment::create(domain, key, sizeof(Ring)).value();
    auto memory = segment.attach().value();
    Ring& ring = *memory.at<Ring>();
    const pid_t reader = fork();
    if (reader == 0) _exit(read_all(domain, key));
    for (std::uint64_t i = 0; i < kSamples; ++i) {
        counts.wait(kEmpty, 1, soon()).value();
        ring.samples[i % ring.samples.size()] = i * i;
        counts.post(kFull).value();
    }
    int status = 0;
    waitpid(reader, &status, 0);
    segment.remove().value();
    counts.remove().value();
    return status == 0;
}

}  // namespace

int main() {
    bool right = false;
    try {
        right = exchange(muster::Domain::open_default().value(), muster::Key(0x52494e47 ^ getpid()));
    } catch (const std::system_error& error) {
        std::fprintf(stderr, "shared_ring: %s\n", error.what());
    }
    std::puts(right ? "shared_ring: 10000 samples passed" : "shared_ring: something went wrong");
    return right ? 0 : 1;
}
