// Making the objects, and what is left of them when everybody is dead: names, files, memory, records.
#include "torture_scene.hpp"
#include <fcntl.h>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include "muster/domain.hpp"
#include "torture_library.hpp"

namespace muster::test::torture {
namespace {

constexpr std::uint64_t kIdleBytes = (4 << 20) + (1 << 20);  // an empty queue keeps up to 4 MiB, and its control block

void tell(std::string& all, const char* whose, const Result<std::vector<Finding>>& found) {
    if (!found) all += std::string(whose) + " fails\n";
    else
        for (const Finding& each : *found) all += std::string(whose) + ": " + each.path + ": " + each.what + "\n";
}

// Removes every object but the set, the queues and what is called /keep-.
void clear(const Domain& domain, const std::set<std::int32_t>& sets, const std::set<std::int32_t>& queues, std::string& said) {
    const auto list = domain.list();
    if (!list) {
        said += "listing fails\n";
        return;
    }
    for (const ObjectInfo& each : *list) {
        const bool kept = each.name.find("/keep-") != std::string::npos || each.kind == ObjectKind::poll_fifo ||
                          (each.kind == ObjectKind::semaphore_set && sets.count(each.id) != 0) ||
                          (each.kind == ObjectKind::typed_queue && queues.count(each.id) != 0);
        if (kept) continue;
        if (!each.problem.empty()) said += each.path + ": " + each.problem + "\n";
        const auto slash = each.name.find('/');
        const auto gone = each.id >= 0 ? domain.remove(each.kind, each.id)
                                       : domain.remove(each.kind, slash == std::string::npos ? each.name : each.name.substr(slash));
        if (!gone) said += each.path + " cannot be removed: " + gone.error().message() + "\n";
    }
}

}  // namespace

void take_care(const std::string& what) {
    std::istringstream words(what);
    std::string verb, path, said;
    words >> verb >> path;
    const auto domain = Domain::open(path);
    if (!domain) {
        said = "the domain cannot be opened\n";
    } else if (verb == "gc") {
        if (const auto found = domain->gc(true); !found) said = "gc fails\n";
    } else if (verb == "find") {
        tell(said, "gc", domain->gc(false));
        tell(said, "fsck", domain->fsck(false, ""));
    } else {
        std::set<std::int32_t> sets, queues;
        std::int32_t id = 0;
        if (words >> id) sets.insert(id);
        while (words >> id) queues.insert(id);
        clear(*domain, sets, queues, said);
    }
    std::fputs(said.c_str(), stdout);
    std::fflush(stdout);
}

Scene::OwnDomain::OwnDomain() {
    if (mkdtemp(path) == nullptr) std::abort();
    setenv("MUSTER_DOMAIN", path, 1);
}

Scene::Scene() {
    (void)library();
    handler_count = &board_->handlers;
    struct sigaction counting {};
    counting.sa_handler = count_handler;  // without SA_RESTART
    library().sigaction(SIGUSR1, &counting, nullptr);
    prctl(PR_SET_CHILD_SUBREAPER, 1);  // to wait for the children of the killed
    make_queues();
    objects_.set = library().semget(IPC_PRIVATE, static_cast<int>(kFirstValues.size()), 0600);
    auto first = kFirstValues;
    if (library().semctl(objects_.set, 0, SETALL, first.data()) != 0) std::abort();
    objects_.tokens = library().sem_open("/keep-tokens", O_CREAT | O_EXCL, 0600, 1000u);
    if (objects_.tokens == SEM_FAILED) std::abort();
    tokens_ = 1000;
    warm_up();
    first_names_ = names();
}

Scene::~Scene() {
    if (getpid() != owner_) return;  // a child that ends by exit()
    std::error_code ignored;
    std::filesystem::remove_all(domain_.path, ignored);
}

void Scene::make_queues() {
    for (unsigned i = 0; i < kQueueCount; ++i) {
        const QueueKind& kind = kQueues[i];
        if (kind.typed()) {
            // How long a typed queue's messages may be is decided by the limit at its making.
            std::filesystem::create_directory(std::string(domain_.path) + "/limits");
            std::ofstream(std::string(domain_.path) + "/limits/msgmax") << kind.message_bytes << "\n";
            std::ofstream(std::string(domain_.path) + "/limits/msgmnb") << 16 * kind.message_bytes << "\n";
            objects_.queue[i] = library().msgget(IPC_PRIVATE, 0600);
        } else {
            mq_attr wanted{};
            wanted.mq_maxmsg = kind.messages;
            wanted.mq_msgsize = kind.message_bytes;
            objects_.queue[i] = library().mq_open(kind.name, O_CREAT | O_EXCL | O_RDWR, 0600, &wanted);
        }
        if (objects_.queue[i] < 0) {
            std::perror("a queue");
            std::abort();
        }
    }
}

// What comes into being with the first use, and stays: directories, hints, FIFOs, the file of lives.
void Scene::warm_up() {
    begin_round();
    Child first([&] {
        const Place place{objects_, *board_, board_->desks[0], 1};
        name_some(place, 300);
        sembuf use{0, 0, SEM_UNDO};
        use.sem_op = -1;
        (void)library().semop(objects_.set, &use, 1);
    });
    for (unsigned i = 0; i < kQueueCount; ++i) {
        pollfd one{objects_.queue[i], POLLIN, 0};
        if (!kQueues[i].typed()) library().poll(&one, 1, 0);
    }
    if (!first.ends() || !first.exited()) {
        std::printf("naming, undisturbed: %s\n", board_->desks[0].complaint);
        std::abort();
    }
    (void)leave_segments(false);
    (void)names_are_back();
}

std::string Scene::queue_file(unsigned queue) const {
    const QueueKind& kind = kQueues[queue];
    const std::string path = domain_.path;
    return kind.typed() ? path + "/sysv/msg-" + std::to_string(objects_.queue[queue] % 32768) : path + "/mq" + kind.name;
}

std::set<std::string> Scene::names() const {
    std::set<std::string> all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(domain_.path)) all.insert(entry.path());
    return all;
}

