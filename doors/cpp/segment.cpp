#include "muster/segment.hpp"
#include <sys/shm.h>
#include "objects/segment.hpp"
#include "system_v.hpp"

namespace muster {
using cpp::this_thread;
using objects::LifeWatch;
using objects::SysvKind;
using platform::Fault;

struct Segment::Implementation {
    Implementation(const Domain& its_domain, std::int32_t identifier)
        : system(cpp::system_v(its_domain)), domain(its_domain), id(identifier) {}
    Error error(Fault fault) const { return cpp::explain(fault, name, "segment"); }
    LifeWatch watch() const { return LifeWatch(system.domain->domain, nullptr); }
    bool is_gone() {
        LifeWatch lives = watch();
        return !control.is_live() || control.bury_if_deserted(this_thread(), lives, system.registry);
    }

    cpp::SystemV& system;
    Domain domain;
    objects::Segment control;
    std::int32_t id;
    Key key = Key::none();
    std::string name;
};

namespace {
constexpr Fault kNone{ENOENT};
constexpr Fault kGone{EIDRM};
}  // namespace

Segment::Segment(std::shared_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
Segment::Segment(Segment&&) noexcept = default;
Segment& Segment::operator=(Segment&&) noexcept = default;
Segment::~Segment() = default;

Result<Segment> Segment::create(const Domain& domain, Key key, std::uint64_t size_bytes, const SegmentOptions& options) {
    this_thread();
    cpp::SystemV& system = cpp::system_v(domain);
    const int flags = IPC_CREAT | IPC_EXCL | static_cast<int>(options.mode & 0777) | (options.reserve ? 0 : SHM_NORESERVE);
    for (int tries = 0; tries < 100; ++tries) {
        auto id = objects::get_segment(system.domain->domain, system.registry, static_cast<std::uint32_t>(key.value()),
                                       size_bytes, flags);
        if (!id) return cpp::explain(id.fault(), key.is_none() ? "shm" : cpp::object_name(SysvKind::shm, key, 0), "segment");
        auto opened = open(domain, *id);
        if (opened || !(opened.error() == ENOENT)) return opened;  // removed by somebody before we had it
    }
    return cpp::explain(kNone, "shm", "segment");
}

Result<Segment> Segment::open(const Domain& domain, std::int32_t identifier) {
    this_thread();
    auto self = std::make_shared<Implementation>(domain, identifier);
    self->name = cpp::object_name(SysvKind::shm, Key::none(), identifier);
    auto file = self->system.registry.open(SysvKind::shm, identifier);
    if (!file) return self->error(file.fault().errno_value == EINVAL ? kNone : file.fault());
    if (auto opened = self->control.open(*file); !opened)
        return self->error(opened.fault().errno_value == EIDRM ? kNone : opened.fault());
    if (self->is_gone()) return self->error(kNone);
    self->key = Key(static_cast<std::int32_t>(self->control.header().key.load_relaxed()));
    self->name = cpp::object_name(SysvKind::shm, self->key, identifier);
    const objects::Permission permission = self->control.permission();
    if (!permission.allows(objects::kMayRead) && !permission.allows(objects::kMayWrite) && !permission.owned_by_us())
        return self->error({EACCES});
    return Segment(std::move(self));
}

Result<Segment> Segment::open(const Domain& domain, Key key) {
    this_thread();
    const std::string shown = cpp::object_name(SysvKind::shm, key, 0);
    if (key.is_none()) return Error(EINVAL, "shm", "segments without a key are opened by their identifier");
    for (int tries = 0; tries < 100; ++tries) {
        auto found = cpp::system_v(domain).registry.get(SysvKind::shm, static_cast<std::uint32_t>(key.value()), 0, 0, {});
        if (!found) return cpp::explain(found.fault(), shown, "segment");
        auto opened = open(domain, found->id);
        if (opened) return opened;
        if (!(opened.error() == ENOENT)) return Error(opened.error().errno_value(), shown, opened.error().hint());
    }
    return cpp::explain(kNone, shown, "segment");
}

Result<Segment> Segment::open_or_create(const Domain& domain, Key key, std::uint64_t size_bytes, const SegmentOptions& options) {
    if (key.is_none()) return create(domain, key, size_bytes, options);
    for (;;) {  // somebody may make or remove it between our two tries
        auto opened = open(domain, key);
        if (opened && opened->size_bytes() < size_bytes) return Error(EINVAL, opened->name(), "the existing segment is smaller");
        if (opened || !(opened.error() == ENOENT)) return opened;
        auto made = create(domain, key, size_bytes, options);
        if (made || !(made.error() == EEXIST)) return made;
    }
}

std::uint64_t Segment::size_bytes() const {
    return implementation_->control.size_bytes();
}
std::int32_t Segment::identifier() const {
    return implementation_->id;
}
Key Segment::key() const {
    return implementation_->key;
}
const std::string& Segment::name() const {
    return implementation_->name;
}

Result<Attachment> Segment::attach(Access access, void* address) const {
    Implementation& self = *implementation_;
    this_thread();
    auto at = self.system.attachments.attach(self.id, reinterpret_cast<std::uintptr_t>(address),
                                             access == Access::read_only ? SHM_RDONLY : 0);
    if (!at) return self.error(at.fault().errno_value == EINVAL && self.is_gone() ? kGone : at.fault());
    return Attachment(implementation_, *at, size_bytes(), access == Access::read_write);
}

Result<SegmentStatus> Segment::status() const {
    Implementation& self = *implementation_;
    if (self.is_gone()) return self.error(kGone);
    if (!self.control.permission().allows(objects::kMayRead)) return self.error({EACCES});
    LifeWatch lives = self.watch();
    auto status = self.control.status(this_thread(), lives);
    if (!status) return self.error(status.fault());
    const objects::Permission& permission = status->permission;
    return SegmentStatus{status->size_bytes,
                         status->attachments,
                         permission.owner_uid,
                         permission.owner_gid,
                         permission.creator_uid,
                         permission.creator_gid,
                         permission.mode,
                         static_cast<std::int32_t>(status->creator_pid),
                         static_cast<std::int32_t>(status->last_pid),
                         cpp::time_of_ns(self.control.header().created_ns),
                         cpp::time_of_s(status->attached_s),
                         cpp::time_of_s(status->detached_s),
                         cpp::time_of_s(status->changed_s),
                         (status->flags & objects::kSegmentDestroy) != 0,
                         (status->flags & objects::kSegmentLocked) != 0};
}

Result<std::vector<SegmentUser>> Segment::users() const {
    Implementation& self = *implementation_;
    if (self.is_gone()) return self.error(kGone);
    auto file = self.system.registry.open(SysvKind::shm, self.id);
    if (!file) return self.error(file.fault().errno_value == EINVAL ? kGone : file.fault());
    std::vector<SegmentUser> users;
    LifeWatch lives = self.watch();
    const auto see = [](void* context, const objects::Segment::User& user) {
        if (user.alive)
            static_cast<std::vector<SegmentUser>*>(context)->push_back({static_cast<std::int32_t>(user.pid), user.maps});
    };
    if (auto looked = objects::Segment::look(*file, lives, see, &users); !looked) return self.error(looked.fault());
    return users;
}

Result<> Segment::remove() {
    Implementation& self = *implementation_;
    if (self.is_gone()) return self.error(kGone);
    if (!self.control.permission().owned_by_us()) return self.error({EPERM});
    std::uint32_t key = 0;
    LifeWatch lives = self.watch();
    self.system.registry.mark(SysvKind::shm, objects::sysv_index(self.id));
    auto destroyed = self.control.mark_for_destruction(this_thread(), lives, key);
    if (!destroyed) return self.error(destroyed.fault());
    if (*destroyed)
        self.system.registry.remove_names(SysvKind::shm, self.id, key);
    else
        self.system.registry.release_key(SysvKind::shm, self.id, key);
    return ok();
}

// ---- Attachment ----

Attachment::Attachment(std::shared_ptr<Segment::Implementation> segment, void* data, std::size_t size_bytes, bool writable)
    : segment_(std::move(segment)), data_(static_cast<std::byte*>(data)), size_bytes_(size_bytes), writable_(writable) {}
Attachment::Attachment(Attachment&& o) noexcept
    : segment_(std::move(o.segment_)),
      data_(std::exchange(o.data_, nullptr)),
      size_bytes_(std::exchange(o.size_bytes_, 0)),
      writable_(o.writable_) {}
Attachment& Attachment::operator=(Attachment&& o) noexcept {
    if (this != &o) {
        (void)detach();
        segment_ = std::move(o.segment_);
        data_ = std::exchange(o.data_, nullptr);
        size_bytes_ = std::exchange(o.size_bytes_, 0);
        writable_ = o.writable_;
    }
    return *this;
}
Attachment::~Attachment() {
    (void)detach();
}

Result<> Attachment::detach() {
    if (data_ == nullptr) return ok();
    auto done = segment_->system.attachments.detach(reinterpret_cast<std::uintptr_t>(data_));
    const auto segment = std::move(segment_);
    data_ = nullptr;
    size_bytes_ = 0;
    if (!done) return segment->error(done.fault());
    return ok();
}

}  // namespace muster
