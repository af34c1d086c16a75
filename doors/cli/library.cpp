// Finding libmuster_posix.so, and a way to name it in LD_PRELOAD.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>
#include "program.hpp"
#include "stream_format.hpp"

namespace muster::cli {
namespace {

constexpr const char* kName = "libmuster_posix.so";

std::filesystem::path own_directory() {
    std::error_code error;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
    return error ? std::filesystem::path() : self.parent_path();
}

bool readable(const std::filesystem::path& path) {
    return ::access(path.c_str(), R_OK) == 0;
}

// Where the library may lie, seen from the command: as built, as installed, or side by side.
std::vector<std::filesystem::path> candidates(const std::filesystem::path& here) {
    std::vector<std::filesystem::path> found;
#ifdef MUSTER_POSIX_FROM_COMMAND
    found.push_back(here / MUSTER_POSIX_FROM_COMMAND);
#endif
    for (const char* place : {".", "../lib", "../lib64", "../doors/capi", "../capi"}) found.push_back(here / place / kName);
    std::error_code error;  // ../lib/x86_64-linux-gnu and its like
    for (const auto& entry : std::filesystem::directory_iterator(here / "../lib", error)) found.push_back(entry.path() / kName);
    return found;
}

bool splits(const std::string& path) {
    return path.find_first_of(" :\t\n") != path.npos;
}

}  // namespace

std::string find_library() {
    std::error_code error;
    if (const char* named = std::getenv("MUSTER_LIBRARY"); named != nullptr && *named != '\0') {
        const auto path = std::filesystem::canonical(named, error);
        if (error || !readable(path))
            fail(kError, fmt::format("MUSTER_LIBRARY: {}: {}", named, error ? error.message() : std::string("not readable")));
        return path.string();
    }
    const auto here = own_directory();
    for (const auto& candidate : candidates(here)) {
        if (!readable(candidate)) continue;
        const auto path = std::filesystem::canonical(candidate, error);
        if (!error) return path.string();
    }
    fail(kError, fmt::format("{} is missing: not beside {} and not in ../lib from there; name it in MUSTER_LIBRARY", kName,
                             (here / "muster").string()));
}

std::string preloadable(const std::string& library, const std::string& link_directory) {
    if (!splits(library)) return library;
    std::string directory = link_directory;
    if (const char* runtime = std::getenv("XDG_RUNTIME_DIR"); directory.empty() && runtime != nullptr && *runtime == '/')
        directory = runtime;
    if (directory.empty() || splits(directory)) directory = "/dev/shm";
    // Named by the target, so that every run of this build shares one link and none of another.
    const std::uint32_t sum = stream::crc32(0, std::as_bytes(std::span(library)));
    const std::string link = fmt::format("{}/.muster-{}-library-{:08x}.so", directory, ::geteuid(), sum);
    if (::symlink(library.c_str(), link.c_str()) != 0) {
        if (errno != EEXIST) fail(kError, fmt::format("{}: {}", link, std::strerror(errno)));
        struct stat status {};
        char target[PATH_MAX];
        const ssize_t size = ::readlink(link.c_str(), target, sizeof target);
        const bool same = size >= 0 && library == std::string_view(target, static_cast<std::size_t>(size));
        // Others may write where it lies: only our own link to our own library is trusted.
        if (!same || ::lstat(link.c_str(), &status) != 0 || status.st_uid != ::geteuid())
            fail(kError, fmt::format("{}: is not the link to {} that it should be; remove it", link, library));
    }
    return link;
}

}  // namespace muster::cli
