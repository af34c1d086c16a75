// What this process has of one domain's System V objects; one for each domain directory, made at first use and kept to the
// process's end, since the kernel is told of words in it, and since counts of attachments are the process's.
#pragma once
#include <cstdio>
#include <string>
#include "implementation.hpp"
#include "muster/key.hpp"
#include "objects/segment_attachments.hpp"
#include "objects/semaphore_set_lives.hpp"
#include "objects/sysv_registry.hpp"

namespace muster::cpp {

struct SystemV {
    explicit SystemV(std::shared_ptr<Domain::Implementation> directory)
        : domain(std::move(directory)), registry(domain->domain), attachments(domain->domain, registry) {
        lives.attach(domain->domain);
    }
    std::shared_ptr<Domain::Implementation> domain;
    objects::SysvRegistry registry;
    objects::ProcessLives lives;
    objects::Attachments attachments;
};
SystemV& system_v(const Domain& domain);

// The calling thread, fault handlers in place.
platform::ThreadState& this_thread();

// How people name it: "sem:0x1234" by its key, "sem:id=5" if it has none.
std::string object_name(objects::SysvKind kind, Key key, std::int32_t id);

inline std::chrono::system_clock::time_point time_of_ns(std::uint64_t ns) {
    using Clock = std::chrono::system_clock;
    return Clock::time_point(std::chrono::duration_cast<Clock::duration>(std::chrono::nanoseconds(ns)));
}
inline std::chrono::system_clock::time_point time_of_s(std::uint64_t seconds) {
    return time_of_ns(seconds * 1'000'000'000ull);
}

// The errors that all kinds share, with what to do about them; others as the fault says. `kind` is "semaphore set" or the like.
Error explain(const platform::Fault& fault, const std::string& name, const char* kind);

}  // namespace muster::cpp
