// Operations of names of POSIX shared memory and semaphores. True after each: a name leads to something whole or to nothing; what
// had it open before its name went works on; a value is what it was.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include "operations.hpp"

namespace muster::test {
namespace {

enum class Act { create, create_or_open, create_exclusively, open, unlink, close };

struct State {
    const char* name;
    bool semaphore;
    Act act;
    bool there;  // one of that name
    bool refused = false;
};
constexpr State kStates[] = {
    {"shm_open/create", false, Act::create, false},
    {"shm_open/create or open", false, Act::create_or_open, true},
    {"shm_open/exists", false, Act::create_exclusively, true, true},
    {"shm_open/open", false, Act::open, true},
    {"shm_open/none", false, Act::open, false, true},
    {"shm_unlink/there", false, Act::unlink, true},
    {"shm_unlink/none", false, Act::unlink, false, true},
    {"sem_open/create", true, Act::create, false},
    {"sem_open/create or open", true, Act::create_or_open, true},
    {"sem_open/exists", true, Act::create_exclusively, true, true},
    {"sem_open/open", true, Act::open, true},
    {"sem_open/none", true, Act::open, false, true},
    {"sem_close/the last", true, Act::close, true},
    {"sem_unlink/there", true, Act::unlink, true},
    {"sem_unlink/none", true, Act::unlink, false, true},
};
constexpr char kName[] = "/made";
constexpr unsigned kValue = 5;
constexpr off_t kBytes = 8192;

class PosixOperation : public Operation {
public:
    explicit PosixOperation(const State& state) : s_(state) {
        refused_ = s_.refused;
        one_commits_ = !s_.refused && (s_.act == Act::create || s_.act == Act::unlink);
    }

private:
    // Descriptors and semaphores that were opened are kept here, so that they can be closed again.
    bool open_it(int flags) {
        if (s_.semaphore) {
            semaphore_ = library().sem_open(kName, flags, 0600, kValue);
            return semaphore_ != SEM_FAILED;
        }
        fd_ = library().shm_open(kName, flags | O_RDWR, 0600);
        return fd_ >= 0;
    }
    void close_it() {
        if (s_.semaphore) library().sem_close(semaphore_);
        else close(fd_);
    }
    bool unlink_it() const { return (s_.semaphore ? library().sem_unlink(kName) : library().shm_unlink(kName)) == 0; }

    bool make() override {  // the directory is there
        if (!open_it(O_CREAT | O_EXCL)) return false;
        close_it();
        return unlink_it();
    }
    void drop() override { (void)unlink_it(); }
    bool set_state() override {
        (void)unlink_it();
        if (!s_.there) return true;
        if (!open_it(O_CREAT | O_EXCL)) return false;
        if (!s_.semaphore && ftruncate(fd_, kBytes) != 0) return false;
        close_it();
        return true;
    }
    void before_call(int) override {
        if (s_.act == Act::close) (void)open_it(0);
    }
    int call(int) override {
        switch (s_.act) {
            case Act::create:
            case Act::create_exclusively: return open_it(O_CREAT | O_EXCL) ? 0 : errno;
            case Act::create_or_open: return open_it(O_CREAT) ? 0 : errno;
            case Act::open: return open_it(0) ? 0 : errno;
            case Act::unlink: return unlink_it() ? 0 : errno;
            case Act::close: return library().sem_close(semaphore_) == 0 ? 0 : errno;
        }
        return 0;
    }

    bool whole() {
        if (!s_.semaphore) {
            struct stat status {};
            return fstat(fd_, &status) == 0 && status.st_size == (s_.there ? kBytes : 0) && ftruncate(fd_, kBytes) == 0;
        }
        int value = -1;
        return sem_getvalue(semaphore_, &value) == 0 && value == static_cast<int>(kValue) && sem_trywait(semaphore_) == 0 && sem_post(semaphore_) == 0;
    }
    Found look(End) override {
        const bool found = timed([&] { return open_it(0); });
        const int error = found ? 0 : errno;
        EXPECT_TRUE(error == 0 || error == ENOENT) << "the name leads to errno " << error;
        if (found) {
            EXPECT_TRUE(whole());
            close_it();
            EXPECT_TRUE(unlink_it());
        }
        EXPECT_TRUE(timed([&] { return open_it(O_CREAT | O_EXCL); })) << "the next cannot make it: " << errno;
        close_it();
        EXPECT_TRUE(unlink_it());
        if (s_.act == Act::create) return found ? Found::done : Found::undone;
        if (s_.act == Act::unlink && s_.there) return found ? Found::undone : Found::done;
        EXPECT_EQ(found, s_.there);
        return Found::either;
    }

    const State s_;
    int fd_ = -1;
    sem_t* semaphore_ = nullptr;
};

}  // namespace

void add_posix_operations(OperationTable& table) {
    for (const State& state : kStates) table.add("posix", state.name, [&state] { return std::make_unique<PosixOperation>(state); });
}

}  // namespace muster::test
