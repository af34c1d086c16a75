// SOURCE semop(2).
#include "platform/cancel.hpp"
#include "sysv_sem.hpp"

namespace muster::capi {

namespace {

[[gnu::always_inline]] inline int operate_on(platform::ThreadState& thread, OpenSet& open, const objects::SemaphoreOp* ops, std::uint32_t count,
                                             std::int64_t timeout_ns) {
    bool alters = false;
    for (std::uint32_t i = 0; i < count; ++i) {
        if (ops[i].number >= open.object.size()) return fail_sem(EFBIG);
        alters = alters || ops[i].amount != 0;
    }
    if (!open.has_rights(alters ? objects::kMayWrite : objects::kMayRead)) return fail_sem(EACCES);
    const int saved = errno;
    auto done = open.object.operate(thread, ops, count, timeout_ns, process_lives);
    errno = saved;
    return done ? 0 : fail_sem(done.fault().errno_value);
}

__attribute__((noinline, cold)) int operate_on_found(platform::ThreadState& thread, int id, const objects::SemaphoreOp* ops, std::uint32_t count,
                                                     std::int64_t timeout_ns) {
    auto found = hold_set(id);
    if (!found) return fail_sem(found.fault().errno_value);
    return operate_on(thread, **found, ops, count, timeout_ns);
}

[[gnu::always_inline]] inline int operate(platform::ThreadState& thread, int id, const objects::SemaphoreOp* ops, std::uint32_t count,
                                          std::int64_t timeout_ns) {
    {
        const SetHold held = set_table.hold_known(id);
        if (__builtin_expect(held && objects::SysvRegistry::is_live(held->object.object(), id), 1))
            return operate_on(thread, *held, ops, count, timeout_ns);
    }
    return operate_on_found(thread, id, ops, count, timeout_ns);
}

}  // namespace

int operate_semaphore(int id, const sembuf* given) {
    platform::ThreadState& thread = platform::current_thread();
    objects::SemaphoreOp op;
    static_assert(sizeof op == sizeof *given);
    if (!platform::fault_copy(thread, &op, given, sizeof op)) return fail_sem(EFAULT);
    if (__builtin_expect(operate_quickly(thread, id, op), 1)) return 0;
    if (id < 0) return fail_sem(EINVAL);
    return operate(thread, id, &op, 1, platform::kForever);
}

// The kernel's order: EFAULT of the time-out, E2BIG, EINVAL, EFAULT of the operations, then what the set says.
int operate_semaphores(int id, const sembuf* given, size_t count, const timespec* timeout) {
    platform::ThreadState& thread = platform::current_thread();
    std::int64_t timeout_ns = platform::kForever;
    timespec limit{};
    if (timeout != nullptr && !platform::fault_load(thread, limit, timeout)) return fail_sem(EFAULT);
    count &= 0xffffffffu;  // the kernel's parameter is an unsigned int
    if (count > 1 && (count > objects::kSemaphoreOpsMax || count > operations_max())) return fail_sem(E2BIG);
    if (count < 1) return fail_sem(EINVAL);
    objects::SemaphoreOp ops[objects::kSemaphoreOpsMax];
    if (!platform::fault_copy(thread, ops, given, count * sizeof(sembuf))) return fail_sem(EFAULT);
    if (id < 0) return fail_sem(EINVAL);
    if (timeout != nullptr) {
        if (limit.tv_sec < 0 || limit.tv_nsec < 0 || limit.tv_nsec >= 1'000'000'000) return fail_sem(EINVAL);
        constexpr std::int64_t kMost = INT64_MAX / 4'000'000'000;
        timeout_ns = limit.tv_sec > kMost ? platform::kForever : limit.tv_sec * 1'000'000'000 + limit.tv_nsec;
    }
    return operate(thread, id, ops, static_cast<std::uint32_t>(count), timeout_ns);
}

}  // namespace muster::capi

MUSTER_EXPORT int semop(int id, sembuf* ops, size_t count) {
    if (__builtin_expect(count == 1, 1)) return muster::capi::operate_semaphore(id, ops);
    return muster::capi::operate_semaphores(id, ops, count, nullptr);
}
