#include "program.hpp"
#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>
#include "output.hpp"

namespace muster::cli {
namespace {

constexpr int kScriptDepthMax = 5;  // the kernel follows that many interpreters

std::string read_head(const std::string& path, std::size_t size) {
    std::string head(size, '\0');
    const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::size_t filled = 0;
    while (fd.get() >= 0 && filled < size) {
        const ssize_t n = ::pread(fd.get(), head.data() + filled, size - filled, static_cast<off_t>(filled));
        if (n <= 0) break;
        filled += static_cast<std::size_t>(n);
    }
    head.resize(filled);
    return head;
}

struct ElfFacts {
    unsigned char word_class = 0, byte_order = 0;
    std::uint16_t machine = 0;
    bool complete = false;    // the program headers could be read
    std::string interpreter;  // empty: static
};

// The program headers, whichever class; what lies outside the first pages is taken as absent.
template <class Ehdr, class Phdr>
void read_elf(const std::string& head, ElfFacts& facts) {
    Ehdr header;
    if (head.size() < sizeof header) return;
    std::memcpy(&header, head.data(), sizeof header);
    facts.machine = header.e_machine;
    for (std::size_t i = 0; i < header.e_phnum; ++i) {
        const std::size_t at = header.e_phoff + i * sizeof(Phdr);
        Phdr segment;
        if (at > head.size() || head.size() - at < sizeof segment) return;
        std::memcpy(&segment, head.data() + at, sizeof segment);
        if (segment.p_type != PT_INTERP || segment.p_offset >= head.size()) continue;
        facts.interpreter = std::string(head.substr(segment.p_offset, segment.p_filesz).c_str());
    }
    facts.complete = true;
}

bool read_elf(const std::string& path, ElfFacts& facts) {
    const std::string head = read_head(path, 65536);
    if (head.size() < EI_NIDENT || std::memcmp(head.data(), ELFMAG, SELFMAG) != 0) return false;
    facts.word_class = static_cast<unsigned char>(head[EI_CLASS]);
    facts.byte_order = static_cast<unsigned char>(head[EI_DATA]);
    if (facts.word_class == ELFCLASS64)
        read_elf<Elf64_Ehdr, Elf64_Phdr>(head, facts);
    else if (facts.word_class == ELFCLASS32)
        read_elf<Elf32_Ehdr, Elf32_Phdr>(head, facts);
    return true;
}

// Why the loader will ignore LD_PRELOAD for this file, or null. SOURCE ld.so(8), secure-execution mode.
const char* secure_execution(const std::string& path) {
    struct stat status {};
    struct statvfs system {};
    if (::stat(path.c_str(), &status) != 0) return nullptr;
    if (::statvfs(path.c_str(), &system) == 0 && (system.f_flag & ST_NOSUID) != 0) return nullptr;
    if ((status.st_mode & S_ISUID) != 0 && status.st_uid != ::getuid()) return "setuid";
    if ((status.st_mode & S_ISGID) != 0 && (status.st_mode & S_IXGRP) != 0 && status.st_gid != ::getgid()) return "setgid";
    if (::getuid() != 0 && ::getxattr(path.c_str(), "security.capability", nullptr, 0) > 0)
        return "marked with file capabilities";
    return nullptr;
}

std::string base_name(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}

Failure refuse(const std::string& path, std::string_view why) {
    return {kCannotRun, fmt::format("{}: {}", path, why)};
}

std::optional<Failure> examine_elf(const std::string& path, const ElfFacts& facts) {
    ElfFacts own;
    if (read_elf("/proc/self/exe", own)) {
        if (facts.word_class != own.word_class)
            return refuse(
                path,
                fmt::format("is a {}-bit program and Muster's library here has {} bits; run a build of the program that matches, "
                            "or name a matching library in MUSTER_LIBRARY",
                            facts.word_class == ELFCLASS32 ? 32 : 64, own.word_class == ELFCLASS32 ? 32 : 64));
        if (facts.machine != own.machine || facts.byte_order != own.byte_order)
            return refuse(path, "is built for another kind of machine; Muster's library here cannot be loaded into it");
    }
    if (!facts.complete) return refuse(path, "is cut off or damaged: the beginning is a program's, the rest is missing");
    if (const char* kind = secure_execution(path))
        return refuse(
            path,
            fmt::format(
                "is {}: for such programs the system ignores preloaded libraries, so it would use the kernel's objects, not "
                "Muster's. Start it as the user it would change to, or run a copy without that mark",
                kind));
    const bool loader = base_name(path).rfind("ld-", 0) == 0 || base_name(path).rfind("ld.so", 0) == 0;  // runs programs itself
    if (facts.interpreter.empty() && !loader)
        return refuse(
            path,
            "is statically linked: no library can be put before it, so it would use the kernel's objects, not Muster's. "
            "Link it dynamically, or link it with libmuster_posix");
    if (!facts.interpreter.empty() && ::access(facts.interpreter.c_str(), F_OK) != 0)
        return Failure{kNoProgram, fmt::format("{}: its loader {} is not installed", path, facts.interpreter)};
    if (base_name(facts.interpreter).rfind("ld-musl", 0) == 0)
        return refuse(path, "is built for musl and Muster's library here for glibc; build Muster with musl for it");
    return {};
}

std::vector<std::string> words_of(std::string_view line) {
    std::vector<std::string> words(1);
    for (const char c : line) {
        if (c != ' ' && c != '\t')
            words.back() += c;
        else if (!words.back().empty())
            words.emplace_back();
    }
    if (words.back().empty()) words.pop_back();
    return words;
}

std::optional<Failure> examine(const std::string& path, int depth);

std::optional<Failure> examine_script(const std::string& path, std::string line, int depth) {
    const bool windows = !line.empty() && line.back() == '\r';
    const std::vector<std::string> words = words_of(line);
    if (words.empty()) return {};  // the kernel refuses it and /bin/sh takes it
    const std::string& interpreter = words[0];
    if (::access(interpreter.c_str(), F_OK) != 0)
        return Failure{
            kNoProgram,
            fmt::format("{}: its interpreter {} is not installed{}", path, interpreter.substr(0, interpreter.find('\r')),
                        windows ? " under that name: the script's lines end in CR LF, as on Windows" : "")};
    if (::access(interpreter.c_str(), X_OK) != 0)
        return refuse(path, fmt::format("its interpreter {} is not executable", interpreter));
    if (depth >= kScriptDepthMax) return refuse(path, "leads from script to script too often");
    if (auto bad = examine(interpreter, depth + 1)) {
        if (depth == 0) bad->text = fmt::format("{}: its interpreter {}", path, bad->text);
        return bad;
    }
    return {};
}

std::optional<Failure> examine(const std::string& path, int depth) {
    ElfFacts facts;
    if (read_elf(path, facts)) return examine_elf(path, facts);
    const std::string head = read_head(path, 256);
    if (head.rfind("#!", 0) == 0)
        return examine_script(path, head.substr(2, head.find('\n') == head.npos ? head.npos : head.find('\n') - 2), depth);
    // As shells judge: a zero byte before the first line's end means that it is no text. An unreadable file is the kernel's
    // affair.
    if (head.substr(0, head.find('\n')).find('\0') != head.npos)
        return refuse(path, "is neither a program of this system nor a script");
    return {};
}

Failure cannot_execute(const std::string& path, int error) {
    struct stat status {};
    if (::stat(path.c_str(), &status) == 0) {
        if (S_ISDIR(status.st_mode)) return refuse(path, "is a directory, no program");
        if (!S_ISREG(status.st_mode)) return refuse(path, "is no regular file, hence no program");
        if (error == EACCES) return refuse(path, fmt::format("is not executable; `chmod +x {}` makes it so", path));
        return refuse(path, std::strerror(error));
    }
    if (errno == ENOENT || errno == ENOTDIR) return {kNoProgram, fmt::format("{}: no such program", path)};
    return refuse(path, std::strerror(errno));
}

bool runnable(const std::string& path, int& error) {
    struct stat status {};
    error = 0;
    if (::stat(path.c_str(), &status) != 0)
        error = ENOENT;  // also in a directory that may not be searched
    else if (!S_ISREG(status.st_mode))
        error = EISDIR;
    else if (::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) != 0)
        error = errno;
    return error == 0;
}

}  // namespace

