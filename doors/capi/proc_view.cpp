#include "proc_view.hpp"
#include <fcntl.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include "objects/limits.hpp"
#include "platform/fault_copy.hpp"
#include "process_domain.hpp"
#include "shm_common.hpp"
#include "sysv_msg.hpp"
#include "sysv_sem.hpp"

namespace muster::capi {

constinit std::atomic<bool> limits_are_written{false};

namespace {

// SOURCE the kernel's uapi headers; the C library's show them to some programs only.
constexpr int kMsgStatAny = 13, kMsgInfo = 12, kShmStatAny = 15, kShmInfo = 14, kSemStatAny = 20, kSemInfo = 19;
constexpr unsigned kMemfdCloexec = 1, kMemfdAllowSealing = 2, kMemfdNoExec = 8;
constexpr int kAddSeals = 1033, kAllSeals = 15;

// Where a view's text goes: a nameless file in memory, given out for reading alone.
class Text {
public:
    explicit Text(int flags) : flags_(flags) {
        const unsigned kept = kMemfdAllowSealing | ((flags & O_CLOEXEC) != 0 ? kMemfdCloexec : 0);
        long fd = platform::system_call(SYS_memfd_create, "muster-view", kept | kMemfdNoExec);
        if (fd == -EINVAL) fd = platform::system_call(SYS_memfd_create, "muster-view", kept);  // before Linux 6.3
        file_ = platform::File(static_cast<int>(fd));
        rlimit limit;
        if (platform::system_call(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, &limit) == 0) room_ = limit.rlim_cur;
    }

    void add(const char* bytes, std::size_t count) {
        if (used_ + count > sizeof buffer_) flush();
        std::memcpy(buffer_ + used_, bytes, count);
        used_ += count;
    }
    __attribute__((format(printf, 2, 3))) void row(const char* format, ...) {
        char line[512];
        va_list list;
        va_start(list, format);
        const int length = std::vsnprintf(line, sizeof line, format, list);
        va_end(list);
        if (length > 0 && static_cast<std::size_t>(length) < sizeof line) add(line, static_cast<std::size_t>(length));
    }

    // The descriptor, or a negated errno. Its number is the lowest that was free at the beginning.
    int finish() {
        if (file_.fd() < 0) return file_.fd();
        flush();
        if (wrong_ != 0) return wrong_;
        platform::system_call(SYS_fchmod, file_.fd(), 0444);
        platform::file_control(file_.fd(), kAddSeals, kAllSeals);
        char self[40];
        std::snprintf(self, sizeof self, "/proc/self/fd/%d", file_.fd());
        const platform::File reader(platform::open_at(AT_FDCWD, self, O_RDONLY | (flags_ & (O_NONBLOCK | O_CLOEXEC))));
        if (reader.fd() < 0 || platform::system_call(SYS_dup3, reader.fd(), file_.fd(), flags_ & O_CLOEXEC) < 0)
            platform::system_call(SYS_lseek, file_.fd(), 0,
                                  SEEK_SET);  // no /proc, or no descriptor left: writing is EPERM instead of EBADF
        return file_.release();
    }

private:
    void flush() {
        total_ += used_;
        if (file_.fd() < 0 || wrong_ != 0)
            used_ = 0;
        else if (total_ > room_)
            wrong_ = -EFBIG;  // writing it would be SIGXFSZ
        for (std::size_t done = 0; done < used_ && wrong_ == 0;) {
            const long put = platform::write_file(file_.fd(), buffer_ + done, used_ - done);
            if (put <= 0)
                wrong_ = put < 0 ? static_cast<int>(put) : -ENOSPC;
            else
                done += static_cast<std::size_t>(put);
        }
        used_ = 0;
    }

