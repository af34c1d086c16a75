// Sleeping in msgrcv and msgsnd: who is woken, with what, and in which order; limits that move, removal, messages too long for a sleeper.
// EIDRM E2BIG EAGAIN; a message for a sleeper never stands in the queue; the sleeper sleeps (state S).
#include <vector>

#include "msg_cases.hpp"

namespace {

// The state letter in /proc/PID/task/TID/stat.
char state_letter(pid_t process, pid_t thread) {
    const std::string path = "/proc/" + std::to_string(process) + "/task/" + std::to_string(thread) + "/stat";
    std::FILE* file = std::fopen(path.c_str(), "re");
    char line[512] = "";
    if (!file || !std::fgets(line, sizeof line, file)) give_up("no " + path);
    std::fclose(file);
    const char* end = std::strrchr(line, ')');
    return end ? end[2] : '?';
}

}  // namespace

CASE(msg_wait_receiver) {
    timespec before{};
    clock_gettime(CLOCK_REALTIME_COARSE, &before);
    const int id = make();
    const pid_t child = receiver(id, "3:hello");
    SHOWS("0/0/16384", counts(id));
    OK(look(id).msg_lrpid);
    OK(put(id, 3, "hello"));
    SHOWS("0/0/16384", counts(id));  // it was handed over, at once
    SHOWS("exit 0", finish(child));
    const msqid_ds now = look(id);
    HOLDS(now.msg_lrpid == child && now.msg_lspid == getpid());
    HOLDS(since(now.msg_rtime, before.tv_sec) && since(now.msg_stime, before.tv_sec));
    OK(remove_queue(id));
}

CASE(msg_wait_sender) {
    const int id = make_full();
    const pid_t child = sender(id, 2, "g");
    SHOWS("1/1/1", counts(id));
    HOLDS(look(id).msg_lspid == getpid());
    SHOWS("1:f", pick(id));
    SHOWS("exit 0", finish(child));
    SHOWS("1/1/1", counts(id));
    HOLDS(look(id).msg_lspid == child && look(id).msg_lrpid == getpid());
    SHOWS("2:g", pick(id));
    OK(remove_queue(id));
}

// Asleep is state S, in a thread as in a process.
CASE(msg_wait_state) {
    const int id = make(), full = make_full();
    for (const bool receives : {true, false}) {
        shared().word[0] = 0;
        std::thread thread = start_thread([=] {
            shared().word[0] = thread_id();
            if (receives) SHOWS("1:a", pick(id, 0, 0));
            else OK(put(full, 1, "a", 0));
        });
        await("the thread is about to call", [] { return shared().word[0] != 0; });
        await_sleep(getpid(), shared().word[0]);
        SHOWS("S", std::string(1, state_letter(getpid(), shared().word[0])));
        if (receives) OK(put(id, 1, "a"));
        else SHOWS("1:f", pick(full));
        thread.join();
    }
    const pid_t child = receiver(id, "1:b");
    SHOWS("S", std::string(1, state_letter(child, child)));
    OK(put(id, 1, "b"));
    SHOWS("exit 0", finish(child));
    OK(remove_queue(id));
    OK(remove_queue(full));
}

// A sleeper by type lets all others pass.
CASE(msg_wait_by_type) {
    const int id = make();
    const pid_t child = receiver(id, "5:five", 5);
    OK(put(id, 4, "four"));
    OK(put(id, 6, "six"));
    SHOWS("2/7/16384", counts(id));
    await_sleep(child);
    OK(put(id, 5, "five"));
    SHOWS("2/7/16384", counts(id));
    SHOWS("exit 0", finish(child));
    SHOWS("4:four 6:six", drain(id));
    OK(remove_queue(id));
}

CASE(msg_wait_lowest) {
    const int id = make();
    const pid_t child = receiver(id, "3:three", -3);
    OK(put(id, 4, "four"));
    await_sleep(child);
    OK(put(id, 3, "three"));
    SHOWS("exit 0", finish(child));
    const pid_t below = receiver(id, "2:two", -3);
    OK(put(id, LONG_MAX, "last"));
    await_sleep(below);
    OK(put(id, 2, "two"));
    SHOWS("exit 0", finish(below));
    SHOWS("2/8/16384", counts(id));
    OK(remove_queue(id));
}

