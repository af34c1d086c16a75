// Golden images: what a format's bytes are, kept as text in tests/unit/objects/golden/.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <string>
#include <vector>

namespace muster::test {

// Bytes that differ from one object to the next: uuid, time, owner and the like.
struct Varying {
    std::size_t offset, bytes;
};
inline constexpr Varying kVaryingInHeader[] = {{16, 16}, {40, 16}, {64, 16}};  // uuid; pid_namespace, created_ns; owner and creator

// Sixteen bytes a line behind their offset; lines of zeroes are left out. What varies is two dots a byte.
inline std::string image_of(int fd, std::size_t from, std::size_t bytes, std::initializer_list<Varying> varying) {
    std::vector<unsigned char> image(bytes);
    if (pread(fd, image.data(), bytes, static_cast<off_t>(from)) != static_cast<ssize_t>(bytes)) return "no image";
    std::vector<bool> varies(bytes);
    for (const Varying& each : varying)
        for (std::size_t i = 0; i < each.bytes; ++i) varies[each.offset - from + i] = true;
    std::string text;
    for (std::size_t at = 0; at < bytes; at += 16) {
        char line[80];
        int length = std::snprintf(line, sizeof line, "%04zx:", from + at);
        bool says_something = false;
        for (std::size_t i = at; i < at + 16; ++i) {
            says_something = says_something || varies[i] || image[i] != 0;
            const auto room = sizeof line - static_cast<std::size_t>(length);
            length += varies[i] ? std::snprintf(line + length, room, " ..") : std::snprintf(line + length, room, " %02x", image[i]);
        }
        if (says_something) text += std::string(line) + '\n';
    }
    return text;
}

// `test_file` is the test's __FILE__. With MUSTER_GOLDEN_MAKE=1 the image is made anew.
inline void expect_golden(const std::string& image, const std::string& name, const char* test_file) {
    const std::string here = test_file;
    const std::string path = here.substr(0, here.rfind('/') + 1) + "golden/" + name + ".hex";
    if (std::getenv("MUSTER_GOLDEN_MAKE") != nullptr) std::ofstream(path) << image;
    std::ifstream file(path);
    ASSERT_TRUE(file) << path;
    const std::string golden{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(image, golden) << "the layout has changed: it needs a new format number";
}

}  // namespace muster::test
