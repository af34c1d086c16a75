// muster: the command. Parsing, dispatch, and the one place where errors are printed.
#include <fmt/format.h>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <vector>
#include "arguments.hpp"
#include "command.hpp"
#include "help.hpp"
#include "output.hpp"

#ifndef MUSTER_VERSION
#define MUSTER_VERSION "0.1.0"
#endif

namespace muster::cli {
namespace {

std::string command_path(const CLI::App& app) {
    std::string path = "muster";
    for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
        at = at->get_subcommands().front();
        path += " " + at->get_name();
    }
    return path;
}

// CLI11's sentences, except where they speak of its own notions.
std::string sentence_of(const CLI::ParseError& wrong) {
    const std::string text = wrong.what();
    if (text == "A subcommand is required") return "a command is missing";
    if (text == "name is required") return "/NAME is missing";
    if (text == "queue is required") return "QUEUE is missing: /jobs, msg:0x1234 or msg:id=5";
    if (text == "object is required") return "OBJECT is missing: sem:0x1234, shm:id=5 …";
    if (text.rfind("The following argument", 0) == 0) return "not understood: " + plain(text.substr(text.find(": ") + 2));
    return text;
}

int dispatch(Arguments arguments) {
    CLI::App app(
        "Unix interprocess communication in user space: queues, semaphores and memory that C programs, C++ programs "
        "and\nterminals share",
        "muster");
    Global global;
    app.add_option(
           "--domain", global.domain,
           "The directory of objects: a path, or a name N for /dev/shm/muster-UID-N (default: $MUSTER_DOMAIN, or your own)")
        ->type_name("DOMAIN");
    app.add_flag("--json", global.json, "Print JSON");
    app.set_version_flag("--version", "muster " MUSTER_VERSION, "Print the version");
    app.set_help_flag("-h,--help", "Print this help");
    app.require_subcommand(1);
    auto formatter = std::make_shared<HelpFormatter>();
    formatter->column_width(26);
    formatter->label("SUBCOMMAND", "COMMAND");
    formatter->label("Subcommands", "Commands");
    app.formatter(formatter);
    app.footer(
        "Objects are named the same everywhere:\n"
        "  /jobs             a POSIX message queue       sem:0x1234       a semaphore set by its key\n"
        "  posix-shm:/cache  POSIX shared memory         sem:id=5         the same by its identifier\n"
        "  posix-sem:/lock   a POSIX named semaphore     shm:... msg:...  segments, System V queues likewise\n"
        "\n"
        "Examples:\n"
        "  muster mk mq /jobs && muster send /jobs hello && muster recv /jobs\n"
        "  muster mk sem 0x1234 --values 1 && muster sem hold sem:0x1234 -- make install\n"
        "  muster run stress-ng --mq 2 --timeout 5\n"
        "  tar c . | muster send --stream --create /pipe      and elsewhere      muster recv --stream --create /pipe | tar x\n"
        "\n"
        "Exit codes: 0 done, 1 error, 2 usage, 3 empty or full with --no-wait, 4 timed out, 5 no such object,\n"
        "6 exists, 7 no permission, 8 damaged; `run` and `sem hold` end with the program's own. `muster COMMAND --help` tells more.");

    translate_help(arguments);
    const Arguments program = split_program(arguments);
    protect_messages(arguments);
    Registry registry{app, global, {}};
    add_mk(registry);  // in the order in which the help lists them
    add_ls(registry);
    add_stat(registry);
    add_rm(registry);
    add_send(registry);
    add_recv(registry);
    add_sem(registry, program);
    add_shm(registry);
    add_run(registry, program);
    add_domain(registry);
    add_limits(registry);
    add_gc(registry);
    add_fsck(registry);
    add_doctor(registry);
    add_demo(registry);

    if (arguments.empty()) {
        write_all(2, app.help());
        return kUsage;
    }
    const std::size_t name = command_index(arguments);
    const auto is_named = [&](const CLI::App* command) { return command->get_name() == arguments[name]; };
    if (name < arguments.size() && app.get_subcommands(is_named).empty())
        fail(kUsage, fmt::format("'{}' is no command of muster; `muster --help` lists them", arguments[name]));
    try {
        app.parse(Arguments(arguments.rbegin(), arguments.rend()));
    } catch (const CLI::Success& asked) {  // --help, --version
        print(dynamic_cast<const CLI::CallForVersion*>(&asked) != nullptr ? std::string(asked.what()) + "\n" : app.help());
        return kOk;
    } catch (const CLI::ParseError& wrong) {
        fail(kUsage, fmt::format("{}; `{} --help` explains", sentence_of(wrong), command_path(app)));
    }
    if (app.count("--domain") > 0 && global.domain.empty()) fail(kUsage, "--domain: the name is empty");
    for (const auto& [command, action] : registry.actions)
        if (command->parsed()) return action();
    return kUsage;
}

}  // namespace

Domain open_domain(const Global& global) {
    return require(global.domain.empty() ? Domain::open_default() : Domain::open(global.domain), Doing::opening_domain, global);
}

}  // namespace muster::cli

int main(int argc, char** argv) {
    using namespace muster::cli;
    prepare_standard_descriptors();
    try {
        return dispatch(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
    } catch (const Failure& failure) {
        if (!failure.text.empty()) complain(failure.text);
        return failure.exit_code;
    } catch (const std::bad_alloc&) {
        complain("out of memory");
    } catch (const std::exception& error) {
        complain(error.what());
    }
    return kError;
}
