#include "options.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>

#include "stamp.hpp"

namespace muster::bench {
namespace {

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> parts;
    for (std::size_t from = 0; from <= text.size();) {
        const std::size_t comma = std::min(text.find(',', from), text.size());
        if (comma > from) parts.push_back(text.substr(from, comma - from));
        from = comma + 1;
    }
    return parts;
}

std::uint64_t count_of(const std::string& option, const std::string& text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value == 0 || value > 1'000'000'000)
        throw Failure(option + " wants a number from 1 on, not \"" + text + "\"");
    return value;
}

bool among(const std::vector<std::string>& wanted, const std::string& what) {
    return std::find(wanted.begin(), wanted.end(), what) != wanted.end();
}

}  // namespace

bool Options::wants_backend(const std::string& key) const {
    return backends.empty() || among(backends, key);
}
bool Options::wants_case(const std::string& id, const std::string& workload, const std::string& family) const {
    return only.empty() || among(only, id) || among(only, workload) || among(only, family);
}

Options parse_options(int argc, char** argv) {
    Options o;
    for (int i = 0; i < argc; ++i) o.command += (i != 0 ? " " : "") + std::string(argv[i]);
    for (int i = 1; i < argc; ++i) {
        std::string option = argv[i], value;
        const std::size_t equals = option.find('=');
        const bool attached = option.starts_with("--") && equals != std::string::npos;
        if (attached) value = option.substr(equals + 1), option.resize(equals);
        const auto argument = [&]() -> const std::string& {
            if (!attached) {
                if (i + 1 >= argc) throw Failure(option + " wants a value");
                value = argv[++i];
            }
            return value;
        };
        if (option == "--only")
            o.only = split(argument());
        else if (option == "--backend")
            o.backends = split(argument());
        else if (option == "--rounds")
            o.rounds = static_cast<unsigned>(count_of(option, argument()));
        else if (option == "--kills")
            o.kills = static_cast<unsigned>(count_of(option, argument()));
        else if (option == "--json")
            o.json = argument();
        else if (option == "--markdown")
            o.markdown = argument();
        else if (option == "--note") {
            std::ifstream file(argument());
            if (!file) throw Failure("cannot read " + value);
            o.note.assign(std::istreambuf_iterator<char>(file), {});
        } else if (option == "--muster-posix")
            o.muster_posix = argument();
        else if (option == "--instructions")
            o.instructions = argument();
        else if (option == "--ops")
            o.operations = count_of(option, argument());
        else if (option == "--quick")
            o.rounds = 3, o.seconds = 0.04, o.kills = 30;
        else if (option == "--list")
            o.list = true;
        else if (option == "--help" || option == "-h")
            o.help = true;
        else
            throw Failure("no such option: " + option + " (try --help)");
    }
    return o;
}

const char* usage() {
    return R"(muster_bench: Muster's message queues and System V objects against the kernel's, Boost.Interprocess's and glibc's.

  --list                 the cases, and which backends are there
  --only W1,W3-64-256    these workloads or cases alone; "posix", "sysv": all of those
  --backend kernel,...   these backends alone: kernel, boost, glibc, muster-c, muster-cpp
  --rounds N             rounds, in each of which every backend takes its turn (7)
  --quick                three short rounds
  --kills N              deaths per round of W9 (100)
  --json FILE            every value of every round; "-" is standard output
  --markdown FILE        a page for docs/benchmarks.md
  --note FILE            text to put at the end of that page
  --muster-posix FILE    the C door's library

  --instructions CASE --backend KEY [--ops N]
                         W1, W3, W5, W1-sysv, W3-sysv, W5-one-10 and its like (":lowest", ":except"
                         behind it), W6-single, W6-undo, W6-four: a fixed number of operations in one process, no clock: for
                         valgrind --tool=callgrind --collect-atstart=no
                         (KEY copy-only: what the harness contributes)
)";
}

}  // namespace muster::bench
