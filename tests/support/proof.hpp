// What the proofs share: whether the long form runs, the seed, the figures that they report.
//
//   MUSTER_PROOF=long       everything, as `make proof` runs it; else a sample that takes seconds
//   MUSTER_PROOF_SEED=N     another course of events (1)
//   MUSTER_PROOF_FIGURES=F  each figure is also appended to this file
#pragma once
#include <fcntl.h>
#include <unistd.h>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace muster::test {

inline bool long_form() {
    const char* form = std::getenv("MUSTER_PROOF");
    return form != nullptr && std::strcmp(form, "long") == 0;
}
// What a proof takes of something: so much in its short form, so much in its long one.
template <class T>
T short_or_long(T brief, T whole) {
    return long_form() ? whole : brief;
}

inline std::uint64_t proof_seed() {
    const char* text = std::getenv("MUSTER_PROOF_SEED");
    return text != nullptr ? std::strtoull(text, nullptr, 0) : 1;
}

// Numbers that a seed decides. SOURCE splitmix64, by Sebastiano Vigna, public domain.
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() {
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    // 0 to end - 1.
    unsigned below(unsigned end) { return static_cast<unsigned>(next() % end); }
    bool once_in(unsigned times) { return below(times) == 0; }

private:
    std::uint64_t state_;
};

// One line of the report: "part: so many of this, so many of that". One write, so that proofs may run side by side.
__attribute__((format(printf, 2, 3))) inline void figure(const char* part, const char* format, ...) {
    char line[1024];
    int length = std::snprintf(line, sizeof line, "%s: ", part);
    va_list arguments;
    va_start(arguments, format);
    length += std::vsnprintf(line + length, sizeof line - static_cast<std::size_t>(length) - 1, format, arguments);
    va_end(arguments);
    if (length > static_cast<int>(sizeof line) - 2) length = sizeof line - 2;
    line[length++] = '\n';
    std::printf("figure: %.*s", length, line);
    std::fflush(stdout);
    const char* file = std::getenv("MUSTER_PROOF_FIGURES");
    if (file == nullptr) return;
    const int fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) return;
    if (write(fd, line, static_cast<std::size_t>(length)) != length) std::printf("the figure could not be written to %s\n", file);
    close(fd);
}

}  // namespace muster::test
