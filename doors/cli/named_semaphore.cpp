#include "named_semaphore.hpp"
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <cerrno>
#include <cstring>
#include <ctime>
#include "output.hpp"

namespace muster::cli {

NamedSemaphore::NamedSemaphore(const ObjectInfo& object, const Global& global) : name_(object.name), semaphore_(nullptr) {
    const Descriptor file(::open(object.path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (file.get() < 0) throw explain(Error(errno, name_, ""), Doing::opening, global);
    struct stat status {};
    if (::fstat(file.get(), &status) != 0 || status.st_size < static_cast<off_t>(sizeof(sem_t)))
        fail(kDamaged,
             fmt::format("{}: damaged: the file is too short for a semaphore; `muster rm {}` removes it", name_, name_));
    void* mapped = ::mmap(nullptr, sizeof(sem_t), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    if (mapped == MAP_FAILED) fail(kError, fmt::format("{}: {}", name_, std::strerror(errno)));
    semaphore_ = static_cast<sem_t*>(mapped);
}

NamedSemaphore::~NamedSemaphore() {
    ::munmap(semaphore_, sizeof(sem_t));
}

void NamedSemaphore::post(unsigned amount, const Global& global) const {
    for (unsigned done = 0; done < amount; ++done)
        if (::sem_post(semaphore_) != 0)
            throw explain(Error(errno, name_, fmt::format("{} of {} were added", done, amount)), Doing::operating, global);
}

void NamedSemaphore::wait(unsigned amount, Deadline deadline, const Global& global) const {
    const std::int64_t ns = deadline.nanoseconds();
    const timespec until{ns / 1'000'000'000, ns % 1'000'000'000};
    for (unsigned done = 0; done < amount;) {
        const int rc = ns < 0    ? ::sem_wait(semaphore_)
                       : ns == 0 ? ::sem_trywait(semaphore_)
                                 : ::sem_timedwait(semaphore_, &until);
        if (rc == 0) {
            ++done;
        } else if (errno != EINTR) {
            const int error = errno;
            while (done-- > 0) ::sem_post(semaphore_);
            throw explain(Error(error, name_, ""), Doing::operating, global);
        }
    }
}

}  // namespace muster::cli
