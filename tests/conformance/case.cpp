// The registry, the transcript, and the runner: each case in a process group of its own with a time limit.
#include "case.hpp"

#include <grp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

namespace conformance {
namespace {

constexpr int kTranscript = 500, kShared = 501;  // descriptors that stay out of the way of the cases
constexpr int kCaseLimit_s = 40, kAwaitLimit_s = 10;
constexpr int kExitSkipped = 77;

struct Entry {
    std::string name;
    CaseBody body;
    bool helper;
};
std::vector<Entry>& entries() {
    static std::vector<Entry> all;
    return all;
}

std::string run_id;
Shared* shared_page = nullptr;
int helper_value = 0;

// Where a process or a thread writes: its place in the order of starts, "" for the case itself, then "1", "2", "2.1".
struct Section {
    std::string path;
    int started = 0;  // how many it has started itself

    std::string next() { return (path.empty() ? "" : path + ".") + std::to_string(++started); }
};
Section of_process;
thread_local std::unique_ptr<Section> of_thread;  // for threads of start_thread(), and what they start
Section& section() {
    return of_thread ? *of_thread : of_process;
}

// In the transcript's file a line is one record, written at once: its section and the text.
constexpr char kRecord = '\x1e', kText = '\x1f';
void append(const std::string& line) {
    const int kept = errno;
    const std::string whole = kRecord + section().path + kText + line + "\n";
    if (write(kTranscript, whole.data(), whole.size()) < 0) _exit(3);
    errno = kept;
}

void fail(const char* file, int line, const std::string& why) {
    const char* base = std::strrchr(file, '/');
    append(std::string("FAIL ") + (base ? base + 1 : file) + ":" + std::to_string(line) + ": " + why);
}

void nap(long us) {
    const timespec pause{0, us * 1000};
    nanosleep(&pause, nullptr);
}

int stay_open(int descriptor, int number) {
    if (dup2(descriptor, number) < 0) std::perror("dup2"), _exit(3);
    close(descriptor);
    return number;
}

void map_shared() {
    void* at = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, kShared, 0);
    if (at == MAP_FAILED) std::perror("mmap"), _exit(3);
    shared_page = static_cast<Shared*>(at);
}

std::vector<int> numbers_of(const std::string& path) {
    std::vector<int> numbers;
    for (size_t at = 0; at < path.size(); at = path.find('.', at) == std::string::npos ? path.size() : path.find('.', at) + 1)
        numbers.push_back(std::atoi(path.c_str() + at));
    return numbers;
}

// The sections one after the other, each process before those that it started; or all lines in the order they were written.
std::string read_transcript(bool as_it_happened) {
    std::string raw;
    char part[4096];
    ssize_t got = 0;
    off_t at = 0;
    while ((got = pread(kTranscript, part, sizeof part, at)) > 0) raw.append(part, static_cast<size_t>(got)), at += got;
    std::map<std::vector<int>, std::string> sections;
    std::string text;
    for (size_t from = 0; from < raw.size();) {
        const size_t end = std::min(raw.find(kRecord, from + 1), raw.size()), middle = raw.find(kText, from);
        const std::string path = raw.substr(from + 1, middle - from - 1), line = raw.substr(middle + 1, end - middle - 1);
        std::string& lines = sections[numbers_of(path)];
        if (lines.empty() && !path.empty()) lines = "-- process " + path + "\n";
        lines += line;
        text += (path.empty() ? "" : path + ": ") + line;
        from = end;
    }
    if (as_it_happened) return text;
    text.clear();
    for (const auto& [numbers, lines] : sections) text += lines;
    return text;
}

enum class Print { verdict, transcript, as_it_happened };

int run(const Entry& entry, Print print) {
    stay_open(memfd_create("transcript", 0), kTranscript);
    fcntl(kTranscript, F_SETFL, O_APPEND);
    stay_open(memfd_create("shared", 0), kShared);
    if (ftruncate(kShared, sizeof(Shared)) != 0) std::perror("ftruncate"), std::exit(3);
    map_shared();
    begin_run();
    setenv("CONFORMANCE_RUN", run_id.c_str(), 1);
    require_queues();
    const pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        entry.body();
        _exit(0);
    }
    setpgid(child, child);
    int status = 0;
    pid_t reaped = 0;
    for (long naps = 0; (reaped = waitpid(child, &status, WNOHANG)) == 0 && naps < kCaseLimit_s * 2000L; ++naps) nap(500);
    kill(-child, SIGKILL);
    if (reaped == 0) {
        waitpid(child, &status, 0);
        append("FAIL the case hangs: no end after " + std::to_string(kCaseLimit_s) + " s");
    } else if (WIFSIGNALED(status)) {
        append(std::string("FAIL the case died of signal ") + sigabbrev_np(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != kExitSkipped) {
        append("FAIL the case left with status " + std::to_string(WEXITSTATUS(status)));
    }
    for (char letter = 'a'; letter <= 'z'; ++letter) mq_unlink(name(letter));
    const std::string text = read_transcript(false);
    const bool failed = text.rfind("FAIL ", 0) == 0 || text.find("\nFAIL ") != std::string::npos;
    if (print == Print::as_it_happened)
        std::fputs(read_transcript(true).c_str(), stdout);
    else if (print == Print::transcript || failed)
        std::fputs(text.c_str(), stdout);
    if (failed) return 1;
    if (WEXITSTATUS(status) == kExitSkipped) {
        if (print == Print::verdict) std::fputs(text.substr(text.find("SKIP: ")).c_str(), stdout);
        return kExitSkipped;
    }
    if (print == Print::verdict) std::printf("ok %s\n", entry.name.c_str());
    return 0;
}

const Entry* find(const std::string& name, bool helper) {
    for (const Entry& e : entries())
        if (e.name == name && e.helper == helper) return &e;
    return nullptr;
}

struct Look {
    char state;
    long switches;
};
Look look_at(pid_t process, pid_t thread) {
    const std::string base = "/proc/" + std::to_string(process) + "/task/" + std::to_string(thread);
    Look look{'?', -1};
    std::FILE* file = std::fopen((base + "/status").c_str(), "re");
    if (!file) return look;
    char line[256];
    while (std::fgets(line, sizeof line, file)) {
        (void)std::sscanf(line, "State: %c", &look.state);
        (void)std::sscanf(line, "voluntary_ctxt_switches: %ld", &look.switches);
    }
    std::fclose(file);
    return look;
}

}  // namespace

Registered::Registered(const char* name, CaseBody body, bool helper) {
    entries().push_back({name, body, helper});
}

std::string error_name(int error) {
    const char* known = strerrorname_np(error);
    return known ? known : std::to_string(error);
}

static std::string outcome(long got, int error) {
    if (got < 0) return std::to_string(got) + " " + error_name(error);
    return std::to_string(got) + (error == kUntouched ? "" : " (errno changed: " + error_name(error) + ")");
}

static std::string judge(const char* text, const std::string& got) {
    append(std::string(text) + " -> " + got);
    return std::string(text) + " gave " + got;
}

long step_gives(const char* file, int line, const char* text, long want, long got) {
    const int error = errno;
    const std::string said = judge(text, outcome(got, error));
    if (got != want)
        fail(file, line, said + ", not " + std::to_string(want));
    else if (error != kUntouched)
        fail(file, line, said);
    return got;
}

long step_fails(const char* file, int line, const char* text, int want_errno, long got) {
    const int error = errno;
    const std::string said = judge(text, outcome(got, error));
    if (got != -1 || error != want_errno) fail(file, line, said + ", not -1 " + error_name(want_errno));
    return got;
}

int step_opens(const char* file, int line, const char* text, int got) {
    const int error = errno;
    const std::string said = judge(text, got >= 0 ? "descriptor" : outcome(got, error));
    if (got < 0) fail(file, line, said + ", not a descriptor"), _exit(1);
    if (error != kUntouched) fail(file, line, said + " and changed errno to " + error_name(error));
    return got;
}

void step_sees(const char* text, long got) {
    judge(text, outcome(got, errno));
}

bool step_holds(const char* file, int line, const char* text, bool holds) {
    judge(text, holds ? "true" : "false");
    if (!holds) fail(file, line, std::string(text) + " does not hold");
    return holds;
}

void step_shows(const char* file, int line, const char* text, const std::string& want, const std::string& got) {
    const std::string said = judge(text, "\"" + got + "\"");
    if (got != want) fail(file, line, said + ", not \"" + want + "\"");
}

void note(const std::string& line) {
    append(line);
}

bool on_muster() {
    const char* side = std::getenv("CONFORMANCE_SIDE");
    return side && std::strcmp(side, "muster") == 0;
}

void give_up(const std::string& why) {
    append("FAIL " + why);
    _exit(1);
}

void skip(const std::string& why) {
    append("SKIP: " + why);
    _exit(kExitSkipped);
}

// The kernel may have no POSIX queues, or none for us: say why, and leave the judging to the other side.
void require_queues() {
    const mqd_t queue = create('z');
    if (queue == -1) {
        std::printf("SKIP: mq_open: %s\n", std::strerror(errno));
        std::exit(kExitSkipped);
    }
    mq_close(queue);
    mq_unlink(name('z'));
}

void begin_run() {
    run_id = std::to_string(getpid());
}

const char* name(char letter) {
    static std::string names[26];
    std::string& mine = names[letter - 'a'];
    mine = "/conformance." + run_id + "." + letter;
    return mine.c_str();
}

mqd_t create(char letter, long maxmsg, long msgsize, int flags, mode_t mode) {
    mq_attr wanted{};
    wanted.mq_maxmsg = maxmsg;
    wanted.mq_msgsize = msgsize;
    return mq_open(name(letter), flags | O_CREAT | O_EXCL, mode, &wanted);
}

int send(mqd_t queue, const char* text, unsigned priority) {
    return mq_send(queue, text, std::strlen(text), priority);
}

std::string take(mqd_t queue) {
    static thread_local char buffer[16384];
    unsigned priority = 0;
    const ssize_t length = mq_receive(queue, buffer, sizeof buffer, &priority);
    if (length < 0) return error_name(errno);
    return std::to_string(priority) + ":" + std::string(buffer, static_cast<size_t>(length));
}

std::string state(mqd_t queue) {
    mq_attr now{};
    if (mq_getattr(queue, &now) != 0) return error_name(errno);
    const auto text = [](long n) { return std::to_string(n); };
    return text(now.mq_maxmsg) + "/" + text(now.mq_msgsize) + "/" + text(now.mq_curmsgs) +
           (now.mq_flags == O_NONBLOCK ? "/nonblock" : "/" + text(now.mq_flags));
}

long count(mqd_t queue) {
    mq_attr now{};
    return mq_getattr(queue, &now) == 0 ? now.mq_curmsgs : -1;
}

timespec in_ms(long ms) {
    timespec at{};
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += ms % 1000 * 1'000'000;
    if (at.tv_nsec >= 1'000'000'000) ++at.tv_sec, at.tv_nsec -= 1'000'000'000;
    return at;
}

pid_t start(const std::function<void()>& body) {
    const std::string path = section().next();
    const pid_t child = fork();
    if (child < 0) give_up("fork: " + error_name(errno));
    if (child == 0) {
        of_thread.reset();
        of_process = {path};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        body();
        _exit(0);
    }
    return child;
}

std::thread start_thread(const std::function<void()>& body) {
    return std::thread([body, path = section().next()] {
        of_thread = std::make_unique<Section>(Section{path});
        body();
    });
}

std::string finish(pid_t child) {
    int status = 0;
    pid_t reaped = 0;
    for (long naps = 0; (reaped = waitpid(child, &status, WNOHANG)) == 0 && naps < kAwaitLimit_s * 5000L; ++naps) nap(200);
    if (reaped == 0) give_up("a child does not end");
    if (reaped < 0) return error_name(errno);
    if (WIFSIGNALED(status)) return std::string("signal ") + sigabbrev_np(WTERMSIG(status));
    return "exit " + std::to_string(WEXITSTATUS(status));
}

void become_nobody() {
    constexpr unsigned kNobody = 65534;
    if (setgroups(0, nullptr) != 0 || setresgid(kNobody, kNobody, kNobody) != 0 || setresuid(kNobody, kNobody, kNobody) != 0)
        skip("only root can become another user");
}

void reexec(const char* helper, int argument) {
    const std::string value = std::to_string(argument);
    setenv("CONFORMANCE_SECTION", (std::to_string(section().started) + " " + section().path).c_str(), 1);
    execl("/proc/self/exe", "conformance_mq", "--helper", helper, value.c_str(), nullptr);
    give_up("exec: " + error_name(errno));
}

int helper_argument() {
    return helper_value;
}

Shared& shared() {
    return *shared_page;
}

void await(const char* what, const std::function<bool()>& condition) {
    timespec now{}, end{};
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += kAwaitLimit_s;
    while (!condition()) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec >= end.tv_sec) give_up(std::string("waited in vain until ") + what);
        nap(50);
    }
}

