#include "muster/typed_queue.hpp"
#include <sys/ipc.h>
#include <algorithm>
#include <atomic>
#include "objects/queue.hpp"
#include "platform/fault_copy.hpp"
#include "platform/process.hpp"
#include "system_v.hpp"

namespace muster {
using cpp::this_thread;
using objects::kMayRead;
using objects::kMayWrite;
using objects::SysvKind;
using platform::Fault;

struct TypedQueue::Implementation {
    objects::Queue queue;  // first: the engine's callbacks find the rest from it
    cpp::SystemV& system;
    Domain domain;
    std::int32_t id = -1;
    Key key = Key::none();
    std::string name = "msg";
    std::atomic<int> fifo{-1};
    std::atomic<std::uint64_t> rights{0};  // permission changes << 4 | what is allowed | 1

    explicit Implementation(const Domain& its_domain) : system(cpp::system_v(its_domain)), domain(its_domain) {}
    ~Implementation() {
        const int opened = fifo.load(std::memory_order_acquire);
        if (opened < 0) return;
        platform::File{opened};  // closes it
        if (!live()) objects::remove_idle_fifo(domain.implementation()->domain, queue.object());
    }
    void entered(std::int32_t identifier) {
        id = identifier;
        key = Key(static_cast<std::int32_t>(queue.object().key.load_relaxed()));
        name = cpp::object_name(SysvKind::msg, key, id);
        queue.set_fifo_opener(&open_fifo_to_tell);
    }
    bool live() const { return objects::SysvRegistry::is_live(queue.object(), id); }

    // What this user may do, asked anew when the owner has changed it. Errors: EIDRM, EACCES.
    platform::Outcome<> may(std::uint32_t wanted) {
        if (!live()) return Fault{EIDRM};
        const std::uint64_t changes = static_cast<std::uint64_t>(queue.permission_changes()) << 4 | 1;
        std::uint64_t known = rights.load(std::memory_order_relaxed);
        if ((known & ~std::uint64_t{14}) != changes) {
            const objects::Permission permission = queue.permission();
            known = changes | (permission.allows(kMayRead) ? kMayRead : 0) | (permission.allows(kMayWrite) ? kMayWrite : 0);
            rights.store(known, std::memory_order_relaxed);
        }
        if ((wanted & ~known) != 0) return Fault{EACCES};
        return platform::done();
    }
    Error error(Fault fault) const {
        if (fault.errno_value == EBADMSG && !live()) fault = Fault{EIDRM};
        return cpp::explain(fault, name, "message queue");
    }

