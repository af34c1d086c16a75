// SOURCE msgget(2).
#include "process_domain.hpp"
#include "sysv_msg.hpp"

MUSTER_EXPORT int msgget(key_t key, int flags) noexcept {
    using namespace muster;
    using namespace muster::capi;
    const int saved = errno;
    auto domain = process_domain(true);
    if (!domain) return fail_msg(domain.fault().errno_value);
    OpenMessages* made = nullptr;
    const auto place = [](void* context) -> objects::Queue* {
        auto& record = *static_cast<OpenMessages**>(context);
        if (record == nullptr) record = message_table.make();
        else unmap_queue(record->object);  // the one before lost its key to somebody else's
        return record != nullptr ? &record->object : nullptr;
    };
    auto found = objects::get_typed(**domain, registry_of(**domain), static_cast<std::uint32_t>(key), flags, place, &made);
    if (found && found->created && made != nullptr) {
        tell_pollers_of(made->object);
        message_table.enter(made, found->id);
    } else {
        message_table.discard(made);
    }
    if (!found) return fail_msg(found.fault().errno_value);
    errno = saved;
    return found->id;
}
