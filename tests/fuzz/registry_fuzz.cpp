// The directories of keys and identifiers: names that are anything, files that are anything, hints that are anything; limits.
#include "fuzz_image.hpp"
#include "muster/semaphore_set.hpp"

using namespace muster;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const int id = SemaphoreSet::create(fuzz::open_domain(), Key(7), {1}).value().identifier();
    static const fuzz::Image image(fuzz::domain_path() + "/sysv/sem-" + std::to_string(id % 32768)), hints(fuzz::domain_path() + "/sysv/.sem");
    fuzz::Bytes input(data, size);
    const auto what = input.take<std::uint8_t>();
    image.restore();
    hints.restore();
    if (what % 4 == 0) hints.lay_over(input);
    // An entry of that name in one of the directories.
    static constexpr const char* kDirectories[] = {"/key/", "/sysv/", "/mq/", "/limits/", "/poll/", "/"};
    static constexpr const char* kNames[] = {"", "sem-", "sem-0000000", "msg-", "shm-", "sem", "shmmax", "msg_max", "."};
    std::string name = kNames[input.take<std::uint8_t>() % std::size(kNames)];
    const auto directory = kDirectories[input.take<std::uint8_t>() % std::size(kDirectories)];
    for (unsigned n = what / 4 % 8; n != 0 && input.left() != 0; --n)
        if (const char c = input.take<char>(); c != 0 && c != '/') name += c;
    const std::string path = fuzz::domain_path() + directory + name;
    mkdir((fuzz::domain_path() + directory).c_str(), 0700);
    const bool ours = !name.empty() && name != "." && name != ".." && access(path.c_str(), F_OK) != 0;
    if (ours && what % 8 == 1) (void)!symlink("sem-0", path.c_str());
    else if (ours) {
        const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0) (void)!write(fd, input.data(), input.left()), close(fd);
    }
    const Domain domain = fuzz::open_domain();
    (void)domain.limits();
    (void)SemaphoreSet::open(domain, Key(7));
    if (auto set = SemaphoreSet::create(domain, Key::none(), {1})) (void)set->remove();
    for (const ObjectKind kind : {ObjectKind::semaphore_set, ObjectKind::typed_queue, ObjectKind::segment}) (void)domain.find(kind, 0);
    (void)domain.list();
    (void)domain.gc(false);
    (void)domain.fsck(false);
    if (ours) unlink(path.c_str());
    return 0;
}