CASE(msg_wait_lowest_of_all) {
    const int id = make();
    const pid_t child = asleep([id] { HOLDS(pick(id, LONG_MIN, 0) == std::to_string(LONG_MAX) + ":last"); });
    OK(put(id, LONG_MAX, "last"));
    SHOWS("exit 0", finish(child));
    OK(remove_queue(id));
}

CASE(msg_wait_except) {
    const int id = make();
    const pid_t child = receiver(id, "8:eight", 7, MSG_EXCEPT);
    OK(put(id, 7, "seven"));
    await_sleep(child);
    OK(put(id, 8, "eight"));
    SHOWS("exit 0", finish(child));
    SHOWS("7:seven", drain(id));
    OK(remove_queue(id));
}

// Sleepers with different selectors: each gets the first that matches, the longest waiting before the others.
CASE(msg_wait_selectors) {
    const int id = make();
    const pid_t seven = receiver(id, "7:a", 7), lowest = receiver(id, "2:b", -3), not_two = receiver(id, "7:d", 2, MSG_EXCEPT),
                any = receiver(id, "2:c");
    OK(put(id, 7, "a"));
    SHOWS("exit 0", finish(seven));
    OK(put(id, 2, "b"));
    SHOWS("exit 0", finish(lowest));
    OK(put(id, 2, "c"));  // past the longer waiting one that takes all but 2
    SHOWS("exit 0", finish(any));
    await_sleep(not_two);
    OK(put(id, 7, "d"));
    SHOWS("exit 0", finish(not_two));
    SHOWS("0/0/16384", counts(id));
    OK(remove_queue(id));
}

CASE(msg_wait_longest_first) {
    const int id = make();
    const pid_t first = receiver(id, "1:a"), second = receiver(id, "2:b", 0, MSG_NOERROR), third = receiver(id, "1:c", -9);
    OK(put(id, 1, "a"));
    OK(put(id, 2, "b"));
    OK(put(id, 1, "c"));
    for (const pid_t each : {first, second, third}) SHOWS("exit 0", finish(each));
    SHOWS("0/0/16384", counts(id));
    OK(remove_queue(id));
}

// Too long for a sleeper: it fails with E2BIG, and the message stays for others.
CASE(msg_wait_too_long) {
    const int id = make();
    const pid_t child = receiver(id, "E2BIG", 0, 0, 3);
    OK(put(id, 1, "four"));
    SHOWS("exit 0", finish(child));
    SHOWS("1/4/16384", counts(id));
    OK(look(id).msg_lrpid);
    OK(look(id).msg_rtime);
    SHOWS("1:four", pick(id));
    const pid_t exact = receiver(id, "1:fou", 0, 0, 3);
    OK(put(id, 1, "fou"));
    SHOWS("exit 0", finish(exact));
    const pid_t cutting = receiver(id, "1:fo", 0, MSG_NOERROR, 2);
    OK(put(id, 1, "four"));
    SHOWS("exit 0", finish(cutting));
    SHOWS("0/0/16384", counts(id));
    OK(remove_queue(id));
}

// One message fails all the matching sleepers that it is too long for, until one can take it; those behind that one sleep on.
CASE(msg_wait_too_long_for_some) {
    const int id = make();
    const pid_t a = receiver(id, "E2BIG", 0, 0, 2), other_type = receiver(id, "9:x", 9, 0, 1), b = receiver(id, "E2BIG", 1, 0, 3),
                c = receiver(id, "1:four", 0, 0, 4), d = receiver(id, "1:y", 0, 0, 2);
    OK(put(id, 1, "four"));
    for (const pid_t each : {a, b, c}) SHOWS("exit 0", finish(each));
    HOLDS(look(id).msg_lrpid == c);
    await_sleep(d);
    await_sleep(other_type);
    OK(put(id, 9, "x"));
    OK(put(id, 1, "y"));
    for (const pid_t each : {d, other_type}) SHOWS("exit 0", finish(each));
    SHOWS("0/0/16384", counts(id));
    OK(remove_queue(id));
}