    int flags_;
    platform::File file_;
    int wrong_ = 0;
    std::uint64_t room_ = UINT64_MAX, total_ = 0;
    std::size_t used_ = 0;
    char buffer_[4096];
};

using Count = unsigned long;
using Time = unsigned long long;

// ---- /proc/sysvipc. SOURCE the kernel's sysvipc_*_proc_show(): columns by width, whatever they hold ----

void show_messages(Text& text) {
    text.row(
        "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      "
        "ctime\n");
    msginfo info;
    const int highest = control_messages(0, kMsgInfo, reinterpret_cast<std::uintptr_t>(&info));
    for (int index = 0; index <= highest; ++index) {
        msqid_ds one;
        const int id = control_messages(index, kMsgStatAny, reinterpret_cast<std::uintptr_t>(&one));
        if (id < 0) continue;
        const ipc_perm& owner = one.msg_perm;
        text.row("%10d %10d  %4o  %10lu %10lu %5u %5u %5u %5u %5u %5u %10llu %10llu %10llu\n", owner.__key, id,
                 unsigned{owner.mode}, Count{one.__msg_cbytes}, Count{one.msg_qnum}, static_cast<unsigned>(one.msg_lspid),
                 static_cast<unsigned>(one.msg_lrpid), owner.uid, owner.gid, owner.cuid, owner.cgid,
                 static_cast<Time>(one.msg_stime), static_cast<Time>(one.msg_rtime), static_cast<Time>(one.msg_ctime));
    }
}

void show_semaphores(Text& text) {
    text.row("       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n");
    seminfo info;
    const int highest = control_semaphores(0, 0, kSemInfo, reinterpret_cast<std::uintptr_t>(&info));
    for (int index = 0; index <= highest; ++index) {
        semid_ds one;
        const int id = control_semaphores(index, 0, kSemStatAny, reinterpret_cast<std::uintptr_t>(&one));
        if (id < 0) continue;
        const ipc_perm& owner = one.sem_perm;
        text.row("%10d %10d  %4o %10u %5u %5u %5u %5u %10llu %10llu\n", owner.__key, id, unsigned{owner.mode},
                 static_cast<unsigned>(one.sem_nsems), owner.uid, owner.gid, owner.cuid, owner.cgid,
                 static_cast<Time>(one.sem_otime), static_cast<Time>(one.sem_ctime));
    }
}

// Bytes of the segment that have memory behind them. What of it is swapped out nobody tells: it counts here.
Count resident_bytes(int id) {
    auto domain = process_domain(false);
    if (!domain) return 0;
    auto data = segment_registry(**domain).open_companion(objects::SysvKind::shm, objects::sysv_index(id), O_PATH);
    struct stat status;
    return data && platform::file_status(data->fd(), &status) == 0 ? static_cast<Count>(status.st_blocks) * 512 : 0;
}

void show_segments(Text& text) {
    text.row(
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      "
        "ctime"
        "                   rss                  swap\n");
    struct shm_info info;
    const int highest = shmctl(0, kShmInfo, reinterpret_cast<shmid_ds*>(&info));
    for (int index = 0; index <= highest; ++index) {
        shmid_ds one;
        const int id = shmctl(index, kShmStatAny, &one);
        if (id < 0) continue;
        const ipc_perm& owner = one.shm_perm;
        text.row("%10d %10d  %4o %21lu %5u %5u  %5lu %5u %5u %5u %5u %10llu %10llu %10llu %21lu %21lu\n", owner.__key, id,
                 unsigned{owner.mode}, Count{one.shm_segsz}, static_cast<unsigned>(one.shm_cpid),
                 static_cast<unsigned>(one.shm_lpid), Count{one.shm_nattch}, owner.uid, owner.gid, owner.cuid, owner.cgid,
                 static_cast<Time>(one.shm_atime), static_cast<Time>(one.shm_dtime), static_cast<Time>(one.shm_ctime),
                 resident_bytes(id), Count{0});
    }
}

// ---- which ----

struct View {
    void (*show)(Text&) = nullptr;
    const objects::LimitFile* limit = nullptr;
    explicit operator bool() const { return show != nullptr || limit != nullptr; }
};

// What follows the prefix, null if that is not there.
const char* after(const char* path, const char* prefix) {
    const std::size_t length = std::strlen(prefix);
    return std::strncmp(path, prefix, length) == 0 ? path + length : nullptr;
}

View view_of(const char* path) {
    if (const char* name = after(path, "/proc/sysvipc/")) {
        if (std::strcmp(name, "msg") == 0) return {&show_messages, nullptr};
        if (std::strcmp(name, "sem") == 0) return {&show_semaphores, nullptr};
        if (std::strcmp(name, "shm") == 0) return {&show_segments, nullptr};
        return {};
    }
    const char* kernel = after(path, "/proc/sys/kernel/");
    const char* mqueue = after(path, "/proc/sys/fs/mqueue/");
    if (kernel == nullptr && mqueue == nullptr) return {};
    const objects::LimitFile* limit = objects::find_limit_file(kernel != nullptr ? kernel : mqueue);
    return {nullptr, limit != nullptr && limit->posix == (mqueue != nullptr) ? limit : nullptr};
}

int open_limit_view(const objects::LimitFile& limit, int flags) {
    const bool writing = (flags & O_ACCMODE) != O_RDONLY;
    auto domain = process_domain(writing);
    if (writing) {
        if (!domain) return -domain.fault().errno_value;
        auto file = objects::open_limit(**domain, limit, flags);
        if (!file) return -file.fault().errno_value;
        limits_are_written.store(true, std::memory_order_relaxed);  // relaxed: who writes got the descriptor from here
        return file->release();
    }
    Text text(flags);
    const objects::LimitText shown = limit_text(limit, domain ? read_limit(**domain, limit) : built_in_limit(limit));
    text.add(shown.text, shown.bytes);
    return text.finish();
}

}  // namespace

bool is_view(const char* path, int flags) {
    if (!may_be_view(path) || (flags & (O_PATH | O_DIRECTORY)) != 0) return false;
    const View view = view_of(path);
    return view.limit != nullptr || (view && (flags & O_ACCMODE) == O_RDONLY);
}

int open_view(const char* path, int flags) {
    const View view = view_of(path);
    if (view.limit != nullptr) return open_limit_view(*view.limit, flags);
    Text text(flags);
    const int kept = errno;
    view.show(text);
    errno = kept;
    return text.finish();
}

int view_instead(int opened, const char* path, int flags, int errno_before) {
    if (!is_view(path, flags)) return opened;
    if (opened >= 0) platform::close_file(opened);
    const int fd = open_view(path, flags);
    errno = fd < 0 ? -fd : errno_before;
    return fd < 0 ? -1 : fd;
}

long write_limit(int descriptor, const void* bytes, size_t length) {
    struct stat status;
    if (platform::file_status(descriptor, &status) < 0 || !S_ISREG(status.st_mode) || status.st_dev != domain_device())
        return kNoLimit;
    auto domain = process_domain(false);
    const objects::LimitFile* limit = domain ? objects::limit_file_of(**domain, status) : nullptr;
    if (limit == nullptr || (platform::file_control(descriptor, F_GETFL) & O_ACCMODE) == O_RDONLY) return kNoLimit;
    if (length == 0) return 0;
    // SOURCE sysctl_writes_strict of the kernel: only what is written at the beginning counts.
    if (platform::system_call(SYS_lseek, descriptor, 0, SEEK_CUR) == 0) {
        char text[objects::kLimitTextBytes];
        const std::size_t kept = length < sizeof text ? length : sizeof text;
        std::memset(text, '\n', sizeof text);
        if (!platform::fault_copy(platform::current_thread(), text, bytes, kept)) return -EFAULT;
        objects::LimitValues values = objects::read_limit(**domain, *limit);
        if (const int wrong = objects::parse_limit(*limit, text, kept, values); wrong != 0) return -wrong;
        const long put = platform::write_at(descriptor, text, sizeof text, 0);
        if (put < 0) return put;
    }
    platform::system_call(SYS_lseek, descriptor, length, SEEK_CUR);
    return static_cast<long>(length);
}

}  // namespace muster::capi
