#include "instructions.hpp"

#include <unistd.h>
#include <algorithm>
#include <random>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_TOGGLE_COLLECT (void)0
#endif

#include "cases.hpp"

namespace muster::bench {
namespace {

void count_types(SysvQueue& queue, Buffers& buffers, const Case& what, const std::string& pick, std::uint64_t operations) {
    queue.fill_others(what.others, what.distinct);
    for (const Picking& one : pickings(what)) {
        if (one.figure != pick + "_ns") continue;
        queue.picked_pairs(buffers, one.type, one.pick, 10);
        CALLGRIND_TOGGLE_COLLECT;
        queue.picked_pairs(buffers, one.type, one.pick, operations);
        CALLGRIND_TOGGLE_COLLECT;
        return;
    }
    throw Failure(what.id + " has no \"" + pick + "\"");
}

// The cases that have no POSIX counterpart. False: it is none of them.
bool run_sysv_instructions(Backend& backend, const std::string& workload, std::uint64_t operations) {
    const std::size_t colon = std::min(workload.find(':'), workload.size());
    for (const Case& what : all_cases()) {
        if (what.id != workload.substr(0, colon)) continue;
        const Shape shape{"muster-bench-" + std::to_string(getpid()), what.kind, what.depth, what.message_bytes};
        if (!backend.offers(what.kind)) throw Failure(std::string(backend.key()) + " has no " + workload);
        if (what.workload == "W5" && what.others != 0) {
            const auto queue = backend.create(shape);
            Buffers buffers(shape.message_bytes);
            const std::string pick = colon == workload.size() ? "type" : workload.substr(colon + 1);
            count_types(dynamic_cast<SysvQueue&>(*queue), buffers, what, pick, operations);
        } else if (what.workload == "W6" && what.cpus_needed == 1 && !what.same_cpu) {
            const auto set = backend.create_semaphores(shape);
            set->pairs(what.use, 100);
            CALLGRIND_TOGGLE_COLLECT;
            set->pairs(what.use, operations);
            CALLGRIND_TOGGLE_COLLECT;
        } else {
            return false;
        }
        backend.unlink(shape);
        return true;
    }
    return false;
}

}  // namespace

void run_instructions(Backend* backend, const std::string& given, std::uint64_t operations) {
    if (backend != nullptr && run_sysv_instructions(*backend, given, operations)) return;
    const bool sysv = given.ends_with("-sysv");
    const std::string workload = sysv ? given.substr(0, given.size() - 5) : given;
    constexpr std::size_t kDepth = 10;
    const Shape shape{"muster-bench-" + std::to_string(getpid()), sysv ? Kind::sysv_queue : Kind::posix_queue, kDepth,
                      workload == "W5" ? std::size_t{16} : std::size_t{64}};
    std::vector<std::uint16_t> priorities(65'521, 0);
    if (workload == "W5") {
        std::mt19937 random(20'240'501);
        for (std::uint16_t& p : priorities) p = static_cast<std::uint16_t>(random() % 32'768);
    } else if (workload != "W1" && workload != "W3") {
        throw Failure("--instructions wants W1, W3 or W5, or one of the cases that --help names");
    }
    if (sysv && workload == "W5") throw Failure("System V queues have types: W5-one-10 and its like");
    if (backend == nullptr && workload != "W1") throw Failure("copy-only knows W1 alone");
    const auto queue = backend != nullptr ? backend->create(shape) : make_copy_only_queue();
    if (backend != nullptr && !sysv) backend->unlink(shape);
    Buffers buffers(shape.message_bytes);
    if (backend != nullptr) queue->fill_and_drain(buffers, priorities, kDepth);  // first touches are not counted

    CALLGRIND_TOGGLE_COLLECT;
    if (workload == "W1")
        queue->pairs(buffers, operations);
    else
        for (std::uint64_t done = 0; done < operations; done += kDepth) queue->fill_and_drain(buffers, priorities, kDepth);
    CALLGRIND_TOGGLE_COLLECT;
    if (backend != nullptr && sysv) backend->unlink(shape);
}

}  // namespace muster::bench
