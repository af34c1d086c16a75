#include "muster/semaphore_set.hpp"
#include <sys/ipc.h>
#include <atomic>
#include <vector>
#include "objects/semaphore_set.hpp"
#include "platform/process.hpp"
#include "system_v.hpp"

namespace muster {
using cpp::this_thread;
using objects::kMayRead;
using objects::kMayWrite;
using objects::SysvKind;
using platform::Fault;
using platform::Outcome;

struct SemaphoreSet::Implementation {
    Implementation(const Domain& its_domain, std::unique_ptr<objects::SemaphoreSet> mapped, std::int32_t identifier)
        : system(cpp::system_v(its_domain)),
          domain(its_domain),
          set(std::move(mapped)),
          id(identifier),
          key(static_cast<std::int32_t>(set->object().key.load_relaxed())),
          name(cpp::object_name(SysvKind::sem, key, id)) {}

    // What this user may do, asked anew when the owner has changed it.
    bool allows(std::uint32_t wanted) {
        const std::uint64_t changes = static_cast<std::uint64_t>(set->permission_changes()) << 4 | 1;
        std::uint64_t known = rights.load(std::memory_order_relaxed);
        if ((known & ~std::uint64_t{14}) != changes) {
            const objects::Permission permission = set->permission();
            known = changes | (permission.allows(kMayRead) ? kMayRead : 0) | (permission.allows(kMayWrite) ? kMayWrite : 0);
            rights.store(known, std::memory_order_relaxed);
        }
        return (wanted & ~known) == 0;
    }
    // The lone operation that needs no lock and no wait; false: by operate().
    bool operate_quickly(std::uint16_t number, int amount) {
        platform::ThreadState& thread = this_thread();
        return number < set->size() && allows(kMayWrite) &&
               set->operate_quickly(number, static_cast<std::int16_t>(amount), platform::process_id_of(thread), platform::realtime_s());
    }
    Error error(Fault fault) const { return cpp::explain(fault, name, "semaphore set"); }

