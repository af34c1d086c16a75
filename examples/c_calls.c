/* Plain C, plain POSIX: nothing here knows of Muster.
 *
 *   cc c_calls.c -lmuster_posix && ./a.out          linked
 *   cc c_calls.c && muster run -- ./a.out           preloaded
 *   cc c_calls.c && ./a.out                         on the kernel's own queues
 *
 * With --on-muster it also checks that the kernel was not asked: a queue of a thousand messages is more than an
 * unprivileged program gets from the kernel, and the queue's descriptor is not on the kernel's mqueue file system.
 */
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MQUEUE_MAGIC 0x19800202 /* linux/magic.h */

static int use(mqd_t queue) {
    char buffer[64];
    unsigned priority = 0;
    if (mq_send(queue, "later", 5, 1) != 0 || mq_send(queue, "first", 5, 7) != 0) return perror("mq_send"), 1;
    const ssize_t size = mq_receive(queue, buffer, sizeof buffer, &priority);
    if (size != 5 || memcmp(buffer, "first", 5) != 0 || priority != 7) {
        fprintf(stderr, "c_calls: got %zd bytes of priority %u\n", size, priority);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    const int on_muster = argc > 1 && strcmp(argv[1], "--on-muster") == 0;
    struct mq_attr attributes = {.mq_maxmsg = on_muster ? 1000 : 10, .mq_msgsize = 64};
    char name[64];
    snprintf(name, sizeof name, "/example-c-%ld", (long)getpid());

    const mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    if (queue == (mqd_t)-1) return perror("mq_open"), 1;
    int failed = use(queue);
    if (on_muster) {
        struct statfs where;
        if (fstatfs(queue, &where) != 0 || where.f_type == MQUEUE_MAGIC) {
            fputs("c_calls: this is the kernel's queue, not Muster's\n", stderr);
            failed = 1;
        }
    }
    if (mq_unlink(name) != 0) failed = 1, perror("mq_unlink");
    if (mq_close(queue) != 0) failed = 1, perror("mq_close");
    if (!failed) puts("c_calls: the message of higher priority came first");
    return failed;
}
