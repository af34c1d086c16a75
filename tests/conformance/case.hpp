// Conformance cases: plain programs against the standard calls, so that one binary runs on the kernel and on Muster.
//
// A case is a function registered by name. Each macro below is one *step*: it performs a call, writes
// "expression -> result errno" to the transcript and judges it. The driver demands that every step passes on both sides
// and that the two transcripts are equal; so nothing that differs from run to run (pids, names) may enter one.
// Steps may be made in child processes, exec'd helpers and threads too. Each process, and each thread of start_thread(), has a
// section of the transcript to itself, and the sections are put together in the order of starts: how the lines of
// two that run at once fall is nobody's promise.
#pragma once

#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <string>
#include <thread>

namespace conformance {

using CaseBody = void (*)();
struct Registered {
    Registered(const char* name, CaseBody body, bool helper);
};

// A case; its body follows. The name is also the CTest name.
#define CASE(name)                                                                        \
    static void case_##name();                                                            \
    static const ::conformance::Registered registered_##name(#name, &case_##name, false); \
    static void case_##name()

// What the binary does when a case executes it again by reexec("name").
#define HELPER(name)                                                                         \
    static void helper_##name();                                                             \
    static const ::conformance::Registered registered_h_##name(#name, &helper_##name, true); \
    static void helper_##name()

// Before each step errno holds this, and a successful call must leave it alone.
constexpr int kUntouched = 4000;

long step_gives(const char* file, int line, const char* text, long want, long got);
long step_fails(const char* file, int line, const char* text, int want_errno, long got);
int step_opens(const char* file, int line, const char* text, int got);
void step_sees(const char* text, long got);
bool step_holds(const char* file, int line, const char* text, bool holds);
void step_shows(const char* file, int line, const char* text, const std::string& want, const std::string& got);

#define GIVES(want, ...) \
    (errno = ::conformance::kUntouched, ::conformance::step_gives(__FILE__, __LINE__, #__VA_ARGS__, want, (__VA_ARGS__)))
#define OK(...) GIVES(0, __VA_ARGS__)
#define FAILS(error, ...) \
    (errno = ::conformance::kUntouched, ::conformance::step_fails(__FILE__, __LINE__, #__VA_ARGS__, error, (__VA_ARGS__)))
#define OPENS(...) (errno = ::conformance::kUntouched, ::conformance::step_opens(__FILE__, __LINE__, #__VA_ARGS__, (__VA_ARGS__)))
#define SEES(...) (errno = ::conformance::kUntouched, ::conformance::step_sees(#__VA_ARGS__, (__VA_ARGS__)))
#define HOLDS(...) ::conformance::step_holds(__FILE__, __LINE__, #__VA_ARGS__, (__VA_ARGS__))
// A number that is another on Muster, as docs/deviations.md tells. The case stands in the list of deviations in CMakeLists.txt.
#define DEVIATES(want_of_kernel, want_of_muster, ...) GIVES(::conformance::on_muster() ? want_of_muster : want_of_kernel, __VA_ARGS__)
#define SHOWS(want, ...) ::conformance::step_shows(__FILE__, __LINE__, #__VA_ARGS__, want, (__VA_ARGS__))

void note(const std::string& line);                 // a line of its own in the transcript
bool on_muster();                                   // said by compare.sh; for DEVIATES and the cases that use it only
[[noreturn]] void give_up(const std::string& why);  // fails the case here and now
[[noreturn]] void skip(const std::string& why);     // the case cannot run for this user or on this machine

int run_conformance(int argc, char** argv);

// --- queues -------------------------------------------------------------------------------------------------------------------

void begin_run();                     // queue names are this process's and its children's from now on
void require_queues();                // prints why and leaves with 77 if no queue can be made at all
const char* name(char letter = 'a');  // a queue name of this run's own; unlinked after the case
mqd_t create(char letter = 'a', long maxmsg = 4, long msgsize = 64, int flags = O_RDWR, mode_t mode = 0600);
int send(mqd_t queue, const char* text, unsigned priority = 0);
std::string take(mqd_t queue);   // "priority:text" or the name of the error
std::string state(mqd_t queue);  // "maxmsg/msgsize/curmsgs/flags" or the name of the error
long count(mqd_t queue);         // mq_curmsgs
std::string error_name(int error);
timespec in_ms(long ms);  // now + ms by CLOCK_REALTIME
constexpr long kLong_ms = 60'000;
constexpr timespec kPast{1, 0};

// A pointer whose value the compiler does not know: for arguments declared nonnull or restrict.
template <class T>
T* hidden(T* pointer) {
    asm volatile("" : "+r"(pointer));
    return pointer;
}

// --- processes ----------------------------------------------------------------------------------------------------------------

pid_t start(const std::function<void()>& body);  // forks; the child runs body and leaves
std::string finish(pid_t child);                 // "exit 0", "signal KILL"
std::thread start_thread(const std::function<void()>& body);
void become_nobody();                            // all uids, gids; no groups, no capabilities
[[noreturn]] void reexec(const char* helper, int argument);
int helper_argument();

// Memory that all processes of the case share, exec'd helpers included. All zero at the start.
struct Shared {
    std::atomic<int> word[64];
    std::atomic<long> number[64];
};
Shared& shared();

// Waits (bounded, then gives up) until the condition is true. No test is decided by how long it takes.
void await(const char* what, const std::function<bool()>& condition);
pid_t thread_id();
// True once the thread sleeps (state S) and has not run between several looks: it waits for good. The caller has to make
// sure that the only sleep possible is the one meant (the thread announces itself just before the call).
bool sleeps(pid_t process, pid_t thread = 0);
void await_sleep(pid_t process, pid_t thread = 0);

}  // namespace conformance

using namespace conformance;  // every includer is a file of cases
