#include "salvage.hpp"
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>
#include <set>
#include <utility>
#include "command.hpp"
#include "message_json.hpp"
#include "object_name.hpp"
#include "output.hpp"
#include "report.hpp"
#include "text.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

constexpr std::size_t kReasonsShown = 20;

// What is to be salvaged: a file, and what people call it.
struct Wreck {
    std::string path, name;
    ObjectKind kind = ObjectKind::unknown;
};

// The new file that takes what is saved. It never takes the place of another: that may be the only copy of something.
class Out {
public:
    Out(const std::string& out, const Wreck& wreck, bool directory) : fd_(STDOUT_FILENO), name_("standard output") {
        if (out == "-") return;
        name_ = directory ? out + (out.back() == '/' ? "" : "/") + file_name(wreck) : out;
        struct stat status {};
        const bool special = ::stat(name_.c_str(), &status) == 0 && !S_ISREG(status.st_mode);
        fd_ = ::open(name_.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY | (special ? 0 : O_CREAT | O_EXCL), 0600);
        if (fd_ >= 0) return;
        if (errno == EEXIST) fail(kExists, fmt::format("{}: exists already; --salvage writes new files only", name_));
        fail(errno == EACCES ? kForbidden : kError, fmt::format("{}: {}", name_, std::strerror(errno)));
    }
    ~Out() {
        if (fd_ > STDERR_FILENO) ::close(fd_);
    }
    Out(const Out&) = delete;

    void write(std::string_view bytes) {
        pending_ += bytes;
        if (pending_.size() >= 65536) flush();
    }
    void flush() {
        const int error = write_all(fd_, pending_);
        pending_.clear();
        if (error == EPIPE) fail(kBrokenPipe, "");
        if (error != 0) fail(kError, fmt::format("{}: {}", name_, std::strerror(error)));
    }
    void close() {
        flush();
        if (fd_ > STDERR_FILENO && ::close(std::exchange(fd_, -1)) != 0 && errno != EINTR) fail(kError, fmt::format("{}: {}", name_, std::strerror(errno)));
    }
    const std::string& name() const { return name_; }

private:
    // "jobs.json", "msg-0x1234.json", "shm-id=5.bin".
    static std::string file_name(const Wreck& wreck) {
        std::string name = wreck.name;
        while (!name.empty() && name.front() == '/') name.erase(0, 1);
        if (const std::size_t slash = name.rfind('/'); slash != name.npos && name.find(':') == name.npos) name.erase(0, slash + 1);
        for (char& c : name)
            if (c == '/' || c == ':') c = '-';
        if (name.empty() || name[0] == '.') name = "object" + name;
        return name + (wreck.kind == ObjectKind::segment || wreck.kind == ObjectKind::posix_shared_memory ? ".bin" : ".json");
    }
    int fd_;
    std::string name_;
    std::string pending_;
};

SalvageOptions options_of(const SalvageRequest& request, const Wreck& wreck) {
    SalvageOptions options;
    options.kind = wreck.kind;
    if (request.geometry.empty()) return options;
    const std::size_t comma = request.geometry.find(',');
    if (comma == request.geometry.npos) fail(kUsage, "--geometry takes two numbers: MAXMSG,MSGSIZE, such as 10,8192");
    options.messages_max = parse_count("--geometry", request.geometry.substr(0, comma), 1, 16'000'000);
    options.message_size_bytes_max = parse_size("--geometry", request.geometry.substr(comma + 1));
    if (options.message_size_bytes_max == 0) fail(kUsage, "--geometry: a message has 1 byte or more");
    return options;
}

std::string_view unit_of(ObjectKind kind) {
    return kind == ObjectKind::semaphore_set ? "semaphore" : "message";
}

Json as_json(const Wreck& wreck, const SalvageReport& report, const std::string& out) {
    Json findings = Json::array();
    for (const Finding& finding : report.findings)
        findings.push_back({{"what", finding.what}, {"messages_at_stake", finding.messages_at_stake}, {"bytes_at_stake", finding.bytes_at_stake}});
    return {{"object", wreck.name}, {"kind", to_string(report.kind)}, {"path", wreck.path},       {"output", out},
            {"how", report.how},    {"saved", report.messages},       {"bytes", report.bytes},    {"broken", report.broken},
            {"bytes_lost", report.bytes_lost}, {"doubles", report.doubles}, {"unfinished", report.unfinished}, {"findings", findings}};
}

std::string as_text(const Wreck& wreck, const SalvageReport& report, const std::string& out, const Global& global) {
    const bool memory = report.kind == ObjectKind::segment || report.kind == ObjectKind::posix_shared_memory;
    const bool queue = report.kind == ObjectKind::message_queue || report.kind == ObjectKind::typed_queue;
    std::string text = escaped(wreck.name) + ": ";
    if (memory)
        text += fmt::format("{} saved", human_bytes(report.bytes));
    else
        text += fmt::format("{}{} saved", counted(report.messages, unit_of(report.kind)), queue ? ", " + human_bytes(report.bytes) : std::string());
    text += fmt::format(" to {} ({})\n", escaped(out), report.how);
    for (std::size_t i = 0; i < report.findings.size() && i < kReasonsShown; ++i) text += "  " + escaped(report.findings[i].what) + "\n";
    if (report.findings.size() > kReasonsShown) text += fmt::format("  and {} more; --json shows them\n", report.findings.size() - kReasonsShown);
    if (report.broken > 0)
        text += fmt::format("  {} could not be saved{}\n", counted(report.broken, unit_of(report.kind)),
                            report.bytes_lost > 0 ? ": " + human_bytes(report.bytes_lost) : std::string());
    if (report.unfinished > 0) text += fmt::format("  {} being sent and had never arrived\n", report.unfinished == 1 ? "1 message was" : fmt::format("{} messages were", report.unfinished));
    if (queue && report.messages > 0 && out != "standard output")
        text += fmt::format("  into a new queue: {}\n", global.command(fmt::format("send QUEUE --from-json --file {}", out)));
    if (memory && report.bytes > 0 && out != "standard output")
        text += fmt::format("  into a new segment: {}\n", global.command(fmt::format("shm put OBJECT --file {}", out)));
    return text;
}

