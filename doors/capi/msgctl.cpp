// SOURCE msgctl(2), and the kernel's order of errors.
#include "platform/file.hpp"
#include "platform/process.hpp"
#include "process_domain.hpp"
#include "sysv_msg.hpp"

namespace muster::capi {
namespace {

using objects::kMayRead;
using objects::SysvKind;

constexpr int kStatAny = 13;  // MSG_STAT_ANY


int info(int command, std::uintptr_t argument) {
    objects::SysvLimits limits;
    if (auto domain = process_domain(false); domain) limits = objects::SysvLimits::of(**domain);
    msginfo result{};
    result.msgmax = static_cast<int>(limits.msgmax);
    result.msgmnb = static_cast<int>(limits.msgmnb);
    result.msgmni = static_cast<int>(limits.msgmni);
    // SOURCE include/uapi/linux/msg.h: these say nothing, but are said.
    result.msgssz = 16;
    result.msgseg = 0xffff;
    result.msgmap = result.msgmnb;
    result.msgpool = static_cast<int>(limits.msgmni * limits.msgmnb / 1024);
    result.msgtql = result.msgmnb;
    if (command == MSG_INFO) result.msgpool = result.msgmap = result.msgtql = 0;
    int highest = 0;
    if (auto registry = process_registry(false); registry) {
        highest = (*registry)->highest_index(SysvKind::msg);
        for (int index = 0; command == MSG_INFO && index <= highest; ++index) {
            auto opened = (*registry)->open_index(SysvKind::msg, static_cast<std::uint32_t>(index));
            if (!opened && opened.fault().errno_value != EACCES) continue;
            ++result.msgpool;
            if (!opened) continue;
            const objects::TypedState state = objects::Queue::peek_state(opened->file.fd());
            result.msgmap += static_cast<int>(state.messages);
            result.msgtql += static_cast<int>(state.bytes);
        }
    }
    if (!platform::fault_store(platform::current_thread(), reinterpret_cast<msginfo*>(argument), result)) return fail_msg(EFAULT);
    return highest < 0 ? 0 : highest;
}

int tell(int id, int command, std::uintptr_t argument, const memory::ObjectHeader& header, const objects::TypedState& state) {
    const objects::Permission permission = objects::Permission::of(header);
    msqid_ds result{};
    result.msg_perm.__key = static_cast<key_t>(header.key.load_relaxed());
    result.msg_perm.uid = permission.owner_uid;
    result.msg_perm.gid = permission.owner_gid;
    result.msg_perm.cuid = permission.creator_uid;
    result.msg_perm.cgid = permission.creator_gid;
    result.msg_perm.mode = static_cast<decltype(result.msg_perm.mode)>(permission.mode);
    result.msg_perm.__seq = static_cast<decltype(result.msg_perm.__seq)>(objects::sysv_sequence(id));
    result.msg_stime = static_cast<time_t>(state.sent_s);
    result.msg_rtime = static_cast<time_t>(state.received_s);
    result.msg_ctime = static_cast<time_t>(state.changed_s);
    result.__msg_cbytes = state.bytes;
    result.msg_qnum = state.messages;
    result.msg_qbytes = state.bytes_max;
    result.msg_lspid = static_cast<pid_t>(state.last_send_pid);
    result.msg_lrpid = static_cast<pid_t>(state.last_receive_pid);
    if (!platform::fault_store(platform::current_thread(), reinterpret_cast<msqid_ds*>(argument), result)) return fail_msg(EFAULT);
    return command == IPC_STAT ? 0 : id;
}

int describe(int id, int command, std::uintptr_t argument) {
    objects::SysvFile file{{}, {}, -1};
    if (command != IPC_STAT) {
        auto registry = process_registry(false);
        if (!registry) return fail_msg(EINVAL);
        auto opened = (*registry)->open_index(SysvKind::msg, objects::sysv_index(id));
        if (!opened) return fail_msg(opened.fault().errno_value);
        file = std::move(*opened);
        id = file.id;
    }
    auto held = hold_messages(id);
    // Another user's, which we may not map: what everybody may see of it.
    if (!held && held.fault().errno_value == EACCES && command == kStatAny) return tell(id, command, argument, file.header, objects::Queue::peek_state(file.file.fd()));
    if (!held) return fail_msg(msg_errno(held.fault()));
    OpenMessages& open = **held;
    if (command != kStatAny && !open.has_rights(kMayRead)) return fail_msg(EACCES);
    auto state = open.object.typed_state(platform::current_thread());
    if (!state) return fail_msg(msg_errno(state.fault()));
    return tell(id, command, argument, open.object.object(), *state);
}

struct NewPermission {
    int fd, slots_fd;
    msqid_ds wanted;
};

int set_permission(int id, std::uintptr_t argument) {
    platform::ThreadState& thread = platform::current_thread();
    NewPermission wanted{-1, -1, {}};
    if (!platform::fault_load(thread, wanted.wanted, reinterpret_cast<const msqid_ds*>(argument))) return fail_msg(EFAULT);
    auto held = hold_messages(id);
    if (!held) return fail_msg(held.fault().errno_value == EACCES ? EPERM : msg_errno(held.fault()));
    OpenMessages& open = **held;
    if (!open.object.permission().owned_by_us()) return fail_msg(EPERM);
    objects::SysvLimits limits;
    if (auto domain = process_domain(false); domain) limits = objects::SysvLimits::of(**domain);
    if (wanted.wanted.msg_qbytes > limits.msgmnb && !platform::may_exceed_limits()) return fail_msg(EPERM);
    auto registry = process_registry(false);
    if (!registry) return fail_msg(EINVAL);
    auto opened = (*registry)->open(SysvKind::msg, id);
    if (!opened) return fail_msg(opened.fault().errno_value == EIDRM ? EINVAL : opened.fault().errno_value);
    auto slots = (*registry)->open_companion(SysvKind::msg, objects::sysv_index(id), O_RDWR);
    if (!slots) return fail_msg(slots.fault().errno_value == EIDRM ? EINVAL : slots.fault().errno_value);
    wanted.fd = opened->file.fd();
    wanted.slots_fd = slots->fd();
    auto done = open.object.change(
        thread,
        [](void* context, memory::ObjectHeader& header) {
            auto* change = static_cast<NewPermission*>(context);
            const ipc_perm& permission = change->wanted.msg_perm;
            return objects::SysvRegistry::set_permission(SysvKind::msg, change->fd, change->slots_fd, header, permission.uid, permission.gid, permission.mode);
        },
        &wanted, wanted.wanted.msg_qbytes);
    return done ? 0 : fail_msg(msg_errno(done.fault()));
}

int remove(int id) {
    std::uint32_t key = 0;
    {
        auto held = hold_messages(id);
        if (!held) {
            const int wrong = MessageTable::discard_unopened(id, msg_errno(held.fault()));
            return wrong == 0 ? 0 : fail_msg(wrong);
        }
        OpenMessages& open = **held;
        if (!open.object.permission().owned_by_us()) return fail_msg(EPERM);
        key = open.object.object().key.load_relaxed();
        auto done = open.object.remove(platform::current_thread(), &objects::SysvRegistry::mark_removed);
        if (!done) return fail_msg(msg_errno(done.fault()));
    }
    if (auto registry = process_registry(false); registry) (*registry)->remove_names(SysvKind::msg, id, key);
    message_table.forget(id);
    return 0;
}

}  // namespace

int control_messages(int id, int command, std::uintptr_t argument) {
    if (id < 0 || command < 0) return fail_msg(EINVAL);
    const int saved = errno;
    int result = 0;
    switch (command) {
        case IPC_INFO:
        case MSG_INFO: result = info(command, argument); break;
        case IPC_STAT:
        case MSG_STAT:
        case kStatAny: result = describe(id, command, argument); break;
        case IPC_SET: result = set_permission(id, argument); break;
        case IPC_RMID: result = remove(id); break;
        default: return fail_msg(EINVAL);
    }
    if (result >= 0) errno = saved;
    return result;
}

}  // namespace muster::capi

MUSTER_EXPORT int msgctl(int id, int command, msqid_ds* buffer) noexcept {
    return muster::capi::control_messages(id, command, reinterpret_cast<std::uintptr_t>(buffer));
}
