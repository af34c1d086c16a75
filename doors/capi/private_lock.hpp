// A lock among the threads of this process, for what they seldom do: open and close.
//
// The program's signal handlers wait while it is held, so a handler that opens a queue cannot meet its own
// thread here. A child forked while another thread held it finds it free: the holder does not exist there.
#pragma once
#include <atomic>
#include <cstdint>
#include "platform/syscall.hpp"
#include "platform/thread.hpp"

namespace muster::capi {

class PrivateLock {
public:
    class Hold {
    public:
        explicit Hold(PrivateLock& lock) : lock_(lock), thread_(platform::current_thread()) {
            platform::enter_section(thread_);
            std::uint32_t seen = lock_.holder_generation_.load(std::memory_order_relaxed);
            for (;;) {
                if (seen == thread_.generation) {  // held by a thread of this very process
                    platform::system_call(SYS_sched_yield);
                    seen = lock_.holder_generation_.load(std::memory_order_relaxed);
                } else if (lock_.holder_generation_.compare_exchange_weak(seen, thread_.generation, std::memory_order_acquire)) {
                    return;
                }
            }
        }
        ~Hold() {
            lock_.holder_generation_.store(0, std::memory_order_release);
            platform::leave_section(thread_);
        }
        Hold(const Hold&) = delete;

    private:
        PrivateLock& lock_;
        platform::ThreadState& thread_;
    };

private:
    std::atomic<std::uint32_t> holder_generation_{0};
};

}  // namespace muster::capi
