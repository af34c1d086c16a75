// The C library's sem_t in shared memory: what one semaphore costs that knows no undo, no vectors and no dead.
#include <fcntl.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sysv_loops.hpp"

namespace muster::bench {
namespace {

constexpr std::size_t kBytes = sizeof(sem_t) * Semaphores::kCount;

class GlibcSemaphores final : public SemaphoreLoops<GlibcSemaphores> {
public:
    explicit GlibcSemaphores(int descriptor) {
        void* const memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
        close(descriptor);
        if (memory == MAP_FAILED) throw Failure(std::string("mmap: ") + std::strerror(errno));
        first_ = static_cast<sem_t*>(memory);
    }
    ~GlibcSemaphores() override { munmap(first_, kBytes); }
    void start() {
        for (unsigned i = 0; i < kCount; ++i)
            if (sem_init(first_ + i, 1, 1) != 0) throw Failure(std::string("sem_init: ") + std::strerror(errno));
    }

    long value(unsigned number) override {
        int value = 0;
        return sem_getvalue(first_ + number, &value) == 0 ? value : -errno;
    }
    int take(Use) override { return wait(0); }
    int give(Use) override { return post(0); }
    int wait(unsigned number) override { return sem_wait(first_ + number) == 0 ? 0 : errno; }
    int post(unsigned number) override { return sem_post(first_ + number) == 0 ? 0 : errno; }

private:
    sem_t* first_;
};

class GlibcBackend final : public Backend {
public:
    const char* key() const override { return "glibc"; }
    const char* title() const override { return "glibc sem_t"; }
    bool offers(Kind kind) const override { return kind == Kind::semaphore; }

    std::unique_ptr<Queue> create(const Shape&) override { throw Failure("no queues here"); }
    std::unique_ptr<Queue> open(const Shape&) override { throw Failure("no queues here"); }
    std::unique_ptr<Semaphores> create_semaphores(const Shape& shape) override {
        const int descriptor = shm_open(("/" + shape.name).c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
        if (descriptor < 0 || ftruncate(descriptor, kBytes) != 0) throw Failure(std::string("shm_open: ") + std::strerror(errno));
        auto made = std::make_unique<GlibcSemaphores>(descriptor);
        made->start();
        return made;
    }
    std::unique_ptr<Semaphores> open_semaphores(const Shape& shape) override {
        const int descriptor = shm_open(("/" + shape.name).c_str(), O_RDWR, 0);
        if (descriptor < 0) throw Failure(std::string("shm_open: ") + std::strerror(errno));
        return std::make_unique<GlibcSemaphores>(descriptor);
    }
    void unlink(const Shape& shape) override { shm_unlink(("/" + shape.name).c_str()); }
};

}  // namespace

std::unique_ptr<Backend> make_glibc_backend() {
    return std::make_unique<GlibcBackend>();
}

}  // namespace muster::bench
