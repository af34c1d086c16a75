// mqd_t where it is used as a file: fstat, fchmod, F_GETFL and F_SETFL, read and write.
#include <sys/stat.h>

#include "case.hpp"

// fstat works and tells mode, owner and links.
CASE(descriptor_fstat) {
    umask(0);
    const mqd_t queue = OPENS(create('a', 4, 64, O_RDWR, 0640));
    struct stat about {
    }, again{};
    OK(fstat(queue, &about));
    GIVES(0640, about.st_mode & 0777);
    HOLDS(about.st_uid == geteuid() && about.st_gid == getegid());
    const mqd_t second = OPENS(mq_open(name(), O_RDONLY));
    OK(fstat(second, &again));
    HOLDS(about.st_ino == again.st_ino && about.st_dev == again.st_dev);
}

// Finer points of the kernel's own queue files, compared but needed by few: type, links, size, isatty, lseek.
CASE(descriptor_fstat_details) {
    const mqd_t queue = OPENS(create());
    struct stat about {};
    OK(fstat(queue, &about));
    SEES(S_ISREG(about.st_mode));
    SEES(static_cast<long>(about.st_nlink));
    SEES(about.st_size);
    OK(mq_unlink(name()));
    OK(fstat(queue, &about));
    SEES(static_cast<long>(about.st_nlink));
    SEES(isatty(queue));
}

// fchmod through the descriptor changes who may open the queue.
CASE(descriptor_fchmod) {
    if (geteuid() != 0) skip("needs root to become another user");
    const mqd_t queue = OPENS(create('a', 4, 64, O_RDWR, 0600));
    OK(fchmod(queue, 0666));
    struct stat about {};
    OK(fstat(queue, &about));
    GIVES(0666, about.st_mode & 0777);
    SHOWS("exit 0", finish(start([] {
              become_nobody();
              OPENS(mq_open(name(), O_RDWR));
          })));
    OK(fchown(queue, 65534, 65534));
    OK(fchmod(queue, 0600));
    SHOWS("exit 0", finish(start([] {
              become_nobody();
              OPENS(mq_open(name(), O_RDWR));
              OK(mq_unlink(name()));
          })));
}

// ... but only to its owner and root, and whoever gives it away has no say any more. The set-id bits and unchanged ids as files
// have them.
CASE(descriptor_fchmod_refused) {
    if (geteuid() != 0) skip("needs root to become another user");
    umask(0);
    const mqd_t queue = OPENS(create('a', 4, 64, O_RDWR, 0666));
    SHOWS("exit 0", finish(start([queue] {
              become_nobody();
              FAILS(EPERM, fchmod(queue, 0600));
              FAILS(EPERM, fchown(queue, 65534, 65534));
              FAILS(EPERM, fchown(OPENS(mq_open(name(), O_RDWR)), 65534, static_cast<gid_t>(-1)));
          })));
    OK(fchown(queue, 65534, static_cast<gid_t>(-1)));
    struct stat about {};
    OK(fstat(queue, &about));
    HOLDS(about.st_uid == 65534 && about.st_gid == getegid());
    OK(fchown(queue, static_cast<uid_t>(-1), 65533));
    OK(fstat(queue, &about));
    HOLDS(about.st_uid == 65534 && about.st_gid == 65533);
    SHOWS("exit 0", finish(start([queue] {
              become_nobody();
              OK(fchmod(queue, 0060));
              FAILS(EPERM, fchown(queue, 0, 0));
              FAILS(EPERM, fchown(queue, static_cast<uid_t>(-1), 65532));
              OK(fchown(queue, static_cast<uid_t>(-1), 65534));
              FAILS(EACCES, mq_open(name(), O_RDWR));  // the owner's bits count for the owner, not the group's
              OK(fchmod(queue, 0400));
              OPENS(mq_open(name(), O_RDONLY));
              FAILS(EACCES, mq_open(name(), O_WRONLY));
              OK(fchmod(queue, 07666));
          })));
    OK(fstat(queue, &about));
    GIVES(S_IFREG | 0666, about.st_mode & (S_IFMT | 0777));
    // nobody's own queue, given away by root: it is closed to nobody then
    OK(fchown(queue, 65533, 65533));
    OK(fchmod(queue, 0600));
    SHOWS("exit 0", finish(start([queue] {
              become_nobody();
              FAILS(EACCES, mq_open(name(), O_RDWR));
              FAILS(EPERM, fchmod(queue, 0666));
              FAILS(EACCES, mq_unlink(name()));
          })));
    SHOWS("4/64/0/0", state(OPENS(mq_open(name(), O_RDWR))));
}

static void same_by_every_call(int queue, mode_t mode, uid_t owner) {
    struct stat about {};
    struct stat64 about64 {};
    struct statx all {};
    OK(fstat(queue, &about));
    HOLDS(about.st_mode == (S_IFREG | mode) && about.st_uid == owner && about.st_size == 80 && about.st_blocks == 0);
    OK(fstat64(queue, &about64));
    HOLDS(about64.st_mode == (S_IFREG | mode) && about64.st_uid == owner && about64.st_size == 80 && about64.st_blocks == 0);
    about = {};
    OK(fstatat(queue, "", &about, AT_EMPTY_PATH));
    HOLDS(about.st_mode == (S_IFREG | mode) && about.st_uid == owner && about.st_size == 80 && about.st_blocks == 0);
    OK(statx(queue, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &all));
    HOLDS(all.stx_mode == (S_IFREG | mode) && all.stx_uid == owner && all.stx_size == 80 && all.stx_blocks == 0);
    FAILS(ENOENT, fstatat(queue, "", &about, 0));
    FAILS(EFAULT, fstat(queue, hidden<struct stat>(nullptr)));
}

