#include "instructions.hpp"

#include <unistd.h>
#include <random>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_TOGGLE_COLLECT (void)0
#endif

namespace muster::bench {

void run_instructions(Backend* backend, const std::string& workload, std::uint64_t operations) {
    constexpr std::size_t kDepth = 10;
    const Shape shape{"muster-bench-" + std::to_string(getpid()), kDepth, workload == "W5" ? std::size_t{16} : std::size_t{64}};
    std::vector<std::uint16_t> priorities(65'521, 0);
    if (workload == "W5") {
        std::mt19937 random(20'240'501);
        for (std::uint16_t& p : priorities) p = static_cast<std::uint16_t>(random() % 32'768);
    } else if (workload != "W1" && workload != "W3") {
        throw Failure("--instructions wants W1, W3 or W5");
    }
    if (backend == nullptr && workload != "W1") throw Failure("copy-only knows W1 alone");
    const auto queue = backend != nullptr ? backend->create(shape) : make_copy_only_queue();
    if (backend != nullptr) backend->unlink(shape.name);
    Buffers buffers(shape.message_bytes);
    if (backend != nullptr) queue->fill_and_drain(buffers, priorities, kDepth);  // first touches are not counted

    CALLGRIND_TOGGLE_COLLECT;
    if (workload == "W1")
        queue->pairs(buffers, operations);
    else
        for (std::uint64_t done = 0; done < operations; done += kDepth) queue->fill_and_drain(buffers, priorities, kDepth);
    CALLGRIND_TOGGLE_COLLECT;
}

}  // namespace muster::bench
