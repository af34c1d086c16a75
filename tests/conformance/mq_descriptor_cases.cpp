// mqd_t as a file descriptor: numbers, closing, duplicating, inheriting, passing on, and everything that is no queue.
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "case.hpp"

// The lowest free number, as every descriptor.
CASE(descriptor_lowest) {
    const int free_first = OPENS(open("/dev/null", O_RDONLY));
    close(free_first);
    const mqd_t first = OPENS(create('a'));
    HOLDS(first == free_first);
    const mqd_t second = OPENS(mq_open(name(), O_RDWR));
    HOLDS(second == free_first + 1);
    const mqd_t third = OPENS(mq_open(name(), O_RDWR));
    HOLDS(third == free_first + 2);
    OK(mq_close(second));
    HOLDS(OPENS(open("/dev/null", O_RDONLY)) == second);
    OK(close(first));
    HOLDS(OPENS(mq_open(name(), O_WRONLY)) == first);
    FAILS(ENOENT, mq_open(name('b'), O_RDWR));
    HOLDS(OPENS(open("/dev/null", O_RDONLY)) == third + 1);  // a failed open holds no number
    // With 0 free, a queue is descriptor 0.
    close(0);
    GIVES(0, mq_open(name(), O_RDWR));
    OK(send(0, "by zero"));
    SHOWS("0:by zero", take(0));
}

// Close-on-exec from the start, on the descriptor alone; O_CLOEXEC changes nothing.
CASE(descriptor_cloexec) {
    const mqd_t queue = OPENS(create());
    GIVES(FD_CLOEXEC, fcntl(queue, F_GETFD));
    OK(fcntl(queue, F_SETFD, 0));
    OK(fcntl(queue, F_GETFD));
    const int copy = OPENS(dup(queue));
    OK(fcntl(copy, F_GETFD));
    const int other = OPENS(fcntl(queue, F_DUPFD_CLOEXEC, 0));
    GIVES(FD_CLOEXEC, fcntl(other, F_GETFD));
}

HELPER(is_closed) {
    FAILS(EBADF, fcntl(helper_argument(), F_GETFD));
}

HELPER(uses_descriptor) {
    const int queue = helper_argument();
    SHOWS("4/64/1/0", state(queue));
    SHOWS("5:before exec", take(queue));
    OK(send(queue, "after exec", 6));
    FAILS(EMSGSIZE, send(queue, std::string(65, 'x').c_str()));
    OK(mq_close(queue));
    FAILS(EBADF, mq_close(queue));
}

// exec closes a queue, unless FD_CLOEXEC was taken off; then the new image uses the same number.
CASE(descriptor_over_exec) {
    const mqd_t queue = OPENS(create());
    SHOWS("exit 0", finish(start([queue] { reexec("is_closed", queue); })));
    OK(send(queue, "before exec", 5));
    SHOWS("exit 0", finish(start([queue] {
              OK(fcntl(queue, F_SETFD, 0));
              reexec("uses_descriptor", queue);
          })));
    SHOWS("6:after exec", take(queue));
}

// mq_close and close(2) are the same; EBADF afterwards from every call.
CASE(descriptor_closed) {
    for (const bool plain : {false, true}) {
        const mqd_t queue = OPENS(create(plain ? 'a' : 'b'));
        OK(plain ? close(queue) : mq_close(queue));
        FAILS(EBADF, mq_close(queue));
        FAILS(EBADF, close(queue));
        FAILS(EBADF, send(queue, "x"));
        SHOWS("EBADF", take(queue));
        SHOWS("EBADF", state(queue));
        FAILS(EBADF, mq_notify(queue, nullptr));
        mq_attr now{};
        FAILS(EBADF, mq_setattr(queue, &now, nullptr));
    }
}

// A number closed behind the library's back and used for something else is no queue any more.
CASE(descriptor_reused) {
    const mqd_t queue = OPENS(create());
    OK(send(queue, "x"));
    const int file = OPENS(open("/dev/null", O_RDWR));
    GIVES(queue, dup2(file, queue));
    FAILS(EBADF, send(queue, "y"));
    SHOWS("EBADF", take(queue));
    close(queue);
    HOLDS(OPENS(create('b')) == queue);
    SHOWS("4/64/0/0", state(queue));
    const mqd_t again = OPENS(mq_open(name('a'), O_RDWR));
    GIVES(queue, dup2(again, queue));
    SHOWS("4/64/1/0", state(queue));
    SHOWS("0:x", take(queue));
    GIVES(queue, dup3(file, queue, O_CLOEXEC));
    SHOWS("EBADF", state(queue));
    OK(static_cast<int>(close_range(static_cast<unsigned>(again), static_cast<unsigned>(again), 0)));
    SHOWS("EBADF", state(again));
    HOLDS(OPENS(open("/dev/null", O_RDONLY)) == again);
    SHOWS("EBADF", state(again));
    FAILS(EBADF, mq_notify(again, nullptr));
}

