// SOURCE msgget(2).
#include "process_domain.hpp"
#include "sysv_msg.hpp"

namespace muster::capi {
namespace {

// More messages than msgmnb allows, so that msg_qbytes can be raised later; addresses, not memory.
constexpr std::uint64_t kMessagesLeast = 32768;
constexpr std::uint64_t kMessagesMost = 1 << 20;
constexpr std::uint64_t kLongMessage = 64 << 10;
constexpr std::uint64_t kLongMessagesMost = 4096;

struct Wanted {
    OpenMessages* made;
    const objects::SysvLimits* limits;
    const objects::SysvRegistry* registry;
    unsigned mode;
    platform::File slots;
};

platform::Outcome<memory::ObjectHeader*> build(void* context, int fd) {
    auto* wanted = static_cast<Wanted*>(context);
    if (wanted->made == nullptr) wanted->made = message_table.make();
    if (wanted->made == nullptr) return platform::Fault{ENOMEM};
    objects::QueueOptions options{};
    options.face = objects::QueueFace::types;
    options.bytes_max = wanted->limits->msgmnb;
    options.message_bytes_max = wanted->limits->msgmax < 1 ? 1 : wanted->limits->msgmax < kMessageBytesMax ? wanted->limits->msgmax : kMessageBytesMax;
    options.messages_max = options.bytes_max < kMessagesLeast ? kMessagesLeast : options.bytes_max < kMessagesMost ? options.bytes_max : kMessagesMost;
    if (options.message_bytes_max > kLongMessage) options.messages_max = kLongMessagesMost;
    auto slots = wanted->registry->create_nameless();
    if (!slots) return slots.fault();
    wanted->slots = std::move(*slots);
    if (const unsigned mode = objects::SysvRegistry::companion_mode(objects::SysvKind::msg, wanted->mode); mode != 0600)
        if (const int rc = platform::change_mode(wanted->slots.fd(), mode); rc < 0) return platform::Fault{-rc};
    if (auto created = wanted->made->object.create(fd, options, wanted->slots.fd()); !created) return created.fault();
    wanted->made->object.publish_ready();
    return &wanted->made->object.object();
}

}  // namespace
}  // namespace muster::capi

MUSTER_EXPORT int msgget(key_t key, int flags) noexcept {
    using namespace muster;
    using namespace muster::capi;
    const int saved = errno;
    auto domain = process_domain(true);
    if (!domain) return fail_msg(domain.fault().errno_value);
    const objects::SysvLimits limits = objects::SysvLimits::of(**domain);
    objects::SysvRegistry& registry = registry_of(**domain);
    Wanted wanted{nullptr, &limits, &registry, static_cast<unsigned>(flags) & 0777, {}};
    const objects::SysvMaker maker{&build, nullptr, [](void* context) { return static_cast<Wanted*>(context)->slots.fd(); }, &wanted};
    auto found = registry.get(objects::SysvKind::msg, static_cast<std::uint32_t>(key), flags, limits.msgmni, maker);
    if (found && found->created && wanted.made != nullptr) message_table.enter(wanted.made, found->id);
    else message_table.discard(wanted.made);
    if (!found) return fail_msg(found.fault().errno_value);
    errno = saved;
    return found->id;
}
