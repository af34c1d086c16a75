// The command line.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace muster::bench {

struct Options {
    std::vector<std::string> only;      // workloads, case ids or families; empty: all
    std::vector<std::string> backends;  // keys; empty: all
    unsigned rounds = 7;
    double seconds = 0.12;
    unsigned kills = 100;
    std::string json, markdown, note;
    std::string muster_posix;
    std::string instructions;  // workload to run under callgrind
    std::uint64_t operations = 100'000;
    bool list = false, help = false;
    std::string command;  // as it was typed

    bool wants_backend(const std::string& key) const;
    bool wants_case(const std::string& id, const std::string& workload, const std::string& family) const;
};

// Throws Failure with a sentence for the user.
Options parse_options(int argc, char** argv);
const char* usage();

}  // namespace muster::bench