    // The one FIFO of this object; of two threads that open it at once the second closes its own. A negated errno value.
    int open_fifo(bool create) {
        int known = fifo.load(std::memory_order_acquire);
        if (known >= 0) return known;
        const int opened = objects::open_fifo(domain.implementation()->domain, queue, create);
        if (opened < 0 || fifo.compare_exchange_strong(known, opened, std::memory_order_acq_rel)) return opened;
        platform::File{opened};
        return known;
    }
    // Called by the engine when somebody polls and the FIFO's tokens must be kept.
    static int open_fifo_to_tell(objects::Queue& polled) {
        const int opened = reinterpret_cast<Implementation&>(polled).open_fifo(false);
        if (opened >= 0) polled.set_fifo(opened);
        return opened < 0 ? -1 : opened;
    }
};

namespace {

constexpr Fault kNone{ENOENT};

objects::Patience patience_for(Deadline deadline) { return {deadline.nanoseconds(), -1, nullptr}; }

bool is_sound(Selector selector) { return selector.kind() == Selector::Kind::any || selector.value() >= 1; }
objects::Selector inner(Selector selector) {
    const auto type = static_cast<std::uint64_t>(selector.value());
    switch (selector.kind()) {
        case Selector::Kind::type: return {objects::Selector::equal, type};
        case Selector::Kind::except: return {objects::Selector::not_equal, type};
        case Selector::Kind::up_to: return {objects::Selector::lowest, type};
        default: return {objects::Selector::any, 0};
    }
}
Selector outer(const objects::Selector& selector) {
    const auto type = static_cast<std::int64_t>(selector.type);
    switch (selector.kind) {
        case objects::Selector::equal: return Selector::type(type);
        case objects::Selector::not_equal: return Selector::except(type);
        case objects::Selector::lowest: return Selector::up_to(type);
        default: return Selector::any();
    }
}

constexpr Fault kNoSuchSelector{EINVAL, "a type is 1 or more"};

}  // namespace

TypedQueue::TypedQueue(std::unique_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
TypedQueue::TypedQueue(TypedQueue&&) noexcept = default;
TypedQueue& TypedQueue::operator=(TypedQueue&&) noexcept = default;
TypedQueue::~TypedQueue() = default;

// ---- making and opening ----

Result<TypedQueue> TypedQueue::create(const Domain& domain, Key key, const TypedQueueOptions& options) {
    this_thread();
    auto self = std::make_unique<Implementation>(domain);
    const std::string shown = key.is_none() ? "msg" : cpp::object_name(SysvKind::msg, key, 0);
    const auto place = [](void* context) { return &static_cast<Implementation*>(context)->queue; };
    auto made = objects::get_typed(self->system.domain->domain, self->system.registry, static_cast<std::uint32_t>(key.value()),
                                   IPC_CREAT | IPC_EXCL | static_cast<int>(options.mode & 0777), place, self.get());
    if (!made) return cpp::explain(made.fault(), shown, "message queue");
    self->entered(made->id);
    return TypedQueue(std::move(self));
}

Result<TypedQueue> TypedQueue::open(const Domain& domain, std::int32_t identifier) {
    this_thread();
    auto self = std::make_unique<Implementation>(domain);
    const std::string shown = cpp::object_name(SysvKind::msg, Key::none(), identifier);
    auto file = self->system.registry.open(SysvKind::msg, identifier);
    if (!file) return cpp::explain(file.fault().errno_value == EINVAL ? kNone : file.fault(), shown, "message queue");
    if (auto opened = objects::open_typed(self->queue, *file, self->system.registry); !opened)
        return cpp::explain(opened.fault().errno_value == EIDRM ? kNone : opened.fault(), shown, "message queue");
    self->entered(identifier);
    const objects::Permission permission = self->queue.permission();
    if (!permission.allows(kMayRead) && !permission.allows(kMayWrite) && !permission.owned_by_us()) return self->error({EACCES});
    return TypedQueue(std::move(self));
}

Result<TypedQueue> TypedQueue::open(const Domain& domain, Key key) {
    if (key.is_none()) return Error(EINVAL, "msg", "queues without a key are opened by their identifier");
    for (int tries = 0; tries < 100; ++tries) {  // it may be removed between our two steps
        auto found = domain.identifier(ObjectKind::typed_queue, key);
        if (!found) return cpp::explain(Fault{found.error().errno_value()}, cpp::object_name(SysvKind::msg, key, 0), "message queue");
        auto opened = open(domain, *found);
        if (opened || !(opened.error() == ENOENT)) return opened;
    }
    return cpp::explain(kNone, cpp::object_name(SysvKind::msg, key, 0), "message queue");
}

Result<TypedQueue> TypedQueue::open_or_create(const Domain& domain, Key key, const TypedQueueOptions& options) {
    if (key.is_none()) return create(domain, key, options);
    for (;;) {  // somebody may make or remove it between our two tries
        auto opened = open(domain, key);
        if (opened || !(opened.error() == ENOENT)) return opened;
        auto made = create(domain, key, options);
        if (made || !(made.error() == EEXIST)) return made;
    }
}

std::int32_t TypedQueue::identifier() const { return implementation_->id; }
Key TypedQueue::key() const { return implementation_->key; }
const std::string& TypedQueue::name() const { return implementation_->name; }
std::size_t TypedQueue::message_size_bytes_max() const { return implementation_->queue.message_bytes_max(); }

// ---- messages ----

Result<> TypedQueue::send(std::span<const std::byte> message, std::int64_t type, Deadline deadline) {
    Implementation& self = *implementation_;
    if (type < 1) return self.error(kNoSuchSelector);
    if (message.size() > self.queue.message_bytes_max())
        return self.error({EINVAL, "the message is longer than the queue takes (the domain's limit msgmax when it was made)"});
    if (auto allowed = self.may(kMayWrite); !allowed) return self.error(allowed.fault());
    auto sent = self.queue.send_typed(this_thread(), message.data(), message.size(), static_cast<std::uint64_t>(type), patience_for(deadline));
    if (sent) return ok();
    if (sent.fault().errno_value == EAGAIN)
        return self.error({EAGAIN, "the queue has no room for the message; wait, receive some, or raise its bytes"});
    return self.error(sent.fault());
}

Result<> TypedQueue::send(std::string_view message, std::int64_t type, Deadline deadline) {
    return send(std::as_bytes(std::span<const char>(message.data(), message.size())), type, deadline);
}

Result<TypedReceived> TypedQueue::receive(std::span<std::byte> buffer, Selector selector, Deadline deadline, bool truncate) {
    Implementation& self = *implementation_;
    if (!is_sound(selector)) return self.error(kNoSuchSelector);
    if (auto allowed = self.may(kMayRead); !allowed) return self.error(allowed.fault());
    std::int64_t type = 0;
    const objects::TypedBuffer to{{buffer.data()}, buffer.size(), inner(selector), truncate, &type};
    auto received = self.queue.receive_typed(this_thread(), to, patience_for(deadline));
    if (received) return TypedReceived{received->length, type};
    if (received.fault().errno_value == EAGAIN) return self.error({EAGAIN, "no message matches now; wait, or try again later"});
    return self.error(received.fault());
}

Result<TypedMessage> TypedQueue::receive(Selector selector, Deadline deadline) {
    TypedMessage message{std::vector<std::byte>(implementation_->queue.message_bytes_max()), 0};
    auto received = receive(std::span<std::byte>(message.bytes), selector, deadline);
    if (!received) return received.error();
    message.bytes.resize(received->size_bytes);
    message.type = received->type;
    return message;
}

namespace {
// Copies messages that peek() shows, oldest first; stops at a fault.
struct Collector {
    std::vector<TypedMessage> messages;
    bool faulted = false;
    static bool visit(void* self, const std::byte* bytes, std::size_t length, std::uint64_t type) {
        auto& collector = *static_cast<Collector*>(self);
        TypedMessage message{std::vector<std::byte>(length), static_cast<std::int64_t>(type)};
        collector.faulted = !platform::fault_copy(platform::current_thread(), message.bytes.data(), bytes, length);
        if (!collector.faulted) collector.messages.push_back(std::move(message));
        return !collector.faulted;
    }
};
}  // namespace

Result<std::vector<TypedMessage>> TypedQueue::peek_all() {
    Implementation& self = *implementation_;
    if (auto allowed = self.may(kMayRead); !allowed) return self.error(allowed.fault());
    Collector collector;
    auto peeked = self.queue.peek(this_thread(), -1, true, &Collector::visit, &collector);
    if (!peeked && peeked.fault().errno_value != EAGAIN) return self.error(peeked.fault());
    if (collector.faulted) return self.error({EBADMSG, "a message's memory is gone"});
    return std::move(collector.messages);
}

Result<TypedMessage> TypedQueue::peek(Selector selector) {
    if (!is_sound(selector)) return implementation_->error(kNoSuchSelector);
    auto all = peek_all();
    if (!all) return all.error();
    const objects::Selector wanted = inner(selector);
    TypedMessage* found = nullptr;
    for (TypedMessage& message : *all) {
        if (!wanted.matches(static_cast<std::uint64_t>(message.type))) continue;
        if (found == nullptr || (wanted.kind == objects::Selector::lowest && message.type < found->type)) found = &message;
        if (wanted.kind != objects::Selector::lowest) break;
    }
    if (found == nullptr) return implementation_->error({EAGAIN, "no message matches now"});
    return std::move(*found);
}

// ---- looking and changing ----

Result<int> TypedQueue::fd() {
    Implementation& self = *implementation_;
    if (!self.live()) return self.error({EIDRM});
    const int fifo = self.open_fifo(true);
    if (fifo < 0) return self.error({-fifo, "the queue's FIFO cannot be opened"});
    if (auto started = self.queue.start_polling(this_thread(), -1, fifo, false); !started) return self.error(started.fault());
    return fifo;
}

Result<> TypedQueue::set_bytes_max(std::uint64_t bytes_max) {
    Implementation& self = *implementation_;
    if (!self.queue.permission().owned_by_us()) return self.error({EPERM});
    if (bytes_max > objects::SysvLimits::of(self.system.domain->domain).msgmnb && !platform::may_exceed_limits())
        return Error(EPERM, self.name, "more than the domain's limit msgmnb needs CAP_SYS_RESOURCE; raise the limit, or ask root");
    const auto nothing_else = [](void*, memory::ObjectHeader&) { return platform::Outcome<>(platform::done()); };
    if (auto changed = self.queue.change(this_thread(), nothing_else, nullptr, bytes_max); !changed) return self.error(changed.fault());
    return ok();
}

Result<TypedQueueStatus> TypedQueue::status() const {
    Implementation& self = *implementation_;
    if (auto allowed = self.may(kMayRead); !allowed) return self.error(allowed.fault());
    auto state = self.queue.typed_state(this_thread());
    if (!state) return self.error(state.fault());
    const objects::Permission permission = self.queue.permission();
    TypedQueueStatus status{};
    status.messages = state->messages;
    status.bytes = state->bytes;
    status.bytes_max = state->bytes_max;
    status.message_size_bytes_max = self.queue.message_bytes_max();
    if (auto info = self.domain.find(ObjectKind::typed_queue, self.id)) status.bytes_allocated = info->bytes_allocated;
    status.receivers_waiting = state->receivers_waiting;
    status.senders_waiting = state->senders_waiting;
    status.owner_uid = permission.owner_uid;
    status.owner_gid = permission.owner_gid;
    status.creator_uid = permission.creator_uid;
    status.creator_gid = permission.creator_gid;
    status.mode = permission.mode;
    status.last_send_pid = static_cast<std::int32_t>(state->last_send_pid);
    status.last_receive_pid = static_cast<std::int32_t>(state->last_receive_pid);
    status.created = cpp::time_of_ns(self.queue.object().created_ns);
    status.last_send = cpp::time_of_s(state->sent_s);
    status.last_receive = cpp::time_of_s(state->received_s);
    status.last_change = cpp::time_of_s(state->changed_s);
    return status;
}

Result<std::vector<TypedQueueWaiter>> TypedQueue::waiters() const {
    Implementation& self = *implementation_;
    if (auto allowed = self.may(kMayRead); !allowed) return self.error(allowed.fault());
    std::vector<objects::Queue::Sleeper> sleepers;
    sleepers.reserve(4096);  // filled while the queue is locked, when nothing may be allocated
    const auto visit = [](void* context, const objects::Queue::Sleeper& sleeper) {
        auto& list = *static_cast<std::vector<objects::Queue::Sleeper>*>(context);
        if (list.size() < list.capacity()) list.push_back(sleeper);
    };
    if (auto looked = self.queue.look_at_sleepers(this_thread(), -1, visit, &sleepers); !looked) return self.error(looked.fault());
    std::sort(sleepers.begin(), sleepers.end(), [](const auto& a, const auto& b) { return a.ticket < b.ticket; });
    std::vector<TypedQueueWaiter> waiters;
    waiters.reserve(sleepers.size());
    for (const auto& sleeper : sleepers)
        waiters.push_back({static_cast<std::int32_t>(sleeper.process_id), static_cast<std::int32_t>(sleeper.thread_id), sleeper.sends,
                           outer(sleeper.selector), cpp::time_of_ns(sleeper.since_ns)});
    return waiters;
}

Result<> TypedQueue::remove() {
    Implementation& self = *implementation_;
    if (!self.queue.permission().owned_by_us()) return self.error({EPERM});
    if (auto removed = self.queue.remove(this_thread(), &objects::SysvRegistry::mark_removed); !removed) return self.error(removed.fault());
    self.system.registry.remove_names(SysvKind::msg, self.id, static_cast<std::uint32_t>(self.key.value()));
    return ok();
}

}  // namespace muster
