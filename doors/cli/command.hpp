// One function a command, each in command_<name>.cpp: declares its options and what to do when it was chosen.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <utility>
#include <vector>
#include "failure.hpp"
#include "muster/domain.hpp"

namespace muster::cli {

// Under which heading `muster help` lists a command.
inline std::string group_of(const std::string& name) {
    if (name == "mk" || name == "ls" || name == "stat" || name == "rm") return "Objects of every kind";
    if (name == "send" || name == "recv") return "Message queues";
    if (name == "sem" || name == "shm") return "Semaphores, shared memory";
    return name == "run" ? "Programs" : "Domains and their upkeep";
}

struct Registry {
    CLI::App& app;
    const Global& global;
    std::vector<std::pair<CLI::App*, std::function<int()>>> actions;

    CLI::App* add(const std::string& name, const std::string& about, const std::string& examples) {
        CLI::App* command = app.add_subcommand(name, about);
        command->group(group_of(name));
        command->footer("Examples:\n" + examples +
                        "\n\n--domain DOMAIN and --json go with every command; `muster --help` tells more.");
        command->fallthrough();  // --domain and --json are understood behind the command's name as well
        return command;
    }
};

void add_run(Registry& registry, const std::vector<std::string>& program);
void add_mk(Registry& registry);
void add_send(Registry& registry);
void add_recv(Registry& registry);
void add_ls(Registry& registry);
void add_stat(Registry& registry);
void add_rm(Registry& registry);
void add_sem(Registry& registry, const std::vector<std::string>& program);
void add_shm(Registry& registry);
void add_doctor(Registry& registry);
void add_demo(Registry& registry);
void add_limits(Registry& registry);
void add_gc(Registry& registry);
void add_fsck(Registry& registry);
void add_domain(Registry& registry);

// The domain that --domain names, or the default.
Domain open_domain(const Global& global);

}  // namespace muster::cli