HELPER(shows_itself) {
    same_by_every_call(helper_argument(), 0660, geteuid());
}

// All the calls that ask about a descriptor say the same: of a queue, its copy, one that came through exec, and after it
// was closed of whatever has its number.
CASE(descriptor_stat_forms) {
    umask(0);
    const mqd_t queue = OPENS(create('a', 4, 64, O_RDONLY, 0640));
    same_by_every_call(queue, 0640, geteuid());
    OK(fchmod(queue, 0660));
    same_by_every_call(OPENS(dup(queue)), 0660, geteuid());
    same_by_every_call(OPENS(mq_open(name(), O_WRONLY)), 0660, geteuid());
    SHOWS("exit 0", finish(start([queue] {
              fcntl(queue, F_SETFD, 0);
              reexec("shows_itself", queue);
          })));
    char path[] = "/tmp/conformance.XXXXXX";
    const int file = OPENS(mkstemp(path));
    unlink(path);
    OK(fchmod(file, 0604));
    GIVES(5, write(file, "bytes", 5));
    GIVES(queue, dup2(file, queue));
    struct stat about {};
    OK(fstat(queue, &about));
    HOLDS(about.st_mode == (S_IFREG | 0604) && about.st_size == 5);
    OK(fchmod(queue, 0640));
    OK(fstatat(file, "", &about, AT_EMPTY_PATH));
    HOLDS(about.st_mode == (S_IFREG | 0640) && about.st_size == 5);
    OK(close(queue));
    FAILS(EBADF, fstat(queue, &about));
    FAILS(EBADF, fchmod(queue, 0600));
    FAILS(EBADF, fchown(queue, geteuid(), getegid()));
}

// F_GETFL shows access mode and O_NONBLOCK, F_SETFL sets the same flag as mq_setattr does.
CASE(descriptor_status_flags) {
    OPENS(create());
    const int modes[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDONLY | O_NONBLOCK, O_RDWR | O_NONBLOCK};
    for (const int mode : modes) GIVES(mode, fcntl(OPENS(mq_open(name(), mode)), F_GETFL) & (O_ACCMODE | O_NONBLOCK));
    const mqd_t queue = OPENS(mq_open(name(), O_RDWR));
    OK(fcntl(queue, F_SETFL, O_NONBLOCK));
    SHOWS("4/64/0/nonblock", state(queue));
    SHOWS("EAGAIN", take(queue));
    mq_attr now{};
    OK(mq_setattr(queue, &now, nullptr));
    OK(fcntl(queue, F_GETFL) & O_NONBLOCK);
    now.mq_flags = O_NONBLOCK;
    OK(mq_setattr(queue, &now, nullptr));
    GIVES(O_NONBLOCK, fcntl(queue, F_GETFL) & O_NONBLOCK);
    OK(fcntl(queue, F_SETFL, 0));
    SHOWS("4/64/0/0", state(queue));
}

static std::string first_line(int queue) {
    char text[256];
    const ssize_t got = pread(queue, text, sizeof text - 1, 0);
    if (got < 0) return error_name(errno);
    return std::string(text, static_cast<size_t>(got));
}

// read(2) gives one line of text: the bytes queued and the registration, in fixed columns.
CASE(descriptor_read) {
    const mqd_t queue = OPENS(create('a', 4, 64, O_RDWR | O_NONBLOCK));
    char text[256] = "";
    GIVES(60, read(queue, text, sizeof text));
    SHOWS("QSIZE:0          NOTIFY:0     SIGNO:0     NOTIFY_PID:0     \n", text);
    OK(send(queue, "12345"));
    OK(send(queue, "1234567"));
    const mqd_t again = OPENS(mq_open(name(), O_RDONLY));
    std::memset(text, 0, sizeof text);
    SEES(read(again, text, sizeof text));
    SHOWS("QSIZE:12         NOTIFY:0     SIGNO:0     NOTIFY_PID:0     \n", text);
    SEES(read(again, text, sizeof text));  // the offset has moved on: end of file
    SHOWS("2/12", std::to_string(count(queue)) + "/" + std::to_string(std::atoi(first_line(queue).c_str() + 6)));
    const mqd_t writer = OPENS(mq_open(name(), O_WRONLY));
    FAILS(EBADF, read(writer, text, sizeof text));
    FAILS(EINVAL, write(writer, "x", 1));
    FAILS(EINVAL, write(queue, "x", 1));
    FAILS(EBADF, write(again, "x", 1));
    SHOWS("0:12345", take(queue));
    SHOWS("0:1234567", take(queue));
    SHOWS("EAGAIN", take(queue));
}

// ... and while somebody is registered: how, by which signal, and who.
CASE(descriptor_read_registration) {
    const mqd_t queue = OPENS(create());
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR1;
    OK(mq_notify(queue, &event));
    char want[128];
    std::snprintf(want, sizeof want, "QSIZE:%-10d NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n", 0, SIGEV_SIGNAL, SIGUSR1, getpid());
    HOLDS(first_line(queue) == want);
    OK(mq_notify(queue, nullptr));
    event.sigev_notify = SIGEV_NONE;
    OK(mq_notify(queue, &event));
    std::snprintf(want, sizeof want, "QSIZE:%-10d NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n", 0, SIGEV_NONE, 0, getpid());
    HOLDS(first_line(queue) == want);
    note(first_line(queue).substr(0, 30));
}