// A full queue is full for a message too that a sleeper would take at once.
CASE(msg_wait_full_before_a_sleeper) {
    const int id = make_full();
    const pid_t child = receiver(id, "9:x", 9);
    FAILS(EAGAIN, put(id, 9, "x"));
    FAILS(EAGAIN, put(id, 9, ""));
    const pid_t second = sender(id, 9, "x");
    await_sleep(child);
    SHOWS("1:f", pick(id));
    for (const pid_t each : {second, child}) SHOWS("exit 0", finish(each));
    SHOWS("0/0/1", counts(id));
    HOLDS(look(id).msg_lspid == second && look(id).msg_lrpid == child);
    OK(remove_queue(id));
}

CASE(msg_wait_longer_than_the_queue) {
    const int id = make();
    OK(set_bytes(id, 3));
    const pid_t waiting = receiver(id, "1:four");
    FAILS(EAGAIN, put(id, 1, "four"));
    const pid_t child = sender(id, 1, "four");
    await_sleep(waiting);
    OK(set_bytes(id, 4));
    for (const pid_t each : {child, waiting}) SHOWS("exit 0", finish(each));
    SHOWS("0/0/4", counts(id));
    OK(remove_queue(id));
}

// Room by count is waited for as room by bytes is.
CASE(msg_wait_sender_by_count) {
    const int id = make();
    OK(set_bytes(id, 2));
    for (int n = 0; n < 2; ++n) OK(put(id, 1, ""));
    const pid_t child = sender(id, 2, "");
    SHOWS("2/0/2", counts(id));
    SHOWS("1:", pick(id));
    SHOWS("exit 0", finish(child));
    SHOWS("1: 2:", drain(id));
    OK(remove_queue(id));
}

// A short message goes past a long one that does not fit yet; a long one waits until it does.
CASE(msg_wait_senders_by_length) {
    const int id = make();
    OK(set_bytes(id, 10));
    OK(put(id, 1, "1234"));
    OK(put(id, 1, "567890"));
    const pid_t lengthy = sender(id, 2, "abcdefgh"), brief = sender(id, 3, "xyz");
    SHOWS("1:1234", pick(id));
    SHOWS("exit 0", finish(brief));
    await_sleep(lengthy);
    SHOWS("2/9/10", counts(id));
    SHOWS("1:567890", pick(id));
    await_sleep(lengthy);
    FAILS(EAGAIN, put(id, 1, "12345678"));
    SHOWS("3:xyz", pick(id));
    SHOWS("exit 0", finish(lengthy));
    SHOWS("2:abcdefgh", drain(id));
    OK(remove_queue(id));
}

// Room for one of two: one goes in, no matter which, and the other sleeps on until its turn.
CASE(msg_wait_senders_one_place) {
    const int id = make_full();
    std::vector<pid_t> children;
    for (int n = 0; n < 3; ++n)
        children.push_back(asleep([id] {
            OK(put(id, 2, "s", 0));
            ++shared().word[1];
        }));
    SHOWS("1:f", pick(id));
    for (int n = 1; n <= 3; ++n) {
        await("one has sent", [n] { return shared().word[1] == n; });
        SHOWS("1/1/1", counts(id));
        SHOWS("2:s", pick(id));
    }
    for (const pid_t each : children) SHOWS("exit 0", finish(each));
    SHOWS("0/0/1", counts(id));
    OK(remove_queue(id));
}

