// What may stand in the place of a domain's directory, or of anything in it.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <cstdio>
#include <fstream>
#include "proof/hostile_domain.hpp"

namespace muster::test::hostile {
namespace {

// The part goes elsewhere, so that nobody loses what is open.
bool away(const std::string& path, const Surroundings& around) { return std::rename(path.c_str(), around.aside.c_str()) == 0; }

bool link_to(const std::string& target, const std::string& path, const Surroundings& around) {
    return away(path, around) && symlink(target.c_str(), path.c_str()) == 0;
}
bool put_file(const std::string& path, const std::string& bytes, mode_t mode = 0600) {
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    const bool put = fd >= 0 && write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()) && fchmod(fd, mode) == 0;
    if (fd >= 0) close(fd);
    return put;
}
// As root it is the user's; else everything is.
bool give_to(const std::string& path, uid_t who) { return geteuid() != 0 || lchown(path.c_str(), who, who) == 0; }

bool fifo(const std::string& path, const Surroundings& around, mode_t mode, uid_t owner) {
    return away(path, around) && mkfifo(path.c_str(), 0600) == 0 && give_to(path, owner) && chmod(path.c_str(), mode) == 0;
}
std::string noise(std::size_t bytes) {
    Random random(11);
    std::string all(bytes, '\0');
    for (char& c : all) c = static_cast<char>(random.next());
    return all;
}

bool put_socket(const std::string& path) {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return false;
    path.copy(address.sun_path, path.size());
    const bool bound = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    close(fd);
    return bound;
}

// An entry of one of the kinds that there are.
void put_anything(const std::string& path, unsigned kind, const Surroundings& around) {
    switch (kind % 8) {
        case 0: (void)put_file(path, ""); break;
        case 1: (void)put_file(path, "nothing that makes sense\n", 0); break;
        case 2: (void)!symlink("victim", path.c_str()); break;
        case 3: (void)mkdir(path.c_str(), 0700); break;
        case 4: (void)mkfifo(path.c_str(), 0600); break;
        case 5: (void)put_file(path, noise(200)), (void)give_to(path, around.stranger); break;
        case 6: (void)!symlink(path.c_str(), path.c_str()); break;
        default: (void)mkfifo(path.c_str(), 0444), (void)give_to(path, around.stranger), (void)chmod(path.c_str(), 0444);
    }
}

bool many_names(const std::string& path, const Part& part, const Surroundings& around) {
    for (unsigned n = 0; n < short_or_long(1200u, 4000u); ++n) {
        char name[64];
        const char* kinds[] = {"msg", "sem", "shm"};
        const char* kind = kinds[n % 3];
        if (part.path == "sysv") std::snprintf(name, sizeof name, n % 5 == 0 ? "%s-%u.data" : "%s-%u", kind, n);
        else if (part.path == "key") std::snprintf(name, sizeof name, n < 900 ? "%s-000051ac.%u" : "%s-%08x", kind, n < 900 ? n / 3 : n);
        else if (part.path == "poll") std::snprintf(name, sizeof name, "%032x", n);
        else if (part.path == ".") std::snprintf(name, sizeof name, n % 2 == 0 ? ".new-%u" : ".mq-%u", 4'000'000 + n);
        else std::snprintf(name, sizeof name, "name %u", n);
        put_anything(path + "/" + name, n / 3 + n % 7, around);
    }
    return true;
}
bool long_names(const std::string& path, const Part&, const Surroundings& around) {
    for (unsigned n = 0; n < 64; ++n) {
        std::string name(255, static_cast<char>('a' + n % 26));
        if (n % 4 == 1) name.replace(0, 4, "sem-");
        if (n % 4 == 2) name.replace(250, 5, ".data"), name.replace(0, 4, "msg-");
        if (n % 4 == 3) for (char& c : name) c = "\n\x1b\xff %s\\\""[n % 9];
        name.replace(100, 3, std::to_string(100 + n));
        put_anything(path + "/" + name, n, around);
    }
    return true;
}

bool set_immutable(const std::string& path, bool on) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int flags = 0;
    const bool known = fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0;
    flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
    const bool set = known && ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
    if (fd >= 0) close(fd);
    return set;
}

}  // namespace

