// muster run: an unmodified program on Muster.
#include <fmt/format.h>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include "attendant.hpp"
#include "command.hpp"
#include "ephemeral.hpp"
#include "output.hpp"
#include "program.hpp"

namespace muster::cli {
namespace {

struct Prepared {
    Program program;
    std::string library;
};

void set_environment(const Prepared& program, const Domain& domain, const std::string& link_directory) {
    const std::string library = preloadable(program.library, link_directory);
    std::string preload = library;
    if (const char* before = std::getenv("LD_PRELOAD"); before != nullptr && *before != '\0')
        preload += std::string(":") + before;
    if (::setenv("LD_PRELOAD", preload.c_str(), 1) != 0 || ::setenv("MUSTER_DOMAIN", domain.path().c_str(), 1) != 0)
        fail(kError, fmt::format("environment: {}", std::strerror(errno)));
}

// Removes the domain also when what comes between fails.
class Removal {
public:
    explicit Removal(const Domain& domain) : domain_(domain) {}
    ~Removal() {
        if (const auto removed = remove_ephemeral(domain_); !removed) complain(removed.error().message());
    }

private:
    const Domain& domain_;
};

int run_ephemeral(const Prepared& program, const Global& global) {
    Attendant attendant;  // before the domain exists: a SIGTERM in between must not leave it behind
    const Domain domain = require(Domain::create_ephemeral(), Doing::opening_domain, global);
    const Removal removal(domain);
    record_owner(domain);
    set_environment(program, domain, domain.path());
    return attendant.run(program.program, false);
}

int run(const std::vector<std::string>& command, bool ephemeral, const Global& global) {
    if (command.empty()) fail(kUsage, "run: which program? `muster run --help` explains");
    if (ephemeral && !global.domain.empty()) fail(kUsage, "run: --ephemeral makes a domain of its own; leave --domain away");
    const Prepared program{{find_program(command[0]), command}, find_library()};
    if (const auto reason = examine_program(program.program.path)) throw *reason;
    if (ephemeral) return run_ephemeral(program, global);
    const Domain domain = open_domain(global);
    set_environment(program, domain, "");
    throw execute(program.program);
}

}  // namespace

void add_run(Registry& registry, const std::vector<std::string>& program) {
    struct Options {
        bool ephemeral = false;
        std::vector<std::string> program;  // for the help text; main() has cut the real one off
    };
    auto options = std::make_shared<Options>();
    CLI::App* command = registry.add(
        "run", "Run an unmodified program on Muster's objects",
        "  muster run stress-ng --mq 2 --timeout 5\n"
        "  muster --domain test run ./server --port 80\n"
        "  muster run --ephemeral -- make check     (a domain of its own, removed at the end)\n"
        "Ends with the program's exit code; 127: no such program, 126: it cannot be run, 128+N: killed by signal N.");
    command->add_option("program", options->program, "What to run; all behind it is the program's, not muster's")
        ->type_name("PROGRAM [ARGUMENT...]");
    command->add_flag("--ephemeral", options->ephemeral, "Make a fresh domain, and remove it when the program ends");
    registry.actions.emplace_back(command,
                                  [options, &registry, program] { return run(program, options->ephemeral, registry.global); });
}

}  // namespace muster::cli