std::string find_program(const std::string& name) {
    int error = 0;
    if (name.empty()) fail(kNoProgram, "run: the program's name is empty");
    if (name.find('/') != name.npos) {
        if (!runnable(name, error)) throw cannot_execute(name, error);
        return name;
    }
    const char* variable = std::getenv("PATH");
    const std::string search = variable != nullptr ? variable : "/usr/local/bin:/bin:/usr/bin";
    std::string refused;
    int refused_error = 0;
    for (std::size_t at = 0; at <= search.size();) {
        const std::size_t end = std::min(search.find(':', at), search.size());
        const std::string directory = search.substr(at, end - at);
        const std::string path = (directory.empty() ? "." : directory) + "/" + name;
        if (runnable(path, error)) return path;
        if (error == EACCES && refused.empty()) refused = path, refused_error = error;
        at = end + 1;
    }
    if (!refused.empty()) throw cannot_execute(refused, refused_error);
    fail(kNoProgram, fmt::format("{}: no such program in PATH{}", name,
                                 ::access(name.c_str(), X_OK) == 0 ? fmt::format("; ./{} runs the one here", name) : ""));
}

std::optional<Failure> examine_program(const std::string& path) {
    return examine(path, 0);
}

bool is_plain_script(const std::string& path) {
    const std::string head = read_head(path, 256);
    return head.rfind(ELFMAG, 0) != 0 && head.substr(0, head.find('\n')).find('\0') == head.npos;
}

}  // namespace muster::cli