    cpp::SystemV& system;
    Domain domain;
    std::unique_ptr<objects::SemaphoreSet> set;
    std::int32_t id;
    Key key;
    std::string name;
    std::atomic<std::uint64_t> rights{0};  // permission changes << 4 | what is allowed | 1
};

namespace {

constexpr Fault kNone{ENOENT};

struct Making {
    std::span<const std::uint16_t> values;
    objects::SysvRegistry& registry;
    objects::SysvLimits limits;
    std::unique_ptr<objects::SemaphoreSet> set;
};

Outcome<memory::ObjectHeader*> build(void* context, int fd) {
    auto& making = *static_cast<Making*>(context);
    if (making.limits.semmns < objects::SysvLimits{}.semmns &&
        objects::SemaphoreSet::count_all(making.registry) + making.values.size() > making.limits.semmns)
        return Fault{ENOSPC, "the domain's limit of semaphores in all sets is reached (limits/sem)"};
    making.set = std::make_unique<objects::SemaphoreSet>();
    if (auto created = making.set->create(fd, static_cast<std::uint32_t>(making.values.size()), making.values.data()); !created)
        return created.fault();
    making.set->publish_ready();
    return &making.set->object();
}

std::int64_t timeout_of(Deadline deadline) {
    if (deadline.nanoseconds() < 0) return platform::kForever;
    if (deadline.nanoseconds() == 0) return 0;
    const std::int64_t rest = deadline.nanoseconds() - platform::realtime_ns();
    return rest > 0 ? rest : 0;
}

// What the engine calls EAGAIN is one thing to who did not want to wait, and another to who waited long enough.
Fault after_waiting(Fault fault, Deadline deadline) {
    if (fault.errno_value != EAGAIN) return fault;
    if (deadline.nanoseconds() == 0) return {EAGAIN, "the semaphores do not allow it now; wait, or try again later"};
    return {ETIMEDOUT, "the semaphores did not allow it in time"};
}

}  // namespace

SemaphoreSet::SemaphoreSet(std::shared_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
SemaphoreSet::SemaphoreSet(SemaphoreSet&&) noexcept = default;
SemaphoreSet& SemaphoreSet::operator=(SemaphoreSet&&) noexcept = default;
SemaphoreSet::~SemaphoreSet() = default;

// ---- making and opening ----

Result<SemaphoreSet> SemaphoreSet::create(const Domain& domain, Key key, std::span<const std::uint16_t> values,
                                          const SemaphoreSetOptions& options) {
    this_thread();
    const std::string shown = key.is_none() ? "sem" : cpp::object_name(SysvKind::sem, key, 0);
    cpp::SystemV& system = cpp::system_v(domain);
    Making making{values, system.registry, objects::SysvLimits::of(system.domain->domain), {}};
    if (values.empty() || values.size() > making.limits.semmsl || values.size() > 65535)
        return Error(EINVAL, shown,
                     "a set has at least one semaphore and at most as many as the domain's limit allows (limits/sem, 32000)");
    for (const std::uint16_t value : values)
        if (value > kValueMax) return Error(ERANGE, shown, "a semaphore's value is 0 to 32767");
    const int flags = IPC_CREAT | IPC_EXCL | static_cast<int>(options.mode & 0777);
    auto made = system.registry.get(SysvKind::sem, static_cast<std::uint32_t>(key.value()), flags, making.limits.semmni,
                                    objects::SysvMaker{&build, nullptr, nullptr, &making});
    if (!made) return cpp::explain(made.fault(), shown, "semaphore set");
    return SemaphoreSet(std::make_shared<Implementation>(domain, std::move(making.set), made->id));
}

Result<SemaphoreSet> SemaphoreSet::open(const Domain& domain, std::int32_t identifier) {
    this_thread();
    const std::string shown = cpp::object_name(SysvKind::sem, Key::none(), identifier);
    auto file = cpp::system_v(domain).registry.open(SysvKind::sem, identifier);
    if (!file) return cpp::explain(file.fault().errno_value == EINVAL ? kNone : file.fault(), shown, "semaphore set");
    auto set = std::make_unique<objects::SemaphoreSet>();
    if (auto opened = set->open(file->file.fd()); !opened) return cpp::explain(opened.fault(), shown, "semaphore set");
    auto self = std::make_shared<Implementation>(domain, std::move(set), identifier);
    if (!self->allows(kMayRead) && !self->allows(kMayWrite) && !self->set->permission().owned_by_us())
        return self->error({EACCES});
    return SemaphoreSet(std::move(self));
}

Result<SemaphoreSet> SemaphoreSet::open(const Domain& domain, Key key) {
    this_thread();
    const std::string shown = cpp::object_name(SysvKind::sem, key, 0);
    if (key.is_none()) return Error(EINVAL, "sem", "sets without a key are opened by their identifier");
    for (int tries = 0; tries < 100; ++tries) {
        auto found = cpp::system_v(domain).registry.get(SysvKind::sem, static_cast<std::uint32_t>(key.value()), 0, 0, {});
        if (!found) return cpp::explain(found.fault(), shown, "semaphore set");
        auto opened = open(domain, found->id);
        if (opened) return opened;
        if (!(opened.error() == ENOENT)) return Error(opened.error().errno_value(), shown, opened.error().hint());
    }
    return cpp::explain(kNone, shown, "semaphore set");
}

Result<SemaphoreSet> SemaphoreSet::open_or_create(const Domain& domain, Key key, std::span<const std::uint16_t> values,
                                                  const SemaphoreSetOptions& options) {
    if (key.is_none()) return create(domain, key, values, options);
    for (;;) {  // somebody may make or remove it between our two tries
        auto opened = open(domain, key);
        if (opened && opened->size() < values.size())
            return Error(EINVAL, opened->name(), "the existing set has fewer semaphores");
        if (opened || !(opened.error() == ENOENT)) return opened;
        auto made = create(domain, key, values, options);
        if (made || !(made.error() == EEXIST)) return made;
    }
}

std::uint32_t SemaphoreSet::size() const {
    return implementation_->set->size();
}
std::int32_t SemaphoreSet::identifier() const {
    return implementation_->id;
}
Key SemaphoreSet::key() const {
    return implementation_->key;
}
const std::string& SemaphoreSet::name() const {
    return implementation_->name;
}

// ---- operations ----

Result<> SemaphoreSet::operate(std::span<const SemaphoreOperation> operations, Deadline deadline) {
    Implementation& self = *implementation_;
    platform::ThreadState& thread = this_thread();
    if (operations.empty()) return self.error({EINVAL, "there is no operation to perform"});
    if (operations.size() > kOperationsMax) return self.error({E2BIG, "at most 500 operations go into one call"});
    objects::SemaphoreOp ops[kOperationsMax];
    bool alters = false, undo = false;
    for (std::size_t i = 0; i < operations.size(); ++i) {
        const SemaphoreOperation& wanted = operations[i];
        if (wanted.number >= self.set->size())
            return self.error({EINVAL, "the set has no semaphore of that number; they count from 0"});
        ops[i] = {wanted.number, wanted.amount, static_cast<std::int16_t>(wanted.undo ? 0x1000 : 0)};
        alters = alters || wanted.amount != 0;
        undo = undo || wanted.undo;
    }
    if (!self.allows(alters ? kMayWrite : kMayRead)) return self.error({EACCES});
    const auto count = static_cast<std::uint32_t>(operations.size());
    if (count == 1 && !undo &&
        self.set->operate_quickly(ops[0].number, ops[0].amount, platform::process_id_of(thread), platform::realtime_s()))
        return ok();
    auto done = self.set->operate(thread, ops, count, timeout_of(deadline), self.system.lives);
    if (!done) return self.error(after_waiting(done.fault(), deadline));
    return ok();
}

Result<> SemaphoreSet::wait(std::uint16_t number, std::uint16_t amount, Deadline deadline) {
    if (amount == 0 || amount > kValueMax) return implementation_->error({EINVAL, "an amount is 1 to 32767"});
    if (implementation_->operate_quickly(number, -static_cast<int>(amount))) return ok();
    return operate({{number, static_cast<std::int16_t>(-amount), false}}, deadline);
}
Result<> SemaphoreSet::post(std::uint16_t number, std::uint16_t amount) {
    if (amount == 0 || amount > kValueMax) return implementation_->error({EINVAL, "an amount is 1 to 32767"});
    if (implementation_->operate_quickly(number, amount)) return ok();
    return operate({{number, static_cast<std::int16_t>(amount), false}}, Deadline::never());
}
Result<> SemaphoreSet::wait_zero(std::uint16_t number, Deadline deadline) {
    return operate({{number, 0, false}}, deadline);
}

// ---- Hold ----

Result<SemaphoreSet::Hold> SemaphoreSet::hold(std::uint16_t number, std::uint16_t amount, Deadline deadline) {
    if (amount == 0 || amount > kValueMax) return implementation_->error({EINVAL, "an amount is 1 to 32767"});
    if (auto taken = operate({{number, static_cast<std::int16_t>(-amount), true}}, deadline); !taken) return taken.error();
    return Hold(implementation_, number, amount);
}
Result<SemaphoreSet::Hold> SemaphoreSet::try_hold(std::uint16_t number, std::uint16_t amount) {
    return hold(number, amount, Deadline::now());
}

SemaphoreSet::Hold::Hold(std::shared_ptr<Implementation> implementation, std::uint16_t number, std::uint16_t amount)
    : implementation_(std::move(implementation)),
      number_(number),
      amount_(amount),
      pid_(static_cast<std::int32_t>(platform::process_id())) {}
SemaphoreSet::Hold::Hold(Hold&& o) noexcept
    : implementation_(std::move(o.implementation_)),
      number_(o.number_),
      amount_(std::exchange(o.amount_, std::uint16_t{0})),
      pid_(o.pid_) {}
SemaphoreSet::Hold& SemaphoreSet::Hold::operator=(Hold&& o) noexcept {
    if (this != &o) {
        (void)release();
        implementation_ = std::move(o.implementation_);
        number_ = o.number_;
        amount_ = std::exchange(o.amount_, std::uint16_t{0});
        pid_ = o.pid_;
    }
    return *this;
}
SemaphoreSet::Hold::~Hold() {
    (void)release();
}

Result<> SemaphoreSet::Hold::release() {
    if (amount_ == 0) return ok();
    const bool ours = pid_ == static_cast<std::int32_t>(platform::process_id());
    const objects::SemaphoreOp give{number_, static_cast<std::int16_t>(amount_), 0x1000};
    if (ours)
        if (auto given = implementation_->set->operate(this_thread(), &give, 1, 0, implementation_->system.lives); !given) {
            if (given.fault().errno_value == EIDRM) amount_ = 0;
            return implementation_->error(given.fault());
        }
    amount_ = 0;
    implementation_.reset();
    return ok();
}

// ---- looking and setting ----

namespace {
constexpr Fault kNoSuchNumber{EINVAL, "the set has no semaphore of that number; they count from 0"};
}

Result<std::uint32_t> SemaphoreSet::value(std::uint16_t number) const {
    Implementation& self = *implementation_;
    if (number >= self.set->size()) return self.error(kNoSuchNumber);
    if (!self.allows(kMayRead)) return self.error({EACCES});
    auto got = self.set->value(this_thread(), self.system.lives, number);
    if (!got) return self.error(got.fault());
    return *got;
}

Result<std::vector<std::uint16_t>> SemaphoreSet::values() const {
    Implementation& self = *implementation_;
    if (!self.allows(kMayRead)) return self.error({EACCES});
    std::vector<std::uint16_t> all(self.set->size());
    if (auto got = self.set->values(this_thread(), self.system.lives, all.data()); !got) return self.error(got.fault());
    return all;
}

Result<> SemaphoreSet::set(std::uint16_t number, std::uint16_t value) {
    Implementation& self = *implementation_;
    if (number >= self.set->size()) return self.error(kNoSuchNumber);
    if (value > kValueMax) return self.error({ERANGE, "a semaphore's value is 0 to 32767"});
    if (!self.allows(kMayWrite)) return self.error({EACCES});
    if (auto done = self.set->set_value(this_thread(), self.system.lives, number, value); !done) return self.error(done.fault());
    return ok();
}

Result<> SemaphoreSet::set_all(std::span<const std::uint16_t> values) {
    Implementation& self = *implementation_;
    if (values.size() != self.set->size()) return self.error({EINVAL, "there must be one value for each semaphore of the set"});
    for (const std::uint16_t value : values)
        if (value > kValueMax) return self.error({ERANGE, "a semaphore's value is 0 to 32767"});
    if (!self.allows(kMayWrite)) return self.error({EACCES});
    if (auto done = self.set->set_values(this_thread(), self.system.lives, values.data()); !done) return self.error(done.fault());
    return ok();
}

Result<std::uint32_t> SemaphoreSet::waiting(std::uint16_t number) const {
    Implementation& self = *implementation_;
    if (number >= self.set->size()) return self.error(kNoSuchNumber);
    if (!self.allows(kMayRead)) return self.error({EACCES});
    auto got = self.set->waiting(this_thread(), self.system.lives, number, false);
    if (!got) return self.error(got.fault());
    return *got;
}

Result<std::uint32_t> SemaphoreSet::waiting_for_zero(std::uint16_t number) const {
    Implementation& self = *implementation_;
    if (number >= self.set->size()) return self.error(kNoSuchNumber);
    if (!self.allows(kMayRead)) return self.error({EACCES});
    auto got = self.set->waiting(this_thread(), self.system.lives, number, true);
    if (!got) return self.error(got.fault());
    return *got;
}

Result<std::int32_t> SemaphoreSet::last_pid(std::uint16_t number) const {
    Implementation& self = *implementation_;
    if (number >= self.set->size()) return self.error(kNoSuchNumber);
    if (!self.allows(kMayRead)) return self.error({EACCES});
    auto got = self.set->last_pid(this_thread(), self.system.lives, number);
    if (!got) return self.error(got.fault());
    return static_cast<std::int32_t>(*got);
}

namespace {

// Filled while the set is locked, when nothing may be allocated: there is room beforehand, and what goes beyond is not shown.
struct Seen {
    explicit Seen(const objects::SemaphoreSet* its_set) : set(its_set) {
        waiters.reserve(objects::kSemaphoreActors);
        holders.reserve(std::size_t{4} * objects::kSemaphoreUndos);
    }
    std::vector<SemaphoreWaiter> waiters;
    std::vector<SemaphoreHolder> holders;
    const objects::SemaphoreSet* set;
    static void waiter(void* context, std::uint32_t pid, std::uint32_t thread, std::uint64_t since_ns,
                       const objects::SemaphoreOp& blocking) {
        auto& list = static_cast<Seen*>(context)->waiters;
        if (list.size() == list.capacity()) return;
        list.push_back({static_cast<std::int32_t>(pid), static_cast<std::int32_t>(thread), blocking.number, blocking.amount,
                        cpp::time_of_ns(since_ns)});
    }
    static void holder(void* context, std::uint32_t pid, std::uint32_t number, int adjustment) {
        auto& seen = *static_cast<Seen*>(context);
        if (seen.holders.size() == seen.holders.capacity()) return;
        seen.holders.push_back({static_cast<std::int32_t>(pid), static_cast<std::uint16_t>(number), adjustment,
                                cpp::time_of_s(seen.set->operated_s(number))});
    }
};

Result<Seen> look(SemaphoreSet::Implementation& self) {
    if (!self.allows(kMayRead)) return self.error({EACCES});
    Seen seen(self.set.get());
    if (auto looked = self.set->look(this_thread(), self.system.lives, &Seen::waiter, &Seen::holder, &seen); !looked)
        return self.error(looked.fault());
    return seen;
}

}  // namespace

Result<std::vector<SemaphoreWaiter>> SemaphoreSet::waiters() const {
    auto seen = look(*implementation_);
    if (!seen) return seen.error();
    return std::move(seen->waiters);
}

Result<std::vector<SemaphoreHolder>> SemaphoreSet::holders() const {
    auto seen = look(*implementation_);
    if (!seen) return seen.error();
    return std::move(seen->holders);
}

Result<SemaphoreSetStatus> SemaphoreSet::status() const {
    Implementation& self = *implementation_;
    if (!self.allows(kMayRead)) return self.error({EACCES});
    auto times = self.set->times(this_thread(), self.system.lives);
    if (!times) return self.error(times.fault());
    const objects::Permission permission = self.set->permission();
    return SemaphoreSetStatus{self.set->size(),
                              permission.owner_uid,
                              permission.owner_gid,
                              permission.creator_uid,
                              permission.creator_gid,
                              permission.mode,
                              cpp::time_of_ns(self.set->object().created_ns),
                              cpp::time_of_s(times->operated_s),
                              cpp::time_of_s(times->changed_s)};
}

Result<> SemaphoreSet::remove() {
    Implementation& self = *implementation_;
    if (!self.set->permission().owned_by_us()) return self.error({EPERM});
    auto done = self.set->remove(
        this_thread(), [](void*, memory::ObjectHeader& header) { objects::SysvRegistry::mark_removed(header); }, nullptr);
    if (!done) return self.error(done.fault());
    self.system.registry.remove_names(SysvKind::sem, self.id, static_cast<std::uint32_t>(self.key.value()));
    return ok();
}

}  // namespace muster