pid_t thread_id() {
    return static_cast<pid_t>(syscall(SYS_gettid));
}

bool sleeps(pid_t process, pid_t thread) {
    if (thread == 0) thread = process;
    const Look first = look_at(process, thread);
    if (first.state != 'S') return false;
    for (int looks = 0; looks < 3; ++looks) {
        nap(30);
        const Look again = look_at(process, thread);
        if (again.state != 'S' || again.switches != first.switches) return false;
    }
    return true;
}

void await_sleep(pid_t process, pid_t thread) {
    await("a process sleeps", [&] { return sleeps(process, thread); });
}

static int usage() {
    std::fputs("usage: conformance_mq --list | --case NAME | --transcript NAME | --as-it-happened NAME\n", stderr);
    return 2;
}

int run_conformance(int argc, char** argv) {
    const std::string verb = argc > 1 ? argv[1] : "";
    if (verb == "--list") {
        std::vector<std::string> names;
        for (const Entry& e : entries())
            if (!e.helper) names.push_back(e.name);
        std::sort(names.begin(), names.end());
        for (const std::string& n : names) std::printf("%s\n", n.c_str());
        return 0;
    }
    if (argc < 3) return usage();
    if (verb == "--helper") {
        const Entry* entry = find(argv[2], true);
        const char* id = std::getenv("CONFORMANCE_RUN");
        if (!entry || !id || argc < 4) return usage();
        run_id = id;
        helper_value = std::atoi(argv[3]);
        if (const char* mine = std::getenv("CONFORMANCE_SECTION")) of_process = {std::strchr(mine, ' ') + 1, std::atoi(mine)};
        map_shared();
        entry->body();
        return 0;
    }
    const Entry* entry = find(argv[2], false);
    if (!entry) return usage();
    if (verb == "--case") return run(*entry, Print::verdict);
    if (verb == "--transcript") return run(*entry, Print::transcript);
    if (verb == "--as-it-happened") return run(*entry, Print::as_it_happened);
    return usage();
}

}  // namespace conformance
