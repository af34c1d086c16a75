#include "kernel_objects.hpp"
#include <fcntl.h>
#include <fmt/format.h>
#include <mqueue.h>
#include <semaphore.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

namespace muster::cli {
namespace {

using Columns = std::map<std::string, std::int64_t>;

// A table of /proc/sysvipc: numbers under the names in its first line. SOURCE proc_sysvipc(5). Modes are octal.
std::vector<Columns> read_table(const char* path, ObjectKind kind, std::vector<KernelNote>& notes) {
    std::ifstream file(path);
    std::string line;
    if (!std::getline(file, line)) {
        notes.push_back({kind, fmt::format("{}: the kernel shows no such table", path)});
        return {};
    }
    std::vector<std::string> heads;
    std::istringstream head_line(line);
    for (std::string head; head_line >> head;) heads.push_back(head);
    std::vector<Columns> rows;
    while (std::getline(file, line)) {
        std::istringstream cells(line);
        Columns row;
        std::string cell;
        for (const std::string& head : heads)
            if (cells >> cell) std::from_chars(cell.data(), cell.data() + cell.size(), row[head], head == "perms" ? 8 : 10);
        rows.push_back(std::move(row));
    }
    return rows;
}

// Some kernels print a column as something else, or not at all: 0 then.
std::uint64_t number(const Columns& row, const char* head) {
    const auto found = row.find(head);
    return found == row.end() || found->second < 0 ? 0 : static_cast<std::uint64_t>(found->second);
}

std::chrono::system_clock::time_point time_at(std::uint64_t seconds) {
    return std::chrono::system_clock::time_point(std::chrono::seconds(seconds));
}

ObjectInfo common(ObjectKind kind, const char* word, const char* id_head, const Columns& row) {
    ObjectInfo info;
    info.kind = kind;
    info.key = static_cast<std::int32_t>(row.count("key") != 0 ? row.at("key") : 0);
    info.id = static_cast<std::int32_t>(number(row, id_head));
    info.name = info.key != 0 ? fmt::format("{}:{:#x}", word, static_cast<std::uint32_t>(info.key))
                              : fmt::format("{}:id={}", word, info.id);
    info.owner_uid = static_cast<std::uint32_t>(number(row, "uid"));
    info.owner_gid = static_cast<std::uint32_t>(number(row, "gid"));
    info.mode = static_cast<std::uint32_t>(number(row, "perms")) & 0777;
    info.created = time_at(number(row, "ctime"));
    return info;
}

void system_v(std::vector<ObjectInfo>& all, std::vector<KernelNote>& notes) {
    for (const Columns& row : read_table("/proc/sysvipc/msg", ObjectKind::typed_queue, notes)) {
        ObjectInfo info = common(ObjectKind::typed_queue, "msg", "msqid", row);
        info.messages = number(row, "qnum");
        info.bytes_allocated = number(row, "cbytes");
        all.push_back(std::move(info));
    }
    for (const Columns& row : read_table("/proc/sysvipc/sem", ObjectKind::semaphore_set, notes)) {
        ObjectInfo info = common(ObjectKind::semaphore_set, "sem", "semid", row);
        info.semaphores = static_cast<std::uint32_t>(number(row, "nsems"));
        for (int semaphore = 0; semaphore < 16 && semaphore < static_cast<int>(info.semaphores); ++semaphore) {
            const int value = ::semctl(info.id, semaphore, GETVAL);
            if (value < 0) break;
            info.values.push_back(static_cast<std::uint32_t>(value));
            info.waiting += static_cast<std::uint32_t>(std::max(0, ::semctl(info.id, semaphore, GETNCNT)) +
                                                       std::max(0, ::semctl(info.id, semaphore, GETZCNT)));
        }
        all.push_back(std::move(info));
    }
    for (const Columns& row : read_table("/proc/sysvipc/shm", ObjectKind::segment, notes)) {
        ObjectInfo info = common(ObjectKind::segment, "shm", "shmid", row);
        info.size_bytes = number(row, "size");
        info.attachments = number(row, "nattch");
        info.bytes_allocated = number(row, "rss") + number(row, "swap");
        info.removed_at_last_detach = (number(row, "perms") & 01000) != 0;
        info.locked = (number(row, "perms") & 02000) != 0;
        all.push_back(std::move(info));
    }
}

bool fill_from_file(ObjectInfo& info, const std::filesystem::path& path) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
    info.path = path.string();
    info.owner_uid = status.st_uid;
    info.owner_gid = status.st_gid;
    info.mode = status.st_mode & 0777;
    info.size_bytes = static_cast<std::uint64_t>(status.st_size);
    info.bytes_allocated = static_cast<std::uint64_t>(status.st_blocks) * 512;
    info.created = time_at(static_cast<std::uint64_t>(status.st_ctim.tv_sec));
    return true;
}

void queues(std::vector<ObjectInfo>& all, std::vector<KernelNote>& notes) {
    std::error_code error;
    const std::filesystem::directory_iterator list("/dev/mqueue", error);
    if (error) {
        notes.push_back({ObjectKind::message_queue,
                         "/dev/mqueue: not mounted, so the kernel's message queues cannot be listed; "
                         "`mount -t mqueue none /dev/mqueue` as root"});
        return;
    }
    for (const auto& entry : list) {
        ObjectInfo info;
        info.kind = ObjectKind::message_queue;
        info.name = "/" + entry.path().filename().string();
        if (!fill_from_file(info, entry.path())) continue;
        info.size_bytes = info.bytes_allocated = 0;
        const mqd_t queue = ::mq_open(info.name.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        mq_attr attributes{};
        if (queue < 0 || ::mq_getattr(queue, &attributes) != 0) {
            info.problem = std::strerror(errno);
        } else {
            info.messages = static_cast<std::uint64_t>(attributes.mq_curmsgs);
            info.messages_max = static_cast<std::uint64_t>(attributes.mq_maxmsg);
            info.message_size_bytes_max = static_cast<std::uint64_t>(attributes.mq_msgsize);
        }
        if (queue >= 0) ::mq_close(queue);
        all.push_back(std::move(info));
    }
}

// SOURCE shm_overview(7), sem_overview(7): files of /dev/shm, semaphores with "sem." before their names.
void plain_files(std::vector<ObjectInfo>& all) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/dev/shm", error)) {
        const std::string name = entry.path().filename().string();
        ObjectInfo info;
        const bool semaphore = name.rfind("sem.", 0) == 0;
        info.kind = semaphore ? ObjectKind::posix_semaphore : ObjectKind::posix_shared_memory;
        info.name = semaphore ? "posix-sem:/" + name.substr(4) : "posix-shm:/" + name;
        if (!fill_from_file(info, entry.path())) continue;  // domains are directories
        if (semaphore) {
            info.size_bytes = 0;
            sem_t copy;
            std::ifstream file(entry.path(), std::ios::binary);
            int value = 0;
            if (file.read(reinterpret_cast<char*>(&copy), sizeof copy) && ::sem_getvalue(&copy, &value) == 0)
                info.values = {static_cast<std::uint32_t>(value)};
        }
        all.push_back(std::move(info));
    }
}

}  // namespace

std::vector<ObjectInfo> kernel_objects(std::vector<KernelNote>& notes) {
    std::vector<ObjectInfo> all;
    queues(all, notes);
    system_v(all, notes);
    plain_files(all);
    return all;
}

}  // namespace muster::cli