static void refuses(const char* kind, int descriptor) {
    note(kind);
    char buffer[8192];
    mq_attr now{};
    FAILS(EBADF, mq_send(descriptor, "x", 1, 0));
    FAILS(EBADF, static_cast<int>(mq_receive(descriptor, buffer, sizeof buffer, nullptr)));
    FAILS(EBADF, mq_timedsend(descriptor, "x", 1, 0, &kPast));
    FAILS(EBADF, static_cast<int>(mq_timedreceive(descriptor, buffer, sizeof buffer, nullptr, &kPast)));
    FAILS(EBADF, mq_getattr(descriptor, &now));
    now.mq_flags = 0;
    FAILS(EBADF, mq_setattr(descriptor, &now, nullptr));
    FAILS(EBADF, mq_notify(descriptor, nullptr));
    sigevent event{};
    event.sigev_notify = SIGEV_NONE;
    FAILS(EBADF, mq_notify(descriptor, &event));
}

// EBADF from every call for descriptors that are no queues. (mq_close closes them all the same: see the next case.)
CASE(descriptor_of_other_kinds) {
    int pipes[2], sockets[2];
    OK(pipe(pipes));
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
    char path[] = "/tmp/conformance.XXXXXX";
    const int file = OPENS(mkstemp(path));
    unlink(path);
    refuses("a pipe's end to read", pipes[0]);
    refuses("a pipe's end to write", pipes[1]);
    refuses("a regular file", file);
    refuses("a socket", sockets[0]);
    refuses("an epoll descriptor", OPENS(epoll_create1(0)));
    refuses("a directory", OPENS(open("/", O_RDONLY | O_DIRECTORY)));
    refuses("a device", OPENS(open("/dev/null", O_RDWR)));
    refuses("a path", OPENS(open("/dev/null", O_PATH)));
    refuses("-1", -1);
    refuses("a number never opened", 444);
    refuses("a number beyond all", 1 << 30);
    struct stat about {};
    OK(fstat(file, &about));
    OK(static_cast<int>(about.st_size));
    FAILS(EBADF, mq_close(-1));
    FAILS(EBADF, mq_close(444));
}

// mq_close is close(2): it closes a descriptor of any kind, successfully.
CASE(descriptor_mq_close_of_a_pipe) {
    int pipes[2];
    OK(pipe(pipes));
    OK(mq_close(pipes[1]));
    char byte = 0;
    OK(static_cast<int>(read(pipes[0], &byte, 1)));  // end of file
}

// EMFILE at RLIMIT_NOFILE; nothing is created by the refused call; works again when a number is free.
CASE(descriptor_limit) {
    const int low = OPENS(open("/dev/null", O_RDONLY));
    const rlimit limit{static_cast<rlim_t>(low) + 3, 600};
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    const mqd_t first = OPENS(create('a'));
    const mqd_t second = OPENS(mq_open(name('a'), O_RDONLY));
    FAILS(EMFILE, mq_open(name('a'), O_RDONLY));
    FAILS(EMFILE, create('b'));
    FAILS(EMFILE, mq_open(name('c'), O_RDONLY));
    OK(send(first, "works at the limit"));
    SHOWS("0:works at the limit", take(second));
    OK(mq_close(second));
    FAILS(ENOENT, mq_open(name('b'), O_RDONLY));
    const mqd_t third = OPENS(create('b'));
    HOLDS(third == second);
    FAILS(EMFILE, dup(third));
}

// The access mode binds each descriptor: EBADF for the other direction, before the size is looked at. The state can be
// read and set by all of them, and each may ask for notification.
CASE(descriptor_direction) {
    OPENS(create());
    const mqd_t reader = OPENS(mq_open(name(), O_RDONLY | O_NONBLOCK)), writer = OPENS(mq_open(name(), O_WRONLY | O_NONBLOCK));
    char buffer[64];
    FAILS(EBADF, send(reader, "x"));
    FAILS(EBADF, send(reader, std::string(100, 'x').c_str()));
    FAILS(EBADF, static_cast<int>(mq_receive(writer, buffer, sizeof buffer, nullptr)));
    FAILS(EBADF, static_cast<int>(mq_receive(writer, buffer, 1, nullptr)));
    OK(send(writer, "x"));
    SHOWS("0:x", take(reader));
    SHOWS("4/64/0/nonblock", state(writer));
    mq_attr now{};
    OK(mq_setattr(writer, &now, nullptr));
    SHOWS("4/64/0/0", state(writer));
    SHOWS("4/64/0/nonblock", state(reader));
    sigevent event{};
    event.sigev_notify = SIGEV_NONE;
    OK(mq_notify(writer, &event));
    FAILS(EBUSY, mq_notify(reader, &event));
    OK(mq_notify(reader, nullptr));
    const int copy = OPENS(dup(reader));
    FAILS(EBADF, send(copy, "x"));
}