// In a new program, since a child would have this process's attachments.
Complaint Scene::care(const std::string& what) const {
    std::istringstream words(what);
    std::string verb, rest;
    words >> verb;
    std::getline(words, rest);
    const std::string program = std::filesystem::read_symlink("/proc/self/exe");
    const std::string line = std::string(kAnew) + "='care " + verb + " " + domain_.path + rest + "' exec '" + program + "'";
    FILE* output = popen(line.c_str(), "r");  // spawned, not forked
    if (output == nullptr) return "no program can be started\n";
    Complaint all;
    char part[4096];
    while (const std::size_t got = fread(part, 1, sizeof part, output)) all.append(part, got);
    if (const int status = pclose(output); status != 0) all += verb + " ended with status " + std::to_string(status) + "\n";
    return all;
}

Complaint Scene::clean_up() {
    if (const Complaint failed = care("gc"); !failed.empty()) return failed;
    return care("find");
}

Complaint Scene::memory_is_back() {
    Complaint all;
    for (unsigned i = 0; i < kQueueCount; ++i) {
        // Whoever comes next gives back what a receiver did not come to: one message in and out.
        const QueueKind& kind = kQueues[i];
        std::uint32_t key = 0;
        std::size_t length = 0;
        long type = 1;
        std::memcpy(buffer_.data(), &type, sizeof type);
        const int rc = kind.typed() ? library().msgsnd(objects_.queue[i], buffer_.data(), 16, IPC_NOWAIT)
                                    : library().mq_send(objects_.queue[i], reinterpret_cast<char*>(buffer_.data()), 16, 0);
        if (rc != 0 || !next_message(i, key, length)) all += "queue " + std::to_string(i) + " does not pass a message on\n";
        const Audit after = audit(i);
        all += after.text();
        if (after.messages != 0 || after.free_slots != after.slots)
            all += "queue " + std::to_string(i) + ": " + std::to_string(after.free_slots) + " of " + std::to_string(after.slots) +
                   " slots are free\n";
        std::uint64_t bytes = 0;
        for (const char* ending : {"", ".data"}) {
            struct stat status {};
            if (stat((queue_file(i) + ending).c_str(), &status) == 0) bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
        }
        if (bytes > idle_bytes_max_) idle_bytes_max_ = bytes;
        if (bytes > kIdleBytes) all += "queue " + std::to_string(i) + " is empty and keeps " + std::to_string(bytes) + " bytes\n";
    }
    return all;
}

// Removes what programs had made when they were killed; then there is what there was at first.
Complaint Scene::names_are_back() {
    std::string keep = "clear " + std::to_string(objects_.set);
    for (unsigned i = 0; i < kQueueCount; ++i)
        if (kQueues[i].typed()) keep += " " + std::to_string(objects_.queue[i]);
    Complaint all = care(keep);
    all += clean_up();
    const std::set<std::string> now = names();
    for (const std::string& name : now)
        if (first_names_.count(name) == 0) all += name + " is left\n";
    for (const std::string& name : first_names_)
        if (now.count(name) == 0) all += name + " is missing\n";
    return all;
}

}  // namespace muster::test::torture
