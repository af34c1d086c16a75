// muster shm: bytes in and out of shared memory.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include "command.hpp"
#include "muster/segment.hpp"
#include "object_name.hpp"
#include "output.hpp"
#include "report.hpp"
#include "text.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

struct Options {
    std::string object, offset, length, file = "-";
};

// The bytes of a segment or of POSIX shared memory, mapped.
class Memory {
public:
    Memory(const Domain& domain, const ObjectName& object, bool writable, const Global& global) {
        if (object.kind == ObjectKind::segment)
            attach(domain, object, writable, global);
        else
            map(find_object(domain, object, global), writable, global);
    }
    ~Memory() {
        if (mapped_) ::munmap(bytes_.data(), bytes_.size());
    }
    Memory(const Memory&) = delete;

    std::span<std::byte> bytes() const { return bytes_; }
    const std::string& name() const { return name_; }

    // The part that --offset and --length name.
    std::span<std::byte> part(const Options& options) const {
        const std::uint64_t offset = options.offset.empty() ? 0 : parse_size("--offset", options.offset);
        if (offset > bytes_.size())
            fail(kUsage,
                 fmt::format("--offset: {} has {}; {} lies beyond its end", name_, counted(bytes_.size(), "byte"), offset));
        const std::uint64_t rest = bytes_.size() - offset;
        const std::uint64_t length = options.length.empty() ? rest : parse_size("--length", options.length);
        if (length > rest)
            fail(kUsage,
                 fmt::format("--length: {} has {} from byte {} on, not {}", name_, counted(rest, "byte"), offset, length));
        return bytes_.subspan(offset, length);
    }

private:
    void attach(const Domain& domain, const ObjectName& object, bool writable, const Global& global) {
        auto segment = object.key ? Segment::open(domain, Key(*object.key)) : Segment::open(domain, *object.id);
        if (!segment) throw explain(segment.error(), Doing::opening, global);
        name_ = segment->name();
        attached_.emplace(require(segment->attach(writable ? Access::read_write : Access::read_only), Doing::opening, global));
        bytes_ = {attached_->data(), attached_->size()};
    }

    void map(const ObjectInfo& object, bool writable, const Global& global) {
        name_ = object.name;
        const Descriptor file(::open(object.path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
        struct stat status {};
        if (file.get() < 0 || ::fstat(file.get(), &status) != 0) throw explain(Error(errno, name_, ""), Doing::opening, global);
        if (status.st_size == 0) return;
        const auto size = static_cast<std::size_t>(status.st_size);
        void* mapped = ::mmap(nullptr, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, file.get(), 0);
        if (mapped == MAP_FAILED) fail(kError, fmt::format("{}: {}", name_, std::strerror(errno)));
        mapped_ = true;
        bytes_ = {static_cast<std::byte*>(mapped), size};
    }

    std::string name_;
    std::optional<Attachment> attached_;
    bool mapped_ = false;
    std::span<std::byte> bytes_;
};

ObjectName memory_name(const Options& options) {
    ObjectName object = parse_object_name(options.object);
    if (object.kind == ObjectKind::segment || object.kind == ObjectKind::posix_shared_memory) return object;
    fail(kUsage,
         fmt::format("{}: is no shared memory; name a segment such as shm:0x1234 or shm:id=5, or posix-shm:/cache", object.text));
}

std::string_view text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

int put(const Options& options, const Global& global) {
    const ObjectName object = memory_name(options);
    const Descriptor input = open_input(options.file);
    const Domain domain = open_domain(global);
    const Memory memory(domain, object, true, global);
    const std::span<std::byte> part = memory.part(options);
    std::size_t filled = 0;
    bool ended = false;
    while (!ended && filled < part.size()) filled += read_some(input.get(), part.subspan(filled), ended, options.file);
    if (!options.length.empty() && filled < part.size())
        fail(kError, fmt::format("{}: the input ended after {} of the {} that --length asks for; these were written",
                                 memory.name(), filled, counted(part.size(), "byte")));
    std::array<std::byte, 1> more{};
    if (options.length.empty() && !ended && read_some(input.get(), more, ended, options.file) > 0)
        fail(kError, fmt::format("{}: the input is longer than the {} that are there; these were written, the rest was not",
                                 memory.name(), counted(part.size(), "byte")));
    if (global.json) print(dump({{"name", memory.name()}, {"bytes", filled}}));
    return kOk;
}

int get(const Options& options, const Global& global) {
    const ObjectName object = memory_name(options);
    const Domain domain = open_domain(global);
    const Memory memory(domain, object, false, global);
    print(text_of(memory.part(options)));
    return kOk;
}

int dump_hex(const Options& options, const Global& global) {
    const ObjectName object = memory_name(options);
    const Domain domain = open_domain(global);
    const Memory memory(domain, object, false, global);
    const std::span<std::byte> part = memory.part(options);
    HexDump lines(static_cast<std::uint64_t>(part.data() - memory.bytes().data()));
    constexpr std::size_t kChunkBytes = 1 << 16;
    for (std::size_t at = 0; at < part.size(); at += kChunkBytes)
        print(lines.add(text_of(part.subspan(at, std::min(kChunkBytes, part.size() - at)))));
    print(lines.end());
    return kOk;
}

CLI::App* add_verb(CLI::App& shm, const std::string& name, const std::string& about, const std::string& examples,
                   Options& options) {
    CLI::App* verb = shm.add_subcommand(name, about);
    verb->group("Operations")->footer("Examples:\n" + examples);
    verb->fallthrough();
    verb->add_option("object", options.object, "The memory: shm:0x1234, shm:id=5 or posix-shm:/cache")
        ->required()
        ->type_name("OBJECT");
    verb->add_option("--offset", options.offset, "From this byte on: 4096, 4Ki (default 0)")->type_name("SIZE");
    verb->add_option("--length", options.length, "So many bytes (default: all that follow)")->type_name("SIZE");
    return verb;
}

}  // namespace

void add_shm(Registry& registry) {
    CLI::App* shm = registry.add("shm", "Write to and read from shared memory",
                                 "  muster shm put shm:0x1234 <table.bin\n"
                                 "  muster shm get posix-shm:/cache --offset 4Ki --length 512 >part.bin\n"
                                 "  muster shm dump shm:id=5 --length 256");
    shm->require_subcommand(1);
    auto options = std::make_shared<Options>();
    const auto& global = registry.global;
    CLI::App* verb = add_verb(*shm, "put", "Copy standard input into shared memory",
                              "  muster shm put shm:0x1234 <table.bin\n"
                              "  echo hello | muster shm put posix-shm:/cache --offset 64\n"
                              "Without --length the input may be shorter than the memory, and not longer.",
                              *options);
    verb->add_option("--file", options->file, "Read this instead of standard input")->type_name("FILE");
    registry.actions.emplace_back(verb, [options, &global] { return put(*options, global); });
    verb = add_verb(*shm, "get", "Copy shared memory to standard output",
                    "  muster shm get shm:0x1234 --length 4Ki >first-page.bin", *options);
    registry.actions.emplace_back(verb, [options, &global] { return get(*options, global); });
    verb = add_verb(*shm, "dump", "Show shared memory in hexadecimal, as hexdump -C does",
                    "  muster shm dump shm:0x1234\n"
                    "  muster shm dump posix-shm:/cache --offset 4Ki --length 64\n"
                    "Lines equal to the one before are shown as a single *.",
                    *options);
    registry.actions.emplace_back(verb, [options, &global] { return dump_hex(*options, global); });
}

}  // namespace muster::cli
