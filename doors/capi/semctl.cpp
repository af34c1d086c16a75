// SOURCE semctl(2), and the kernel's order of errors.
#include <cstdarg>
#include "process_domain.hpp"
#include "sysv_sem.hpp"

namespace muster::capi {
namespace {

using objects::kMayRead;
using objects::kMayWrite;
using objects::SysvKind;
using platform::Fault;
using platform::Outcome;

constexpr int kStatAny = 20;      // SEM_STAT_ANY
constexpr int kNewStructures = 0x100;  // IPC_64, which the C library's own wrapper adds

// Memory for the values of a large set.
class Values {
public:
    explicit Values(std::uint32_t count) {
        if (count <= kSmall) return;
        bytes_ = (count * sizeof(std::uint16_t) + 4095) & ~std::size_t{4095};
        const long memory = platform::map_private_zeroes(bytes_);
        values_ = memory < 0 && memory > -4096 ? nullptr : reinterpret_cast<std::uint16_t*>(memory);
    }
    ~Values() {
        if (bytes_ != 0 && values_ != nullptr) platform::unmap(values_, bytes_);
    }
    Values(const Values&) = delete;
    std::uint16_t* get() { return values_; }

private:
    static constexpr std::uint32_t kSmall = 256;
    std::uint16_t small_[kSmall];
    std::size_t bytes_ = 0;
    std::uint16_t* values_ = small_;
};

int info(int command, std::uintptr_t argument) {
    seminfo result{};
    int highest = 0;
    objects::SysvLimits limits;
    if (auto domain = process_domain(false); domain) limits = objects::SysvLimits::of(**domain);
    result.semmni = static_cast<int>(limits.semmni);
    result.semmns = static_cast<int>(limits.semmns);
    result.semmsl = static_cast<int>(limits.semmsl);
    result.semopm = static_cast<int>(limits.semopm);
    result.semvmx = static_cast<int>(objects::kSemaphoreValueMax);
    // SOURCE include/uapi/linux/sem.h: these are constants of the kernel's, whatever the limits.
    result.semmnu = 1'024'000'000;
    result.semmap = 1'024'000'000;
    result.semume = 500;
    result.semusz = 20;
    result.semaem = objects::kSemaphoreAdjustMax;
    if (auto registry = semaphore_registry(false); registry) {
        highest = (*registry)->highest_index(SysvKind::sem);
        if (command == SEM_INFO) {
            int sets = 0;
            int semaphores = 0;
            for (int index = 0; index <= highest; ++index) {
                auto opened = (*registry)->open_index(SysvKind::sem, static_cast<std::uint32_t>(index));
                if (!opened) {
                    sets += opened.fault().errno_value == EACCES ? 1 : 0;
                    continue;
                }
                std::uint32_t size = 0;
                if (platform::read_at(opened->file.fd(), &size, sizeof size, offsetof(objects::SemaphoreHeader, semaphores)) == sizeof size) semaphores += static_cast<int>(size);
                ++sets;
            }
            result.semusz = sets;
            result.semaem = semaphores;
        }
    } else if (command == SEM_INFO) {
        result.semusz = result.semaem = 0;
    }
    auto* to = reinterpret_cast<seminfo*>(argument);
    if (!platform::fault_store(platform::current_thread(), to, result)) return fail_sem(EFAULT);
    return highest < 0 ? 0 : highest;
}

int tell(int id, int command, std::uintptr_t argument, const memory::ObjectHeader& header, const objects::SemaphoreSet::Shown& shown) {
    const objects::Permission permission = objects::Permission::of(header);
    semid_ds result{};
    result.sem_perm.__key = static_cast<key_t>(header.key.load_relaxed());
    result.sem_perm.uid = permission.owner_uid;
    result.sem_perm.gid = permission.owner_gid;
    result.sem_perm.cuid = permission.creator_uid;
    result.sem_perm.cgid = permission.creator_gid;
    result.sem_perm.mode = static_cast<decltype(result.sem_perm.mode)>(permission.mode);
    result.sem_perm.__seq = static_cast<decltype(result.sem_perm.__seq)>(objects::sysv_sequence(id));
    result.sem_otime = static_cast<time_t>(shown.times.operated_s);
    result.sem_ctime = static_cast<time_t>(shown.times.changed_s);
    result.sem_nsems = shown.semaphores;
    if (!platform::fault_store(platform::current_thread(), reinterpret_cast<semid_ds*>(argument), result)) return fail_sem(EFAULT);
    return command == IPC_STAT ? 0 : id;
}

int describe(int id, int command, std::uintptr_t argument) {
    objects::SysvFile file{{}, {}, -1};
    if (command != IPC_STAT) {
        auto registry = semaphore_registry(false);
        if (!registry) return fail_sem(EINVAL);
        auto opened = (*registry)->open_index(SysvKind::sem, objects::sysv_index(id));
        if (!opened) return fail_sem(opened.fault().errno_value);
        file = std::move(*opened);
        id = file.id;
    }
    auto held = hold_set(id);
    if (!held && held.fault().errno_value == EACCES && command == kStatAny) {
        // Another user's, which we may not map: what everybody may see of it.
        auto shown = objects::SemaphoreSet::peek(file.file.fd());
        return shown ? tell(id, command, argument, file.header, *shown) : fail_sem(shown.fault().errno_value);
    }
    if (!held) return fail_sem(held.fault().errno_value);
    OpenSet& open = *held->operator->();
    if (command != kStatAny && !open.has_rights(kMayRead)) return fail_sem(EACCES);
    auto times = open.object.times(platform::current_thread(), process_lives);
    if (!times) return fail_sem(times.fault().errno_value);
    return tell(id, command, argument, open.object.object(), {*times, open.object.size()});
}

int get_all(OpenSet& open, std::uintptr_t argument) {
    platform::ThreadState& thread = platform::current_thread();
    Values values(open.object.size());
    if (values.get() == nullptr) return fail_sem(ENOMEM);
    if (auto got = open.object.values(thread, process_lives, values.get()); !got) return fail_sem(got.fault().errno_value);
    if (!platform::fault_copy(thread, reinterpret_cast<void*>(argument), values.get(), open.object.size() * sizeof(std::uint16_t))) return fail_sem(EFAULT);
    return 0;
}

int set_all(OpenSet& open, std::uintptr_t argument) {
    platform::ThreadState& thread = platform::current_thread();
    Values values(open.object.size());
    if (values.get() == nullptr) return fail_sem(ENOMEM);
    if (!platform::fault_copy(thread, values.get(), reinterpret_cast<const void*>(argument), open.object.size() * sizeof(std::uint16_t))) return fail_sem(EFAULT);
    for (std::uint32_t number = 0; number < open.object.size(); ++number)
        if (values.get()[number] > objects::kSemaphoreValueMax) return fail_sem(ERANGE);
    auto set = open.object.set_values(thread, process_lives, values.get());
    return set ? 0 : fail_sem(set.fault().errno_value);
}

int main_commands(int id, int number, int command, std::uintptr_t argument) {
    platform::ThreadState& thread = platform::current_thread();
    if (command == SETVAL && (static_cast<int>(argument) < 0 || static_cast<int>(argument) > static_cast<int>(objects::kSemaphoreValueMax))) return fail_sem(ERANGE);
    auto held = hold_set(id);
    if (!held) return fail_sem(held.fault().errno_value);
    OpenSet& open = *held->operator->();
    const bool is_number = number >= 0 && static_cast<std::uint32_t>(number) < open.object.size();
    if (command == SETVAL && !is_number) return fail_sem(EINVAL);
    if (!open.has_rights(command == SETALL || command == SETVAL ? kMayWrite : kMayRead)) return fail_sem(EACCES);
    if (command == GETALL) return get_all(open, argument);
    if (command == SETALL) return set_all(open, argument);
    if (!is_number) return fail_sem(EINVAL);
    const auto which = static_cast<std::uint32_t>(number);
    if (command == SETVAL) {
        auto set = open.object.set_value(thread, process_lives, which, static_cast<std::uint32_t>(argument));
        return set ? 0 : fail_sem(set.fault().errno_value);
    }
    auto got = command == GETVAL   ? open.object.value(thread, process_lives, which)
               : command == GETPID ? open.object.last_pid(thread, process_lives, which)
                                   : open.object.waiting(thread, process_lives, which, command == GETZCNT);
    return got ? static_cast<int>(*got) : fail_sem(got.fault().errno_value);
}

struct NewPermission {
    int fd;
    semid_ds wanted;
};

int set_permission(int id, std::uintptr_t argument) {
    platform::ThreadState& thread = platform::current_thread();
    NewPermission change{-1, {}};
    if (!platform::fault_load(thread, change.wanted, reinterpret_cast<const semid_ds*>(argument))) return fail_sem(EFAULT);
    auto held = hold_set(id);
    if (!held) return fail_sem(held.fault().errno_value == EACCES ? EPERM : held.fault().errno_value);
    OpenSet& open = *held->operator->();
    if (!open.object.permission().owned_by_us()) return fail_sem(EPERM);
    auto registry = semaphore_registry(false);
    if (!registry) return fail_sem(EINVAL);
    auto opened = (*registry)->open(SysvKind::sem, id);
    if (!opened) return fail_sem(opened.fault().errno_value == EIDRM ? EINVAL : opened.fault().errno_value);
    change.fd = opened->file.fd();
    auto done = open.object.administer(
        thread,
        [](void* context, memory::ObjectHeader& header) -> Outcome<> {
            auto* set = static_cast<NewPermission*>(context);
            return objects::SysvRegistry::set_permission(SysvKind::sem, set->fd, -1, header, set->wanted.sem_perm.uid, set->wanted.sem_perm.gid, set->wanted.sem_perm.mode);
        },
        &change);
    return done ? 0 : fail_sem(done.fault().errno_value);
}

int remove(int id) {
    platform::ThreadState& thread = platform::current_thread();
    std::uint32_t key = 0;
    {
        auto held = hold_set(id);
        if (!held) {
            const int wrong = SetTable::discard_unopened(id, held.fault().errno_value);
            return wrong == 0 ? 0 : fail_sem(wrong);
        }
        OpenSet& open = *held->operator->();
        if (!open.object.permission().owned_by_us()) return fail_sem(EPERM);
        key = open.object.object().key.load_relaxed();
        auto done = open.object.remove(
            thread, [](void*, memory::ObjectHeader& header) { objects::SysvRegistry::mark_removed(header); }, nullptr);
        if (!done) return fail_sem(done.fault().errno_value);
    }
    if (auto registry = semaphore_registry(false); registry) (*registry)->remove_names(SysvKind::sem, id, key);
    set_table.forget(id);
    return 0;
}

}  // namespace

int control_semaphores(int id, int number, int command, std::uintptr_t argument) {
    command &= ~kNewStructures;
    if (id < 0) return fail_sem(EINVAL);
    const int saved = errno;
    int result = 0;
    switch (command) {
        case IPC_INFO:
        case SEM_INFO: result = info(command, argument); break;
        case IPC_STAT:
        case SEM_STAT:
        case kStatAny: result = describe(id, command, argument); break;
        case GETALL:
        case SETALL:
        case GETVAL:
        case GETPID:
        case GETNCNT:
        case GETZCNT:
        case SETVAL: result = main_commands(id, number, command, argument); break;
        case IPC_SET: result = set_permission(id, argument); break;
        case IPC_RMID: result = remove(id); break;
        default: return fail_sem(EINVAL);
    }
    if (result >= 0) errno = saved;
    return result;
}

}  // namespace muster::capi

MUSTER_EXPORT int semctl(int id, int number, int command, ...) noexcept {
    va_list list;
    va_start(list, command);
    const auto argument = va_arg(list, std::uintptr_t);  // union semun; nothing reads it for commands without
    va_end(list);
    return muster::capi::control_semaphores(id, number, command, argument);
}