[[noreturn]] void refuse(const Wreck& wreck, const Error& error) {
    const std::string why = error.hint().empty() ? error.code().message() : error.hint();
    const std::string_view advice = error == EBADMSG ? "; of a queue, --geometry MAXMSG,MSGSIZE can say it" : "";
    fail(exit_code_of(error.errno_value()), fmt::format("{}: {}{}", escaped(wreck.name), why, advice));
}

int salvage_one(const SalvageRequest& request, Wreck wreck, bool directory, const Global& global, Json& all) {
    const SalvageOptions options = options_of(request, wreck);
    // The kind decides about the name of the file, and is looked for with nothing written yet.
    if (wreck.kind == ObjectKind::unknown || directory) {
        const auto looked = Domain::salvage(wreck.path, options, {});
        if (!looked) refuse(wreck, looked.error());
        wreck.kind = looked->kind;
    }
    std::unique_ptr<Out> out;
    const auto put = [&](std::string_view bytes) {
        if (!out) out = std::make_unique<Out>(request.out, wreck, directory);
        out->write(bytes);
        return true;
    };
    const std::string_view word = wreck.kind == ObjectKind::typed_queue ? "type" : "priority";
    SalvageSink sink;
    sink.message = [&](const SalvagedMessage& message) {
        return put(message_line({reinterpret_cast<const char*>(message.bytes.data()), message.bytes.size()}, word, static_cast<std::int64_t>(message.label)));
    };
    sink.value = [&](const SalvagedValue& value) {
        return put(dump({{"semaphore", value.number}, {"value", value.value}, {"last_pid", value.last_pid}, {"sound", value.sound}}, false));
    };
    sink.bytes = [&](std::span<const std::byte> bytes) { return put({reinterpret_cast<const char*>(bytes.data()), bytes.size()}); };
    const auto report = Domain::salvage(wreck.path, SalvageOptions{options.messages_max, options.message_size_bytes_max, wreck.kind}, sink);
    if (!report) refuse(wreck, report.error());
    put("");  // nothing saved is an empty file
    out->close();
    if (global.json)
        all.push_back(as_json(wreck, *report, out->name()));
    else if (request.out == "-")
        write_all(STDERR_FILENO, as_text(wreck, *report, out->name(), global));
    else
        print(as_text(wreck, *report, out->name(), global));
    return report->broken == 0 ? kOk : kDamaged;
}

bool is_path(const std::string& name) {
    struct stat status {};
    if (name.rfind("sysv/", 0) == 0 && ::stat(name.c_str(), &status) != 0) return false;  // of the domain
    if (name.find(':') != name.npos && name.find('/') > name.find(':')) return false;  // "sem:0x5", "posix-shm:/cache"
    return name.find('/') != 0 || name.find('/', 1) != name.npos;
}

std::vector<Wreck> wrecks_of(const SalvageRequest& request, const Global& global) {
    if (!request.name.empty() && is_path(request.name)) {
        struct stat status {};
        if (::stat(request.name.c_str(), &status) != 0 && request.name.find('/') == request.name.npos) (void)parse_object_name(request.name);
        return {{request.name, request.name}};
    }
    const Domain domain = open_domain(global);
    if (!request.name.empty()) {
        const ObjectInfo info = find_object(domain, parse_object_name(request.name), global);
        return {{info.path, request.name, info.kind}};
    }
    std::vector<Wreck> wrecks;
    std::set<std::string> seen;
    for (const Finding& finding : require(domain.fsck(false), Doing::inspecting, global)) {
        if (finding.harmless || finding.object.empty() || finding.path.find("/key/") != finding.path.npos || !seen.insert(finding.path).second) continue;
        if (finding.object.rfind("posix-", 0) == 0) continue;
        wrecks.push_back({finding.path, finding.object});
    }
    return wrecks;
}

}  // namespace

int salvage(const SalvageRequest& request, const Global& global) {
    struct stat status {};
    const bool directory = request.out != "-" && ::stat(request.out.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
    if (request.out.empty()) fail(kUsage, "--salvage needs a directory, a file that is not there yet, or - for standard output");
    if (request.name.empty() && !directory) fail(kUsage, fmt::format("fsck: {} is no directory; without an OBJECT, --salvage writes a file for each damaged one into one", request.out));
    if (global.json && request.out == "-") fail(kUsage, "fsck: --json and --salvage - both write to standard output");
    int code = kOk;
    Json all = Json::array();
    const std::vector<Wreck> wrecks = wrecks_of(request, global);
    for (const Wreck& wreck : wrecks)
        if (salvage_one(request, wreck, directory, global, all) != kOk) code = kDamaged;
    if (global.json) print(dump(all));
    else if (wrecks.empty()) print("nothing is damaged\n");
    return code;
}

}  // namespace muster::cli