const std::vector<Attack>& domain_attacks() {
    using P = const std::string&;
    using A = const Part&;
    using S = const Surroundings&;
    static const std::vector<Attack> all = {
        {"nothing at all", Attack::anything, false, [](P, A, S) { return true; }},
        {"moved away", Attack::anything, false, [](P p, A, S s) { return away(p, s); }},
        {"removed with all in it", Attack::anything, false, [](P p, A, S) { return remove_tree(p), true; }},
        {"an empty one in its place", Attack::anything, false, [](P p, A a, S s) {
             struct stat before {};
             if (stat(p.c_str(), &before) != 0 || !away(p, s)) return false;
             return (a.directory ? mkdir(p.c_str(), 0700) == 0 : put_file(p, "")) && chmod(p.c_str(), before.st_mode & 07777) == 0 && give_to(p, before.st_uid);
         }},
        {"a link to the neighbour's", Attack::anything, false, [](P p, A a, S s) { return link_to(path_of(s.neighbour, a), p, s); }},
        {"a link to where it has gone", Attack::anything, false, [](P p, A, S s) { return link_to(s.aside, p, s); }},
        {"a link to nothing", Attack::anything, false, [](P p, A, S s) { return link_to("/nonexistent/nothing", p, s); }},
        {"a link to itself", Attack::anything, false, [](P p, A, S s) { return link_to(p, p, s); }},
        {"a FIFO", Attack::anything, false, [](P p, A, S s) { return fifo(p, s, 0600, s.user); }},
        {"a FIFO to read from", Attack::anything, false, [](P p, A, S s) { return fifo(p, s, 0444, s.stranger); }},
        {"a FIFO to write to", Attack::anything, false, [](P p, A, S s) { return fifo(p, s, 0222, s.stranger); }},
        {"a file", Attack::directories, false, [](P p, A, S s) { return away(p, s) && put_file(p, "text\n", 0666); }},
        {"a directory", Attack::files, false, [](P p, A, S s) { return away(p, s) && mkdir(p.c_str(), 0777) == 0 && give_to(p, s.user); }},
        {"noise", Attack::files, false, [](P p, A, S s) { return away(p, s) && put_file(p, noise(20000), 0666) && give_to(p, s.user); }},
        {"a socket", Attack::anything, false, [](P p, A, S s) { return away(p, s) && put_socket(p) && chmod(p.c_str(), 0777) == 0; }},
        {"a device", Attack::anything, true, [](P p, A, S s) { return away(p, s) && mknod(p.c_str(), S_IFCHR | 0666, makedev(1, 5)) == 0 && chmod(p.c_str(), 0666) == 0; }},
        {"mode 000", Attack::anything, false, [](P p, A, S) { return chmod(p.c_str(), 0) == 0; }},
        {"mode 000, and a stranger's", Attack::anything, true, [](P p, A, S s) { return give_to(p, s.stranger) && chmod(p.c_str(), 0) == 0; }},
        {"a stranger's, to read", Attack::anything, true, [](P p, A a, S s) { return give_to(p, s.stranger) && chmod(p.c_str(), a.directory ? 0755 : 0644) == 0; }},
        {"a stranger's, to write", Attack::anything, true, [](P p, A a, S s) { return give_to(p, s.stranger) && chmod(p.c_str(), a.directory ? 0777 : 0666) == 0; }},
        {"writable by all", Attack::anything, false, [](P p, A a, S) { return chmod(p.c_str(), a.directory ? 0777 : 0666) == 0; }},
        {"read-only", Attack::anything, false, [](P p, A a, S) { return chmod(p.c_str(), a.directory ? 0555 : 0444) == 0; }},
        {"mounted read-only", Attack::anything, true, [](P p, A, S) {
             return mount(p.c_str(), p.c_str(), nullptr, MS_BIND, nullptr) == 0 && mount(nullptr, p.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr) == 0;
         }, [](P p) { (void)umount2(p.c_str(), MNT_DETACH); }},
        {"immutable", Attack::anything, true, [](P p, A, S) { return set_immutable(p, true); }, [](P p) { (void)set_immutable(p, false); }},
        {"thousands of names", Attack::directories, false, many_names},
        {"names of 255 bytes", Attack::directories, false, long_names},
    };
    return all;
}

const std::vector<Part>& domain_parts() {
    constexpr unsigned kSysv = kMsg | kSem | kShm;
    static const std::vector<Part> all = {
        {".", kAllFamilies, true}, {"mq", kMq, true}, {"sysv", kSysv, true}, {"key", kSysv, true}, {"shm", kPosixShm, true}, {"sem", kPosixSem, true},
        {"poll", kMq, true}, {"limits", kLimits, true}, {"lives", kSem, false}, {"sysv/.life", kShm, false}, {"sysv/.msg", 0, false},
        {"sysv/.sem", 0, false}, {"sysv/.shm", 0, false}, {"limits/msg_max", kLimits, false}, {"limits/sem", kLimits, false}, {"limits/shmmax", kLimits, false},
        {"mq/victim", kMq, false}, {"sysv/msg-0", kMsg, false}, {"sysv/msg-0.data", kMsg, false}, {"sysv/sem-0", kSem, false}, {"sysv/shm-0", kShm, false},
        {"sysv/shm-0.data", kShm, false}, {"key/msg-000051ab", kMsg, false}, {"key/sem-000051ab", kSem, false}, {"key/shm-000051ab", kShm, false},
        {"shm/victim", kPosixShm, false}, {"sem/victim", kPosixSem, false},
        {"poll/*", kMq, false},
    };
    return all;
}

std::string path_of(const std::string& domain, const Part& part) {
    if (part.path == ".") return domain;
    if (part.path.back() != '*') return domain + "/" + part.path;
    std::error_code ignored;
    for (const auto& each : std::filesystem::directory_iterator(domain + "/" + part.path.substr(0, part.path.size() - 2), ignored)) return each.path();
    return domain + "/none";
}

void remove_tree(const std::string& path) {
    std::error_code ignored;
    // Who is not root cannot look into what nobody may read.
    if (geteuid() != 0 && std::filesystem::is_directory(std::filesystem::symlink_status(path, ignored))) {
        (void)chmod(path.c_str(), 0700);
        for (const auto& each : std::filesystem::directory_iterator(path, ignored))
            if (each.is_directory(ignored) && !each.is_symlink(ignored)) remove_tree(each.path());
    }
    std::filesystem::remove_all(path, ignored);
}

}  // namespace muster::test::hostile