// Room for all that wait: all are let in by one receive.
CASE(msg_wait_senders_all_at_once) {
    const int id = make();
    OK(set_bytes(id, 6));
    OK(put(id, 1, "123456"));
    std::vector<pid_t> children;
    for (long n = 0; n < 3; ++n) children.push_back(sender(id, 2 + n, "ab"));
    SHOWS("1:12", pick(id, 0, MSG_NOERROR, 2));  // all its bytes are free, cut or not
    for (const pid_t each : children) SHOWS("exit 0", finish(each));
    SHOWS("3/6/6", counts(id));
    for (long n = 0; n < 3; ++n) HOLDS(pick(id, 2 + n) == std::to_string(2 + n) + ":ab");
    OK(remove_queue(id));
}

// A copy, a refused and a failing receive make no room.
CASE(msg_wait_sender_needs_a_receive) {
    const int id = make_full();
    const pid_t child = sender(id, 2, "g");
    SEES(pick(id, 0, MSG_COPY | IPC_NOWAIT) == "1:f");
    SHOWS("E2BIG", pick(id, 0, 0, 0));
    SHOWS("ENOMSG", pick(id, 2));
    await_sleep(child);
    SHOWS("1:f", pick(id));
    SHOWS("exit 0", finish(child));
    OK(remove_queue(id));
}

// A higher limit lets senders through, by bytes and by count; a lower one, and other changes, do not.
CASE(msg_wait_limit_raised) {
    const int id = make_full();
    const pid_t three = sender(id, 2, "abc"), none = sender(id, 3, "");
    OK(set_mode(id, 0640));
    OK(set_bytes(id, 0));
    for (const pid_t each : {three, none}) await_sleep(each);
    OK(set_bytes(id, 2));
    SHOWS("exit 0", finish(none));
    await_sleep(three);
    SHOWS("2/1/2", counts(id));
    OK(set_bytes(id, 4));
    SHOWS("exit 0", finish(three));
    SHOWS("1:f 3: 2:abc", drain(id));
    OK(remove_queue(id));
}

// Changing the queue leaves its receivers asleep, with their selectors and rooms.
CASE(msg_wait_receivers_keep_waiting) {
    const int id = make();
    const pid_t five = receiver(id, "5:x", 5), cutting = receiver(id, "6:lo", -9, MSG_NOERROR, 2);
    for (const unsigned long bytes : {0ul, 100ul}) {
        OK(set_bytes(id, bytes));
        for (const pid_t each : {five, cutting}) await_sleep(each);
    }
    OK(put(id, 6, "long"));
    SHOWS("exit 0", finish(cutting));
    OK(put(id, 5, "x"));
    SHOWS("exit 0", finish(five));
    SHOWS("0/0/100", counts(id));
    OK(remove_queue(id));
}

// Removal: EIDRM for all who sleep, EINVAL for all who come; the key leads to another queue, of which sleepers know nothing.
CASE(msg_wait_removal) {
    const int id = OPENS(msgget(own_key(), 0600 | IPC_CREAT));
    OK(set_bytes(id, 1));
    OK(put(id, 1, "f"));
    std::vector<pid_t> children;
    for (const long type : {9L, 9L, 10L}) children.push_back(receiver(id, "EIDRM", type));
    children.push_back(receiver(id, "EIDRM", 1, MSG_EXCEPT));
    for (const long type : {1L, 2L, 9L}) children.push_back(asleep([=] { FAILS(EIDRM, put(id, type, "s", 0)); }));
    OK(remove_queue(id));
    for (const pid_t each : children) SHOWS("exit 0", finish(each));
    FAILS(EINVAL, put(id, 1, "a", 0));
    SHOWS("EINVAL", pick(id, 0, 0));
    const int next = OPENS(msgget(own_key(), 0600 | IPC_CREAT | IPC_EXCL));
    HOLDS(next != id);
    SHOWS("0/0/16384", counts(next));
    OK(remove_queue(next));
}

// Removed by a sleeper's own process, from another thread.
CASE(msg_wait_removal_by_a_thread) {
    const int id = make();
    std::thread thread = start_thread([id] {
        shared().word[0] = thread_id();
        SHOWS("EIDRM", pick(id, 0, 0));
    });
    await("the thread is about to call", [] { return shared().word[0] != 0; });
    await_sleep(getpid(), shared().word[0]);
    OK(remove_queue(id));
    thread.join();
}
