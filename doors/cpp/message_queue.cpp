#include "muster/message_queue.hpp"
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include "implementation.hpp"
#include "objects/queue.hpp"
#include "platform/fault_copy.hpp"
#include "platform/file.hpp"
#include "platform/signals.hpp"

namespace muster {

struct MessageQueue::Implementation {
    objects::Queue queue;  // first: the engine's callbacks find the rest from it
    std::string name;
    Domain domain;
    platform::File file;
    std::atomic<int> fifo{-1};
    explicit Implementation(std::string queue_name, Domain queue_domain) : name(std::move(queue_name)), domain(std::move(queue_domain)) {}
    ~Implementation() {
        const int opened = fifo.load(std::memory_order_acquire);
        if (opened < 0) return;
        platform::close_file(opened);
        if (queue.object().removed.load_acquire() != 0) objects::remove_idle_fifo(domain.implementation()->domain, queue.object());
    }
};

namespace {

using cpp::make_error;

// "mq/jobs" for "/jobs".
Result<std::string> object_name(std::string_view name) {
    const std::string shown(name);
    if (name.empty() || name[0] != '/') return Error(EINVAL, shown, "a queue's name begins with a slash, as in \"/jobs\"");
    const std::string_view rest = name.substr(1);
    if (rest.size() > 255) return Error(ENAMETOOLONG, shown.substr(0, 40) + "...", "a name has at most 255 bytes after its slash");
    if (rest.empty()) return Error(ENOENT, shown, "the slash alone is no name; write \"/jobs\"");
    if (rest.find('\0') != std::string_view::npos) return Error(EINVAL, shown, "a name holds no zero byte");
    if (rest.find('/') != std::string_view::npos || rest == "." || rest == "..")
        return Error(EACCES, shown, "a name has one slash, its first character, and is not \"/.\" or \"/..\"");
    return "mq/" + std::string(rest);
}

// The engine's fault with the queue's name, and what to do about it.
Error explain(const platform::Fault& fault, const std::string& name) {
    switch (fault.errno_value) {
        case ENOENT: return make_error(ENOENT, name, "there is no queue of that name in the domain; create it first");
        case EEXIST: return make_error(EEXIST, name, "there is a queue of that name already; open it, or choose another name");
        case EACCES: return make_error(EACCES, name, fault.rule != nullptr ? fault.rule : "the queue's mode keeps this user out; its owner can change that");
        case ENOSPC: return make_error(ENOSPC, name, "the domain's file system is full; remove objects or enlarge the tmpfs");
        case EMFILE: return make_error(EMFILE, name, "this process has too many descriptors open (ulimit -n)");
        default: return make_error(fault, name);
    }
}

platform::ThreadState& this_thread() {
    platform::install_fault_handlers();
    return platform::current_thread();
}

// The FIFO that stands for the queue in event loops; the first to open it is the one whose descriptor stays. Negated errno.
int open_fifo(MessageQueue::Implementation& self, bool create) {
    int known = self.fifo.load(std::memory_order_acquire);
    if (known >= 0) return known;
    const int opened = objects::open_fifo(self.domain.implementation()->domain, self.queue, create);
    if (opened < 0 || self.fifo.compare_exchange_strong(known, opened, std::memory_order_acq_rel)) return opened;
    platform::close_file(opened);
    return known;
}

// Called by the engine when another process polls and its tokens must be kept.
int open_fifo_to_tell(objects::Queue& queue) {
    const int opened = open_fifo(*reinterpret_cast<MessageQueue::Implementation*>(&queue), false);
    if (opened >= 0) queue.set_fifo(opened);
    return opened >= 0 ? opened : -1;
}

Result<std::unique_ptr<MessageQueue::Implementation>> open_existing(const Domain& domain, const std::string& shown, const std::string& path) {
    auto self = std::make_unique<MessageQueue::Implementation>(shown, domain);
    auto file = domain.implementation()->domain.open_object(path.c_str());
    if (!file) return explain(file.fault(), shown);
    if (auto opened = self->queue.open(file->fd()); !opened) return make_error(opened.fault(), shown);
    if (!self->queue.permission().allows(objects::kMayRead | objects::kMayWrite)) return explain({EACCES}, shown);
    self->file = std::move(*file);
    self->queue.set_fifo_opener(&open_fifo_to_tell);
    return self;
}

Result<std::unique_ptr<MessageQueue::Implementation>> create_new(const Domain& domain, const std::string& shown, const std::string& path,
                                                                 const QueueOptions& options) {
    const objects::Domain& core = domain.implementation()->domain;
    const objects::DomainLimits limits = core.limits();
    if (options.messages_max == 0 || options.messages_max > limits.msg_max)
        return make_error(EINVAL, shown, "the capacity must be at least 1 and at most the domain's limit msg_max");
    if (options.message_size_bytes_max == 0 || options.message_size_bytes_max > limits.msgsize_max)
        return make_error(EINVAL, shown, "the message size must be at least 1 byte and at most the domain's limit msgsize_max");
    if (auto made = core.ensure_directory("mq"); !made) return explain(made.fault(), shown);
    if (limits.queues_max < 1'000'000 && core.count("mq") >= limits.queues_max) return make_error(ENOSPC, shown, "the domain has as many queues as its limit queues_max allows");
    auto self = std::make_unique<MessageQueue::Implementation>(shown, domain);
    objects::QueueOptions engine{options.messages_max, options.message_size_bytes_max, 0};
    auto file = core.create_nameless(options.mode, &engine.mode);
    if (!file) return explain(file.fault(), shown);
    if (auto created = self->queue.create(file->fd(), engine); !created) return explain(created.fault(), shown);
    self->queue.publish_ready();
    if (auto published = core.publish(file->fd(), path.c_str()); !published) return explain(published.fault(), shown);
    self->file = std::move(*file);
    self->queue.set_fifo_opener(&open_fifo_to_tell);
    return self;
}

objects::Patience patience_for(Deadline deadline) { return {deadline.nanoseconds(), -1, nullptr}; }

}  // namespace

MessageQueue::MessageQueue(std::unique_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
MessageQueue::MessageQueue(MessageQueue&&) noexcept = default;
MessageQueue& MessageQueue::operator=(MessageQueue&&) noexcept = default;
MessageQueue::~MessageQueue() = default;

Result<MessageQueue> MessageQueue::create(const Domain& domain, std::string_view name, const QueueOptions& options) {
    this_thread();
    auto path = object_name(name);
    if (!path) return path.error();
    auto made = create_new(domain, std::string(name), *path, options);
    if (!made) return made.error();
    return MessageQueue(std::move(*made));
}

Result<MessageQueue> MessageQueue::open(const Domain& domain, std::string_view name) {
    this_thread();
    auto path = object_name(name);
    if (!path) return path.error();
    auto opened = open_existing(domain, std::string(name), *path);
    if (!opened) return opened.error();
    return MessageQueue(std::move(*opened));
}

Result<MessageQueue> MessageQueue::open_or_create(const Domain& domain, std::string_view name, const QueueOptions& options) {
    for (;;) {  // somebody may make or remove it between our two tries
        auto opened = open(domain, name);
        if (opened || opened.error().errno_value() != ENOENT || name == "/") return opened;
        auto made = create(domain, name, options);
        if (made || made.error().errno_value() != EEXIST) return made;
    }
}

Result<> MessageQueue::remove(const Domain& domain, std::string_view name) {
    auto path = object_name(name);
    if (!path) return path.error();
    if (auto removed = objects::remove_queue(domain.implementation()->domain, path->c_str()); !removed) return explain(removed.fault(), std::string(name));
    return ok();
}

Result<MessageQueue> MessageQueue::create(std::string_view name, const QueueOptions& options) {
    auto domain = Domain::open_default();
    if (!domain) return domain.error();
    return create(*domain, name, options);
}
Result<MessageQueue> MessageQueue::open(std::string_view name) {
    auto domain = Domain::open_default();
    if (!domain) return domain.error();
    return open(*domain, name);
}
Result<MessageQueue> MessageQueue::open_or_create(std::string_view name, const QueueOptions& options) {
    auto domain = Domain::open_default();
    if (!domain) return domain.error();
    return open_or_create(*domain, name, options);
}
Result<> MessageQueue::remove(std::string_view name) {
    auto domain = Domain::open_default();
    if (!domain) return domain.error();
    return remove(*domain, name);
}

Result<> MessageQueue::send(std::span<const std::byte> message, std::uint32_t priority, Deadline deadline) {
    auto sent = implementation_->queue.send(this_thread(), implementation_->file.fd(), message.data(), message.size(), priority, patience_for(deadline));
    if (!sent) return explain(sent.fault(), implementation_->name);
    return ok();
}

Result<> MessageQueue::send(std::string_view message, std::uint32_t priority, Deadline deadline) {
    return send(std::as_bytes(std::span<const char>(message.data(), message.size())), priority, deadline);
}

Result<Received> MessageQueue::receive(std::span<std::byte> buffer, Deadline deadline) {
    auto received = implementation_->queue.receive(this_thread(), implementation_->file.fd(), buffer.data(), buffer.size(), patience_for(deadline));
    if (!received) return explain(received.fault(), implementation_->name);
    return Received{received->length, static_cast<std::uint32_t>(received->priority)};
}

Result<Message> MessageQueue::receive(Deadline deadline) {
    Message message;
    message.bytes.resize(implementation_->queue.message_bytes_max());
    auto received = receive(std::span<std::byte>(message.bytes), deadline);
    if (!received) return received.error();
    message.bytes.resize(received->size_bytes);
    message.priority = received->priority;
    return message;
}

namespace {
// Copies messages that peek() shows; stops at a fault.
struct Collector {
    std::vector<Message> messages;
    bool faulted = false;
    static bool visit(void* self, const std::byte* bytes, std::size_t length, std::uint64_t priority) {
        auto& collector = *static_cast<Collector*>(self);
        Message message{std::vector<std::byte>(length), static_cast<std::uint32_t>(priority)};
        collector.faulted = !platform::fault_copy(platform::current_thread(), message.bytes.data(), bytes, length);
        if (!collector.faulted) collector.messages.push_back(std::move(message));
        return !collector.faulted;
    }
};
}  // namespace

Result<Message> MessageQueue::peek() {
    Collector collector;
    auto peeked = implementation_->queue.peek(this_thread(), implementation_->file.fd(), false, &Collector::visit, &collector);
    if (!peeked) return explain(peeked.fault(), implementation_->name);
    if (collector.faulted) return make_error(EBADMSG, implementation_->name, "the message's memory is gone");
    return std::move(collector.messages.front());
}

Result<std::vector<Message>> MessageQueue::peek_all() {
    Collector collector;
    auto peeked = implementation_->queue.peek(this_thread(), implementation_->file.fd(), true, &Collector::visit, &collector);
    if (!peeked && peeked.fault().errno_value != EAGAIN) return explain(peeked.fault(), implementation_->name);
    if (collector.faulted) return make_error(EBADMSG, implementation_->name, "a message's memory is gone");
    return std::move(collector.messages);
}

Result<int> MessageQueue::fd() {
    Implementation& self = *implementation_;
    const int fifo = open_fifo(self, true);
    if (fifo < 0) return explain({-fifo, "the queue's FIFO cannot be opened"}, self.name);
    if (auto started = self.queue.start_polling(this_thread(), self.file.fd(), fifo, false); !started) return explain(started.fault(), self.name);
    return fifo;
}

Result<QueueStatus> MessageQueue::status() const {
    const Implementation& self = *implementation_;
    struct stat file {};
    if (const int rc = platform::file_status(self.file.fd(), &file); rc < 0) return make_error(-rc, self.name, nullptr);
    objects::QueueState state = self.queue.state();
    state.messages = implementation_->queue.count_settled(this_thread(), self.file.fd());
    const objects::Permission permission = self.queue.permission();
    const auto at = [](std::uint64_t ns) { return std::chrono::system_clock::time_point(std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::nanoseconds(ns))); };
    QueueStatus status{};
    status.messages = state.messages;
    status.messages_max = state.messages_max;
    status.message_size_bytes_max = state.message_bytes_max;
    status.bytes_allocated = static_cast<std::uint64_t>(file.st_blocks) * 512;
    status.receivers_waiting = state.receivers_waiting;
    status.senders_waiting = state.senders_waiting;
    status.owner_uid = permission.owner_uid;
    status.owner_gid = permission.owner_gid;
    status.mode = permission.mode;
    status.created = at(state.created_ns);
    status.last_send_pid = static_cast<std::int32_t>(state.last_send_pid);
    status.last_receive_pid = static_cast<std::int32_t>(state.last_receive_pid);
    status.notify_pid = static_cast<std::int32_t>(state.notify_pid);
    return status;
}

Result<std::vector<QueueWaiter>> MessageQueue::waiters() const {
    struct Seen {
        std::vector<objects::Queue::Sleeper> sleepers;
        static void add(void* context, const objects::Queue::Sleeper& sleeper) {
            auto& list = static_cast<Seen*>(context)->sleepers;
            if (list.size() < list.capacity()) list.push_back(sleeper);
        }
    } seen;
    seen.sleepers.reserve(4096);  // filled while the queue is locked, when nothing may be allocated
    auto looked = implementation_->queue.look_at_sleepers(this_thread(), implementation_->file.fd(), &Seen::add, &seen);
    if (!looked) return explain(looked.fault(), implementation_->name);
    std::sort(seen.sleepers.begin(), seen.sleepers.end(), [](const auto& a, const auto& b) { return a.ticket < b.ticket; });
    std::vector<QueueWaiter> waiters;
    for (const auto& sleeper : seen.sleepers)
        waiters.push_back({static_cast<std::int32_t>(sleeper.process_id), static_cast<std::int32_t>(sleeper.thread_id), sleeper.sends,
                           std::chrono::system_clock::time_point(std::chrono::nanoseconds(sleeper.since_ns))});
    return waiters;
}

std::size_t MessageQueue::message_size_bytes_max() const { return implementation_->queue.message_bytes_max(); }
const std::string& MessageQueue::name() const { return implementation_->name; }

}  // namespace muster
