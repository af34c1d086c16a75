// What is measured: the list of cases, their figures and goals.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "trial.hpp"

namespace muster::bench {

enum class Better { lower, higher };

struct FigureSpec {
    const char* key;
    const char* title;  // appended to the case's title
    const char* unit;
    Better better = Better::lower;
    double goal = 0;        // 0: none
    double ratio_goal = 0;  // against the kernel; 0: none
};

struct Case {
    std::string id;        // "W3-64-10"
    std::string workload;  // "W3"
    std::string title;
    std::string conditions;  // depth, pinning, waiting
    Kind kind = Kind::posix_queue;
    std::size_t depth = 10;
    std::size_t message_bytes = 64;
    bool same_cpu = false;
    unsigned writers = 1;
    unsigned cpus_needed = 1;
    unsigned rounds_max = 1000;
    std::size_t others = 0;  // W5 of types: messages that are in the queue all the time
    bool distinct = false;   // and whether each has a type of its own
    Use use = Use::single;   // of semaphores
    std::vector<FigureSpec> figures;
    std::function<void(Trial&)> run;

    const char* family() const { return kind == Kind::posix_queue ? "posix" : "sysv"; }
};

std::vector<Case> all_cases();

// single.cpp, pair.cpp, death.cpp
void run_pairs(Trial& trial);                    // W1
void run_priorities(Trial& trial);               // W5
void run_life(Trial& trial);                     // W7
void run_ping_pong(Trial& trial);                // W2
void run_stream(Trial& trial);                   // W3, W8
void run_death(Trial& trial);                    // W9
void measure_idle(Trial& trial, pid_t waiting);  // pair.cpp
// sysv.cpp
void run_types(Trial& trial);           // W5 of types
void run_semaphores(Trial& trial);      // W6
void run_semaphore_pong(Trial& trial);  // W6 with two processes
void run_sysv_life(Trial& trial);       // W7

// What W5 of types sends, and what it asks for.
struct Picking {
    const char* figure;
    long type;
    Pick pick;
};
std::vector<Picking> pickings(const Case& what);

// Figures beside those with goals, reported where a workload gives them:
//   start_up_us      create, open, first touch of every slot
//   cpu_ns           CPU time of all processes together, a message (W6: a take and a give)
//   idle_cpu_permille, idle_sleeping   a receiver that has waited 20 ms already, over the next 100 ms
//   stalled, kills   W9: operations that had to wait for a death; kills in all

}  // namespace muster::bench
