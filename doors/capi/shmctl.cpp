// SOURCE shmctl(2), and the kernel's order of checks.
#include <sys/resource.h>
#include "platform/fault_copy.hpp"
#include "platform/process.hpp"
#include "shm_common.hpp"

namespace {
using namespace muster;
using objects::LifeWatch;
using objects::Segment;
using objects::SysvFile;
using objects::SysvKind;
using platform::Fault;
using platform::Outcome;

constexpr int kStatAny = 15;  // SHM_STAT_ANY, Linux 4.17

struct Context {
    platform::ThreadState& thread;
    objects::Domain& domain;
    objects::SysvRegistry& registry;
};

// Calls `act(segment, watch)`: an int, 0 or more a result, else a negated errno. An attached segment is mapped already.
template <class Act>
int with_segment(Context& context, int id, Act act) {
    int result = 0;
    const bool attached = capi::attachments().with_attached(id, [&](Segment& segment, objects::Life& own) {
        LifeWatch watch(context.domain, &own);
        result = act(segment, watch);
    });
    if (attached) return result;
    Segment segment;
    {
        auto file = context.registry.open(SysvKind::shm, id);
        if (!file) return -capi::shm_errno(file.fault());
        if (auto opened = segment.open(*file); !opened) return -capi::shm_errno(opened.fault());
    }
    LifeWatch watch(context.domain, nullptr);
    if (segment.bury_if_deserted(context.thread, watch, context.registry)) return -EINVAL;
    return act(segment, watch);
}

// The commands for owners alone say EPERM where the file's mode keeps others out already.
int owners_error(int result) {
    return result == -EACCES ? -EPERM : result;
}

void fill(shmid_ds& shown, const objects::SegmentStatus& status) {
    shown = {};
    shown.shm_perm.__key = static_cast<key_t>(status.key);
    shown.shm_perm.uid = status.permission.owner_uid;
    shown.shm_perm.gid = status.permission.owner_gid;
    shown.shm_perm.cuid = status.permission.creator_uid;
    shown.shm_perm.cgid = status.permission.creator_gid;
    shown.shm_perm.mode = static_cast<decltype(shown.shm_perm.mode)>((status.permission.mode & 0777) | status.flags);
    shown.shm_perm.__seq = static_cast<unsigned short>(objects::sysv_sequence(status.id));
    shown.shm_segsz = status.size_bytes;
    shown.shm_atime = static_cast<time_t>(status.attached_s);
    shown.shm_dtime = static_cast<time_t>(status.detached_s);
    shown.shm_ctime = static_cast<time_t>(status.changed_s);
    shown.shm_cpid = static_cast<pid_t>(status.creator_pid);
    shown.shm_lpid = static_cast<pid_t>(status.last_pid);
    shown.shm_nattch = status.attachments;
}

int stat_segment(Context& context, int id, int command, shmid_ds* buffer) {
    shmid_ds shown;
    const auto look = [&](Segment& segment, LifeWatch& watch) {
        if (command != kStatAny && !segment.permission().allows(objects::kMayRead)) return -EACCES;
        auto status = segment.status(context.thread, watch);
        if (!status) return -capi::shm_errno(status.fault());
        fill(shown, *status);
        return command == IPC_STAT ? 0 : status->id;
    };
    int result = 0;
    if (command == IPC_STAT) {
        result = with_segment(context, id, look);
    } else {
        auto file = context.registry.open_index(SysvKind::shm, objects::sysv_index(id));
        if (!file) return -capi::shm_errno(file.fault());
        result = with_segment(context, file->id, look);
        if (result == -EIDRM) result = -EINVAL;
        if (result == -EACCES && command == kStatAny) {  // the file is readable, but not to be mapped
            LifeWatch watch(context.domain, nullptr);
            auto status = Segment::peek(*file, watch);
            if (!status) return -capi::shm_errno(status.fault());
            fill(shown, *status);
            result = status->id;
        }
    }
    if (result >= 0 && !platform::fault_store(context.thread, buffer, shown)) return -EFAULT;
    return result;
}

int set_segment(Context& context, int id, const shmid_ds& wanted) {
    auto file = context.registry.open(SysvKind::shm, id);
    if (!file) return -capi::shm_errno(file.fault());
    Segment segment;
    if (auto opened = segment.open(*file); !opened) return -capi::shm_errno(opened.fault());
    if (!segment.permission().owned_by_us()) return -EPERM;
    auto data = context.registry.open_companion(SysvKind::shm, objects::sysv_index(id), O_RDONLY);
    auto set = segment.set_permission(context.thread, file->file.fd(), data ? data->fd() : -1, wanted.shm_perm.uid,
                                      wanted.shm_perm.gid, wanted.shm_perm.mode);
    return set ? 0 : -capi::shm_errno(set.fault());
}

int remove_segment(Context& context, int id) {
    return with_segment(context, id, [&](Segment& segment, LifeWatch& watch) {
        if (!segment.permission().owned_by_us()) return -EPERM;
        std::uint32_t key = 0;
        context.registry.mark(SysvKind::shm, objects::sysv_index(id));
        auto destroyed = segment.mark_for_destruction(context.thread, watch, key);
        if (!destroyed) return -capi::shm_errno(destroyed.fault());
        if (*destroyed)
            context.registry.remove_names(SysvKind::shm, id, key);
        else
            context.registry.release_key(SysvKind::shm, id, key);
        return 0;
    });
}

int lock_segment(Context& context, int id, bool locked) {
    return with_segment(context, id, [&](Segment& segment, LifeWatch&) {
        if (!segment.permission().owned_by_us()) return -EPERM;
        rlimit limit;
        if (locked && platform::effective_user() != 0 &&
            platform::system_call(SYS_prlimit64, 0, RLIMIT_MEMLOCK, 0, &limit) == 0 && limit.rlim_cur == 0)
            return -EPERM;
        auto set = segment.set_locked(context.thread, locked);
        return set ? 0 : -capi::shm_errno(set.fault());
    });
}

int show_limits(platform::ThreadState& thread, objects::Domain* domain, shmid_ds* buffer) {
    const objects::SysvLimits limits = domain != nullptr ? objects::SysvLimits::of(*domain) : objects::SysvLimits{};
    struct shminfo shown {};
    shown.shmmax = limits.shmmax;
    shown.shmmin = 1;
    shown.shmmni = shown.shmseg = limits.shmmni;
    shown.shmall = limits.shmall;
    if (!platform::fault_copy(thread, buffer, &shown, sizeof shown)) return -EFAULT;
    return 0;
}

int show_totals(platform::ThreadState& thread, objects::Domain* domain, shmid_ds* buffer) {
    objects::SegmentTotals totals{};
    if (domain != nullptr) {
        objects::SysvRegistry& registry = capi::segment_registry(*domain);
        objects::sweep_segments(*domain, registry, nullptr);
        totals = objects::segment_totals(*domain, registry);
    }
    struct shm_info shown {};
    shown.used_ids = static_cast<int>(totals.segments);
    shown.shm_tot = totals.pages;
    shown.shm_rss = totals.resident_pages;
    if (!platform::fault_copy(thread, buffer, &shown, sizeof shown)) return -EFAULT;
    return 0;
}

int control(int id, int command, shmid_ds* buffer) {
    if (command < 0 || id < 0) return -EINVAL;
    platform::ThreadState& thread = platform::current_thread();
    auto found = capi::process_domain(false);
    objects::Domain* domain = found ? *found : nullptr;
    if (command == IPC_INFO || command == SHM_INFO) {
        const int rc = command == IPC_INFO ? show_limits(thread, domain, buffer) : show_totals(thread, domain, buffer);
        if (rc < 0 || domain == nullptr) return rc;
        const int highest = capi::segment_registry(*domain).highest_index(SysvKind::shm);
        return highest > 0 ? highest : 0;
    }
    shmid_ds wanted;
    switch (command) {
        case IPC_SET:
            if (!platform::fault_load(thread, wanted, buffer)) return -EFAULT;
            break;
        case IPC_STAT:
        case SHM_STAT:
        case kStatAny:
        case IPC_RMID:
        case SHM_LOCK:
        case SHM_UNLOCK:
            break;
        default:
            return -EINVAL;
    }
    if (domain == nullptr) return found.fault().errno_value == ENOENT ? -EINVAL : -found.fault().errno_value;
    Context context{thread, *domain, capi::segment_registry(*domain)};
    switch (command) {
        case IPC_SET:
            return owners_error(set_segment(context, id, wanted));
        case IPC_RMID:
            return owners_error(remove_segment(context, id));
        case SHM_LOCK:
        case SHM_UNLOCK:
            return owners_error(lock_segment(context, id, command == SHM_LOCK));
        default:
            return stat_segment(context, id, command, buffer);
    }
}

}  // namespace

MUSTER_EXPORT int shmctl(int id, int command, struct shmid_ds* buffer) noexcept {
    const int result = control(id, command, buffer);
    return result < 0 ? capi::shm_fail(-result) : result;
}
