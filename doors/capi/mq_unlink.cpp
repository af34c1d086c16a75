// SOURCE mq_unlink(3).
#include "mq.hpp"
#include "notify.hpp"
#include "process_domain.hpp"

MUSTER_EXPORT int mq_unlink(const char* name) {
    using namespace muster;
    platform::ThreadState& thread = platform::current_thread();
    capi::QueueName path;
    if (const int wrong = capi::queue_name(thread, name, path); wrong != 0) return capi::fail(wrong);
    auto domain = capi::process_domain(false);
    if (!domain) return capi::fail(domain.fault().errno_value == ENOTDIR ? ENOENT : domain.fault().errno_value);
    if (auto removed = objects::remove_queue(**domain, path.path); !removed) return capi::fail(removed.fault().errno_value);
    return 0;
}
