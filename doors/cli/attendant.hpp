// Starting a program and staying with it to its end.
#pragma once
#include <sys/types.h>
#include <csignal>
#include <string>
#include <vector>
#include "failure.hpp"

namespace muster::cli {

struct Program {
    std::string path;
    std::vector<std::string> arguments;  // with the program's name as it was typed
};

// Becomes the program. Only returns if it could not be started.
Failure execute(const Program& program);

// Waits for the program while the terminal's own signals go to it alone (it is in our process group) and those that were
// meant for us are handed on. One at a time.
class Attendant {
public:
    Attendant();  // before there is anything that a signal must not leave behind
    Attendant(const Attendant&) = delete;

    // Starts the program and waits: its exit code, or 128 + N if signal N killed it. `die_with_us`: it is killed should we be.
    int run(const Program& program, bool die_with_us);

private:
    void start_waiting(pid_t child);
    int wait_for(pid_t child);
    sigset_t handed_on_, mask_before_;
};

}  // namespace muster::cli