// dup and dup2 share the open description: O_NONBLOCK set by one is seen by the other; another mq_open has its own.
CASE(descriptor_dup) {
    const mqd_t queue = OPENS(create());
    const mqd_t apart = OPENS(mq_open(name(), O_RDWR));
    const int copy = OPENS(dup(queue));
    GIVES(50, dup2(queue, 50));
    mq_attr wanted{}, old{};
    wanted.mq_flags = O_NONBLOCK;
    OK(mq_setattr(50, &wanted, &old));
    SHOWS("4/64/0/nonblock", state(copy));
    SHOWS("4/64/0/nonblock", state(queue));
    SHOWS("4/64/0/0", state(apart));
    OK(mq_close(queue));
    OK(send(copy, "x"));
    SHOWS("0:x", take(50));
    OK(close(copy));
    SHOWS("EAGAIN", take(50));
    OK(close(50));
    SHOWS("4/64/0/0", state(apart));
}

// A forked child shares O_NONBLOCK with the parent, in both directions, at once; closing in one leaves the other.
CASE(descriptor_nonblock_over_fork) {
    const mqd_t queue = OPENS(create());
    const pid_t child = start([queue] {
        mq_attr wanted{};
        wanted.mq_flags = O_NONBLOCK;
        OK(mq_setattr(queue, &wanted, nullptr));
        shared().word[0] = 1;
        await("the parent answers", [] { return shared().word[1] == 1; });
        SHOWS("4/64/0/0", state(queue));
        wanted.mq_flags = O_NONBLOCK;
        OK(mq_setattr(queue, &wanted, nullptr));
        OK(mq_close(queue));
        shared().word[0] = 2;
    });
    await("the child set it", [] { return shared().word[0] == 1; });
    SHOWS("4/64/0/nonblock", state(queue));
    SHOWS("EAGAIN", take(queue));
    mq_attr off{};
    OK(mq_setattr(queue, &off, nullptr));
    shared().word[1] = 1;
    SHOWS("exit 0", finish(child));
    SHOWS("EAGAIN", take(queue));
    OK(send(queue, "open here"));
}

static void pass(int socket, int descriptor) {
    char byte = 'd';
    iovec data{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(head), &descriptor, sizeof descriptor);
    if (sendmsg(socket, &message, 0) != 1) give_up("sendmsg: " + error_name(errno));
}

static int passed(int socket) {
    char byte = 0;
    iovec data{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (recvmsg(socket, &message, 0) != 1 || !CMSG_FIRSTHDR(&message)) give_up("recvmsg: " + error_name(errno));
    int descriptor = -1;
    std::memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof descriptor);
    return descriptor;
}

HELPER(takes_passed_descriptor) {
    const int reader = OPENS(passed(helper_argument())), both = OPENS(passed(helper_argument()));
    SHOWS("4/64/1/nonblock", state(reader));
    FAILS(EBADF, send(reader, "not allowed"));
    SHOWS("7:through a socket", take(reader));
    SHOWS("EAGAIN", take(reader));
    OK(send(both, "answer", 8));
    mq_attr off{};
    OK(mq_setattr(reader, &off, nullptr));
    OK(mq_close(both));
    GIVES(1, write(helper_argument(), "k", 1));
}

// A descriptor passed over a socket works in a program that never opened the queue, whose name is gone: same open
// description (O_NONBLOCK shared), same access mode; also after the sender closed its own.
CASE(descriptor_passed) {
    int sockets[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
    const pid_t child = start([&] { reexec("takes_passed_descriptor", sockets[1]); });
    const mqd_t both = OPENS(create());
    const mqd_t reader = OPENS(mq_open(name(), O_RDONLY | O_NONBLOCK)), kept = OPENS(mq_open(name(), O_RDONLY));
    OK(mq_unlink(name()));
    OK(send(both, "through a socket", 7));
    pass(sockets[0], reader);
    pass(sockets[0], both);
    OK(mq_close(both));
    char byte = 0;
    GIVES(1, read(sockets[0], &byte, 1));
    SHOWS("exit 0", finish(child));
    SHOWS("4/64/1/0", state(reader));
    SHOWS("8:answer", take(kept));
}
